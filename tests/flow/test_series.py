"""Slices of a series: gathered into one case, sent as one ZIP, named, archived."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from tests.flow.house import House, binary_stl
from tests.flow.scans import slice_of, written_slice
from tests.flow.series import SERIES, slice_bytes, write_series
from vpe_watcher.core.model import State
from vpe_watcher.core.series import series_name

Build = Callable[..., House]
QUICK = {"series_settle_s": 6, "series_max_wait_s": 60, "settle_s": 2}
NAME = series_name("2", SERIES)


@pytest.fixture
def house(build: Build) -> House:
    """Return a house that waits six seconds for slices."""
    return build(intake=QUICK)


def sent(house: House) -> list[zipfile.ZipFile]:
    """Return what the Engine received of `cbct`, oldest first, as archives."""
    return [
        zipfile.ZipFile(io.BytesIO((house.root / "engine" / path).read_bytes()))
        for path in received(house)
    ]


def received(house: House) -> list[str]:
    """Return the files of uploads in the Engine's folder."""
    root = house.root / "engine"
    found = sorted(path for path in root.rglob("*") if path.is_file())
    return [str(path.relative_to(root)) for path in found if path.read_bytes()[:2] == b"PK"]


@pytest.mark.parametrize("declared", [None, 5, 12])
@pytest.mark.parametrize("number", [1, 2, 9, 10, 123])
@pytest.mark.parametrize("seed", [0, 7, 25, 1003])
def test_a_slice_from_a_template_is_the_one_that_pydicom_writes(
    seed: int, number: int, declared: int | None
) -> None:
    """Texts of even and odd length, so that each length in the file is put right."""
    assert slice_of(seed, number, declared) == written_slice(seed, number, declared)


def test_loose_slices_are_one_case(house: House) -> None:
    """Twelve files in the inbox: one job, one ZIP of twelve, the input in the archive."""
    write_series(house.root / "inbox")
    house.live(5)
    assert house.cases() == []
    assert "6 s" in str(house.candidate("001.dcm")["reason"])
    house.live_until_rest()
    assert house.states() == {NAME: State.DONE}
    (archive,) = sent(house)
    assert len(archive.namelist()) == 12
    assert archive.testzip() is None
    assert house.started() == 1
    assert [name for name in house.files("archive") if name.endswith(".dcm")] == [
        f"{NAME}/{number:03d}.dcm" for number in range(1, 13)
    ]
    assert house.files("inbox") == []
    assert house.leftovers() == []


def test_the_manifest_tells_of_the_zip_and_the_patient(house: House) -> None:
    """Size and digest are those of the bytes that were uploaded."""
    write_series(house.root / "inbox")
    house.live_until_rest()
    manifest = house.result(NAME)
    (entry,) = manifest["inputs"]
    assert entry["extension"] == ".zip"
    (job,) = house.sandbox.ledger.jobs.values()
    assert manifest["dicom"]["patient_name"] == "Gruber^Annemarie"
    assert manifest["dicom"]["series_uid"] == SERIES
    assert entry["size"] == len((house.root / "engine" / received(house)[0]).read_bytes())
    assert job.started == 1


def test_a_dripped_series_is_one_case(house: House) -> None:
    """A slice every four seconds: each one keeps the series waiting."""
    for number in range(1, 13):
        house.drop(f"{number}.dcm", slice_bytes(number))
        house.live(4)
        assert house.cases() == []
    house.live_until_rest()
    assert house.states() == {NAME: State.DONE}
    assert len(sent(house)[0].namelist()) == 12


def test_two_interleaved_series_are_two_cases(house: House) -> None:
    """Each series has its own case and its own slices."""
    for number in range(1, 13):
        house.drop(f"a{number}.dcm", slice_bytes(number))
        house.drop(f"b{number}.dcm", slice_bytes(number, series="1.2.3", SeriesNumber="9"))
        house.live(1)
    house.live_until_rest()
    assert house.states() == {NAME: State.DONE, series_name("9", "1.2.3"): State.DONE}
    assert [len(one.namelist()) for one in sent(house)] == [12, 12]


def test_a_gap_is_held_back_then_held(house: House) -> None:
    """Declared twelve, eleven here: it waits, is claimed and held; retry sends it as it is."""
    write_series(house.root / "inbox", range(1, 12), ImagesInAcquisition="12")
    house.live(10)
    shown = house.candidate("001.dcm")
    assert shown["state"] == "held_back"
    assert "12 declared, 11 here, waiting 5" in shown["reason"]
    house.live(60)
    case = house.case(NAME)
    assert case.state is State.HELD
    assert case.problem is not None
    assert case.problem.code == "series_incomplete"
    assert "12 declared, 11 here" in house.held_note(NAME)
    assert house.started() == 0
    house.say("retry", case)
    house.live_until_rest()
    assert house.states() == {NAME: State.DONE}
    assert len(sent(house)[0].namelist()) == 11


def test_a_gap_that_is_filled_is_taken(house: House) -> None:
    """The missing slice comes within the wait."""
    write_series(house.root / "inbox", [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12])
    house.live(20)
    assert "slice 7 is missing" in house.candidate("001.dcm")["reason"]
    house.drop("7.dcm", slice_bytes(7))
    house.live_until_rest()
    assert len(sent(house)[0].namelist()) == 12


