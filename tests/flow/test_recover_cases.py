"""What `recover` makes of single cases: series, folders, wishes, old backups, exports."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flow.house import House, binary_stl, nifti
from tests.flow.lost_states import (
    backup,
    bring,
    delete,
    live_on,
    mark,
    mend,
    refusal,
    restore,
    state_file,
    take,
)
from tests.flow.series import SERIES, write_series
from tests.flow.test_series import NAME, QUICK, sent
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.store.database import mapped_errors
from vpe_watcher.adapters.store.soundness import QuickCheck
from vpe_watcher.app import recovering
from vpe_watcher.core.errors import ConfigError, TryAgainLater
from vpe_watcher.core.model import Case, State
from vpe_watcher.flow.recovery import Way

Build = Callable[..., House]


def _lose(house: House) -> None:
    """Lose the state file, and rebuild it."""
    house.close()
    delete(house)
    assert refusal(house) == "state_outdated"
    mend(house)
    house.start()


def _back_to(house: House) -> None:
    """Put the backup back, and bring it up to date."""
    house.close()
    restore(house)
    assert refusal(house) == "state_outdated"
    mend(house)
    house.start()


def _steps(house: House, name: str, state: State) -> Case:
    """Drop a scan and bring its case to a state."""
    house.drop(f"{name}.nii")
    take(house)
    bring(house, name, state)
    return house.case(name)


# --- claims --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.CLAIMING, State.UPLOADING, State.NOTIFYING])
def test_an_unpaid_claim_starts_again(house: House, state: State) -> None:
    """Under its old name and id; the job that was made and never notified costs nothing."""
    before = _steps(house, "scan", state)
    _lose(house)
    live_on(house)
    assert house.states() == {"scan": State.DONE}
    if state is not State.CLAIMING:
        assert house.case("scan").case_id == before.case_id
    assert house.started() == 1


def test_a_paid_claim_waits_for_its_job(house: House) -> None:
    """The same job, and a result that is complete."""
    before = _steps(house, "scan", State.WAITING)
    submitted = len(house.sandbox.ledger.jobs)
    _lose(house)
    after = house.case("scan")
    assert (after.state, after.job_id, after.paid) == (State.WAITING, before.job_id, True)
    assert after.is_counted
    live_on(house)
    assert house.states() == {"scan": State.DONE}
    assert len(house.sandbox.ledger.jobs) == submitted
    assert house.result("scan")["inputs"][0]["sha256"] == before.inputs[0].sha256


def test_a_paid_claim_without_a_job_is_held(house: House) -> None:
    """Nobody knows whether the submit that pays made a job: a person asks the vendor."""
    case = _steps(house, "scan", State.UPLOADING)
    evidence = house.claim_folder(case) / ".case.json"
    document = json.loads(evidence.read_text())
    evidence.write_text(json.dumps(document | {"may_be_paid": True, "job_id": None}))
    house.close()
    delete(house)
    recovered = mend(house)
    assert recovered.recovery.ways == {case.case_id: Way.HELD}
    house.start()
    house.live(60)
    held = house.case("scan")
    assert held.problem is not None
    assert (held.state, held.problem.code, held.paid) == (State.HELD, "submit_unknown", True)
    assert "retry --yes" in house.held_note("scan")
    assert house.started() == 0


@pytest.mark.parametrize("may_be_paid", [False, True])
def test_evidence_of_an_earlier_version(house: House, *, may_be_paid: bool) -> None:
    """Four keys alone: what is paid goes on waiting, what is not comes back into the inbox."""
    case = _steps(house, "scan", State.WAITING if may_be_paid else State.UPLOADING)
    evidence = house.claim_folder(case) / ".case.json"
    keys = ("case_id", "recipe", "job_id", "may_be_paid")
    document = json.loads(evidence.read_text())
    evidence.write_text(json.dumps({key: document[key] for key in keys}))
    _lose(house)
    live_on(house)
    assert house.states() == {"scan": State.DONE}
    assert house.started() == 1
    assert (house.root / "archive" / "scan" / "scan.nii").read_bytes() == nifti()


@pytest.mark.parametrize("content", [b"\0" * 900, b"", b"[]", b"{}", b"[" * 100_000])
def test_damaged_evidence_may_say_paid(house: House, content: bytes) -> None:
    """It is held for a person, and never put back to be paid for again."""
    case = _steps(house, "scan", State.WAITING)
    (house.claim_folder(case) / ".case.json").write_bytes(content)
    _lose(house)
    house.live(60)
    held = house.case("scan")
    assert held.problem is not None
    assert (held.case_id, held.state, held.problem.code) == (
        case.case_id,
        State.HELD,
        "submit_unknown",
    )
    assert (house.claim_folder(held) / "scan.nii").exists()
    assert house.started() == 1


def test_damaged_evidence_beside_an_old_backup(house: House) -> None:
    """The row says unpaid, and nobody knows what happened since; a current row is believed."""
    case = _steps(house, "scan", State.SUBMITTING)
    backup(house)
    bring(house, "scan", State.WAITING)
    (house.claim_folder(case) / ".case.json").write_bytes(b"\0")
    house.close()
    assert mend(house).recovery.rebuilt == []
    _back_to(house)
    held = house.case("scan")
    assert (held.state, held.paid, held.job_id) == (State.HELD, True, None)
    assert held.inputs[0].sha256 == case.inputs[0].sha256


def test_evidence_without_a_record_beside_a_row(house: House) -> None:
    """Another paid job than the row's is one of its own turn."""
    case = _steps(house, "scan", State.WAITING)
    backup(house)
    evidence = house.claim_folder(case) / ".case.json"
    document = {"case_id": case.case_id, "recipe": "default", "may_be_paid": True, "job_id": "2"}
    evidence.write_text(json.dumps(document))
    _back_to(house)
    after = house.case("scan")
    assert (after.state, after.job_id, after.generation) == (State.WAITING, "2", 2)
    assert after.folder == case.folder


