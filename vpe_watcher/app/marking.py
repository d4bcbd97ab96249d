"""The markers of outbox, archive and failed, written soon after the start: not at the first use.

A folder that was never used has no protection against an empty mount point. Each root has a thread
of its own, so that a share that hangs holds up nobody. Inboxes are guarded at each look at them.
"""

from __future__ import annotations

from collections.abc import Callable

from vpe_watcher.app.assembly import Stopping
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.flow.breakers import Breakers, Log
from vpe_watcher.flow.schedule import MARKING

AGAIN_S = 3.0
MARKED_ROOTS = ("outbox", "archive", "failed")


class Marking:
    """Guards each root until that has succeeded once. `keep` runs on a thread of the root's own."""

    def __init__(
        self,
        guard: Callable[[str], None],
        *,
        breakers: Breakers,
        stopping: Stopping,
        log: Log,
        again_s: float = AGAIN_S,
    ) -> None:
        """Prepare; no folder is asked yet."""
        self._guard = guard
        self._breakers = breakers
        self._stopping = stopping
        self._log = log
        self._again_s = again_s
        self._generation = 0

    def use(self) -> None:
        """Guard all of them once more: the roots may be other folders now."""
        self._generation += 1

    def keep(self, name: str) -> None:
        """Guard a root until it has its marker, and anew when it may be another folder."""
        marked = -1
        while not self._stopping.event.is_set():
            generation = self._generation
            if marked != generation and self._has_marked(name):
                marked = generation
            self._stopping.event.wait(self._again_s)

    def _has_marked(self, name: str) -> bool:
        try:
            self._guard(name)
        except EnvironmentFault as fault:
            self._tell(name, fault)
            return False
        except Exception as error:  # noqa: BLE001 - the top of a thread: it must not die
            self._log("thread.defect", reason=name, error=error)
            return False
        self._breakers.close(name, kind=MARKING)
        return True

    def _tell(self, name: str, fault: EnvironmentFault) -> None:
        """Open the root's own breaker, once: each further time would put off a step's probe.

        A full disk or the state file is for those to tell who need them.
        """
        if fault.breaker == name and not self._breakers.was_met(name, MARKING):
            self._breakers.open(fault, kind=MARKING)
