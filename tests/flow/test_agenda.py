"""Cases in lines: the order in which they are due, whatever was put, put off and removed before."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from vpe_watcher.adapters.store import Store, UnderWay
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.machine import Patience
from vpe_watcher.core.model import State
from vpe_watcher.flow.agenda import Agenda, Due, Line
from vpe_watcher.flow.breakers import Breakers
from vpe_watcher.flow.room import LANES, Limits
from vpe_watcher.flow.schedule import Schedule

LINES = [
    Line(state, recipe, is_counted=False)
    for state in (State.CLAIMING, State.WAITING)
    for recipe in ("a", "b")
]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from("tuvwxyz"),
        st.one_of(
            st.none(),
            st.tuples(st.integers(0, 5), st.sampled_from(LINES), st.sampled_from(("", "t", "u"))),
        ),
    ),
    max_size=40,
)


Changes = list[tuple[str, tuple[int, Line, str] | None]]


@dataclass
class Plain:
    """The same as one dictionary, as plainly as can be: case id to (number, due)."""

    cases: dict[str, tuple[int, Due]] = field(default_factory=dict)
    last: int = 0

    def put(self, case_id: str, due: Due) -> None:
        """Keep a case's number, or give it the next."""
        number, _ = self.cases.get(case_id, (self.last + 1, due))
        self.last = max(self.last, number)
        self.cases[case_id] = number, due

    def sorted(self) -> list[tuple[str, Due]]:
        """Return all, longest due first."""
        ids = sorted(self.cases, key=lambda one: (self.cases[one][1].at, self.cases[one][0]))
        return [(one, self.cases[one][1]) for one in ids]


def filled(changes: Changes) -> tuple[Agenda, Plain]:
    """Put and remove the same in both."""
    agenda, plain = Agenda(), Plain()
    for case_id, change in changes:
        if change is None:
            agenda.remove(case_id)
            plain.cases.pop(case_id, None)
        else:
            due = Due(float(change[0]), change[1], waits_for=change[2])
            agenda.put(case_id, due)
            plain.put(case_id, due)
    return agenda, plain


@given(CHANGES, st.integers(0, 5))
def test_what_is_due_comes_longest_due_first(changes: Changes, moment: int) -> None:
    """The walks over the lines find what a sort of all cases finds."""
    agenda, plain = filled(changes)
    wanted = [(case_id, due) for case_id, due in plain.sorted() if due.at <= moment]
    walked = {line: list(agenda.due_in(line, moment)) for line in agenda.lines()}
    for line, found in walked.items():
        assert found == [(due.at, case_id) for case_id, due in wanted if due.line == line]
        assert agenda.count_due(line, moment) == len(found)
    assert sum(map(len, walked.values())) == len(wanted)
    assert set(agenda.due_lines(moment)) == {due.line for _, due in wanted}
    assert dict(agenda.items()) == dict(plain.sorted())
    assert agenda.ids() == set(plain.cases)
    assert all(agenda.get(case_id) == due for case_id, due in wanted)


@given(CHANGES, st.sampled_from(LINES), st.integers(-1, 5))
def test_a_line_is_walked_alone(changes: Changes, line: Line, moment: int) -> None:
    """Its cases due after a moment, in order."""
    agenda, plain = filled(changes)
    own = [case_id for case_id, due in plain.sorted() if due.line == line]
    assert (line in agenda.lines()) == bool(own)
    assert agenda.count({line.state}) == sum(
        due.state is line.state for _, due in plain.cases.values()
    )
    if own:
        late = [one for one in own if plain.cases[one][1].at > moment]
        assert list(agenda.standing_in(line, after=moment)) == late
        assert agenda.count_in(line) == len(own)


@given(CHANGES)
def test_who_waits_for_a_case_is_known(changes: Changes) -> None:
    """As many as say so, whatever they waited for before."""
    agenda, plain = filled(changes)
    for first in ("t", "u", "v"):
        found = dict(agenda.waiting_for(first))
        assert found == {one: due for one, due in plain.sorted() if due.waits_for == first}


def _nobody(_event: str, /, **_fields: object) -> None:
    """Take a log event and forget it."""


class Rows(Store):
    """A thousand cases that wait for one thing."""

    def __init__(self) -> None:
        """Need no state file."""

    def due(self) -> list[UnderWay]:
        """Return them."""
        return [UnderWay(str(n), "default", State.SUBMITTING, is_counted=False) for n in range(999)]


def test_of_a_thousand_behind_one_breaker_only_the_first_is_asked() -> None:
    """A tick costs little, however many wait."""
    asked: list[str] = []

    def should_stop(case_id: str) -> bool:
        asked.append(case_id)
        return False

    breakers = Breakers(
        patience=Patience(),
        monotonic=lambda: 1000.0,
        now=lambda: 0.0,
        chance=lambda: 0.5,
        log=_nobody,
    )
    schedule = Schedule(
        Rows(),
        breakers,
        Limits(lanes=dict.fromkeys(LANES.values(), 4), jobs_in_flight=32, budgets={}),
        monotonic=lambda: 1000.0,
        now=lambda: 0.0,
        should_stop=should_stop,
    )
    schedule.refresh()
    breakers.open(EnvironmentFault("used up", code="budget", breaker="budget"), kind="submitting")
    assert schedule.take_ready() == []
    assert schedule.next_due_in_s() is not None
    assert len(asked) < 5
