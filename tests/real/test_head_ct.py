"""A real head through the installed daemon, in every form in which a volume may be handed over."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from tests.real.convert import PATIENT, WRITERS, Scan, read_inv3
from tests.real.fetch_head_ct import fetch_head_ct
from tests.real.house import House, running_house
from tests.real.packages import PackagesUnavailableError

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

# Folders and files bear patients' names in practice: this one must stay out of the log.
FAMILY = "Quillfeather"
NAMES = {
    ".dcm": f"{FAMILY} multiframe",
    ".zip": f"{FAMILY} slices",
    ".nii": f"{FAMILY} plain",
    ".nii.gz": f"{FAMILY} packed",
    ".nrrd": f"{FAMILY} nrrd",
    ".vti": f"{FAMILY} image",
}
BONE_HU = 300
KEYS = {
    *("schema", "case_id", "case_name", "recipe", "status", "notice", "engine", "inputs"),
    *("outputs", "times", "skipped", "attempts", "software", "engine_result"),
}
TIMES = ["detected", "claimed", "submitted", "uploaded", "finished", "delivered"]

forms = pytest.mark.parametrize("form", list(WRITERS))


@pytest.fixture(scope="module", name="scan")
def fetch_scan() -> Scan:
    """Fetch the head, or fail with the one sentence that says why it cannot be had."""
    try:
        return read_inv3(fetch_head_ct())
    except PackagesUnavailableError as fault:
        pytest.fail(str(fault), pytrace=False)


@pytest.fixture(scope="module", name="originals")
def write_originals(scan: Scan, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write the head in each form, as the files that people will drop."""
    folder = tmp_path_factory.mktemp("originals")
    originals = {form: folder / f"{name}{form}" for form, name in NAMES.items()}
    for form, path in originals.items():
        WRITERS[form](scan, path)
    return originals


