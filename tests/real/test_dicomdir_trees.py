"""Export trees of a PACS that hold several patients, as pydicom ships them for its own tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file

from tests.real.house import House, Plan, running_house
from tests.real.series import instances_of
from tests.real.small import move_in

pytestmark = [pytest.mark.real, pytest.mark.timeout(120), pytest.mark.usefixtures("parts")]

# What these few slices lack is never coming: nobody waits an hour for it here.
INTAKE = {"settle_s": 0.5, "series_settle_s": 1, "series_max_wait_s": 5, "incomplete_after_s": 5}
PATIENTS = ("77654033", "98892001", "98892003")


@pytest.fixture(name="house")
def run_house(tmp_path: Path) -> Iterator[House]:
    """Run the daemon."""
    with running_house(tmp_path, Plan(intake=INTAKE)) as house:
        yield house


def _tree() -> Path:
    found = get_testdata_file("dicomdirtests/DICOMDIR")
    assert found, "pydicom's wheel holds its test files"
    return Path(str(found)).parent


def _fifty(house: House) -> Path:
    """Copy TINY_ALPHA: 50 CT instances without extension or pixels, a DICOMDIR, a README."""
    return shutil.copytree(
        _tree() / "TINY_ALPHA", house.root / "tiny", copy_function=shutil.copyfile
    )


def _add_pixels(folder: Path) -> None:
    """Give each instance what makes it a slice: pixels and a place."""
    for path in sorted((folder / "PT000000").rglob("IM*")):
        dataset = pydicom.dcmread(path)
        dataset.Rows = dataset.Columns = 4
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.PixelSpacing, dataset.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [0, 0, int(dataset.InstanceNumber)]
        dataset.add_new("PixelData", "OW", bytes(4 * 4 * 2))
        dataset.save_as(path)


def _patients(house: House, *, with_directory: bool) -> Path:
    """Copy three patients, with the DICOMDIR that lists exactly them if that is wanted."""
    staged = house.root / "three patients"
    staged.mkdir()
    for name in PATIENTS:
        shutil.copytree(_tree() / name, staged / name, copy_function=shutil.copyfile)
    if with_directory:
        shutil.copyfile(_tree() / "DICOMDIR", staged / "DICOMDIR")
    return staged


def _manifest(case: dict[str, Any]) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((Path(case["outbox"]) / "result.json").read_text())
    return manifest


def test_fifty_slices_without_extension_are_one_case(house: House) -> None:
    """One series, a DICOMDIR, a README: one job with exactly the fifty."""
    folder = _fifty(house)
    _add_pixels(folder)
    move_in(folder, house.inbox)
    (case,) = house.wait_for_rest(1)
    assert (case["state"], case["case_name"]) == ("done", "tiny")
    (job,) = house.jobs()
    assert len(set(instances_of(house.unzipped(job)))) == 50
    skipped = {row["name"]: row["reason"] for row in _manifest(case)["skipped"]}
    assert set(skipped) == {"DICOMDIR", "README"}
    assert all(skipped.values())


def test_fifty_slices_without_pixels_fail_as_one_case(house: House) -> None:
    """Headers alone are files cut short: the folder waits, then fails with that reason."""
    move_in(_fifty(house), house.inbox)
    house.wait_until(
        lambda: house.candidates().get("tiny", {}).get("state") == "incomplete", "not incomplete"
    )
    (case,) = house.wait_for_rest(1, timeout_s=40)
    assert (case["state"], case["error"]["class"]) == ("failed", "input")
    assert "pixel data" in case["error"]["message"]
    assert (house.root / "failed" / "tiny" / "error.txt").exists()
    assert house.ledger()["jobs"] == []


def test_series_that_are_too_short_wait_for_a_person(house: House) -> None:
    """Three patients, no series of ten slices: nothing is sent by itself, a retry sends it."""
    folder = move_in(_patients(house, with_directory=False), house.inbox)
    house.wait_until(
        lambda: house.candidates().get(folder.name, {}).get("state") == "held_back", "not held back"
    )
    cases = house.wait_for_rest(1)
    assert house.ledger()["jobs"] == []
    assert not folder.exists()
    held = [case["case_id"] for case in cases if case["state"] == "held"]
    assert held
    assert all(case["error"]["message"] for case in cases)
    house.tell("retry", *held)
    house.wait_until(lambda: len(house.jobs()) == len(held), "the retry made no job")
    house.wait_for_rest(len(cases))
    assert {len(instances_of(house.unzipped(job))) for job in house.jobs()} <= {4, 5}


def test_of_three_patients_only_volumes_are_sent(house: House) -> None:
    """Whatever becomes of the short CT series: each is a case, all else is named with a reason."""
    move_in(_patients(house, with_directory=True), house.inbox)
    cases = house.wait_for_rest(1)
    assert {case["case_name"].split("--")[0] for case in cases} == {"three patients"}
    done = [case for case in cases if case["state"] == "done"]
    assert {case["state"] for case in cases} <= {"done", "held"}
    assert len(house.jobs()) == len(done)
    sent = [instances_of(house.unzipped(job)) for job in house.jobs()]
    assert {len(instances) for instances in sent} <= {4, 5}
    skipped = [row for case in done for row in _manifest(case)["skipped"]]
    assert bool(skipped) == bool(done)
    assert all(row["reason"] for row in skipped)
