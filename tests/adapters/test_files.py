"""The disk verbs on real folders: what never replaces, never blocks, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vpe_watcher.adapters.files import Disk, blamed, fault_of
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.model import Kind
from vpe_watcher.flow.relocate import relocate, remove_our_documents

Make = Callable[[Path], object]


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory, on another file system than `tmp_path`; skip if none."""
    memory = Path("/dev/shm")  # noqa: S108 - a fresh folder of our own is made in it
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has only one file system to write on")
    with tempfile.TemporaryDirectory(dir=memory, prefix="vpe-watcher-") as folder:
        yield Path(folder)


@pytest.fixture
def disk() -> Disk:
    """Return the real verbs."""
    return Disk()


def _file(path: Path, content: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _folder(path: Path) -> Path:
    _file(path / "deep" / "inner")
    _file(path / "outer", b"more")
    return path


def _tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- renaming ------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [_file, _folder], ids=["file", "folder"])
@pytest.mark.parametrize(
    "target", [_file, _folder, Path.mkdir], ids=["file", "folder", "empty folder"]
)
def test_a_rename_never_replaces(disk: Disk, tmp_path: Path, source: Make, target: Make) -> None:
    """Not even an empty folder, which rename(2) replaces in silence."""
    one, other = tmp_path / "one", tmp_path / "other"
    source(one)
    target(other)
    before = _tree(tmp_path)
    with pytest.raises(FileExistsError):
        disk.rename(one, other)
    assert _tree(tmp_path) == before


def test_a_rename_never_replaces_a_dangling_link(disk: Disk, tmp_path: Path) -> None:
    """A link that leads nowhere is something all the same."""
    (tmp_path / "other").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        disk.rename(_file(tmp_path / "one"), tmp_path / "other")


def test_a_rename_keeps_what_tells_that_a_file_was_touched(disk: Disk, tmp_path: Path) -> None:
    """Size, mtime and inode stay; only ctime may change."""
    before = disk.look(_file(tmp_path / "one"))
    disk.rename(tmp_path / "one", tmp_path / "other")
    after = disk.look(tmp_path / "other")
    assert before is not None
    assert after is not None
    assert (before.mark.size, before.mark.mtime_ns, before.mark.inode) == (
        after.mark.size,
        after.mark.mtime_ns,
        after.mark.inode,
    )
    assert not disk.exists(tmp_path / "one")


def test_a_rename_of_nothing_says_so(disk: Disk, tmp_path: Path) -> None:
    """The caller tells a file that went from one that may not be moved."""
    with pytest.raises(FileNotFoundError):
        disk.rename(tmp_path / "one", tmp_path / "other")


# --- across file systems -------------------------------------------------------------------------


@pytest.mark.parametrize("make", [_file, _folder], ids=["file", "folder"])
def test_relocating_across_file_systems_is_a_copy(
    disk: Disk, tmp_path: Path, other_disk: Path, make: Make
) -> None:
    """The source goes only when the copy is in its place, equal byte for byte."""
    source, target, via = tmp_path / "scan", other_disk / "in" / "scan", other_disk / "via" / "scan"
    make(source)
    content = {path: (source / path).read_bytes() for path in _files(source)}
    with pytest.raises(OSError, match=os.strerror(errno.EXDEV)):
        disk.rename(source, other_disk / "scan")
    relocate(disk, source, target, via=via)
    assert {path: (target / path).read_bytes() for path in _files(target)} == content
    assert not disk.exists(source)
    assert not disk.exists(via)


def _files(root: Path) -> list[str]:
    if root.is_file():
        return [""]
    return [name for name in _tree(root) if (root / name).is_file()]


@pytest.mark.parametrize("make", [_file, _folder], ids=["file", "folder"])
def test_relocating_is_finished_after_a_crash_anywhere(
    disk: Disk, tmp_path: Path, other_disk: Path, make: Make
) -> None:
    """A broken copy is made anew, a complete one only loses its source, and the rest is nothing."""
    source, target, via = tmp_path / "scan", other_disk / "scan", other_disk / "via"
    make(source)
    _file(via / "half of an earlier copy")
    relocate(disk, source, target, via=via)
    before = _tree(other_disk)
    disk.copy(target, source)
    relocate(disk, source, target, via=via)
    assert not disk.exists(source)
    relocate(disk, source, target, via=via)
    assert _tree(other_disk) == before


