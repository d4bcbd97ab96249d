"""The daemon: threads around the parts, signals, and the end.

The main thread schedules, takes signals, obeys words and shows a snapshot, and never asks a folder;
one thread looks after each inbox, one asks each folder whether it answers, one keeps the notes;
bounded workers run one attempt each. They share the database, queues and events.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

from vpe_watcher import __version__
from vpe_watcher.adapters.manager import Manager
from vpe_watcher.adapters.mounts import MountTable
from vpe_watcher.adapters.reserve import Reserve
from vpe_watcher.app.assembly import Clock, Parts, Stopping
from vpe_watcher.app.crew import Crew, join
from vpe_watcher.app.housekeeper import Housekeeper
from vpe_watcher.app.integrity import Integrity
from vpe_watcher.app.listening import Listening
from vpe_watcher.app.marking import MARKED_ROOTS, Marking
from vpe_watcher.app.notifying import SENDER, Notifying
from vpe_watcher.app.pruning import pruner_of, prunings_of
from vpe_watcher.app.pulse import STUCK_AFTER_S, Pulse
from vpe_watcher.app.receiving import Receiving
from vpe_watcher.app.reload import Orders
from vpe_watcher.app.reloading import Means, Reloading
from vpe_watcher.app.signals import Signals
from vpe_watcher.app.silence import SILENT_AFTER_S, Silence
from vpe_watcher.app.snapshot import Snapshot
from vpe_watcher.app.soundings import Soundings
from vpe_watcher.app.standstill import Turn
from vpe_watcher.app.start import START_AGAIN_S, Tell, tell_waiting
from vpe_watcher.app.terms import folders_of, marked_folders_of
from vpe_watcher.app.watching import Watching, ignores_of, wishes_of
from vpe_watcher.app.workers import Workers
from vpe_watcher.core.breakers import DAMAGED
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.flow.breakers import Log
from vpe_watcher.flow.disk_guard import DiskGuard
from vpe_watcher.flow.inbox import Inbox
from vpe_watcher.flow.state_probe import StateProbe

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
SOUNDING = "sounding-"
MARKS = "marking-"


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
        self.tell: Tell = lambda _code, _since: None  # what is wrong with the state file
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
        self._crew = Crew(leave=parts.store.database.leave, log=log)
        self._workers = Workers(
            parts,
            self._crew,
            monotonic=clock.monotonic,
            is_stopping=stopping.event.is_set,
            log=log,
        )
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
        self._state_probe = StateProbe(parts.store, parts.breakers, monotonic=clock.monotonic)
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
        self._turns: dict[str, Turn] = {}  # looks at inboxes
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
                self._pulse.beat(
                    {**self._turns, **self._workers.steps()},
                    self._crew.threads(),
                    is_config_wrong=self._parts.config_error is not None,
                )
        finally:
            self._stop_threads()
            with suppress(EnvironmentFault):
                self._snapshot.show_last(
                    self._clock.monotonic(), self._watching.modes, self._listening.shown()
                )
        return EXIT_TRY_AGAIN if once and self._has_left_work() else EXIT_OK

    def _resume(self) -> bool:
        """Take up what the last daemon left; false when a signal came before that was possible.

        Raises `EnvironmentFault`: the state file is damaged, which no waiting mends.
        """
        while not self._signals.is_stopping:
            try:
                self._parts.runner.resume()
                self._parts.words.obey()
            except EnvironmentFault as fault:
                if fault.code == DAMAGED:
                    raise
                self._parts.breakers.open(fault, kind="main")
                self._tell_state()
                tell_waiting(self._manager, fault)
                self._wait(START_AGAIN_S)
            else:
                self._parts.breakers.written()  # that it works was recorded
                return True
        return False

    def _has_left_work(self) -> bool:
        """Tell whether an open breaker, or the state file, keeps something from going on."""
        inboxes = self._parts.inboxes.values()
        if any(inbox.is_cut_off() for inbox in inboxes):
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
            self._workers.take(self._parts.schedule.take_ready())
            if self._state_probe.may_write():
                self._obey_words()
                self._count_on()
                self._snapshot.show(
                    self._clock.monotonic(), self._watching.modes, self._listening.shown()
                )
            due_in_s = self._parts.schedule.next_due_in_s()
            is_over = once and self._is_idle()
        except EnvironmentFault as fault:
            self._parts.breakers.open(fault, kind="main")
            due_in_s, is_over = TICK_S, False
        self._tell_state()
        self._mind_threads()
        if not once:
            self._listening.keep_on()
        self._heed_hangups()
        if not is_over:
            self._wait(min(TICK_S, TICK_S if due_in_s is None else max(due_in_s, 0.01)))
        return is_over

    def _tell_state(self) -> None:
        """Tell beside the state file what it may not hold: that it cannot be written."""
        broken = [one for one in self._parts.breakers.all() if one.name == "state"]
        for one in broken:
            self.tell(one.code, datetime.fromisoformat(one.since).timestamp())
        if not broken:
            self.tell(None, 0.0)

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
            self._crew.start(self._crew.numbered(SOUNDING), self._soundings.asking(folder))
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
            self._listening.use(self._receiving_of(settings), settings)
        if any(key.startswith("notify.") for key in orders.changed):
            self._notifying.stop()
            self._notifying = self._notifying_of(settings)
            for name, work in self._notifying.threads():
                self._crew.start(self._crew.numbered(name), work)
        for name, inbox in orders.inboxes.items():
            self._crew.start(self._crew.numbered(f"inbox-{name}"), partial(self._look_after, inbox))
        self._workers.adjust()

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
        try:
            self._parts.schedule.refresh()
            return self._parts.schedule.is_idle(within_s=within_s) and not self._parts.store.words()
        except EnvironmentFault as fault:
            if fault.code != DAMAGED:
                raise
            self._parts.breakers.open(fault, kind="main")
            return True  # nobody will ever tell what else is due

    # --- threads ----------------------------------------------------------------------------------

    def _start_threads(self) -> None:
        self._integrity.start()
        self._crew.start("housekeeper", self._housekeeper.keep)
        for name, work in self._notifying.threads():
            self._crew.start(name, work)
        for root, pruning in self._pruning.items():
            self._crew.start(f"pruning-{root}", pruning.keep)
        for folder in self._soundings.folders:
            self._crew.start(self._crew.numbered(SOUNDING), self._soundings.asking(folder))
        for name in MARKED_ROOTS:
            self._crew.start(f"{MARKS}{name}", partial(self._marking.keep, name))
        self._await_first_look()
        self._judge_free_space()
        for name, inbox in self._parts.inboxes.items():
            self._crew.start(f"inbox-{name}", partial(self._look_after, inbox))
        self._workers.hire()  # last: where threads are few, the others must have theirs

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
        places = {self._settings.state_file.parent: "state"}
        for name, folders in marked_folders_of(self._settings).items():
            places |= dict.fromkeys(folders, name)
        found = self._soundings.free_bytes(places)
        lowest: dict[str, int] = {}
        for folder, free in found.items():
            lowest[places[folder]] = min(free, lowest.get(places[folder], free))
        self._disk_guard.judge(lowest)

    def _mind_threads(self) -> None:
        """See to those who hang, and start a thread again that ended, whatever ended it."""
        now = self._clock.monotonic()
        if now < self._next_mind_at:
            return
        self._next_mind_at = now + MIND_PERIOD_S
        self._judge_free_space()
        self._integrity.mind()
        self._silence.mind(dict(self._turns))
        self._workers.hire()
        self._crew.mind()

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
        if not self._stopping.event.is_set() and recipe not in self._parts.inboxes:
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
        self._workers.dismiss_all()
        for inbox in self._parts.inboxes.values():
            inbox.wake.set()
        self._watching.stop()
        self._integrity.stop()
        # Soundings, marks and senders hold nothing: nobody waits for one that hangs.
        threads = self._crew.started(lambda name: not name.startswith((SOUNDING, MARKS, SENDER)))
        join(threads, until=deadline)
        brief = self._crew.started(lambda name: name.startswith((MARKS, SENDER)))
        join(brief, until=time.monotonic() + 1.0)
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
        return any(
            one.is_alive() for one in self._crew.started(lambda name: name.startswith(SENDER))
        )


def _sounded(settings: Settings) -> tuple[Path, ...]:
    """Return the folders that are asked whether they answer, each once."""
    roots = chain.from_iterable(folders_of(settings).values())
    return tuple(dict.fromkeys([settings.state_file.parent, *roots]))