def test_what_was_renamed_and_no_more_goes_back(house: House) -> None:
    """A claim without evidence is a scan that nothing was done with."""
    case = _steps(house, "scan", State.SUBMITTING)
    (house.claim_folder(case) / ".case.json").unlink()
    house.close()
    delete(house)
    recovered = mend(house)
    assert (len(recovered.recovery.put_back), recovered.left) == (1, 0)
    assert house.files("inbox") == ["scan.nii"]
    house.start()
    live_on(house)
    assert house.states() == {"scan": State.DONE}


def test_nothing_is_put_back_over_another_scan(house: House) -> None:
    """It stays, `run` refuses, and a person moves the other one away."""
    case = _steps(house, "scan", State.SUBMITTING)
    (house.claim_folder(case) / ".case.json").unlink()
    house.drop("scan.nii", nifti(seed=1))
    house.close()
    delete(house)
    assert mend(house).left == 1
    assert refusal(house) == "state_outdated"
    (house.root / "inbox" / "scan.nii").rename(house.root / "aside.nii")
    assert mend(house).left == 0
    house.start()
    live_on(house)
    assert house.states() == {"scan": State.DONE}


def test_an_empty_claim_goes(house: House) -> None:
    """The daemon died between making the folder and the rename."""
    house.live(1)
    claim = house.root / "inbox" / ".vpe-watcher" / "house" / "0123456789ab"
    claim.mkdir(parents=True)
    house.close()
    delete(house)
    mend(house)
    assert not claim.exists()
    house.start()


@pytest.mark.parametrize("name", ["IMG.arriving", "..case.json.part"])
def test_only_what_is_ours_goes(house: House, name: str) -> None:
    """A scan of a name like one of ours goes back; a draft of evidence is no scan."""
    house.live(1)
    claim = house.root / "inbox" / ".vpe-watcher" / "house" / "0123456789ab"
    claim.mkdir(parents=True)
    (claim / name).write_bytes(b"a scan")
    house.close()
    delete(house)
    mend(house)
    assert not claim.exists()
    assert (house.root / "inbox" / name).exists() is (name == "IMG.arriving")


def test_wishes_are_kept(house: House) -> None:
    """A job.json beside the scan counts after the case was rebuilt."""
    (house.root / "inbox" / "scan.job.json").write_text('{"options": {"smooth": true}}')
    _steps(house, "scan", State.SUBMITTING)
    _lose(house)
    live_on(house)
    assert house.sandbox.ledger.job().request["options"] == {"smooth": True}
    assert "scan/scan.job.json" in house.files("archive")


def test_two_jaws_stay_one_case(build: Build) -> None:
    """All inputs of a case are known again, in whatever state."""
    house = build(recipes={"default": {"require": ["ios_upper", "ios_lower"]}})
    for number, jaw in enumerate(("upper", "lower")):
        house.drop(f"anna {jaw}.stl", binary_stl(seed=number))
    take(house)
    (case,) = house.cases()
    bring(house, case.case_name, State.WAITING)
    _lose(house)
    live_on(house)
    assert [entry["modality"] for entry in house.result(case.case_name)["inputs"]] == [
        "ios_lower",
        "ios_upper",
    ]
    assert house.started() == 1


