"""The receiver beside a running daemon: what keeps it from listening heals by itself.

A port that is taken, or another receiver on this state file, stops neither the daemon nor its
start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vpe_watcher.app.receiving import Receiving
from vpe_watcher.core.errors import ConfigError, TryAgainLater, WatcherError
from vpe_watcher.flow.breakers import Log

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings

AGAIN_S = 10.0
LEAVING = "those who were sending before the configuration changed have not gone yet"


class Listening:
    """Starts the receiver, and again while it cannot start. `keep` is called by one thread."""

    def __init__(
        self, receiving: Receiving, *, log: Log, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._receiving = receiving
        self._leaving: list[Receiving] = []
        self._log = log
        self._monotonic = monotonic
        self._is_on = False
        self._next_at = 0.0
        self._trouble = ""

    def goes_by(self, settings: Settings) -> bool:
        """Go by other settings where the network side is the same; false: `use` another."""
        return self._receiving.use(settings)

    def use(self, receiving: Receiving, settings: Settings) -> None:
        """Let another of these settings take its place, as soon as those who send now have gone."""
        self._receiving.give_way(settings)
        self._leaving.append(self._receiving)
        self._receiving = receiving
        self._is_on, self._next_at, self._trouble = False, 0.0, ""

    def keep(self) -> None:
        """Listen if we do not yet, at most every ten seconds.

        Raises:
            ConfigError: the extra is not installed, or this machine cannot listen there.
        """
        self._leaving = [one for one in self._leaving if not one.is_over]
        now = self._monotonic()
        if self._is_on or self._leaving or now < self._next_at:
            return
        self._next_at = now + AGAIN_S
        try:
            self._receiving.start()
        except TryAgainLater as error:
            self._tell(error)
        else:
            self._is_on, self._trouble = True, ""

    def keep_on(self) -> None:
        """Do the same where nothing may end the daemon any more."""
        try:
            self.keep()
        except ConfigError as error:
            self._tell(error)

    def _tell(self, error: WatcherError) -> None:
        if self._trouble != error.message:
            self._log("receive.waiting", reason=error.message, hint=error.hint, code=error.code)
        self._trouble = error.message

    def shown(self) -> dict[str, str] | None:
        """Return where a PACS may send, and why it cannot now; None when it never may."""
        listen = self._receiving.listen
        reason = LEAVING if self._leaving else self._trouble
        return {"listen": listen, "reason": reason} if listen else None

    def begin_stop(self) -> None:
        """Let nobody in from now on; returns at once."""
        self._receiving.begin_stop()

    def stop(self) -> bool:
        """Wait until who is in has gone; false: a thread hangs."""
        over = [one.stop() for one in (*self._leaving, self._receiving)]
        return all(over)
