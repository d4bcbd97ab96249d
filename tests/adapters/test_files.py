"""What only real folders have: links, sockets, FIFOs, long names. The rest is in `test_disks`."""

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
from vpe_watcher.flow.relocate import relocate

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


def test_a_rename_never_replaces_a_dangling_link(disk: Disk, tmp_path: Path) -> None:
    """A link that leads nowhere is something all the same."""
    (tmp_path / "other").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        disk.rename(_file(tmp_path / "one"), tmp_path / "other")


# --- writing -------------------------------------------------------------------------------------


def test_a_write_with_the_longest_name(disk: Disk, tmp_path: Path) -> None:
    """The temporary name is not longer than the file system allows."""
    name = "x" * 245 + ".held.txt"
    disk.write(tmp_path / name, b"words")
    assert _tree(tmp_path) == [name]


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


# --- copying and removing ------------------------------------------------------------------------


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


def test_a_tree_behind_a_link_is_not_removed(disk: Disk, tmp_path: Path) -> None:
    """Nobody's files are reached through a link."""
    _folder(tmp_path / "precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    disk.remove_tree(tmp_path / "link")
    assert (tmp_path / "precious" / "outer").exists()


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
