"""A folder that refuses one case's files stops that case alone."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.flow.endings import all_is_delivered
from tests.flow.house import House, nifti, unprivileged
from vpe_watcher.adapters.files import Disk
from vpe_watcher.core.model import State

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
