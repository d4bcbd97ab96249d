"""Taking scans out of the inbox: what changes, goes or is in the way meanwhile, what is asked."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flow.house import House, binary_stl, nifti, unprivileged
from tests.flow.odd import ODD
from vpe_watcher.adapters.files import Disk
from vpe_watcher.core.model import Case, State

Build = Callable[..., House]


def claimed(house: House, case: Case, name: str = "scan.nii") -> Path:
    """Return where a case's file lies in its claim."""
    return house.claim_folder(case) / case.content / name


def requests(house: House) -> list[dict[str, Any]]:
    """Return the bodies of all submits, oldest first."""
    return [job.request for job in house.sandbox.ledger.jobs.values()]


# --- changes after the claim ---------------------------------------------------------------------


@pytest.mark.parametrize("due", [State.SUBMITTING, State.UPLOADING, State.NOTIFYING])
def test_a_change_before_the_notification_starts_again(house: House, due: State) -> None:
    """A copier that goes on writing into the claim: what is sent is what it ends with."""
    house.drop("scan.nii")
    case = house.live_until("scan", due)
    claimed(house, case).write_bytes(nifti(seed=7))
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert [job.started for job in house.sandbox.ledger.jobs.values()][-1] == 1
    assert sum(job.started for job in house.sandbox.ledger.jobs.values()) == 1
    assert (house.root / "archive" / "scan" / "scan.nii").read_bytes() == nifti(seed=7)
    (entry,) = house.result("scan")["inputs"]
    (upload,) = house.sandbox.ledger.job().inputs["cbct"].uploads
    assert (
        entry["sha256"]
        == upload.sha256
        == house.parts.disk.digest(house.root / "archive" / "scan" / "scan.nii")
    )
    assert house.case("scan").attempts == 1


def test_a_changing_claim_waits_until_it_is_quiet(house: House) -> None:
    """A writer that does not stop keeps its case in `claiming`; nothing is sent meanwhile."""
    house.drop("scan.nii")
    case = house.live_until("scan", State.UPLOADING)
    for seed in range(1, 20):
        claimed(house, case).write_bytes(nifti(seed=seed))
        house.live(1)
    assert house.states() == {"scan": State.CLAIMING}
    assert house.sandbox.ledger.count("upload") == 0
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert len(house.sandbox.ledger.jobs) == 2


def test_a_claim_that_becomes_incomplete_is_not_sent(house: House) -> None:
    """A file that a writer cut off in the claim waits for its rest, then fails as input."""
    house.drop("scan.nii")
    case = house.live_until("scan", State.UPLOADING)
    claimed(house, case).write_bytes(nifti()[:300])
    house.live(120)
    assert house.states() == {"scan": State.CLAIMING}
    house.live(700, step_s=2)
    assert house.states() == {"scan": State.FAILED}
    assert house.error("scan")["class"] == "input"
    assert "not complete" in house.error("scan")["message"]
    assert house.sandbox.ledger.count("upload") == 0


def test_a_change_after_the_notification_is_held(house: House) -> None:
    """The result may belong to other data: nothing is published, a person decides."""
    house.drop("scan.nii")
    case = house.live_until("scan", State.DELIVERING)
    claimed(house, case).write_bytes(nifti(seed=7))
    house.live(60)
    assert house.states() == {"scan": State.HELD}
    assert house.files("outbox") == []
    note = house.held_note("scan")
    assert "changed after the Engine had been told to start" in note
    assert "--yes" in note
    assert claimed(house, case).read_bytes() == nifti(seed=7)
    house.say("retry", house.case("scan"))
    house.live(60)
    assert house.states() == {"scan": State.HELD}
    house.say("retry", house.case("scan"), may_cost=True)
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert len(house.sandbox.ledger.jobs) == 2
    assert house.files("failed") == []
    assert house.leftovers() == []


