"""Attempts: one at a time, ended once, in one commit; and the laws that the schema itself holds."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from tests.adapters.store.builders import (
    BAD_SCAN,
    LINKS,
    MANDIBLE,
    START,
    TROUBLE,
    WAY,
    House,
    an_input,
)
from vpe_watcher.adapters.store import Begun, Store
from vpe_watcher.core.machine import Patience, decide
from vpe_watcher.core.model import (
    FailureClass,
    Label,
    Modality,
    Notified,
    Outcome,
    Output,
    Problem,
    State,
)
from vpe_watcher.core.moments import iso

STOPPING = Problem(FailureClass.CANCELLED, "stopped", "The daemon is stopping.")
TWO = (an_input(Modality.IOS_LOWER), an_input(Modality.IOS_UPPER))


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
    """Each try in a step has its number; the next step starts at one."""
    house.add()
    house.step(Label.TRANSIENT, TROUBLE)
    house.step(Label.ENVIRONMENT, TROUBLE)
    house.step()
    house.begin()
    assert steps(house) == [
        ("claiming", 1, "step.retry", "transient"),
        ("claiming", 2, "step.retry", "environment"),
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


# --- the paid edge in the schema -----------------------------------------------------------------


def test_a_notification_pays_before_it_is_sent(house: House) -> None:
    """One commit: the case, its job and the input."""
    house.bring(State.NOTIFYING)
    assert not house.case().paid
    house.store.begin_notification("c1", "cbct")
    assert (house.case().paid, house.case().inputs[0].notified) == (True, Notified.BEGUN)
    assert house.database.read("SELECT may_be_paid FROM jobs")[0][0] == 1


def test_all_uploads_end_before_the_first_notification(house: House) -> None:
    """The trigger refuses it, and nothing is marked as paid."""
    house.bring(State.UPLOADING, inputs=TWO)
    house.store.set_uploaded("c1", "ios_lower", "aa")
    with pytest.raises(sqlite3.IntegrityError, match="before all uploads"):
        house.store.begin_notification("c1", "ios_lower")
    assert not house.case().paid
    house.store.set_uploaded("c1", "ios_upper", "bb")
    house.store.begin_notification("c1", "ios_lower")
    assert house.case().paid


def test_an_input_with_a_download_url_is_not_waited_for(house: House) -> None:
    """The Engine fetches that one: only the uploads must have ended."""
    linked = an_input(Modality.FACIAL, download_url="https://b.example/f")
    house.bring(State.UPLOADING, inputs=(an_input(), linked))
    house.store.set_uploaded("c1", "cbct", "aa")
    house.store.begin_notification("c1", "cbct")
    assert house.case().paid


def test_one_paid_job_a_generation(house: House) -> None:
    """A second job that may cost money cannot even be written down."""
    house.bring(State.NOTIFYING)
    house.store.begin_notification("c1", "cbct")
    with pytest.raises(sqlite3.IntegrityError, match=r"jobs\.case_id, jobs\.generation"):
        house.store.set_job("c1", "another", {"cbct": LINKS})
    assert house.case().job_id == "job-c1-1"


def test_a_second_unpaid_job_cannot_be_paid_either(house: House) -> None:
    """The index holds at the notification too, whatever way a second job came about."""
    house.bring(State.NOTIFYING)
    with house.database.transaction() as connection:
        connection.execute("INSERT INTO jobs VALUES ('old', 'c1', 1, '', 1)")
    with pytest.raises(sqlite3.IntegrityError, match=r"jobs\.case_id, jobs\.generation"):
        house.store.begin_notification("c1", "cbct")
    assert (house.case().paid, house.case().inputs[0].notified) == (False, Notified.NO)


def test_unpaid_jobs_may_be_many(house: House) -> None:
    """Expired upload URLs: new jobs that cost nothing, all remembered."""
    house.bring(State.UPLOADING)
    for number in range(3):
        house.step(Label.EXPIRED, TROUBLE)
        assert house.case().job_id is None
        begun = house.begin()
        house.store.set_job("c1", f"new-{number}", {"cbct": LINKS})
        house.finish(begun, Label.OK)
    jobs = house.database.read("SELECT job_id, may_be_paid FROM jobs ORDER BY made_at, job_id")
    assert [tuple(row) for row in jobs] == [
        ("job-c1-1", 0),
        ("new-0", 0),
        ("new-1", 0),
        ("new-2", 0),
    ]


def test_a_job_belongs_to_one_case(house: House) -> None:
    """An Engine that answers with another case's job is not believed."""
    house.bring(State.UPLOADING)
    house.add("c2")
    with pytest.raises(sqlite3.IntegrityError):
        house.store.set_job("c2", "job-c1-1", {})


