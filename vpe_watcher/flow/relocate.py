"""Moving a case's files between folders that may lie on different file systems.

On one file system it is one rename. Across two it is copy, sync, compare, rename; the source goes
only after the copy has been found equal, so an input is never in fewer than one place.
"""

from __future__ import annotations

import errno
import json
from pathlib import Path

from vpe_watcher.adapters.files import Disk
from vpe_watcher.core.model import Kind

OUR_DOCUMENTS = ("result.json", "error.json")


def relocate(disk: Disk, source: Path, target: Path, *, via: Path) -> None:
    """Move a file or folder; `via` is a place of ours on the target's file system.

    Safe to repeat after a crash at any point.

    Raises:
        FileExistsError: something else lies at the target.
        FileNotFoundError: nothing lies at the source, nor was anything moved before.
        OSError: the file systems refuse.
    """
    if not disk.exists(source):
        if disk.exists(target):
            settle(disk, source, target)
            return
        raise FileNotFoundError(errno.ENOENT, "nothing to move")
    if disk.exists(target):
        _finish(disk, source, target)
        return
    disk.make_folder(target.parent)
    try:
        disk.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        disk.copy(source, via)
        if not disk.is_same(source, via):
            raise OSError(errno.EIO, "the copy differs from its source") from error
        disk.rename(via, target)
        _remove(disk, source)


def settle(disk: Disk, source: Path, target: Path) -> None:
    """Make a move durable that is found done: the life that did it may have ended before that."""
    for folder in (target.parent, source.parent):
        if disk.exists(folder):
            disk.sync_folder(folder)


def _finish(disk: Disk, source: Path, target: Path) -> None:
    """End a move that a crash broke off after the copy was in place; else the place is taken."""
    if not remove_moved(disk, source, target):
        raise FileExistsError(errno.EEXIST, "the place is taken")


def remove_moved(disk: Disk, source: Path, target: Path) -> bool:
    """Remove what a broken-off move has left at its source; false when the target lacks some of it.

    The removal itself may have been broken off, so the source may hold less than the target. That
    the target is there may be what was broken off: it is made durable before the source goes.
    """
    if not disk.holds(target, source):
        return False
    disk.sync_folder(target.parent)
    _remove(disk, source)
    return True


def _remove(disk: Disk, path: Path) -> None:
    entry = disk.look(path)
    if entry is not None and entry.kind is Kind.FOLDER:
        disk.remove_tree(path)
    else:
        disk.remove_file(path)


def remove_our_documents(disk: Disk, folder: Path) -> None:
    """Remove what an earlier ending of this case wrote beside its files, and nothing of others."""
    for name in OUR_DOCUMENTS:
        if _is_ours(disk, folder / name):
            if name == "error.json":
                disk.remove_file(folder / "error.txt")  # first: after a crash the other tells of it
            disk.remove_file(folder / name)


def _is_ours(disk: Disk, path: Path) -> bool:
    entry = disk.look(path)
    if entry is None or entry.kind is not Kind.FILE:
        return False
    try:
        document = json.loads(disk.read(path, at_most=64 * 1024 * 1024))
    except (ValueError, RecursionError):
        return False
    schema = document.get("schema") if isinstance(document, dict) else None
    return isinstance(schema, str) and schema.startswith("vpe-watcher/")
