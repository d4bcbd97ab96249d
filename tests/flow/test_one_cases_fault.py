"""A folder that refuses one case's files stops that case alone."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.flow.endings import all_is_delivered
from tests.flow.house import House, nifti, unprivileged
from vpe_watcher import formats
from vpe_watcher.adapters.files import Disk
from vpe_watcher.app.terms import candidate_rules
from vpe_watcher.core.model import State
from vpe_watcher.flow.explain import Place, explain
from vpe_watcher.flow.looks import PATH_AT_MOST
from vpe_watcher.flow.places import CLAIM_ADDS

Build = Callable[..., House]


class FussyDisk(Disk):
    """A disk that cannot read one file, nor write one name."""

    unreadable = ""
    unnameable = ""

    def open(self, path: Path) -> BinaryIO:
        """Open a file, or meet its bad sector."""
        if path.name == self.unreadable:
            raise OSError(errno.EIO, "bad sector")
        return super().open(path)

    def rename(self, source: Path, target: Path) -> None:
        """Rename, but to no name that it does not know how to write."""
        if target.name == self.unnameable:
            raise OSError(errno.EINVAL, "no such name here")
        super().rename(source, target)


class FarDisk(Disk):
    """A disk whose archive is on another file system."""

    def rename(self, source: Path, target: Path) -> None:
        """Rename, but not into the archive."""
        if "archive" in target.parts and "archive" not in source.parts:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        super().rename(source, target)


@pytest.mark.parametrize("on_success", ["archive", "delete"])
def test_a_folder_with_an_unwritable_one_in_it_is_delivered(build: Build, on_success: str) -> None:
    """A copy from a CD is as read-only as the CD: it is removed all the same."""
    house = build(retention={"on_success": on_success})
    scan = house.drop("patient/cd/scan.nii")
    with unprivileged(house):
        scan.parent.chmod(0o555)
        house.live(60)
        all_is_delivered(house)
        assert house.breakers() == set()
    assert (house.files("archive") == ["patient/result.json"]) == (on_success == "delete")


def test_an_unwritable_folder_goes_to_another_file_system(build: Build) -> None:
    """It is copied there, and its source removed."""
    house = build(disk=FarDisk())
    scan = house.drop("patient/cd/scan.nii")
    with unprivileged(house):
        scan.parent.chmod(0o555)
        house.live(60)
        all_is_delivered(house)
    assert house.files("archive") == ["patient/cd/scan.nii", "patient/result.json"]


@pytest.mark.parametrize("root", ["outbox", "archive", "failed"])
def test_a_name_that_a_folder_cannot_hold_stops_no_other(build: Build, root: str) -> None:
    """Its case waits with a hint, and no breaker opens."""
    disk = FussyDisk()
    house = build(disk=disk)
    house.drop("odd.nii", b"no scan " * 99 if root == "failed" else nifti())
    house.live_until("odd", State.DELIVERING if root == "outbox" else State.ARCHIVING)
    disk.unnameable = "odd"
    house.live(120)
    assert not house.case("odd").state.is_at_rest
    house.drop("good.nii", nifti(seed=1))
    house.live(600, step_s=5)
    assert house.states()["good"] is State.DONE
    assert house.breakers() == set()
    disk.unnameable = ""
    house.live(3600, step_s=30)
    assert all(state.is_at_rest for state in house.states().values())


def test_a_bad_sector_under_a_touched_file_is_that_cases_trouble(build: Build) -> None:
    """A retry reads it again; others are taken meanwhile."""
    disk = FussyDisk()
    house = build(disk=disk)
    house.sandbox.set_faults([{"on": "poll", "do": {"status": 403}}])
    house.drop("bad.nii")
    house.live_until_rest()
    house.sandbox.set_faults([])
    os.utime(house.claimed(house.case("bad")), (1, 1))
    disk.unreadable = "bad.nii"
    house.say("retry", house.case("bad"))
    house.live(60)
    assert house.states() == {"bad": State.CLAIMING}
    assert house.breakers() == set()
    house.drop("good.nii", nifti(seed=1))
    house.live(60)
    assert house.states()["good"] is State.DONE
    disk.unreadable = ""
    house.live(1800, step_s=10)
    assert set(house.states().values()) == {State.DONE}
    assert house.started() == 2


def test_wishes_that_became_a_link_fail_their_case_alone(house: House) -> None:
    """Nothing outside is read, and the inbox is not blamed."""
    house.sandbox.set_faults([{"on": "submit", "do": {"status": 422}}])
    house.drop("scan.nii.job.json", b"{}")
    house.drop("scan.nii")
    house.live_until_rest()
    wishes = house.root / "failed/scan/scan.nii.job.json"
    wishes.unlink()
    wishes.symlink_to("/etc/passwd")
    house.say("retry", house.case("scan"))
    house.live_until_rest()
    assert house.error("scan")["code"] == "bad_job_json"
    assert house.breakers() == set()


@pytest.mark.parametrize("depth", [900, 3000, 100_000])
def test_wishes_that_are_nested_without_end_fail_their_case_alone(build: Build, depth: int) -> None:
    """Their scan fails with the reason, what comes later is delivered."""
    house = build()
    house.drop("deep.nii.job.json", b'{"options":' + b"[" * depth + b"]" * depth + b"}")
    house.drop("deep.nii", nifti(seed=1))
    house.drop("later.nii", nifti(seed=2))
    house.live(600, step_s=5)
    assert house.states() == {"deep": State.FAILED, "later": State.DONE}
    problem = house.case("deep").problem
    assert problem is not None
    assert (problem.code, "nested too deeply" in problem.message) == ("bad_job_json", True)


def test_wishes_that_are_too_long_say_so(build: Build) -> None:
    """They are not called wrong JSON, which they may not be."""
    house = build()
    house.drop("long.nii.job.json", b'{"options": {"x": "' + b"x" * 1024 * 1024 + b'"}}')
    house.drop("long.nii")
    house.live(600, step_s=5)
    problem = house.case("long").problem
    assert problem is not None
    assert "larger than 1 MiB" in problem.message


def test_a_folder_deeper_than_paths_reach_stops_nothing_else(build: Build) -> None:
    """It is told as blocked, and the inbox stays open."""
    house = build()
    inbox = house.root / "inbox"
    (inbox / "deep").mkdir()
    inner = os.open(inbox / "deep", os.O_RDONLY)
    for _ in range(220):
        os.mkdir("x" * 19, dir_fd=inner)
        deeper = os.open("x" * 19, os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = deeper
    os.close(inner)
    house.drop("scan.nii")
    house.live(60)
    assert house.states() == {"scan": State.DONE}
    assert house.breakers() == set()
    (deep,) = house.parts.inboxes["default"].candidates()
    assert "too long" in str(deep)
    shutil.rmtree(inbox / "deep")


@pytest.mark.parametrize("is_short_enough", [True, False])
def test_a_path_that_a_claim_makes_too_long_is_not_claimed(
    build: Build, *, is_short_enough: bool
) -> None:
    """It is told as blocked, and `explain` says the same; one byte less, and it comes through."""
    house = build()
    inbox = house.root / "inbox"
    room = PATH_AT_MOST - CLAIM_ADDS - len(os.fsencode(inbox)) + (not is_short_enough)
    # The house's own id is shorter than twelve digits, so nothing but the rule stands in the way.
    below = _path_of(room - len("/deep"))
    (inbox / "deep").mkdir()
    with _inside(inbox / "deep"):
        Path(below).parent.mkdir(parents=True)
        Path(below).write_bytes(nifti())
    house.live(60)
    if is_short_enough:
        assert house.states() == {"deep": State.DONE}
        return
    (deep,) = house.parts.inboxes["default"].candidates()
    assert deep["state"] == "blocked"
    assert "too long" in str(deep["reason"])
    assert (house.cases(), house.breakers()) == ([], set())
    place = Place(
        "default", inbox, candidate_rules(house.settings, house.settings.recipes["default"])
    )
    assert "too long" in " ".join(explain(inbox / "deep", inboxes=[place], queries=None))
    shutil.rmtree(inbox / "deep")


def _path_of(length: int) -> str:
    """Return a relative path to a NIfTI file, as long as asked, with the slash before it."""
    whole, rest = divmod(length - len("/scan.nii"), 101)
    return "/".join(["x" * 100] * (whole - 1) + ["y" * (100 + rest), "scan.nii"])


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a folder: relative paths reach further than whole ones."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def test_a_reader_that_stumbles_over_a_file_stops_no_other(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect in a reader is told at the file that met it."""
    examine = formats.examine

    def stumble(file: BinaryIO, **options: Any) -> Any:
        if options["size"] == 77:
            raise OverflowError("a number that nobody expected")
        return examine(file, **options)

    monkeypatch.setattr(formats, "examine", stumble)
    house = build()
    house.drop("odd.nii", b"x" * 77)
    house.drop("scan.nii")
    house.live(60)
    assert house.states() == {"scan": State.DONE}
    (odd,) = house.parts.inboxes["default"].candidates()
    assert "OverflowError" in str(odd)
