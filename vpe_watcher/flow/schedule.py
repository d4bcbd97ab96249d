"""Which cases are due, and which of them may begin a step now.

When a case is due lives in memory, on the monotonic clock, so that no jump of the wall clock can
stall or hurry a case; at start everything is due. Never runs a step and never changes a row.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from vpe_watcher.adapters.store import Store
from vpe_watcher.core.breakers import MEASURED, needed_by
from vpe_watcher.core.model import Case, State
from vpe_watcher.core.poison import ALONE_WITHIN_S
from vpe_watcher.flow.agenda import Agenda, Due, Line
from vpe_watcher.flow.breakers import Breakers
from vpe_watcher.flow.verdicts import HOST_PREFIXES, hosts_of

LANES: Mapping[State, str] = {
    State.CLAIMING: "claims",
    State.SUBMITTING: "calls",
    State.UPLOADING: "uploads",
    State.NOTIFYING: "calls",
    State.WAITING: "calls",
    State.FETCHING: "downloads",
    State.DELIVERING: "deliveries",
    State.ARCHIVING: "archivings",
}
# What only asks folders: half of the places for one recipe, whose share may hang.
FOLDER_LANES = frozenset({"claims", "deliveries", "archivings"})
IN_FLIGHT = frozenset({State.UPLOADING, State.NOTIFYING, State.WAITING, State.FETCHING})
SILENCE = "silence"
INTEGRITY = "integrity"
MARKING = "marking"
OUTSIDE_KINDS = frozenset({"scan", "main", "notes", "state", MEASURED, SILENCE, INTEGRITY, MARKING})
# The folders that a step asks, by the names of their breakers.
USES: Mapping[State, tuple[str, ...]] = {
    State.CLAIMING: ("inbox:{recipe}",),
    State.SUBMITTING: ("inbox:{recipe}",),
    State.UPLOADING: ("inbox:{recipe}",),
    State.NOTIFYING: ("inbox:{recipe}",),
    State.WAITING: (),
    State.FETCHING: ("outbox",),
    State.DELIVERING: ("outbox", "inbox:{recipe}"),
    State.ARCHIVING: ("archive", "failed", "inbox:{recipe}", "outbox"),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once. `lanes` by name; `budgets` by breaker name, 0 = none."""

    lanes: Mapping[str, int]
    jobs_in_flight: int
    budgets: Mapping[str, Mapping[str, int]]  # by recipe


@dataclass(slots=True)
class _Room:
    """What is free in the lanes, while steps are taken in hand."""

    limits: Limits
    used: Counter[str]
    by_recipe: Counter[tuple[str, str]]
    in_flight: int

    def has(self, due: Due, *, is_shared: bool) -> bool:
        """Tell whether a step may begin; `is_shared`: leave a place to the other recipes."""
        lane = LANES[due.state]
        limit, own = self.limits.lanes[lane], self.by_recipe[lane, due.line.recipe]
        if self.used[lane] >= limit or (is_shared and limit > 1 and own >= limit - 1):
            return False
        if lane in FOLDER_LANES and own >= limit // 2:
            return False  # a share that hangs must leave workers to the others
        return due.state is not State.SUBMITTING or self.in_flight < self.limits.jobs_in_flight

    def take(self, due: Due) -> None:
        """Count a step that begins."""
        lane = LANES[due.state]
        self.used[lane] += 1
        self.by_recipe[lane, due.line.recipe] += 1
        self.in_flight += due.state is State.SUBMITTING


