"""What is no scan, or a bad one: a clear reason, nothing uploaded, and the daemon goes on."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flow.endings import explained, failed_as_input, good_scan_passes
from tests.flow.house import House, binary_stl, nifti
from tests.flow.odd import ODD
from vpe_watcher.core.model import State

Build = Callable[..., House]


def zipped(**members: bytes) -> bytes:
    """Return a ZIP archive of these members; `_` in a name stands for a dot."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return stream.getvalue()


# --- contents -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["scan.dcm", "scan.nii", "scan.nii.gz", "scan.zip", "scan.nrrd", "scan.vti", "upper.stl"],
)
@pytest.mark.parametrize("content", [b"", bytes(4096)], ids=["empty", "zeros"])
def test_an_empty_or_zero_file_is_incomplete_until_it_fails(
    house: House, name: str, content: bytes
) -> None:
    """It may still be filled: it waits ten minutes with its reason, then fails."""
    path = house.drop(name, content)
    good_scan_passes(house)
    waiting = house.candidate(name)
    assert waiting["state"] == "incomplete"
    assert waiting["reason"]
    assert str(waiting["reason"]).split(";")[0] in explained(house, path)
    house.live(600, step_s=10)
    error = failed_as_input(house, name.partition(".")[0])
    assert error["code"] == "incomplete"
    assert not path.exists()
    assert f"{name.partition('.')[0]}/{name}" in house.files("failed")


@pytest.mark.parametrize("name", ["note.dcm", "note.nii", "note.nrrd", "note.vti", "note.zip"])
def test_text_under_a_scans_name_is_wrong(house: House, name: str) -> None:
    """It fails as soon as it is quiet, and the reason says what it is not."""
    house.drop(name, b"Dear colleague, please find the scan attached.\n" * 50)
    good_scan_passes(house)
    error = failed_as_input(house, "note")
    assert error["code"] == "wrong_content"
    assert "not what the name says" in error["message"]


def test_a_broken_zip_waits_and_fails(house: House) -> None:
    """An archive that is cut off is incomplete."""
    house.drop("scan.zip", zipped(a_dcm=os.urandom(5000))[:-30])
    good_scan_passes(house)
    assert house.candidate("scan.zip")["state"] == "incomplete"
    house.live(600, step_s=10)
    assert failed_as_input(house, "scan")["code"] == "incomplete"


def test_a_zip_with_a_damaged_member_is_not_sent(build: Callable[..., House]) -> None:
    """Where no lease can be trusted, a member whose bytes do not fit its checksum is no scan."""
    house = build(recipes={"default": {"exported_by_nfs": True}})
    content = bytearray(zipped(a_dcm=bytes(range(256)) * 20))
    content[600] ^= 0xFF
    house.drop("scan.zip", bytes(content))
    good_scan_passes(house)
    house.live(600, step_s=10)
    failed_as_input(house, "scan")


def test_an_incomplete_file_that_is_filled_is_taken(house: House) -> None:
    """The rest arrives after five minutes: nothing has failed."""
    path = house.drop("scan.nii", nifti()[:200])
    house.live(300, step_s=5)
    assert house.candidate("scan.nii")["state"] == "incomplete"
    path.write_bytes(nifti())
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}


# --- names of meshes ------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "says"), [("jaw.stl", "no pattern"), ("upper-lower.stl", "more")])
def test_a_mesh_whose_name_fits_no_pattern_or_two_fails(house: House, name: str, says: str) -> None:
    """The hint says how to name it."""
    house.drop(name, binary_stl())
    good_scan_passes(house)
    error = failed_as_input(house, name.partition(".")[0])
    assert error["code"] == "mesh_name"
    assert says in error["message"]
    assert "upper.stl" in error["hint"]


def test_two_files_for_one_modality_fail(house: House) -> None:
    """Nobody guesses which of two upper jaws is meant."""
    house.drop("visit/upper.stl", binary_stl(seed=1))
    house.drop("visit/maxilla.stl", binary_stl(seed=2))
    good_scan_passes(house)
    error = failed_as_input(house, "visit")
    assert error["code"] == "two_for_one_modality"
    assert "ios_upper" in error["message"]
    assert {"visit/upper.stl", "visit/maxilla.stl"} <= set(house.files("failed"))


