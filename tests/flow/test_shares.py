"""Inboxes on shares that number their files anew: at each mount, or at each look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.flow.house import House, nifti
from vpe_watcher.adapters.files import Disk, Entry
from vpe_watcher.app import terms
from vpe_watcher.core.model import State

Build = Callable[..., House]


class RenumberingDisk(Disk):
    """A file system on which inode numbers mean nothing; all else is real."""

    def __init__(self, *, each_look: bool) -> None:
        self.each_look = each_look
        self.offset = 1_000_000

    def remount(self) -> None:
        """Give all files other numbers."""
        self.offset += 1_000_000

    def look(self, path: Path) -> Entry | None:
        """Return what lies at a path, under another number."""
        found = super().look(path)
        return None if found is None else self._renumbered(found)

    def listing(self, folder: Path) -> list[Entry]:
        """List a folder, under other numbers."""
        return [self._renumbered(entry) for entry in super().listing(folder)]

    def _renumbered(self, entry: Entry) -> Entry:
        self.offset += self.each_look
        return replace(entry, mark=replace(entry.mark, inode=entry.mark.inode + self.offset))


@pytest.fixture
def on_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every folder be on a file system that does not keep inode numbers."""
    monkeypatch.setattr(terms, "KEEP_INODES", frozenset())


@pytest.mark.usefixtures("on_share")
def test_a_share_that_renumbers_at_each_look_is_served(build: Build) -> None:
    """A scan settles, is claimed, sent, found unchanged in each step, and put away."""
    house = build(disk=RenumberingDisk(each_look=True))
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert house.sandbox.ledger.count("submit") == 1


@pytest.mark.usefixtures("on_share")
def test_a_remount_is_no_change_of_a_paid_case(build: Build) -> None:
    """The claimed file has another number when its result is delivered."""
    disk = RenumberingDisk(each_look=False)
    house = build(disk=disk)
    house.drop("scan.nii")
    house.live_until("scan", State.FETCHING)
    disk.remount()
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}


@pytest.mark.usefixtures("on_share")
def test_a_change_is_seen_without_inode_numbers(build: Build) -> None:
    """Size and times still tell."""
    house = build(disk=RenumberingDisk(each_look=True))
    house.drop("scan.nii")
    case = house.live_until("scan", State.FETCHING)
    house.claimed(case).write_bytes(nifti(seed=3))
    house.live_until_rest()
    assert house.states() == {"scan": State.HELD}


def test_an_exchanged_file_is_seen_by_its_inode_number(build: Build) -> None:
    """Where the file system keeps the numbers, another number is another file."""
    disk = RenumberingDisk(each_look=False)
    house = build(disk=disk)
    house.drop("scan.nii")
    house.live_until("scan", State.FETCHING)
    disk.remount()
    house.live_until_rest()
    assert house.states() == {"scan": State.HELD}


@pytest.mark.parametrize("is_share", [True, False])
def test_what_lay_there_stays_existing_over_a_remount(
    build: Build, monkeypatch: pytest.MonkeyPatch, *, is_share: bool
) -> None:
    """Years of old scans are not bought because their numbers, or their disk, are others."""
    if is_share:
        monkeypatch.setattr(terms, "KEEP_INODES", frozenset())
    disk = RenumberingDisk(each_look=False)
    house = build(intake={"existing": "ignore"}, disk=disk)
    for seed in range(3):
        house.drop(f"old{seed}.nii", nifti(seed=seed))
    house.live(10)
    disk.remount()
    house.restart()
    house.live(60)
    assert house.states() == {}
    assert house.candidate("old1.nii")["state"] == "existing"
    house.drop("old1.nii", nifti(seed=7))
    house.live_until_rest()
    assert house.states() == {"old1": State.DONE}
