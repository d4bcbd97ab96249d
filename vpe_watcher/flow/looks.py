"""One look at an inbox: what lies in it, down to where the rules say that nobody looks.

Used by the inbox itself and by `explain`, so that both see the same. Judges nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from vpe_watcher.adapters.files import Disk, Entry
from vpe_watcher.core.grouping import Rules, Seen, ignored_by
from vpe_watcher.core.model import Kind

REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.ENAMETOOLONG})


def seen_in(
    disk: Disk,
    folder: Path,
    rules: Rules,
    *,
    wants: Callable[[Entry], bool],
    refused: Callable[[str, OSError], None],
) -> list[Seen]:
    """Return what is wanted of an inbox's entries, folders with all that is below them.

    `refused` is called for a folder directly in the inbox that may not be looked into, or goes
    deeper than paths reach.
    """
    found: list[Seen] = []
    for entry in disk.listing(folder):
        if not wants(entry):
            continue
        found.append(_seen(entry.name, entry, rules))
        if entry.kind is Kind.FOLDER and not _is_closed(entry, rules):
            try:
                found += _below(disk, folder, entry.name, rules)
            except OSError as error:
                if error.errno not in REFUSED:
                    raise
                refused(entry.name, error)
    return found


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
