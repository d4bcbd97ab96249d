"""The threads of a daemon, by name: who is started, who is started again, who is still there.

Knows nothing of what they do. Owned by the main thread; only `_run` is called on the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from vpe_watcher.flow.breakers import Log

NO_THREAD = (
    "this machine lets no further thread start, so fewer do the work: lower limits.uploads and "
    "limits.downloads, or raise its limit (TasksMax of a service, ulimit -u)"
)


class Crew:
    """Threads that end only when what they run returns: one that ended otherwise is missed."""

    def __init__(self, *, leave: Callable[[], None], log: Log) -> None:
        """Prepare; `leave` is called on each thread as its last act."""
        self._leave = leave
        self._log = log
        self._threads: dict[str, tuple[threading.Thread, Callable[[], None]]] = {}
        self._ended: set[str] = set()  # they returned: nobody misses them
        self._made = 0
        self._is_short = False

    def start(self, name: str, target: Callable[[], None], *, is_missed: bool = True) -> bool:
        """Start a thread; false where the machine has none left: `mind` tries again if missed."""
        thread = threading.Thread(target=self._run, args=(name, target), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._is_short:
                self._is_short = True
                self._log("thread.defect", reason=f"{name}: {NO_THREAD}")
            if not is_missed:
                return False
        self._threads[name] = (thread, target)
        return thread.ident is not None

    def numbered(self, name: str) -> str:
        """Return a name for a thread that none has: an old one of the same work may still hang."""
        if name not in self._threads and not name.endswith("-"):
            return name
        self._made += 1
        return f"{name}{self._made}" if name.endswith("-") else f"{name}-{self._made}"

    def mind(self) -> None:
        """Start a thread again that ended, whatever ended it, unless its work was done."""
        for name, (thread, target) in list(self._threads.items()):
            if thread.is_alive():
                continue
            if name in self._ended:
                self._ended.discard(name)
                del self._threads[name]
                continue
            if thread.ident is not None:
                self._log("thread.defect", reason=f"{name} ended and is started again")
            self.start(name, target)

    def count(self, prefix: str) -> int:
        """Count those whose names begin so."""
        return sum(name.startswith(prefix) for name in self._threads)

    def threads(self) -> list[threading.Thread]:
        """Return all, also those that could not be started yet."""
        return [thread for thread, _ in self._threads.values()]

    def started(self, is_meant: Callable[[str], bool]) -> list[threading.Thread]:
        """Return those that were started, of the names that are meant."""
        found = [thread for name, (thread, _) in self._threads.items() if is_meant(name)]
        return [thread for thread in found if thread.ident is not None]

    def _run(self, name: str, target: Callable[[], None]) -> None:
        try:
            target()
            self._ended.add(name)
        finally:
            self._leave()


def join(threads: list[threading.Thread], *, until: float) -> bool:
    """Wait for threads to end until a moment of `time.monotonic`; tell whether all have."""
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)
