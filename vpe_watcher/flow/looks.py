"""One look at an inbox: what lies in it, down to where the rules say that nobody looks.

Used by the inbox itself and by `explain`, so that both see the same. Judges nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from vpe_watcher.adapters.files import Disk, Entry
from vpe_watcher.core.grouping import Rules, Seen, ignored_by
from vpe_watcher.core.model import Kind
from vpe_watcher.flow.places import CLAIM_ADDS

REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.ENAMETOOLONG})
PATH_AT_MOST = 4095  # bytes, of every call of the system
TOO_LONG = (
    "its paths are too long: use shorter names, or take the inner folders out of it "
    f"({CLAIM_ADDS} bytes of the {PATH_AT_MOST} that a path may have are the daemon's)"
)


def seen_in(
    disk: Disk,
    folder: Path,
    rules: Rules,
    *,
    wants: Callable[[Entry], bool],
    refused: Callable[[str, OSError], None],
) -> list[Seen]:
    """Return what is wanted of an inbox's entries, folders with all that is below them.

    `refused` is called for a folder directly in the inbox that may not be looked into, and for what
    goes deeper than paths reach, now or once it is claimed.
    """
    found: list[Seen] = []
    longest = PATH_AT_MOST - (0 if rules.leaves_in_place else CLAIM_ADDS)
    room = longest - len(os.fsencode(folder)) - 1
    for entry in disk.listing(folder):
        if not wants(entry):
            continue
        own = [_seen(entry.name, entry, rules)]
        if entry.kind is Kind.FOLDER and not _is_closed(entry, rules):
            try:
                own += _below(disk, folder, entry.name, rules)
            except OSError as error:
                if error.errno not in REFUSED:
                    raise
                refused(entry.name, error)
        if any(_is_longer(seen.path, room) for seen in own):
            refused(entry.name, OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)))
        found += own
    return found


def _is_longer(path: str, size_bytes: int) -> bool:
    return len(path) * 4 > size_bytes and len(os.fsencode(path)) > size_bytes


def _is_closed(entry: Entry, rules: Rules) -> bool:
    return entry.name in rules.inner_roots or bool(ignored_by(entry.name, entry.kind, rules))


def _below(disk: Disk, folder: Path, name: str, rules: Rules) -> list[Seen]:
    try:
        below = disk.tree(folder / name)
    except (FileNotFoundError, NotADirectoryError):
        return []  # it went while we looked
    return [_seen(f"{name}/{path}", entry, rules) for path, entry in below]


def _seen(path: str, entry: Entry, rules: Rules) -> Seen:
    return Seen(path, entry.kind, entry.mark.comparable(trusts_inodes=rules.trusts_inodes))
