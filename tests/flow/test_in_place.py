"""Exports that are read where they lie: nothing moved, nothing marked, nothing sent twice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flow.house import House, binary_stl, nifti, unprivileged
from tests.flow.series import slice_bytes, write_series
from vpe_watcher.app.commands.parcels import parcel_of
from vpe_watcher.core.errors import Refusal
from vpe_watcher.core.model import State
from vpe_watcher.flow.places import root_key

Build = Callable[..., House]
QUICK = {"series_settle_s": 6, "series_max_wait_s": 60, "settle_s": 2}


@pytest.fixture
def export(ground: Path) -> Path:
    """Return the folder that a PACS exports into."""
    folder = ground / "export"
    folder.mkdir()
    return folder


@pytest.fixture
def house(build: Build, export: Path) -> House:
    """Return a house with one recipe that leaves its inputs in place; nothing lies there yet."""
    return start(build, export)


def start(build: Build, export: Path, **recipe: object) -> House:
    """Build a house around an export."""
    pacs = {"inbox": str(export), "leave_in_place": True, **recipe}
    house = build(intake=QUICK, recipes={"pacs": pacs})
    house.live(1)
    return house


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return all below a folder with size, time of change and inode."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def study(export: Path, number: int, *, slices: int = 12) -> list[Path]:
    """Export a study as PACS do: patient, study, series, files without extension."""
    folder = export / f"PAT{number}" / "ST1" / "SE1"
    return write_series(folder, range(1, slices + 1), name="IM{}", series=f"1.2.{number}")


def settled(house: House) -> None:
    """Check that nothing waits, and nothing is out of order."""
    assert house.parts.inboxes["pacs"].candidates() == []
    assert house.breakers() == set()


def test_a_new_study_is_sent_and_nothing_is_touched(house: House, export: Path) -> None:
    """One case; the export is as it was, and the archive holds the manifest alone."""
    study(export, 1)
    before = tree(export)
    house.live_until_rest()
    assert house.states() == {"PAT1": State.DONE}
    assert tree(export) == before
    assert house.files("archive") == ["PAT1/result.json"]
    house.live(60)
    assert house.started() == 1
    assert len(house.cases()) == 1


def test_what_lies_there_at_first_is_not_sent(build: Build, export: Path) -> None:
    """Fifty studies are remembered; one new one is sent."""
    for number in range(50):
        study(export, number)
    house = start(build, export)
    house.live(30)
    assert house.cases() == []
    study(export, 77)
    house.live_until_rest()
    assert house.states() == {"PAT77": State.DONE}


def test_a_second_study_of_a_known_patient_is_sent(house: House, export: Path) -> None:
    """Only the new files are looked at."""
    study(export, 1)
    house.live_until_rest()
    write_series(export / "PAT1" / "ST2", series="1.2.99", SeriesNumber="4", name="IM{}")
    house.live(60)
    assert [case.state for case in house.cases()] == [State.DONE, State.DONE]
    assert len(house.cases()[1].inputs[0].slices) == 12


def test_a_re_export_elsewhere_makes_no_case(house: House, export: Path) -> None:
    """The same instances under another path and time are known."""
    study(export, 1)
    house.live_until_rest()
    shutil.copytree(export / "PAT1", export / "COPY")
    house.live(60)
    assert len(house.cases()) == 1
    settled(house)
    rows = house.parts.store.database.read("SELECT DISTINCT case_id FROM remembered")
    assert [row["case_id"] for row in rows] == [house.case("PAT1").case_id]


def test_a_re_export_of_what_was_ignored_makes_no_case(build: Build, export: Path) -> None:
    """What lay there at first is compared by content, too."""
    study(export, 1)
    study(export, 2)
    (export / "scan.nii").write_bytes(nifti(seed=4))
    house = start(build, export)
    shutil.copytree(export / "PAT1", export / "AGAIN")
    shutil.copy(export / "scan.nii", export / "other.nii")
    for path in (export / "PAT2").rglob("IM*"):
        os.utime(path, (1, 1))
    house.live(60)
    assert house.cases() == []
    settled(house)


def test_changed_content_under_an_old_name_is_sent(build: Build, export: Path) -> None:
    """Another scan in the place of an old one is a new scan."""
    (export / "scan.nii").write_bytes(nifti(seed=4))
    house = start(build, export)
    (export / "scan.nii").write_bytes(nifti(seed=5))
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}


def test_a_restart_sends_nothing_again(house: House, export: Path) -> None:
    """What was seen is in the state file."""
    study(export, 1)
    house.live_until_rest()
    house.restart()
    house.live(60)
    assert len(house.cases()) == 1


def test_a_failure_leaves_only_its_documents(house: House, export: Path) -> None:
    """`failed/<name>/` holds error.json and error.txt; the export keeps the file."""
    (export / "cut.nii").write_bytes(nifti()[:-9])
    house.live(800, step_s=10)
    assert house.states() == {"cut": State.FAILED}
    assert house.files("failed") == ["cut/error.json", "cut/error.txt"]
    assert (export / "cut.nii").exists()
    house.live(100, step_s=10)
    assert len(house.cases()) == 1


def test_a_retry_leaves_the_documents_of_its_own_end_only(house: House, export: Path) -> None:
    """After a second failure they tell of that one; after a success nothing is left in failed."""
    house.sandbox.set_options(success=False)
    study(export, 1)
    house.live_until_rest()
    case = house.case("PAT1")
    failed = house.root / "failed" / "PAT1"
    first = json.loads((failed / "error.json").read_bytes())
    house.say("retry", case, may_cost=True)
    house.live_until_rest()
    second = json.loads((failed / "error.json").read_bytes())
    assert (first["attempts"], second["attempts"]) == (1, 2)
    assert first["job_id"] != second["job_id"] == house.case("PAT1").job_id
    assert second["job_id"] in (failed / "error.txt").read_text()
    (record,) = (house.root / "failed" / ".vpe-watcher" / "records").iterdir()
    assert json.loads(record.read_bytes())["attempts"] == 2
    house.sandbox.set_options(success=True)
    house.say("retry", case, may_cost=True)
    house.live_until_rest()
    assert house.case("PAT1").state is State.DONE
    assert not (house.root / "failed" / "PAT1").exists()
    assert not list((house.root / "failed" / ".vpe-watcher").glob("records/*"))


def test_meshes_of_a_folder_go_together(house: House, export: Path) -> None:
    """A folder of an export is a case folder, read where it lies."""
    folder = export / "Anna"
    folder.mkdir()
    (folder / "upper.stl").write_bytes(binary_stl(seed=1))
    (folder / "lower.stl").write_bytes(binary_stl(seed=2))
    house.live_until_rest()
    assert house.states() == {"Anna": State.DONE}
    assert {entry["modality"] for entry in house.result("Anna")["inputs"]} == {
        "ios_upper",
        "ios_lower",
    }


def test_a_file_that_changes_under_way_starts_again(house: House, export: Path) -> None:
    """Rewritten before the upload: the new content is sent, once."""
    (export / "scan.nii").write_bytes(nifti(seed=1))
    house.live_until("scan", State.UPLOADING)
    (export / "scan.nii").write_bytes(nifti(seed=2))
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    (entry,) = house.result("scan")["inputs"]
    assert entry["sha256"] == house.disk.digest(export / "scan.nii")
    assert house.started() == 1


def test_several_series_are_a_case_each(house: House, export: Path) -> None:
    """Nothing is taken out of anything: each case reads its own files."""
    write_series(export / "Anna" / "a")
    write_series(export / "Anna" / "b", series="1.2.3", SeriesNumber="5", SeriesDescription="Bone")
    house.live_until_rest()
    assert house.states() == {"Anna--2-Jaw": State.DONE, "Anna--5-Bone": State.DONE}


def test_late_slices_are_held_in_place(house: House, export: Path) -> None:
    """They stay where they are, too; retry sends the union."""
    study(export, 1)
    house.live_until_rest()
    (export / "PAT1" / "ST1" / "SE1" / "IM13").write_bytes(slice_bytes(13, series="1.2.1"))
    house.live(40)
    late = house.cases()[1]
    assert (late.state, len(late.inputs[0].slices)) == (State.HELD, 1)
    house.say("retry", late)
    house.live_until_rest()
    assert house.cases()[1].state is State.DONE
    assert len(house.cases()[1].inputs[0].slices) == 13


def test_no_scan_is_remembered_in_the_end(house: House, export: Path) -> None:
    """A report alone is no candidate for ever."""
    (export / "note.txt").write_text("hello")
    folder = export / "Old"
    folder.mkdir()
    (folder / "report.pdf").write_bytes(b"%PDF")
    house.live(900, step_s=10)
    assert house.parts.inboxes["pacs"].candidates() == []


def test_changed_slices_under_known_names_are_sent(house: House, export: Path) -> None:
    """The same instances with other pixels are no duplicate: not the same content."""
    study(export, 1)
    house.live_until_rest()
    folder = export / "PAT9" / "SE1"
    write_series(folder, range(1, 13), name="IM{}", series="1.2.1", seed=5)
    house.live(60)
    assert house.states() == {"PAT1": State.DONE, "PAT9": State.DONE}
    assert house.started() == 2


def test_an_export_after_a_failure_is_sent(house: House, export: Path) -> None:
    """One cut slice failed it; the same study exported again is whole."""
    paths = study(export, 1)
    paths[3].write_bytes(paths[3].read_bytes()[:-30])
    house.live(800, step_s=10)
    assert house.states() == {"PAT1": State.FAILED}
    study(export, 1)
    for path in paths:
        os.utime(path)
    house.live(60)
    assert [case.state for case in house.cases()] == [State.FAILED, State.DONE]


def test_what_a_person_submits_is_sent_though_it_was_there(build: Build, export: Path) -> None:
    """Even if a copy of it lies there, too."""
    study(export, 1)
    shutil.copytree(export / "PAT1", export / "COPY")
    house = start(build, export)
    house.live(20)
    assert house.cases() == []
    house.queries.say("take", [str(export / "PAT1")])
    house.live(60)
    assert house.states() == {"PAT1": State.DONE}


def test_one_unreadable_file_closes_no_export(
    build: Build, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad sector in an old file is that file's trouble alone."""
    (export / "old.nii").write_bytes(nifti(seed=1))
    house = start(build, export)
    digest = type(house.disk).digest

    def fails(disk: object, path: Path) -> str:
        if path.name == "old.nii":
            raise OSError(5, "bad sector")
        return digest(house.disk, path)

    monkeypatch.setattr(type(house.disk), "digest", fails)
    (export / "new.nii").write_bytes(nifti(seed=2))
    house.live(60)
    assert house.states() == {"new": State.DONE}
    settled(house)


