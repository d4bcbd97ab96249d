"""Owns the question whether anybody has a file open for writing, asked by a read lease of Linux.

A lease that is granted is given back at once. Never waits, never follows a link, never opens what
is no regular file, and holds no lease while anything else is done.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import stat
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from pathlib import Path

# Where a lease tells the truth (the contract, "When is it ready?"): FUSE grants it in spite of
# another client that writes, NFS and SMB know nothing of one.
TRUSTED = frozenset({"ext4", "xfs", "btrfs", "tmpfs", "overlay"})
_HOW = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Openness(StrEnum):
    """Whether somebody has a file open for writing."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


class Leases:
    """Asks about files by path, where the answer is to be trusted.

    `trusts` says whether it is: a local file system of `TRUSTED` that no other machine writes to.
    """

    def __init__(self, *, trusts: Callable[[], bool] | bool) -> None:
        self._trusts = trusts

    def openness(self, path: Path) -> Openness:
        """Tell whether a regular file is open for writing; `UNKNOWN` for whatever else is there.

        A file that this process itself has open for writing is `OPEN`, too.
        """
        if not (self._trusts if isinstance(self._trusts, bool) else self._trusts()):
            return Openness.UNKNOWN
        try:
            descriptor = os.open(path, _HOW)
        except BlockingIOError:
            return Openness.OPEN  # somebody's write lease: he was asked just now to give it up
        except OSError:
            return Openness.UNKNOWN
        try:
            return ask(descriptor)
        finally:
            os.close(descriptor)


def ask(descriptor: int) -> Openness:
    """Tell whether anybody has the file of a descriptor, itself open for reading, open for writing.

    `UNKNOWN` where the system does not say: another's file without CAP_LEASE, no such file system.
    Source: fcntl(2), "Leases". Writers that open it within the microseconds of the lease wait for
    its end; one that opens without waiting (O_NONBLOCK) is told to try again.
    """
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return Openness.UNKNOWN
    try:
        # Such a writer makes the system send us a signal: SIGIO, which would end us, unless told
        # otherwise. SIGURG is ignored by default, and nobody else here uses it.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
    except OSError:
        return Openness.UNKNOWN
    control = _control()
    failed = control(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    if not failed:
        control(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return Openness.CLOSED
    return Openness.OPEN if ctypes.get_errno() == errno.EAGAIN else Openness.UNKNOWN


def is_written_whole(descriptor: int) -> bool:
    """Tell whether every page of a file was written, as far as its file system says.

    A copier that makes the full size first and closes the file in between leaves holes, or blocks
    that were reserved and never written, which read as zeros. Source: lseek(2), SEEK_HOLE.
    """
    size, before = os.fstat(descriptor).st_size, os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        return size == 0 or os.lseek(descriptor, 0, os.SEEK_HOLE) >= size
    except OSError:
        return True  # this file system does not say
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)


@cache
def _control() -> Callable[[int, int, int], int]:
    """Return fcntl(2) as a call that keeps the interpreter's lock.

    Between two calls of `fcntl.fcntl` another busy thread gets it, and a lease that should last a
    microsecond lasted up to 56 ms, for which a writer had to wait.
    """
    function = ctypes.PyDLL(None, use_errno=True).fcntl
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int)
    function.restype = ctypes.c_int
    call: Callable[[int, int, int], int] = function
    return call
