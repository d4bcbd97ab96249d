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
OUTSIDE_KINDS = frozenset({"scan", "main", "notes", "state", "free space"})


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

    def take_ready(self) -> list[tuple[str, State]]:
        """Take in hand every step that is due, may pass its breakers and has room in its lane."""
        now = self._monotonic()
        with self._lock:
            kinds = frozenset(str(due.state) for due in self._due.values())
            self._breakers.close_orphans(kinds | OUTSIDE_KINDS)
            used = Counter(LANES[state] for state in self._in_hand.values())
            by_root = Counter(self._root_of(one) for one in self._in_hand)
            in_flight = self._count_in_flight()
            taken = []
            for case_id, due, needed in self._startable(now):
                lane = LANES[due.state]
                if used[lane] >= self._limits.lanes[lane]:
                    continue
                if lane == "disk" and by_root[due.recipe] >= self._limits.disk_steps_a_root:
                    continue  # a share that hangs must leave workers to the others
                if due.state is State.SUBMITTING and in_flight >= self._limits.jobs_in_flight:
                    continue
                if not self._breakers.may_pass(case_id, due.state, needed):
                    continue
                used[lane] += 1
                by_root[due.recipe] += lane == "disk"
                in_flight += due.state is State.SUBMITTING
                self._in_hand[case_id] = due.state
                taken.append((case_id, due.state))
        return taken

    def _startable(self, now: float) -> list[tuple[str, Due, frozenset[str]]]:
        """Return what is due with what it needs, asked before anything is taken in hand.

        Longest due first: of several cases behind one breaker, the one that failed last comes last.
        """
        startable = [
            (case_id, due, self._needs(case_id, due))
            for case_id, due in self._due.items()
            if due.at <= now and self._may_begin(case_id)
        ]
        return sorted(startable, key=lambda one: one[1].at)

    def _may_begin(self, case_id: str) -> bool:
        """Tell whether a case is neither in a step nor waiting for a person's cancel of one."""
        return case_id not in self._in_hand and not self._should_stop(case_id)

    def next_due_in_s(self) -> float | None:
        """Return the seconds until something may be due; None when nothing is on the schedule."""
        now = self._monotonic()
        with self._lock:
            moments = [
                max(due.at, self._breakers.next_probe_at(due.state, self._needs(case_id, due)))
                for case_id, due in self._due.items()
                if self._may_begin(case_id)
            ]
        soonest = min(moments, default=float("inf"))
        return None if soonest == float("inf") else max(0.0, soonest - now)

    def is_idle(self, *, within_s: float) -> bool:
        """Tell whether nothing is in hand, processing, or due within a time but for breakers.

        A case that waits for another of the same scan is as idle as what is gated.
        """
        now = self._monotonic()
        with self._lock:
            if self._in_hand:
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

    def _root_of(self, case_id: str) -> str:
        """Return the recipe whose folders a running disk step uses; "" for other steps."""
        due = self._due.get(case_id)
        is_disk_step = due is not None and LANES[self._in_hand[case_id]] == "disk"
        return due.recipe if due is not None and is_disk_step else ""

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
        needed = needed_by(due.state, due.recipe, hosts)
        if self._breakers.was_met(f"inbox:{due.recipe}", due.state):
            needed |= {f"inbox:{due.recipe}"}
        budgets = {"budget", f"budget:{due.recipe}"} & needed
        if due.is_counted:
            needed -= budgets  # a new job of a case that the budget has seen
        if due.state is not State.ARCHIVING or not self._breakers.is_open("archive", "failed"):
            return needed
        case = self._store.load(case_id)
        failing = case is not None and case.verdict in {State.FAILED, State.CANCELLED}
        return needed - {"archive" if failing else "failed"}

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
