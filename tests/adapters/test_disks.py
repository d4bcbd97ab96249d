"""The disk verbs on real folders and on the simulated disk: one suite holds both to the same."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.adapters.grounds import MemoryGround, RealGround
from vpe_watcher.core.model import Kind
from vpe_watcher.flow.relocate import relocate, remove_our_documents

Make = Callable[[RealGround, Path], object]


@pytest.fixture(params=["real", "simulated"])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealGround]:
    """Return a ground with two file systems; the real one is left out where there is only one."""
    if request.param == "simulated":
        yield MemoryGround(tmp_path)
        return
    memory = Path("/dev/shm")  # noqa: S108 - a fresh folder of our own is made in it
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has only one file system to write on")
    with tempfile.TemporaryDirectory(dir=memory, prefix="vpe-watcher-") as folder:
        yield RealGround(tmp_path, Path(folder))


def _file(ground: RealGround, path: Path) -> Path:
    return ground.file(path)


def _folder(ground: RealGround, path: Path) -> Path:
    ground.file(path / "deep" / "inner")
    ground.file(path / "outer", b"more")
    return path


def _empty(ground: RealGround, path: Path) -> Path:
    return ground.empty(path)


def _link(ground: RealGround, path: Path) -> Path:
    return ground.link(path)


# --- renaming ------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [_file, _folder], ids=["file", "folder"])
@pytest.mark.parametrize(
    "target", [_file, _folder, _empty, _link], ids=["file", "folder", "empty folder", "link"]
)
def test_a_rename_never_replaces(ground: RealGround, source: Make, target: Make) -> None:
    """Not even an empty folder, which rename(2) replaces in silence, or a link to nowhere."""
    one, other = ground.root / "one", ground.root / "other"
    source(ground, one)
    target(ground, other)
    before = ground.tree(ground.root)
    with pytest.raises(FileExistsError):
        ground.disk.rename(one, other)
    assert ground.tree(ground.root) == before


def test_a_rename_keeps_what_tells_that_a_file_was_touched(ground: RealGround) -> None:
    """Size, mtime and inode stay; only ctime may change."""
    before = ground.disk.look(_file(ground, ground.root / "one"))
    ground.disk.rename(ground.root / "one", ground.root / "other")
    after = ground.disk.look(ground.root / "other")
    assert before is not None
    assert after is not None
    assert (before.mark.size, before.mark.mtime_ns, before.mark.inode) == (
        after.mark.size,
        after.mark.mtime_ns,
        after.mark.inode,
    )
    assert not ground.disk.exists(ground.root / "one")


@pytest.mark.parametrize("target", ["other", "none/other"])
def test_a_rename_of_nothing_or_to_nowhere_says_so(ground: RealGround, target: str) -> None:
    """The caller tells a file that went from one that may not be moved."""
    with pytest.raises(FileNotFoundError):
        ground.disk.rename(ground.root / "one", ground.root / target)


def test_a_file_is_renamed_over_a_file_of_ours(ground: RealGround) -> None:
    """The only verb that replaces."""
    ground.file(ground.root / "one", b"new")
    ground.file(ground.root / "other", b"old")
    ground.disk.replace(ground.root / "one", ground.root / "other")
    assert ground.tree(ground.root) == ["other"]
    assert ground.content(ground.root / "other") == b"new"


# --- across file systems -------------------------------------------------------------------------


def _contents(ground: RealGround, root: Path) -> dict[str, bytes]:
    entry = ground.disk.look(root)
    assert entry is not None
    if entry.kind is Kind.FILE:
        return {"": ground.content(root)}
    return {
        name: ground.content(root / name)
        for name, below in ground.disk.tree(root)
        if below.kind is Kind.FILE
    }


@pytest.mark.parametrize("make", [_file, _folder], ids=["file", "folder"])
def test_relocating_across_file_systems_is_a_copy(ground: RealGround, make: Make) -> None:
    """The source goes only when the copy is in its place, equal byte for byte."""
    source, via = ground.root / "scan", ground.other / "via" / "scan"
    target = ground.other / "in" / "scan"
    make(ground, source)
    content = _contents(ground, source)
    with pytest.raises(OSError, match=os.strerror(errno.EXDEV)):
        ground.disk.rename(source, ground.other / "scan")
    relocate(ground.disk, source, target, via=via)
    assert _contents(ground, target) == content
    assert not ground.disk.exists(source)
    assert not ground.disk.exists(via)


@pytest.mark.parametrize("make", [_file, _folder], ids=["file", "folder"])
def test_relocating_is_finished_after_a_crash_anywhere(ground: RealGround, make: Make) -> None:
    """A broken copy is made anew, a complete one only loses its source, and the rest is nothing."""
    source, target, via = ground.root / "scan", ground.other / "scan", ground.other / "via"
    make(ground, source)
    ground.file(via / "half of an earlier copy")
    relocate(ground.disk, source, target, via=via)
    before = ground.tree(ground.other)
    ground.disk.copy(target, source)
    relocate(ground.disk, source, target, via=via)
    assert not ground.disk.exists(source)
    relocate(ground.disk, source, target, via=via)
    assert ground.tree(ground.other) == before


def test_relocating_takes_no_place_that_is_taken(ground: RealGround) -> None:
    """What lies at the target is somebody's: both stay."""
    source = _folder(ground, ground.root / "one")
    target = _folder(ground, ground.root / "other")
    ground.file(target / "outer", b"another")
    with pytest.raises(FileExistsError):
        relocate(ground.disk, source, target, via=ground.root / "via")
    assert ground.disk.exists(source)
    assert ground.content(target / "outer") == b"another"