@pytest.mark.parametrize("state", [State.UPLOADING, State.WAITING, State.ARCHIVING, State.DONE])
def test_a_series_is_rebuilt(build: Build, state: State) -> None:
    """With all its slices; late ones are held, and known ones are a duplicate."""
    house = build(intake=QUICK)
    write_series(house.root / "inbox")
    take(house)
    bring(house, NAME, state)
    _lose(house)
    live_on(house)
    assert house.states() == {NAME: State.DONE}
    assert [len(one.namelist()) for one in sent(house)][-1:] == [12]
    write_series(house.root / "inbox", range(1, 13), name="again{}.dcm")
    house.live(40)
    assert sorted(case.state for case in house.cases()) == [State.DONE, State.DUPLICATE]
    write_series(house.root / "inbox", range(20, 22))
    house.live(80)
    late = house.case_of_late(NAME)
    assert (late.state, house.started()) == (State.HELD, 1)


@pytest.mark.parametrize("steps", range(4))
def test_the_parts_of_a_folder_are_rebuilt(build: Build, steps: int) -> None:
    """Two series in one folder: each becomes its case, also what was not yet taken out."""
    house, first, second = _two_series(build)
    order = (first, first, second, second)
    for case in order[: steps + 1]:
        house.parts.runner.run(case.case_id, house.parts.store.load(case.case_id).state)  # type: ignore[union-attr]
    _lose(house)
    assert {case.case_id for case in house.cases()} == {first.case_id, second.case_id}
    live_on(house)
    assert set(house.states().values()) == {State.DONE}
    assert house.started() == 2
    assert len([name for name in house.files("archive") if name.endswith(".dcm")]) == 24
    assert house.leftovers() == []


@pytest.mark.parametrize("taken", range(3))
@pytest.mark.parametrize("state", [State.SUBMITTING, State.WAITING, State.ARCHIVING])
def test_a_part_is_not_forgotten(build: Build, state: State, taken: int) -> None:
    """Wherever the first case is, and also when the other's files were being taken out."""
    house, first, second = _two_series(build)
    bring(house, first.case_name, state)
    claims = house.claim_folder(first).parent
    for move in second.moves[: taken * 3]:
        target = claims / move.target
        target.parent.mkdir(parents=True, exist_ok=True)
        Path(move.source).rename(target)
    _lose(house)
    assert {case.case_id for case in house.cases()} == {first.case_id, second.case_id}
    live_on(house)
    assert set(house.states().values()) == {State.DONE}
    assert house.started() == 2
    names = [name.split("/")[0] for name in house.files("archive") if name.endswith(".dcm")]
    assert sorted(map(names.count, set(names))) == [12, 12]


def _two_series(build: Build) -> tuple[House, Case, Case]:
    """Drop a folder with two series and let it be taken; two cases, the first one's claim."""
    house = build(intake=QUICK)
    folder = house.root / "inbox" / "Anna"
    for number in (1, 2):
        write_series(
            folder, name=f"{number}-{{}}.dcm", series=f"{SERIES}.{number}", SeriesNumber=str(number)
        )
    take(house, 30.0)
    first, second = house.cases()
    return house, first, second


def test_a_series_that_is_held_back_is_held_again(build: Build) -> None:
    """Nothing of it was sent; a person's retry sends it as it is."""
    house = build(intake=QUICK)
    write_series(house.root / "inbox", [*range(1, 12), *range(14, 20)])
    house.live(90)
    before = house.case(NAME)
    assert before.state is State.HELD
    _lose(house)
    house.live(30)
    after = house.case(NAME)
    assert (after.state, after.problem, after.case_id) == (
        State.HELD,
        before.problem,
        before.case_id,
    )
    assert after.case_id in house.held_note(NAME)
    assert house.started() == 0
    house.say("retry", after)
    live_on(house)
    assert [len(one.namelist()) for one in sent(house)] == [17]