def test_relocating_takes_no_place_that_is_taken(disk: Disk, tmp_path: Path) -> None:
    """What lies at the target is somebody's: both stay."""
    source, target = _folder(tmp_path / "one"), _folder(tmp_path / "other")
    _file(target / "outer", b"another")
    with pytest.raises(FileExistsError):
        relocate(disk, source, target, via=tmp_path / "via")
    assert disk.exists(source)
    assert (target / "outer").read_bytes() == b"another"


def test_relocating_nothing_says_so(disk: Disk, tmp_path: Path) -> None:
    """Neither at the source nor at the target: it is gone."""
    with pytest.raises(FileNotFoundError):
        relocate(disk, tmp_path / "one", tmp_path / "other", via=tmp_path / "via")


# --- writing -------------------------------------------------------------------------------------


def test_a_durable_write_leaves_no_temporary_file(disk: Disk, tmp_path: Path) -> None:
    """New or again: the file is whole, and alone."""
    for content in (b"first", b"second and longer"):
        disk.write(tmp_path / "marker.json", content)
        assert _tree(tmp_path) == ["marker.json"]
        assert (tmp_path / "marker.json").read_bytes() == content


def test_a_write_with_the_longest_name(disk: Disk, tmp_path: Path) -> None:
    """The temporary name is not longer than the file system allows."""
    name = "x" * 245 + ".held.txt"
    disk.write(tmp_path / name, b"words")
    assert _tree(tmp_path) == [name]


def test_folders_are_made_with_those_above(disk: Disk, tmp_path: Path) -> None:
    """Twice is fine."""
    for _ in range(2):
        disk.make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_stream_is_written_to_its_end(disk: Disk, tmp_path: Path) -> None:
    """And an error in the middle leaves as it is, for the caller to decide."""
    with disk.writing(tmp_path / "mesh") as file:
        file.write(b"triangles")
    assert (tmp_path / "mesh").read_bytes() == b"triangles"
    with pytest.raises(ValueError, match="broken"), disk.writing(tmp_path / "mesh"):
        raise ValueError("broken")


