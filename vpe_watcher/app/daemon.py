"""The daemon: threads around the parts, signals, and the end.

The main thread schedules, takes signals, obeys words and shows a snapshot; one thread looks after
each inbox; bounded workers run one attempt each. They share the database, queues and events.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from random import SystemRandom
from types import FrameType
from typing import TYPE_CHECKING

from vpe_watcher import __version__
from vpe_watcher.adapters import mounts
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.lock import DaemonLock
from vpe_watcher.adapters.telemetry import configure
from vpe_watcher.adapters.watch import Watch
from vpe_watcher.app.assembly import (
    CALLS_AT_ONCE,
    DISK_STEPS_AT_ONCE,
    Clock,
    Parts,
    Stopping,
    assemble,
    build_engine,
    folders_of,
    open_store,
)
from vpe_watcher.app.snapshot import Snapshot
from vpe_watcher.core.errors import ConfigError, EnvironmentFault
from vpe_watcher.core.model import State
from vpe_watcher.flow.breakers import Log
from vpe_watcher.flow.disk_guard import DiskGuard
from vpe_watcher.flow.inbox import Inbox
from vpe_watcher.flow.rest import keep_held_notes
from vpe_watcher.flow.roots import check_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vpe_watcher.adapters.settings import Settings

EXIT_OK, EXIT_TRY_AGAIN = 0, 75
TICK_S = 0.5
WORD_PERIOD_S = 0.5


def run(settings: Settings, *, once: bool) -> int:
    """Run the daemon in the foreground until a signal, or with `once` until nothing is due.

    Returns 0, or 75 when `once` ended with work that an open breaker keeps waiting.

    Raises:
        TryAgainLater: another daemon uses this state file.
        ConfigError: the state file cannot be used, or is older than the folders.
    """
    log = configure(form=settings.log.format, level=settings.log.level, names=settings.log.names)
    lock = DaemonLock(settings.state_file)
    lock.acquire()
    try:
        with _signals() as signals:
            return _run(settings, log=log, once=once, signals=signals)
    finally:
        lock.release()


def _run(settings: Settings, *, log: Log, once: bool, signals: Signals) -> int:
    clock, stopping, disk = Clock(), Stopping(), Disk()
    try:
        store = open_store(settings, now=clock.now)
    except EnvironmentFault as fault:
        raise ConfigError(fault.message, code=fault.code, hint=fault.hint) from fault
    with closing(store.database), closing(build_engine(settings, now=clock.now)) as engine:
        inboxes = {name: recipe.inbox for name, recipe in settings.recipes.items()}
        check_identity(disk, store, folders_of(settings), inboxes)
        _, starts = store.record_start(fresh_id=os.urandom(6).hex())
        parts = assemble(
            settings,
            store=store,
            engine=engine,
            disk=disk,
            clock=clock,
            stopping=stopping,
            log=log,
            random=SystemRandom(),
        )
        daemon = Daemon(settings, parts, clock=clock, stopping=stopping, log=log, signals=signals)
        log("daemon.started", version=__version__, pid=os.getpid(), starts=starts)
        exit_code = daemon.run(once=once)
        log("daemon.stopped", pid=os.getpid())
        if daemon.has_abandoned:
            os._exit(exit_code)  # stopping is crashing politely: the attempt is found at start
        return exit_code


class Signals:
    """Signals as events; the handlers only take note."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.wake: Callable[[], None] = lambda: None
        self.hangups = 0

    def take(self, number: int, _frame: FrameType | None) -> None:
        """Take note of a signal; a second one to stop ends the process at once."""
        if number == signal.SIGHUP:
            self.hangups += 1
        elif self.stop.is_set():
            os._exit(128 + number)
        else:
            self.stop.set()
        self.wake()


