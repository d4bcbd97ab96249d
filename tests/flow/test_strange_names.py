"""Names as people and programs make them: all are delivered, or say why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.flow.house import House, nifti
from vpe_watcher.core.model import State

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