# --- opening and looking -------------------------------------------------------------------------


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.symlink_to(_file(path.with_name("aim")))


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    ("make", "kind"),
    [(_fifo, Kind.OTHER), (_link, Kind.OTHER), (Path.mkdir, Kind.FOLDER)],
    ids=["FIFO", "link", "folder"],
)
def test_only_regular_files_are_opened(disk: Disk, tmp_path: Path, make: Make, kind: Kind) -> None:
    """Nothing is followed and nothing blocks; the look says what it is."""
    path = tmp_path / "x.dcm"
    make(path)
    found = disk.look(path)
    assert found is not None
    assert found.kind is kind
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match=r".+"):
        disk.open(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_socket_is_not_opened(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its path may be longer than a socket's address, so it is bound from its folder."""
    monkeypatch.chdir(tmp_path)
    _socket(Path("s.dcm"))
    with pytest.raises(OSError, match=r".+"):
        disk.open(tmp_path / "s.dcm")


def test_a_look_at_nothing_is_none(disk: Disk, tmp_path: Path) -> None:
    """Also below what is no folder."""
    assert disk.look(tmp_path / "none") is None
    assert disk.look(_file(tmp_path / "file") / "below") is None


def test_a_listing_is_sorted_and_follows_nothing(disk: Disk, tmp_path: Path) -> None:
    """Links are entries of their own, whatever they lead to."""
    _file(tmp_path / "b")
    _folder(tmp_path / "a")
    (tmp_path / "c").symlink_to(tmp_path / "a")
    assert [(entry.name, entry.kind) for entry in disk.listing(tmp_path)] == [
        ("a", Kind.FOLDER),
        ("b", Kind.FILE),
        ("c", Kind.OTHER),
    ]
    assert [path for path, _ in disk.tree(tmp_path)] == ["a", "b", "c", "a/deep", "a/outer",
                                                         "a/deep/inner"]  # fmt: skip


def test_a_small_read_is_cut(disk: Disk, tmp_path: Path) -> None:
    """A huge job.json costs no memory."""
    assert disk.read(_file(tmp_path / "big", b"x" * 100), at_most=10) == b"x" * 10


# --- copying and removing ------------------------------------------------------------------------


def test_a_copy_is_the_same(disk: Disk, tmp_path: Path) -> None:
    """Until one byte, one name or one kind differs."""
    one = _folder(tmp_path / "one")
    disk.copy(one, tmp_path / "other")
    assert disk.is_same(one, tmp_path / "other")
    _file(tmp_path / "other" / "outer", b"MORE")
    assert not disk.is_same(one, tmp_path / "other")
    disk.copy(one, tmp_path / "other")
    _file(tmp_path / "other" / "extra")
    assert not disk.is_same(one, tmp_path / "other")


def test_a_folder_with_a_fifo_moves_across_file_systems(
    disk: Disk, tmp_path: Path, other_disk: Path
) -> None:
    """What has no content is left out of the copy, and does not stop it."""
    source, target = _folder(tmp_path / "scan"), other_disk / "in" / "scan"
    os.mkfifo(source / "pipe")
    (source / "link").symlink_to("outer")
    relocate(disk, source, target, via=other_disk / "via" / "scan")
    assert not disk.exists(source)
    assert (target / "outer").is_file()
    assert (target / "link").is_symlink()
    assert not disk.exists(target / "pipe")


def test_a_copied_file_is_the_same(disk: Disk, tmp_path: Path) -> None:
    """Single files are compared like trees."""
    one, other = _file(tmp_path / "one"), _file(tmp_path / "other", b"CONTENT")
    assert not disk.is_same(one, other)
    disk.copy(one, other)
    assert disk.is_same(one, other)


def test_removing_what_is_gone_is_fine(disk: Disk, tmp_path: Path) -> None:
    """A step that is repeated removes again."""
    _folder(tmp_path / "tree")
    _file(tmp_path / "file")
    for _ in range(2):
        disk.remove_tree(tmp_path / "tree")
        disk.remove_file(tmp_path / "file")
    assert _tree(tmp_path) == []


def test_a_tree_behind_a_link_is_not_removed(disk: Disk, tmp_path: Path) -> None:
    """Nobody's files are reached through a link."""
    _folder(tmp_path / "precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    disk.remove_tree(tmp_path / "link")
    assert (tmp_path / "precious" / "outer").exists()


def test_only_our_own_documents_are_removed(disk: Disk, tmp_path: Path) -> None:
    """A result.json or error.json of somebody else is part of the input."""
    _file(tmp_path / "result.json", b'{"mine": true}')
    _file(tmp_path / "error.json", b'{"schema": "vpe-watcher/error/1"}')
    _file(tmp_path / "error.txt")
    remove_our_documents(disk, tmp_path)
    assert _tree(tmp_path) == ["result.json"]


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "breaker"),
    [
        (errno.EACCES, "outbox"),
        (errno.EROFS, "outbox"),
        (errno.EIO, "outbox"),
        (errno.ENOSPC, "disk"),
        (errno.EDQUOT, "disk"),
    ],
)
def test_trouble_is_blamed_on_a_resource(number: int, breaker: str) -> None:
    """A full disk is everybody's; the message names no path and the hint says what to do."""
    with pytest.raises(EnvironmentFault) as caught, blamed("outbox"):
        raise OSError(number, "text", "/srv/inbox/Müller.dcm")
    fault = caught.value
    assert fault.breaker == breaker
    assert errno.errorcode[number] in fault.message
    assert "Müller" not in fault.message + fault.hint
    assert fault.hint


def test_an_error_without_a_number_has_words_too() -> None:
    """Some libraries raise them."""
    assert fault_of(OSError("odd"), "archive").message
