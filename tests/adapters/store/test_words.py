"""A person's words: left by commands, acted on by the daemon, only where they still apply."""

from __future__ import annotations

import sqlite3

import pytest

from tests.adapters.store.builders import BAD_SCAN, TROUBLE, House
from vpe_watcher.adapters.store import Queries, Word
from vpe_watcher.adapters.store.statements import update_case
from vpe_watcher.core.machine import Patience, decide
from vpe_watcher.core.model import (
    FailureClass,
    Label,
    Move,
    Notified,
    Outcome,
    Problem,
    State,
    Tally,
)

CANCELLED = Problem(FailureClass.CANCELLED, "cancelled", "A person cancelled this case.")
ENGINE = Problem(FailureClass.ENGINE, "job_failed", "The Engine failed.")


def test_words_travel_from_command_to_daemon(house: House) -> None:
    """In the order in which they were said, until they are struck out."""
    command = Queries(house.open(create=False), now=house.clock)
    command.say("retry", ["c1", "c2"], may_cost=True)
    command.say("cancel", ["c3"])
    words = house.store.words()
    assert words == [
        Word(1, "retry", "c1", may_cost=True),
        Word(2, "retry", "c2", may_cost=True),
        Word(3, "cancel", "c3", may_cost=False),
    ]
    house.store.forget_word(2)
    assert [word.subject for word in house.store.words()] == ["c1", "c3"]


def test_unknown_words_are_not_left(house: House) -> None:
    """All or none: a word that nobody understands is refused with those before it."""
    with pytest.raises(sqlite3.IntegrityError):
        house.queries.say("explode", ["c1"])
    assert house.store.words() == []


def test_a_retry_before_payment_starts_all_over(house: House) -> None:
    """A new job in the same generation, with nothing left of the failure."""
    house.bring(State.UPLOADING)
    house.step(Label.EXHAUSTED, TROUBLE)
    house.step()
    assert (house.case().state, house.case().verdict) == (State.FAILED, State.FAILED)
    assert house.say(Label.RETRY_UNPAID)
    case = house.case()
    assert (case.state, case.job_id, case.paid) == (State.CLAIMING, None, False)
    assert (case.generation, case.retries, case.attempts) == (1, 1, 2)
    assert (case.problem, case.verdict, case.tally) == (None, None, Tally())
    assert (case.inputs[0].upload_url, case.inputs[0].uploaded) == (None, False)
    house.work(State.CLAIMING)
    begun = house.begin()
    house.store.set_job("c1", "fresh", {})
    house.finish(begun, Label.OK)
    assert house.case().job_id == "fresh"


def test_a_retry_after_payment_keeps_the_job(house: House) -> None:
    """The notifications stand, the old answer is forgotten, nothing is paid again."""
    house.bring(State.WAITING)
    house.step(Label.OVERDUE, BAD_SCAN)
    assert house.say(Label.RETRY_SAME_JOB)
    case = house.case()
    assert (case.state, case.job_id, case.paid) == (State.CLAIMING, "job-c1-1", True)
    assert (case.generation, case.outputs, case.outbox) == (1, (), None)
    assert case.inputs[0].notified is Notified.DONE
    house.step()
    assert house.case().state is State.NOTIFYING


def test_a_retry_with_a_new_job_is_a_new_generation(house: House) -> None:
    """A person's yes is what allows the second paid job, and only one."""
    house.bring(State.WAITING)
    house.step(Label.ENGINE, ENGINE)
    house.step()
    assert house.say(Label.RETRY_NEW_JOB)
    case = house.case()
    assert (case.state, case.job_id, case.paid) == (State.CLAIMING, None, False)
    assert (case.generation, case.is_rerun) == (2, True)
    assert case.inputs[0].notified is Notified.NO
    for effect in (State.CLAIMING, State.SUBMITTING, State.UPLOADING, State.NOTIFYING):
        house.work(effect)
    jobs = house.database.read("SELECT job_id, generation, may_be_paid FROM jobs ORDER BY job_id")
    assert [tuple(row) for row in jobs] == [("job-c1-1", 1, 1), ("job-c1-2", 2, 1)]
    with pytest.raises(sqlite3.IntegrityError):
        house.store.set_job("c1", "job-c1-3", {})


