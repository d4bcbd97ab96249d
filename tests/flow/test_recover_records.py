"""What `recover` makes of records that are gone, old, senseless, or of an earlier version."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flow.house import House, nifti
from tests.flow.lost_states import backup, bring, delete, live_on, mend, take
from tests.flow.series import write_series
from tests.flow.test_series import NAME, QUICK
from vpe_watcher.adapters.files import Disk
from vpe_watcher.core.errors import TryAgainLater
from vpe_watcher.core.model import Case, State

Build = Callable[..., House]
SENSELESS = (b"", b"[]", b'{"attempts": 1, "job": 7, "inputs": 3}', b'{"attempts": 9}', b"\xff")


def _lose(house: House) -> None:
    """Lose the state file, and rebuild it."""
    house.close()
    delete(house)
    mend(house)
    house.start()


def _ended(house: House, state: State) -> Case:
    """Let a case come to rest in a state; a failed one is unpaid, a cancelled one paid."""
    if state is State.FAILED:
        house.sandbox.set_faults([{"on": "submit", "times": 1, "do": {"status": 400}}])
    if state is State.CANCELLED:
        house.sandbox.set_options(processing_s=600)
    house.drop("scan.nii")
    if state is State.CANCELLED:
        house.say("cancel", house.live_until("scan", State.WAITING))
    return house.live_until("scan", state)


def _told(case: Case) -> list[tuple[str, str, str, int, str | None]]:
    """Return what documents tell of inputs."""
    return [
        (str(one.modality), one.name, one.extension, one.mark.size, one.sha256)
        for one in case.inputs
    ]


def _again(house: House) -> Case:
    """Drop the same scan once more."""
    house.drop("again.nii")
    house.live(60)
    return house.case("again")


@pytest.mark.parametrize("content", [None, *SENSELESS])
def test_a_result_without_its_record(house: House, content: bytes | None) -> None:
    """The document tells of the content, and the configuration of what was asked for."""
    before = _ended(house, State.DONE)
    record = house.record("archive", before.case_id)
    record.unlink() if content is None else record.write_bytes(content)
    _lose(house)
    after = house.case("scan")
    assert (after.state, after.job_id, after.paid) == (State.DONE, before.job_id, True)
    assert (_told(after), after.times) == (_told(before), before.times)
    assert _again(house).state is State.DUPLICATE
    assert house.started() == 1


@pytest.mark.parametrize("content", [None, *SENSELESS])
def test_an_unpaid_failure_without_its_record(house: House, content: bytes | None) -> None:
    """No job was made, so a retry sends what lies there."""
    before = _ended(house, State.FAILED)
    record = house.record("failed", before.case_id)
    record.unlink() if content is None else record.write_bytes(content)
    _lose(house)
    after = house.case("scan")
    assert (after.problem, after.paid, after.inputs) == (before.problem, False, ())
    house.say("retry", after)
    live_on(house)
    assert (house.states(), house.started()) == ({"scan": State.DONE}, 1)
    assert house.leftovers() == []
    assert not record.exists()


@pytest.mark.parametrize("evidence", ["files", "row", "delivery", "nothing"])
def test_the_recipe_of_a_failure_without_its_record(
    build: Build, tmp_path: Path, evidence: str
) -> None:
    """An old row or an earlier result tells it, or that only one recipe moves files."""
    inbox = tmp_path / "teeth"
    inbox.mkdir()
    default = {"leave_in_place": evidence == "files"}
    recipes = {"default": default, "teeth": {"inbox": str(inbox)}}
    house = build(recipes=recipes, dicom={"recipe": "teeth"})
    refused = {"on": "submit", "do": {"status": 400}}
    partly = {"on": "poll", "do": {"failed": ["mandible"]}}
    house.sandbox.set_faults([partly if evidence == "delivery" else refused])
    (inbox / "scan.nii").write_bytes(nifti())
    house.live(60)
    copy = backup(house)
    house.sandbox.set_faults([refused])
    house.say("retry", house.case("scan"), may_cost=True)
    house.live(60)
    case = house.case("scan")
    assert (case.recipe, case.state, case.attempts) == ("teeth", State.FAILED, 2)
    house.record("failed", case.case_id).unlink()
    house.close()
    delete(house)
    if evidence == "row":
        shutil.copy(copy, house.settings.state_file)
    mend(house)
    house.start()
    assert house.case("scan").attempts == 2
    assert house.case("scan").recipe == ("default" if evidence == "nothing" else "teeth")


def test_an_ending_with_a_job_and_no_record(house: House) -> None:
    """It may have been paid for: a retry asks for the same job, and for no other."""
    before = _ended(house, State.CANCELLED)
    house.record("failed", before.case_id).unlink()
    _lose(house)
    after = house.case("scan")
    assert (after.state, after.job_id, after.paid) == (State.CANCELLED, before.job_id, True)
    house.say("retry", after)
    house.live(1200)
    assert house.states() == {"scan": State.DONE}
    assert (house.started(), len(house.sandbox.ledger.jobs)) == (1, 1)


def test_a_cancelled_case_without_job_or_record(house: House) -> None:
    """A submit whose answer was lost may have been cancelled: nothing is sent for it any more."""
    before = _ended(house, State.CANCELLED)
    document = house.root / "failed" / "scan" / "error.json"
    document.write_text(json.dumps(json.loads(document.read_text()) | {"job_id": None}))
    house.record("failed", before.case_id).unlink()
    started = house.started()
    _lose(house)
    assert house.case("scan").paid
    house.say("retry", house.case("scan"), may_cost=True)
    house.live(60)
    assert (house.states(), house.started()) == ({"scan": State.CANCELLED}, started)


def test_a_failure_is_known_by_its_record(house: House) -> None:
    """What was paid for and ended without a result is not bought again unasked."""
    before = _ended(house, State.CANCELLED)
    _lose(house)
    after = house.case("scan")
    assert (_told(after), after.times) == (_told(before), before.times)
    assert _again(house).state is State.HELD
    assert house.started() == 1


def test_a_record_without_its_folder_is_of_no_case(house: House) -> None:
    """Somebody emptied archive and outbox: the scan is sent when it comes again."""
    case = _ended(house, State.DONE)
    for root in ("archive", "outbox"):
        shutil.rmtree(house.root / root / "scan")
    _lose(house)
    assert house.cases() == []
    assert house.record("archive", case.case_id).exists()
    assert _again(house).state is State.DONE
    assert house.started() == 2


def test_an_archive_that_was_emptied(build: Build) -> None:
    """Of a series the manifest in the outbox does not tell the content, but the record does."""
    house = build(intake=QUICK)
    write_series(house.root / "inbox")
    house.live_until_rest()
    shutil.rmtree(house.root / "archive" / NAME)
    _lose(house)
    write_series(house.root / "inbox")
    house.live(40)
    assert sorted(case.state for case in house.cases()) == [State.DONE, State.DUPLICATE]
    assert house.started() == 1


@pytest.mark.parametrize("target", ["failed/elsewhere", "archive/scan"])
def test_a_folder_that_was_moved_keeps_its_record(house: House, target: str) -> None:
    """The record is known by the id of its case, wherever the folder lies now."""
    before = _ended(house, State.FAILED)
    (house.root / "failed" / "scan").rename(house.root / target)
    _lose(house)
    after = house.case("scan")
    assert (after.state, after.problem, after.folder) == (
        State.FAILED,
        before.problem,
        Path(target).name,
    )
    assert after.inputs[0].sha256 == before.inputs[0].sha256


def test_a_copy_from_a_backup_of_an_earlier_ending(house: House) -> None:
    """The record is of the ending since, and not believed for the one before."""
    case = _ended(house, State.FAILED)
    shutil.copytree(house.root / "failed" / "scan", house.root / "aside")
    house.sandbox.set_faults([{"on": "submit", "times": 1, "do": {"status": 400}}])
    house.say("retry", case)
    assert house.live_until("scan", State.FAILED).retries == 1
    shutil.rmtree(house.root / "failed" / "scan")
    (house.root / "aside").rename(house.root / "failed" / "scan")
    _lose(house)
    after = house.case("scan")
    assert (after.state, after.retries, after.inputs) == (State.FAILED, 0, ())


@pytest.mark.parametrize("state", [State.DONE, State.FAILED, State.CANCELLED])
def test_documents_of_an_earlier_version(house: House, state: State) -> None:
    """They held what is a record now within themselves."""
    before = _ended(house, state)
    root, name = ("archive", "result") if state is State.DONE else ("failed", "error")
    path, record = house.root / root / "scan" / f"{name}.json", house.record(root, before.case_id)
    known = json.loads(record.read_text())
    told = ("recipe", "inputs", "skipped", "times")
    old = {key: known.pop(key) for key in told} | {"record": known}
    path.write_text(json.dumps(json.loads(path.read_text()) | old))
    record.unlink()
    _lose(house)
    after = house.case("scan")
    assert (after.state, _told(after), after.paid) == (state, _told(before), before.paid)
    assert (after.job, after.engine_version) == (before.job, before.engine_version)
    assert (after.times, after.sight) == (before.times, "i:")


@pytest.mark.parametrize("state", [State.DONE, State.FAILED])
def test_a_death_while_it_was_put_away(house: House, state: State) -> None:
    """Document and files are in the claim, the evidence is gone; the record tells the rest."""

    class Dies(Disk):
        def rename(self, source: Path, target: Path) -> None:
            if target.parent.name in {"archive", "failed"}:
                raise KeyboardInterrupt
            super().rename(source, target)

    if state is State.FAILED:
        house.sandbox.set_faults([{"on": "submit", "times": 1, "do": {"status": 400}}])
    house.drop("scan.nii")
    house.live_until("scan", State.ARCHIVING) if state is State.FAILED else _fetched(house)
    before = house.case("scan")
    house.disk = Dies()
    house.restart()
    with pytest.raises(KeyboardInterrupt):
        house.turn()
    house.disk = Disk()
    _lose(house)
    after = house.case("scan")
    assert (after.state, after.verdict) == (State.ARCHIVING, state)
    assert (after.inputs[0].sha256, after.paid) == (before.inputs[0].sha256, before.paid)
    live_on(house)
    assert (house.states(), house.leftovers()) == ({"scan": state}, [])


def _fetched(house: House) -> None:
    take(house)
    bring(house, "scan", State.ARCHIVING)


def test_records_that_cannot_be_read_are_waited_for(house: House) -> None:
    """Without them a scan might be bought again: nothing is built on what is left."""

    class Closed(Disk):
        def names(self, folder: Path) -> list[str]:
            if folder.name == "records":
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return super().names(folder)

    _ended(house, State.DONE)
    house.close()
    delete(house)
    house.disk = Closed()
    with pytest.raises(TryAgainLater) as caught:
        mend(house)
    assert "permissions" in caught.value.hint
    house.disk = Disk()
    mend(house)
    house.start()
    assert house.states() == {"scan": State.DONE}


@pytest.mark.parametrize("name", ["x" * 300, "../../../scan", "\0", 7, None])
def test_a_case_id_that_somebody_made_up(house: House, name: object) -> None:
    """No file is looked for by such a name, and the others are rebuilt."""
    _ended(house, State.DONE)
    shutil.copytree(house.root / "archive" / "scan", house.root / "archive" / "copy")
    document = house.root / "archive" / "copy" / "result.json"
    document.write_text(json.dumps(json.loads(document.read_text()) | {"case_id": name}))
    _lose(house)
    assert "scan" in house.states()
    assert _again(house).state is State.DUPLICATE


def test_a_record_is_for_the_same_eyes_as_the_marker(house: House) -> None:
    """It bears the mode of what else is hidden, and holds no draft beside it."""
    case = _ended(house, State.DONE)
    record = house.record("archive", case.case_id)
    marker = house.root / "archive" / ".vpe-watcher" / "marker.json"
    assert record.stat().st_mode == marker.stat().st_mode
    assert [path.name for path in record.parent.iterdir()] == [record.name]
    assert nifti() == (house.root / "archive" / "scan" / "scan.nii").read_bytes()
