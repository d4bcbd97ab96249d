"""The names in folders of which some may hang: who asks waits a little, and not again for the same.

Each question has a thread of its own, so that a dead archive stops neither claims nor deliveries.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from vpe_watcher.adapters.files import Disk

ANSWER_WITHIN_S = 2.0


class Listings:
    """Lists folders within a time. Its methods may be called from any thread."""

    def __init__(
        self,
        disk: Disk,
        *,
        monotonic: Callable[[], float],
        within_s: float = ANSWER_WITHIN_S,
    ) -> None:
        """Prepare; no thread starts before somebody asks."""
        self._disk = disk
        self._monotonic = monotonic
        self._within_s = within_s
        self._open: dict[Path, tuple[float, Future[list[str]]]] = {}
        self._lock = threading.Lock()

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, unsorted.

        Raises:
            TimeoutError: it does not answer in time, or has not answered an earlier question.
            OSError: what the folder said instead.
        """
        with self._lock:
            asked_at, answer = self._open.get(folder) or self._ask(folder)
        left_s = max(0.0, asked_at + self._within_s - self._monotonic())
        return answer.result(timeout=left_s)

    def _ask(self, folder: Path) -> tuple[float, Future[list[str]]]:
        question = self._monotonic(), Future[list[str]]()
        self._open[folder] = question
        name = f"listing-{folder.name}"
        thread = threading.Thread(
            target=self._answer, args=(folder, question[1]), name=name, daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            del self._open[folder]  # nobody will answer
            raise OSError(errno.EAGAIN, "no further thread can be started") from error
        return question

    def _answer(self, folder: Path, answer: Future[list[str]]) -> None:
        try:
            found = self._disk.names(folder)
        except BaseException as error:  # noqa: BLE001 - raised again in the threads that wait
            answer.set_exception(error)
        else:
            answer.set_result(found)
        with self._lock:
            del self._open[folder]
