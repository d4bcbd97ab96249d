"""Free space: intake pauses before a disk is full, and goes on by itself."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from vpe_watcher.adapters.files import Disk
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.flow.breakers import Breakers

PERIOD_S = 5.0
KIND = "free space"
MEBIBYTE = 1024 * 1024


class DiskGuard:
    """Watches the file systems of the four folders and the state file."""

    def __init__(
        self, disk: Disk, breakers: Breakers, *, folders: Iterable[Path], min_free: int
    ) -> None:
        self._disk = disk
        self._breakers = breakers
        self._folders = tuple(dict.fromkeys(folders))
        self._min_free = min_free
        self._next_at = 0.0

    def check_now_and_then(self, now: float) -> None:
        """Check every few seconds of monotonic `now`."""
        if now >= self._next_at:
            self._next_at = now + PERIOD_S
            self.check()

    def check(self) -> None:
        """Open the breaker `disk` when space runs low, close it when there is enough."""
        lowest: int | None = None
        for folder in self._folders if self._min_free else ():
            with suppress(OSError):
                free = self._disk.free_bytes(folder)
                lowest = free if lowest is None else min(lowest, free)
        if lowest is None or lowest >= self._min_free:
            self._breakers.close("disk", kind=KIND)
        elif not self._breakers.is_open("disk"):
            self._breakers.open(self._fault(lowest), kind=KIND)

    def _fault(self, free: int) -> EnvironmentFault:
        return EnvironmentFault(
            f"Only {free // MEBIBYTE} MiB are free, less than min_free "
            f"({self._min_free // MEBIBYTE} MiB).",
            code="disk_low",
            hint="Free space on the disks of inbox, outbox, archive, failed and the state file; "
            "taking scans goes on by itself.",
            breaker="disk",
        )