@pytest.mark.parametrize(
    "due", [State.SUBMITTING, State.UPLOADING, State.NOTIFYING, State.WAITING, State.DELIVERING]
)
def test_a_claim_that_is_deleted_is_held(house: House, due: State) -> None:
    """Somebody empties the hidden folder: held with a note, and never submitted again."""
    house.drop("scan.nii")
    case = house.live_until("scan", due)
    submits = house.sandbox.ledger.count("submit")
    shutil.rmtree(house.claim_folder(case))
    house.live(300, step_s=2)
    assert house.states() == {"scan": State.HELD}
    assert house.sandbox.ledger.count("submit") == submits
    assert house.files("outbox") == []
    note = house.held_note("scan")
    assert "gone" in note
    assert "drop the scan again" in note
    assert house.breakers() == set()


def test_a_claim_that_is_deleted_at_the_end_is_no_loss_of_the_result(house: House) -> None:
    """What was delivered stays delivered; the archive tells what there was."""
    house.drop("scan.nii")
    case = house.live_until("scan", State.ARCHIVING)
    shutil.rmtree(house.claim_folder(case))
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert house.files("archive") == ["scan/result.json"]


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
@pytest.mark.parametrize("due", [State.SUBMITTING, State.UPLOADING, State.DELIVERING])
def test_a_claimed_file_that_is_replaced_by_a_link_or_pipe_is_held(
    house: House, make: Callable[[Path], None], due: State
) -> None:
    """Nothing is read through it, nothing waits for a writer, and no inbox is blamed."""
    house.drop("scan.nii")
    case = house.live_until("scan", due)
    claimed(house, case).unlink()
    make(claimed(house, case))
    house.live(120)
    assert house.states() == {"scan": State.HELD}
    assert house.breakers() == set()
    assert house.sandbox.ledger.count("submit") <= 1


def test_a_claimed_file_that_may_not_be_read_is_its_own_trouble(house: House) -> None:
    """Its permissions go after the claim: it waits, others pass, and then it fails as input."""
    house.live(1)
    house.drop("scan.nii")
    house.live_until("scan", State.UPLOADING)
    with unprivileged(house):
        claimed(house, house.case("scan")).chmod(0)
        house.drop("good.nii", nifti(side=5))
        house.live(120)
        assert house.states() == {"scan": State.CLAIMING, "good": State.DONE}
        assert house.breakers() == set()
        house.live(700, step_s=2)
        assert house.states()["scan"] is State.FAILED
        assert "may not read" in house.error("scan")["message"]


class BadSector(Disk):
    """A disk on which one file can be looked at but not read, while `is_bad`."""

    is_bad = True

    def digest(self, path: Path) -> str:
        """Digest a file, unless it lies on the bad sector."""
        if self.is_bad and path.name == "bad.nii":
            raise OSError(5, "Input/output error")
        return super().digest(path)


def test_a_claimed_file_on_a_bad_sector_stops_no_other(build: Build) -> None:
    """Reading it fails while it is compared: that case is tried again, the inbox is not blamed."""
    disk = BadSector()
    house = build(disk=disk)
    house.drop("first.nii")
    house.live_until("first", State.UPLOADING)
    house.drop("bad.nii", nifti(seed=1))
    house.live(60)
    house.drop("good.nii", nifti(side=5))
    house.live(60)
    assert house.states() == {
        "first": State.DONE,
        "bad": State.CLAIMING,
        "good": State.DONE,
    }
    assert house.breakers() == set()
    disk.is_bad = False
    house.live(300)
    assert house.states()["bad"] is State.DONE


# --- between the last look and the rename --------------------------------------------------------


class Interrupting(Disk):
    """A disk on which something happens right before the rename of a claim."""

    def __init__(self) -> None:
        self.before: Callable[[Path], None] | None = None

    def rename(self, source: Path, target: Path) -> None:
        """Let it happen once, then rename."""
        if self.before is not None and source.parent.name == "inbox":
            happens, self.before = self.before, None
            happens(source)
        super().rename(source, target)


def write_another(path: Path) -> None:
    """Write other content of the same size."""
    path.write_bytes(nifti(seed=5))


def test_a_file_that_changes_at_the_claim_goes_back(build: Build) -> None:
    """It lies in the inbox again, settles anew, and is sent as it is then."""
    disk = Interrupting()
    house = build(disk=disk)
    disk.before = write_another
    house.drop("scan.nii")
    house.live(4)
    assert house.cases() == []
    assert house.files("inbox") == ["scan.nii"]
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    (entry,) = house.result("scan")["inputs"]
    assert entry["sha256"] == house.parts.disk.digest(house.root / "archive/scan/scan.nii")
    assert "scan.2" not in [path.name for path in (house.root / "outbox").iterdir()]
    assert house.leftovers() == []


