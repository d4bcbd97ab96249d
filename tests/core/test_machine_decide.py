"""How long trouble is borne, and what follows an attempt: `decide` with time and chance given."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.builders import TROUBLE, a_case, a_problem, an_output
from tests.core.deciding import EFFECT_NODES, PATIENCE, after, decided
from vpe_watcher.core.machine import (
    AT_MOST_FRESH_POLLS,
    AT_MOST_NEW_JOBS,
    LOOK_AGAIN_AT_MOST_S,
    LOOK_AGAIN_S,
    REFUSED_AT_MOST_S,
    RETRY_AFTER_AT_MOST_S,
    TABLE,
    WORDS,
    backoff_s,
    decide,
    poll_delay_s,
)
from vpe_watcher.core.model import (
    FailureClass,
    Label,
    Outcome,
    State,
    Tally,
)

S, L = State, Label
CHANCES = st.floats(0, 1, exclude_max=True)


# --- delays --------------------------------------------------------------------------------------


@given(failures=st.integers(0, 10_000), chance=CHANCES)
def test_backoff_is_full_jitter_under_a_doubling_ceiling(failures: int, chance: float) -> None:
    """Any delay from 0 to the ceiling is as likely; the ceiling doubles up to its limit."""
    ceiling = min(300.0, 2.0 * 2 ** min(failures, 60))
    assert backoff_s(failures, PATIENCE, lambda: chance) == pytest.approx(ceiling * chance)


@given(processing_s=st.floats(0, 1e6), chance=CHANCES)
def test_polls_slow_down_between_their_limits(processing_s: float, chance: float) -> None:
    """The delay stays within the limits, give or take the ten per cent that spread polls."""
    delay_s = poll_delay_s(processing_s, PATIENCE, lambda: chance)
    assert 0.9 * 10 <= delay_s <= 1.1 * 60
    assert delay_s == pytest.approx(min(60, max(10, processing_s / 4)), rel=0.1001)


def test_polls_grow_from_first_to_last() -> None:
    """A job that is processing for long is asked about less and less often."""
    case, delays = a_case(S.WAITING, paid=True, job_id="j"), [10.0]
    for _ in range(30):
        decision = decided(case, L.PENDING, waited_s=delays[-1])
        delays.append(decision.delay_s)
        case = after(case, decision)
    assert delays[0] == pytest.approx(10)
    assert delays[-1] == pytest.approx(60)
    assert delays == sorted(delays)


@given(label=st.sampled_from([L.TRANSIENT, L.PENDING, L.REFUSED]), asked_s=st.floats(0, 1e7))
def test_retry_after_is_obeyed_but_not_for_ever(label: Label, asked_s: float) -> None:
    """The longer of backoff and Retry-After counts; a day is the most that is believed."""
    case = a_case(S.WAITING, paid=True, tally=Tally(failures=4))
    own_s = decided(case, label).delay_s
    delay_s = decided(case, label, retry_after_s=asked_s).delay_s
    assert delay_s == max(own_s, min(asked_s, RETRY_AFTER_AT_MOST_S))


@pytest.mark.parametrize(
    ("state", "paid", "label"),
    [
        (S.SUBMITTING, False, L.OK),
        (S.UPLOADING, False, L.OK),
        (S.WAITING, True, L.OK),
        (S.FETCHING, True, L.OK),
        (S.DELIVERING, True, L.OK),
        (S.ARCHIVING, True, L.OK),
        (S.CLAIMING, False, L.CANCEL),
    ],
)
def test_progress_is_followed_at_once(state: State, label: Label, *, paid: bool) -> None:
    """The next effect is due without any delay."""
    assert decided(a_case(state, paid=paid), label).delay_s == 0


def test_first_look_comes_after_the_poll_interval() -> None:
    """A job that was just started is not done yet."""
    assert decided(a_case(S.NOTIFYING, paid=True), L.OK).delay_s == PATIENCE.poll_every_s


def test_a_claim_that_changed_waits_for_quiet() -> None:
    """Files that changed after the claim get the quiet time again."""
    assert decided(a_case(S.CLAIMING), L.CHANGED).delay_s == PATIENCE.settle_s


def test_a_claim_that_waits_for_another_case_looks_again_soon() -> None:
    """What is in its way may end at any moment."""
    assert decided(a_case(S.CLAIMING), L.PENDING).delay_s == LOOK_AGAIN_S


@pytest.mark.parametrize(
    ("waited_s", "delay_s"),
    [(0.0, LOOK_AGAIN_S), (4.0, 4.0), (7200.0, LOOK_AGAIN_AT_MOST_S)],
)
def test_a_wait_that_another_case_ends_is_looked_at_ever_more_seldom(
    waited_s: float, delay_s: float
) -> None:
    """A look is dear, and the other's next move is what ends it."""
    outcome = Outcome(L.PENDING, waited_s=waited_s, waits_for="c9")
    assert decide(a_case(S.CLAIMING), outcome, PATIENCE, chance=lambda: 0.5).delay_s == delay_s


