"""Which deaths of the process speak against a case: tables of crashes, without any process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.builders import a_case, a_problem
from tests.core.deciding import EFFECT_NODES, after, decided
from vpe_watcher.core.machine import TABLE
from vpe_watcher.core.model import Case, Label, State, Tally
from vpe_watcher.core.poison import (
    ALONE_WITHIN_S,
    DEATHS_AT_MOST,
    DEATHS_BEFORE_ALONE,
    is_one_at_a_time,
    remembered,
)

S, L = State, Label
POISONABLE = [node for node in EFFECT_NODES if L.POISONED in TABLE[node]]


def die(case: Case, *, lone: bool = True) -> Case:
    """Return a case after the process died in its step."""
    return after(case, decided(case, L.INTERRUPTED, is_lone=lone))


def deaths_until_held(case: Case, trail: str) -> int:
    """Follow a trail of ends of attempts; return how many deaths it takes, 0: it is not held.

    `!` a death with nothing else under way, `,` one beside others, `e` environment, `t` transient
    trouble, `s` a stop, `p` still processing, `o` done and once more in the same step.
    """
    labels = {"e": L.ENVIRONMENT, "t": L.TRANSIENT, "s": L.STOPPED, "p": L.PENDING}
    deaths = 0
    for sign in trail:
        if sign in "!,":
            deaths += 1
            case = die(case, lone=sign == "!")
            if case.state is S.HELD:
                return deaths
        elif sign == "o":
            done = after(case, decided(case, L.OK))
            case = a_case(case.state, paid=case.paid, tally=done.tally)
        else:
            case = after(case, decided(case, labels[sign]))
    return 0


@pytest.mark.parametrize(
    ("trail", "deaths"),
    [
        ("!!!!", 0),
        ("!!!!!", 5),
        (",,,,,,,,,,,,", 0),  # beside others, however often
        (",!,!,!,!,!", 10),
        ("!!!!o!!!!", 0),  # a completed step resets the count
        ("!!!!o!!!!!", 9),
        ("!!e!s!t!", 5),  # what is nobody's fault, or trouble, completes nothing
        ("!!!!p!!!!", 0),  # a poll that was answered is complete
        ("!!!!p!!!!!", 9),
    ],
)
def test_the_table_of_crashes(trail: str, deaths: int) -> None:
    """Five lone deaths in one step hold a case, in any company of other ends."""
    assert deaths_until_held(a_case(S.WAITING, paid=True, job_id="j"), trail) == deaths


@pytest.mark.parametrize("node", POISONABLE, ids=str)
def test_five_lone_deaths_in_any_step_are_held(node: tuple[State, bool]) -> None:
    """Whatever step it is, and whatever of the patience was spent before."""
    case = a_case(node[0], paid=node[1], job_id="j", tally=Tally(failures=3, retry_spent_s=9))
    for count in range(1, DEATHS_AT_MOST):
        case = die(case)
        assert (case.state, case.tally.deaths) == (node[0], count)
    decision = decided(case, L.INTERRUPTED, is_lone=True)
    assert (decision.state, decision.label) == (S.HELD, L.POISONED)
    assert decision.problem is not None
    assert decision.problem.code == "poisoned_step"
    assert str(node[0]) in decision.problem.message
    assert "vpe-watcher retry" in decision.problem.hint


def test_a_death_in_a_paid_submit_is_unknown_at_once() -> None:
    """That one is held for another reason, and not retried at the step."""
    decision = decided(a_case(S.SUBMITTING, paid=True), L.INTERRUPTED, is_lone=True)
    assert (decision.state, decision.label) == (S.HELD, L.INTERRUPTED)


@pytest.mark.parametrize("node", POISONABLE, ids=str)
def test_a_word_goes_on_at_the_due_step(node: tuple[State, bool]) -> None:
    """Neither to the claim nor to the submit, and all deaths are forgiven."""
    held = a_case(
        S.HELD,
        paid=node[1],
        job_id="j",
        due_step=node[0],
        problem=a_problem("poisoned_step"),
        tally=Tally(deaths=5),
    )
    decision = decided(held, L.RETRY_STEP)
    assert (decision.state, decision.tally) == (node[0], Tally())
    assert not decision.arrow.drops_job


@pytest.mark.parametrize(
    ("deaths", "now", "expected"),
    [
        ([], 0, False),
        ([0, 1], 2, False),
        ([0, 300, 600], 600, True),
        ([0, 300, 601], 601, False),
        ([0, 1, 2], 602, False),  # long ago
        ([9e9, 9e9 + 1, 9e9 + 2], 5, True),  # by a clock that was set back since: be careful
        ([5, 9e9, 9e9 + 1], 9e9 + 1, False),  # by one that was set forward: as if long ago
    ],
)
def test_three_deaths_in_ten_minutes(deaths: list[float], now: float, *, expected: bool) -> None:
    """Then, and not before, interrupted steps run one at a time first."""
    assert (DEATHS_BEFORE_ALONE, ALONE_WITHIN_S) == (3, 600)
    assert is_one_at_a_time(deaths, now) is expected


@given(moments=st.lists(st.floats(-1e10, 1e10), max_size=8))
def test_only_the_last_deaths_are_kept(moments: list[float]) -> None:
    """However the clock jumps: the newest three, in the order in which they were found."""
    deaths: tuple[float, ...] = ()
    for moment in moments:
        deaths = remembered(deaths, moment)
    assert list(deaths) == moments[-3:]
