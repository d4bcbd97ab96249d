"""What is no scan, or a bad one: a clear reason, nothing uploaded, and the daemon goes on."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.flow.house import House, binary_stl, nifti, unprivileged
from tests.flow.odd import ODD
from vpe_watcher.adapters.files import Disk
from vpe_watcher.app.assembly import candidate_rules
from vpe_watcher.core.model import State
from vpe_watcher.flow.explain import Place, explain

Build = Callable[..., House]


def zipped(**members: bytes) -> bytes:
    """Return a ZIP archive of these members; `_` in a name stands for a dot."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return stream.getvalue()


def good_scan_passes(house: House) -> None:
    """Drop a good scan, live on, and check that nothing else was ever sent."""
    house.drop("good.nii")
    house.live(60)
    assert house.states()["good"] is State.DONE
    (job,) = house.sandbox.ledger.jobs.values()
    assert list(job.request["inputFiles"]) == ["cbct"]
    assert house.sandbox.ledger.count("upload") == 1
    assert house.breakers() == set()


def explained(house: House, path: Path) -> str:
    """Return what `explain` says of a path."""
    recipes = house.settings.recipes.values()
    places = [Place(r.name, r.inbox, candidate_rules(house.settings, r)) for r in recipes]
    return "\n".join(explain(path, inboxes=places, queries=house.queries))


def failed_as_input(house: House, name: str) -> dict[str, str]:
    """Return the error of a case that failed as input, after a look at what goes with it."""
    case = next(case for case in house.cases() if case.case_name == name)
    assert case.state is State.FAILED
    error = house.error(case.folder)
    text = (house.root / "failed" / case.folder / "error.txt").read_text()
    assert error["class"] == "input"
    assert error["message"] in text
    assert error["hint"] in text
    assert error["hint"]
    assert error["job_id"] is None
    return error


# --- contents ------------------------------------------------------------------------------------


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


def test_a_zip_with_a_damaged_member_is_not_sent(house: House) -> None:
    """A member whose bytes do not fit its checksum is no scan."""
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


# --- names of meshes -----------------------------------------------------------------------------


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


# --- what is never touched -----------------------------------------------------------------------

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


# --- not a scan ----------------------------------------------------------------------------------


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


# --- links, pipes and sockets --------------------------------------------------------------------


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


# --- permissions and bad disks -------------------------------------------------------------------


def test_an_unreadable_file_is_blocked_until_it_can_be_read(house: House) -> None:
    """The reason names the service's user; with permission it is taken."""
    house.live(1)
    path = house.drop("secret.nii", nifti(seed=3))
    path.chmod(0)
    with unprivileged(house):
        house.drop("good.nii")
        house.live(120)
        assert house.states() == {"good": State.DONE}
        blocked = house.candidate("secret.nii")
        assert blocked["state"] == "blocked"
        assert "may not read" in str(blocked["reason"])
        assert str(os.geteuid()) in str(blocked["reason"])
        assert house.breakers() == set()
        path.chmod(0o600)
        house.live(120)
        assert house.states()["secret"] is State.DONE


def test_an_unreadable_folder_is_blocked(house: House) -> None:
    """A folder that may not be listed says so, and stops nothing else."""
    house.live(1)
    house.drop("visit/scan.nii", nifti(seed=3))
    (house.root / "inbox" / "visit").chmod(0)
    with unprivileged(house):
        house.drop("good.nii")
        house.live(120)
        assert house.states() == {"good": State.DONE}
        assert house.candidate("visit")["state"] == "blocked"
        assert house.breakers() == set()
        (house.root / "inbox" / "visit").chmod(0o755)
        house.live(120)
        assert house.states()["visit"] is State.DONE


def test_an_unreadable_sidecar_blocks_its_scan(house: House) -> None:
    """The wishes beside a scan may not be read: nothing is sent without them."""
    house.live(1)
    house.drop("scan.nii", nifti(seed=3))
    sidecar = house.drop("scan.job.json", b"{}")
    sidecar.chmod(0)
    with unprivileged(house):
        house.drop("good.nii")
        house.live(120)
        assert house.states() == {"good": State.DONE}
        assert house.candidate("scan.nii")["state"] == "blocked"
        assert house.breakers() == set()


class BadSector(Disk):
    """A disk that cannot read one file."""

    def open(self, path: Path) -> BinaryIO:
        """Open a file, unless it lies on the bad sector."""
        if path.name == "bad.nii":
            raise OSError(5, "Input/output error")
        return super().open(path)