def test_late_slices_are_held_again(build: Build) -> None:
    """They still belong to the first case, with which a retry unites them."""
    house = build(intake=QUICK)
    write_series(house.root / "inbox")
    house.live_until(NAME, State.DONE, at_most_s=90)
    write_series(house.root / "inbox", range(13, 16))
    house.live(90)
    before = house.case_of_late(NAME)
    _lose(house)
    house.live(30)
    after = house.case_of_late(NAME)
    assert (after.case_id, after.state, after.late_for) == (
        before.case_id,
        State.HELD,
        before.late_for,
    )
    assert house.started() == 1
    house.say("retry", after)
    live_on(house)
    assert sorted(len(one.namelist()) for one in sent(house)) == [12, 15]


def test_what_is_not_kept_is_known_all_the_same(build: Build) -> None:
    """With on_success = "delete" the archive holds the manifest alone, and it is enough."""
    house = build(retention={"on_success": "delete"})
    house.drop("scan.nii")
    house.live_until_rest()
    _lose(house)
    house.drop("again.nii")
    house.live(20)
    assert house.states() == {"scan": State.DONE, "again": State.DUPLICATE}
    assert house.started() == 1


# --- what was delivered --------------------------------------------------------------------------


@pytest.mark.parametrize("losing", [_lose, _back_to])
def test_what_was_delivered_is_not_delivered_again(
    house: House, losing: Callable[[House], None]
) -> None:
    """It goes on to its archive; the manifest there is that of the outbox."""
    _steps(house, "scan", State.FETCHING)
    backup(house)
    bring(house, "scan", State.ARCHIVING)
    losing(house)
    assert house.case("scan").state is State.ARCHIVING
    live_on(house)
    assert house.files("outbox") == ["scan/mandible.stl", "scan/result.json"]
    manifests = [house.root / root / "scan" / "result.json" for root in ("outbox", "archive")]
    assert manifests[0].read_bytes() == manifests[1].read_bytes()
    assert house.case("scan").outbox == str(house.root / "outbox" / "scan")


def test_a_claim_that_was_being_put_away_goes_on(house: House) -> None:
    """Its documents lie among its files already, its evidence is gone."""

    class Dies(Disk):
        def rename(self, source: Path, target: Path) -> None:
            if target.parent.name == "archive":
                raise KeyboardInterrupt
            super().rename(source, target)

    _steps(house, "scan", State.ARCHIVING)
    house.disk = Dies()
    house.restart()
    with pytest.raises(KeyboardInterrupt):
        house.turn()
    house.disk = Disk()
    _lose(house)
    live_on(house)
    assert house.states() == {"scan": State.DONE}
    assert house.files("outbox") == ["scan/mandible.stl", "scan/result.json"]
    assert house.files("archive") == ["scan/result.json", "scan/scan.nii"]


# --- an old backup -------------------------------------------------------------------------------


def test_a_case_that_the_backup_does_not_know(house: House) -> None:
    """It came and was archived since: its name is taken, its content known."""
    house.live(1)
    backup(house)
    house.drop("scan.nii")
    house.live_until_rest()
    _back_to(house)
    assert house.states() == {"scan": State.DONE}
    house.drop("scan.nii")
    house.live(20)
    assert sorted(case.folder for case in house.cases()) == ["scan", "scan.2"]
    assert sorted(case.state for case in house.cases()) == [State.DONE, State.DUPLICATE]
    assert house.started() == 1


@pytest.mark.parametrize("state", [State.CLAIMING, State.UPLOADING, State.WAITING])
def test_a_case_that_ended_since_the_backup(house: House, state: State) -> None:
    """The row is behind its documents: it is at rest."""
    _steps(house, "scan", state)
    backup(house)
    live_on(house)
    _back_to(house)
    assert house.states() == {"scan": State.DONE}
    house.live(60)
    assert house.files("outbox") == ["scan/mandible.stl", "scan/result.json"]
    assert house.started() == 1


def test_a_case_that_was_paid_since_the_backup(house: House) -> None:
    """The row says unpaid, the evidence says paid, with the job."""
    _steps(house, "scan", State.SUBMITTING)
    backup(house)
    bring(house, "scan", State.WAITING)
    _back_to(house)
    case = house.case("scan")
    assert (case.state, case.job_id) == (State.WAITING, house.sandbox.ledger.job().id)
    live_on(house)
    assert (house.states(), house.started()) == ({"scan": State.DONE}, 1)


