"""What systemd hears of a running daemon: one line of truth, and whether it is worth keeping alive.

Owned by the main thread, so that one which stands still says nothing. Waits for no folder: a share
that hangs is a breaker, and no reason to be killed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from vpe_watcher.adapters.manager import Manager
from vpe_watcher.adapters.store import Store
from vpe_watcher.adapters.threads import waits_for_a_thread
from vpe_watcher.app.standstill import Standstill, Turn
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.model import State
from vpe_watcher.flow.breakers import Breakers, Log

SHOWN_EVERY_S = 1.0
STUCK_AFTER_S = 60.0  # six times as long as a busy state file is waited for
FED_IN_A_PERIOD = 4
WORDS = {State.WAITING: "processing"}  # at the Engine; the others say what we do
ENGINE = frozenset({"engine", "token"})


class Pulse:
    """Tells the manager how the daemon is. `beat` is called at each turn of the main thread."""

    def __init__(
        self,
        manager: Manager,
        store: Store,
        breakers: Breakers,
        *,
        monotonic: Callable[[], float],
        log: Log,
        stuck_after_s: float = STUCK_AFTER_S,
    ) -> None:
        """Prepare; nothing is told yet."""
        self._manager = manager
        self._store = store
        self._breakers = breakers
        self._monotonic = monotonic
        self._log = log
        self._stuck_after_s = stuck_after_s
        self._standstill = Standstill(monotonic)
        self._counts: Mapping[State, int] = {}
        self._line = ""
        self._next_line_at = 0.0
        self._next_feed_at = 0.0
        self._reason = ""

    def beat(
        self,
        turns: Mapping[str, Turn],
        threads: Iterable[threading.Thread] = (),
        *,
        is_config_wrong: bool = False,
    ) -> None:
        """Tell what is new; `turns` is the work under way in other threads, by its names.

        `threads` are all that may hold what those wait for, themselves among them.
        `is_config_wrong`: the file was read again and refused, so older settings count.
        """
        now = self._monotonic()
        if self._manager.watchdog_s is not None:
            self._feed(now, turns, threads)
        if self._manager.is_listening and now >= self._next_line_at:
            self._next_line_at = now + SHOWN_EVERY_S
            self._show(is_config_wrong=is_config_wrong)

    def _feed(
        self, now: float, turns: Mapping[str, Turn], threads: Iterable[threading.Thread]
    ) -> None:
        if now < self._next_feed_at:
            return
        self._next_feed_at = now + (self._manager.watchdog_s or 0.0) / FED_IN_A_PERIOD
        reason = self._standstill_of_all(turns, threads)
        if reason and reason != self._reason:
            self._log("daemon.stuck", reason=reason)
        self._reason = reason
        if not reason:
            self._manager.alive()

    def _standstill_of_all(
        self, turns: Mapping[str, Turn], threads: Iterable[threading.Thread]
    ) -> str:
        """Say what makes no progress that a new start may bring; "" while there is some.

        A thread that waits in a call of the system, be it for a folder or a host, is let wait, and
        so are those that wait for it. Threads that wait for one another alone wait for ever.
        """
        if self._store.database.longest_s() >= self._stuck_after_s:
            return f"the state file has not answered for {self._stuck_after_s:g} s"
        waits = [self._standstill.seconds(name, turn) for name, turn in turns.items()]
        if max(waits, default=0.0) < self._stuck_after_s:
            return ""
        alive = [thread.native_id for thread in threads if thread.is_alive()]
        if all(waits_for_a_thread(one) for one in alive if one is not None):
            return f"threads have waited for one another for {self._stuck_after_s:g} s"
        return ""

    def _show(self, *, is_config_wrong: bool) -> None:
        # A state file that is out of order has its breaker; what was counted last stands meanwhile.
        if not self._breakers.is_open("state"):
            with suppress(EnvironmentFault):
                self._counts = self._store.counts_of_open()
        names = (breaker.name for breaker in self._breakers.all())
        line = line_of(self._counts, names, is_config_wrong=is_config_wrong)
        if line != self._line:
            self._line = line
            self._manager.status(line)


def line_of(
    counts: Mapping[State, int], breakers: Iterable[str], *, is_config_wrong: bool = False
) -> str:
    """Say in one line what is under way, held and paused, without a name of a case."""
    is_open = frozenset(breakers)
    words = [f"{count} {WORDS.get(state, state)}" for state, count in counts.items() if count]
    words = words or ["nothing to do"]
    if not is_open & ENGINE:
        words.append("Engine ok")
    if is_open:
        words.append(f"paused: {' '.join(sorted(is_open))}")
    if is_config_wrong:
        words.append("the new configuration is refused")
    line = ", ".join(words)
    return line[0].upper() + line[1:]
