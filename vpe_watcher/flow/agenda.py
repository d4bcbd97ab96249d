"""When each case under way is due, in lines of cases that the same things keep waiting.

Thousands of cases may wait for one budget or one folder: whoever looks for the next step asks the
first of each line, not all of them. Never asks a clock, a breaker or a row; owned by the schedule.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice

from vpe_watcher.core.model import State

# When it is due, a number that no other case has, and its id: what a line is sorted by.
Place = tuple[float, int, str]


@dataclass(frozen=True, slots=True)
class Line:
    """All that decides whether a case's step may begin: those of one line wait for the same."""

    state: State
    recipe: str
    is_counted: bool  # its first submit was counted by the budgets
    is_failing: bool = False  # it goes to `failed` in the end, not to the archive
    is_big: bool = False  # it takes up a place for uploads for long
    hosts: frozenset[str] = frozenset()  # the breakers of what it is to transfer, by full name


@dataclass(frozen=True, slots=True)
class Due:
    """A case under way: when its next step is due (monotonic), and in which line it stands."""

    at: float
    line: Line
    waits_for: str = ""  # the case that has to move on first, as one of the same scan
    wait_s: float = 0.0  # how long before `at` the case was put off, on its own account
    unsent_bytes: int = 0  # what is to be uploaded

    @property
    def state(self) -> State:
        """Return the step that is due."""
        return self.line.state


@dataclass(slots=True)
class Agenda:
    """The cases under way by their ids, and each line of them, longest due first."""

    _cases: dict[str, tuple[int, Due]] = field(default_factory=dict)
    _lines: dict[Line, list[Place]] = field(default_factory=dict)
    _waiting: dict[str, set[str]] = field(default_factory=dict)  # by the case they wait for
    _last_number: int = 0

    def get(self, case_id: str) -> Due | None:
        """Return when a case is due; None when it is not on the agenda."""
        known = self._cases.get(case_id)
        return known[1] if known else None

    def put(self, case_id: str, due: Due) -> None:
        """Set when a case is due. Of cases due at the same moment the one put first comes first."""
        number = self._drop(case_id)
        if number is None:
            self._last_number = number = self._last_number + 1
        self._cases[case_id] = number, due
        insort(self._lines.setdefault(due.line, []), (due.at, number, case_id))
        if due.waits_for:
            self._waiting.setdefault(due.waits_for, set()).add(case_id)

    def remove(self, case_id: str) -> None:
        """Take a case off the agenda, if it is there."""
        self._drop(case_id)

    def _drop(self, case_id: str) -> int | None:
        known = self._cases.pop(case_id, None)
        if known is None:
            return None
        number, due = known
        places = self._lines[due.line]
        del places[bisect_left(places, (due.at, number, case_id))]
        if not places:
            del self._lines[due.line]
        if due.waits_for:
            self._waiting[due.waits_for].remove(case_id)
            if not self._waiting[due.waits_for]:
                del self._waiting[due.waits_for]
        return number

    def ids(self) -> set[str]:
        """Return the ids of all cases."""
        return set(self._cases)

    def items(self) -> Iterator[tuple[str, Due]]:
        """Walk all cases, in no order that means anything."""
        return ((case_id, due) for case_id, (_, due) in self._cases.items())

    def waiting_for(self, first_id: str) -> list[tuple[str, Due]]:
        """Return the cases that wait for another, by their ids, in no order."""
        return [(one, self._cases[one][1]) for one in self._waiting.get(first_id, ())]

    def lines(self) -> tuple[Line, ...]:
        """Return the lines in which somebody stands."""
        return tuple(self._lines)

    def count(self, states: Collection[State]) -> int:
        """Count the cases whose due step is one of these."""
        return sum(len(places) for line, places in self._lines.items() if line.state in states)

    def due_lines(self, moment: float) -> list[Line]:
        """Return the lines in which a case is due by a moment."""
        return [line for line, places in self._lines.items() if places[0][0] <= moment]

    def standing_in(self, line: Line, *, after: float = float("-inf")) -> Iterator[str]:
        """Walk the ids of a line, longest due first, of those due after a moment."""
        places = self._lines[line]
        first = bisect_left(places, (after, float("inf"), ""))
        return (case_id for _, _, case_id in islice(places, first, None))

    def due_in(self, line: Line, moment: float) -> Iterator[tuple[float, str]]:
        """Walk what is due in a line by a moment, longest due first: since when, and its id.

        Who walks must not change the agenda.
        """
        for at, _, case_id in self._lines[line]:
            if at > moment:
                return
            yield at, case_id

    def count_in(self, line: Line) -> int:
        """Count those who stand in a line."""
        return len(self._lines[line])

    def count_due(self, line: Line, moment: float) -> int:
        """Count what is due in a line by a moment."""
        return bisect_right(self._lines[line], (moment, float("inf"), ""))