def test_a_zip_with_a_mesh_goes_by_its_name(house: House) -> None:
    """A ZIP that lists a mesh and is named like one is a mesh; named otherwise a volume."""
    house.drop("upper.zip", zipped(a_stl=binary_stl()))
    house.drop("scan.zip", zipped(a_stl=binary_stl()))
    house.drop("lower.zip", zipped(a_dcm=b"x" * 600))
    house.live_until_rest()
    sent = [job.request["inputFiles"] for job in house.sandbox.ledger.jobs.values()]
    assert {"ios_upper": {"extension": ".zip"}} in sent
    assert sent.count({"cbct": {"extension": ".zip"}}) == 2


# --- what is never touched ------------------------------------------------------------------------

IGNORED = [
    "~$scan.dcm",
    "scan.dcm.part",
    "scan.partial",
    "scan.nii.tmp",
    "scan.dcm.filepart",
    "scan.dcm.crdownload",
    "SCAN.DCM.PART",
    "Thumbs.db",
    "thumbs.db",
    "desktop.ini",
    "Desktop.ini",
    ".DS_Store",
    ".scan.nii",
    "@eaDir",
    "error.json",
    "error.txt",
    "old.bak",
    "export-7.nii",
]


@pytest.mark.parametrize("name", IGNORED)
def test_an_ignored_name_stays_where_it_is(build: Build, name: str) -> None:
    """Whatever is in it, as a file or as a folder, and `explain` says by which rule."""
    house = build(intake={"ignore": ["*.bak", "EXPORT-?.nii"]})
    path = house.drop(name)
    good_scan_passes(house)
    house.live(700, step_s=20)
    assert path.read_bytes() == nifti()
    assert "never touched" in explained(house, path)
    assert len(house.cases()) == 1


@pytest.mark.parametrize("name", ["@eaDir", ".hidden", "~$tmp", "old.bak", "folder.part"])
def test_an_ignored_folder_stays_where_it_is(build: Build, name: str) -> None:
    """Nothing below it is looked at either."""
    house = build(intake={"ignore": ["*.bak"]})
    path = house.drop(f"{name}/scan.nii")
    good_scan_passes(house)
    assert path.exists()
    assert "never touched" in explained(house, path)


@pytest.mark.parametrize("name", ["Thumbs.db", "~$scan.dcm", ".DS_Store", "old.bak", "error.json"])
def test_ignored_files_in_a_case_folder_travel_along(build: Build, name: str) -> None:
    """They keep nothing waiting, are not sent, and lie in the archive beside the scan."""
    house = build(intake={"ignore": ["*.bak"]})
    house.drop("visit/scan.nii")
    house.drop(f"visit/{name}", b"whatever")
    house.drop(f"visit/deep/{name}", b"whatever")
    house.live_until_rest(at_most_s=60)
    assert house.states() == {"visit": State.DONE}
    assert (house.root / "archive" / "visit" / name).read_bytes() == b"whatever"
    assert house.result("visit")["skipped"] == []


def test_an_ignored_folder_in_a_case_folder_travels_along(house: House) -> None:
    """What a NAS puts beside every file keeps no case from being taken."""
    house.drop("visit/scan.nii")
    house.drop("visit/@eaDir/scan.nii/thumb.jpg", b"whatever")
    house.live_until_rest(at_most_s=60)
    assert house.states() == {"visit": State.DONE}
    assert house.sandbox.ledger.count("upload") == 1


def test_a_temporary_name_keeps_a_case_folder_incomplete(house: House) -> None:
    """The folder waits for it to get its real name, and fails with it after ten minutes."""
    house.drop("visit/upper.stl", binary_stl())
    part = house.drop("visit/lower.stl.part", binary_stl())
    house.drop("stuck/upper.stl", binary_stl(seed=3))
    house.drop("stuck/lower.stl.filepart", b"")
    good_scan_passes(house)
    assert house.candidate("visit")["state"] == "incomplete"
    assert "temporary name" in str(house.candidate("visit")["reason"])
    part.rename(part.with_name("lower.stl"))
    house.live(30)
    assert house.states()["visit"] is State.DONE
    assert len(house.result("visit")["inputs"]) == 2
    house.live(700, step_s=10)
    error = failed_as_input(house, "stuck")
    assert "temporary name" in error["message"]
    assert "stuck/lower.stl.filepart" in house.files("failed")


