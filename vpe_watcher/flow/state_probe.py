"""Whether the state file can be written: tried by a write of its own, at its breaker's time.

A read proves nothing of a disk that takes no write: only a commit closes that breaker.
"""

from __future__ import annotations

from collections.abc import Callable

from vpe_watcher.adapters.store import Store
from vpe_watcher.core.breakers import UNWRITTEN
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.flow.breakers import Breakers


class StateProbe:
    """Owned by the main thread, which asks it before it writes what can wait."""

    def __init__(self, store: Store, breakers: Breakers, *, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._breakers = breakers
        self._monotonic = monotonic

    def may_write(self) -> bool:
        """Tell whether a write may succeed: after a fault try one first, once its time has come."""
        if not self._breakers.was_met("state", UNWRITTEN):
            return True
        if self._breakers.retry_at("state") > self._monotonic():
            return False
        try:
            self._store.try_write()
        except EnvironmentFault as fault:
            self._breakers.open(fault, kind=UNWRITTEN)
            return False
        self._breakers.written()
        return True
