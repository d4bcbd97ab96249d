"""Free space: intake pauses before a disk is full, and goes on by itself."""

from __future__ import annotations

from collections.abc import Mapping

from vpe_watcher.adapters.reserve import Reserve
from vpe_watcher.core.breakers import MEASURED
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.sizes import too_few
from vpe_watcher.flow.breakers import Breakers

NAMED = 4
NOTABLE = 8  # an eighth more or less is worth saying: `status` is a row in a file on such a disk


class DiskGuard:
    """Judges what is free on the file systems of the four folders and the state file."""

    def __init__(self, breakers: Breakers, *, min_free: int, reserve: Reserve) -> None:
        self._breakers = breakers
        self._min_free = min_free
        self._reserve = reserve
        self._low: Mapping[str, int] = {}  # as it is shown
        self._told: frozenset[str] = frozenset()  # which places, since the breaker opened
        # At once: the next commit succeeds, and would close the breaker until the next measurement.
        reserve.on_release = lambda: self._set("state", _spent())

    def use(self, *, min_free: int) -> None:
        """Go by another limit (bytes) from the next measurement on."""
        self._min_free = min_free

    def judge(self, free_bytes: Mapping[str, int]) -> None:
        """Open the breaker `disk` when space runs low somewhere, close it when there is enough.

        What is free is given by the name of the place. The same for `state`, while there is no
        room for the reserve that had to be given up.
        """
        low = {name: free for name, free in free_bytes.items() if free < self._min_free}
        self._set("disk", self._fault(low) if low else None)
        self._restate(low)
        self._reserve.keep()
        self._set("state", _spent() if self._reserve.is_spent else None)

    def _set(self, name: str, fault: EnvironmentFault | None) -> None:
        if fault is None:
            self._breakers.close(name, kind=MEASURED)
        elif not self._breakers.was_met(name, MEASURED):
            self._breakers.open(fault, kind=MEASURED)

    def _restate(self, low: Mapping[str, int]) -> None:
        """Let the breaker say what is true now: another place is told once, a number only shown."""
        told, self._told = self._told, (self._told | low.keys()) if low else frozenset()
        if not told or not low:
            self._low = low
        elif self._told != told:
            self._low = low
            self._breakers.open(self._fault(low), kind=MEASURED)
        elif low.keys() != self._low.keys() or _is_notable(low, self._low):
            self._low = low
            self._breakers.restate(self._fault(low))

    def _fault(self, low: Mapping[str, int]) -> EnvironmentFault:
        found, wanted = too_few(min(low.values()), self._min_free)
        names = sorted(low)
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return EnvironmentFault(
            f"Only {found} are free, less than min_free ({wanted}), for "
            f"{', '.join(names[:NAMED])}{more}.",
            code="disk_low",
            hint="Free space on the disks of inbox, outbox, archive, failed and the state file; "
            "taking scans goes on by itself.",
            breaker="disk",
        )


def _is_notable(low: Mapping[str, int], before: Mapping[str, int]) -> bool:
    lowest = min(before.values())
    return abs(min(low.values()) - lowest) * NOTABLE > lowest


def _spent() -> EnvironmentFault:
    what = "The disk of the state file took no write, as when it is full: what is under way is"
    hint = "Free space there; if there is enough, the disk fails (`dmesg`) or the quota is used up."
    return EnvironmentFault(
        f"{what} recorded in its reserve.",
        code="state_reserve_used",
        hint=f"{hint} Taking and sending scans goes on by itself.",
        breaker="state",
    )
