"""The process of a daemon: its lock, its state file, the parts, and how it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from random import SystemRandom
from typing import TYPE_CHECKING

from vpe_watcher import __version__
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.lock import DaemonLock
from vpe_watcher.adapters.manager import Manager
from vpe_watcher.adapters.reserve import Reserve
from vpe_watcher.adapters.telemetry import EventLog, configure, foreign_words_taken_over
from vpe_watcher.app.assembly import Clock, Stopping, assemble, build_engine, open_store
from vpe_watcher.app.daemon import EXIT_OK, Daemon
from vpe_watcher.app.integrity import Integrity
from vpe_watcher.app.listings import Listings
from vpe_watcher.app.receiving import check_receiving
from vpe_watcher.app.reloading import Means
from vpe_watcher.app.signals import Signals
from vpe_watcher.app.start import Tell, check_nothing_is_lost, counted_start
from vpe_watcher.core.breakers import DAMAGED
from vpe_watcher.core.errors import ConfigError, EnvironmentFault, TryAgainLater
from vpe_watcher.flow.breakers import Log

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings

FOR_A_PERSON = frozenset({"state_cannot_open", DAMAGED})


def run(settings: Settings, *, once: bool, reread: Callable[[], Settings], signals: Signals) -> int:
    """Run the daemon in the foreground until a signal, or with `once` until nothing is due.

    `reread` reads the configuration again, for SIGHUP; `signals` has what came before.
    Returns 0, or 75 when `once` ended with work that an open breaker keeps waiting.

    Raises:
        TryAgainLater: another daemon uses this state file, or with `once` nobody can now.
        ConfigError: the state file cannot be used, is damaged, or is older than the folders.
    """
    log = configure(
        form=settings.log.format,
        level=settings.log.level,
        names=settings.log.names,
        journal_stream=os.environ.get("JOURNAL_STREAM", ""),
    )
    manager = Manager.taken_from(os.environ, pid=os.getpid())
    lock = DaemonLock(settings.state_file)
    lock.acquire()
    try:
        with foreign_words_taken_over(log):
            means = Means(
                reread,
                partial(build_engine, now=time.time),
                check_receiving,
                partial(_use_log, log),
            )
            return _run(
                settings,
                log=log,
                once=once,
                signals=signals,
                manager=manager,
                means=means,
                tell=lock.tell,
            )
    except EnvironmentFault as fault:
        # What a person has to put right is no use trying again; a sick or busy disk may get well.
        error = ConfigError if fault.code in FOR_A_PERSON else TryAgainLater
        raise error(fault.message, code=fault.code, hint=fault.hint) from fault
    finally:
        lock.release()


def _use_log(log: EventLog, settings: Settings) -> None:
    log.use(form=settings.log.format, level=settings.log.level, names=settings.log.names)


def _run(
    settings: Settings,
    *,
    log: Log,
    once: bool,
    signals: Signals,
    manager: Manager,
    means: Means,
    tell: Tell,
) -> int:
    clock, stopping, disk = Clock(), Stopping(), Disk()
    reserve = Reserve(settings.state_file)
    reserve.make_way()
    check_nothing_is_lost(settings, disk)
    store = open_store(settings, now=clock.now, on_full=reserve.release)
    with closing(store.database), closing(build_engine(settings, now=clock.now)) as engine:
        start = counted_start(
            settings, store, disk, log=log, once=once, signals=signals, manager=manager, tell=tell
        )
        if start is None:
            return EXIT_OK
        parts = assemble(
            settings,
            store=store,
            engine=engine,
            disk=disk,
            clock=clock,
            stopping=stopping,
            log=log,
            random=SystemRandom(),
            names_in=Listings(disk, monotonic=clock.monotonic).names,
        )
        parts.roots.doubt(start.unchecked)
        integrity = Integrity(
            settings.state_file, parts.breakers, was_clean=start.was_clean, log=log
        )
        daemon = Daemon(
            parts,
            clock=clock,
            stopping=stopping,
            log=log,
            signals=signals,
            manager=manager,
            means=means,
            reserve=reserve,
            integrity=integrity,
        )
        daemon.tell = tell
        log("daemon.started", version=__version__, pid=os.getpid(), starts=start.number)
        exit_code = daemon.run(once=once)
        if integrity.is_sound and not daemon.has_abandoned:
            with suppress(EnvironmentFault):
                store.record_clean_stop()
        log("daemon.stopped", pid=os.getpid())
        if daemon.has_abandoned:
            os._exit(exit_code)  # stopping is crashing politely: the attempt is found at start
        if daemon.is_telling():
            store.database.close()
            os._exit(exit_code)  # a library's threads would be waited for, as long as they hang
        return exit_code
