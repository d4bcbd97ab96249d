"""Free space: intake pauses before a disk is full, and goes on by itself."""

from __future__ import annotations

from collections.abc import Iterable

from vpe_watcher.adapters.reserve import Reserve
from vpe_watcher.core.breakers import MEASURED
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.sizes import too_few
from vpe_watcher.flow.breakers import Breakers


class DiskGuard:
    """Judges what is free on the file systems of the four folders and the state file."""

    def __init__(self, breakers: Breakers, *, min_free: int, reserve: Reserve) -> None:
        self._breakers = breakers
        self._min_free = min_free
        self._reserve = reserve
        # At once: the next commit succeeds, and would close the breaker until the next measurement.
        reserve.on_release = lambda: self._set("state", _spent())

    def use(self, *, min_free: int) -> None:
        """Go by another limit (bytes) from the next measurement on."""
        self._min_free = min_free

    def judge(self, free_bytes: Iterable[int]) -> None:
        """Open the breaker `disk` when space runs low somewhere, close it when there is enough.

        The same for `state`, while there is no room for the reserve that had to be given up.
        """
        lowest = min(free_bytes, default=self._min_free)
        self._set("disk", None if lowest >= self._min_free else self._fault(lowest))
        self._reserve.keep()
        self._set("state", _spent() if self._reserve.is_spent else None)

    def _set(self, name: str, fault: EnvironmentFault | None) -> None:
        if fault is None:
            self._breakers.close(name, kind=MEASURED)
        elif not self._breakers.was_met(name, MEASURED):
            self._breakers.open(fault, kind=MEASURED)

    def _fault(self, free: int) -> EnvironmentFault:
        found, wanted = too_few(free, self._min_free)
        return EnvironmentFault(
            f"Only {found} are free, less than min_free ({wanted}).",
            code="disk_low",
            hint="Free space on the disks of inbox, outbox, archive, failed and the state file; "
            "taking scans goes on by itself.",
            breaker="disk",
        )


def _spent() -> EnvironmentFault:
    return EnvironmentFault(
        "The disk of the state file is full: what is under way is recorded in its reserve.",
        code="state_reserve_used",
        hint="Free space there; taking and sending scans goes on by itself.",
        breaker="state",
    )
