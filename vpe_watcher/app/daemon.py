"""The daemon: threads around the parts, signals, and the end.

The main thread schedules, takes signals, obeys words and shows a snapshot, and never asks a folder;
one thread looks after each inbox, one asks each folder whether it answers, one keeps the notes;
bounded workers run one attempt each. They share the database, queues and events.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

from vpe_watcher import __version__
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.lock import DaemonLock
from vpe_watcher.adapters.manager import Manager
from vpe_watcher.adapters.mounts import MountTable
from vpe_watcher.adapters.reserve import Reserve
from vpe_watcher.adapters.telemetry import EventLog, configure, foreign_words_taken_over
from vpe_watcher.app.assembly import (
    Clock,
    Parts,
    Stopping,
    assemble,
    build_engine,
    folders_of,
    limits_of,
    marked_folders_of,
    open_store,
)
from vpe_watcher.app.housekeeper import Housekeeper
from vpe_watcher.app.integrity import Integrity
from vpe_watcher.app.listening import Listening
from vpe_watcher.app.listings import Listings
from vpe_watcher.app.marking import MARKED_ROOTS, Marking
from vpe_watcher.app.notifying import SENDER, Notifying
from vpe_watcher.app.pruning import pruner_of, prunings_of
from vpe_watcher.app.pulse import STUCK_AFTER_S, Pulse
from vpe_watcher.app.receiving import Receiving, check_receiving
from vpe_watcher.app.reload import Orders
from vpe_watcher.app.reloading import Means, Reloading
from vpe_watcher.app.signals import Signals, taken_signals
from vpe_watcher.app.silence import SILENT_AFTER_S, Silence
from vpe_watcher.app.snapshot import Snapshot
from vpe_watcher.app.soundings import Soundings
from vpe_watcher.app.standstill import Turn
from vpe_watcher.app.start import START_AGAIN_S, check_nothing_is_lost, counted_start, tell_waiting
from vpe_watcher.app.watching import Watching, ignores_of, wishes_of
from vpe_watcher.core.errors import ConfigError, EnvironmentFault, TryAgainLater
from vpe_watcher.core.model import State
from vpe_watcher.flow.breakers import Log
from vpe_watcher.flow.disk_guard import DiskGuard
from vpe_watcher.flow.inbox import Inbox

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings

EXIT_OK, EXIT_TRY_AGAIN = 0, 75
TICK_S = 0.5
WORD_PERIOD_S = 0.5
MIND_PERIOD_S = 1.0
COUNT_PERIOD_S = 60.0
FIRST_LOOK_AT_MOST_S = 2.0
AFTER_GRACE_S = 5.0  # for the last words in the state file
LAST_ROWS_S = 1.0  # of the grace: what was transferred is recorded in it
WORKER = "worker-"
SPARE_THREADS = 8
NO_THREAD = (
    "this machine lets no further thread start, so fewer do the work: lower limits.uploads and "
    "limits.downloads, or raise its limit (TasksMax of a service, ulimit -u)"
)
SOUNDING = "sounding-"
MARKS = "marking-"


def run(settings: Settings, *, once: bool, reread: Callable[[], Settings]) -> int:
    """Run the daemon in the foreground until a signal, or with `once` until nothing is due.

    `reread` reads the configuration again, for SIGHUP.
    Returns 0, or 75 when `once` ended with work that an open breaker keeps waiting.

    Raises:
        TryAgainLater: another daemon uses this state file, or with `once` nobody can now.
        ConfigError: the state file cannot be used, or is older than the folders.
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
        with taken_signals() as signals, foreign_words_taken_over(log):
            means = Means(
                reread,
                partial(build_engine, now=time.time),
                check_receiving,
                partial(_use_log, log),
            )
            return _run(settings, log=log, once=once, signals=signals, manager=manager, means=means)
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
) -> int:
    clock, stopping, disk = Clock(), Stopping(), Disk()
    reserve = Reserve(settings.state_file)
    reserve.make_way()
    check_nothing_is_lost(settings, disk)
    try:
        store = open_store(settings, now=clock.now, on_full=reserve.release)
    except EnvironmentFault as fault:
        # What a person has to put right is no use trying again; a sick or busy disk may get well.
        error = ConfigError if fault.code == "state_cannot_open" else TryAgainLater
        raise error(fault.message, code=fault.code, hint=fault.hint) from fault
    with closing(store.database), closing(build_engine(settings, now=clock.now)) as engine:
        start = counted_start(
            settings, store, disk, log=log, once=once, signals=signals, manager=manager
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


@dataclass(frozen=True, slots=True)
class Periods:
    """What a daemon does now and then, in seconds."""

    silent_after_s: float = SILENT_AFTER_S
    count_every_s: float = COUNT_PERIOD_S
    stuck_after_s: float = STUCK_AFTER_S


class Daemon:
    """The threads of a running daemon."""

    def __init__(
        self,
        parts: Parts,
        *,
        clock: Clock,
        stopping: Stopping,
        log: Log,
        signals: Signals,
        manager: Manager | None = None,
        means: Means | None = None,
        reserve: Reserve | None = None,
        integrity: Integrity | None = None,
        periods: Periods | None = None,
    ) -> None:
        self._parts = parts
        self._clock = clock
        self._stopping = stopping
        self._log = log
        self._signals = signals
        self._manager = manager or Manager()
        periods, settings = periods or Periods(), parts.settings
        self._integrity = integrity or Integrity(
            settings.state_file, parts.breakers, was_clean=True, log=log
        )
        self._jobs: queue.SimpleQueue[tuple[str, State] | None] = queue.SimpleQueue()
        self._threads: dict[str, tuple[threading.Thread, Callable[[], None]]] = {}
        self._table = MountTable()
        self._watching = Watching(
            wishes_of(settings),
            parts.disk,
            table=self._table,
            ignores=ignores_of(settings),
            monotonic=clock.monotonic,
            log=log,
        )
        self._snapshot = Snapshot(parts, since=clock.now(), version=__version__)
        self._disk_guard = DiskGuard(
            parts.breakers,
            min_free=settings.retention.min_free,
            reserve=reserve or Reserve(settings.state_file),
        )
        self._housekeeper = Housekeeper(parts, clock=clock, stopping=stopping, log=log)
        self._marking = Marking(
            parts.roots.guard, breakers=parts.breakers, stopping=stopping, log=log
        )
        self._pruning = prunings_of(
            settings, parts, table=self._table, clock=clock, stopping=stopping, log=log
        )
        self._soundings = Soundings(
            parts.disk,
            _sounded(settings),
            table=self._table,
            clock=clock,
            stopping=stopping,
            on_first_answers=parts.wake.set,
        )
        self._silence = Silence(
            folders_of(settings),
            self._soundings,
            breakers=parts.breakers,
            schedule=parts.schedule,
            monotonic=clock.monotonic,
            after_s=periods.silent_after_s,
        )
        self._notifying = self._notifying_of(settings)
        self._listening = Listening(
            self._receiving_of(settings), log=log, monotonic=clock.monotonic
        )
        self._reloading = Reloading(
            parts,
            means or Means(lambda: parts.settings, lambda _: parts.engine),
            follow=self._follow,
            manager=self._manager,
            log=log,
        )
        self._pulse = Pulse(
            self._manager,
            parts.store,
            parts.breakers,
            monotonic=clock.monotonic,
            log=log,
            stuck_after_s=periods.stuck_after_s,
        )
        self._ended: set[str] = set()  # threads that returned: nobody misses them
        self._threads_made = 0
        self._turns: dict[str, Turn] = {}  # looks at inboxes
        self._steps: dict[str, Turn] = {}  # of workers
        self._workers = 0
        self._workers_at_most = sys.maxsize
        self._is_short_of_threads = False
        self.has_abandoned = False  # a thread still runs: nothing may be closed under it
        self._next_words_at = 0.0
        self._next_mind_at = 0.0
        self._count_every_s = periods.count_every_s
        self._next_count_at = clock.monotonic() + periods.count_every_s
        self._counted_version = -1
        self._words_version = -1

    def run(self, *, once: bool) -> int:
        """Start the threads, schedule until the end, stop the threads."""
        self._signals.wake = self._parts.wake.set
        self._stopping.is_asked_to = lambda: self._signals.is_stopping
        if not self._resume():
            return EXIT_OK
        try:
            if once:
                for pruning in self._pruning.values():
                    pruning.hurry()
            else:
                self._listening.keep()  # before anything else: it may be wrongly configured
            self._start_threads()
            self._manager.ready()
            while not self._signals.is_stopping:
                if self._tick(once=once):
                    break
                turns = {**self._turns, **self._steps}
                threads = [thread for thread, _ in self._threads.values()]
                is_config_wrong = self._parts.config_error is not None
                self._pulse.beat(turns, threads, is_config_wrong=is_config_wrong)
        finally:
            self._stop_threads()
            with suppress(EnvironmentFault):
                self._snapshot.show_last(
                    self._clock.monotonic(), self._watching.modes, self._listening.shown()
                )
        return EXIT_TRY_AGAIN if once and self._has_left_work() else EXIT_OK

    def _resume(self) -> bool:
        """Take up what the last daemon left; false when a signal came before that was possible."""
        while not self._signals.is_stopping:
            try:
                self._parts.runner.resume()
                self._parts.words.obey()
            except EnvironmentFault as fault:
                self._parts.breakers.open(fault, kind="main")
                tell_waiting(self._manager, fault)
                self._wait(START_AGAIN_S)
            else:
                self._parts.breakers.close("state", kind="main")
                return True
        return False

    def _has_left_work(self) -> bool:
        """Tell whether an open breaker, or the state file, keeps something from going on."""
        inboxes = self._parts.inboxes.values()
        if any(self._parts.breakers.is_open(inbox.name) for inbox in inboxes):
            return True
        if any(inbox.is_paused() and inbox.candidates() for inbox in inboxes):
            return True
        try:
            return self._parts.schedule.has_gated_work()
        except EnvironmentFault:
            return True

    # --- the main thread's turn -------------------------------------------------------------------

    def _tick(self, *, once: bool) -> bool:
        """Do one turn of the schedule; true when with `once` nothing is left to do."""
        try:
            for job in self._parts.schedule.take_ready():
                self._jobs.put(job)
            self._obey_words()
            self._count_on()
            self._snapshot.show(
                self._clock.monotonic(), self._watching.modes, self._listening.shown()
            )
            due_in_s = self._parts.schedule.next_due_in_s()
            is_over = once and self._is_idle()
        except EnvironmentFault as fault:
            self._parts.breakers.open(fault, kind="main")
            self._wait(TICK_S)
            return False
        self._parts.breakers.close("state", kind="main")
        self._mind_threads()
        if not once:
            self._listening.keep_on()
        self._heed_hangups()
        if not is_over:
            self._wait(min(TICK_S, TICK_S if due_in_s is None else max(due_in_s, 0.01)))
        return is_over

    def _wait(self, seconds: float) -> None:
        if not self._signals.is_stopping:
            self._parts.wake.wait(seconds)

    def _heed_hangups(self) -> None:
        if self._signals.hangups:
            self._signals.hangups = 0
            self._reloading.ask()
        self._reloading.mind()

    def _follow(self, orders: Orders) -> None:
        """Let threads and what watches over them follow the parts, which are others now."""
        settings = orders.settings
        folders = folders_of(settings)
        for folder in self._soundings.use(_sounded(settings)):
            self._start(self._numbered(SOUNDING), self._soundings.asking(folder))
        self._silence.use(folders)
        for name in self._turns.keys() - folders.keys():
            self._turns.pop(name, None)
        self._disk_guard.use(min_free=settings.retention.min_free)
        self._marking.use()
        pruner = pruner_of(
            settings, self._parts, table=self._table, clock=self._clock, log=self._log
        )
        for pruning in self._pruning.values():
            pruning.use(pruner)
        self._watching.use(wishes_of(settings), ignores_of(settings))
        if not self._listening.goes_by(settings):
            self._listening.use(self._receiving_of(settings))
        if any(key.startswith("notify.") for key in orders.changed):
            self._notifying.stop()
            self._notifying = self._notifying_of(settings)
            for name, work in self._notifying.threads():
                self._start(self._numbered(name), work)
        for name, inbox in orders.inboxes.items():
            self._start(self._numbered(f"inbox-{name}"), partial(self._look_after, inbox))
        self._hire()
        for _ in range(self._workers - self._workers_wanted()):
            self._jobs.put(None)

    def _notifying_of(self, settings: Settings) -> Notifying:
        return Notifying(
            settings,
            self._parts,
            clock=self._clock,
            stopping=self._stopping,
            chance=SystemRandom().random,
            log=self._log,
        )

    def _receiving_of(self, settings: Settings) -> Receiving:
        daemon_id = self._parts.places.daemon_id
        return Receiving(settings, daemon_id=lambda: daemon_id, log=self._log)

    @property
    def _settings(self) -> Settings:
        return self._parts.settings

    def _obey_words(self) -> None:
        now = self._clock.monotonic()
        if now < self._next_words_at:
            return
        self._next_words_at = now + WORD_PERIOD_S
        version = self._parts.store.database.data_version()
        if version != self._words_version and self._parts.words.obey():
            self._words_version = version

    def _count_on(self) -> None:
        """Count on when other threads have changed rows: a copy of the state file is old by now."""
        now = self._clock.monotonic()
        if now < self._next_count_at:
            return
        self._next_count_at = now + self._count_every_s
        version = self._parts.store.database.data_version()
        if version != self._counted_version:
            self._counted_version = version
            self._parts.roots.count_on()

    def _is_idle(self) -> bool:
        within_s = self._settings.limits.retry_at_most_s
        if not self._notifying.is_idle():
            return False
        is_open = self._parts.breakers.is_open
        if not all(one.has_looked or is_open(root) for root, one in self._pruning.items()):
            return False
        if not all(inbox.is_idle() for inbox in self._parts.inboxes.values()):
            return False
        if not self._parts.schedule.is_idle(within_s=within_s):
            return False
        self._parts.schedule.refresh()
        return self._parts.schedule.is_idle(within_s=within_s) and not self._parts.store.words()

    # --- threads ----------------------------------------------------------------------------------

    def _start_threads(self) -> None:
        self._integrity.start()
        self._start("housekeeper", self._housekeeper.keep)
        for name, work in self._notifying.threads():
            self._start(name, work)
        for root, pruning in self._pruning.items():
            self._start(f"pruning-{root}", pruning.keep)
        for folder in self._soundings.folders:
            self._start(self._numbered(SOUNDING), self._soundings.asking(folder))
        for name in MARKED_ROOTS:
            self._start(f"{MARKS}{name}", partial(self._marking.keep, name))
        self._await_first_look()
        self._judge_free_space()
        for name, inbox in self._parts.inboxes.items():
            self._start(f"inbox-{name}", partial(self._look_after, inbox))
        self._hire()  # last: where threads are few, the others must have theirs

    def _hire(self) -> None:
        """Have a worker for each place in the lanes, and one for each that hangs, within bounds."""
        while self._workers < min(self._workers_wanted(), self._workers_at_most):
            if not self._start(self._numbered(WORKER), self._work):
                self._make_do()
                return
            self._workers += 1

    def _workers_wanted(self) -> int:
        places = sum(limits_of(self._settings).lanes.values())
        return places + min(self._parts.schedule.count_stuck(), places)

    def _make_do(self) -> None:
        """Work with fewer, and leave some threads to those that come and go: listings, senders."""
        spare = max(0, min(SPARE_THREADS, self._workers - 1))
        self._workers_at_most = max(1, self._workers - spare)
        for _ in range(spare):
            self._jobs.put(None)

    def _await_first_look(self) -> None:
        """Take no scan before free space was looked at, unless a share hangs."""
        deadline = self._clock.monotonic() + FIRST_LOOK_AT_MOST_S
        while not self._soundings.has_looked() and not self._signals.is_stopping:
            left_s = deadline - self._clock.monotonic()
            if left_s <= 0:
                return
            self._wait(left_s)

    def _judge_free_space(self) -> None:
        """Judge what is free where something is written."""
        written = chain.from_iterable(marked_folders_of(self._settings).values())
        folders = {self._settings.state_file.parent, *written}
        self._disk_guard.judge(self._soundings.free_bytes(folders))

    def _start(self, name: str, target: Callable[[], None]) -> bool:
        """Start a thread; false where the machine has none left: it is tried again later."""
        thread = threading.Thread(
            target=self._run_thread, args=(name, target), name=name, daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            if not self._is_short_of_threads:
                self._is_short_of_threads = True
                self._log("thread.defect", reason=f"{name}: {NO_THREAD}")
            if name.startswith(WORKER):
                return False
        self._threads[name] = (thread, target)
        return thread.ident is not None

    def _run_thread(self, name: str, target: Callable[[], None]) -> None:
        try:
            target()
            self._ended.add(name)
        finally:
            self._parts.store.database.leave()

    def _numbered(self, name: str) -> str:
        """Return a name for a thread that none has: an old one of the same inbox may still hang."""
        if name not in self._threads and not name.endswith("-"):
            return name
        self._threads_made += 1
        return (
            f"{name}{self._threads_made}" if name.endswith("-") else f"{name}-{self._threads_made}"
        )

    def _mind_threads(self) -> None:
        """See to those who hang, and start a thread again that ended, whatever ended it."""
        now = self._clock.monotonic()
        if now < self._next_mind_at:
            return
        self._next_mind_at = now + MIND_PERIOD_S
        self._judge_free_space()
        self._integrity.mind()
        self._silence.mind(dict(self._turns))
        self._hire()
        for name, (thread, target) in list(self._threads.items()):
            if thread.is_alive():
                continue
            if name in self._ended:
                self._ended.discard(name)
                del self._threads[name]
                self._workers -= name.startswith(WORKER)
                continue
            if thread.ident is not None:
                self._log("thread.defect", reason=f"{name} ended and is started again")
            self._start(name, target)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None or self._stopping.event.is_set():
                return
            case_id, state = job
            self._steps[case_id] = Turn(self._clock.monotonic(), threading.get_native_id())
            try:
                self._parts.runner.run(case_id, state)
            except Exception as error:  # noqa: BLE001 - the top of a thread: it must not die
                self._log("thread.defect", case_id=case_id, step=str(state), error=error)
            finally:
                self._steps.pop(case_id, None)
            self._parts.transfers.forget(case_id)
            self._parts.wake.set()

    def _look_after(self, inbox: Inbox) -> None:
        recipe = inbox.options.recipe
        while not self._stopping.event.is_set() and self._parts.inboxes.get(recipe) is inbox:
            self._turns[inbox.name] = Turn(self._clock.monotonic(), threading.get_native_id())
            self._watching.keep(inbox)
            try:
                wait_s = inbox.turn()
            except Exception as error:  # noqa: BLE001 - the top of a thread: it must not die
                self._log("thread.defect", recipe=inbox.options.recipe, error=error)
                wait_s = 5.0
            self._turns.pop(inbox.name, None)
            self._parts.wake.set()
            inbox.wake.wait(min(max(wait_s, 0.02), 5.0))
        self._watching.drop(inbox)
        if not self._stopping.event.is_set():
            self._parts.breakers.drop({inbox.name})  # which its last look may have opened

    def _stop_threads(self) -> None:
        grace_s = self._settings.limits.stop_grace_s
        deadline = time.monotonic() + grace_s
        # A transfer that is nearly done ends before the deadline, and has time to be recorded.
        done_by = self._clock.monotonic() + grace_s - min(LAST_ROWS_S, 0.1 * grace_s)
        self._manager.status("Stopping")
        self._manager.stopping(within_s=grace_s + AFTER_GRACE_S)
        with suppress(EnvironmentFault):
            self._parts.store.record_stop()  # first: what is abandoned now is no step's fault
        self._stopping.spares = lambda case_id: self._parts.transfers.ends_by(case_id, done_by)
        self._stopping.event.set()
        self._listening.begin_stop()
        for _ in self._threads:
            self._jobs.put(None)
        for inbox in self._parts.inboxes.values():
            inbox.wake.set()
        self._watching.stop()
        self._integrity.stop()
        # Soundings, marks and senders hold nothing: nobody waits for one that hangs.
        threads = self._started(lambda name: not name.startswith((SOUNDING, MARKS, SENDER)))
        _join(threads, until=deadline)
        brief = self._started(lambda name: name.startswith((MARKS, SENDER)))
        _join(brief, until=time.monotonic() + 1.0)
        has_read = self._reloading.has_ended(within_s=max(0.0, deadline - time.monotonic()))
        has_stopped_receiving = self._listening.stop()
        self._notifying.stop()
        is_left = any(thread.is_alive() for thread in threads)
        if is_left or not has_read or not has_stopped_receiving:
            self._log("daemon.abandoned", reason="a step did not end within stop_grace_s")
            self.has_abandoned = True
        else:
            self._table.close()

    def is_telling(self) -> bool:
        """Tell whether a notice is still on its way: nobody waits for a receiver that hangs."""
        return any(one.is_alive() for one in self._started(lambda name: name.startswith(SENDER)))

    def _started(self, is_meant: Callable[[str], bool]) -> list[threading.Thread]:
        found = [thread for name, (thread, _) in self._threads.items() if is_meant(name)]
        return [thread for thread in found if thread.ident is not None]


def _sounded(settings: Settings) -> tuple[Path, ...]:
    """Return the folders that are asked whether they answer, each once."""
    roots = chain.from_iterable(folders_of(settings).values())
    return tuple(dict.fromkeys([settings.state_file.parent, *roots]))


def _join(threads: list[threading.Thread], *, until: float) -> None:
    """Wait for threads to end until a monotonic moment."""
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