@pytest.fixture(scope="module", name="house")
def process_all(
    originals: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """Drop every form by a plain copy and wait until all of them are in the archive."""
    with running_house(tmp_path_factory.mktemp("house")) as house:
        for original in originals.values():
            shutil.copyfile(original, house.root / "inbox" / original.name)
        for name in NAMES.values():
            house.wait_for(house.root / "outbox" / name, timeout_s=300)
            house.wait_for(house.root / "archive" / name, timeout_s=60)
        yield house


@pytest.fixture(name="manifest")
def read_manifest(form: str, house: House) -> dict[str, Any]:
    """Read what lies beside the mesh of one form."""
    text = (house.root / "outbox" / NAMES[form] / "result.json").read_text()
    manifest: dict[str, Any] = json.loads(text)
    return manifest


@forms
def test_the_mesh_is_the_skull(form: str, scan: Scan, house: House) -> None:
    """The mesh is closed and fills the box around all bone of the scan, to within two voxels."""
    mesh = trimesh.load_mesh(house.root / "outbox" / NAMES[form] / "mandible.stl")
    assert len(mesh.faces) > 10_000
    assert np.isfinite(mesh.vertices).all()
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    low, high = _box_of_bone(scan)
    assert mesh.bounds[0] == pytest.approx(low, abs=2 * max(scan.spacing))
    assert mesh.bounds[1] == pytest.approx(high, abs=2 * max(scan.spacing))


def _box_of_bone(scan: Scan) -> tuple[list[float], list[float]]:
    """Return two corners (x, y, z) in mm from the centre of the first voxel."""
    found = np.nonzero(scan.voxels >= BONE_HU)
    sides = list(zip(reversed(found), scan.spacing, strict=True))
    low = [float(indices.min()) * spacing for indices, spacing in sides]
    return low, [float(indices.max()) * spacing for indices, spacing in sides]


@forms
def test_the_manifest_says_what_came_and_what_went(
    form: str, manifest: dict[str, Any], originals: dict[str, Path], house: House
) -> None:
    """Inputs and outputs are named with the size and digest of the very files."""
    folder = house.root / "outbox" / NAMES[form]
    original = originals[form]
    assert manifest["inputs"] == [
        {"modality": "cbct", "name": original.name, "extension": form} | _identity(original)
    ]
    assert manifest["outputs"] == [
        {
            "kind": "meshes",
            "structures": ["mandible"],
            "extension": ".stl",
            "status": "Available",
            "file": "mandible.stl",
        }
        | _identity(folder / "mandible.stl")
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["mandible.stl", "result.json"]


def _identity(path: Path) -> dict[str, Any]:
    body = path.read_bytes()
    return {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}


@forms
def test_the_manifest_is_whole(form: str, manifest: dict[str, Any], house: House) -> None:
    """Every key of result.json is there, and each says what this run was."""
    assert manifest.keys() - {"dicom"} == KEYS
    assert manifest["schema"] == "vpe-watcher/result/1"
    assert (manifest["case_name"], manifest["recipe"]) == (NAMES[form], "default")
    assert (manifest["status"], manifest["attempts"], manifest["skipped"]) == ("complete", 1, [])
    assert manifest["engine"].keys() == {"url", "version", "job_id"}
    assert (manifest["engine"]["url"], manifest["engine"]["version"]) == (house.engine_url, "24.06")
    assert manifest["software"].startswith("vpe-watcher ")
    assert "checked by a qualified person" in manifest["notice"]
    assert "http" not in json.dumps(manifest["engine_result"])


@forms
def test_the_times_follow_one_another(form: str, manifest: dict[str, Any]) -> None:
    """From detected to delivered, in UTC."""
    assert manifest["times"].keys() == set(TIMES)
    assert all(time.endswith("Z") for time in manifest["times"].values())
    moments = [datetime.fromisoformat(manifest["times"][name]) for name in TIMES]
    assert moments == sorted(moments)


@forms
def test_the_patient_is_named_where_the_scan_names_one(form: str, manifest: dict[str, Any]) -> None:
    """People must know whose jaw it is; NIfTI, NRRD and VTI do not say."""
    if form == ".dcm":
        assert manifest["dicom"]["patient_name"] == PATIENT
        assert manifest["dicom"]["patient_id"] == "SYN-0001"
    elif form != ".zip":
        assert "dicom" not in manifest


@forms
def test_the_engine_saw_exactly_what_was_dropped(
    form: str, manifest: dict[str, Any], originals: dict[str, Path], house: House
) -> None:
    """One job, started once, with one upload of these very bytes."""
    jobs = {job["id"]: job for job in house.ledger()["jobs"]}
    job = jobs[manifest["engine"]["job_id"]]
    uploads = job["inputs"]["cbct"]["uploads"]
    seen = [{"size": upload["size"], "sha256": upload["sha256"]} for upload in uploads]
    assert seen == [_identity(originals[form])]
    assert job["inputs"]["cbct"]["extension"] == form
    assert job["started"] == 1


@forms
def test_the_input_is_in_the_archive_alone(
    form: str, originals: dict[str, Path], house: House
) -> None:
    """What was dropped left the inbox and lies in the archive as it was, beside the manifest."""
    original, archived = originals[form], house.root / "archive" / NAMES[form]
    assert _identity(archived / original.name) == _identity(original)
    manifests = [
        house.root / place / NAMES[form] / "result.json" for place in ("outbox", "archive")
    ]
    assert manifests[0].read_bytes() == manifests[1].read_bytes()
    assert list(house.root.rglob(original.name)) == [archived / original.name]


def test_one_job_a_scan_and_one_token_in_all(house: House) -> None:
    """Nothing was sent twice, and the token desk was asked once."""
    ledger = house.ledger()
    assert len(ledger["jobs"]) == len(NAMES)
    assert ledger["tokens_issued"] == 1


def test_presigned_urls_were_called_without_authorization(house: House) -> None:
    """Every upload and download went without the bearer token, and none was refused."""
    ledger = house.ledger()
    store = [seen for seen in ledger["requests"] if seen["kind"] in ("upload", "download")]
    assert len(store) == 2 * len(NAMES)
    assert not [seen for seen in store if seen["authorization"] or seen["status"] != 200]
    assert ledger["presigned_with_authorization"] == 0


def test_the_log_names_no_patient(house: House) -> None:
    """Neither the file names nor the DICOM headers found their way into the log."""
    log = house.log()
    assert "case.delivered" in log
    assert FAMILY not in log
    assert PATIENT not in log
