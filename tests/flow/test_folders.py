"""Folders that are away, empty, full or not ours to write: what needs them waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.flow.endings import all_is_delivered
from tests.flow.house import House, nifti, unprivileged
from vpe_watcher.adapters.files import Disk
from vpe_watcher.core.model import State

Build = Callable[..., House]


@pytest.mark.parametrize("root", ["inbox", "outbox", "archive"])
def test_a_folder_that_goes_away_opens_its_breaker_and_heals(house: House, root: str) -> None:
    """An unmounted folder pauses what needs it; when it is back everything goes on."""
    house.drop("before.nii")
    house.live_until_rest()
    (house.root / root).rename(house.root / "elsewhere")
    if root != "inbox":
        house.drop("scan.nii", nifti(seed=1))
    house.live(300)
    name = "inbox:default" if root == "inbox" else root
    assert house.breakers() == {name}
    assert "missing" in house.breaker(name).reason
    assert "Mount it" in house.breaker(name).hint
    (house.root / "elsewhere").rename(house.root / root)
    if root == "inbox":
        house.drop("scan.nii", nifti(seed=1))
    house.live(600)
    all_is_delivered(house)


def test_an_empty_mount_point_is_not_taken_for_the_folder(house: House) -> None:
    """A folder without its marker opens the breaker; nothing is written into it."""
    house.drop("before.nii")
    house.live_until_rest()
    (house.root / "outbox").rename(house.root / "elsewhere")
    (house.root / "outbox").mkdir()
    house.drop("scan.nii", nifti(seed=1))
    house.live(300)
    assert house.breakers() == {"outbox"}
    assert "marker" in house.breaker("outbox").reason
    assert list((house.root / "outbox").iterdir()) == []
    (house.root / "outbox").rmdir()
    (house.root / "elsewhere").rename(house.root / "outbox")
    house.live(600)
    all_is_delivered(house)


def test_a_missing_folder_of_failed_cases_keeps_them_until_it_comes(house: House) -> None:
    """A case that failed and one that is held wait for the folder that is to tell of them."""
    house.live(1)
    (house.root / "failed").rename(house.root / "elsewhere")
    house.sandbox.set_faults([{"on": "poll", "job": 0, "do": {"status": 403}}])
    house.drop("held.nii")
    house.live(30)
    house.drop("text.nii", b"no scan at all " * 99)
    house.drop("good.nii", nifti(seed=1))
    house.live(120)
    assert house.states() == {"held": State.HELD, "text": State.ARCHIVING, "good": State.DONE}
    assert house.breakers() == {"failed"}
    (house.root / "elsewhere").rename(house.root / "failed")
    house.live(900, step_s=5)
    assert house.files("failed") == [
        "held.held.txt",
        "text/error.json",
        "text/error.txt",
        "text/text.nii",
    ]
    assert house.breakers() == set()


def test_a_missing_inbox_of_one_recipe_stops_no_other(build: Build) -> None:
    """Its claimed cases wait with it; those of the others are uploaded and delivered."""
    house = build(recipes={"teeth": {}})
    house.sandbox.set_faults([{"on": "upload", "job": 0, "times": 3, "do": {"status": 500}}])
    house.drop("theirs.nii", recipe="teeth")
    house.live_until("theirs", State.UPLOADING)
    (house.root / "inbox" / "teeth").rename(house.root / "elsewhere")
    house.drop("ours.nii", nifti(side=5))
    house.live(120)
    assert house.breakers() == {"inbox:teeth"}
    assert house.states() == {"theirs": State.UPLOADING, "ours": State.DONE}
    (house.root / "elsewhere").rename(house.root / "inbox" / "teeth")
    house.live(600, step_s=5)
    all_is_delivered(house)


def test_an_outbox_that_may_not_be_written_opens_its_breaker(house: House) -> None:
    """The hint says whose permission is missing; with it the result is delivered."""
    house.drop("before.nii")
    house.live_until_rest()
    with unprivileged(house):
        (house.root / "outbox").chmod(0o555)
        (house.root / "outbox" / ".vpe-watcher").chmod(0o555)
        house.drop("scan.nii", nifti(seed=1))
        house.live(120)
        assert house.states()["scan"] is State.DELIVERING
        assert house.breakers() == {"outbox"}
        assert "permission" in house.breaker("outbox").hint
        (house.root / "outbox" / ".vpe-watcher").chmod(0o755)
        (house.root / "outbox").chmod(0o755)
        house.live(600, step_s=5)
        all_is_delivered(house)


class FullDisk(Disk):
    """A disk that is full for what is streamed to it while `full` is set."""

    full = True

    @contextmanager
    def writing(self, path: Path) -> Iterator[BinaryIO]:
        """Open a file, or have no room for it."""
        if self.full:
            raise OSError(28, "No space left on device")
        with super().writing(path) as file:
            yield file


def test_a_full_disk_pauses_and_goes_on_by_itself(build: Build) -> None:
    """No case loses an attempt while there is no room for its result."""
    disk = FullDisk()
    house = build(disk=disk)
    house.drop("scan.nii")
    house.live(3600, step_s=60)
    assert house.states() == {"scan": State.FETCHING}
    assert house.breakers() == {"disk"}
    assert "Free space" in house.breaker("disk").hint
    house.drop("later.nii", nifti(seed=1))
    house.live(300)
    assert "later" not in house.states()
    disk.full = False
    house.live(900)
    all_is_delivered(house)
