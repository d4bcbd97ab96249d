"""Bounded workers, each of which runs one attempt at a time.

As many as there are places in the lanes, and one more for each that hangs on a silent share, within
bounds; fewer where the machine lets no further thread start.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterable

from vpe_watcher.app.assembly import Parts
from vpe_watcher.app.crew import Crew
from vpe_watcher.app.standstill import Turn
from vpe_watcher.app.terms import limits_of
from vpe_watcher.core.model import State
from vpe_watcher.flow.breakers import Log

PREFIX = "worker-"
SPARE_THREADS = 8

Job = tuple[str, State]


class Workers:
    """Takes jobs in hand. All but `_work` is called by the main thread."""

    def __init__(
        self,
        parts: Parts,
        crew: Crew,
        *,
        monotonic: Callable[[], float],
        is_stopping: Callable[[], bool],
        log: Log,
    ) -> None:
        """Prepare; nobody is hired yet."""
        self._parts = parts
        self._crew = crew
        self._monotonic = monotonic
        self._is_stopping = is_stopping
        self._log = log
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._steps: dict[str, Turn] = {}
        self._at_most = sys.maxsize

    def take(self, jobs: Iterable[Job]) -> None:
        """Let the next free workers run these."""
        for job in jobs:
            self._jobs.put(job)

    def steps(self) -> dict[str, Turn]:
        """Return the steps under way, by case id."""
        return dict(self._steps)

    def hire(self) -> None:
        """Have as many as are wanted, if the machine allows."""
        while self._crew.count(PREFIX) < min(self._wanted(), self._at_most):
            if not self._crew.start(self._crew.numbered(PREFIX), self._work, is_missed=False):
                self._make_do()
                return

    def adjust(self) -> None:
        """Follow other limits: hire, or let those go who are too many."""
        self.hire()
        self._dismiss(self._crew.count(PREFIX) - self._wanted())

    def dismiss_all(self) -> None:
        """Let everybody go who has no step in hand, and the others when it ends."""
        self._dismiss(self._crew.count(PREFIX))

    def _wanted(self) -> int:
        places = sum(limits_of(self._parts.settings).lanes.values())
        return places + min(self._parts.schedule.count_stuck(), places)

    def _make_do(self) -> None:
        """Work with fewer, and leave some threads to those that come and go: listings, senders."""
        workers = self._crew.count(PREFIX)
        spare = max(0, min(SPARE_THREADS, workers - 1))
        self._at_most = max(1, workers - spare)
        self._dismiss(spare)

    def _dismiss(self, number: int) -> None:
        for _ in range(number):
            self._jobs.put(None)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None or self._is_stopping():
                return
            case_id, state = job
            self._steps[case_id] = Turn(self._monotonic(), threading.get_native_id())
            try:
                self._parts.runner.run(case_id, state)
            except Exception as error:  # noqa: BLE001 - the top of a thread: it must not die
                self._log("thread.defect", case_id=case_id, step=str(state), error=error)
            finally:
                self._steps.pop(case_id, None)
            self._parts.transfers.forget(case_id)
            self._parts.wake.set()
