"""The notes on held cases, on a thread of their own.

They ask a folder that may lie on a share which hangs: then this thread waits, and nobody else.
"""

from __future__ import annotations

from vpe_watcher.app.assembly import Clock, Parts, Stopping
from vpe_watcher.flow.breakers import Log
from vpe_watcher.flow.notes import HeldNotes

PERIOD_S = 0.5


class Housekeeper:
    """Keeps the notes in step with the cases."""

    def __init__(self, parts: Parts, *, clock: Clock, stopping: Stopping, log: Log) -> None:
        self._parts = parts
        self._notes = HeldNotes(parts.ports, parts.breakers, monotonic=clock.monotonic)
        self._stopping = stopping
        self._log = log

    def keep(self) -> None:
        """Look again and again until the daemon stops, and once more after that."""
        while not self._stopping.event.is_set():
            self._turn()
            self._stopping.event.wait(PERIOD_S)
        self._turn()

    def _turn(self) -> None:
        try:
            self._notes.use(self._parts.ports)
            self._notes.keep()
        except Exception as error:  # noqa: BLE001 - the top of a thread: it must not die
            self._log("thread.defect", error=error)
            self._stopping.event.wait(PERIOD_S * 10)
