"""The reserve beside the state file: space that a full disk gives back, to record ends with.

Owns `<state_file>.reserve`: nobody else opens it, and nothing is ever read from it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# A WAL grows to 4 MiB (1000 pages) before a checkpoint lets it begin anew; as much again holds the
# rows of the jobs in flight. On a small disk an eighth must do.
SIZE_BYTES = 8 * 1024 * 1024
SHARE_OF_DISK = 8


class Reserve:
    """Held while there is room, given up when a commit meets a full disk. Thread-safe."""

    def __init__(self, state_file: Path) -> None:
        """Prepare; `keep` makes it."""
        self.path = state_file.with_name(f"{state_file.name}.reserve")
        self.is_spent = False  # until there is room for a new one
        self.on_release: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def release(self) -> None:
        """Give the space back: the disk is full. `on_release` is told each time."""
        with self._lock:
            self._release()
        self.on_release()

    def make_way(self) -> None:
        """Release it if whoever opens the state file now would find no room for its WAL."""
        with self._lock, suppress(OSError):
            free, size = self._space()
            if self.path.exists() and free < size:
                self._release()

    def keep(self) -> None:
        """Make it if there is room for twice as much, so that this itself fills no disk."""
        with self._lock, suppress(OSError):
            free, size = self._space()
            if not self._is_whole(size):
                if free < 2 * size:
                    return
                self._make(size)
            self.is_spent = False

    def _release(self) -> None:
        self.is_spent = True
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _space(self) -> tuple[int, int]:
        """Return what is free and what the reserve should have, in bytes."""
        found = os.statvfs(self.path.parent)
        total = found.f_blocks * found.f_frsize
        return found.f_bavail * found.f_frsize, min(SIZE_BYTES, total // SHARE_OF_DISK)

    def _is_whole(self, size: int) -> bool:
        """Tell whether it is there; one that was broken off is not."""
        try:
            return self.path.lstat().st_size == size
        except FileNotFoundError:
            return False

    def _make(self, size: int) -> None:
        self.path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            self.path.unlink()
            raise
        finally:
            os.close(descriptor)