def test_a_folder_that_gets_a_file_at_the_claim_goes_back(build: Build) -> None:
    """The new file is part of the case that is sent."""
    disk = Interrupting()
    house = build(disk=disk)

    def add(path: Path) -> None:
        (path / "lower.stl").write_bytes(binary_stl(seed=2))

    disk.before = add
    house.drop("visit/upper.stl", binary_stl(seed=1))
    house.live_until_rest()
    assert [sorted(request["inputFiles"]) for request in requests(house)] == [
        ["ios_lower", "ios_upper"]
    ]


def test_a_file_that_goes_at_the_claim_is_forgotten(build: Build) -> None:
    """Somebody takes it away in the last moment: no case, no trace, no breaker."""
    disk = Interrupting()
    house = build(disk=disk)
    disk.before = Path.unlink
    house.drop("scan.nii")
    house.live(60)
    assert house.cases() == []
    assert house.breakers() == set()
    assert house.leftovers() == []


class TwoAtOnce(Interrupting):
    """A disk on which a changed file's place is taken before it can go back."""

    def rename(self, source: Path, target: Path) -> None:
        """Drop another scan of the same name when the first one is on its way back."""
        if target.parent.name == "inbox" and not target.exists():
            target.write_bytes(nifti(seed=6))
        super().rename(source, target)


def test_a_file_whose_place_is_taken_settles_in_its_claim(build: Build) -> None:
    """It changed, and another of its name is there already: both are delivered."""
    disk = TwoAtOnce()
    house = build(disk=disk)
    disk.before = write_another
    house.drop("scan.nii")
    house.live(120)
    archived = {path.read_bytes() for path in (house.root / "archive").rglob("scan.nii")}
    assert archived == {nifti(seed=5), nifti(seed=6)}
    assert [case.state for case in house.cases()] == [State.DONE, State.DONE]
    assert house.leftovers() == []


# --- job.json ------------------------------------------------------------------------------------

SMOOTH = {"options": {"mandible": {"smoothingIterations": 3}}}


def test_a_job_json_in_a_folder_is_merged_over_the_recipes_job(build: Build) -> None:
    """Objects key by key, lists replaced; the input files are ours."""
    job = {
        "outputFiles": {
            "meshes": [{"extension": ".stl", "structures": ["mandible"]}],
            "report": {"extension": ".pdf"},
        },
        "options": {"mandible": {"decimateMaxError": 0.1, "smoothingIterations": 1}},
    }
    house = build(job=job)
    house.drop("visit/scan.nii")
    wishes = {"outputFiles": {"meshes": [{"extension": ".ply", "structures": ["skull"]}]}, **SMOOTH}
    house.drop("visit/job.json", json.dumps(wishes).encode())
    house.live_until_rest()
    assert requests(house) == [
        {
            "inputFiles": {"cbct": {"extension": ".nii"}},
            "outputFiles": {
                "meshes": [{"extension": ".ply", "structures": ["skull"]}],
                "report": {"extension": ".pdf"},
            },
            "options": {"mandible": {"decimateMaxError": 0.1, "smoothingIterations": 3}},
        }
    ]
    assert "visit/job.json" in house.files("archive")
    assert house.result("visit")["skipped"] == []


@pytest.mark.parametrize("name", ["scan.job.json", "scan.nii.gz.job.json"])
def test_a_sidecar_is_merged_and_travels_along(house: House, name: str) -> None:
    """Both names work, and the sidecar lies in the archive beside its scan."""
    house.drop(name, json.dumps(SMOOTH).encode())
    house.drop("scan.nii.gz", gzip.compress(nifti()))
    house.live_until_rest()
    assert requests(house)[0]["options"] == SMOOTH["options"]
    assert house.files("archive") == sorted(
        [f"scan/{name}", "scan/result.json", "scan/scan.nii.gz"]
    )
    assert house.files("inbox") == []


