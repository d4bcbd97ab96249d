"""Export trees of a PACS that hold several patients, as pydicom ships them for its own tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file

from tests.real.house import House, Plan, running_house
from tests.real.series import instances_of
from tests.real.small import move_in

pytestmark = [pytest.mark.real, pytest.mark.timeout(120), pytest.mark.usefixtures("parts")]

# What these few slices lack is never coming: nobody waits an hour for it here.
INTAKE = {"settle_s": 0.5, "series_settle_s": 1, "series_max_wait_s": 3}
TREE = "dicomdirtests"
PATIENTS = ("77654033", "98892001", "98892003")


@pytest.fixture(name="house")
def run_house(tmp_path: Path) -> Iterator[House]:
    """Run the daemon."""
    with running_house(tmp_path, Plan(intake=INTAKE)) as house:
        yield house


def _tree() -> Path:
    found = get_testdata_file(f"{TREE}/DICOMDIR")
    assert found, "pydicom's wheel holds its test files"
    return Path(str(found)).parent


def _drop(house: House, source: Path, name: str) -> Path:
    staged = house.root / name
    shutil.copytree(source, staged, copy_function=shutil.copyfile)
    return move_in(staged, house.inbox)


def _copied_patients(house: House) -> Path:
    """Copy the three patients with the DICOMDIR that lists exactly them."""
    staged = house.root / "three patients"
    staged.mkdir()
    for name in PATIENTS:
        shutil.copytree(_tree() / name, staged / name, copy_function=shutil.copyfile)
    shutil.copyfile(_tree() / "DICOMDIR", staged / "DICOMDIR")
    return staged


def test_fifty_slices_without_extension_are_one_case(house: House) -> None:
    """TINY_ALPHA: one CT series of fifty, a DICOMDIR, a README: one job with the fifty."""
    _drop(house, _tree() / "TINY_ALPHA", "tiny")
    (case,) = house.wait_for_rest(1)
    assert case["state"] == "done", case
    assert case["case_name"] == "tiny"
    (job,) = house.jobs()
    assert len(instances_of(house.unzipped(job))) == 50
    skipped = {row["name"]: row["reason"] for row in _manifest(case)["skipped"]}
    assert {Path(name).name for name in skipped} >= {"DICOMDIR", "README"}
    assert all(skipped.values())


def _manifest(case: dict[str, Any]) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((Path(case["outbox"]) / "result.json").read_text())
    return manifest


def test_three_patients_with_too_few_slices_cost_nothing(house: House) -> None:
    """Twenty-four series of three patients, none of them ten slices long: a person must look.

    The CT-like ones count as series with gaps and end as held; nothing is sent by itself.
    """
    folder = move_in(_copied_patients(house), house.inbox)
    cases = house.wait_for_rest(1, timeout_s=60)
    assert house.ledger()["jobs"] == []
    assert {case["state"] for case in cases} <= {"held", "failed"}
    assert not folder.exists()
    complaints = [case["error"]["message"] for case in cases]
    assert all(complaints)
    assert {case["case_name"].split("--")[0] for case in cases} == {"three patients"}


def test_the_retry_of_a_held_series_sends_it_as_it_is(house: House) -> None:
    """A person's word: what is there of a series goes to the Engine, only the slices of it."""
    move_in(_copied_patients(house), house.inbox)
    cases = house.wait_for_rest(1, timeout_s=60)
    held = [case for case in cases if case["state"] == "held"]
    assert held
    house.tell("retry", *[case["case_id"] for case in held])
    house.wait_until(lambda: len(house.jobs()) == len(held), "the retry made no job")
    house.wait_for_rest(len(cases))
    sizes = sorted(len(instances_of(house.unzipped(job))) for job in house.jobs())
    assert sizes, "nothing was sent"
    assert max(sizes) < 10
