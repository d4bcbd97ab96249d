"""One daemon a state file: a lock on `<state_file>.lock`, which holds the daemon's pid.

Locked bytes far behind its end tell what is wrong with the state file: they need no disk.
And one at a time who removes from the archive or from failed, beside a daemon or without.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vpe_watcher.core.errors import ConfigError, TryAgainLater

PID_BYTES = 32
# What a daemon may have to tell that the state file cannot hold; the order is for all versions.
TOLD = (
    *("state_unusable", "state_full", "state_cannot_open", "state_damaged", "state_reserve_used"),
    "state_gone",
)
TOLD_FROM, TOLD_APART = 1 << 48, 1 << 40  # below each lies the moment, in seconds
FLOCK = "hhqqi0q"  # struct flock: type, whence, start, length, pid
SICK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


def lock_path(state_file: Path) -> Path:
    """Return the lock file of a state file; a link to it has the same, as SQLite's files have."""
    found = Path(os.path.realpath(state_file))
    return found.with_name(f"{found.name}.lock")


class DaemonLock:
    """Held for the life of the daemon; the system releases it however the process ends."""

    def __init__(self, state_file: Path) -> None:
        self._path = lock_path(state_file)
        self._descriptor: int | None = None
        self._told: tuple[str, int] | None = None

    def tell(self, code: str | None, since: float = 0.0) -> None:
        """Let `told_by` know what is wrong with the state file since a moment; None: nothing."""
        told = (code, int(since)) if code in TOLD else None
        if self._descriptor is None or told == self._told:
            return
        with suppress(OSError):  # out of locks (ENOLCK): the next call tries again
            self._mark(fcntl.F_UNLCK, TOLD_FROM, 0)
            self._told = None
            if told is not None:
                at = TOLD_FROM + TOLD.index(told[0]) * TOLD_APART + told[1] % TOLD_APART
                self._mark(fcntl.F_WRLCK, at, 1)
            self._told = told

    def _mark(self, kind: int, start: int, size: int) -> None:
        if self._descriptor is not None:
            asked = struct.pack(FLOCK, kind, os.SEEK_SET, start, size, 0)
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, asked)

    def acquire(self) -> None:
        """Take the lock and write our pid into it.

        Raises:
            TryAgainLater: another daemon holds it (the message names its pid), or the disk is full,
                read-only or sick.
            ConfigError: the lock file cannot be made.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in SICK:
                raise _unwritable(self._path, error) from error
            raise ConfigError(
                f"The lock file {self._path} cannot be made: {error.strerror}.",
                code="lock_unusable",
                hint="Give the service's user write permission on the folder of state_file.",
            ) from error
        if not _locked(descriptor):
            pid = _read_pid(descriptor)
            os.close(descriptor)
            raise TryAgainLater(
                f"Another vpe-watcher (pid {pid or 'unknown'}) uses this state file.",
                code="already_running",
                hint="Stop that one first, or give this one a state_file of its own.",
            )
        self._descriptor = descriptor
        self._write_pid(descriptor)

    def _write_pid(self, descriptor: int) -> None:
        """Write over the pid of the one before: on a full disk that needs no space."""
        try:
            line = f"{os.getpid()}\n".encode()
            os.pwrite(descriptor, line.ljust(PID_BYTES), 0)
            os.ftruncate(descriptor, len(line))
        except OSError as error:
            self.release()
            raise _unwritable(self._path, error) from error

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _unwritable(path: Path, error: OSError) -> TryAgainLater:
    return TryAgainLater(
        f"The lock file {path} cannot be written: {error.strerror}.",
        code="lock_unwritable",
        hint="Look at the disk of the state file: is it full, read-only or failing?",
    )


def _locked(descriptor: int) -> bool:
    """Try for half a second: a command that asks who holds the lock holds it for a moment."""
    for _ in range(10):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


@contextmanager
def removing(state_file: Path, root: str) -> Iterator[bool]:
    """Let one process at a time remove from a root; yields whether it is this one.

    Raises:
        TryAgainLater: the lock file cannot be made.
    """
    path = removal_lock_path(state_file, root)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        yield _locked(descriptor)
    finally:
        os.close(descriptor)


def removal_lock_path(state_file: Path, root: str) -> Path:
    """Return the lock file of those who remove from a root."""
    return lock_path(state_file).with_suffix(f".{root}.lock")


def lock_holder(state_file: Path) -> int | None:
    """Return the pid of the daemon that runs on a state file; None when none does."""
    try:
        descriptor = os.open(lock_path(state_file), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read_pid(descriptor)
    finally:
        os.close(descriptor)
    return None


def told_by(state_file: Path) -> tuple[str, float] | None:
    """Return what the running daemon says is wrong with its state file, and since when (epoch)."""
    asked = struct.pack(FLOCK, fcntl.F_RDLCK, os.SEEK_SET, TOLD_FROM, 0, 0)
    try:
        descriptor = os.open(lock_path(state_file), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    kind, _, start, _, _ = struct.unpack(FLOCK, found)
    number, since = divmod(start - TOLD_FROM, TOLD_APART)
    is_told = kind != fcntl.F_UNLCK and 0 <= number < len(TOLD)
    return (TOLD[number], float(since)) if is_told else None


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, PID_BYTES, 0).strip()
    return int(text) if text.isdigit() else None
