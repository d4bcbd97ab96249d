"""What the main thread waits on: other threads and signal handlers can end its wait."""

from __future__ import annotations

import queue


class Wake:
    """An event for one waiting thread.

    Unlike `threading.Event` it may be set by a signal handler that interrupts the waiting thread
    anywhere, also within these methods: a simple queue has no lock that its own thread could find
    taken.
    """

    def __init__(self) -> None:
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """End the wait that is under way, or the next one."""
        if self._tokens.empty():
            self._tokens.put(None)

    def wait(self, timeout_s: float) -> None:
        """Wait until it is set, at most so long. Afterwards it is not set."""
        try:
            self._tokens.get(timeout=timeout_s)
            while True:
                self._tokens.get(block=False)
        except queue.Empty:
            return
