"""A target that answers in time, whatever its receiver does.

The time-outs below it are for the next byte, so who trickles would hold a sender for ever.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from vpe_watcher.core.notices import Answer, Notice, Receipt

if TYPE_CHECKING:
    from vpe_watcher.adapters.notify import Target

WITHIN_S = 60.0


class Prompt:
    """Lets another target tell, and gives it up in time. One thread tells at a time.

    Who was given up is told nothing more until that telling has ended: threads do not pile up.
    """

    def __init__(self, target: Target, *, within_s: float = WITHIN_S) -> None:
        self._target = target
        self._within_s = within_s
        self._thread: threading.Thread | None = None
        self.name = target.name
        self.shown = target.shown

    def tell(self, notice: Notice) -> Receipt:
        """Send one notice; what another thread meets there leaves here, too."""
        if self._thread is not None and self._thread.is_alive():
            return Receipt(Answer.TROUBLE, "an earlier answer has not ended yet")
        answers: queue.SimpleQueue[Receipt | Exception] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._tell, args=(notice, answers), name="telling", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:
            return Receipt(Answer.TROUBLE, "this machine lets no further thread start")
        try:
            answer = answers.get(timeout=self._within_s)
        except queue.Empty:
            return Receipt(Answer.TROUBLE, f"no complete answer within {self._within_s:g} s")
        if isinstance(answer, Exception):
            raise answer
        self._thread.join()
        return answer

    def _tell(self, notice: Notice, answers: queue.SimpleQueue[Receipt | Exception]) -> None:
        try:
            answers.put(self._target.tell(notice))
        except Exception as error:  # noqa: BLE001 - the top of a thread: who asked must hear of it
            answers.put(error)