def test_a_submit_that_starts_the_engine_pays_at_its_begin(house: House) -> None:
    """Where every input has a download URL, the flag stands before the call."""
    linked = (an_input(download_url="https://b.example/s"),)
    house.bring(State.SUBMITTING, inputs=linked)
    begun = house.begin()
    assert (begun.case.paid, house.case().paid) == (True, True)
    house.finish(begun, Label.NOT_SENT, TROUBLE)
    assert not house.case().paid
    house.work(State.SUBMITTING)
    assert (house.case().state, house.case().paid) == (State.WAITING, True)
    assert house.database.read("SELECT may_be_paid FROM jobs")[0][0] == 1


def test_a_submit_that_uploads_does_not_pay(house: House) -> None:
    """An ordinary submit costs nothing yet."""
    house.bring(State.SUBMITTING)
    assert not house.begin().case.paid


@pytest.mark.parametrize("state", ["uploading", "notifying", "waiting", "fetching"])
def test_no_step_after_the_submit_without_a_job(house: House, state: str) -> None:
    """The schema knows which states need a job id."""
    house.add()
    with pytest.raises(sqlite3.IntegrityError), house.database.transaction() as connection:
        connection.execute("UPDATE cases SET state = ?", (state,))


# --- budgets -------------------------------------------------------------------------------------


def submit(house: House, case_id: str, recipe: str = "default") -> object:
    """Bring a case to its first submit and begin it; return what begin says."""
    house.bring(State.SUBMITTING, case_id, recipe=recipe)
    budgets = {"budget": 3, f"budget:{recipe}": 2}
    return house.store.begin(case_id, State.SUBMITTING, jobs_per_day=budgets)


def test_budgets_in_all_and_per_recipe(house: House) -> None:
    """The first one that is used up is named; nothing is begun."""
    assert isinstance(submit(house, "c1", "teeth"), Begun)
    assert isinstance(submit(house, "c2", "teeth"), Begun)
    assert submit(house, "c3", "teeth") == "budget:teeth"
    assert isinstance(submit(house, "c4", "jaws"), Begun)
    assert submit(house, "c5", "jaws") == "budget"
    assert house.store.budget_used_up("budget", 3)
    assert house.store.budget_used_up("budget:teeth", 2)
    assert not house.store.budget_used_up("budget:jaws", 2)
    assert not house.store.budget_used_up("budget", 0)
    assert house.case("c5").state is State.SUBMITTING


def test_a_budget_is_for_24_hours(house: House) -> None:
    """A day after the first submit there is room again, not a second earlier."""
    submit(house, "c1")
    house.now += 3600
    submit(house, "c2")
    assert submit(house, "c3") == "budget:default"
    budgets = {"budget:default": 2}
    house.now = START + 24 * 3600 - 1
    assert house.store.begin("c3", State.SUBMITTING, jobs_per_day=budgets) == "budget:default"
    house.now = START + 24 * 3600
    assert isinstance(house.store.begin("c3", State.SUBMITTING, jobs_per_day=budgets), Begun)