def test_a_retry_says_where_the_input_lies(house: House) -> None:
    """What was put away is claimed from there."""
    house.add()
    house.step(Label.INPUT, BAD_SCAN)
    house.step()
    moves = (Move("/failed/scan/scan.dcm", "c1/scan.dcm"),)
    decision = decide(house.case(), Outcome(Label.RETRY_UNPAID), Patience(), chance=lambda: 0.0)
    assert house.store.apply_word("c1", decision, moves=moves)
    assert house.case().moves == moves


def test_a_retry_after_a_delivery_delivers_once_more(house: House) -> None:
    """Outputs, place and times of the first delivery are forgotten; its name stays taken."""
    house.bring(State.DELIVERING)
    begun = house.begin()
    house.store.begin_publishing("c1")
    house.store.set_published("c1", "/out/scan", State.PARTIAL)
    house.finish(begun, Label.OK)
    house.step()
    assert house.case().state is State.PARTIAL
    assert house.say(Label.RETRY_SAME_JOB)
    case = house.case()
    assert (case.outbox, case.publishing, case.outputs) == (None, False, ())
    assert (case.times["finished"], case.times["delivered"]) == (None, None)
    assert house.add("c2").folder == "scan.2"


def test_a_retry_of_a_step_only_where_nobody_came_first(house: House) -> None:
    """Whether the same was sent meanwhile is asked by the transaction that lets the step go on."""
    house.bring(State.UPLOADING)
    house.step(Label.POISONED, BAD_SCAN)
    retry = decide(house.case(), Outcome(Label.RETRY_STEP), Patience(), chance=lambda: 0.0)
    house.bring(State.WAITING, "c2")
    assert not house.store.apply_word("c1", retry, if_first=True)
    assert house.case().state is State.HELD
    house.say(Label.CANCEL, "c2", CANCELLED)
    house.step(case_id="c2")
    assert not house.store.apply_word("c1", retry, if_first=True)  # it was paid for
    with house.store.database.transaction() as connection:
        update_case(connection, "c2", content_key="other")
        update_case(connection, "c1", content_key="own")
    assert house.store.apply_word("c1", retry, if_first=True)
    assert house.case().state is State.UPLOADING


def test_a_cancel_puts_the_input_away(house: House) -> None:
    """Under way, a case is cancelled by way of the archive."""
    house.bring(State.WAITING)
    assert house.say(Label.CANCEL, problem=CANCELLED)
    assert (house.case().state, house.case().verdict) == (State.ARCHIVING, State.CANCELLED)
    house.step()
    assert (house.case().state, house.case().problem) == (State.CANCELLED, CANCELLED)
    assert house.case().retries == 0


def test_a_word_waits_for_the_running_step(house: House) -> None:
    """While an attempt is under way the word is not acted on, and nothing changes."""
    house.add()
    house.begin()
    before = house.case()
    assert not house.say(Label.CANCEL, problem=CANCELLED)
    assert house.case() == before


def test_a_cancel_that_comes_too_late_is_not_acted_on(house: House) -> None:
    """Decided while results were fetched, said while they are delivered: nothing is torn."""
    case = house.bring(State.FETCHING)
    decision = decide(case, Outcome(Label.CANCEL, CANCELLED), Patience(), chance=lambda: 0.0)
    house.work(State.FETCHING)
    assert not house.store.apply_word("c1", decision)
    assert house.case().state is State.DELIVERING


def test_a_retry_said_twice_is_one(house: House) -> None:
    """The second one finds the case under way."""
    house.add()
    house.step(Label.GONE, BAD_SCAN)
    decision = decide(house.case(), Outcome(Label.RETRY_UNPAID), Patience(), chance=lambda: 0.0)
    assert house.store.apply_word("c1", decision)
    assert not house.store.apply_word("c1", decision)
    assert house.case().retries == 1


def test_words_are_in_the_trail(house: House) -> None:
    """Who looks at a case sees that a person moved it."""
    house.add()
    house.step(Label.GONE, BAD_SCAN)
    house.say(Label.RETRY_UNPAID)
    last = house.queries.events("c1")[-1]
    assert (last["event"], last["outcome"], last["step"]) == ("word.done", "retry_unpaid", None)
