"""Folders that hang: who asks for their names is kept for a moment, and the others not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpe_watcher.adapters.files import Disk
from vpe_watcher.app.listings import Listings

WITHIN_S = 0.2


class HangingDisk(Disk):
    """A disk on which one folder gives no answer until it is let go."""

    def __init__(self, hanging: Path) -> None:
        """Hang at this folder."""
        self.hanging = hanging
        self.may_go_on = threading.Event()
        self.asked = 0

    def names(self, folder: Path) -> list[str]:
        """List a folder as the real one does, in its time."""
        if folder == self.hanging:
            self.asked += 1
            self.may_go_on.wait(30)
        return super().names(folder)


@pytest.fixture(name="disk")
def make_disk(tmp_path: Path) -> Iterator[HangingDisk]:
    """Return a disk that hangs at `dead`; at the end it goes on."""
    for name in ("dead", "alive"):
        (tmp_path / name / "scan").mkdir(parents=True)
    disk = HangingDisk(tmp_path / "dead")
    yield disk
    disk.may_go_on.set()


def test_a_folder_that_hangs_costs_one_wait(disk: HangingDisk, tmp_path: Path) -> None:
    """The first who asks waits, the next do not, and it is asked once; others answer meanwhile."""
    listings = Listings(disk, monotonic=time.monotonic, within_s=WITHIN_S)
    with pytest.raises(TimeoutError):
        listings.names(tmp_path / "dead")
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(TimeoutError):
            listings.names(tmp_path / "dead")
        assert listings.names(tmp_path / "alive") == ["scan"]
    assert time.monotonic() - began < 20 * WITHIN_S / 2
    assert disk.asked == 1


def test_a_folder_that_goes_on_is_asked_again(disk: HangingDisk, tmp_path: Path) -> None:
    """What hung for a while answers as if nothing had been."""
    listings = Listings(disk, monotonic=time.monotonic, within_s=WITHIN_S)
    with pytest.raises(TimeoutError):
        listings.names(tmp_path / "dead")
    disk.may_go_on.set()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            assert listings.names(tmp_path / "dead") == ["scan"]
        except TimeoutError:
            continue
        return
    pytest.fail("it never answered")


def test_an_error_is_passed_on(disk: HangingDisk, tmp_path: Path) -> None:
    """A missing folder is an answer."""
    with pytest.raises(FileNotFoundError):
        Listings(disk, monotonic=time.monotonic).names(tmp_path / "missing")


def test_without_a_thread_to_ask_it_is_asked_again_later(
    disk: HangingDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer is waited for that nobody will give."""
    listings = Listings(disk, monotonic=time.monotonic, within_s=WITHIN_S)

    def fails(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fails)
        with pytest.raises(OSError, match="thread"):
            listings.names(tmp_path / "alive")
    assert listings.names(tmp_path / "alive") == ["scan"]