def test_late_slices_are_held_and_sent_as_the_union(house: House) -> None:
    """What came too late is a case of its own, linked to the first; retry sends both together."""
    write_series(house.root / "inbox", range(1, 13))
    house.live(40)
    write_series(house.root / "inbox", [13, 14])
    house.live(40)
    late = house.case_of_late(NAME)
    assert late.state is State.HELD
    assert late.late_for == house.case(NAME).case_id
    assert len(late.inputs[0].slices) == 2
    house.say("retry", late)
    house.live(40)
    assert sorted(len(one.namelist()) for one in sent(house)) == [12, 14]
    assert house.started() == 2


def test_known_slices_again_are_a_duplicate(house: House) -> None:
    """A re-export of the whole, or of a part, sends nothing."""
    write_series(house.root / "inbox")
    house.live(40)
    write_series(house.root / "inbox", name="again{}.dcm")
    house.live(40)
    write_series(house.root / "inbox", [3, 4, 5], name="part{}.dcm")
    house.live(40)
    states = [case.state for case in house.cases()]
    assert states == [State.DONE, State.DUPLICATE, State.DUPLICATE]
    assert house.started() == 1


def test_a_folder_with_slices_is_one_case(house: House) -> None:
    """Nested, without extensions, with a report beside: one case, the report is listed."""
    write_series(house.root / "inbox" / "Anna" / "DICOM" / "S1", name="IM{:04d}")
    house.drop("Anna/report.pdf", b"%PDF-1.4 nothing")
    house.live(5)
    assert house.cases() == []
    house.live_until_rest()
    assert house.states() == {"Anna": State.DONE}
    assert len(sent(house)[0].namelist()) == 12
    assert house.result("Anna")["skipped"] == [{"name": "report.pdf", "reason": "not a scan"}]


def test_several_series_of_a_folder_are_a_case_each(house: House) -> None:
    """Named by number and description; meshes and what is skipped go with the first."""
    folder = house.root / "inbox" / "Anna"
    write_series(folder / "a")
    write_series(folder / "b", series="1.2.3", SeriesNumber="5", SeriesDescription="Bone")
    (folder / "upper.stl").write_bytes(binary_stl())
    (folder / "readme.txt").write_text("hello")
    house.live_until_rest()
    names = {case.case_name for case in house.cases()}
    assert names == {"Anna--2-Jaw", "Anna--5-Bone"}
    assert set(house.states().values()) == {State.DONE}
    first = house.result("Anna--2-Jaw")
    assert {entry["modality"] for entry in first["inputs"]} == {"cbct", "ios_upper"}
    assert [entry["name"] for entry in first["skipped"]] == ["readme.txt"]
    second = house.result("Anna--5-Bone")
    assert [entry["modality"] for entry in second["inputs"]] == ["cbct"]
    archived = [name for name in house.files("archive") if name.endswith(".dcm")]
    assert sum(name.startswith("Anna--2-Jaw/a/") for name in archived) == 12
    assert sum(name.startswith("Anna--5-Bone/b/") for name in archived) == 12
    assert len(archived) == 24
    assert house.leftovers() == []


def test_a_panoramic_fails_with_the_reason(house: House) -> None:
    """A loose DICOM that is no volume: input, in words."""
    tags: dict[str, Any] = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "Modality": "PX"}
    house.drop("pano.dcm", slice_bytes(1, **tags))
    house.live_until_rest()
    (case,) = house.cases()
    assert case.state is State.FAILED
    assert "panoramic" in str(case.problem)


def test_too_few_slices_are_a_gap(house: House) -> None:
    """Three CT slices are held back, not failed."""
    write_series(house.root / "inbox", [1, 2, 3])
    house.live(10)
    assert house.candidate("001.dcm")["state"] == "held_back"


def test_a_cut_slice_keeps_the_series_incomplete(house: House) -> None:
    """Then all of it fails as one case."""
    write_series(house.root / "inbox")
    path = house.root / "inbox" / "012.dcm"
    path.write_bytes(path.read_bytes()[:-10])
    house.live(30)
    assert house.candidate("001.dcm")["state"] == "incomplete"
    house.live(700, step_s=10)
    assert house.states() == {NAME: State.FAILED}
    assert len([name for name in house.files("failed") if name.endswith(".dcm")]) == 12


def test_a_place_held_by_an_empty_file_is_looked_at_before_the_series_is_taken(
    build: Build,
) -> None:
    """Filled since the last look, without an event: the last slice goes with the others."""
    house = build(intake=QUICK | {"scan_every_s": 3600})
    write_series(house.root / "inbox")
    last = house.root / "inbox" / "012.dcm"
    content = last.read_bytes()
    last.write_bytes(b"")
    house.live(5)
    assert house.candidate("012.dcm")["state"] == "incomplete"
    last.write_bytes(content)
    house.live_until_rest()
    house.live(30)
    assert house.states() == {NAME: State.DONE}
    assert len(sent(house)[0].namelist()) == 12
