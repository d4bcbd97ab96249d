"""A person's `retry` and `cancel`: each row of the contract's table, and where the input goes.

Every case here comes to rest by what the Engine or a person did, never by a row that a test wrote.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.flow.house import House, nifti
from vpe_watcher.adapters.files import Disk
from vpe_watcher.core.machine import retry_label
from vpe_watcher.core.model import Case, Label, State

Way = Callable[[House], Case]
TWO_MESHES = {
    "outputFiles": {
        "meshes": [
            {"extension": ".stl", "structures": ["mandible"]},
            {"extension": ".stl", "structures": ["maxilla"]},
        ]
    }
}
HOURS = 3600.0


def _at_rest(house: House, state: State, code: str | None) -> Case:
    house.live_until_rest(at_most_s=4000)
    (case,) = house.cases()
    assert case.state is state
    assert (case.problem.code if case.problem else None) == code
    return case


def _dropped(house: House) -> None:
    house.drop("scan.nii", nifti())


# --- the ways to rest ----------------------------------------------------------------------------


def failed_unpaid(house: House) -> Case:
    """Let the Engine refuse the scan."""
    house.sandbox.set_faults([{"on": "submit", "do": {"status": 422}}])
    _dropped(house)
    return _at_rest(house, State.FAILED, "refused_by_engine")


def cancelled_unpaid(house: House) -> Case:
    """Let a person have second thoughts while the upload goes wrong."""
    house.sandbox.set_faults([{"on": "upload", "do": {"status": 500}}])
    _dropped(house)
    house.say("cancel", house.live_until("scan", State.UPLOADING))
    return _at_rest(house, State.CANCELLED, "cancelled")


def held_unpaid(house: House) -> Case:
    """Take the claimed file away before it is uploaded, and put it back."""
    house.sandbox.set_faults([{"on": "upload", "do": {"status": 500}}])
    _dropped(house)
    claimed = house.claimed(house.live_until("scan", State.UPLOADING))
    claimed.rename(house.root / "aside")
    case = _at_rest(house, State.HELD, "claim_gone")
    (house.root / "aside").rename(claimed)
    return case


def failed_transient_paid(house: House) -> Case:
    """Answer polls with rubbish for as long as we try."""
    house.sandbox.set_faults([{"on": "poll", "do": {"garbage": True}}])
    _dropped(house)
    return _at_rest(house, State.FAILED, "answer_garbled")


def cancelled_paid(house: House) -> Case:
    """Let a person not want to wait for the result."""
    house.sandbox.set_options(processing_s=2 * HOURS)
    _dropped(house)
    house.say("cancel", house.live_until("scan", State.WAITING))
    return _at_rest(house, State.CANCELLED, "cancelled")


def held_by_time(house: House) -> Case:
    """Let the Engine work longer than it may."""
    house.sandbox.set_options(processing_s=2 * HOURS)
    _dropped(house)
    return _at_rest(house, State.HELD, "processing_overdue")


def held_by_refused_poll(house: House) -> Case:
    """Let the Engine not tell us about this job."""
    house.sandbox.set_faults([{"on": "poll", "do": {"status": 403}}])
    _dropped(house)
    return _at_rest(house, State.HELD, "job_forbidden")


def held_claim_gone_paid(house: House) -> Case:
    """Take the claimed file away while the Engine works, and put it back."""
    house.sandbox.set_options(processing_s=60.0)
    _dropped(house)
    claimed = house.claimed(house.live_until("scan", State.WAITING))
    claimed.rename(house.root / "aside")
    case = _at_rest(house, State.HELD, "claim_gone")
    (house.root / "aside").rename(claimed)
    return case


def failed_by_engine(house: House) -> Case:
    """Let the Engine say that the job failed."""
    house.sandbox.set_options(success=False)
    _dropped(house)
    return _at_rest(house, State.FAILED, "engine_failed")


def partial_with_failed(house: House) -> Case:
    """Let one structure be beyond the Engine."""
    house.sandbox.set_options(failed=["maxilla"])
    _dropped(house)
    return _at_rest(house, State.PARTIAL, None)


def partial_with_unfetched(house: House) -> Case:
    """Let one result be computed, and not be had."""
    house.sandbox.set_faults([{"on": "download", "structure": "maxilla", "do": {"status": 404}}])
    _dropped(house)
    house.live_until_rest(at_most_s=4000)
    (case,) = house.cases()
    assert case.state is State.PARTIAL
    return case


def changed_after_notification(house: House) -> Case:
    """Write to the claimed file while the Engine works."""
    house.sandbox.set_options(processing_s=60.0)
    _dropped(house)
    house.claimed(house.live_until("scan", State.WAITING)).write_bytes(nifti(seed=9))
    return _at_rest(house, State.HELD, "changed_after_notification")


def duplicate(house: House) -> Case:
    """Drop a scan that was done before."""
    _dropped(house)
    house.live_until_rest()
    house.drop("again.nii")
    house.live_until("again", State.DUPLICATE)
    house.turn()
    return house.case("again")


def held_as_duplicate(house: House) -> Case:
    """Drop a scan that failed before, after it may have been paid."""
    house.sandbox.set_options(success=False)
    _dropped(house)
    house.live_until_rest()
    house.drop("again.nii")
    house.live_until("again", State.HELD)
    house.turn()
    return house.case("again")


UNPAID = (failed_unpaid, cancelled_unpaid, held_unpaid)
SAME_JOB = (
    failed_transient_paid,
    cancelled_paid,
    held_by_time,
    held_by_refused_poll,
    held_claim_gone_paid,
    partial_with_unfetched,
)
NEW_JOB = (
    failed_by_engine,
    partial_with_failed,
    changed_after_notification,
    duplicate,
    held_as_duplicate,
)


@pytest.fixture
def busy(build: Callable[..., House]) -> House:
    """Return a house that asks for two meshes, and whose patience is short."""
    return build(
        job=TWO_MESHES,
        limits={"retry_for_h": 0.05, "processing_at_most_h": 0.5, "retry_at_most_s": 20},
    )


def _heal(house: House) -> None:
    house.sandbox.set_faults([])
    house.sandbox.set_options(success=True, failed=[], processing_s=0.0)


def _delivered(house: House, name: str, folder: str) -> Case:
    """Live until a retried case is done, and check that everything is in one place."""
    house.live_until_rest(at_most_s=4000)
    case = house.case(name)
    assert case.state is State.DONE
    assert case.outbox == str(house.root / "outbox" / folder)
    assert house.files(f"outbox/{folder}") == ["mandible.stl", "maxilla.stl", "result.json"]
    assert house.files(f"archive/{folder}") == sorted(["result.json", f"{name}.nii"])
    assert house.result(folder)["status"] == "complete"
    assert house.result(folder)["attempts"] == 2
    assert house.leftovers() == []
    assert not list((house.root / "failed").glob(f"{name}*"))
    return case


@pytest.mark.parametrize("way", UNPAID)
def test_an_unpaid_case_is_sent_anew(busy: House, way: Way) -> None:
    """Nothing was begun that costs: a new job, no yes needed."""
    case = way(busy)
    assert (case.paid, retry_label(case)) == (False, Label.RETRY_UNPAID)
    _heal(busy)
    busy.say("retry", case)
    _delivered(busy, "scan", "scan")
    assert busy.started() == 1


@pytest.mark.parametrize("way", SAME_JOB)
def test_a_paid_job_goes_on(busy: House, way: Way) -> None:
    """What was paid for is not sent again: the same job, no submit, no second start."""
    case = way(busy)
    assert (case.paid, retry_label(case)) == (True, Label.RETRY_SAME_JOB)
    _heal(busy)
    submits = busy.sandbox.ledger.count("submit")
    busy.say("retry", case)
    folder = "scan.2" if case.state is State.PARTIAL else "scan"
    assert _delivered(busy, "scan", folder).job_id == case.job_id
    assert busy.sandbox.ledger.count("submit") == submits
    assert busy.started() == 1


@pytest.mark.parametrize("way", NEW_JOB)
def test_what_may_cost_again_needs_the_persons_yes(busy: House, way: Way) -> None:
    """Without a yes nothing happens; with it there is one more job."""
    case = way(busy)
    assert retry_label(case) is Label.RETRY_NEW_JOB
    _heal(busy)
    before, files = busy.started(), _all_files(busy)
    busy.say("retry", case)
    busy.live(30)
    assert busy.case(case.case_name) == case
    assert (busy.started(), _all_files(busy)) == (before, files)
    busy.say("retry", case, may_cost=True)
    folder = f"{case.case_name}.2" if case.outbox else case.case_name
    after = _delivered(busy, case.case_name, folder)
    assert after.job_id != case.job_id
    assert busy.started() == before + 1


def _all_files(house: House) -> list[str]:
    return [name for folder in ("outbox", "archive", "failed") for name in house.files(folder)]


def test_a_partial_result_stays_beside_the_complete_one(busy: House) -> None:
    """Nothing is overwritten: the retry publishes under the next free name."""
    case = partial_with_unfetched(busy)
    assert busy.result("scan")["status"] == "partial"
    before = (busy.root / "outbox/scan/result.json").read_bytes()
    _heal(busy)
    busy.say("retry", case)
    _delivered(busy, "scan", "scan.2")
    assert (busy.root / "outbox/scan/result.json").read_bytes() == before
    assert busy.files("outbox/scan") == ["mandible.stl", "result.json"]


def test_nothing_is_retried_of_a_done_case(busy: House) -> None:
    """Its results are there: the word means nothing."""
    _dropped(busy)
    busy.live_until_rest()
    case = busy.case("scan")
    busy.say("retry", case, may_cost=True)
    busy.live(30)
    assert busy.case("scan") == case
    assert busy.parts.store.words() == []


def test_nothing_is_retried_of_a_case_under_way(busy: House) -> None:
    """The daemon is at it already."""
    busy.sandbox.set_options(processing_s=60.0)
    _dropped(busy)
    case = busy.live_until("scan", State.WAITING)
    busy.say("retry", case, may_cost=True)
    assert busy.case("scan").retries == 0
    busy.live_until_rest()
    assert (busy.states(), busy.started()) == ({"scan": State.DONE}, 1)


@pytest.mark.parametrize("stops", [False, True], ids=["running", "restarted"])
def test_words_to_a_stopped_daemon_are_heard_at_its_start(busy: House, *, stops: bool) -> None:
    """The word waits in the state file."""
    case = failed_unpaid(busy)
    _heal(busy)
    busy.queries.say("retry", [case.case_id])
    if stops:
        busy.restart()
        assert busy.case("scan").state is State.CLAIMING
    busy.live_until_rest()
    _delivered(busy, "scan", "scan")


def test_the_input_moves_with_the_case(busy: House) -> None:
    """From failed into the claim, with our own documents taken out, then into the archive."""
    case = failed_transient_paid(busy)
    assert busy.files("failed") == ["scan/error.json", "scan/error.txt", "scan/scan.nii"]
    busy.sandbox.set_faults([])
    busy.sandbox.set_options(processing_s=60.0)
    busy.say("retry", case)
    assert busy.live_until("scan", State.WAITING).problem is None
    assert busy.files("failed") == []
    assert busy.leftovers() == [
        f"inbox/.vpe-watcher/house/{case.case_id}/.case.json",
        f"inbox/.vpe-watcher/house/{case.case_id}/scan.nii",
    ]
    busy.live_until_rest()
    assert busy.files("archive") == ["scan/result.json", "scan/scan.nii"]


def test_a_case_folder_comes_back_whole(busy: House) -> None:
    """A folder with its job.json and other files goes to failed and back as it was."""
    busy.sandbox.set_faults([{"on": "submit", "do": {"status": 400}}])
    folder = busy.root / "inbox" / "patient"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "scan.nii").write_bytes(nifti())
    (folder / "report.pdf").write_bytes(b"%PDF-1.7 nothing")
    (folder / "job.json").write_text('{"options": {"smooth": true}}')
    busy.live_until_rest()
    dropped = ["patient/deep/scan.nii", "patient/job.json", "patient/report.pdf"]
    documents = ["patient/error.json", "patient/error.txt"]
    assert busy.files("failed") == sorted(dropped + documents)
    busy.sandbox.set_faults([])
    busy.say("retry", busy.case("patient"))
    busy.live_until_rest()
    assert busy.states() == {"patient": State.DONE}
    assert busy.files("failed") == []
    assert busy.files("archive") == sorted([*dropped, "patient/result.json"])
    assert busy.sandbox.ledger.job().request["options"] == {"smooth": True}
    assert busy.result("patient")["skipped"] == [{"name": "report.pdf", "reason": "not a scan"}]


def test_the_held_note_comes_and_goes(busy: House) -> None:
    """While a case is held a note lies in `failed`, with what to do; afterwards it is gone."""
    case = held_by_refused_poll(busy)
    note = busy.root / "failed" / "scan.held.txt"
    words = note.read_text()
    assert case.case_id in words
    assert case.job_id is not None
    assert case.job_id in words
    assert busy.files("failed") == ["scan.held.txt"]
    assert busy.claimed(case).exists()
    _heal(busy)
    busy.say("retry", case)
    assert not note.exists()
    _delivered(busy, "scan", "scan")


class FullDisk(Disk):
    """Has no room for notes while it is full."""

    is_full = False

    def create(self, path: Path, content: bytes) -> None:
        """Write a file, but for a note on a full disk."""
        if self.is_full and ".held.txt" in path.name:
            raise OSError(errno.ENOSPC, "full")
        super().create(path, content)


def test_a_full_disk_puts_the_held_note_off(build: Callable[..., House]) -> None:
    """The breaker `disk` tells; with space the note is written and everything goes on."""
    disk = FullDisk()
    disk.is_full = True
    house = build(disk=disk)
    house.sandbox.set_faults([{"on": "poll", "times": 1, "do": {"status": 403}}])
    _dropped(house)
    house.live_until("scan", State.HELD)
    house.live(5)
    assert house.breakers() == {"disk"}
    disk.is_full = False
    house.live(120)
    house.drop("other.nii", nifti(seed=1))
    house.live_until("other", State.DONE)
    assert house.breakers() == set()
    assert "scan.held.txt" in house.files("failed")


def test_a_failed_folder_that_was_emptied_holds_the_retry(busy: House) -> None:
    """An input that is gone is never guessed: the case is held, with the reason."""
    case = failed_unpaid(busy)
    (busy.root / "failed" / "scan" / "scan.nii").unlink()
    _heal(busy)
    busy.say("retry", case)
    busy.live_until_rest()
    after = busy.case("scan")
    assert after.state is State.HELD
    assert after.problem is not None
    assert after.problem.code == "claim_gone"
    assert busy.started() == 0


def test_a_retry_after_a_copy_across_file_systems_is_the_same_job(
    build: Callable[..., House], other_disk: Path
) -> None:
    """The copies have other times and inodes and the same bytes: nothing was changed."""
    failed = other_disk / "failed"
    failed.mkdir()
    house = build(failed=str(failed), job=TWO_MESHES, limits={"retry_for_h": 0.05})
    case = failed_transient_paid(house)
    assert (failed / "scan" / "scan.nii").exists()
    assert not house.claimed(case).exists()
    _heal(house)
    house.say("retry", case)
    assert _delivered(house, "scan", "scan").job_id == case.job_id
    assert not (failed / "scan").exists()


# --- cancel --------------------------------------------------------------------------------------

STUCK: dict[State, list[dict[str, object]]] = {
    State.SUBMITTING: [{"on": "submit", "do": {"status": 500}}],
    State.UPLOADING: [{"on": "upload", "do": {"status": 500}}],
    State.NOTIFYING: [{"on": "notify", "do": {"status": 500}}],
    State.WAITING: [{"on": "poll", "do": {"status": 500}}],
    State.FETCHING: [{"on": "download", "do": {"status": 500}}],
}


@pytest.mark.parametrize("state", STUCK)
def test_a_case_is_cancelled_in_each_state(house: House, state: State) -> None:
    """Its input goes to failed with the person's word as the reason, and nothing goes on."""
    house.sandbox.set_faults(STUCK[state])
    house.drop("scan.nii")
    case = house.live_until("scan", state)
    house.say("cancel", case)
    house.live_until_rest()
    after = house.case("scan")
    assert (after.state, after.paid) == (
        State.CANCELLED,
        state not in {State.SUBMITTING, State.UPLOADING},
    )
    assert house.files("failed") == ["scan/error.json", "scan/error.txt", "scan/scan.nii"]
    document = house.error("scan")
    assert (document["class"], document["code"]) == ("cancelled", "cancelled")
    assert (house.leftovers(), house.files("outbox")) == ([], [])
    house.sandbox.set_faults([])
    seen = len(house.sandbox.ledger.requests)
    house.live(60)
    assert len(house.sandbox.ledger.requests) == seen