# --- patience ------------------------------------------------------------------------------------

GIVING_UP = [node for node in EFFECT_NODES if L.EXHAUSTED in TABLE[node]]


@pytest.mark.parametrize("node", GIVING_UP, ids=str)
def test_transient_trouble_is_given_up_after_its_time(node: tuple[State, bool]) -> None:
    """One second before the limit the step is repeated, at the limit the case ends."""
    state, paid = node
    nearly = a_case(state, paid=paid, tally=Tally(retry_spent_s=PATIENCE.retry_for_s - 1))
    spent = a_case(state, paid=paid, tally=Tally(retry_spent_s=PATIENCE.retry_for_s))
    assert decided(nearly, L.TRANSIENT).state is state
    given_up = decided(spent, L.TRANSIENT)
    assert given_up.label is L.EXHAUSTED
    assert given_up.problem is not None
    assert given_up.problem.message == TROUBLE.message
    assert "vpe-watcher retry" in given_up.problem.hint
    assert given_up.state is (S.HELD if node == (S.CLAIMING, True) else S.ARCHIVING)


@pytest.mark.parametrize("state", [S.DELIVERING, S.ARCHIVING])
@pytest.mark.parametrize("paid", [False, True])
def test_what_is_fetched_is_delivered_however_long_it_takes(state: State, *, paid: bool) -> None:
    """Delivering and archiving are never given up: nothing may be lost."""
    spent = a_case(state, paid=paid, tally=Tally(retry_spent_s=1e9))
    assert decided(spent, L.TRANSIENT).state is state


def test_giving_up_counts_time_and_not_attempts() -> None:
    """Pauses and durations of failed attempts add up, but not the pause before the first one."""
    case, spent_s, waited_s = a_case(S.UPLOADING), 0.0, 60.0
    for failures in range(5):
        decision = decided(case, L.TRANSIENT, duration_s=7.0, waited_s=waited_s)
        spent_s += 7.0 + (waited_s if failures else 0.0)
        assert decision.tally == Tally(failures=failures + 1, retry_spent_s=spent_s)
        case, waited_s = after(case, decision), decision.delay_s


def test_what_was_not_waited_is_not_spent() -> None:
    """A restart makes all due at once: a `Retry-After` of a day costs nothing that did not pass."""
    case = a_case(S.UPLOADING, tally=Tally(failures=1))
    for _ in range(100):
        decision = decided(case, L.TRANSIENT, retry_after_s=1e9, waited_s=0.0)
        case = after(case, decision)
    assert (case.state, case.tally.retry_spent_s) == (S.UPLOADING, 0)


def test_some_fetched_results_are_salvaged() -> None:
    """Out of patience while fetching, what is there is delivered."""
    some = (an_output(file="mandible.stl"), an_output(position=1, structures=("skull",)))
    case = a_case(S.FETCHING, paid=True, tally=Tally(retry_spent_s=1e9), outputs=some)
    assert decided(case, L.TRANSIENT).label is L.SALVAGED
    nothing = replace(case, outputs=some[1:])
    assert decided(nothing, L.TRANSIENT).label is L.EXHAUSTED


def test_at_most_five_new_jobs_for_expired_links() -> None:
    """An upload URL that expires again and again ends the case at the sixth time."""
    case = a_case(S.UPLOADING)
    for count in range(1, AT_MOST_NEW_JOBS + 1):
        decision = decided(case, L.EXPIRED)
        assert (decision.state, decision.arrow.drops_job) == (S.SUBMITTING, True)
        assert decision.tally.new_jobs == count
        case = after(after(case, decision), decided(after(case, decision), L.OK))
    assert (AT_MOST_NEW_JOBS, decided(case, L.EXPIRED).label) == (5, L.EXHAUSTED)


def test_expired_links_are_not_renewed_in_a_hurry() -> None:
    """The backoff between new jobs grows although each submit succeeds."""
    case, delays = a_case(S.UPLOADING), []
    for _ in range(AT_MOST_NEW_JOBS):
        decision = decided(case, L.EXPIRED)
        delays.append(decision.delay_s)
        case = after(after(case, decision), decided(after(case, decision), L.OK))
    assert delays == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(("file", "label"), [("a.stl", L.SALVAGED), (None, L.EXHAUSTED)])
def test_at_most_five_fresh_polls(file: str | None, label: Label) -> None:
    """A download URL that expires again and again ends in what was fetched, or in failure."""
    case = a_case(S.FETCHING, paid=True, outputs=(an_output(file=file),))
    for count in range(1, AT_MOST_FRESH_POLLS + 1):
        decision = decided(case, L.EXPIRED)
        assert (decision.state, decision.tally.fresh_polls) == (S.WAITING, count)
        case = after(after(case, decision), decided(after(case, decision), L.OK))
    assert (AT_MOST_FRESH_POLLS, decided(case, L.EXPIRED).label) == (5, label)