def test_of_two_sidecars_the_longer_wins_and_both_travel(house: House) -> None:
    """The more exact name counts."""
    house.drop("scan.job.json", json.dumps({"options": {"mandible": {"a": 1}}}).encode())
    house.drop("scan.nii.job.json", json.dumps({"options": {"mandible": {"b": 2}}}).encode())
    house.drop("scan.nii")
    house.live_until_rest()
    assert requests(house)[0]["options"] == {"mandible": {"b": 2}}
    assert house.files("archive") == [
        "scan/result.json",
        "scan/scan.job.json",
        "scan/scan.nii",
        "scan/scan.nii.job.json",
    ]


def test_a_sidecar_of_nobody_stays(house: House) -> None:
    """Wishes without a scan wait for it, and are no candidate."""
    path = house.drop("later.nii.job.json", json.dumps(SMOOTH).encode())
    house.live(60)
    assert path.exists()
    assert house.cases() == []
    house.drop("later.nii")
    house.live_until_rest()
    assert requests(house)[0]["options"] == SMOOTH["options"]


def test_a_sidecar_that_still_changes_keeps_its_scan_waiting(house: House) -> None:
    """What belongs together gets quiet together."""
    house.drop("scan.nii")
    for number in range(10):
        house.drop("scan.job.json", b'{"options": {"n": ' + b"%d" % number)
        house.live(1)
    assert house.cases() == []
    house.drop("scan.job.json", json.dumps(SMOOTH).encode())
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}


BAD = [
    (b"{", "not valid JSON"),
    (b"", "not valid JSON"),
    (b"[1]", "not a JSON object"),
    (b'{"options": {"x": NaN}}', "not valid JSON"),
    (b'{"finishWebhook": "https://x.test"}', "'finishWebhook'"),
    (b'{"cloudPackage": "internal"}', "'cloudPackage'"),
    (b'{"inputFiles": {}}', "'inputFiles'"),
    (b'{"outputFiles": {"meshes": [{"uploadUrl": "https://x.test"}]}}', "uploadUrl"),
    (b'{"outputFiles": {"report": {"deep": {"uploadUrl": "https://x.test"}}}}', "uploadUrl"),
    (b'{"outputFiles": []}', "outputFiles"),
    (b'{"options": "\xff"}', "not valid JSON"),
]


@pytest.mark.parametrize(("content", "says"), BAD, ids=lambda one: str(one)[:40])
@pytest.mark.parametrize("place", ["folder", "sidecar"])
def test_a_bad_job_json_fails_the_case(house: House, content: bytes, says: str, place: str) -> None:
    """The message says what is wrong with it, and nothing is sent."""
    if place == "folder":
        house.drop("scan/job.json", content)
        house.drop("scan/scan.nii")
    else:
        house.drop("scan.nii.job.json", content)
        house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.FAILED}
    error = house.error("scan")
    assert (error["class"], error["code"]) == ("input", "bad_job_json")
    assert says in error["message"]
    assert "job.json" in error["hint"]
    assert house.sandbox.ledger.count("submit") == 0
    assert len(house.files("failed")) == 4


def test_a_recipe_may_allow_further_keys(build: Build) -> None:
    """`job_json_keys` lets a case name its package; the input files stay ours all the same."""
    house = build(recipes={"default": {"job_json_keys": ["cloudPackage"]}})
    house.drop("a.nii.job.json", b'{"cloudPackage": "internal"}')
    house.drop("a.nii")
    house.drop("b.nii.job.json", b'{"inputFiles": {"cbct": {"extension": ".x"}}}')
    house.drop("b.nii", nifti(seed=1))
    house.live_until_rest()
    assert house.states() == {"a": State.DONE, "b": State.FAILED}
    assert requests(house)[0]["cloudPackage"] == "internal"


def test_a_job_json_is_corrected_by_dropping_the_case_again(house: House) -> None:
    """The failed folder, mended and put back into the inbox, is a case like any other."""
    house.drop("visit/scan.nii")
    house.drop("visit/job.json", b"{")
    house.live_until_rest()
    failed = house.root / "failed" / "visit"
    (failed / "job.json").write_text("{}")
    shutil.move(failed, house.root / "inbox" / "visit")
    house.live(30)
    assert list(house.states().values()) == [State.DONE]
    assert [case.state for case in house.cases()] == [State.FAILED, State.DONE]


