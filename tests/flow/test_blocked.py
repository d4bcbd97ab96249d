"""What may not be read or renamed waits with a reason, and stops no other."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.flow.endings import good_scan_passes
from tests.flow.house import House, nifti, unprivileged
from tests.flow.series import write_series
from vpe_watcher.adapters.files import Disk
from vpe_watcher.core.model import State

Build = Callable[..., House]


def test_an_unreadable_file_is_blocked_until_it_can_be_read(house: House) -> None:
    """The reason names the service's user; with permission it is taken."""
    house.live(1)
    path = house.drop("secret.nii", nifti(seed=3))
    path.chmod(0)
    with unprivileged(house):
        house.drop("good.nii")
        house.live(120)
        assert house.states() == {"good": State.DONE}
        blocked = house.candidate("secret.nii")
        assert blocked["state"] == "blocked"
        assert "may not read" in str(blocked["reason"])
        assert str(os.geteuid()) in str(blocked["reason"])
        assert house.breakers() == set()
        path.chmod(0o600)
        house.live(120)
        assert house.states()["secret"] is State.DONE


def test_an_unreadable_folder_is_blocked(house: House) -> None:
    """A folder that may not be listed says so, and stops nothing else."""
    house.live(1)
    house.drop("visit/scan.nii", nifti(seed=3))
    (house.root / "inbox" / "visit").chmod(0)
    with unprivileged(house):
        house.drop("good.nii")
        house.live(120)
        assert house.states() == {"good": State.DONE}
        assert house.candidate("visit")["state"] == "blocked"
        assert house.breakers() == set()
        (house.root / "inbox" / "visit").chmod(0o755)
        house.live(120)
        assert house.states()["visit"] is State.DONE


def test_an_unreadable_sidecar_blocks_its_scan(house: House) -> None:
    """The wishes beside a scan may not be read: nothing is sent without them."""
    house.live(1)
    house.drop("scan.nii", nifti(seed=3))
    sidecar = house.drop("scan.job.json", b"{}")
    sidecar.chmod(0)
    with unprivileged(house):
        house.drop("good.nii")
        house.live(120)
        assert house.states() == {"good": State.DONE}
        assert house.candidate("scan.nii")["state"] == "blocked"
        assert house.breakers() == set()


class BadSector(Disk):
    """A disk that cannot read one file."""

    def open(self, path: Path) -> BinaryIO:
        """Open a file, unless it lies on the bad sector."""
        if path.name == "bad.nii":
            raise OSError(5, "Input/output error")
        return super().open(path)


def test_a_file_on_a_bad_sector_stops_no_other(build: Build) -> None:
    """One file that the disk cannot read is that file's trouble, not the inbox's."""
    house = build(disk=BadSector())
    house.drop("bad.nii", nifti(seed=3))
    good_scan_passes(house)
    assert house.candidate("bad.nii")["state"] == "blocked"
    assert "input/output error" in str(house.candidate("bad.nii")["reason"]).lower()


class Busy(Disk):
    """A disk where one thing cannot be renamed."""

    number = 16
    is_busy = True

    def rename_unsynced(self, source: Path, target: Path) -> None:
        """Rename, unless it is the one that is in use."""
        if self.is_busy and source.name == "busy.nii":
            raise OSError(self.number, os.strerror(self.number))
        super().rename_unsynced(source, target)


@pytest.mark.parametrize("number", [1, 13, 16, 18, 26])
def test_what_cannot_be_renamed_is_blocked_and_stops_no_other(build: Build, number: int) -> None:
    """EPERM, EACCES, EBUSY, EXDEV, ETXTBSY: it stays a candidate, and is tried again later."""
    disk = Busy()
    disk.number = number
    house = build(disk=disk)
    path = house.drop("busy.nii", nifti(seed=3))
    good_scan_passes(house)
    blocked = house.candidate("busy.nii")
    assert blocked["state"] == "blocked"
    assert os.strerror(number).lower() in str(blocked["reason"])
    assert "permission" in str(blocked["reason"])
    assert path.exists()
    assert len(house.cases()) == 1
    disk.is_busy = False
    house.live(120)
    assert house.states()["busy"] is State.DONE


def test_what_could_not_be_read_at_the_first_scan_is_not_new_when_it_can(build: Build) -> None:
    """With existing = "ignore" it lay there before, whoever was allowed to see it."""
    house = build(intake={"existing": "ignore"})
    house.drop("visit/scan.nii", nifti(seed=3))
    (house.root / "inbox" / "visit").chmod(0)
    with unprivileged(house):
        house.live(60)
        (house.root / "inbox" / "visit").chmod(0o755)
        house.live(60)
        assert house.cases() == []
        house.drop("visit/another.stl", b"solid x\nendsolid x\n")
        house.drop("good.nii")
        house.live(120)
        assert house.states()["good"] is State.DONE


class Refusing(Disk):
    """A disk on which one rename is refused, and that tells which folders were synced."""

    def __init__(self, *, refused: str) -> None:
        super().__init__()
        self.refused = refused
        self.synced: list[Path] = []

    def rename_unsynced(self, source: Path, target: Path) -> None:
        """Rename, unless it is what is refused."""
        if str(source).endswith(self.refused):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        super().rename_unsynced(source, target)

    def sync_folder(self, folder: Path) -> None:
        """Make a folder's entries durable, and note it."""
        self.synced.append(folder)
        super().sync_folder(folder)


def test_a_part_that_is_blocked_loses_nothing_to_its_first_case(build: Build) -> None:
    """The folder would be deleted with the first: that waits until all of the part is out of it.

    What is out of it is durable, should somebody remove the rest.
    """
    disk = Refusing(refused="b/002.dcm")
    settings = {"settle_s": 0.2, "series_settle_s": 2, "min_slices": 2}
    house = build(disk=disk, intake=settings, retention={"on_success": "delete"})
    folder = house.root / "inbox" / "study"
    write_series(folder / "a", range(1, 4))
    write_series(folder / "b", range(1, 4), series="1.2.3", SeriesNumber="5")
    house.live(300, step_s=5)
    first, part = house.cases()
    assert (first.state, part.state) == (State.ARCHIVING, State.CLAIMING)
    assert "not permitted" in house.queries.case_row(part.case_id)["wait_reason"]
    (arrived,) = (one for one in (house.root / "inbox").rglob("*.dcm") if part.case_id in one.parts)
    assert arrived.parent in disk.synced
    disk.refused = "nothing"
    house.live(900, step_s=5)
    assert set(house.states().values()) == {State.DONE}
    assert [len(entry.slices) for case in house.cases() for entry in case.inputs] == [3, 3]