def test_a_held_case_that_was_retried_since_the_backup(house: House) -> None:
    """The new job that a person allowed is the one that counts; nothing is paid a third time."""
    _steps(house, "scan", State.DELIVERING)
    house.claimed(house.case("scan")).write_bytes(nifti(seed=4))
    house.live(1)
    held = house.case("scan")
    assert held.state is State.HELD
    backup(house)
    house.say("retry", held, may_cost=True)
    house.live_until("scan", State.WAITING)
    _back_to(house)
    assert house.case("scan").state is State.WAITING
    live_on(house)
    assert (house.states(), house.started()) == ({"scan": State.DONE}, 2)
    assert not list((house.root / "failed").glob("*.held.txt"))


def test_words_of_before_are_not_obeyed_again(house: House) -> None:
    """A yes to paying was said once."""
    _steps(house, "scan", State.DELIVERING)
    house.claimed(house.case("scan")).write_bytes(nifti(seed=4))
    house.live(1)
    house.queries.say("retry", [house.case("scan").case_id], may_cost=True)
    backup(house)
    house.live(30)
    house.close()
    restore(house)
    assert mend(house).dropped_words == 1
    house.start()
    house.live(60)
    assert house.started() == 2


def test_the_day_is_not_bought_twice(build: Build) -> None:
    """What was sent in the last 24 hours counts after a loss."""
    house = build(limits={"jobs_per_day": 2})
    for number in range(2):
        house.drop(f"{number}.nii", nifti(seed=number))
        house.live_until(str(number), State.DONE)
    _lose(house)
    house.drop("third.nii", nifti(seed=3))
    house.live(60)
    assert house.case("third").state is State.SUBMITTING
    assert "budget" in house.breakers()


def test_a_copy_that_a_person_made_harms_nobody(house: House) -> None:
    """Documents of one case under two ids, or twice under one: one of them has the job."""
    _steps(house, "scan", State.DONE)
    archive = house.root / "archive"
    for name in ("copy", "edited"):
        shutil.copytree(archive / "scan", archive / name)
    document = archive / "edited" / "result.json"
    document.write_text(json.dumps(json.loads(document.read_text()) | {"case_id": "edited"}))
    _lose(house)
    assert {case.case_id for case in house.cases()} >= {"edited"}
    assert len([case for case in house.cases() if case.job_id]) == 1
    house.drop("again.nii")
    house.live(20)
    assert (house.case("again").state, house.started()) == (State.DUPLICATE, 1)


def test_a_failed_case_is_known_again(house: House) -> None:
    """With its reason; a retry takes it up, and one that was paid stays one that was paid."""
    house.sandbox.set_faults([{"on": "submit", "times": 1, "do": {"status": 400}}])
    house.drop("scan.nii")
    house.live_until_rest()
    before = house.case("scan")
    _lose(house)
    after = house.case("scan")
    assert (after.state, after.problem, after.paid) == (State.FAILED, before.problem, False)
    house.say("retry", after)
    live_on(house)
    assert (house.states(), house.started()) == ({"scan": State.DONE}, 1)


# --- exports -------------------------------------------------------------------------------------


def test_an_export_stays_paused_until_it_is_resumed(build: Build, ground: Path) -> None:
    """Nothing in it tells what was sent; resumed, what history knows is not sent again."""
    export = ground / "export"
    export.mkdir()
    pacs = {"inbox": str(export), "leave_in_place": True, "existing": "take"}
    house = build(intake=QUICK, recipes={"pacs": pacs})
    (export / "old.nii").write_bytes(nifti())
    house.live(40)
    assert house.states() == {"old": State.DONE}
    _lose(house)
    (export / "new.nii").write_bytes(nifti(seed=1))
    house.live(60)
    assert (house.states(), house.breakers()) == ({"old": State.DONE}, {"inbox:pacs"})
    assert "recover --resume pacs" in house.breaker("inbox:pacs").hint
    house.restart()
    house.live(20)
    assert house.breakers() == {"inbox:pacs"}
    house.close()
    assert mend(house, "pacs").resumed
    assert mend(house).paused == ()
    house.start()
    house.live(60)
    assert house.states() == {"old": State.DONE, "new": State.DONE}
    assert (house.started(), house.breakers()) == (2, set())


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["inbox", "archive", "failed", "outbox"])
def test_all_folders_must_be_there(house: House, folder: str) -> None:
    """An archive that is not mounted would be forgotten, and its scans bought again."""
    _steps(house, "scan", State.DONE)
    house.close()
    delete(house)
    (house.root / folder).rename(house.root / "aside")
    with pytest.raises(TryAgainLater) as caught:
        mend(house)
    assert (caught.value.exit_code, caught.value.code) == (75, "folder_missing")
    assert not house.settings.state_file.exists()
    (house.root / "aside").rename(house.root / folder)
    mend(house)
    house.start()
    assert house.states() == {"scan": State.DONE}


