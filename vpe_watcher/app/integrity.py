"""The state file is read as a whole, in the background, after a daemon that did not stop well.

What is found stops intake and is told; it never ends the daemon, which has work to finish.
A file that cannot be read now is read later: that says nothing of what is in it.
"""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

from vpe_watcher.adapters.store.database import damaged
from vpe_watcher.adapters.store.soundness import QuickCheck
from vpe_watcher.core.breakers import DAMAGED, INTEGRITY
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.flow.breakers import Breakers, Log

AGAIN_S = 60.0


class Integrity:
    """Owned by the main thread; `check_until_known` runs on a thread of its own."""

    def __init__(
        self,
        path: Path,
        breakers: Breakers,
        *,
        was_clean: bool,
        log: Log,
        again_s: float = AGAIN_S,
    ) -> None:
        self._path = path
        self._breakers = breakers
        self._log = log
        self._thread: threading.Thread | None = None
        self._running: QuickCheck | None = None
        self._again_s = again_s
        self._ended = threading.Event()
        self._is_told = False  # that it cannot be read now
        self._fault = ""
        self.is_sound = was_clean  # as far as is known

    def start(self) -> None:
        """Begin to read, unless the last daemon left no doubt."""
        if not self.is_sound:
            self._thread = threading.Thread(
                target=self.check_until_known, name="integrity", daemon=True
            )
            self._thread.start()

    def check_until_known(self) -> None:
        """Check, and again while the file cannot be read, until the daemon stops."""
        while not self.check() and not self._ended.wait(self._again_s):
            pass

    def check(self) -> bool:
        """Read all of the state file once, and tell what is wrong with it.

        Return whether that is known now.
        """
        try:
            with closing(QuickCheck(self._path)) as check:
                self._running = check
                fault = "" if self._ended.is_set() else check.fault()
        except EnvironmentFault as error:
            if error.code != DAMAGED:
                self._tell_unread(error)
                return False
            fault = error.message
        finally:
            self._running = None
        if self._ended.is_set():
            return False
        self.is_sound = not fault
        if fault:
            self._fault = fault
            self._log("state.damaged", reason=fault)
            self.mind()
        return True

    def _tell_unread(self, error: EnvironmentFault) -> None:
        if self._is_told or self._ended.is_set():
            return
        self._is_told = True
        self._log("state.unread", reason=error.message, code=error.code, hint=error.hint)

    def mind(self) -> None:
        """Keep intake stopped while the file is known to be damaged: no step proves the rest.

        Whoever has met damage meanwhile has found what the reading may not find.
        """
        if self._breakers.was_met("state", INTEGRITY):
            self.is_sound = False
        elif self._fault:
            fault = damaged("A part of the state file is damaged")
            self._breakers.open(fault, kind=INTEGRITY)

    def stop(self) -> None:
        """End the reading, if it is not done; the next start begins it anew."""
        self._ended.set()
        running = self._running
        if running is not None:
            running.interrupt()
        if self._thread is not None:
            self._thread.join(5.0)