def test_a_refused_poll_is_borne_for_ten_minutes() -> None:
    """400, 404 and 410 may pass; after ten minutes of nothing else a person decides."""
    case, borne_s, waited_s = a_case(S.WAITING, paid=True), 0.0, 0.0
    while True:
        decision = decided(case, L.REFUSED, chance=0.9, waited_s=waited_s)
        if decision.state is not S.WAITING:
            break
        waited_s = decision.delay_s
        borne_s += waited_s
        case = after(case, decision)
    assert (decision.state, decision.label) == (S.HELD, L.REFUSED_AT_ONCE)
    assert REFUSED_AT_MOST_S == 600 <= borne_s < 600 + PATIENCE.retry_at_most_s


def test_a_good_poll_forgets_the_refused_ones() -> None:
    """The ten minutes are ten minutes in a row."""
    case = a_case(S.WAITING, paid=True, tally=Tally(failures=3, refused_s=599, retry_spent_s=9))
    tally = decided(case, L.PENDING).tally
    assert (tally.failures, tally.refused_s, tally.retry_spent_s) == (0, 0, 0)


def test_processing_for_too_long_is_held_with_its_own_words() -> None:
    """Still 202 after the limit: held, with a problem that names the limit and a way out."""
    limit_s = PATIENCE.processing_at_most_s
    case = a_case(S.WAITING, paid=True, tally=Tally(processing_s=limit_s - 1))
    assert decide(case, Outcome(L.PENDING), PATIENCE, chance=lambda: 0.5).state is S.WAITING
    case = replace(case, tally=Tally(processing_s=limit_s))
    decision = decide(case, Outcome(L.PENDING), PATIENCE, chance=lambda: 0.5)
    assert (decision.state, decision.label) == (S.HELD, L.OVERDUE)
    assert decision.problem is not None
    assert decision.problem.code == "processing_overdue"
    assert "24 hours" in decision.problem.message
    assert "retry" in decision.problem.hint


def test_waiting_for_an_earlier_case_is_never_overdue() -> None:
    """Only the Engine's processing has a limit."""
    case = a_case(S.CLAIMING, tally=Tally(processing_s=1e9))
    assert decided(case, L.PENDING).state is S.CLAIMING


# --- what counts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [L.ENVIRONMENT, L.STOPPED, L.INTERRUPTED])
@pytest.mark.parametrize(
    "node",
    [node for node in EFFECT_NODES if node != (S.SUBMITTING, True)],  # that one is never repeated
    ids=str,
)
def test_what_is_not_the_cases_fault_counts_nothing(node: tuple[State, bool], label: Label) -> None:
    """Environment, a stop and a crash use up no patience, even where all of it is spent."""
    tally = Tally(9, 1e9, 1e9, 1e9, 5, 5)
    decision = decided(a_case(node[0], paid=node[1], tally=tally), label, duration_s=100)
    assert (decision.state, decision.tally) == (node[0], tally)


def test_a_paid_submit_that_was_not_sent_counts_nothing() -> None:
    """The Engine was not to be had: that uses up no patience of the case."""
    tally = Tally(failures=2, retry_spent_s=1e9)
    decision = decided(a_case(S.SUBMITTING, paid=True, tally=tally), L.NOT_SENT, duration_s=9)
    assert (decision.state, decision.tally) == (S.SUBMITTING, tally)


def test_progress_resets_the_tally() -> None:
    """A step that succeeds gives the next one its full patience; links are counted on."""
    tally = Tally(
        failures=3,
        retry_spent_s=100,
        refused_s=5,
        processing_s=7,
        new_jobs=2,
        fresh_polls=1,
        deaths=4,
    )
    done = decided(a_case(S.NOTIFYING, paid=True, tally=tally), L.OK).tally
    assert done == Tally(new_jobs=2, fresh_polls=1)


@pytest.mark.parametrize("label", sorted(WORDS))
def test_a_word_starts_afresh(label: Label) -> None:
    """After a person's word nothing of the old patience is used up."""
    spent = Tally(9, 1e9, 1e9, 1e9, 5, 5)
    state, paid = next(node for node in TABLE if label in TABLE[node])
    assert decided(a_case(state, paid=paid, tally=spent), label).tally == Tally()


@pytest.mark.parametrize("verdict", [None, S.DONE, S.PARTIAL, S.FAILED, S.DUPLICATE, S.CANCELLED])
def test_archiving_ends_in_the_verdict(verdict: State | None) -> None:
    """The state at rest was decided before the input was put away."""
    case = a_case(S.ARCHIVING, verdict=verdict)
    assert decided(case, L.OK).state is (verdict or S.DONE)


def test_a_problem_is_handed_on() -> None:
    """What the step says is what the person will read."""
    problem = a_problem("bad_scan", FailureClass.INPUT)
    case = a_case(S.CLAIMING)
    decision = decide(case, Outcome(L.INPUT, problem), PATIENCE, chance=lambda: 0.0)
    assert decision.problem is problem