def test_folders_of_two_daemons_are_not_mixed(house: House) -> None:
    """Whose they are is for a person to say."""
    _steps(house, "scan", State.DONE)
    house.close()
    delete(house)
    marker = house.root / "archive" / ".vpe-watcher" / "marker.json"
    marker.write_text('{"daemon_id": "somebody", "starts": 1}')
    with pytest.raises(ConfigError) as caught:
        mend(house)
    assert caught.value.code == "several_daemons"
    shutil.rmtree(marker.parent)
    mark(house)
    mend(house)
    house.start()


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_damaged_marker_is_named_and_that_of_another_folder_serves(
    house: House, *, is_lost: bool
) -> None:
    """It does not say whose folder it is: nothing is rebuilt by it, and a copy helps."""
    _steps(house, "scan", State.DONE)
    house.close()
    if is_lost:
        delete(house)
    marker = house.root / "outbox" / ".vpe-watcher" / "marker.json"
    marker.write_text("")
    with pytest.raises(ConfigError) as caught:
        mend(house)
    assert (caught.value.exit_code, caught.value.code) == (78, "marker_unreadable")
    assert str(marker) in caught.value.message
    shutil.copy(house.root / "archive" / ".vpe-watcher" / "marker.json", marker)
    mend(house)
    house.start()
    assert house.states() == {"scan": State.DONE}


def test_a_damaged_file_is_kept(house: House) -> None:
    """Nothing is deleted, and what is rebuilt is for its owner's eyes alone."""
    _steps(house, "scan", State.DONE)
    house.close()
    mark(house)
    house.settings.state_file.write_bytes(b"no database")
    assert refusal(house) == "state_damaged"
    kept = mend(house).kept
    assert kept is not None
    assert ".damaged-" in kept.name
    assert kept.read_bytes() == b"no database"
    assert house.settings.state_file.stat().st_mode & 0o777 == 0o600
    house.start()
    assert house.states() == {"scan": State.DONE}


def test_a_header_of_no_known_format_is_damage(house: House) -> None:
    """SQLite calls it an error and not damage; no other trouble has this name."""
    _steps(house, "scan", State.DONE)
    house.close()
    mark(house)
    with state_file(house).open("r+b") as file:
        file.seek(47)
        file.write(b"\x09")
    assert mend(house).kept is not None
    house.start()
    assert house.states() == {"scan": State.DONE}


@pytest.mark.parametrize("name", ["SQLITE_IOERR_READ", "SQLITE_BUSY", "SQLITE_FULL"])
def test_trouble_that_passes_is_no_damage(
    house: House, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sound file on a sick disk is not moved aside."""
    _steps(house, "scan", State.DONE)
    house.close()
    error = sqlite3.OperationalError()
    error.sqlite_errorname = name

    def fault(_self: QuickCheck) -> str:
        with mapped_errors():
            raise error

    monkeypatch.setattr(QuickCheck, "fault", fault)
    with pytest.raises(TryAgainLater, match=name) as caught:
        mend(house)
    assert caught.value.exit_code == 75
    monkeypatch.undo()
    assert mend(house).why == ""


def test_a_state_file_that_cannot_be_opened_is_no_damage(house: House) -> None:
    """What lies there is left alone."""
    house.look()
    house.close()
    delete(house)
    state_file(house).mkdir()
    with pytest.raises(TryAgainLater, match="SQLITE_CANTOPEN"):
        mend(house)
    assert state_file(house).is_dir()


def test_no_room_for_the_copy(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words are those of a full disk, and not of a missing folder."""
    _steps(house, "scan", State.WAITING)
    backup(house)
    house.close()
    restore(house)

    def full(_source: Path, _target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(recovering, "copy_state", full)
    with pytest.raises(TryAgainLater, match="No space left") as caught:
        mend(house)
    assert "Free space" in caught.value.hint


def test_a_sound_file_is_left_as_it_is(house: House) -> None:
    """Whoever runs it without need changes nothing."""
    _steps(house, "scan", State.WAITING)
    house.close()
    recovered = mend(house)
    assert (recovered.why, recovered.recovery.rebuilt, recovered.kept) == ("", [], None)
    house.start()
    live_on(house)
    assert (house.states(), house.started()) == ({"scan": State.DONE}, 1)
