"""A house that outlives its daemons: folders, a state file, an Engine, and one life after another.

A life that is to die is a child process that dies for good; the Engine stays with the parent, which
must have no other thread. Time is made up, and goes on from one life to the next.
"""

from __future__ import annotations

import os
import shutil
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import cast

from tests.crash.points import (
    DIED,
    MortalCalls,
    MortalDatabase,
    MortalDisk,
    Points,
    request_of,
    sent_over,
)
from tests.flow.house import FakeTime, House
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.settings import Settings
from vpe_watcher.adapters.store import Database, Queries, Store
from vpe_watcher.app.assembly import Clock, Parts, Stopping, assemble
from vpe_watcher.app.terms import folders_of
from vpe_watcher.core.model import Case
from vpe_watcher.flow.roots import check_identity
from vpe_watcher.sandbox.adapter import SandboxAdapter
from vpe_watcher.sandbox.messages import Request, Response
from vpe_watcher.sandbox.rules import Sandbox

FOLDERS = ("inbox", "outbox", "archive", "failed", "state", "engine", "export")
LIFE_AT_MOST_S = 600
BETWEEN_LIVES_S = 5.0


@dataclass(frozen=True, slots=True)
class Life:
    """How a life ended: at which point it died, or how many it passed. `words` say where.

    `defects` are steps that met an exception which no step should meet.
    """

    has_died: bool
    points: int
    words: str = ""
    defects: tuple[str, ...] = ()


class BrokenLife(Exception):
    """A daemon ended in a way that is neither rest nor the death that was meant for it."""


