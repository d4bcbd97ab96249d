"""Free space and the notes on held cases, on a thread of their own.

Both ask folders that may lie on a share which hangs: then this thread waits, and nobody else.
"""

from __future__ import annotations

from vpe_watcher.app.assembly import Clock, Parts, Stopping
from vpe_watcher.flow.breakers import Log
from vpe_watcher.flow.disk_guard import DiskGuard
from vpe_watcher.flow.notes import HeldNotes

PERIOD_S = 0.5


class Housekeeper:
    """`has_looked` tells that free space was looked at once; then `wake` of the parts is set."""

    def __init__(
        self, parts: Parts, disk_guard: DiskGuard, *, clock: Clock, stopping: Stopping, log: Log
    ) -> None:
        self._parts = parts
        self._disk_guard = disk_guard
        self._notes = HeldNotes(parts.ports, parts.breakers, monotonic=clock.monotonic)
        self._clock = clock
        self._stopping = stopping
        self._log = log
        self.has_looked = False

    def keep(self) -> None:
        """Look again and again until the daemon stops; the notes once more after that."""
        while not self._stopping.event.is_set():
            self._turn()
            if not self.has_looked:
                self.has_looked = True
                self._parts.wake.set()
            self._stopping.event.wait(PERIOD_S)
        self._turn()

    def _turn(self) -> None:
        try:
            self._disk_guard.check_now_and_then(self._clock.monotonic())
            self._notes.keep()
        except Exception as error:  # noqa: BLE001 - the top of a thread: it must not die
            self._log("thread.defect", error=error)
            self._stopping.event.wait(PERIOD_S * 10)
