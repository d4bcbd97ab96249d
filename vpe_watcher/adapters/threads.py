"""Owns the question what a thread of this process does: whether it computes, what it waits for."""

from __future__ import annotations

import platform
from pathlib import Path

_TASKS = Path("/proc/self/task")
# The number of futex(2): whoever is in it waits for another thread. Source: syscalls(2).
_FUTEX = {"x86_64": "202", "aarch64": "98", "riscv64": "98", "ppc64le": "221", "s390x": "238"}


def busy_ns(native_id: int) -> int | None:
    """Return the nanoseconds for which a thread has had a processor; None where nobody tells.

    A thread that waits in a call of the system gets none. Source: proc(5), schedstat.
    """
    try:
        return int((_TASKS / str(native_id) / "schedstat").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def waits_for_a_thread(native_id: int) -> bool:
    """Tell whether a thread waits for another one, as for a lock; false where nobody tells.

    One that asks a folder, a host or the state file waits in another call. Source: proc(5).
    """
    try:
        call = (_TASKS / str(native_id) / "syscall").read_text().partition(" ")[0]
    except OSError:
        return False
    return call == _FUTEX.get(platform.machine())
