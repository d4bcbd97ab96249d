"""Durable disk verbs: look, rename without replacing, write and make it stay, copy and verify.

Every verb is one public method, so that a test can fail or crash at each. `OSError` leaves as it
is; `blamed` turns it into the error of the folder's breaker. Symbolic links are never followed
below a root; sockets, FIFOs and devices are never opened.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.model import FileMark, Kind

BLOCK_BYTES = 1024 * 1024
RENAME_NOREPLACE = 1
AT_FDCWD = -100
TEMPORARY_SUFFIX = ".part"


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a folder holds in all its files, and what its removal gives back (bytes).

    That is less where a file has other names elsewhere, or holes.
    """

    size: int = 0
    freed: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A directory entry as one look shows it; `mark` belongs to the entry itself, not a target."""

    name: str
    kind: Kind
    mark: FileMark


class Disk:
    """The verbs. Without state; a path is always absolute."""

    # --- looking ---------------------------------------------------------------------------------

    def look(self, path: Path) -> Entry | None:
        """Return what lies at a path, without following a link; None when nothing does."""
        try:
            found = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Entry(path.name, _kind(found.st_mode), _mark(found))

    def exists(self, path: Path) -> bool:
        """Tell whether anything lies at a path."""
        return self.look(path) is not None

    def listing(self, folder: Path) -> list[Entry]:
        """List a folder's entries, sorted by name; an entry that goes meanwhile is left out."""
        entries = []
        with os.scandir(folder) as found:
            for item in found:
                with suppress(FileNotFoundError):
                    status = item.stat(follow_symlinks=False)
                    entries.append(Entry(item.name, _kind(status.st_mode), _mark(status)))
        return sorted(entries, key=lambda entry: entry.name)

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, unsorted: much faster than `listing` on a network share."""
        return os.listdir(folder)  # noqa: PTH208 - names are all that is asked for

    def tree(self, folder: Path) -> list[tuple[str, Entry]]:
        """List all that is below a folder as (path relative to it, entry), folders first."""
        found: list[tuple[str, Entry]] = []
        pending = [""]
        while pending:
            prefix = pending.pop()
            for entry in self.listing(folder / prefix):
                relative = f"{prefix}{entry.name}"
                found.append((relative, entry))
                if entry.kind is Kind.FOLDER:
                    pending.append(f"{relative}/")
        return found

    def footprint(self, folder: Path) -> Footprint:
        """Return how big all that is below a folder is; no link is followed."""
        size = freed = 0
        for above, _, names in os.walk(folder):
            for name in names:
                with suppress(FileNotFoundError):
                    status = (Path(above) / name).lstat()
                    size += status.st_size
                    if status.st_nlink == 1:  # a share may know no blocks
                        freed += status.st_blocks * 512 or status.st_size
        return Footprint(size, freed)

    def open(self, path: Path) -> BinaryIO:
        """Open a regular file for reading; anything else is refused without blocking.

        Raises:
            OSError: as usual; ELOOP for a link, EINVAL for what is no regular file.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file")
        return os.fdopen(descriptor, "rb")

    def read(self, path: Path, *, at_most: int = 1024 * 1024) -> bytes:
        """Return a small file's content, cut at `at_most` bytes."""
        with self.open(path) as file:
            return file.read(at_most)

    def digest(self, path: Path) -> str:
        """Return the SHA-256 (hex) of a file's content."""
        sha256 = hashlib.sha256()
        with self.open(path) as file:
            while block := file.read(BLOCK_BYTES):
                sha256.update(block)
        return sha256.hexdigest()

    def free_bytes(self, folder: Path) -> int:
        """Return the bytes that an ordinary user may still write on a folder's file system."""
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

    # --- changing --------------------------------------------------------------------------------

    def make_folder(self, folder: Path, *, mode: int = 0o777) -> None:
        """Make a folder and those above it, durably; fine when it is there."""
        if folder.is_dir():
            return
        self.make_folder(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(mode=mode)
        try:
            self.sync_folder(folder.parent)
        except OSError:
            with suppress(OSError):
                folder.rmdir()  # found there again, it would pass for durable
            raise

    def rename(self, source: Path, target: Path) -> None:
        """Rename durably, and never replace: both folders are synced.

        Raises:
            FileExistsError: something lies at the target.
            OSError: as `rename(2)`; EXDEV across file systems.
        """
        self.rename_unsynced(source, target)
        self.sync_folder(target.parent)
        if source.parent != target.parent:
            self.sync_folder(source.parent)

    def rename_unsynced(self, source: Path, target: Path) -> None:
        """Rename like `rename`, and leave the folders to be synced by whoever renames many."""
        _rename_noreplace(source, target)

    def write(self, path: Path, content: bytes) -> None:
        """Write a small file so that it is there whole or not at all, replacing an earlier one."""
        temporary = path.with_name(draft_name(path.name))
        self.create(temporary, content)
        self.replace(temporary, path)

    def create(self, path: Path, content: bytes) -> None:
        """Write a file in place and sync it; for temporary names only. Removed if that fails."""
        with _synced(path) as file:
            file.write(content)

    def replace(self, source: Path, target: Path) -> None:
        """Rename durably over a file of ours."""
        source.replace(target)
        self.sync_folder(target.parent)

    @contextmanager
    def writing(self, path: Path) -> Iterator[BinaryIO]:
        """Open a temporary file for a stream; it is synced when the block ends well.

        What the disk refuses to hold is removed.
        """
        with _synced(path) as file:
            yield file

    def sync_folder(self, folder: Path) -> None:
        """Make a folder's entries durable."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # FUSE and SMB know no such thing
                raise
        finally:
            os.close(descriptor)

    def remove_file(self, path: Path) -> None:
        """Remove one file durably; fine when it is gone."""
        try:
            path.unlink()
        except FileNotFoundError:
            return
        self.sync_folder(path.parent)

    def remove_tree(self, folder: Path) -> None:
        """Remove a folder of ours with all that is in it; fine when it is gone.

        Folders in it that may not be written to, as people's may be, are made so first.
        """
        if folder.is_symlink() or not folder.is_dir():
            return
        try:
            shutil.rmtree(folder)
        except PermissionError:
            _make_writable(folder)
            shutil.rmtree(folder)
        self.sync_folder(folder.parent)

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file or a tree durably to a place of ours; what lies there from before goes.

        Sockets, FIFOs and devices have no content and are left out; links stay links. A copy that
        the disk refuses to hold is removed.
        """
        self.remove_tree(target)
        self.make_folder(target.parent)
        try:
            _copy(source, target)
            for folder, _, names in os.walk(target):
                for name in names:
                    _sync_file(Path(folder) / name)
                self.sync_folder(Path(folder))
            if target.is_file():
                _sync_file(target)
        except OSError:
            _give_back(target)
            raise

    def is_same(self, one: Path, other: Path) -> bool:
        """Tell whether two files or trees hold the same names and bytes."""
        ours, theirs = self._contents(one), self._contents(other)
        if ours.keys() != theirs.keys():
            return False
        return all(
            entry.kind is theirs[name].kind
            and (entry.kind is not Kind.FILE or self._same_bytes(one / name, other / name))
            for name, entry in ours.items()
        )

    def holds(self, whole: Path, part: Path) -> bool:
        """Tell whether every file that is left of one tree lies in another with the same bytes."""
        ours, theirs = self._contents(whole), self._contents(part)
        return all(
            name in ours
            and entry.kind is ours[name].kind
            and (entry.kind is not Kind.FILE or self._same_bytes(whole / name, part / name))
            for name, entry in theirs.items()
        )

    def _contents(self, path: Path) -> dict[str, Entry]:
        entry = self.look(path)
        if entry is not None and entry.kind is not Kind.FOLDER:
            return {"": entry}
        found = dict(self.tree(path))
        return {name: below for name, below in found.items() if below.kind is not Kind.OTHER}

    def _same_bytes(self, one: Path, other: Path) -> bool:
        return self.digest(one) == self.digest(other)


@contextmanager
def _synced(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that is synced at the end, or else gone.

    A full disk gets its space back. After a failed sync the kernel takes the pages for clean: a
    second sync would succeed without having written them, so nothing may build on this file.
    """
    try:
        with path.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        _give_back(path)
        raise


def _give_back(path: Path) -> None:
    """Remove what could not be written whole, if the disk lets us; the next attempt replaces it."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def draft_name(name: str) -> str:
    """Return the name under which a file of ours is written before it gets its own."""
    return f".{name[:100]}{TEMPORARY_SUFFIX}"


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return Kind.FILE
    return Kind.FOLDER if stat.S_ISDIR(mode) else Kind.OTHER


def _mark(status: os.stat_result) -> FileMark:
    return FileMark(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _copy(source: Path, target: Path) -> None:
    """Copy a file, a link or a tree; what has no content is left out."""
    mode = source.lstat().st_mode
    if stat.S_ISDIR(mode):
        target.mkdir()
        for path in source.iterdir():
            _copy(path, target / path.name)
    elif stat.S_ISREG(mode) or stat.S_ISLNK(mode):
        shutil.copyfile(source, target, follow_symlinks=False)
    else:
        return
    _copy_state(source, target, mode)


def _copy_state(source: Path, target: Path, mode: int) -> None:
    """Copy times, attributes and mode; without the bits that a service may not set.

    A folder made in one with setgid has that bit, and RestrictSUIDSGID= of the unit forbids to set
    it by name.
    """
    try:
        shutil.copystat(source, target, follow_symlinks=False)
    except PermissionError:
        if stat.S_ISLNK(mode):
            raise
        target.chmod(stat.S_IMODE(mode) & 0o777)


def _make_writable(folder: Path) -> None:
    """Let the owner write to a folder and all below it; no link is followed.

    A setgid bit is dropped: the unit of the service forbids to set it, also where it is set.
    """
    folder.chmod(folder.stat().st_mode & 0o777 | stat.S_IRWXU)
    for above, names, _ in os.walk(folder):
        for path in (Path(above) / name for name in names):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o777 | stat.S_IRWXU)


def _sync_file(path: Path) -> None:
    if path.is_symlink() or not path.is_file():
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename_noreplace(source: Path, target: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    renameat2 = getattr(libc, "renameat2", None)
    if renameat2 is not None:
        result = renameat2(
            AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), RENAME_NOREPLACE
        )
        if result == 0:
            return
        number = ctypes.get_errno()
        if number not in {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}:
            raise OSError(number, os.strerror(number), str(source), None, str(target))
    # This file system knows no RENAME_NOREPLACE: our names are reserved, so the gap is small.
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    source.rename(target)


_HINTS = {
    errno.ENOSPC: "Free space on this file system; work goes on by itself.",
    errno.EDQUOT: "The quota of this file system is used up: free space or raise it.",
    errno.EROFS: "The file system is mounted read-only: look at its disk, then remount it.",
    errno.EACCES: "Give the service's user read and write permission on this folder.",
    errno.EPERM: "Give the service's user read and write permission on this folder.",
    errno.EXDEV: "Something is mounted within this folder: it must be one file system throughout.",
    errno.ENOENT: "Make the folder, or mount what should be there.",
    errno.EIO: "The disk reports an input/output error: look at the system log and the disk.",
}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_CLOSED = {errno.EACCES, errno.EPERM}


@contextmanager
def blamed(breaker: str, part: str = "") -> Iterator[None]:
    """Turn an `OSError` into the environment fault of a folder; a full disk blames `disk`.

    `part` names what of ours in that folder is used: it may be closed while the folder is not.
    """
    try:
        yield
    except OSError as error:
        raise fault_of(error, breaker, part) from error


def fault_of(error: OSError, breaker: str, part: str = "") -> EnvironmentFault:
    """Return the environment fault for an `OSError`; the message holds no path but `part`."""
    number = error.errno or 0
    name = errno.errorcode.get(number, "EUNKNOWN")
    what = os.strerror(number).lower() if number else "unknown error"
    where = f"{part} in that of {breaker}" if part and number in _CLOSED else f"of {breaker}"
    return EnvironmentFault(
        f"The folder {where} cannot be used: {what} ({name}).",
        code=f"folder_{name.lower()}",
        hint=_HINTS.get(number, "Look at this folder, its mount and the system log."),
        breaker="disk" if number in _FULL else breaker,
    )
