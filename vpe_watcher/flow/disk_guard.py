"""Free space: intake pauses before a disk is full, and goes on by itself."""

from __future__ import annotations

from collections.abc import Iterable

from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.flow.breakers import Breakers

KIND = "free space"
MEBIBYTE = 1024 * 1024


class DiskGuard:
    """Judges what is free on the file systems of the four folders and the state file."""

    def __init__(self, breakers: Breakers, *, min_free: int) -> None:
        self._breakers = breakers
        self._min_free = min_free

    def judge(self, free_bytes: Iterable[int]) -> None:
        """Open the breaker `disk` when space runs low somewhere, close it when there is enough."""
        lowest = min(free_bytes, default=self._min_free)
        if lowest >= self._min_free:
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