# --- not a scan -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["report.pdf", "photo.jpg", "README", "scan.dcm.txt", "a.STEP"])
def test_an_unknown_kind_stays_where_it_is(house: House, name: str) -> None:
    """It is no candidate; `explain` says so, also after days."""
    path = house.drop(name, b"%PDF-1.7 nothing to see here")
    good_scan_passes(house)
    house.live(3 * 86400, step_s=3600)
    assert path.exists()
    assert "not a scan" in explained(house, path)
    assert len(house.cases()) == 1
    assert house.files("failed") == []


def test_a_folder_without_a_usable_file_stays_a_candidate(house: House) -> None:
    """It may still get one, and then it is taken."""
    house.drop("visit/report.pdf", b"%PDF")
    (house.root / "inbox" / "empty").mkdir()
    good_scan_passes(house)
    for name in ("visit", "empty"):
        assert house.candidate(name)["state"] == "no_usable_file"
    house.drop("visit/scan.nii", nifti(seed=4))
    house.live(60)
    assert house.states()["visit"] is State.DONE


def test_a_directory_named_like_a_scan_is_a_folder(house: House) -> None:
    """`x.dcm/` with a scan in it is a case folder, empty it waits."""
    (house.root / "inbox" / "empty.dcm").mkdir()
    house.drop("full.dcm/scan.nii", nifti(seed=6))
    house.live(60)
    assert house.candidate("empty.dcm")["state"] == "no_usable_file"
    assert house.states() == {"full.dcm": State.DONE}
    assert "full.dcm/mandible.stl" in house.files("outbox")


# --- links, pipes and sockets ---------------------------------------------------------------------


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", ["scan.dcm", "upper.stl", "visit"])
def test_links_pipes_and_sockets_are_never_opened(
    house: House, make: Callable[[Path], None], name: str
) -> None:
    """They stay, nothing is read through them, and nothing waits for a writer."""
    path = house.root / "inbox" / name
    make(path)
    good_scan_passes(house)
    house.live(700, step_s=20)
    assert os.path.lexists(path)
    assert len(house.cases()) == 1
    assert "never followed" in explained(house, path)


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
def test_links_pipes_and_sockets_in_a_case_folder_are_not_sent(
    house: House, make: Callable[[Path], None]
) -> None:
    """The folder is taken for its scan; what else lies in it stays what it is."""
    house.drop("visit/scan.nii")
    make(house.root / "inbox" / "visit" / "extra.dcm")
    house.live_until_rest(at_most_s=60)
    assert house.states() == {"visit": State.DONE}
    (job,) = house.sandbox.ledger.jobs.values()
    assert job.request["inputFiles"] == {"cbct": {"extension": ".nii"}}
    kept = house.root / "archive" / "visit" / "extra.dcm"
    assert os.path.lexists(kept)
    assert not kept.is_file() or kept.is_symlink()


def test_many_bad_things_at_once_stop_no_good_one(house: House) -> None:
    """A whole heap of nonsense beside twenty scans: twenty are delivered."""
    for number, make in enumerate(ODD):
        make(house.root / "inbox" / f"odd{number}.dcm")
    for name in IGNORED:
        house.drop(name, b"")
    for name in ("a.pdf", "empty.dcm", "x/y/z/nothing.txt"):
        house.drop(name, b"")
    house.drop("text.dcm", b"text" * 500)
    for number in range(20):
        house.drop(f"good{number}.nii", nifti(seed=number))
    house.live(120)
    states = house.states()
    assert [states[f"good{number}"] for number in range(20)] == [State.DONE] * 20
    assert states["text"] is State.FAILED
    assert len(states) == 21