def test_wishes_that_lay_there_count_for_what_comes(build: Build, export: Path) -> None:
    """A job.json that was seen before its scan is merged into its job."""
    (export / "Anna").mkdir()
    (export / "Anna" / "job.json").write_text('{"options": {"smooth": 3}}')
    house = start(build, export)
    (export / "Anna" / "upper.stl").write_bytes(binary_stl())
    house.live(60)
    assert house.states() == {"Anna": State.DONE}
    assert house.case("Anna").job["options"] == {"smooth": 3}


@pytest.mark.real
def test_five_thousand_studies_are_not_sent_and_one_new_one_is(build: Build, export: Path) -> None:
    """Ten years of scans lie there at the first start: only what comes after it costs money."""
    for number in range(5000):
        folder = export / f"PAT{number:05d}" / "ST1"
        folder.mkdir(parents=True)
        (folder / "scan.nii").write_bytes(nifti(seed=number % 50))
    house = start(build, export)
    house.live(20)
    assert house.cases() == []
    study(export, 77777)
    house.live_until_rest()
    assert house.states() == {"PAT77777": State.DONE}
    house.restart()
    house.live(30)
    assert len(house.cases()) == 1
    settled(house)


def test_submit_names_the_case_that_has_the_content(house: House, export: Path) -> None:
    """What was sent before makes no new case; who waits for it is told of the old one."""
    study(export, 1)
    house.live_until_rest()
    house.queries.say("take", [str(export / "PAT1")])
    assert house.queries.has_words()
    house.live(60)
    assert not house.queries.has_words()
    known = house.queries.case_of_remembered(root_key("pacs", export), "PAT1")
    assert known == house.case("PAT1").case_id
    assert len(house.cases()) == 1


