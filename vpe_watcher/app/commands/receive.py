"""`receive`: the DICOM receiver alone, in the foreground. It logs by itself while it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.app.result import Result
from vpe_watcher.core.errors import UsageError

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings
    from vpe_watcher.app.receiving import Receiving

LISTEN = "127.0.0.1:11112"
LONG_S = 3600.0


def receive(config: Path | None, *, listen: str | None) -> Result:
    """Receive until SIGTERM or SIGINT; `listen` is stronger than the configuration's.

    Raises:
        UsageError: `listen` is no address and port.
        ConfigError: a mistake in the configuration, or see `Receiving.start`.
        TryAgainLater: the port is taken, or another receiver runs on this state file.
    """
    from vpe_watcher.adapters.telemetry import configure, foreign_words_taken_over
    from vpe_watcher.app.receiving import Receiving

    settings = _settings_of(config, listen)
    log = configure(form=settings.log.format, level=settings.log.level, names=settings.log.names)
    receiving = Receiving(settings, daemon_id=_daemon_id_of(settings), log=log)
    with foreign_words_taken_over(log):
        if not _run(receiving):
            os._exit(0)  # a share hangs: what it still holds was never acknowledged
    return Result()


def _settings_of(config: Path | None, listen: str | None) -> Settings:
    from vpe_watcher.adapters.settings import load_settings
    from vpe_watcher.adapters.settings.network import listen_address
    from vpe_watcher.adapters.settings.values import WrongValueError

    try:
        listen_address(listen or "")
    except WrongValueError as error:
        raise UsageError(
            f"--listen {listen}: {error.reason}.", code="usage", hint=f"Please {error.hint}."
        ) from error
    settings = load_settings(config, overrides={"dicom.listen": listen}, asks_engine=False)
    if settings.dicom.listen:
        return settings
    return load_settings(config, overrides={"dicom.listen": LISTEN}, asks_engine=False)


def _run(receiving: Receiving) -> bool:
    """Receive until a signal; false when a thread hangs."""
    from vpe_watcher.app.signals import taken_signals
    from vpe_watcher.app.wake import Wake

    wake = Wake()
    with taken_signals() as signals:
        signals.wake = wake.set
        receiving.start()
        try:
            while not signals.is_stopping:
                wake.wait(LONG_S)
        finally:
            is_over = receiving.stop()
    return is_over


def _daemon_id_of(settings: Settings) -> Callable[[], str]:
    """Ask the state file until it knows: the daemon may run for the first time meanwhile."""
    from vpe_watcher.adapters.store import Database, Store

    known = [""]

    def daemon_id() -> str:
        if not known[0] and settings.state_file.exists():
            database = Database(settings.state_file, create=False, migrates=False)
            try:
                known[0], _ = Store(database, now=time.time).identity()
            finally:
                database.close()
        return known[0]

    return daemon_id