# --- what a case holds ---------------------------------------------------------------------------


def dicom(*, frames: int = 2, rows: int = 4) -> bytes:
    """Return a small multi-frame DICOM file."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID = generate_uid()
    data.StudyInstanceUID = generate_uid()
    data.PatientName = "Doe^Jane"
    data.PatientID = "4711"
    data.Modality = "CT"
    data.Rows = data.Columns = rows
    data.NumberOfFrames = frames
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit = 15
    data.PixelRepresentation = 0
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = bytes(2 * frames * rows * rows)
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["IM0001", "1.2.840.113619.2.55", "volume", "scan.v1"])
def test_dicom_is_known_by_its_content(house: House, name: str) -> None:
    """Whatever the name: the Engine is told `.dcm`, and the case keeps the name."""
    house.drop(name, dicom())
    house.live_until_rest()
    assert house.states() == {name: State.DONE}
    assert requests(house)[0]["inputFiles"] == {"cbct": {"extension": ".dcm"}}
    result = house.result(name)
    assert result["inputs"][0]["name"] == name
    assert result["dicom"]["patient_name"] == "Doe^Jane"
    assert result["dicom"]["patient_id"] == "4711"


def test_identifiers_stay_out_where_they_are_not_wanted(build: Build) -> None:
    """`[delivery] identifiers = false`: whose jaw it is, the case folder's name alone says."""
    house = build(delivery={"identifiers": False})
    house.drop("scan.dcm", dicom())
    house.live_until_rest()
    assert "dicom" not in house.result("scan")


def test_a_folder_named_like_a_recipe_is_its_inbox(build: Build) -> None:
    """What lies in it is that recipe's, file by file, and the folder itself no case."""
    teeth = {"meshes": [{"extension": ".ply", "structures": ["all_teeth"]}]}
    house = build(recipes={"teeth": {"job": {"outputFiles": teeth}}})
    house.drop("a.nii", recipe="teeth")
    house.drop("b/scan.nii", nifti(seed=1), recipe="teeth")
    house.live_until_rest()
    assert {case.case_name: case.recipe for case in house.cases()} == {"a": "teeth", "b": "teeth"}
    assert all(request["outputFiles"] == teeth for request in requests(house))
    assert sorted(
        path.name for path in (house.root / "outbox").iterdir() if path.name[0] != "."
    ) == [
        "a",
        "b",
    ]


def test_a_result_json_in_a_case_folder_is_not_replaced(house: House) -> None:
    """A person's own file of that name stays what it is, in archive and in failed."""
    house.drop("visit/scan.nii")
    house.drop("visit/result.json", b'{"mine": true}')
    house.live_until_rest()
    assert (house.root / "archive/visit/result.json").read_bytes() == b'{"mine": true}'
    (ours,) = (house.root / "archive/visit").glob("result.?*.json")
    assert json.loads(ours.read_text())["case_name"] == "visit"


# --- names ---------------------------------------------------------------------------------------


def folders(house: House, name: str) -> list[str]:
    """List the visible folders in one of the four."""
    return sorted(path.name for path in (house.root / name).iterdir() if path.name[0] != ".")


def test_scans_of_one_name_get_numbers_in_the_order_of_their_claims(house: House) -> None:
    """`scan`, `scan.2`, `scan.3`: in outbox and archive alike."""
    for seed in range(3):
        house.drop("scan.nii", nifti(seed=seed))
        house.live(60)
    assert folders(house, "outbox") == folders(house, "archive") == ["scan", "scan.2", "scan.3"]
    for seed, name in enumerate(["scan", "scan.2", "scan.3"]):
        assert (house.root / "archive" / name / "scan.nii").read_bytes() == nifti(seed=seed)


def test_names_are_compared_without_case(house: House) -> None:
    """On a share that knows no difference the second would replace the first."""
    for number, name in enumerate(["Scan.nii", "scan.nii", "SCAN.nii"]):
        house.drop(name, nifti(seed=number))
        house.live(60)
    assert folders(house, "outbox") == ["SCAN.3", "Scan", "scan.2"]