def test_nothing_is_copied_into_an_export(house: House, export: Path, ground: Path) -> None:
    """Only what lies in it already can be submitted, and no folder that holds our own."""
    study(export, 1)
    parcel = parcel_of(export / "PAT1", "pacs", house.settings)
    assert (parcel.target, parcel.is_in_place) == (export / "PAT1", True)
    stranger = ground / "scan.nii"
    stranger.write_bytes(nifti())
    for source in (stranger, export):
        with pytest.raises(Refusal) as refusal:
            parcel_of(source, "pacs", house.settings)
        assert refusal.value.code == "never_written_to"
    with pytest.raises(Refusal) as refusal:
        parcel_of(house.root, "default", house.settings)
    assert refusal.value.code == "holds_own_folder"


@pytest.mark.parametrize("closed", ["PAT1", "PAT1/ST2"])
def test_a_folder_that_may_not_be_read_is_told(house: House, export: Path, closed: str) -> None:
    """It is blocked and stops no other; with permission what is new in it is sent, the rest not."""
    study(export, 1)
    house.live_until_rest()
    write_series(export / "PAT1" / "ST2", series="1.2.99", SeriesNumber="4", name="IM{}")
    study(export, 2)
    (export / closed).chmod(0)
    with unprivileged(house):
        house.live(120)
        assert house.states() == {"PAT1": State.DONE, "PAT2": State.DONE}
        blocked = house.candidate("PAT1")
        assert blocked["state"] == "blocked"
        assert "read permission" in blocked["reason"]
        told = [fields for event, fields in house.events if event == "candidate.waiting"]
        assert [one["state"] for one in told if one["recipe"] == "pacs"] == ["blocked"]
        assert house.breakers() == set()
    (export / closed).chmod(0o755)
    house.live(120)
    assert [len(case.inputs[0].slices) for case in house.cases()] == [12, 12, 12]
    assert {case.state for case in house.cases()} == {State.DONE}
    settled(house)


