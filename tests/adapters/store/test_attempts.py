"""Attempts: one at a time, ended once, in one commit, and what each leaves to be read."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from tests.adapters.store.builders import (
    BAD_SCAN,
    TROUBLE,
    WAY,
    House,
)
from vpe_watcher.adapters.store import Begun, Store
from vpe_watcher.core.machine import Patience, decide
from vpe_watcher.core.model import (
    FailureClass,
    Label,
    Outcome,
    Problem,
    State,
)

STOPPING = Problem(FailureClass.CANCELLED, "stopped", "The daemon is stopping.")


def steps(house: House) -> list[tuple[object, ...]]:
    """Return the attempts of the trail."""
    return [
        (event["step"], event["attempt"], event["event"], event["outcome"])
        for event in house.queries.events("c1")
        if event["step"]
    ]


# --- begin and finish ----------------------------------------------------------------------------


def test_the_plain_way_leaves_a_trail(house: House) -> None:
    """From the claim to done: each effect once, each with its outcome."""
    house.bring(State.ARCHIVING)
    house.work(State.ARCHIVING)
    case = house.case()
    assert (case.state, case.paid, case.outbox) == (State.DONE, True, "/out/scan")
    assert steps(house) == [(str(effect), 1, "step.done", "ok") for effect in WAY]
    assert house.queries.events("c1")[-1]["event"] == "case.done"
    assert all(case.times.values())


def test_a_begin_in_another_state_is_none(house: House) -> None:
    """The schedule may be late: the row decides."""
    house.add()
    assert house.store.begin("c1", State.SUBMITTING, jobs_per_day={}) == ""
    assert house.store.begin("c9", State.CLAIMING, jobs_per_day={}) == ""
    assert steps(house) == []


def test_one_open_attempt_a_case(house: House) -> None:
    """The database forbids a second attempt while one is under way."""
    house.add()
    house.begin()
    with pytest.raises(sqlite3.IntegrityError):
        house.begin()
    assert steps(house) == [("claiming", 1, "step.begun", None)]


def test_two_threads_begin_and_one_wins(house: House) -> None:
    """However often it is tried at once, one attempt is under way."""
    house.add()
    barrier, won, lost = threading.Barrier(4), [], []

    def begin() -> None:
        barrier.wait()
        try:
            won.append(house.store.begin("c1", State.CLAIMING, jobs_per_day={}))
        except sqlite3.IntegrityError as error:
            lost.append(error)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 3)
    assert isinstance(won[0], Begun)


def test_an_attempt_ends_once(house: House) -> None:
    """A second end is a defect, not a second step, even where the state stays."""
    house.add()
    begun = house.begin()
    house.finish(begun, Label.TRANSIENT, TROUBLE)
    with pytest.raises(AssertionError, match="twice"):
        house.finish(begun, Label.TRANSIENT, TROUBLE)
    assert house.case().tally.failures == 1


def test_a_state_changes_only_from_where_the_step_began(house: House) -> None:
    """The row count decides: a decision about another state changes nothing."""
    house.add()
    begun = house.begin()
    outcome = Outcome(Label.OK)
    decision = decide(begun.case, outcome, Patience(), chance=lambda: 0.5)
    with house.database.transaction() as connection:
        connection.execute("UPDATE cases SET state = 'submitting'")
    with pytest.raises(AssertionError, match="left its state"):
        house.store.finish(begun, decision, outcome)
    assert steps(house) == [("claiming", 1, "step.begun", None)]


def test_repeated_attempts_are_counted(house: House) -> None:
    """Each try in a step has its number, but for everybody's trouble and a stop, which cost none.

    The next step starts at one.
    """
    house.add()
    house.step(Label.TRANSIENT, TROUBLE)
    house.step(Label.ENVIRONMENT, TROUBLE)
    house.step(Label.STOPPED, STOPPING)
    house.step(Label.TRANSIENT, TROUBLE)
    house.step()
    house.begin()
    assert steps(house) == [
        ("claiming", 1, "step.retry", "transient"),
        ("claiming", 2, "step.retry", "environment"),
        ("claiming", 2, "step.retry", "stopped"),
        ("claiming", 2, "step.retry", "transient"),
        ("claiming", 3, "step.done", "ok"),
        ("submitting", 1, "step.begun", None),
    ]


def test_polls_keep_one_row(house: House) -> None:
    """A job that processes for hours leaves one line, with the number of looks."""
    house.bring(State.WAITING)
    before = len(house.queries.events("c1"))
    for _ in range(4):
        house.step(Label.PENDING)
    assert len(house.queries.events("c1")) == before + 1
    assert steps(house)[-1] == ("waiting", 4, "step.waiting", "pending")
    house.work(State.WAITING)
    assert len(house.queries.events("c1")) == before + 1
    assert steps(house)[-1] == ("waiting", 5, "step.done", "ok")


def test_what_a_dead_daemon_left_open(house: House) -> None:
    """An attempt without an end is found at the next start, with its number."""
    house.add("c1")
    house.add("c2")
    house.step(Label.TRANSIENT, TROUBLE)
    begun = house.begin("c1")
    later = Store(house.open(), now=house.clock)
    assert later.abandon_open_attempts() == [begun]
    house.finish(begun, Label.INTERRUPTED)
    assert later.abandon_open_attempts() == []
    assert house.case().state is State.CLAIMING


# --- problems ------------------------------------------------------------------------------------


def test_held_always_has_a_problem(house: House) -> None:
    """Nobody is left with a held case that does not say why; nothing of it is written."""
    house.add()
    begun = house.begin()
    with pytest.raises(sqlite3.IntegrityError):
        house.finish(begun, Label.GONE)
    assert (house.case().state, steps(house)[-1][3]) == (State.CLAIMING, None)


def test_failed_always_has_a_problem(house: House) -> None:
    """The same for a case that failed."""
    house.add()
    house.step(Label.INPUT)
    begun = house.begin()
    with pytest.raises(sqlite3.IntegrityError):
        house.finish(begun, Label.OK)


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        (Label.TRANSIENT, TROUBLE),
        (Label.ENVIRONMENT, TROUBLE),
        (Label.STOPPED, STOPPING),
        (Label.INTERRUPTED, None),
    ],
)
def test_why_a_case_failed_outlives_trouble_in_the_archive(
    house: House, label: Label, problem: Problem | None
) -> None:
    """What a person reads, and what a retry means, is the first reason."""
    house.add()
    house.step(Label.INPUT, BAD_SCAN)
    house.step(label, problem)
    house.step()
    assert (house.case().state, house.case().problem) == (State.FAILED, BAD_SCAN)
    assert house.queries.case_row("c1")["error"]["code"] == "bad_scan"


@pytest.mark.parametrize("label", [Label.ENVIRONMENT, Label.STOPPED, Label.INTERRUPTED])
def test_what_is_nobodys_fault_is_no_problem_of_the_case(house: House, label: Label) -> None:
    """A stop or an outage does not become the error of a case that goes on."""
    house.add()
    house.step(label, STOPPING)
    assert house.case().problem is None


def test_a_problem_goes_when_the_step_succeeds(house: House) -> None:
    """Trouble that is over is not shown any more."""
    house.add()
    house.step(Label.TRANSIENT, TROUBLE)
    assert house.case().problem == TROUBLE
    assert house.queries.case_row("c1")["wait_reason"] == TROUBLE.message
    house.step()
    assert house.case().problem is None
    assert house.queries.case_row("c1")["wait_reason"] is None


def test_a_problem_goes_when_the_engine_answers_again(house: House) -> None:
    """A poll that says `still processing` ends the trouble before it."""
    house.bring(State.WAITING)
    house.step(Label.TRANSIENT, TROUBLE)
    house.step(Label.PENDING)
    assert house.case().problem is None


def test_waiting_is_no_error(house: House) -> None:
    """What a case waits for is shown as its reason, not as what went wrong with it."""
    house.add()
    house.step(Label.PENDING, TROUBLE)
    row = house.queries.case_row("c1")
    assert (row["wait_reason"], row["error"]) == (TROUBLE.message, None)
