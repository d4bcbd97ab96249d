"""Owns the question what a thread of this process has done: whether it computes or only waits."""

from __future__ import annotations

from pathlib import Path

_TASKS = Path("/proc/self/task")


def busy_ns(native_id: int) -> int | None:
    """Return the nanoseconds for which a thread has had a processor; None where nobody tells.

    A thread that waits in a call of the system gets none. Source: proc(5), schedstat.
    """
    try:
        return int((_TASKS / str(native_id) / "schedstat").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
