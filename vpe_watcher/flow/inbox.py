"""One inbox: what lies in it, what of it is ready, and the rows that take it.

Each inbox is looked after by one thread, which makes every call on its folder and owns its
candidates: a share that hangs stops nothing else. File events only say where to look sooner.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vpe_watcher.adapters.leases import Openness
from vpe_watcher.adapters.store import Remembered
from vpe_watcher.core.breakers import INTEGRITY
from vpe_watcher.core.candidate import Candidate
from vpe_watcher.core.candidates import CandidateState, Judgement, judged, series_of
from vpe_watcher.core.content import Facts
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.grouping import Group
from vpe_watcher.core.joining import joined
from vpe_watcher.core.model import Case, Problem
from vpe_watcher.core.plans import Plan
from vpe_watcher.flow.breakers import Breakers, Log
from vpe_watcher.flow.memory import Memory
from vpe_watcher.flow.options import Setup
from vpe_watcher.flow.sightings import Sightings, names_of
from vpe_watcher.flow.taken import TakenNames
from vpe_watcher.flow.taking import new_cases

SCAN_DUTY = 0.05
BLOCKED_AGAIN_S = 60.0
NEVER = float("inf")
SCAN = "scan"
OPEN = "somebody has it open for writing"
READING = "its content is being read, to see whether it is whole"
COMPARING = "compared with what was there before"
PAUSED = "ready, but taking is paused: see the open breakers"


@dataclass(slots=True)
class _Standing:
    """Where a candidate stands: its last judgement, and when it is looked at again."""

    candidate: Candidate
    judgement: Judgement
    again_at: float = NEVER
    is_blocked: bool = False

    def is_refused(self, candidate: Candidate, *, now: float) -> bool:
        """Tell whether the disk refused it, nothing has changed, and it is left alone for now."""
        is_same = self.candidate.fingerprint == candidate.fingerprint
        return self.is_blocked and is_same and self.again_at > now


@dataclass(frozen=True, slots=True)
class _Told:
    """What other threads said since the last turn: names directly in the inbox, or paths."""

    hints: set[str]
    moved_in: set[str]
    wants: set[str]
    returned: dict[str, Problem | None]


class Inbox:
    """The candidates of one inbox. `turn` is called by one thread only; the rest by any."""

    def __init__(
        self,
        setup: Setup,
        *,
        breakers: Breakers,
        monotonic: Callable[[], float],
        new_id: Callable[[], str],
        log: Log,
        on_claim: Callable[[str], None],
    ) -> None:
        """Prepare; nothing is looked at yet."""
        self.options = options = setup.options
        self.name = options.name
        self._rules_now = setup.rules
        self._rules = setup.rules()
        self._ports = ports = setup.ports
        self._breakers = breakers
        self._monotonic = monotonic
        self._new_id = new_id
        self._log = log
        self._on_claim = on_claim
        self._standing: dict[str, _Standing] = {}
        self._hints: set[str] = set()
        self._moved_in: set[str] = set()
        self._wants: set[str] = set()
        self._returned: dict[str, Problem | None] = {}
        self._memory: Memory | None = None
        if self._rules.leaves_in_place:
            self._memory = Memory(options, ports, monotonic=monotonic)
        self._sightings = Sightings(
            options, ports, monotonic=monotonic, memory=self._memory, log=log
        )
        self._taken = TakenNames(ports, monotonic=monotonic)
        self._next_scan_at = monotonic()
        self._has_scanned = False
        self._is_to_look_anew = False
        self._reported = -1
        self._lock = threading.Lock()
        self._taking = threading.Lock()  # held while rows are written
        self._next_setup: Setup | None = None
        self._is_closed = False
        self.wake = threading.Event()

    # --- a configuration that changes -------------------------------------------------------------

    def use(self, setup: Setup) -> None:
        """Go by another configuration of the same folder: no row is written by the old one now.

        What was seen stays seen, and is judged anew in the next turn.
        """
        with self._taking:
            self._next_setup = setup
        self.look_anew()

    def close(self) -> None:
        """Take nothing any more; on return no row is being written."""
        with self._taking:
            self._is_closed = True

    def reopen(self) -> None:
        """Take back that it was closed."""
        with self._taking:
            self._is_closed = False
        self.look_anew()

    def _adopt(self) -> None:
        with self._taking:
            setup, self._next_setup = self._next_setup, None
        if setup is None:
            return
        self.options, self._rules_now, self._ports = setup.options, setup.rules, setup.ports
        self._sightings.use(setup.options, setup.ports)
        self._taken.use(setup.ports)
        if self._memory is not None:
            self._memory.use(setup.options, setup.ports)
        self._is_to_look_anew = True  # in this very turn: by the old rules nothing is judged now

    # --- what other threads say and ask -----------------------------------------------------------

    def hint(self, name: str, *, moved_in: bool = False) -> None:
        """Take note that something happened at a name directly in the inbox.

        `moved_in`: it came by one rename from outside, or from a name that is ignored.
        """
        with self._lock:
            self._hints.add(name)
            if moved_in:
                self._moved_in.add(name)
        self.wake.set()

    def want(self, path: str) -> None:
        """Record that a person submitted a path: it is taken even if it lay there before."""
        relative = Path(path).relative_to(self.options.folder)
        if self._memory is not None:
            with self._lock:
                self._wants.add(relative.as_posix())
        else:
            self._ports.store.want(self.options.key, relative.name)
        self.hint(relative.parts[0])

    def look_anew(self) -> None:
        """Look at everything in the next turn: hints may have been missed."""
        self._is_to_look_anew = True
        self.wake.set()

    def returned(self, case: Case, problem: Problem | None) -> None:
        """Take note that a case could not be claimed and lies in the inbox again."""
        with self._lock:
            for move in case.moves:
                name = Path(move.source).relative_to(self.options.folder).parts[0]
                self._returned[name] = problem
        self.wake.set()

    def candidates(self) -> list[dict[str, object]]:
        """Return the candidates in the shape that `status` shows, oldest first."""
        now, reading = self._monotonic(), self._sightings.reading
        with self._lock:
            shown = {
                key: (one.candidate, one.judgement.state, one.judgement.reason)
                for key, one in self._standing.items()
                if one.judgement.state is not None
            }
        if reading is not None:
            shown[reading.group.key] = reading, CandidateState.SETTLING, READING
        return [
            {
                "path": str(self.options.folder / candidate.group.path),
                "recipe": self.options.recipe,
                "state": str(state),
                "reason": reason,
                "age_s": round(now - candidate.since, 1),
            }
            for candidate, state, reason in sorted(shown.values(), key=lambda one: one[0].detected)
        ]

    def is_idle(self) -> bool:
        """Tell whether all was looked at and nothing can become ready by being left alone."""
        with self._lock:
            if not self._has_scanned or self._hints or self._returned or self._next_setup:
                return self.is_cut_off()
            return not any(_may_get_ready(one.judgement) for one in self._standing.values())

    def is_cut_off(self) -> bool:
        """Tell whether a look at this inbox may fail for as long as nobody comes."""
        return self._breakers.is_open(self.name) or self._breakers.was_met("state", INTEGRITY)

    def is_paused(self) -> bool:
        """Tell whether an open breaker keeps this inbox from claiming."""
        return self._breakers.is_open(self.name, "state", "disk")

    # --- one turn ---------------------------------------------------------------------------------

    def turn(self) -> float:
        """Look where it is due, claim what is ready; return the seconds until the next turn."""
        self.wake.clear()
        self._adopt()
        try:
            self._turn()
        except EnvironmentFault as fault:
            if self._is_closed:
                return 0.0  # nobody would ever close the breaker of an inbox that is not there
            retry_at = self._breakers.open(fault, kind=SCAN)
            self._has_scanned = False
            self._next_scan_at = self._monotonic()  # what comes meanwhile may give no hint
            return max(0.05, min(retry_at - self._monotonic(), self.options.scan_every_s or 1.0))
        if self._is_closed:
            return 0.0  # that this folder is well says nothing of the one in its place
        for name in (self.name, "state", "disk"):
            self._breakers.close(name, kind=SCAN)
        return self._seconds_to_next_turn()

    def _turn(self) -> None:
        self._ports.guard(self.name)
        with self._lock:
            told = _Told(self._hints, self._moved_in, self._wants, self._returned)
            self._hints, self._moved_in, self._wants, self._returned = set(), set(), set(), {}
        try:
            self._follow(told)
        except BaseException:
            with self._lock:  # the next turn is told of it
                self._hints |= told.hints
                self._moved_in |= told.moved_in
                self._wants |= told.wants
                self._returned = {**told.returned, **self._returned}
            raise
        if self._memory is not None and self._has_scanned:
            self._memory.read_some()

    def _follow(self, told: _Told) -> None:
        """Look where something happened or is due, and judge what is there."""
        self._take_back(told)
        now = self._monotonic()
        is_full = self._is_to_look_anew or now >= self._next_scan_at
        self._is_to_look_anew = False
        due = [one.candidate.group for one in self._standing.values() if one.again_at <= now]
        names = told.hints | set(told.returned)
        names = names.union(*map(names_of, due))
        if any(group.series_uid for group in due):
            names |= self._sightings.nameless()
        if not is_full and not names:
            return
        if is_full:
            self._rules = self._rules_now()
        names = self._sightings.with_companions(names, self._rules)
        self._sightings.look(None if is_full else names, self._rules, moved_in=told.moved_in)
        self._judge_all()
        self._sightings.refused.clear()
        if is_full:
            spent_s = self._monotonic() - now
            self._next_scan_at = now + max(self.options.scan_every_s, spent_s / SCAN_DUTY)
            self._has_scanned = True
            self._report_scan(spent_s)

    def _report_scan(self, spent_s: float) -> None:
        """Log a full scan when it found another number of candidates than the last one."""
        count = len(self._standing)
        if count != self._reported:
            self._reported = count
            self._log("scan.done", root=self.name, count=count, duration_s=round(spent_s, 3))

    def _seconds_to_next_turn(self) -> float:
        with self._lock:
            if self._hints or self._returned or self._is_to_look_anew:
                return 0.0
        moments = [
            self._next_scan_at,
            self._next_reading_at(),
            *(one.again_at for one in self._standing.values()),
        ]
        return max(0.0, min(moments) - self._monotonic())

    def _next_reading_at(self) -> float:
        return NEVER if self._memory is None else self._memory.next_reading_at

    def _take_back(self, told: _Told) -> None:
        for name, problem in told.returned.items():
            if problem is not None and problem.code == "blocked":
                self._sightings.refused[name] = f"{problem.message} {problem.hint}"
        if self._memory is None:
            return
        if told.returned:
            self._memory.reload()
        for path in told.wants:
            self._memory.want(path)

    # --- judging and claiming ---------------------------------------------------------------------

    def _judge_all(self) -> None:
        self._sightings.read_what_is_due(self._rules)
        facts = self._sightings.facts()
        standing = {one.group.key: _ignored(one) for one in self._sightings.unwanted()}
        wanted = self._sightings.wanted()
        for candidate in joined(wanted, facts, self._rules, now=self._monotonic()):
            before = self._standing.get(candidate.group.key)
            judgement = self._judged(candidate, facts, before)
            if self._memory is not None:
                judgement = self._recalled(self._memory, candidate, judgement, facts)
            if judgement.plans and self._claim(candidate, judgement.plans, facts):
                continue
            standing[candidate.group.key] = self._stand(candidate, judgement, before)
        with self._lock:
            self._standing = standing

    def _judged(
        self, candidate: Candidate, facts: dict[str, Facts | None], before: _Standing | None
    ) -> Judgement:
        """Judge a candidate, unless the disk refused it and nothing has changed since."""
        refusal = self._refusal_of(candidate.group)
        if refusal:
            return Judgement(CandidateState.BLOCKED, refusal)
        now = self._monotonic()
        if before is not None and before.is_refused(candidate, now=now):
            return before.judgement
        found = {seen.path: facts.get(seen.path) for seen in candidate.group.files}
        uids = series_of(found.values())
        known = self._ports.store.known_series(self.options.recipe, uids) if uids else {}
        judgement = judged(candidate, found, self._rules, now=now, known=known)
        if judgement.facts_of:
            return Judgement(CandidateState.SETTLING, "it went while it was read", 0.0)
        if judgement.plans and self.is_paused():
            return Judgement(CandidateState.SETTLING, PAUSED, 1.0)
        if judgement.plans and self._is_open_now(candidate):
            return Judgement(CandidateState.SETTLING, OPEN, max(self._rules.settle_s, 0.2))
        return judgement

    def _recalled(
        self,
        memory: Memory,
        candidate: Candidate,
        judgement: Judgement,
        facts: dict[str, Facts | None],
    ) -> Judgement:
        """Compare what is left in place with what was seen; what holds no scan is remembered."""
        if judgement.plans:
            is_known = memory.is_known(candidate.group, facts)
            if is_known is None:
                return Judgement(CandidateState.SETTLING, COMPARING, 0.05)
            if not is_known:
                return judgement
        quiet_s = self._monotonic() - candidate.since
        is_no_scan = judgement.state in {None, CandidateState.NO_USABLE_FILE}
        if judgement.plans or (is_no_scan and quiet_s >= self._rules.incomplete_after_s):
            memory.keep(candidate.group, facts)
            self._sightings.forget(candidate.group)
            return Judgement()
        return judgement

    def _refusal_of(self, group: Group) -> str:
        refused = self._sightings.refused
        return next((refused[name] for name in names_of(group) if name in refused), "")

    def _is_open_now(self, candidate: Candidate) -> bool:
        """Ask once more about every file, right before they are taken."""
        paths = [seen.path for seen in candidate.group.files]
        found = [path for path in paths if self._sightings.openness(path) is Openness.OPEN]
        self._sightings.found_open(found)
        return bool(found)

    def _stand(
        self, candidate: Candidate, judgement: Judgement, before: _Standing | None
    ) -> _Standing:
        now = self._monotonic()
        again_at = NEVER if judgement.again_s is None else now + judgement.again_s
        is_blocked = judgement.state is CandidateState.BLOCKED
        if is_blocked:
            is_same = before is not None and before.judgement is judgement
            again_at = before.again_at if before and is_same else now + BLOCKED_AGAIN_S
        if judgement.state is not None and (
            before is None or before.judgement.state is not judgement.state
        ):
            self._log_waiting(judgement)
        return _Standing(candidate, judgement, again_at, is_blocked)

    def _log_waiting(self, judgement: Judgement) -> None:
        event = "candidate.waiting"
        if judgement.state is CandidateState.SETTLING:
            event = "candidate.seen"
        self._log(
            event, recipe=self.options.recipe, state=str(judgement.state), reason=judgement.reason
        )

    def _claim(
        self, candidate: Candidate, plans: tuple[Plan, ...], facts: dict[str, Facts | None]
    ) -> bool:
        """Write the rows of cases; the rename is the effect of their first state.

        False: the configuration has changed since it was judged, so it is judged again.
        """
        cases = new_cases(
            plans,
            options=self.options,
            ports=self._ports,
            detected=candidate.detected,
            new_id=self._new_id,
        )
        seen: Sequence[Remembered] = ()
        if self._memory is not None:
            seen = self._memory.taken(candidate.group, cases, facts)
        with self._taking:
            if self._is_closed or self._next_setup is not None:
                return False
            self._ports.store.add_cases(
                cases, is_taken=self._taken.holds, remembered=(self.options.key, seen)
            )
        if self._memory is not None:
            self._memory.learn(seen)
        self._sightings.forget(candidate.group)
        for case in cases:
            if not case.split_of:  # those are put on the schedule when their folder is claimed
                self._on_claim(case.case_id)
        return True


def _ignored(candidate: Candidate) -> _Standing:
    reason = 'it lay here at the first scan, and existing = "ignore"'
    return _Standing(candidate, Judgement(CandidateState.EXISTING, reason))


def _may_get_ready(judgement: Judgement) -> bool:
    """Tell whether a candidate may become a case by being left alone, and by nothing else."""
    return judgement.state is CandidateState.SETTLING and judgement.reason != PAUSED