@contextmanager
def _signals() -> Iterator[Signals]:
    signals = Signals()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, signals.take) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Daemon:
    """The threads of a running daemon."""

    def __init__(
        self,
        settings: Settings,
        parts: Parts,
        *,
        clock: Clock,
        stopping: Stopping,
        log: Log,
        signals: Signals,
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._clock = clock
        self._stopping = stopping
        self._log = log
        self._signals = signals
        self._jobs: queue.SimpleQueue[tuple[str, State] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._watches: dict[str, Watch] = {}
        self._watch_modes: dict[str, tuple[str, str]] = {}
        self._snapshot = Snapshot(parts, since=clock.now(), version=__version__)
        self._disk_guard = DiskGuard(
            parts.disk,
            parts.breakers,
            folders=[
                settings.state_file.parent,
                *(path for paths in folders_of(settings).values() for path in paths),
            ],
            min_free=settings.retention.min_free,
        )
        self.has_abandoned = False  # a thread still runs: nothing may be closed under it
        self._next_words_at = 0.0
        self._words_version = -1

    def run(self, *, once: bool) -> int:
        """Start the threads, schedule until the end, stop the threads."""
        self._signals.wake = self._parts.wake.set
        self._parts.runner.resume()
        self._parts.words.obey()
        self._disk_guard.check()
        self._start_threads()
        try:
            while not self._signals.stop.is_set():
                if self._tick() and once and self._is_idle():
                    break
        finally:
            self._stop_threads()
            with suppress(EnvironmentFault):
                self._snapshot.show_last(self._clock.monotonic(), self._watch_modes)
        left_work = self._parts.schedule.has_gated_work() or any(
            inbox.is_paused() and inbox.candidates() for inbox in self._parts.inboxes.values()
        )
        is_broken = any(self._parts.breakers.is_open(name) for name in self._inbox_names())
        return EXIT_TRY_AGAIN if once and (left_work or is_broken) else EXIT_OK

    def _inbox_names(self) -> list[str]:
        return [inbox.name for inbox in self._parts.inboxes.values()]

    # --- the main thread's turn -------------------------------------------------------------------

    def _tick(self) -> bool:
        """Do one turn of the schedule; true when the state file could be used."""
        self._parts.wake.clear()
        try:
            for job in self._parts.schedule.take_ready():
                self._jobs.put(job)
            self._obey_words()
            self._disk_guard.check_now_and_then(self._clock.monotonic())
            self._snapshot.show(self._clock.monotonic(), self._watch_modes)
        except EnvironmentFault as fault:
            self._parts.breakers.open(fault, kind="main")
            self._parts.wake.wait(TICK_S)
            return False
        self._parts.breakers.close("state", kind="main")
        self._keep_notes()
        if self._signals.hangups:
            self._signals.hangups = 0
            self._log("config.unchanged", reason="restart the service to apply a new configuration")
        due_in_s = self._parts.schedule.next_due_in_s()
        self._parts.wake.wait(min(TICK_S, TICK_S if due_in_s is None else max(due_in_s, 0.01)))
        return True

    def _obey_words(self) -> None:
        now = self._clock.monotonic()
        if now < self._next_words_at:
            return
        self._next_words_at = now + WORD_PERIOD_S
        version = self._parts.store.database.data_version()
        if version != self._words_version and self._parts.words.obey():
            self._words_version = version

    def _keep_notes(self) -> None:
        try:
            keep_held_notes(self._parts.ports)
        except EnvironmentFault as fault:
            self._parts.breakers.open(fault, kind="notes")
        else:
            for name in ("failed", "disk", "state"):
                self._parts.breakers.close(name, kind="notes")

    def _is_idle(self) -> bool:
        within_s = self._settings.limits.retry_at_most_s
        if not all(inbox.is_idle() for inbox in self._parts.inboxes.values()):
            return False
        self._parts.schedule.refresh()
        return self._parts.schedule.is_idle(within_s=within_s) and not self._parts.store.words()

    # --- threads ----------------------------------------------------------------------------------

    def _start_threads(self) -> None:
        limits = self._settings.limits
        workers = limits.uploads + limits.downloads + CALLS_AT_ONCE + DISK_STEPS_AT_ONCE
        for number in range(workers):
            self._start(f"worker-{number}", self._work)
        for name, inbox in self._parts.inboxes.items():
            self._start(f"inbox-{name}", partial(self._look_after, inbox))

    def _start(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            case_id, state = job
            try:
                self._parts.runner.run(case_id, state)
            except Exception as error:  # noqa: BLE001 - the top of a thread: it must not die
                self._log("thread.defect", case_id=case_id, step=str(state), error=error)
            self._parts.transfers.pop(case_id, None)
            self._parts.wake.set()

    def _look_after(self, inbox: Inbox) -> None:
        while not self._stopping.event.is_set():
            self._keep_watch(inbox)
            try:
                wait_s = inbox.turn()
            except Exception as error:  # noqa: BLE001 - the top of a thread: it must not die
                self._log("thread.defect", recipe=inbox.options.recipe, error=error)
                wait_s = 5.0
            self._parts.wake.set()
            inbox.wake.wait(min(max(wait_s, 0.02), 5.0))

    def _keep_watch(self, inbox: Inbox) -> None:
        """Watch an inbox by events where that can work; else its own scan has to do."""
        name = inbox.options.recipe
        recipe = self._settings.recipes[name]
        if name in self._watches and self._watches[name].is_alive:
            return
        if name in self._watch_modes and self._watch_modes[name][0] == "poll":
            return
        mode, reason = _watch_mode(recipe.intake.watch, inbox.options.folder)
        if mode == "events":
            watch = self._watches.setdefault(name, Watch(inbox.options.folder, inbox.hint))
            if not inbox.options.folder.is_dir() or not watch.start():
                return
            inbox.look_anew()  # what happened before the watch gave no hint
        self._watch_modes[name] = (mode, reason)
        self._log("watch.started", recipe=name, watch=mode, reason=reason)

    def _stop_threads(self) -> None:
        self._stopping.event.set()
        for _ in self._threads:
            self._jobs.put(None)
        for inbox in self._parts.inboxes.values():
            inbox.wake.set()
        for watch in self._watches.values():
            watch.stop()
        deadline = time.monotonic() + self._settings.limits.stop_grace_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            self._log("daemon.abandoned", reason="a step did not end within stop_grace_s")
            self.has_abandoned = True


def _watch_mode(wish: str, folder: Path) -> tuple[str, str]:
    """Choose how an inbox is watched, with the reason in words."""
    if wish != "auto":
        return wish, "as configured"
    mount = mounts.filesystem_of(folder)
    if mount.is_network or mount.fs_type.startswith("fuse"):
        return "poll", f"{mount.fs_type} sends no events for what other machines write"
    return "events", f"{mount.fs_type} is a local file system"
