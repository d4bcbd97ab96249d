"""When retention is applied by a running daemon: one thread for the archive, one for failed.

A share that hangs stops its own thread alone. Decides when, never what.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.adapters.lock import removing
from vpe_watcher.adapters.mounts import MountTable
from vpe_watcher.app.assembly import Clock, Parts, Stopping
from vpe_watcher.app.terms import retention_of
from vpe_watcher.core.errors import WatcherError
from vpe_watcher.core.retention import CLOCK_HINT, RESTS
from vpe_watcher.flow.breakers import Log
from vpe_watcher.flow.retention import Plan, Pruner

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings

LOOK_EVERY_S = 10.0
BY_AGE_EVERY_S = 3600.0
FIRST_BY_AGE_S = 600.0  # by then a clock that was wrong at the start has been set
EXHAUSTED_S = 60.0
LEFT_AGAIN_S = 60.0
JUMP_S = 600.0
GAIN_AT_LEAST = 0.25
_DISK = "Free space there, or raise it: taking scans goes on by itself."


def prunings_of(
    settings: Settings,
    parts: Parts,
    *,
    table: MountTable,
    clock: Clock,
    stopping: Stopping,
    log: Log,
) -> dict[str, Pruning]:
    """Return what applies retention, by root."""
    pruner = pruner_of(settings, parts, table=table, clock=clock, log=log)
    return {
        root: Pruning(root, pruner, settings.state_file, clock=clock, stopping=stopping, log=log)
        for root in RESTS
    }


def pruner_of(
    settings: Settings, parts: Parts, *, table: MountTable, clock: Clock, log: Log
) -> Pruner:
    """Return what applies the retention of these settings."""
    return Pruner(
        retention_of(settings),
        parts.store,
        parts.disk,
        parts.places,
        now=clock.now,
        guard=parts.roots.guard,
        mounts_below=table.below,
        log=log,
    )


class Pruning:
    """Applies retention to one root, again and again; `keep` runs on a thread of its own."""

    def __init__(
        self,
        root: str,
        pruner: Pruner,
        state_file: Path,
        *,
        clock: Clock,
        stopping: Stopping,
        log: Log,
    ) -> None:
        self._root = root
        self._pruner = self._wanted = pruner
        self._state_file = state_file
        self._clock = clock
        self._stopping = stopping
        self._log = log
        self._by_age_at = clock.monotonic() + FIRST_BY_AGE_S
        self._by_space_at = clock.monotonic()
        self._offset_s = clock.now() - clock.monotonic()
        self._makes_room = False
        self._bet: tuple[int, int] | None = None  # what was free, and what was to be gained
        self._left_at = clock.monotonic()  # when to end what was begun, in the last life too
        self._told = ""
        self.has_looked = False

    def hurry(self) -> None:
        """Let the first look judge ages too: this daemon will not be there for the next."""
        self._by_age_at = self._clock.monotonic()

    def use(self, pruner: Pruner) -> None:
        """Go by another configuration from the next look on."""
        self._wanted = pruner

    def keep(self) -> None:
        """Look again and again until the daemon stops."""
        while not self._stopping.event.is_set():
            self.look()
            self._stopping.event.wait(LOOK_EVERY_S)

    def look(self) -> None:
        """Remove what is due now; trouble is told once, and tried again with the next look."""
        self._pruner = self._wanted
        try:
            self._look()
        except WatcherError as error:
            self._tell(error.code, error.message, error.hint)
        except Exception as error:  # noqa: BLE001 - the top of a thread: it must not die
            self._log("thread.defect", root=self._root, error=error)
        self.has_looked = True

    def _look(self) -> None:
        by_age = self._is_time_for_ages()
        by_space = self._is_low()
        if not (by_age or by_space or self._is_left()):
            return
        with removing(self._state_file, self._root) as is_alone:
            if not is_alone:
                return  # a person's `prune`
            refusal = self._pruner.clean_up(self._root)
            self._left_at = self._clock.monotonic() + LEFT_AGAIN_S
            if by_age or by_space:
                self._apply(
                    self._pruner.plan(self._root, by_age=by_age, by_space=by_space), refusal
                )
            else:
                self._judge([refusal] if refusal else [], is_exhausted=False)
            if by_age:
                self._pruner.forget_emptied(self._root)

    def _apply(self, plan: Plan, refusal: str) -> None:
        refusals, count, size_bytes, freed = [refusal] if refusal else [], 0, 0, 0
        for item in plan.due:
            if self._stopping.event.is_set() or self._wanted is not self._pruner:
                break  # what is to go is judged again by the settings that count now
            why_not = self._pruner.prune(item)
            if why_not:
                refusals.append(why_not)
                continue
            count, size_bytes, freed = count + 1, size_bytes + item.size, freed + item.freed
        if count:
            self._log("prune.done", root=self._root, count=count, bytes=size_bytes)
        if freed and self._pruner.retention.frees(self._root):
            self._bet = plan.free, freed
        self._judge(refusals, is_exhausted=plan.is_short and not count)

    def _judge(self, refusals: list[str], *, is_exhausted: bool) -> None:
        if is_exhausted:
            self._by_space_at = self._clock.monotonic() + EXHAUSTED_S
            what = "Less is free than prune_below, and nothing in the archive may go any more."
            self._tell("archive_exhausted", what, _DISK)
        elif refusals:
            what = f"Of {len(refusals)} cases nothing could be removed; of the first: {refusals[0]}"
            self._tell("cannot_prune", f"{what}.", "Look at `vpe-watcher prune --dry-run`.")
        else:
            self._told = ""

    def _is_left(self) -> bool:
        """Tell, each minute, whether a removal has not ended; then that is tried whatever is on."""
        now = self._clock.monotonic()
        if now < self._left_at:
            return False
        if self._pruner.has_begun(self._root):
            return True
        self._left_at = now + LEFT_AGAIN_S
        return False

    def _is_time_for_ages(self) -> bool:
        now = self._clock.monotonic()
        if now < self._by_age_at or not self._pruner.retention.is_on(self._root):
            return False
        self._by_age_at = now + BY_AGE_EVERY_S
        offset_s = self._clock.now() - now
        jumped_s, self._offset_s = offset_s - self._offset_s, offset_s
        if abs(jumped_s) <= JUMP_S:
            return not self._has_doubt()
        what = f"The clock of this machine was set by {jumped_s:.0f} s: what is too old is judged"
        self._tell(
            "clock_was_set",
            f"{what} in an hour.",
            "Check it (`timedatectl`); if it is right, nothing needs doing.",
        )
        return False

    def _has_doubt(self) -> bool:
        if doubt := self._pruner.doubt(self._root):
            self._tell("clock_ahead", doubt, CLOCK_HINT)
        return bool(doubt)

    def _is_low(self) -> bool:
        """Tell whether the archive has to give way, and did not do so in vain the last time.

        Once it has, it goes on until min_free is reached: else intake would stay paused.
        """
        now = self._clock.monotonic()
        if not self._pruner.retention.frees(self._root) or now < self._by_space_at:
            return False
        free = self._pruner.free_bytes(self._root)
        bet, self._bet = self._bet, None
        self._makes_room = self._pruner.is_low(self._root, free, goes_on=self._makes_room)
        if not self._makes_room:
            return False
        if bet is None or free - bet[0] >= bet[1] * GAIN_AT_LEAST:
            return True
        self._by_space_at = now + BY_AGE_EVERY_S
        what = "What was removed from the archive gave no space back, so no more goes for an hour."
        self._tell("prune_futile", what, "Do snapshots hold it, or does another program fill it?")
        return False

    def _tell(self, code: str, reason: str, hint: str) -> None:
        if code != self._told:
            self._told = code
            self._log("prune.waiting", root=self._root, code=code, reason=reason, hint=hint)