def test_new_jobs_of_the_same_case_do_not_count(house: House) -> None:
    """A case that was submitted once may always be submitted again."""
    begun = submit(house, "c1")
    assert isinstance(begun, Begun)
    house.finish(begun, Label.TRANSIENT, TROUBLE)
    submit(house, "c2")
    again = house.store.begin("c1", State.SUBMITTING, jobs_per_day={"budget": 2})
    assert isinstance(again, Begun)
    assert submit(house, "c3") == "budget:default"


def test_no_budget(house: House) -> None:
    """Zero is no limit."""
    for number in range(5):
        house.bring(State.SUBMITTING, f"c{number}")
        house.begin(f"c{number}", budget=0)
    assert not house.store.budget_used_up("budget", 0)


# --- progress ------------------------------------------------------------------------------------


def test_a_fresh_answer_keeps_what_was_fetched(house: House) -> None:
    """Polling again brings new URLs for the rest, and nothing is fetched twice."""
    skull = Output(1, "meshes", ("skull",), ".stl", "Available", 7, "https://b.example/s")
    house.bring(State.WAITING)
    house.store.set_result("c1", outputs=[MANDIBLE, skull], body={}, result_status="complete")
    house.store.set_fetched("c1", 0, file="mandible.stl", size=9, sha256="ab")
    house.store.set_result("c1", outputs=[MANDIBLE, skull], body={}, result_status="complete")
    first, second = house.case().outputs
    assert (first.file, first.size, first.sha256) == ("mandible.stl", 9, "ab")
    assert (second.file, second.url) == (None, "https://b.example/s")
    house.store.forget_fetched("c1")
    assert [output.file for output in house.case().outputs] == [None, None]


def test_outputs_that_look_alike_are_two(house: House) -> None:
    """One that was fetched does not stand for its twin."""
    twins = [
        Output(position, "meshes", (), ".stl", "Available", None, "https://b.example/x")
        for position in (0, 1)
    ]
    house.bring(State.WAITING)
    house.store.set_result("c1", outputs=twins, body={}, result_status="complete")
    house.store.set_fetched("c1", 0, file="meshes.stl", size=9, sha256="ab")
    house.store.set_result("c1", outputs=twins, body={}, result_status="complete")
    assert [output.file for output in house.case().outputs] == ["meshes.stl", None]


def test_the_first_times_are_kept(house: House) -> None:
    """Finished and delivered say when it first was so, through repeated steps."""
    house.bring(State.DELIVERING)
    house.store.begin_publishing("c1")
    house.now += 50
    house.store.begin_publishing("c1")
    house.store.set_result("c1", outputs=[], body={}, result_status="partial")
    case = house.case()
    assert (case.times["finished"], case.times["delivered"]) == (iso(START), iso(START))
    assert (case.publishing, case.result_status) == (True, "partial")


def test_held_notes_are_written_and_removed_once(house: House) -> None:
    """The note at the folder follows the state, through any crash in between."""
    house.add()
    assert house.store.held_notes() == ([], [])
    house.step(Label.GONE, BAD_SCAN)
    wanted, unwanted = house.store.held_notes()
    assert ([case.case_id for case in wanted], unwanted) == (["c1"], [])
    house.store.set_noted("c1", is_noted=True)
    assert house.store.held_notes() == ([], [])
    house.say(Label.RETRY_UNPAID)
    wanted, unwanted = house.store.held_notes()
    assert (wanted, [case.case_id for case in unwanted]) == ([], ["c1"])
    house.store.set_noted("c1", is_noted=False)
    assert house.store.held_notes() == ([], [])


def test_progress_of_a_case_that_is_not_there_is_a_defect(house: House) -> None:
    """Nothing is written into the void."""
    with pytest.raises(AssertionError, match="no row"):
        house.store.set_wait_reason("c9", "x")
    with pytest.raises(AssertionError, match="no row"):
        house.store.set_job("c9", "j", {})
    with pytest.raises(AssertionError, match="no row"):
        house.store.begin_notification("c9", "cbct")
    with pytest.raises(AssertionError, match="no row"):
        house.store.set_published("c9", "/out", State.DONE)
