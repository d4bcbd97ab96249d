"""One inbox: what lies in it, what of it is ready, and the row that takes it.

Each inbox is looked after by one thread, which makes every call on its folder and owns its
candidates: a share that hangs stops nothing else. File events only say where to look sooner.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vpe_watcher.adapters.files import Entry, blamed
from vpe_watcher.adapters.store import NewCase
from vpe_watcher.core.candidates import (
    Candidate,
    CandidateState,
    Facts,
    Judgement,
    Plan,
    judged,
    looked,
)
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.grouping import SIDECAR, Group, Rules, Seen, grouped, sight
from vpe_watcher.core.model import Case, FileMark, Move, Problem
from vpe_watcher.flow.breakers import Breakers, Log
from vpe_watcher.flow.facts import read_facts
from vpe_watcher.flow.looks import seen_in
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.receive import is_taken

SCAN_DUTY = 0.05
BLOCKED_AGAIN_S = 60.0
SCAN = "scan"
PAUSED = "ready, but taking is paused: see the open breakers"


@dataclass(frozen=True, slots=True)
class Options:
    """What the configuration says of an inbox beyond the rules of candidates."""

    recipe: str
    folder: Path
    scan_every_s: float
    takes_existing: bool


@dataclass(slots=True)
class _Known:
    """What we know of one candidate; facts by path, with the mark that they belong to."""

    candidate: Candidate
    facts: dict[str, tuple[FileMark, Facts | None]] = field(default_factory=dict)
    judgement: Judgement | None = None
    again_at: float = 0.0
    is_blocked: bool = False


class Inbox:
    """The candidates of one inbox. `turn` is called by one thread only; the rest by any."""

    def __init__(
        self,
        options: Options,
        rules: Rules,
        ports: Ports,
        *,
        breakers: Breakers,
        monotonic: Callable[[], float],
        new_id: Callable[[], str],
        log: Log,
        on_claim: Callable[[], None],
    ) -> None:
        """Prepare; nothing is looked at yet."""
        self.options = options
        self.name = f"inbox:{options.recipe}"
        self._rules = rules
        self._ports = ports
        self._breakers = breakers
        self._monotonic = monotonic
        self._new_id = new_id
        self._log = log
        self._on_claim = on_claim
        self._known: dict[str, _Known] = {}
        self._hints: set[str] = set()
        self._returned: dict[str, Problem | None] = {}
        self._blocked: dict[str, str] = {}
        self._next_scan_at = monotonic()
        self._has_scanned = False
        self._reported = -1
        self._lock = threading.Lock()
        self.wake = threading.Event()

    # --- what other threads say and ask -----------------------------------------------------------

    def hint(self, name: str) -> None:
        """Take note that something happened at a name directly in the inbox."""
        with self._lock:
            self._hints.add(name)
        self.wake.set()

    def want(self, path: str) -> None:
        """Record that a person submitted a path: it is taken even if it lay there before."""
        name = Path(path).name
        self._ports.store.want(self._key, name)
        self.hint(name)

    def look_anew(self) -> None:
        """Look at everything in the next turn: hints may have been missed."""
        self._next_scan_at = self._monotonic()
        self.wake.set()

    def returned(self, case: Case, problem: Problem | None) -> None:
        """Take note that a case could not be claimed and lies in the inbox again."""
        with self._lock:
            for move in case.moves:
                self._returned[Path(move.source).name] = problem
        self.wake.set()

    def candidates(self) -> list[dict[str, object]]:
        """Return the candidates in the shape that `status` shows, oldest first."""
        now = self._monotonic()
        with self._lock:
            known = sorted(self._known.values(), key=lambda one: one.candidate.detected)
            return [
                {
                    "path": str(self.options.folder / one.candidate.group.path),
                    "recipe": self.options.recipe,
                    "state": str(one.judgement.state),
                    "reason": one.judgement.reason,
                    "age_s": round(now - one.candidate.since, 1),
                }
                for one in known
                if one.judgement is not None and one.judgement.state is not None
            ]

    def is_idle(self) -> bool:
        """Tell whether all was looked at and nothing can become ready by being left alone."""
        with self._lock:
            if not self._has_scanned or self._hints or self._returned:
                return self._breakers.is_open(self.name)
            return not any(_may_get_ready(one.judgement) for one in self._known.values())

    def is_paused(self) -> bool:
        """Tell whether an open breaker keeps this inbox from claiming."""
        return self._breakers.is_open(self.name, "state", "disk")

    # --- one turn ---------------------------------------------------------------------------------

    def turn(self) -> float:
        """Look where it is due, claim what is ready; return the seconds until the next turn."""
        self.wake.clear()
        try:
            self._turn()
        except EnvironmentFault as fault:
            retry_at = self._breakers.open(fault, kind=SCAN)
            self._has_scanned = False
            self._next_scan_at = self._monotonic()  # what comes meanwhile may give no hint
            return max(0.05, min(retry_at - self._monotonic(), self.options.scan_every_s or 1.0))
        for name in (self.name, "state", "disk"):
            self._breakers.close(name, kind=SCAN)
        return self._seconds_to_next_turn()

    def _turn(self) -> None:
        self._ports.guard(self.name)
        with self._lock:
            hints, self._hints = self._hints, set()
            returned, self._returned = self._returned, {}
        self._take_back(returned)
        now = self._monotonic()
        is_full = now >= self._next_scan_at
        due = {name for name, one in self._known.items() if one.again_at <= now}
        if not is_full and not hints and not due and not returned:
            return
        self._look(None if is_full else hints | due | set(returned))
        self._blocked.clear()  # what is left are sidecars: they are no candidates of their own
        self._judge_all()
        if is_full:
            spent_s = self._monotonic() - now
            self._next_scan_at = now + max(self.options.scan_every_s, spent_s / SCAN_DUTY)
            self._has_scanned = True
            self._report_scan(spent_s)

    def _report_scan(self, spent_s: float) -> None:
        """Log a full scan when it found another number of candidates than the last one."""
        count = len(self._known)
        if count != self._reported:
            self._reported = count
            self._log("scan.done", root=self.name, count=count, duration_s=round(spent_s, 3))

    def _seconds_to_next_turn(self) -> float:
        with self._lock:
            if self._hints or self._returned:
                return 0.0
        moments = [self._next_scan_at, *(one.again_at for one in self._known.values())]
        return max(0.0, min(moments) - self._monotonic())

    def _take_back(self, returned: dict[str, Problem | None]) -> None:
        for name, problem in returned.items():
            if problem is not None and problem.code == "blocked":
                self._blocked[name] = f"{problem.message} {problem.hint}"

    # --- looking ----------------------------------------------------------------------------------

    def _look(self, names: set[str] | None) -> None:
        """Look at the whole inbox, or only at some names directly in it."""
        with blamed(self.name):
            seen = self._seen(names)
        claimed = self._ports.store.claimed_sources()
        groups = {
            group.path: group
            for group in grouped(seen, self._rules)
            if str(self.options.folder / group.path) not in claimed
        }
        existing = self._existing(groups, is_full=names is None)
        now, wall = self._monotonic(), self._ports.now()
        with self._lock:
            for path in [path for path in self._known if names is None or path in names]:
                if path not in groups:
                    del self._known[path]
            for path, group in groups.items():
                if names is None or path in names:
                    self._update(path, group, now=now, wall=wall, existing=existing)

    def _seen(self, names: set[str] | None) -> list[Seen]:
        def wants(entry: Entry) -> bool:
            return names is None or entry.name in names or entry.name.lower().endswith(SIDECAR)

        return seen_in(
            self._ports.disk,
            self.options.folder,
            self._rules,
            wants=wants,
            refused=self._refuse,
        )

    def _refuse(self, name: str, _error: PermissionError) -> None:
        self._blocked[name] = (
            "the service may not look into all of this folder: give its user read permission "
            f"(user id {os.geteuid()})"
        )

    def _update(
        self, path: str, group: Group, *, now: float, wall: float, existing: dict[str, str]
    ) -> None:
        one = self._known.get(path)
        candidate = looked(one.candidate if one else None, group, now=now, wall=wall)
        if one is None:
            one = self._known[path] = _Known(candidate)
        elif candidate.fingerprint != one.candidate.fingerprint:
            one.is_blocked = False
        one.candidate = candidate
        if path in self._blocked:
            self._block(one, self._blocked.pop(path))
        is_unwanted = existing.get(path) == _lasting(group)
        if is_unwanted:
            reason = 'it lay here at the first scan, and existing = "ignore"'
            one.judgement = Judgement(CandidateState.EXISTING, reason)
            one.again_at = float("inf")
        elif one.judgement is not None and one.judgement.state is CandidateState.EXISTING:
            one.judgement = None

    def _block(self, one: _Known, reason: str) -> None:
        """Leave a candidate alone for a while, and say why."""
        before, one.judgement = one.judgement, Judgement(CandidateState.BLOCKED, reason)
        one.is_blocked = True
        one.again_at = self._monotonic() + BLOCKED_AGAIN_S
        if one.judgement != before:
            self._log_waiting(one.judgement)

    def _existing(self, groups: dict[str, Group], *, is_full: bool) -> dict[str, str]:
        """Return what is not wanted (path: sight), and record it at the very first scan."""
        if self.options.takes_existing:
            if is_full and not self._ports.store.is_scanned(self._key):
                self._ports.store.record_first_scan(self._key, {})
            return {}
        if is_full and not self._ports.store.is_scanned(self._key):
            found = {path: _lasting(one) for path, one in groups.items()}
            self._ports.store.record_first_scan(self._key, found)
        return self._ports.store.existing(self._key)

    @property
    def _key(self) -> str:
        return f"{self.name} {self.options.folder}"

    # --- judging and claiming ---------------------------------------------------------------------

    def _judge_all(self) -> None:
        with self._lock:
            pending = list(self._known.items())
        for path, one in pending:
            is_existing = one.judgement and one.judgement.state is CandidateState.EXISTING
            if is_existing or (one.is_blocked and one.again_at > self._monotonic()):
                continue
            one.is_blocked = False
            self._judge(path, one)

    def _judge(self, path: str, one: _Known) -> None:
        judgement = self._judged(one)
        if judgement.wants_facts:
            self._read_facts(one, judgement.facts_of)
            judgement = self._judged(one)
        if judgement.plan is not None and self.is_paused():
            judgement = Judgement(CandidateState.SETTLING, PAUSED, 1.0)
        if judgement.plan is not None:
            self._claim(path, one, judgement.plan)
            return
        now = self._monotonic()
        again_s = judgement.again_s
        if judgement.wants_facts:
            again_s = 0.0  # a file went while it was read: look again
        one.again_at = float("inf") if again_s is None else now + again_s
        if judgement.state is CandidateState.BLOCKED:
            one.again_at = now + BLOCKED_AGAIN_S
        before = one.judgement.state if one.judgement else None
        with self._lock:
            one.judgement = judgement
        if judgement.state is not None and judgement.state is not before:
            self._log_waiting(judgement)

    def _judged(self, one: _Known) -> Judgement:
        marks = {seen.path: seen.mark for seen in one.candidate.group.files}
        fresh = {
            path: facts for path, (mark, facts) in one.facts.items() if marks.get(path) == mark
        }
        return judged(one.candidate, fresh, self._rules, now=self._monotonic())

    def _read_facts(self, one: _Known, paths: tuple[str, ...]) -> None:
        marks = {seen.path: seen.mark for seen in one.candidate.group.files}
        for path in paths:
            with blamed(self.name):
                facts = read_facts(self._ports.disk, self.options.folder / path)
            one.facts[path] = (marks[path], facts)

    def _log_waiting(self, judgement: Judgement) -> None:
        event = "candidate.waiting"
        if judgement.state is CandidateState.SETTLING:
            event = "candidate.seen"
        self._log(
            event, recipe=self.options.recipe, state=str(judgement.state), reason=judgement.reason
        )

    def _claim(self, path: str, one: _Known, plan: Plan) -> None:
        """Write the row of a case; the rename is the effect of its first state."""
        case_id = self._new_id()
        recipe = self._ports.rules.recipes[self.options.recipe]
        new = NewCase(
            case_id=case_id,
            case_name=plan.case_name,
            recipe=self.options.recipe,
            job=recipe.job,
            engine_version=self._ports.rules.engine_version,
            moves=tuple(
                Move(str(self.options.folder / name), f"{case_id}/{name}") for name in plan.files
            ),
            inputs=plan.inputs,
            detected=one.candidate.detected,
            content=plan.content,
            sight=plan.sight,
            job_json=plan.job_json,
            skipped=plan.skipped,
            doom=plan.doom,
        )
        self._ports.store.add_case(new, is_taken=lambda name: is_taken(name, self._ports))
        with self._lock:
            self._known.pop(path, None)
        self._on_claim()


def _lasting(group: Group) -> str:
    """Return the sight of a group by what outlives a remount, a restored backup, a new disk."""
    return sight(((seen.path, seen.mark) for seen in group.files), trusts_inodes=False)


def _may_get_ready(judgement: Judgement | None) -> bool:
    """Tell whether a candidate may become a case by being left alone, and by nothing else."""
    if judgement is None:
        return True
    return judgement.state is CandidateState.SETTLING and judgement.reason != PAUSED
