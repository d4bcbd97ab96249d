"""What is asked for beside a scan, and what a case is made of."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.flow.house import House, nifti
from vpe_watcher.core.model import State

Build = Callable[..., House]


def requests(house: House) -> list[dict[str, Any]]:
    """Return the bodies of all submits, oldest first."""
    return [job.request for job in house.sandbox.ledger.jobs.values()]


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


@pytest.mark.parametrize("name", ["SCAN.NII.JOB.JSON", "Scan.Job.json", "visit/Job.JSON"])
def test_wishes_are_found_whatever_the_case_of_their_name(house: House, name: str) -> None:
    """A scan is not sent and paid for without what was asked, for the sake of a capital letter."""
    house.drop(name, json.dumps(SMOOTH).encode())
    house.drop("visit/scan.nii" if "/" in name else "scan.nii")
    house.live_until_rest()
    assert [request.get("options") for request in requests(house)] == [SMOOTH["options"]]
    assert house.files("inbox") == []


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


# --- what a case holds ----------------------------------------------------------------------------


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