def test_relocating_nothing_says_so(ground: RealGround) -> None:
    """Neither at the source nor at the target: it is gone."""
    with pytest.raises(FileNotFoundError):
        relocate(ground.disk, ground.root / "one", ground.root / "two", via=ground.root / "via")


# --- writing -------------------------------------------------------------------------------------


def test_a_durable_write_leaves_no_temporary_file(ground: RealGround) -> None:
    """New or again: the file is whole, and alone."""
    for content in (b"first", b"second and longer"):
        ground.disk.write(ground.root / "marker.json", content)
        assert ground.tree(ground.root) == ["marker.json"]
        assert ground.content(ground.root / "marker.json") == content


def test_folders_are_made_with_those_above(ground: RealGround) -> None:
    """Twice is fine."""
    for _ in range(2):
        ground.disk.make_folder(ground.root / "a" / "b" / "c")
    assert ground.tree(ground.root) == ["a", "a/b", "a/b/c"]


def test_a_stream_is_written_to_its_end(ground: RealGround) -> None:
    """And an error in the middle leaves as it is, for the caller to decide."""
    with ground.disk.writing(ground.root / "mesh") as file:
        file.write(b"trian")
        file.write(b"gles")
    assert ground.content(ground.root / "mesh") == b"triangles"
    with pytest.raises(ValueError, match="broken"), ground.disk.writing(ground.root / "mesh"):
        raise ValueError("broken")


def test_what_the_disk_refuses_to_hold_is_removed(ground: RealGround) -> None:
    """A full disk gets its space back."""

    def fill() -> None:
        with ground.disk.writing(ground.root / "mesh") as file:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        fill()
    assert ground.tree(ground.root) == []


# --- opening and looking -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind"), [(_link, Kind.OTHER), (_empty, Kind.FOLDER)], ids=["link", "folder"]
)
def test_only_regular_files_are_opened(ground: RealGround, make: Make, kind: Kind) -> None:
    """Nothing is followed; the look says what it is."""
    path = ground.root / "x.dcm"
    make(ground, path)
    found = ground.disk.look(path)
    assert found is not None
    assert found.kind is kind
    with pytest.raises(OSError, match=r".+"):
        ground.disk.open(path)


def test_an_open_file_has_a_descriptor_of_its_bytes(ground: RealGround) -> None:
    """Those who ask the kernel for its size and its holes need one; closing gives it back."""
    path = ground.file(ground.root / "scan", b"0123456789")
    before = ground.open_files()
    with ground.disk.open(path) as file:
        assert os.fstat(file.fileno()).st_size == 10
        assert file.read() == b"0123456789"
    assert ground.open_files() == before


def test_a_look_at_nothing_is_none(ground: RealGround) -> None:
    """Also below what is no folder."""
    assert ground.disk.look(ground.root / "none") is None
    assert ground.disk.look(_file(ground, ground.root / "file") / "below") is None


def test_a_listing_is_sorted_and_follows_nothing(ground: RealGround) -> None:
    """Links are entries of their own, whatever they lead to."""
    _file(ground, ground.root / "b")
    _folder(ground, ground.root / "a")
    _link(ground, ground.root / "c")
    listed = ground.disk.listing(ground.root)
    assert [(entry.name, entry.kind) for entry in listed] == [
        ("a", Kind.FOLDER),
        ("b", Kind.FILE),
        ("c", Kind.OTHER),
    ]
    assert sorted(ground.disk.names(ground.root)) == ["a", "b", "c"]
    below = [path for path, _ in ground.disk.tree(ground.root)]
    assert below == ["a", "b", "c", "a/deep", "a/outer", "a/deep/inner"]
    with pytest.raises(FileNotFoundError):
        ground.disk.listing(ground.root / "none")
    with pytest.raises(NotADirectoryError):
        ground.disk.names(ground.root / "b")


def test_a_small_read_is_cut(ground: RealGround) -> None:
    """A huge job.json costs no memory."""
    path = ground.file(ground.root / "big", b"x" * 100)
    assert ground.disk.read(path, at_most=10) == b"x" * 10


# --- copying and removing ------------------------------------------------------------------------


def test_a_copy_is_the_same(ground: RealGround) -> None:
    """Until one byte, one name or one kind differs."""
    one, other = _folder(ground, ground.root / "one"), ground.root / "other"
    ground.disk.copy(one, other)
    assert ground.disk.is_same(one, other)
    ground.file(other / "outer", b"MORE")
    assert not ground.disk.is_same(one, other)
    ground.disk.copy(one, other)
    ground.file(other / "extra")
    assert not ground.disk.is_same(one, other)
    assert ground.disk.holds(other, one)
    assert not ground.disk.holds(one, other)


def test_a_copied_file_is_the_same(ground: RealGround) -> None:
    """Single files are compared like trees."""
    one = ground.file(ground.root / "one")
    other = ground.file(ground.root / "other", b"CONTENT")
    assert not ground.disk.is_same(one, other)
    ground.disk.copy(one, other)
    assert ground.disk.is_same(one, other)


def test_removing_what_is_gone_is_fine(ground: RealGround) -> None:
    """A step that is repeated removes again."""
    _folder(ground, ground.root / "tree")
    _file(ground, ground.root / "file")
    for _ in range(2):
        ground.disk.remove_tree(ground.root / "tree")
        ground.disk.remove_file(ground.root / "file")
    assert ground.tree(ground.root) == []


def test_only_our_own_documents_are_removed(ground: RealGround) -> None:
    """A result.json or error.json of somebody else is part of the input."""
    ground.file(ground.root / "result.json", b'{"mine": true}')
    ground.file(ground.root / "error.json", b'{"schema": "vpe-watcher/error/1"}')
    ground.file(ground.root / "error.txt")
    remove_our_documents(ground.disk, ground.root)
    assert ground.tree(ground.root) == ["result.json"]
