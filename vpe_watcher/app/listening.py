"""The receiver beside a running daemon: what keeps it from listening heals by itself.

A port that is taken, or another receiver on this state file, stops neither the daemon nor its
start.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from vpe_watcher.app.receiving import Receiving
from vpe_watcher.core.errors import TryAgainLater
from vpe_watcher.flow.breakers import Log

AGAIN_S = 10.0


class Listening:
    """Starts the receiver, and again while it cannot start. `keep` is called by one thread."""

    def __init__(
        self, receiving: Receiving, *, log: Log, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._receiving = receiving
        self._log = log
        self._monotonic = monotonic
        self._is_on = False
        self._next_at = 0.0
        self._trouble = ""

    def keep(self) -> None:
        """Listen if we do not yet, at most every ten seconds.

        Raises:
            ConfigError: the extra is not installed, or this machine cannot listen there.
        """
        now = self._monotonic()
        if self._is_on or now < self._next_at:
            return
        self._next_at = now + AGAIN_S
        try:
            self._receiving.start()
        except TryAgainLater as error:
            if self._trouble != error.message:
                self._log("receive.waiting", reason=error.message, hint=error.hint, code=error.code)
            self._trouble = error.message
        else:
            self._is_on, self._trouble = True, ""

    def shown(self) -> dict[str, str] | None:
        """Return where a PACS may send, and why it cannot now; None when it never may."""
        listen = self._receiving.listen
        return {"listen": listen, "reason": self._trouble} if listen else None

    def begin_stop(self) -> None:
        """Let nobody in from now on; returns at once."""
        self._receiving.begin_stop()

    def stop(self) -> bool:
        """Wait until who is in has gone; false: a thread hangs."""
        return self._receiving.stop()
