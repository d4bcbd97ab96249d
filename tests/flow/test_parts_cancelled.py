"""A person's cancel of a case whose files are not taken yet: it is kept, whatever comes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flow.house import House
from tests.flow.parts import FEW, cancel, drop_two, now, rows_of
from vpe_watcher.adapters.files import Disk
from vpe_watcher.core.model import State

Build = Callable[..., House]


class StubbornDisk(Disk):
    """Takes nothing out of the inbox, or does something else before it puts anything back."""

    is_refusing = False
    on_putting_back: Callable[[], None] | None = None

    def is_waiting(self) -> bool:
        """Tell whether nothing was put back yet."""
        return self.on_putting_back is not None

    def rename_unsynced(self, source: Path, target: Path) -> None:
        """Take what is to be claimed, unless that is refused."""
        if self.is_refusing and source.parent.name == "inbox":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        super().rename_unsynced(source, target)

    def rename(self, source: Path, target: Path) -> None:
        """Put back what was claimed."""
        if target.parent.name == "inbox" and self.on_putting_back is not None:
            act, self.on_putting_back = self.on_putting_back, None
            act()
        super().rename(source, target)


def test_a_cancelled_part_is_not_sent_though_its_folder_changed(build: Build) -> None:
    """It would go back to the inbox and be taken anew, the cancelled part with it."""
    house = build(intake=FEW)
    folder = drop_two(house)
    first, part = rows_of(house)
    cancel(house, part)
    (folder / "a" / "note.txt").write_text("x")
    house.live(120)
    assert (now(house, first).state, now(house, part).state) == (State.DONE, State.CANCELLED)
    assert house.started() == 1
    assert len(house.cases()) == 2
    assert "Anna--2-Jaw/a/note.txt" in house.files("archive")


def test_a_part_that_is_cancelled_as_its_folder_goes_back_is_not_sent(build: Build) -> None:
    """The files are back in the inbox: the same cases take them again."""
    disk = StubbornDisk()
    house = build(disk=disk, intake=FEW)
    folder = drop_two(house)
    first, part = rows_of(house)
    (folder / "a" / "note.txt").write_text("x")
    disk.on_putting_back = lambda: cancel(house, part)
    house.live(120)
    assert not disk.is_waiting()
    assert (now(house, first).state, now(house, part).state) == (State.DONE, State.CANCELLED)
    assert (house.started(), len(house.cases())) == (1, 2)


def test_a_scan_that_is_cancelled_as_it_goes_back_is_not_sent(build: Build) -> None:
    """The word is said while the claim runs, and heard when that is over."""
    disk = StubbornDisk()
    house = build(disk=disk)
    path = house.drop("scan.nii")
    while not house.cases():
        house.look()
        house.time.advance(1.0)
    (case,) = house.cases()
    os.utime(path, (1, 1))
    disk.on_putting_back = lambda: house.queries.say("cancel", [case.case_id], may_cost=False)
    house.live(10)
    assert not disk.is_waiting()
    house.parts.words.obey()
    house.live(120)
    assert house.states() == {"scan": State.CANCELLED}
    assert house.started() == 0


@pytest.mark.parametrize("is_part", [False, True])
def test_what_is_cancelled_and_cannot_be_taken_yet_is_not_sent(
    build: Build, *, is_part: bool
) -> None:
    """Let go, it would be taken and sent as soon as it can be: so it is tried until then."""
    disk = StubbornDisk()
    house = build(disk=disk, intake=FEW)
    drop_two(house)
    first, part = rows_of(house)
    disk.is_refusing = True
    cancel(house, part, *(() if is_part else (first,)))
    house.live(900, step_s=5)
    assert now(house, first).state is (State.CLAIMING if is_part else State.ARCHIVING)
    assert "cannot be taken" in house.queries.case_row(first.case_id)["wait_reason"]
    disk.is_refusing = False
    house.live(900, step_s=5)
    ended = State.DONE if is_part else State.CANCELLED
    assert (now(house, first).state, now(house, part).state) == (ended, State.CANCELLED)
    assert (house.started(), len(house.cases())) == (int(is_part), 2)


def test_a_folder_that_went_leaves_the_cancel_of_its_part(build: Build) -> None:
    """The first is held: nobody knows who took the folder away."""
    house = build(intake=FEW)
    folder = drop_two(house)
    first, part = rows_of(house)
    cancel(house, part)
    folder.rename(house.root / "Anna")
    house.live(60)
    assert (now(house, first).state, now(house, part).state) == (State.HELD, State.CANCELLED)
    assert house.started() == 0
