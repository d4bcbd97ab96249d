"""One inbox: what lies in it, what of it is ready, and the rows that take it.

Each inbox is looked after by one thread, which makes every call on its folder and owns its
candidates: a share that hangs stops nothing else. File events only say where to look sooner.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vpe_watcher.adapters.files import Entry, blamed
from vpe_watcher.adapters.leases import Openness
from vpe_watcher.adapters.store import Remembered
from vpe_watcher.core.candidate import Candidate, found_open, looked
from vpe_watcher.core.candidates import (
    CandidateState,
    Judgement,
    judged,
    may_be_taken_at_once,
    series_of,
)
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.grouping import SIDECAR, Group, Rules, Seen, grouped, sight
from vpe_watcher.core.joining import joined
from vpe_watcher.core.model import Case, FileMark, Problem
from vpe_watcher.core.plans import Facts, Plan
from vpe_watcher.flow.breakers import Breakers, Log
from vpe_watcher.flow.facts import read_facts
from vpe_watcher.flow.looks import seen_in
from vpe_watcher.flow.memory import Memory
from vpe_watcher.flow.places import root_key
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.receive import is_taken
from vpe_watcher.flow.taking import new_cases

SCAN_DUTY = 0.05
PROOF_DUTY = 0.1  # of the time may go into proving files that turn out to be still growing
BLOCKED_AGAIN_S = 60.0
NEVER = float("inf")
SCAN = "scan"
OPEN = "somebody has it open for writing"
COMPARING = "compared with what was there before"
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
    """What we know of one path; facts by path, with the mark that they belong to."""

    candidate: Candidate
    facts: dict[str, tuple[FileMark, Facts | None]] = field(default_factory=dict)
    prove_at: float = 0.0
    is_existing: bool = False

    def fresh(self) -> dict[str, Facts | None]:
        """Return the facts that belong to the files as they are now."""
        marks = {seen.path: seen.mark for seen in self.candidate.group.files}
        return {
            path: facts for path, (mark, facts) in self.facts.items() if marks.get(path) == mark
        }


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


class Inbox:
    """The candidates of one inbox. `turn` is called by one thread only; the rest by any."""

    def __init__(
        self,
        options: Options,
        rules: Callable[[], Rules],
        ports: Ports,
        *,
        breakers: Breakers,
        monotonic: Callable[[], float],
        new_id: Callable[[], str],
        log: Log,
        on_claim: Callable[[], None],
    ) -> None:
        """Prepare; nothing is looked at yet. `rules` is asked at each full scan."""
        self.options = options
        self.name = f"inbox:{options.recipe}"
        self.busy_since: float | None = None
        self._rules_now = rules
        self._rules = rules()
        self._ports = ports
        self._breakers = breakers
        self._monotonic = monotonic
        self._new_id = new_id
        self._log = log
        self._on_claim = on_claim
        self._known: dict[str, _Known] = {}
        self._standing: dict[str, _Standing] = {}
        self._hints: set[str] = set()
        self._moved_in: set[str] = set()
        self._returned: dict[str, Problem | None] = {}
        self._blocked: dict[str, str] = {}
        self._memory: Memory | None = None
        if self._rules.leaves_in_place:
            self._memory = Memory(options, ports, monotonic=monotonic)
        self._next_scan_at = monotonic()
        self._has_scanned = False
        self._is_to_look_anew = False
        self._reported = -1
        self._lock = threading.Lock()
        self.wake = threading.Event()

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
            self._memory.forget(relative.as_posix())
        else:
            self._ports.store.want(self._key, relative.name)
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
        now = self._monotonic()
        with self._lock:
            standing = sorted(self._standing.values(), key=lambda one: one.candidate.detected)
            return [
                {
                    "path": str(self.options.folder / one.candidate.group.path),
                    "recipe": self.options.recipe,
                    "state": str(one.judgement.state),
                    "reason": one.judgement.reason,
                    "age_s": round(now - one.candidate.since, 1),
                }
                for one in standing
                if one.judgement.state is not None
            ]

    def is_idle(self) -> bool:
        """Tell whether all was looked at and nothing can become ready by being left alone."""
        with self._lock:
            if not self._has_scanned or self._hints or self._returned:
                return self._breakers.is_open(self.name)
            return not any(_may_get_ready(one.judgement) for one in self._standing.values())

    def is_paused(self) -> bool:
        """Tell whether an open breaker keeps this inbox from claiming."""
        return self._breakers.is_open(self.name, "state", "disk")

    # --- one turn ---------------------------------------------------------------------------------

    def turn(self) -> float:
        """Look where it is due, claim what is ready; return the seconds until the next turn."""
        self.wake.clear()
        self.busy_since = self._monotonic()
        try:
            self._turn()
        except EnvironmentFault as fault:
            retry_at = self._breakers.open(fault, kind=SCAN)
            self._has_scanned = False
            self._next_scan_at = self._monotonic()  # what comes meanwhile may give no hint
            return max(0.05, min(retry_at - self._monotonic(), self.options.scan_every_s or 1.0))
        finally:
            self.busy_since = None
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
        is_full = self._is_to_look_anew or now >= self._next_scan_at
        self._is_to_look_anew = False
        due = {
            name
            for one in self._standing.values()
            if one.again_at <= now
            for name in _tops(one.candidate.group)
        }
        if not is_full and not hints and not due and not returned:
            return
        if is_full:
            self._rules = self._rules_now()
        self._look(None if is_full else self._with_companions(hints) | due | set(returned))
        self._judge_all()
        self._blocked.clear()
        if is_full:
            spent_s = self._monotonic() - now
            self._next_scan_at = now + max(self.options.scan_every_s, spent_s / SCAN_DUTY)
            self._has_scanned = True
            self._report_scan(spent_s)

    def _with_companions(self, names: set[str]) -> set[str]:
        """Add what a marker or a sidecar belongs to: its own name is that of no candidate."""
        found = set(names)
        marker = self._rules.ready_marker.lower()
        for name in names:
            lower = name.lower()
            if marker and lower.endswith(marker):
                found.add(name[: -len(marker)])
            if lower.endswith(SIDECAR):
                stem = lower.removesuffix(SIDECAR)
                found |= {path for path in self._known if path.lower().startswith(stem)}
        return found

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
        moments = [self._next_scan_at, *(one.again_at for one in self._standing.values())]
        return max(0.0, min(moments) - self._monotonic())

    def _take_back(self, returned: dict[str, Problem | None]) -> None:
        for name, problem in returned.items():
            if problem is not None and problem.code == "blocked":
                self._blocked[name] = f"{problem.message} {problem.hint}"
        if returned and self._memory is not None:
            self._memory.reload()

    # --- looking ----------------------------------------------------------------------------------

    def _look(self, names: set[str] | None) -> None:
        """Look at the whole inbox, or only at some names directly in it and at what is new there.

        A series must not be taken without a slice that lies beside it, whose event was lost.
        """
        with blamed(self.name):
            seen = self._seen(names)
        if self._memory is not None:
            seen = self._memory.unknown(seen, self._rules, is_full=names is None)
        claimed = self._ports.store.claimed_sources()
        groups = {
            group.path: group
            for group in grouped(seen, self._rules)
            if str(self.options.folder / group.path) not in claimed
            and not (self._memory is not None and not group.members)
        }
        existing = self._existing(groups, is_full=names is None)
        now, wall = self._monotonic(), self._ports.now()
        with self._lock:
            moved_in, self._moved_in = self._moved_in, set()
            for path in [path for path in self._known if names is None or path in names]:
                if path not in groups:
                    del self._known[path]
            for path, group in groups.items():
                if names is None or path in names or path not in self._known:
                    one = self._update(path, group, now, wall, moved_in=path in moved_in)
                    one.is_existing = existing.get(path) == _lasting(group)

    def _seen(self, names: set[str] | None) -> list[Seen]:
        marker = self._rules.ready_marker.lower()

        def wants(entry: Entry) -> bool:
            if names is None or entry.name in names:
                return True
            if self._memory is None and entry.name not in self._known:
                return True
            lower = entry.name.lower()
            return lower.endswith(SIDECAR) or bool(marker and lower.endswith(marker))

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
        self, path: str, group: Group, now: float, wall: float, *, moved_in: bool
    ) -> _Known:
        one = self._known.get(path)
        candidate = looked(
            one.candidate if one else None, group, now=now, wall=wall, moved_in=moved_in
        )
        if one is None:
            one = self._known[path] = _Known(candidate)
        one.candidate = candidate
        return one

    def _existing(self, groups: dict[str, Group], *, is_full: bool) -> dict[str, str]:
        """Return what is not wanted (path: sight), and record it at the very first scan."""
        store = self._ports.store
        if self._memory is not None:
            return {}
        if self.options.takes_existing:
            if is_full and not store.is_scanned(self._key):
                store.record_first_scan(self._key, {})
            return {}
        if is_full and not store.is_scanned(self._key):
            found = {path: _lasting(one) for path, one in groups.items()}
            store.record_first_scan(self._key, found)
        return store.existing(self._key)

    @property
    def _key(self) -> str:
        return root_key(self.options.recipe, self.options.folder)

    # --- reading ----------------------------------------------------------------------------------

    def _openness(self, path: str) -> Openness:
        with blamed(self.name):
            return self._ports.openness(self.options.recipe, self.options.folder / path)

    def _read_what_is_due(self, one: _Known) -> None:
        """Ask who has an unread file open; read what is quiet, or may be taken at once."""
        now = self._monotonic()
        one.candidate = replace(one.candidate, is_open=False)
        fresh = one.fresh()
        unread = [seen.path for seen in one.candidate.group.files if fresh.get(seen.path) is None]
        if not unread:
            return
        openness = {path: self._openness(path) for path in unread}
        if Openness.OPEN in openness.values():
            one.candidate = found_open(one.candidate, now=now)
            return
        is_quiet = now - one.candidate.since >= self._rules.settle_s and one.candidate.looks > 1
        is_worth_it = set(openness.values()) == {Openness.CLOSED} and now >= one.prove_at
        is_early = one.candidate.group.is_marked or (
            is_worth_it and may_be_taken_at_once(one.candidate)
        )
        if is_early or (is_quiet and not one.candidate.group.temporaries):
            self._read_facts(one, openness)
            spent_s = self._monotonic() - now
            one.prove_at = now + spent_s / PROOF_DUTY

    def _read_facts(self, one: _Known, openness: dict[str, Openness]) -> None:
        marks = {seen.path: seen.mark for seen in one.candidate.group.files}
        for path, found in openness.items():
            with blamed(self.name):
                facts = read_facts(
                    self._ports.disk,
                    self.options.folder / path,
                    is_closed=found is Openness.CLOSED,
                )
            one.facts[path] = (marks[path], facts)

    # --- judging and claiming ---------------------------------------------------------------------

    def _judge_all(self) -> None:
        with self._lock:
            known = dict(self._known)
        standing = {path: _ignored(one) for path, one in known.items() if one.is_existing}
        wanted = {path: one for path, one in known.items() if not one.is_existing}
        for one in wanted.values():
            self._read_what_is_due(one)
        facts = {path: fact for one in wanted.values() for path, fact in one.fresh().items()}
        candidates = (one.candidate for one in wanted.values())
        for candidate in joined(candidates, facts, self._rules, now=self._monotonic()):
            before = self._standing.get(candidate.group.key)
            judgement = self._judged(candidate, facts, before)
            if self._memory is not None:
                judgement = self._recalled(self._memory, candidate, judgement, facts)
            if judgement.plans:
                self._claim(candidate, judgement.plans, facts)
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
            with self._lock:
                for name in _tops(candidate.group):
                    self._known.pop(name, None)
            return Judgement()
        return judgement

    def _refusal_of(self, group: Group) -> str:
        return next((self._blocked[top] for top in _tops(group) if top in self._blocked), "")

    def _is_open_now(self, candidate: Candidate) -> bool:
        """Ask once more about every file, right before they are taken."""
        opened = [s.path for s in candidate.group.files if self._openness(s.path) is Openness.OPEN]
        for path in opened:
            one = self._known.get(path.partition("/")[0])
            if one is not None:
                one.candidate = found_open(one.candidate, now=self._monotonic())
        return bool(opened)

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
    ) -> None:
        """Write the rows of cases; the rename is the effect of their first state."""
        cases = new_cases(
            plans,
            options=self.options,
            ports=self._ports,
            detected=candidate.detected,
            new_id=self._new_id,
        )
        if self._memory is None:
            remembered: tuple[str, Sequence[Remembered]] = ("", ())
        else:
            remembered = (self._key, self._memory.taken(candidate.group, cases, facts))
        self._ports.store.add_cases(
            cases, is_taken=lambda name: is_taken(name, self._ports), remembered=remembered
        )
        with self._lock:
            for name in _tops(candidate.group):
                self._known.pop(name, None)
        self._on_claim()


def _tops(group: Group) -> set[str]:
    """Return the names directly in the inbox that a group is made of."""
    return {group.path, *(seen.path.partition("/")[0] for seen in group.members)}


def _ignored(one: _Known) -> _Standing:
    reason = 'it lay here at the first scan, and existing = "ignore"'
    return _Standing(one.candidate, Judgement(CandidateState.EXISTING, reason))


def _lasting(group: Group) -> str:
    """Return the sight of a group by what outlives a remount, a restored backup, a new disk."""
    return sight(((seen.path, seen.mark) for seen in group.files), trusts_inodes=False)


def _may_get_ready(judgement: Judgement) -> bool:
    """Tell whether a candidate may become a case by being left alone, and by nothing else."""
    return judgement.state is CandidateState.SETTLING and judgement.reason != PAUSED