class Schedule:
    """The cases that are not at rest. Its methods may be called from any thread."""

    def __init__(
        self,
        store: Store,
        breakers: Breakers,
        limits: Limits,
        *,
        monotonic: Callable[[], float],
        should_stop: Callable[[str], bool],
    ) -> None:
        """Prepare; `refresh` fills it."""
        self._store = store
        self._breakers = breakers
        self._limits = limits
        self._monotonic = monotonic
        self._should_stop = should_stop
        self._agenda = Agenda()
        self._in_hand: dict[str, State] = {}
        self._silent: frozenset[str] = frozenset()
        self._alone: dict[str, None] = {}  # whose steps run alone, in this order
        self._alone_until = 0.0
        self._taken_at = float("-inf")
        self._lock = threading.RLock()

    def use(self, limits: Limits) -> None:
        """Go by other limits from now on; what runs already runs on."""
        with self._lock:
            self._limits = limits

    def hasten(self) -> None:
        """Let what was put off by a breaker be due now: a person has changed something."""
        with self._lock:
            now = self._monotonic()
            for case_id, due in list(self._agenda.items()):
                if due.at > now and not due.wait_s:
                    self._agenda.put(case_id, replace(due, at=now))

    def refresh(self) -> None:
        """Read which cases are not at rest; new ones are due now."""
        with self._lock:  # held over the query: an older answer must not replace a newer one
            found = self._store.due()
            known, self._agenda = self._agenda, Agenda()
            for row in found:
                before = known.get(row.case_id)
                if before is None or before.state is not row.state:
                    line = Line(row.state, row.recipe, row.is_counted, row.is_failing)
                    before = Due(self._monotonic(), line)
                self._agenda.put(row.case_id, before)

    def add(self, case_id: str, recipe: str) -> None:
        """Put a case on the schedule whose row was just written: its claim is due now."""
        with self._lock:
            if self._agenda.get(case_id) is None:
                line = Line(State.CLAIMING, recipe, is_counted=False)
                self._agenda.put(case_id, Due(self._monotonic(), line))

    def set_silent(self, roots: frozenset[str]) -> None:
        """Say which roots do not answer now: what needs them is not begun.

        Steps that hang there use up no lane, up to as many again as the lane has places, and probe
        no breaker: whether one closes must not wait for them.
        """
        with self._lock:
            self._silent = roots
            for case_id in filter(self._is_stuck, self._in_hand):
                self._breakers.ended(case_id, proves_calls=False, proves_roots=False)

    def run_alone(self, case_ids: Iterable[str]) -> None:
        """Run the steps of these cases one at a time, before all others, for ten minutes at most.

        One that cannot begin now (a breaker, a pause) holds up nothing meanwhile.
        """
        with self._lock:
            self._alone = dict.fromkeys(case_ids)
            self._alone_until = self._monotonic() + ALONE_WITHIN_S

    def let_go(self, case_id: str) -> None:
        """Take note that a step has come to its end: it need not run alone any more."""
        with self._lock:
            self._alone.pop(case_id, None)

    def count_stuck(self) -> int:
        """Return how many steps in hand hang on a silent root."""
        with self._lock:
            return sum(map(self._is_stuck, self._in_hand))

    def take_ready(self) -> list[tuple[str, State]]:
        """Take in hand every step that is due, may pass its breakers and has room in its lane.

        Longest due first: of several cases behind one breaker, the one that failed last comes last.
        One place of each lane goes to one recipe only while no other recipe can use it.
        """
        now = self._monotonic()
        with self._lock:
            kinds = frozenset(str(line.state) for line in self._agenda.lines())
            self._breakers.close_orphans(kinds | OUTSIDE_KINDS)
            self._taken_at = now
            if not self._agenda.is_any_due(now):
                return []
            room = self._room()
            if (alone := self._take_alone(now, room)) is not None:
                return alone
            return self._take(now, room, is_shared=True) + self._take(now, room, is_shared=False)

    def _take_alone(self, now: float, room: _Room) -> list[tuple[str, State]] | None:
        """Take one step that has to run alone, once nothing else runs; None: none can begin now."""
        if now >= self._alone_until:
            self._alone = {}
        running = [one for one in self._in_hand if not self._is_stuck(one)]
        if any(one in self._alone for one in running):
            return []
        for case_id in self._alone:
            due = self._agenda.get(case_id)
            if due is None or not room.has(due, is_shared=False) or self._moment_of(case_id) > now:
                continue
            if case_id in self._in_hand:
                continue  # it hangs
            needed = self._needs(case_id, due)
            if running or not self._breakers.may_pass(case_id, due.state, needed):
                return []
            self._in_hand[case_id] = due.state
            return [(case_id, due.state)]
        return None

    def _take(self, now: float, room: _Room, *, is_shared: bool) -> list[tuple[str, State]]:
        """Take what there is room for; where one cannot go on, its line waits with it."""
        taken: list[tuple[str, State]] = []
        waiting: set[Line] = set()
        for case_id, due in self._agenda.due_by(now, left_out=waiting):
            if not room.has(due, is_shared=is_shared):
                waiting.add(due.line)
            elif case_id in self._alone:
                continue
            elif self._may_begin(case_id, due):
                if self._breakers.may_pass(case_id, due.state, self._needs(case_id, due)):
                    room.take(due)
                    self._in_hand[case_id] = due.state
                    taken.append((case_id, due.state))
                elif not self._needs_hosts(due.line):
                    waiting.add(due.line)
        return taken

    def _room(self) -> _Room:
        in_flight = self._count_in_flight()
        room = _Room(self._limits, Counter(), Counter(), in_flight)
        stuck: Counter[str] = Counter()
        for case_id, state in self._in_hand.items():
            lane, due = LANES[state], self._agenda.get(case_id)
            if self._is_stuck(case_id) and stuck[lane] < self._limits.lanes[lane]:
                stuck[lane] += 1
                continue
            room.used[lane] += 1
            room.by_recipe[lane, due.line.recipe if due is not None else ""] += 1
        return room

    def _is_stuck(self, case_id: str) -> bool:
        due = self._agenda.get(case_id)
        if due is None or not self._silent:
            return False
        return bool(self._silent_for(replace(due.line, state=self._in_hand[case_id])))

    def _silent_for(self, line: Line) -> frozenset[str]:
        """Name the silent roots that a step would ask."""
        if not self._silent:
            return self._silent
        used = frozenset(name.format(recipe=line.recipe) for name in USES[line.state])
        return _only_its_rest(line, used & self._silent)

    def _may_begin(self, case_id: str, due: Due) -> bool:
        """Tell whether a case is not in a step, nor about to be cancelled, nor needs the silent."""
        if case_id in self._in_hand or self._should_stop(case_id):
            return False
        return not self._silent_for(due.line)

    def next_due_in_s(self) -> float | None:
        """Return the seconds until something may be due; None when nothing is on the schedule.

        What was due when steps were last taken in hand waits for one of them to end.
        """
        now, soonest = self._monotonic(), float("inf")
        with self._lock:
            for line in self._agenda.lines():
                soonest = min(soonest, self._next_moment(line))
        return None if soonest == float("inf") else max(0.0, soonest - now)

    def _next_moment(self, line: Line) -> float:
        """Return the monotonic moment, after the last taking, when one of a line may be due."""
        if self._needs_hosts(line):
            moments = map(self._moment_of, self._agenda.standing_in(line))
            return min((one for one in moments if one > self._taken_at), default=float("inf"))
        probe_at = self._breakers.next_probe_at(line.state, self._needs_of(line))
        after = float("-inf") if probe_at > self._taken_at else self._taken_at
        for case_id in self._agenda.standing_in(line, after=after):
            due = self._agenda.get(case_id)
            if due is not None and self._may_begin(case_id, due):
                return max(due.at, probe_at)
        return float("inf")

    def _moment_of(self, case_id: str) -> float:
        due = self._agenda.get(case_id)
        if due is None or not self._may_begin(case_id, due):
            return float("inf")
        needed = self._needs(case_id, due)
        return max(due.at, self._breakers.next_probe_at(due.state, needed))

    def is_idle(self, *, within_s: float) -> bool:
        """Tell whether nothing is in hand, processing, or due within a time but for breakers.

        A case that waits for another of the same scan is as idle as what is gated.
        """
        now = self._monotonic()
        with self._lock:
            if not all(map(self._is_stuck, self._in_hand)):
                return False
            gated = self._gated()
            return all(
                case_id in gated
                or (bool(gated) if due.waits_for_same else _is_far(due, now + within_s))
                for case_id, due in self._agenda.items()
            )

    def has_gated_work(self) -> bool:
        """Tell whether an open breaker keeps a case from going on."""
        with self._lock:
            return bool(self._gated())

    def _gated(self) -> set[str]:
        gated: set[str] = set()
        for line in self._agenda.lines():
            if self._needs_hosts(line):
                gated |= {one for one in self._agenda.standing_in(line) if self._is_gated(one)}
            elif self._breakers.is_gated(line.state, self._needs_of(line)):
                gated |= set(self._agenda.standing_in(line))
        return gated

    def _is_gated(self, case_id: str) -> bool:
        due = self._agenda.get(case_id)
        return due is not None and self._breakers.is_gated(due.state, self._needs(case_id, due))

    def is_in_hand(self, case_id: str) -> bool:
        """Tell whether a step of this case runs now."""
        with self._lock:
            return case_id in self._in_hand

    def _count_in_flight(self) -> int:
        submitting = sum(state is State.SUBMITTING for state in self._in_hand.values())
        return self._agenda.count(IN_FLIGHT) + submitting

    def _needs_hosts(self, line: Line) -> bool:
        """Tell whether each case of a line may need other breakers: those of its links' hosts."""
        prefix = HOST_PREFIXES.get(line.state)
        return prefix is not None and self._breakers.is_any_open(prefix)

    def _needs(self, case_id: str, due: Due) -> frozenset[str]:
        """Name the breakers that this step needs closed; the case is asked only if one is open."""
        hosts: frozenset[str] = frozenset()
        if self._needs_hosts(due.line):
            case = self._store.load(case_id)
            hosts = hosts_of(case, HOST_PREFIXES[due.state]) if case else hosts
        return self._needs_of(due.line, hosts)

    def _needs_of(self, line: Line, hosts: frozenset[str] = frozenset()) -> frozenset[str]:
        needed = needed_by(line.state, line.recipe, hosts) | self._silent_for(line)
        if self._breakers.was_met(f"inbox:{line.recipe}", line.state):
            needed |= {f"inbox:{line.recipe}"}
        if line.is_counted:  # a new job of a case that the budget has seen
            needed -= {"budget", f"budget:{line.recipe}"}
        return _only_its_rest(line, needed)

    def put_off(self, case_id: str, until: float) -> None:
        """Let a case's step be due no sooner than a monotonic moment."""
        with self._lock:
            due = self._agenda.get(case_id)
            if due is not None:
                self._agenda.put(case_id, replace(due, at=max(due.at, until), wait_s=0.0))

    def waited_s(self, case: Case) -> float:
        """Return how long a case in hand was put off on its own account, in seconds.

        Not while a breaker that its step needs was open; of transfers also the Engine's, for
        where nobody answers it is no case's own trouble.
        """
        with self._lock:
            due = self._agenda.get(case.case_id)
        if due is None or not due.wait_s:
            return 0.0
        prefix = HOST_PREFIXES.get(due.state)
        others = hosts_of(case, prefix) | {"engine", "token"} if prefix else frozenset()
        names = needed_by(due.state, due.line.recipe, others)
        return due.wait_s - self._breakers.open_s(names, since=due.at - due.wait_s, until=due.at)

    def is_another_waiting(self, case_id: str) -> bool:
        """Tell whether the job of another case is being polled."""
        with self._lock:
            due = self._agenda.get(case_id)
            is_itself = due is not None and due.state is State.WAITING
            return self._agenda.count({State.WAITING}) > is_itself

    def release(self, case_id: str) -> None:
        """Take note that a step has ended, however it did."""
        with self._lock:
            self._in_hand.pop(case_id, None)

    def put(self, case_id: str, due: Due | None) -> None:
        """Record when a case's next step is due; None: it is at rest or forgotten."""
        with self._lock:
            if due is None:
                self._agenda.remove(case_id)
            else:
                self._agenda.put(case_id, due)

    def budgets_of(self, case_id: str) -> Mapping[str, int]:
        """Return the limits of jobs a day that hold for a case, by breaker name."""
        with self._lock:
            due = self._agenda.get(case_id)
        return self._limits.budgets.get(due.line.recipe, {}) if due else {}


def _is_far(due: Due, moment: float) -> bool:
    """Tell whether a case's step is due after a moment, and no job is being processed."""
    return due.state is not State.WAITING and due.at > moment


def _only_its_rest(line: Line, roots: frozenset[str]) -> frozenset[str]:
    """Leave out of the names of roots that of `archive` or `failed`, where it does not go."""
    if line.state is not State.ARCHIVING:
        return roots
    return roots - {"archive" if line.is_failing else "failed"}