def test_a_known_folder_that_was_closed_for_a_while_is_still_known(
    house: House, export: Path
) -> None:
    """Nothing new is in it when it opens again: none of it is a candidate."""
    study(export, 1)
    house.live_until_rest()
    (export / "PAT1").chmod(0)
    with unprivileged(house):
        house.live(60)
    assert house.candidate("PAT1")["state"] == "blocked"
    (export / "PAT1").chmod(0o755)
    house.time.advance(60)
    house.look()
    settled(house)
    assert len(house.cases()) == 1


def test_what_could_not_be_read_at_the_first_scan_is_not_new_when_it_can(
    build: Build, export: Path
) -> None:
    """It lay there before: nothing of it is sent, and a study that comes is."""
    study(export, 1)
    (export / "PAT1").chmod(0)
    pacs = {"inbox": str(export), "leave_in_place": True}
    house = build(intake=QUICK, recipes={"pacs": pacs})
    with unprivileged(house):
        house.live(60)
    (export / "PAT1").chmod(0o755)
    house.live(60)
    assert house.cases() == []
    study(export, 2)
    house.live(120)
    assert house.states() == {"PAT2": State.DONE}


@pytest.mark.parametrize("reloads", [True, False])
def test_an_export_that_becomes_an_inbox_gets_its_marker(
    house: House, export: Path, *, reloads: bool
) -> None:
    """It never had one to lose; what was sent from it before is not paid for again."""
    (export / "scan.nii").write_bytes(nifti())
    house.live_until_rest()
    take = house.reload if reloads else house.reconfigure
    take(recipes={"pacs": {"leave_in_place": False}})
    house.live_until_rest()
    house.restart()
    house.live_until_rest()
    assert house.breakers() == set()
    assert (export / ".vpe-watcher" / "marker.json").exists()
    states = [row["state"] for row in house.queries.cases()]
    assert (states, house.started()) == (["duplicate", "done"], 1)
