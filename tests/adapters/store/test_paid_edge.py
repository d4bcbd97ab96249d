"""The paid edge and the budgets: what the schema itself forbids, and what begin refuses."""

from __future__ import annotations

import sqlite3

import pytest

from tests.adapters.store.builders import (
    LINKS,
    START,
    TROUBLE,
    House,
    an_input,
)
from vpe_watcher.adapters.store import Begun
from vpe_watcher.core.model import (
    Label,
    Modality,
    Notified,
    State,
)

TWO = (an_input(Modality.IOS_LOWER), an_input(Modality.IOS_UPPER))


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
        assert isinstance(house.begin(f"c{number}", budget=0), Begun)
