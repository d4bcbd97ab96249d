"""Which verb syncs what, and when: in the order and with the content that reached the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vpe_watcher.adapters.files import Disk

Verb = Callable[[Disk, Path], object]
Synced = list[tuple[str, object]]


@pytest.fixture
def synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Synced:
    """Return what is synced below the test's folder: a file's content or a folder's names."""
    found: Synced = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        content = sorted(os.listdir(path)) if path.is_dir() else path.read_bytes()  # noqa: PTH208
        found.append((str(path.relative_to(tmp_path)), content))

    monkeypatch.setattr(os, "fsync", watched)
    return found


def _stream(disk: Disk, root: Path) -> None:
    with disk.writing(root / "f") as file:
        file.write(b"stream")


@pytest.mark.parametrize(
    ("verb", "wanted"),
    [
        (
            lambda disk, root: disk.rename(root / "a/one", root / "b/two"),
            [("b", ["two"]), ("a", [])],
        ),
        (lambda disk, root: disk.rename(root / "a/one", root / "a/two"), [("a", ["two"])]),
        (
            lambda disk, root: disk.write(root / "b/f", b"new"),
            [("b/.f.part", b"new"), ("b", ["f"])],
        ),
        (_stream, [("f", b"stream")]),
        (lambda disk, root: disk.replace(root / "a/one", root / "a/f"), [("a", ["f"])]),
        (
            lambda disk, root: disk.make_folder(root / "b/c/d"),
            [("b", ["c"]), ("b/c", ["d"])],
        ),
        (lambda disk, root: disk.remove_file(root / "a/one"), [("a", [])]),
        (lambda disk, root: disk.remove_tree(root / "a"), [(".", ["b"])]),
        (
            lambda disk, root: disk.copy(root / "a", root / "b/c"),
            [("b/c/one", b"content"), ("b/c", ["one"])],
        ),
        (
            lambda disk, root: disk.copy(root / "a/one", root / "b/c"),
            [("b/c", b"content")],
        ),
    ],
    ids=[
        "rename to another folder", "rename", "write", "stream", "replace", "make folders",
        "remove file", "remove folder", "copy folder", "copy file",
    ],
)  # fmt: skip
def test_a_verb_syncs_what_it_has_changed(
    synced: Synced, tmp_path: Path, verb: Verb, wanted: Synced
) -> None:
    """Content before the name that makes it visible, the new place before the old one."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a/one").write_bytes(b"content")
    verb(Disk(), tmp_path)
    assert synced == wanted


VERBS: dict[str, tuple[Verb, str]] = {
    "create": (lambda disk, root: disk.create(root / "new", b"content"), "new"),
    "write": (lambda disk, root: disk.write(root / "new", b"content"), ".new.part"),
    "stream": (_stream, "f"),
    "copy file": (lambda disk, root: disk.copy(root / "a/one", root / "new"), "new"),
    "copy folder": (lambda disk, root: disk.copy(root / "a", root / "new"), "new"),
    "make folder": (lambda disk, root: disk.make_folder(root / "new"), "new"),
}


@pytest.mark.parametrize("name", VERBS)
def test_what_could_not_be_synced_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """After a failed sync the pages pass for clean, and the next sync succeeds without writing."""
    verb, left = VERBS[name]
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one").write_bytes(b"content")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", _sick)
        with pytest.raises(OSError, match="sick"):
            verb(Disk(), tmp_path)
    assert not (tmp_path / left).exists()
    verb(Disk(), tmp_path)
    assert [path for path in tmp_path.iterdir() if path.name != "a"]


def _sick(_descriptor: int) -> None:
    raise OSError(errno.EIO, "sick")
