"""The head in every transfer syntax that real devices use, recoded by dcmtk and GDCM."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest

from tests.real.house import House, Plan, running_house
from tests.real.series import SLICES, write_series
from tests.real.small import move_in

pytestmark = [pytest.mark.real, pytest.mark.timeout(300), pytest.mark.usefixtures("parts")]

RECODERS = {
    "1.2.840.10008.1.2.1": ("cp",),
    "1.2.840.10008.1.2": ("dcmconv", "+ti"),
    "1.2.840.10008.1.2.2": ("dcmconv", "+tb"),
    "1.2.840.10008.1.2.1.99": ("dcmconv", "+td"),
    "1.2.840.10008.1.2.5": ("dcmcrle",),
    "1.2.840.10008.1.2.4.70": ("dcmcjpeg", "+e1"),
    "1.2.840.10008.1.2.4.80": ("dcmcjpls", "+el"),
    "1.2.840.10008.1.2.4.90": ("gdcmconv", "--j2k"),
}
PLAN = Plan(intake={"settle_s": 0.5, "series_settle_s": 1.5})


@pytest.fixture(scope="module", name="recoded")
def recode_all(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write the head once for each transfer syntax, each as a series of its own."""
    base = tmp_path_factory.mktemp("recoded")
    return {syntax: _recode(base, syntax) for syntax in RECODERS}


def _recode(base: Path, syntax: str) -> Path:
    plain, target = base / "plain" / syntax, base / syntax
    series = write_series(plain)
    target.mkdir()
    with ThreadPoolExecutor(2) as hands:
        words = [[*RECODERS[syntax], str(path), str(target / path.name)] for path in series.files]
        list(hands.map(lambda command: subprocess.run(command, check=True, timeout=60), words))
    return target


@pytest.fixture(name="house")
def run_house(tmp_path: Path) -> Iterator[House]:
    """Run the daemon."""
    with running_house(tmp_path, PLAN) as house:
        yield house


def _copy(source: Path, inbox: Path) -> None:
    """Copy a folder into the inbox, file by file."""
    shutil.copytree(source, inbox / source.name)


def _move(source: Path, inbox: Path) -> None:
    """Copy a folder beside the inbox, then rename it in."""
    move_in(shutil.copytree(source, inbox.parent / source.name), inbox)


def _loose(source: Path, inbox: Path) -> None:
    """Copy the slices themselves into the inbox, without their extension."""
    for path in source.iterdir():
        shutil.copyfile(path, inbox / path.stem)


@pytest.mark.parametrize("drop", [_move, _copy, _loose], ids=["moved", "copied", "loose"])
def test_every_syntax_is_taken_and_sent_as_it_is(
    drop: Callable[[Path, Path], None], recoded: dict[str, Path], house: House
) -> None:
    """One case and one paid job a syntax; the ZIP holds the very bytes of the files."""
    for folder in recoded.values():
        drop(folder, house.inbox)
    cases = house.wait_for_rest(len(recoded), timeout_s=150)
    assert {case["state"] for case in cases} == {"done"}
    jobs = house.jobs()
    assert len(jobs) == len(house.ledger()["jobs"]) == len(cases) == len(recoded)
    received = sorted(sorted(house.unzipped(job).values()) for job in jobs)
    dropped = sorted(
        sorted(path.read_bytes() for path in folder.iterdir()) for folder in recoded.values()
    )
    assert received == dropped


def test_the_files_are_in_these_syntaxes(recoded: dict[str, Path]) -> None:
    """The tools did what their options promise."""
    for syntax, folder in recoded.items():
        heads = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
        assert {str(head.file_meta.TransferSyntaxUID) for head in heads} == {syntax}
        assert len(heads) == SLICES


def test_a_series_of_two_syntaxes_is_one_case(recoded: dict[str, Path], house: House) -> None:
    """Some PACS compress old slices only: the series is sent as it is, and the mixture is told."""
    plain = write_series(house.root / "plain")
    for path in plain.files[::2]:
        command = ["dcmcrle", str(path), str(path)]
        subprocess.run(command, check=True, timeout=60)
    bodies = sorted(path.read_bytes() for path in plain.files)
    move_in(house.root / "plain", house.inbox)
    (case,) = house.wait_for_rest(1)
    assert case["state"] == "done"
    (job,) = house.jobs()
    assert sorted(house.unzipped(job).values()) == bodies
