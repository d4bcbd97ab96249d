"""Copies of a state file, made by SQLite beside running writers, whole or not at all."""

from __future__ import annotations

import glob
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from vpe_watcher.core.errors import ConfigError, Refusal

UNFINISHED = ".unfinished"


def copy_state(source: Path, target: Path, *, is_outdated: bool = False) -> None:
    """Copy a state file durably, for its owner's eyes only; it is read back before it is named.

    `is_outdated` sets the copy's count of starts one back: whoever puts it in the place of the
    state file is told to `recover`, for the folders know more than a copy.

    Raises:
        FileExistsError: something lies at the target.
        Refusal: the source cannot be copied, or the copy is not sound.
        OSError: the target's folder refuses.
    """
    if os.path.lexists(target):
        raise FileExistsError(target)
    draft = target.with_name(f".{target.name}{UNFINISHED}")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        _copy(source, draft, is_outdated=is_outdated)
        draft.chmod(0o600)
        _name(draft, target)
        _sync_folder(target.parent)
    except sqlite3.Error as error:
        raise Refusal(
            f"The state file cannot be copied ({getattr(error, 'sqlite_errorname', error)}).",
            code="copy_failed",
            hint="Look at the disks of both; a damaged state file needs `vpe-watcher recover`.",
        ) from error
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with suppress(OSError):
                draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def keep_before_migration(path: Path, version: int) -> Path:
    """Copy a state file of an earlier version to `<name>.before-<version>`, or the next free name.

    Raises:
        ConfigError: there is no room for it.
    """
    target, number = path.with_name(f"{path.name}.before-{version}"), 1
    while os.path.lexists(target):
        number += 1
        target = path.with_name(f"{path.name}.before-{version}.{number}")
    try:
        copy_state(path, target)
        if os.geteuid() == 0:  # a command of root's: whoever owns the file may need the copy
            os.chown(target, path.stat().st_uid, path.stat().st_gid)
    except (OSError, Refusal) as error:
        raise ConfigError(
            "The state file is of an earlier version, and no copy of it can be kept.",
            code="no_room_for_copy",
            hint="Make room in the folder of the state file, and let the service's user write "
            "there; then start again.",
        ) from error
    return target


def newest_copy_of(path: Path, *, at_most: int, application_id: int) -> Path | None:
    """Find what `keep_before_migration` kept last of a version that this program can open."""
    found = []
    for copy in path.parent.glob(f"{glob.escape(path.name)}.before-*"):
        with suppress(sqlite3.Error, OSError):
            versions = _versions_of(copy)
            if versions[0] == application_id and 0 < versions[1] <= at_most:
                found.append((copy.stat().st_mtime_ns, copy))
    return max(found)[1] if found else None


def _versions_of(copy: Path) -> tuple[int, int]:
    """Return application id and schema version of a copy, and leave it as it is."""
    uri = f"{copy.absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        application_id = connection.execute("PRAGMA application_id").fetchone()[0]
        return int(application_id), int(connection.execute("PRAGMA user_version").fetchone()[0])


def _copy(source: Path, draft: Path, *, is_outdated: bool) -> None:
    uri = f"{source.absolute().as_uri()}?mode=rw"
    with (
        closing(sqlite3.connect(uri, uri=True)) as origin,
        closing(sqlite3.connect(draft, isolation_level=None)) as copy,
    ):
        copy.execute("PRAGMA synchronous = FULL")
        origin.backup(copy)  # in one step: a snapshot, whatever writers do meanwhile
        copy.execute("PRAGMA journal_mode = DELETE")
        if is_outdated:
            copy.execute("UPDATE daemon SET starts = starts - 1 WHERE starts > 0")
        found = copy.execute("PRAGMA quick_check(1)").fetchall()
        if found != [("ok",)]:
            raise sqlite3.DatabaseError("the copy is not sound")


def _name(draft: Path, target: Path) -> None:
    """Give a finished copy its name, and never replace."""
    try:
        os.link(draft, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        draft.rename(target)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
