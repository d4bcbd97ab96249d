"""SIGHUP: the configuration is read again, on a thread of its own, and taken over by the main one.

What is wrong with it changes nothing: it is logged, and `status` shows it until a good one comes.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vpe_watcher.adapters.manager import Manager
from vpe_watcher.app.assembly import Parts
from vpe_watcher.app.reload import Orders, prepare, take_over
from vpe_watcher.core.errors import ConfigError, WatcherError
from vpe_watcher.flow.breakers import Log

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings
    from vpe_watcher.flow.ports import Engine

READ_WITHIN_S = 60.0  # is told to systemd: folders that hang cost ten


@dataclass(frozen=True, slots=True)
class Means:
    """Where other settings come from, and what is made of them beside the parts.

    `check` raises `ConfigError` for what only this machine can say of them.
    """

    reread: Callable[[], Settings]
    engine_of: Callable[[Settings], Engine]
    check: Callable[[Settings], None] = lambda _: None
    use_log: Callable[[Settings], None] = lambda _: None


class Reloading:
    """Reads when it was asked to. Its methods are called by the main thread."""

    def __init__(
        self,
        parts: Parts,
        means: Means,
        *,
        follow: Callable[[Orders], None],
        manager: Manager,
        log: Log,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; `follow` is called after the parts have taken over what is new."""
        self._parts = parts
        self._means = means
        self._follow = follow
        self._manager = manager
        self._log = log
        self._monotonic = monotonic
        self._is_asked = self._is_reading = False
        self._thread: threading.Thread | None = None
        self._late_at = float("inf")
        self._answers: queue.SimpleQueue[Orders | WatcherError] = queue.SimpleQueue()
        self._told: tuple[str, ...] = ()  # which keys wait for the next start

    def ask(self) -> None:
        """Read, or once more after the reading that is under way: the file may be newer than it."""
        self._is_asked = True

    def mind(self) -> None:
        """Begin what was asked for, end what was read; never waits for a file or a folder."""
        if self._is_reading and not self._answers.empty():
            self._is_reading = False
            self._end(self._answers.get())
            self._manager.ready()
        elif self._is_reading and self._monotonic() >= self._late_at:
            self._late_at = float("inf")
            self._refuse(_unread(f"it has not been read within {READ_WITHIN_S:g} s"))
            self._manager.ready()
        if self._is_asked and not self._is_reading:
            self._is_asked = False
            self._begin()

    def has_ended(self, *, within_s: float) -> bool:
        """Wait for a reading that is under way; false: it hangs, and so does what it holds."""
        if self._is_reading and self._thread is not None and self._thread.ident is not None:
            self._thread.join(within_s)
            return not self._thread.is_alive()
        return True

    def _begin(self) -> None:
        self._manager.reloading()
        self._manager.needs_longer(READ_WITHIN_S)
        self._is_reading = True
        self._late_at = self._monotonic() + READ_WITHIN_S
        try:
            self._thread = threading.Thread(target=self._read, name="reload", daemon=True)
            self._thread.start()
        except RuntimeError:
            self._answers.put(_unread("this machine lets no further thread start"))

    def _read(self) -> None:
        try:
            settings = self._means.reread()
            self._means.check(settings)
            self._answers.put(prepare(self._parts, settings, engine_of=self._means.engine_of))
        except WatcherError as error:
            self._answers.put(error)
        except Exception as error:  # noqa: BLE001 - the top of a thread: who asked must hear of it
            self._log("thread.defect", error=error)
            self._answers.put(_unread(f"the program met a defect ({type(error).__name__})"))
        finally:
            self._parts.store.database.leave()
            self._parts.wake.set()

    def _end(self, answer: Orders | WatcherError) -> None:
        try:
            if isinstance(answer, WatcherError):
                raise answer
            take_over(self._parts, answer)
        except WatcherError as error:
            self._refuse(error)
            return
        self._parts.config_error = None
        self._means.use_log(answer.settings)
        self._follow(answer)
        event = "config.reloaded" if answer.changed else "config.unchanged"
        self._log(event, keys=list(answer.changed) or None)
        if answer.deferred != self._told:
            self._told = answer.deferred
            if answer.deferred:
                self._log("config.deferred", keys=list(answer.deferred), reason=NEXT_START)

    def _refuse(self, error: WatcherError) -> None:
        sentence = error.message if error.message.endswith(".") else f"{error.message}."
        self._parts.config_error = f"{sentence} {error.hint}".rstrip()
        self._log("config.refused", reason=error.message, hint=error.hint, code=error.code)


NEXT_START = "these keys count from the next start on: restart the service for them"


def _unread(why: str) -> ConfigError:
    return ConfigError(
        f"The configuration could not be read again: {why}.",
        code="config_unread",
        hint="The daemon goes on with the settings that it has. Reload again.",
    )