def test_extensions_do_not_part_names(house: House) -> None:
    """`scan.nii` and `scan.stl` are two cases of one name."""
    house.drop("upper.nii", nifti())
    house.drop("upper.stl", binary_stl())
    house.live_until_rest()
    assert folders(house, "outbox") == ["upper", "upper.2"]


@pytest.mark.parametrize("where", ["outbox", "archive", "failed"])
@pytest.mark.parametrize("theirs", ["scan", "SCAN"])
def test_a_strangers_folder_keeps_its_name(house: House, where: str, theirs: str) -> None:
    """What somebody put into one of the folders is neither replaced nor mixed with ours."""
    stranger = house.root / where / theirs
    stranger.mkdir()
    (stranger / "mine.txt").write_text("mine")
    house.drop("scan.nii")
    house.live_until_rest()
    assert (house.case("scan").state, house.case("scan").folder) == (State.DONE, "scan.2")
    assert "scan.2" in folders(house, "outbox")
    assert "scan.2" in folders(house, "archive")
    assert [path.name for path in stranger.iterdir()] == ["mine.txt"]


def test_a_strangers_file_takes_a_name_too(house: House) -> None:
    """Not only a folder can be in the way."""
    (house.root / "outbox" / "scan").write_text("mine")
    house.drop("scan.nii")
    house.live_until_rest()
    assert (house.root / "outbox" / "scan").read_text() == "mine"
    assert "scan.2/mandible.stl" in house.files("outbox")


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_name_that_is_taken_at_the_moment_of_publishing(house: House, *, is_empty: bool) -> None:
    """A folder appears in the outbox in between, even an empty one: the next free name."""
    house.drop("scan.nii")
    house.live_until("scan", State.DELIVERING)
    (house.root / "outbox" / "scan").mkdir()
    if not is_empty:
        (house.root / "outbox" / "scan" / "mine.txt").write_text("mine")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    ours = {"scan.2/mandible.stl", "scan.2/result.json"}
    assert set(house.files("outbox")) == (ours if is_empty else ours | {"scan/mine.txt"})
    assert house.case("scan").outbox == str(house.root / "outbox" / "scan.2")


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_name_that_is_taken_at_the_moment_of_archiving(house: House, *, is_empty: bool) -> None:
    """The input comes to rest under the next free name; the result stays where it is."""
    house.drop("scan.nii")
    house.live_until("scan", State.ARCHIVING)
    stranger = house.root / "archive" / "scan"
    stranger.mkdir()
    if not is_empty:
        (stranger / "mine.txt").write_text("mine")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert len(list(stranger.iterdir())) == (0 if is_empty else 1)
    assert (house.root / "archive" / "scan.2" / "scan.nii").exists()
    assert house.files("outbox") == ["scan/mandible.stl", "scan/result.json"]
    assert house.leftovers() == []


def test_a_name_that_is_taken_at_the_moment_of_failing(house: House) -> None:
    """The same in the folder of failed cases."""
    house.sandbox.set_faults([{"on": "submit", "do": {"status": 422}}])
    house.drop("scan.nii")
    house.live_until("scan", State.ARCHIVING)
    (house.root / "failed" / "scan").mkdir()
    house.live_until_rest()
    assert house.states() == {"scan": State.FAILED}
    assert house.error("scan.2")["case_name"] == "scan"
    assert (house.root / "failed" / "scan.2" / "scan.nii").exists()


def test_an_emptied_outbox_frees_no_name(house: House) -> None:
    """People take their results away: an old name is never used for another scan."""
    house.drop("scan.nii")
    house.live_until_rest()
    shutil.rmtree(house.root / "outbox" / "scan")
    house.drop("scan.nii", nifti(seed=1))
    house.live(60)
    assert folders(house, "outbox") == ["scan.2"]


def test_a_strangers_note_is_not_replaced(house: House) -> None:
    """A file where the note of a held case belongs stays, and the note is written beside it."""
    (house.root / "failed" / "scan.held.txt").write_text("mine")
    house.sandbox.set_faults([{"on": "poll", "do": {"status": 403}}])
    house.drop("scan.nii")
    house.live(60)
    assert house.states() == {"scan": State.HELD}
    assert (house.root / "failed" / "scan.held.txt").read_text() == "mine"
    assert house.held_note(house.case("scan").folder)