def test_a_file_on_a_bad_sector_stops_no_other(build: Build) -> None:
    """One file that the disk cannot read is that file's trouble, not the inbox's."""
    house = build(disk=BadSector())
    house.drop("bad.nii", nifti(seed=3))
    good_scan_passes(house)
    assert house.candidate("bad.nii")["state"] == "blocked"
    assert "input/output error" in str(house.candidate("bad.nii")["reason"]).lower()


class Busy(Disk):
    """A disk where one thing cannot be renamed."""

    number = 16
    is_busy = True

    def rename(self, source: Path, target: Path) -> None:
        """Rename, unless it is the one that is in use."""
        if self.is_busy and source.name == "busy.nii":
            raise OSError(self.number, os.strerror(self.number))
        super().rename(source, target)


@pytest.mark.parametrize("number", [1, 13, 16, 18, 26])
def test_what_cannot_be_renamed_is_blocked_and_stops_no_other(build: Build, number: int) -> None:
    """EPERM, EACCES, EBUSY, EXDEV, ETXTBSY: it stays a candidate, and is tried again later."""
    disk = Busy()
    disk.number = number
    house = build(disk=disk)
    path = house.drop("busy.nii", nifti(seed=3))
    good_scan_passes(house)
    blocked = house.candidate("busy.nii")
    assert blocked["state"] == "blocked"
    assert os.strerror(number).lower() in str(blocked["reason"])
    assert "permission" in str(blocked["reason"])
    assert path.exists()
    assert len(house.cases()) == 1
    disk.is_busy = False
    house.live(120)
    assert house.states()["busy"] is State.DONE


# --- names ---------------------------------------------------------------------------------------

NAMES = [
    "two\nlines.nii",
    "x" * 251 + ".nii",
    "ü" * 125 + ".nii",
    "🦷 scan 🦷.nii",
    "   leading spaces.nii",
    "trailing space .nii",
    "a..nii",
    " ...nii",
    "tab\there.nii",
    "back\\slash.nii",
    "quote\"'`$(id).nii",
    "-rf.nii",
    "result.json.nii",
    "CON.nii",
    "e\u0301 decomposed.nii",
    "\u202egnp.nii",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
def test_a_strange_name_is_delivered_like_any_other(
    house: House, name: str, *, is_folder: bool
) -> None:
    """One safe folder name in outbox and archive; the manifest keeps the name as it was."""
    where = name.removesuffix(".nii") if is_folder else ""
    house.drop(f"{where}/scan.nii" if is_folder else name)
    house.live_until_rest(at_most_s=60)
    (case,) = house.cases()
    assert case.state is State.DONE
    assert case.case_name == name.removesuffix(".nii")
    (folder,) = [path for path in (house.root / "outbox").iterdir() if path.name[0] != "."]
    assert folder.name == case.folder
    assert not set(folder.name) & set("\n\t/\\")
    assert (house.root / "archive" / case.folder / ("scan.nii" if is_folder else name)).exists()
    assert house.result(case.folder)["case_name"] == case.case_name
    assert house.leftovers() == []


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_strange_name_can_fail_and_be_held(house: House, name: str) -> None:
    """The files that tell the person are there under the same safe name."""
    house.sandbox.set_faults([{"on": "poll", "job": 0, "do": {"status": 403}}])
    house.drop(name)
    house.live(30)
    (case,) = house.cases()
    assert case.state is State.HELD
    assert case.case_id in house.held_note(case.folder)
    house.drop(name, b"text, not a scan" * 100)
    house.live(20)
    second = house.cases()[1]
    assert second.state is State.FAILED
    assert house.error(second.folder)["case_name"] == second.case_name


@pytest.mark.parametrize("name", [b"M\xfcller.nii", b"\xff\xfe.nii", b"\xed\xa0\x80.nii"])
def test_a_name_that_is_no_text_stops_no_other(house: House, name: bytes) -> None:
    """It is taken, or waits with a reason: what is sure is that nothing breaks."""
    path = os.fsencode(house.root / "inbox") + b"/" + name
    Path(os.fsdecode(path)).write_bytes(nifti(seed=3))
    house.drop("good.nii")
    house.live(60)
    assert house.states()["good"] is State.DONE
    shown = house.candidate(os.fsdecode(name))
    assert shown["state"] == "blocked"
    assert "rename it" in str(shown["reason"])
    assert house.breakers() == set()


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