def test_a_case_that_waits_for_its_like_is_cancelled(house: House) -> None:
    """Also what was claimed but not begun ends in failed."""
    house.sandbox.set_options(processing_s=600.0)
    house.drop("scan.nii")
    house.live_until("scan", State.WAITING)
    house.drop("again.nii")
    house.live(10)
    assert house.case("again").state is State.CLAIMING
    house.say("cancel", house.case("again"))
    house.live(5)
    assert house.case("again").state is State.CANCELLED
    assert house.files("failed") == ["again/again.nii", "again/error.json", "again/error.txt"]


def test_a_case_that_is_not_yet_claimed_is_cancelled_for_good(house: House) -> None:
    """Its file leaves the inbox all the same, so that it is not taken a second time."""
    house.drop("scan.nii")
    for _ in range(10):
        house.look()
        house.time.advance(1.0)
    case = house.case("scan")
    assert (case.state, case.times["claimed"]) == (State.CLAIMING, None)
    house.say("cancel", case)
    house.live(30)
    assert house.states() == {"scan": State.CANCELLED}
    assert house.files("inbox") == []
    assert "scan/scan.nii" in house.files("failed")


@pytest.mark.parametrize("state", [State.DELIVERING, State.ARCHIVING])
def test_a_delivery_is_not_cancelled(house: House, state: State) -> None:
    """Too late: the word means nothing, and the case goes on to its end."""
    house.drop("scan.nii")
    case = house.live_until("scan", state)
    house.say("cancel", case)
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert house.parts.store.words() == []


@pytest.mark.parametrize("way", [failed_unpaid, cancelled_paid, held_by_refused_poll])
def test_a_case_at_rest_is_not_cancelled(busy: House, way: Way) -> None:
    """It stays as it is."""
    case = way(busy)
    busy.say("cancel", case)
    busy.live(10)
    assert replace(busy.case("scan"), times={}) == replace(case, times={})


def test_a_running_step_is_stopped_by_a_cancel(house: House) -> None:
    """The word waits until the step has ended; the step is told to stop, and is not begun again."""
    house.drop("scan.nii")
    case = house.live_until("scan", State.UPLOADING)
    assert house.parts.schedule.take_ready() == [(case.case_id, State.UPLOADING)]
    house.queries.say("cancel", [case.case_id])
    assert not house.parts.words.obey()
    assert house.stopping.should_stop(case.case_id)
    house.parts.runner.run(case.case_id, State.UPLOADING)
    assert house.parts.schedule.take_ready() == []
    assert house.parts.words.obey()
    assert not house.stopping.should_stop(case.case_id)
    house.live_until_rest()
    assert house.states() == {"scan": State.CANCELLED}
