"""Which cases are due, and which of them may begin a step now.

When a case is due lives in memory, on the monotonic clock, so that no jump of the wall clock can
stall or hurry a case; at start everything is due. Never runs a step and never changes a row.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from vpe_watcher.adapters.store import Store
from vpe_watcher.core.breakers import needed_by
from vpe_watcher.core.model import State
from vpe_watcher.flow.breakers import Breakers
from vpe_watcher.flow.verdicts import hosts_of

LANES: Mapping[State, str] = {
    State.CLAIMING: "disk",
    State.SUBMITTING: "calls",
    State.UPLOADING: "uploads",
    State.NOTIFYING: "calls",
    State.WAITING: "calls",
    State.FETCHING: "downloads",
    State.DELIVERING: "disk",
    State.ARCHIVING: "disk",
}
IN_FLIGHT = frozenset({State.UPLOADING, State.NOTIFYING, State.WAITING, State.FETCHING})
SILENCE = "silence"
OUTSIDE_KINDS = frozenset({"scan", "main", "notes", "state", "free space", SILENCE})
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
    disk_steps_a_root: int
    budgets: Mapping[str, Mapping[str, int]]  # by recipe


@dataclass(frozen=True, slots=True)
class Due:
    """A case on the schedule: when its next step is due (monotonic), and which."""

    at: float
    state: State
    recipe: str
    is_counted: bool  # its first submit was counted by the budgets
    waits_for_same: bool = False  # an earlier case of the same scan has to end first


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
        limit, own = self.limits.lanes[lane], self.by_recipe[lane, due.recipe]
        if self.used[lane] >= limit or (is_shared and limit > 1 and own >= limit - 1):
            return False
        if lane == "disk" and own >= self.limits.disk_steps_a_root:
            return False  # a share that hangs must leave workers to the others
        return due.state is not State.SUBMITTING or self.in_flight < self.limits.jobs_in_flight

    def take(self, due: Due) -> None:
        """Count a step that begins."""
        lane = LANES[due.state]
        self.used[lane] += 1
        self.by_recipe[lane, due.recipe] += 1
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
        self._due: dict[str, Due] = {}
        self._in_hand: dict[str, State] = {}
        self._silent: frozenset[str] = frozenset()
        self._taken_at = float("-inf")
        self._lock = threading.RLock()

    def refresh(self) -> None:
        """Read which cases are not at rest; new ones are due now."""
        with self._lock:  # held over the query: an older answer must not replace a newer one
            found = self._store.due()
            known = self._due
            self._due = {}
            for case_id, recipe, state, is_counted in found:
                before = known.get(case_id)
                if before is not None and before.state is state:
                    self._due[case_id] = before
                else:
                    now = self._monotonic()
                    self._due[case_id] = Due(now, state, recipe, is_counted)

    def add(self, case_id: str, recipe: str) -> None:
        """Put a case on the schedule whose row was just written: its claim is due now."""
        with self._lock:
            due = Due(self._monotonic(), State.CLAIMING, recipe, is_counted=False)
            self._due.setdefault(case_id, due)

    def set_silent(self, roots: frozenset[str]) -> None:
        """Say which roots do not answer now: what needs them is not begun.

        Steps that hang there use up no lane, up to as many again as the lane has places.
        """
        with self._lock:
            self._silent = roots

    def count_stuck(self) -> int:
        """Return how many steps in hand hang on a silent root."""
        with self._lock:
            return sum(map(self._is_stuck, self._in_hand))

    def take_ready(self) -> list[tuple[str, State]]:
        """Take in hand every step that is due, may pass its breakers and has room in its lane.

        One place of each lane goes to one recipe only while no other recipe can use it.
        """
        now = self._monotonic()
        with self._lock:
            kinds = frozenset(str(due.state) for due in self._due.values())
            self._breakers.close_orphans(kinds | OUTSIDE_KINDS)
            self._taken_at = now
            room = self._room()
            startable = self._startable(now)
            taken: list[tuple[str, State]] = []
            for is_shared in (True, False):
                for case_id, due in startable:
                    if case_id in self._in_hand or not room.has(due, is_shared=is_shared):
                        continue
                    needed = self._needs(case_id, due)
                    if not self._breakers.may_pass(case_id, due.state, needed):
                        continue
                    room.take(due)
                    self._in_hand[case_id] = due.state
                    taken.append((case_id, due.state))
        return taken

    def _room(self) -> _Room:
        in_flight = self._count_in_flight()
        room = _Room(self._limits, Counter(), Counter(), in_flight)
        stuck: Counter[str] = Counter()
        for case_id, state in self._in_hand.items():
            lane, due = LANES[state], self._due.get(case_id)
            if self._is_stuck(case_id) and stuck[lane] < self._limits.lanes[lane]:
                stuck[lane] += 1
                continue
            room.used[lane] += 1
            room.by_recipe[lane, due.recipe if due is not None else ""] += 1
        return room

    def _is_stuck(self, case_id: str) -> bool:
        due = self._due.get(case_id)
        if due is None or not self._silent:
            return False
        return bool(self._silent_for(case_id, replace(due, state=self._in_hand[case_id])))

    def _silent_for(self, case_id: str, due: Due) -> frozenset[str]:
        """Name the silent roots that a step would ask."""
        if not self._silent:
            return self._silent
        used = frozenset(name.format(recipe=due.recipe) for name in USES[due.state])
        silent = used & self._silent
        return self._only_its_rest(case_id, due, silent) if silent else silent

    def _startable(self, now: float) -> list[tuple[str, Due]]:
        """Return what is due.

        Longest due first: of several cases behind one breaker, the one that failed last comes last.
        """
        startable = [
            (case_id, due)
            for case_id, due in self._due.items()
            if due.at <= now and self._may_begin(case_id, due)
        ]
        return sorted(startable, key=lambda one: one[1].at)

    def _may_begin(self, case_id: str, due: Due) -> bool:
        """Tell whether a case is not in a step, nor about to be cancelled, nor needs the silent."""
        if case_id in self._in_hand or self._should_stop(case_id):
            return False
        return not self._silent_for(case_id, due)

    def next_due_in_s(self) -> float | None:
        """Return the seconds until something may be due; None when nothing is on the schedule.

        What was due when steps were last taken in hand waits for one of them to end.
        """
        now, soonest = self._monotonic(), float("inf")
        with self._lock:
            is_any_open = bool(self._breakers.all())
            for case_id, due in self._due.items():
                if due.at >= soonest or not self._may_begin(case_id, due):
                    continue
                moment = due.at
                if is_any_open:
                    needed = self._needs(case_id, due)
                    moment = max(moment, self._breakers.next_probe_at(due.state, needed))
                if self._taken_at < moment < soonest:
                    soonest = moment
        return None if soonest == float("inf") else max(0.0, soonest - now)

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
                or (due.waits_for_same and bool(gated))
                or (due.state is not State.WAITING and due.at > now + within_s)
                for case_id, due in self._due.items()
            )

    def has_gated_work(self) -> bool:
        """Tell whether an open breaker keeps a case from going on."""
        with self._lock:
            return bool(self._gated())

    def _gated(self) -> set[str]:
        return {
            case_id
            for case_id, due in self._due.items()
            if self._breakers.is_gated(due.state, self._needs(case_id, due))
        }

    def is_in_hand(self, case_id: str) -> bool:
        """Tell whether a step of this case runs now."""
        with self._lock:
            return case_id in self._in_hand

    def _count_in_flight(self) -> int:
        flying = sum(due.state in IN_FLIGHT for due in self._due.values())
        return flying + sum(state is State.SUBMITTING for state in self._in_hand.values())

    def _needs(self, case_id: str, due: Due) -> frozenset[str]:
        """Name the breakers that this step needs closed; the case is asked only if one is open."""
        hosts: frozenset[str] = frozenset()
        prefix = {State.UPLOADING: "upload:", State.FETCHING: "download:"}.get(due.state)
        if prefix and any(b.name.startswith(prefix) for b in self._breakers.all()):
            case = self._store.load(case_id)
            hosts = hosts_of(case, prefix) if case else hosts
        needed = needed_by(due.state, due.recipe, hosts) | self._silent_for(case_id, due)
        if self._breakers.was_met(f"inbox:{due.recipe}", due.state):
            needed |= {f"inbox:{due.recipe}"}
        budgets = {"budget", f"budget:{due.recipe}"} & needed
        if due.is_counted:
            needed -= budgets  # a new job of a case that the budget has seen
        if not self._breakers.is_open("archive", "failed"):
            return needed
        return self._only_its_rest(case_id, due, needed)

    def _only_its_rest(self, case_id: str, due: Due, roots: frozenset[str]) -> frozenset[str]:
        """Leave out of the names of roots that of `archive` and `failed` where it does not go."""
        if due.state is not State.ARCHIVING or not roots & {"archive", "failed"}:
            return roots
        case = self._store.load(case_id)
        failing = case is not None and case.verdict in {State.FAILED, State.CANCELLED}
        return roots - {"archive" if failing else "failed"}

    def put_off(self, case_id: str, until: float) -> None:
        """Let a case's step be due no sooner than a monotonic moment."""
        with self._lock:
            due = self._due.get(case_id)
            if due is not None:
                self._due[case_id] = replace(due, at=max(due.at, until))

    def is_another_waiting(self, case_id: str) -> bool:
        """Tell whether the job of another case is being polled."""
        with self._lock:
            return any(
                due.state is State.WAITING and other != case_id for other, due in self._due.items()
            )

    def release(self, case_id: str) -> None:
        """Take note that a step has ended, however it did."""
        with self._lock:
            self._in_hand.pop(case_id, None)

    def put(self, case_id: str, due: Due | None) -> None:
        """Record when a case's next step is due; None: it is at rest or forgotten."""
        with self._lock:
            if due is None:
                self._due.pop(case_id, None)
            else:
                self._due[case_id] = due

    def budgets_of(self, case_id: str) -> Mapping[str, int]:
        """Return the limits of jobs a day that hold for a case, by breaker name."""
        with self._lock:
            due = self._due.get(case_id)
        return self._limits.budgets.get(due.recipe, {}) if due else {}
