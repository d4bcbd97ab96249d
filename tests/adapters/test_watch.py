"""File events as hints, on real folders: what is told, and when there is nobody to tell."""

from __future__ import annotations

import queue
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vpe_watcher.adapters.watch import Watch

AT_MOST_S = 5.0


class Hints:
    """What a watch has told, from its own thread."""

    def __init__(self) -> None:
        self.told: queue.Queue[str] = queue.Queue()

    def wait_for(self, name: str) -> None:
        """Wait until a name was told; fail when it is not."""
        end = time.monotonic() + AT_MOST_S
        seen = []
        while (left := end - time.monotonic()) > 0:
            try:
                seen.append(self.told.get(timeout=left))
            except queue.Empty:
                break
            if seen[-1] == name:
                return
        pytest.fail(f"{name} was not told, only {seen}")

    def all(self) -> set[str]:
        """Return what was told so far."""
        names = set()
        while not self.told.empty():
            names.add(self.told.get())
        return names


@pytest.fixture
def hints() -> Hints:
    """Return an empty list of hints."""
    return Hints()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder to watch."""
    (tmp_path / "inbox" / "patient").mkdir(parents=True)
    (tmp_path / "inbox" / ".vpe-watcher").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def watch(root: Path, hints: Hints) -> Iterator[Watch]:
    """Watch the folder while the test runs."""
    watch = Watch(root, hints.told.put)
    assert watch.start()
    yield watch
    watch.stop()
    assert not watch.is_alive


def _write(path: Path) -> None:
    path.write_bytes(b"scan")


def _move_in(path: Path) -> None:
    draft = path.parent.parent / "draft"
    draft.write_bytes(b"scan")
    draft.rename(path)


def _make_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("happen", [_write, _move_in, _make_folder])
def test_what_appears_is_told(
    watch: Watch, root: Path, hints: Hints, happen: Callable[[Path], None]
) -> None:
    """By the name directly in the root."""
    happen(root / "scan.dcm")
    hints.wait_for("scan.dcm")


def test_only_the_root_itself_takes_a_watch(watch: Watch, root: Path, hints: Hints) -> None:
    """A folder that was seen is looked at until it is quiet: what is in it need not be told."""
    _write(root / "patient" / "upper.stl")
    (root / ".vpe-watcher" / "claim").mkdir()
    _write(root / "scan.dcm")
    hints.wait_for("scan.dcm")
    assert hints.all() <= {"scan.dcm"}


def test_a_rename_and_a_removal_are_told(watch: Watch, root: Path, hints: Hints) -> None:
    """An upload that gets its final name, and one that is taken away."""
    _write(root / "scan.dcm.part")
    (root / "scan.dcm.part").rename(root / "scan.dcm")
    hints.wait_for("scan.dcm")
    hints.all()
    (root / "scan.dcm").unlink()
    hints.wait_for("scan.dcm")


def test_our_own_doings_are_not_told(watch: Watch, root: Path, hints: Hints) -> None:
    """Neither what happens in the hidden folder nor that a file was read."""
    _write(root / "scan.dcm")
    hints.wait_for("scan.dcm")
    time.sleep(0.2)
    hints.all()
    _write(root / ".vpe-watcher" / "marker.json")
    assert (root / "scan.dcm").read_bytes() == b"scan"
    list(root.iterdir())
    _write(root / "last.dcm")
    hints.wait_for("last.dcm")
    assert hints.all() <= {"last.dcm"}


def test_a_root_that_is_not_there_cannot_be_watched(tmp_path: Path, hints: Hints) -> None:
    """The scan has to do."""
    watch = Watch(tmp_path / "none", hints.told.put)
    assert not watch.start()
    assert not watch.is_alive


@pytest.mark.parametrize("goes", [shutil.rmtree, lambda root: root.rename(root.parent / "aside")])
def test_a_root_that_went_is_noticed(
    watch: Watch, root: Path, hints: Hints, goes: Callable[[Path], object]
) -> None:
    """The thread may live on in silence: a root made again needs a new start, then it is heard."""
    assert _hears(watch)
    goes(root)
    assert not _hears(watch)
    root.mkdir()
    _wait_until_deaf(watch)
    assert watch.start()
    assert _hears(watch)
    hints.all()
    _write(root / "scan.dcm")
    hints.wait_for("scan.dcm")


def _hears(watch: Watch) -> bool:
    return watch.is_alive


def _wait_until_deaf(watch: Watch) -> None:
    """Give the watching thread a moment: a new root may have the inode of the old one."""
    end = time.monotonic() + AT_MOST_S
    while watch.is_alive:
        assert time.monotonic() < end, "the watch believes that it still hears something"
        time.sleep(0.05)


def test_a_root_that_another_took_the_place_of_is_noticed(watch: Watch, root: Path) -> None:
    """As when a share is mounted over it, or a folder is renamed to its place."""
    (root.parent / "other").mkdir()
    root.rename(root.parent / "aside")
    (root.parent / "other").rename(root)
    assert not watch.is_alive