@dataclass
class Stage(House):
    """A house for daemons that die. `far` names folders on file systems of their own.

    `is_fine` counts more points (see `Points`); `known_settings` spares reading them again;
    `meddle` is what somebody else does just before a rename. `fails_for`: a job that was sent
    these bytes fails at the Engine.
    """

    far: tuple[str, ...] = ()
    is_fine: bool = False
    known_settings: Settings | None = None
    meddle: Callable[[Path], None] = lambda _source: None
    fails_for: bytes = b""

    def __post_init__(self) -> None:
        """Make the folders anew, and the Engine; no daemon lives yet."""
        shutil.rmtree(self.root, ignore_errors=True)
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True, mode=0o700)
        self.lives = 0
        self.dropped: dict[str, bytes] = {}
        self.written_first: dict[str, bytes] = {}
        self.expired: set[str] = set()  # of what was dropped: retention may remove it
        self.time = FakeTime()
        self.sandbox = Sandbox(
            self.root / "engine", simple=True, options=self.options, clock=self.time.now
        )
        self.settings = self.known_settings or self.read_settings()
        self.events: list[tuple[str, dict[str, object]]] = []

    # --- the parent -------------------------------------------------------------------------------

    def live_once(self, fatal: int = 0, *, points: Points | None = None) -> Life:
        """Let a daemon live until all is quiet, or until its point number `fatal`.

        `points` are those that a life which does not die passes.

        Raises:
            BrokenLife: it met an error that stops it, or found no rest.
        """
        self.lives += 1
        self.time.advance(BETWEEN_LIVES_S)
        self.events.clear()
        if fatal:
            return self._live_in_a_child(fatal)
        return self._live(points or Points(is_fine=self.is_fine), self.answer)

    def _live_in_a_child(self, fatal: int) -> Life:
        ours, theirs = Pipe()
        child = os.fork()
        if child == 0:
            ours.close()
            self._be_daemon(theirs, fatal)
        theirs.close()
        with ours:
            end = self._serve(ours)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != (DIED if end.has_died else 0):
            raise BrokenLife(f"exit {code}: {end.words}")
        return end

    def _serve(self, line: Connection) -> Life:
        """Be the Engine for one life, and hear how it ends."""
        end = Life(has_died=False, points=0, words="it ended without a word")
        while True:
            try:
                message = line.recv()
            except (EOFError, ConnectionResetError):
                return end
            if isinstance(message, Life):
                end = message
                continue
            now, *call = message
            self.time.advance(now - self.time.wall)
            line.send(self.answer(request_of(*call)))

    def answer(self, request: Request) -> Response:
        """Be the Engine for one request."""
        if self.fails_for:
            jobs = [job for job in self.sandbox.ledger.jobs.values() if job.id in request.url]
            uploads = [one for job in jobs for e in job.inputs.values() for one in e.uploads]
            is_bad = any(self.fails_for in one.path.read_bytes() for one in uploads)
            self.sandbox.set_options(success=not is_bad)
        return self.sandbox.handle(request)

    def live_partly(self, is_enough: Callable[[], bool], *, only_look: bool = False) -> None:
        """Let a daemon live until something has come about; then it ends between two steps.

        `only_look`: it takes what is ready, and runs no step.
        """
        self.lives += 1
        self.time.advance(BETWEEN_LIVES_S)
        self.disk = self._disk(Points())
        self.adapter = SandboxAdapter(self.sandbox)
        self._start_with(Points())
        while not is_enough():
            self.look() if only_look else self.turn()
            self.time.advance(1.0)
        self.close()

    def drop(self, name: str, content: bytes | None = None, *, recipe: str = "") -> Path:
        """Put a file into the inbox, and remember it."""
        path = super().drop(name, content, recipe=recipe)
        self.dropped[name] = path.read_bytes()
        return path

    def export(self, name: str, content: bytes) -> None:
        """Put a file where a recipe leaves it in place, and remember it."""
        path = self.root / "export" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.dropped[name] = content

    def expire(self, *names: str, days: float) -> None:
        """Let days go by, after which retention removes what was dropped under these names."""
        self.time.advance(days * 86_400)
        self.expired.update(names)

    def drop_anew(self, name: str, content: bytes) -> None:
        """Put another file of a name into the inbox; what was dropped before is not forgotten."""
        before = self.dropped[name]
        self.drop(name, content)
        self.dropped |= {name: before, f"the new {name}": content}

    def leave_word(self, word: str, case_name: str, *, may_cost: bool = False) -> None:
        """Leave a person's word for the next life."""
        with self.database() as database:
            queries = Queries(database, now=self.time.now)
            queries.say(word, queries.find(case_name), may_cost=may_cost)

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Open the state file as a command does."""
        database = Database(self.settings.state_file, create=False)
        try:
            yield database
        finally:
            database.close()

    def cases(self) -> list[Case]:
        """Return all cases, oldest first."""
        with self.database() as database:
            store = Store(database, now=self.time.now)
            rows = Queries(database, now=self.time.now).cases()
            found = [store.load(row["case_id"]) for row in reversed(rows)]
        return [case for case in found if case is not None]

    # --- the child --------------------------------------------------------------------------------

    def _be_daemon(self, line: Connection, fatal: int) -> None:
        """Live one life; whatever happens, nothing of the parent's runs afterwards."""
        status = 1
        try:
            line.send(self._live_on_a_line(line, fatal))
            status = 0
        except BaseException:  # noqa: BLE001 - a child of a fork must not come back
            line.send(Life(has_died=False, points=0, words=traceback.format_exc()))
        finally:
            os._exit(status)

    def _live_on_a_line(self, line: Connection, fatal: int) -> Life:
        def die(points: int, words: str) -> None:
            line.send(Life(has_died=True, points=points, words=words, defects=self._defects()))

        points = Points(fatal, die, is_fine=self.is_fine)
        return self._live(points, lambda request: sent_over(line, request, self.time.wall))

    # --- either -----------------------------------------------------------------------------------

    def _live(self, points: Points, handle: Callable[[Request], Response]) -> Life:
        self.disk = self._disk(points)
        self.adapter = SandboxAdapter(cast("Sandbox", MortalCalls(handle, points)))
        self._start_with(points)
        try:
            self._live_until_quiet()
        finally:
            self.close()
        return Life(has_died=False, points=points.passed, defects=self._defects())

    def _disk(self, points: Points) -> Disk:
        return MortalDisk(points, self._devices(), self.meddle)

    def _devices(self) -> dict[Path, int]:
        return {self.root / name: number for number, name in enumerate(self.far, start=1)}

    def _defects(self) -> tuple[str, ...]:
        return tuple(str(fields) for event, fields in self.events if event == "step.defect")

    def _start_with(self, points: Points) -> None:
        """Start a daemon as the real one starts, on a state file with points."""
        self.stopping = Stopping()
        store = Store(MortalDatabase(self.settings.state_file, points), now=self.time.now)
        inboxes = {name: recipe.inbox for name, recipe in self.settings.recipes.items()}
        check_identity(self.disk, store, folders_of(self.settings), inboxes)
        store.record_start(fresh_id="house")
        self.engine = self._engine(self.settings)
        self.parts: Parts = assemble(
            self.settings,
            store=store,
            engine=self.engine,
            disk=self.disk,
            clock=Clock(self.time.now, self.time.monotonic),
            stopping=self.stopping,
            random=Random(self.lives),
            log=self.log,
        )
        self.parts.runner.resume()
        self.parts.words.obey()

    def _live_until_quiet(self) -> None:
        for _ in range(LIFE_AT_MOST_S):
            self.turn()
            if self._is_quiet():
                self.turn()
                return
            self.time.advance(1.0)
        raise BrokenLife(f"no rest after {LIFE_AT_MOST_S} s: {self.events[-12:]}")

    def _is_quiet(self) -> bool:
        """Tell whether nothing is under way, in the inbox, or still to be obeyed."""
        store = self.parts.store
        if store.due() or store.words():
            return False
        return all(box.is_idle() and not box.candidates() for box in self.parts.inboxes.values())
