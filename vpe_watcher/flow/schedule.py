"""Which cases are due, and which of them may begin a step now.

When a case is due lives in memory, on the monotonic clock, so that no jump of the wall clock can
stall or hurry a case; at start everything is due. Never runs a step and never changes a row.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from vpe_watcher.adapters.store import Store, UnderWay
from vpe_watcher.core.breakers import CALLED, LASTING, needed_by
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.model import Case, State
from vpe_watcher.core.poison import ALONE_WITHIN_S
from vpe_watcher.core.priorities import MINUTE_S, DayHours, opens_at
from vpe_watcher.flow.agenda import Agenda, Due, Line
from vpe_watcher.flow.breakers import Breakers
from vpe_watcher.flow.room import IN_FLIGHT, LANES, Limits, Room, local_minute
from vpe_watcher.flow.turns import Turns
from vpe_watcher.flow.verdicts import HOST_PREFIXES, hosts_of

SENDING = frozenset({State.SUBMITTING, State.UPLOADING})
TOLD = SENDING | {State.FETCHING}  # where a person wonders why nothing happens
SILENCE = "silence"
MARKING = "marking"
OUTSIDE_KINDS = LASTING | {"scan", "main", "notes", "state", SILENCE, MARKING}
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
class Wait:
    """Cases of a recipe whose step is due, and why there is no room for it."""

    recipe: str
    state: State
    is_big: bool
    reason: str
    count: int


class Schedule:
    """The cases that are not at rest. Its methods may be called from any thread."""

    def __init__(
        self,
        store: Store,
        breakers: Breakers,
        limits: Limits,
        *,
        monotonic: Callable[[], float],
        now: Callable[[], float],
        should_stop: Callable[[str], bool],
        minute_of: Callable[[float], int] = local_minute,
    ) -> None:
        """Prepare; `refresh` fills it. `minute_of` tells the minute of the day on the wall."""
        self._store = store
        self._breakers = breakers
        self._limits = limits
        self._monotonic = monotonic
        self._now = now
        self._should_stop = should_stop
        self._minute_of = minute_of
        self._agenda = Agenda()
        self._is_stale = False  # the state file may know of cases that the agenda lacks
        self._turns = Turns()
        self._in_hand: dict[str, State] = {}
        self._silent: frozenset[str] = frozenset()
        self._alone: dict[str, None] = {}  # whose steps run alone, in this order
        self._alone_until = 0.0
        self._taken_at = float("-inf")
        self._openings: tuple[int, dict[DayHours, float]] = (0, {})  # as of a minute
        self._lock = threading.RLock()

    def use(self, limits: Limits) -> None:
        """Let other limits hold from now on; what runs goes on, whatever they are."""
        with self._lock:
            self._limits = limits
            for case_id, due in list(self._agenda.items()):
                if (weighed := self._weighed(due)) is not due:
                    self._agenda.put(case_id, weighed)

    def hasten(self) -> None:
        """Let what was put off by a breaker be due now: a person has changed something."""
        with self._lock:
            now = self._monotonic()
            for case_id, due in list(self._agenda.items()):
                if due.at > now and not due.wait_s:
                    self._agenda.put(case_id, replace(due, at=now))

    def wake(self, first_id: str) -> None:
        """Let what waits for a case be due now: that has moved on, or is at rest."""
        with self._lock:
            now = self._monotonic()
            for case_id, due in self._agenda.waiting_for(first_id):
                if due.at > now:
                    wait_s = max(0.0, due.wait_s - (due.at - now))
                    self._agenda.put(case_id, replace(due, at=now, wait_s=wait_s))

    def refresh(self) -> None:
        """Read which cases are not at rest; new ones are due now.

        Where the state file fails it is done with the next `take_ready`.
        """
        with self._lock:  # held over the query: an older answer must not replace a newer one
            self._is_stale = True
            found = self._store.due()
            for gone in self._agenda.ids() - {row.case_id for row in found}:
                self._agenda.remove(gone)
            for row in found:
                before = self._agenda.get(row.case_id)
                if before is None or before.state is not row.state:
                    self._agenda.put(row.case_id, self._found(row))
            self._is_stale = False

    def _refresh_again(self) -> None:
        try:
            self.refresh()
        except EnvironmentFault as fault:  # what is known goes on
            self._breakers.open(fault, kind="main")

    def refresh_later(self) -> None:
        """Let the next `take_ready` read which cases are not at rest."""
        with self._lock:
            self._is_stale = True

    def _found(self, row: UnderWay) -> Due:
        """Return a case that the state file knows and the agenda does not, due now."""
        line = Line(row.state, row.recipe, row.is_counted, row.is_failing)
        due = Due(self._monotonic(), line, unsent_bytes=row.unsent_bytes)
        if line.state in HOST_PREFIXES and (case := self._store.load(row.case_id)) is not None:
            return self._completed(due, case)
        return self._weighed(due)

    def _completed(self, due: Due, case: Case) -> Due:
        """Add to a due step what its case says of it: hosts and bytes."""
        if prefix := HOST_PREFIXES.get(due.state):
            due = replace(due, line=replace(due.line, hosts=hosts_of(case, prefix)))
        if due.unsent_bytes != (unsent_bytes := case.unsent_bytes):
            due = replace(due, unsent_bytes=unsent_bytes)
        return self._weighed(due)

    def _weighed(self, due: Due) -> Due:
        is_big = due.state in SENDING and self._limits.is_big(due.unsent_bytes)
        if is_big is due.line.is_big:
            return due
        return replace(due, line=replace(due.line, is_big=is_big))

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

        Of the recipes in the order of `Turns`, of one recipe longest due first, and so of the
        lanes: of several cases behind one breaker, the one that failed last comes last.
        """
        now = self._monotonic()
        with self._lock:
            if self._is_stale:
                self._refresh_again()
            kinds = frozenset(str(line.state) for line in self._agenda.lines())
            self._breakers.close_orphans(kinds | OUTSIDE_KINDS)
            self._taken_at = now
            due = self._agenda.due_lines(now)
            if not due:
                return []
            room = self._room(now)
            since = self._since(due, now, room)
            self._free_stuck(since)
            if (alone := self._take_alone(now, room)) is not None:
                return alone
            by_lane: dict[str, list[Line]] = {}
            for line in sorted(due, key=lambda one: since.get(one, now)):
                by_lane.setdefault(LANES[line.state], []).append(line)
            return [
                taken
                for lane, lines in by_lane.items()
                for taken in self._take_from(lane, lines, now, room)
            ]

    def _since(self, lines: Iterable[Line], now: float, room: Room) -> dict[Line, float]:
        """Return since when each line is due from which a step could begin but for breakers."""
        able = (line for line in lines if not room.shortage(line))
        heads = ((line, next(self._ready_in(line, now), None)) for line in able)
        return {line: head[0] for line, head in heads if head}

    def _free_stuck(self, lines: Iterable[Line]) -> None:
        """Tell the breakers which steps could begin if these let them."""
        if not self._breakers.is_open(*CALLED):
            return
        running = {str(on) for one, on in self._in_hand.items() if not self._is_stuck(one)}
        steps = {(str(line.state), self._needs_of(line)) for line in lines}
        self._breakers.free_stuck(steps, running)

    def _take_alone(self, now: float, room: Room) -> list[tuple[str, State]] | None:
        """Take one step that has to run alone, once nothing else runs; None: none can begin now."""
        if now >= self._alone_until:
            self._alone = {}
        running = [one for one in self._in_hand if not self._is_stuck(one)]
        if any(one in self._alone for one in running):
            return []
        for case_id in self._alone:
            due = self._agenda.get(case_id)
            if due is None or due.at > now or self._probe_at(due.line) > now:
                continue
            if room.shortage(due.line) or not self._may_begin(case_id, due.line):
                continue  # it hangs, or has to wait
            needed = self._needs_of(due.line)
            if running or not self._breakers.may_pass(case_id, due.state, needed):
                return []
            self._in_hand[case_id] = due.state
            return [(case_id, due.state)]
        return None

    def _take_from(
        self, lane: str, lines: Iterable[Line], now: float, room: Room
    ) -> list[tuple[str, State]]:
        """Take what a lane has room for; where one cannot go on, its line waits with it."""
        taken: list[tuple[str, State]] = []
        walks = {line: self._ready_in(line, now) for line in lines if not room.shortage(line)}
        heads = {line: head for line, walk in walks.items() if (head := next(walk, None))}
        while heads:
            since = {line: at for line, (at, _) in heads.items()}
            line = self._turns.first(lane, since, room)
            _, case_id = heads.pop(line)
            if not self._breakers.may_pass(case_id, line.state, self._needs_of(line)):
                continue
            room.take(line)
            self._turns.take(lane, line, since, room)
            self._in_hand[case_id] = line.state
            taken.append((case_id, line.state))
            if head := next(walks[line], None):
                heads[line] = head
            heads = {one: head for one, head in heads.items() if not room.shortage(one)}
        return taken

    def _ready_in(self, line: Line, now: float) -> Iterator[tuple[float, str]]:
        """Walk the cases of a line that are due, but for room and breakers; longest due first."""
        for at, case_id in self._agenda.due_in(line, now):
            if case_id not in self._alone and self._may_begin(case_id, line):
                yield at, case_id

    def _room(self, now: float) -> Room:
        room = Room(self._limits, self._minute_of(self._now()))
        stuck: Counter[str] = Counter()
        for line in self._agenda.lines():
            if line.state in IN_FLIGHT:
                bigs = self._agenda.count_due(line, now) if self._goes_on(line) else 0
                room.count_submitted(line, cases=self._agenda.count_in(line), bigs=bigs)
        for case_id, state in self._in_hand.items():
            lane, due = LANES[state], self._agenda.get(case_id)
            line = due.line if due is not None else Line(state, "", is_counted=False)
            if state is State.SUBMITTING and line.state not in IN_FLIGHT:
                room.count_submitted(line, cases=1, bigs=1)
            if self._is_stuck(case_id) and stuck[lane] < self._limits.lanes[lane]:
                stuck[lane] += 1
                continue
            room.count(line, state)
        return room

    def _goes_on(self, line: Line) -> bool:
        """Tell whether big cases of a line are uploaded next; one in trouble stops no other."""
        if not line.is_big or line.state is not State.UPLOADING or self._silent_for(line):
            return False
        return not self._breakers.is_gated(line.state, self._needs_of(line))

    def waits(self) -> list[Wait]:
        """Say of the cases on their way to and from the Engine what there is no room for."""
        now = self._monotonic()
        found: Counter[tuple[str, State, bool, str]] = Counter()
        with self._lock:
            room = self._room(now)
            for line in self._agenda.lines():
                if line.state in TOLD and (reason := room.shortage(line)):
                    count = self._agenda.count_due(line, now)
                    count -= sum(self._is_of(case_id, line) for case_id in self._in_hand)
                    found[line.recipe, line.state, line.is_big, reason] += count
        return [Wait(*what, count) for what, count in sorted(found.items()) if count > 0]

    def _is_of(self, case_id: str, line: Line) -> bool:
        due = self._agenda.get(case_id)
        return due is not None and due.line == line

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

    def _may_begin(self, case_id: str, line: Line) -> bool:
        """Tell whether a case is not in a step, nor about to be cancelled, nor needs the silent."""
        if case_id in self._in_hand or self._should_stop(case_id):
            return False
        return not self._silent_for(line)

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
        opens_at = max(self._probe_at(line), self._opens_at(line))
        after = float("-inf") if opens_at > self._taken_at else self._taken_at
        for case_id in self._agenda.standing_in(line, after=after):
            due = self._agenda.get(case_id)
            if due is not None and self._may_begin(case_id, line):
                return max(due.at, opens_at)
        return float("inf")

    def _probe_at(self, line: Line) -> float:
        return self._breakers.next_probe_at(line.state, self._needs_of(line))

    def _opens_at(self, line: Line) -> float:
        """Return the monotonic moment from which a line's hours let it begin; 0: they do now."""
        hours = self._limits.share_of(line.recipe).hours
        if hours is None or line.state is not State.SUBMITTING:
            return 0.0
        now = self._now()
        if hours.holds(self._minute_of(now)):
            return 0.0
        minute = int(now // MINUTE_S)
        if self._openings[0] != minute:
            self._openings = minute, {}
        if hours not in self._openings[1]:
            self._openings[1][hours] = opens_at(hours, now, self._minute_of)
        return self._monotonic() + self._openings[1][hours] - now

    def is_idle(self, *, within_s: float) -> bool:
        """Tell whether nothing is in hand, processing, or due within a time but for breakers.

        A case that waits for another of the same scan is as idle as what is gated.
        """
        moment = self._monotonic() + within_s
        with self._lock:
            if not all(map(self._is_stuck, self._in_hand)):
                return False
            gated = self._gated()
            opening = {line: self._opens_at(line) for line in self._agenda.lines()}
            return all(
                due.line in gated
                or (bool(gated) if due.waits_for else _is_far(due, moment, opening[due.line]))
                for _, due in self._agenda.items()
            )

    def has_gated_work(self) -> bool:
        """Tell whether an open breaker keeps a case from going on."""
        with self._lock:
            return bool(self._gated())

    def _gated(self) -> set[Line]:
        return {
            line
            for line in self._agenda.lines()
            if self._breakers.is_gated(line.state, self._needs_of(line))
        }

    def is_in_hand(self, case_id: str) -> bool:
        """Tell whether a step of this case runs now."""
        with self._lock:
            return case_id in self._in_hand

    def _needs_of(self, line: Line) -> frozenset[str]:
        """Name the breakers that a step of this line needs closed."""
        needed = needed_by(line.state, line.recipe, line.hosts) | self._silent_for(line)
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

    def put(self, case_id: str, due: Due | None, case: Case | None = None) -> None:
        """Record when a case's next step is due; None: it is at rest or forgotten.

        `case` is as it was when the step before it ended: it knows what is to be transferred.
        """
        with self._lock:
            if due is None:
                self._agenda.remove(case_id)
            else:
                self._agenda.put(case_id, due if case is None else self._completed(due, case))

    def budgets_of(self, case_id: str) -> Mapping[str, int]:
        """Return the limits of jobs a day that hold for a case, by breaker name."""
        with self._lock:
            due = self._agenda.get(case_id)
        return self._limits.budgets.get(due.line.recipe, {}) if due else {}


def _is_far(due: Due, moment: float, opens_at: float) -> bool:
    """Tell whether a case's step is due after a moment, and no job is being processed."""
    return due.state is not State.WAITING and max(due.at, opens_at) > moment


def _only_its_rest(line: Line, roots: frozenset[str]) -> frozenset[str]:
    """Leave out of the names of roots that of `archive` or `failed`, where it does not go."""
    if line.state is not State.ARCHIVING:
        return roots
    return roots - {"archive" if line.is_failing else "failed"}
