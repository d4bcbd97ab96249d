"""One simulated world: folders, a state file, an Engine, and a daemon that dies and comes back.

The daemon is the real core, flow, formats and store, put together by the real `assemble`. Simulated
are the clock, the disk (`MemoryDisk`), the way to the Engine (`Network`) and who has files open.
SQLite is real and lies on tmpfs: a commit counts as durable, and a death is an exception in this
process that throws the daemon away. Attempts overlap: each stops at its calls, its commits and its
renames, and looks, words, drops, deaths and other attempts come in between.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, BinaryIO

import pytest

from tests.flow.house import FakeTime, merged
from tests.simulation.attempts import Attempts, Death
from tests.simulation.disk import File, Folder, MemoryDisk
from tests.simulation.network import Network, SimulatedTransport
from vpe_watcher.adapters import mounts
from vpe_watcher.adapters.engine import (
    ClientCredentials,
    EngineClient,
    Timeouts,
    transfer,
    zipped,
)
from vpe_watcher.adapters.engine.sources import changed
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.leases import Openness
from vpe_watcher.adapters.reserve import Reserve
from vpe_watcher.adapters.settings import Settings, load_settings
from vpe_watcher.adapters.store import Begun, Database, Queries, Store
from vpe_watcher.app.assembly import Clock, Parts, Stopping, assemble
from vpe_watcher.app.terms import folders_of
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.machine import Decision
from vpe_watcher.core.model import Outcome
from vpe_watcher.flow import roots
from vpe_watcher.flow.disk_guard import DiskGuard
from vpe_watcher.flow.notes import HeldNotes
from vpe_watcher.flow.places import EVIDENCE
from vpe_watcher.flow.roots import check_identity
from vpe_watcher.sandbox.messages import Request
from vpe_watcher.sandbox.options import Options
from vpe_watcher.sandbox.rules import Sandbox

URL = "https://sandbox.test"
ROOTS = ("inbox", "outbox", "archive", "failed")
EXPORT = "export"
RECIPES: dict[str, dict[str, Any]] = {
    "teeth": {"require": ["ios_upper", "ios_lower"]},
    "marked": {"ready_marker": ".done"},
    "pacs": {"leave_in_place": True, "existing": "take"},
}
# What a person may change between two starts.
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"retention": {"on_success": "delete"}},
    {"intake": {"duplicates": "rerun"}},
    {"limits": {"jobs_in_flight": 1, "uploads": 1, "downloads": 1}},
    {"limits": {"jobs_per_day": 3}},
    {"intake": {"late_slices": "ignore"}, "delivery": {"identifiers": False}},
    {"engine": {"version": "25.01"}},
    {"intake": {"settle_s": 0.5, "scan_every_s": 3}},
)
FULL = {errno.ENOSPC, errno.EDQUOT}
OPTIONS = Options(token_expiry_s=150.0)  # so that tokens are asked for often
CHANGING = frozenset(
    {"make_folder", "rename", "create", "write", "replace", "writing", "sync_folder",
     "remove_file", "remove_tree", "copy"}
)  # fmt: skip


class PowerCut(Death):
    """The machine is off: what was not synced may be gone."""


class Fuse:
    """Ends a life at the n-th moment from now, or at the next of a name. Counts where."""

    def __init__(self) -> None:
        self.left = 0
        self.where = ""
        self.death: type[Death] = Death
        self.fired: Counter[str] = Counter()
        self.is_safe = False
        self.is_burnt = False

    def reach(self, what: str) -> None:
        """Pass a moment, or die there; who is dead comes no further."""
        if self.is_burnt:
            raise self.death
        if not self.left or self.is_safe or (self.where and what != self.where):
            return
        self.left -= 1
        if not self.left:
            kind = "power cut" if self.death is PowerCut else "crash"
            self.fired[f"{kind}: {what}"] += 1
            self.is_burnt = True
            raise self.death(what)


class Troubles:
    """What the disks refuse: the next verbs of a kind, or all below a root until a moment."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.once: dict[str, list[int]] = {}
        self.lasting: dict[str, tuple[int, float]] = {}
        self.fired: Counter[str] = Counter()
        self.met: list[tuple[str, int, bool]] = []  # root, number, whether it lasts
        self.is_off = False

    def clear(self) -> None:
        """Let all be well."""
        self.once.clear()
        self.lasting.clear()

    def allow(self, verb: str, root: str) -> None:
        """Refuse a verb below a root, or not."""
        if self.is_off or not (self.once or self.lasting):
            return
        number = self._next(verb, root)
        if number:
            raise OSError(number, os.strerror(number))

    def _next(self, verb: str, root: str) -> int:
        waiting = self.once.get(verb)
        if waiting:
            number, lasts = waiting.pop(), False
            if not waiting:
                del self.once[verb]
        else:
            number, until = self.lasting.get(root, (0, 0.0))
            lasts = True
            if not number:
                return 0
            if until <= self._monotonic():
                del self.lasting[root]
                return 0
            if number != errno.EIO and verb not in CHANGING:
                return 0
        kind = "lasting" if lasts else "once"
        self.fired[f"disk {errno.errorcode[number]} {kind}"] += 1
        self.met.append((root, number, lasts))
        return number

    def is_out_of_order(self, root: str) -> bool:
        """Tell whether a root refuses now."""
        number, until = self.lasting.get(root, (0, 0.0))
        return bool(number) and until > self._monotonic()


class ChaosDisk(MemoryDisk):
    """A disk in memory that refuses, and on which daemons die."""

    def __init__(self, base: Path, fuse: Fuse, troubles: Troubles, **more: Any) -> None:
        super().__init__(base, **more)
        self._fuse = fuse
        self._troubles = troubles
        self.on_evidence: Callable[[bytes], None] = lambda _content: None
        self.on_renamed: Callable[[], None] = lambda: None

    def reach(self, what: str) -> None:
        """Pass a moment, or die there; others go on behind a rename."""
        if self._fuse.left:
            self._fuse.reach(what)
        if what == "renamed":
            self.on_renamed()

    def replace(self, source: Path, target: Path) -> None:
        """Rename over a file of ours; what a claim says of payment is looked at."""
        super().replace(source, target)
        node = self.find(target)
        if target.name == EVIDENCE and isinstance(node, File):
            self.on_evidence(node.content)

    def allow(self, verb: str, path: Path) -> None:
        """Pass the door of a verb, or be refused. The dead do nothing."""
        if self._fuse.is_burnt:
            raise self._fuse.death
        troubles = self._troubles
        if troubles.once or troubles.lasting:
            below = path.parts[self._depth : self._depth + 1]
            troubles.allow(verb, below[0] if below else "")


class SimulatedReserve(Reserve):
    """The reserve beside the state file, without a file: spent while its disk is full."""

    def __init__(self, state_file: Path, troubles: Troubles) -> None:
        super().__init__(state_file)
        self._troubles = troubles

    def release(self) -> None:
        """Give the space back."""
        self.is_spent = True

    def keep(self) -> None:
        """Make it anew if there is room."""
        if not self._troubles.is_out_of_order("state"):
            self.is_spent = False


class ChaosDatabase(Database):
    """The real state file, with moments before and behind each commit, at which others go on.

    It lies on tmpfs, where a sync does nothing: a commit counts as durable, which
    `test_a_commit_of_the_real_state_file_is_synced` allows, and a rollback is SQLite's own.
    """

    def __init__(
        self,
        path: Path,
        fuse: Fuse,
        troubles: Troubles,
        reserve: Reserve,
        stop: Callable[[], None],
    ) -> None:
        self._fuse = fuse
        self._stop = stop
        self._troubles = troubles
        self._reserve = reserve
        super().__init__(path)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Open a write transaction as the real one does, or be refused."""
        if self._fuse.is_burnt:
            raise self._fuse.death
        try:
            self._troubles.allow("commit", "state")
        except OSError as error:
            if error.errno in FULL:
                self._reserve.release()
            raise _state_fault(error) from error
        self._stop()
        before = self.connection().total_changes
        with super().transaction() as connection:
            yield connection
            if connection.total_changes != before:
                self._fuse.reach("uncommitted")
        if connection.total_changes != before:
            self._fuse.reach("committed")
            self._stop()


def _state_fault(error: OSError) -> EnvironmentFault:
    return EnvironmentFault(
        f"The state file cannot be used now ({error.strerror}).",
        code="state_unusable",
        hint="Look at the disk of the state file.",
        breaker="state",
    )


class WatchedStore(Store):
    """The real store; `on_finish` sees each end of an attempt before it is recorded."""

    on_finish: Callable[[Begun, Decision, Outcome], None] = staticmethod(lambda *_: None)

    def finish(
        self, begun: Begun, decision: Decision, outcome: Outcome, *, if_first: bool = False
    ) -> str:
        """Record the end of an attempt."""
        self.on_finish(begun, decision, outcome)
        return super().finish(begun, decision, outcome, if_first=if_first)


class World:
    """All that is there for one seed. `base` is a folder of the real disk, in memory.

    `far` puts archive and failed on file systems of their own; `is_share`: leases say nothing.
    """

    def __init__(self, base: Path, seed: int, *, far: bool = False, is_share: bool = False) -> None:
        self.base = base
        self.is_share = is_share
        self.far = far
        self.chance = Random(seed)
        self.time = FakeTime()
        self.fuse = Fuse()
        self.attempts = Attempts()
        self.troubles = Troubles(self.time.monotonic)
        self.disk = ChaosDisk(
            base,
            self.fuse,
            self.troubles,
            now_ns=lambda: int(self.time.wall * 1e9),
            devices={"archive": 1, "failed": 2} if far else None,
        )
        self.disk.on_renamed = self._stop
        for name in (*ROOTS, EXPORT, *(f"inbox/{one}" for one in ("teeth", "marked"))):
            self.disk.put_folder(base / name)
        self.sandbox = Sandbox(base / "engine", simple=True, options=OPTIONS, clock=self.time.now)
        _number_everything(self.sandbox)
        self.network = Network(
            self.sandbox,
            now=self.time.now,
            monotonic=self.time.monotonic,
            let_pass=self.time.advance,
            reach=self._reach_call,
            before=self._before_call,
        )
        self.variant = 0
        self.lives = 0
        self.parts: Parts | None = None
        self.events: list[tuple[str, dict[str, object]]] = []
        self.log_seen = 0
        self.free = 1 << 40
        self.unmounted: dict[str, Folder] = {}
        self.before_call: Callable[[str, Request], None] = lambda _kind, _request: None
        self.on_finish: Callable[[Begun, Decision, Outcome], None] = lambda *_: None
        self._wipe()

    def _wipe(self) -> None:
        folder = self.base / "state"
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()

    # --- the daemon -------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """Return the settings in force."""
        return settings_of(self.base, self.variant)

    def boot(self) -> None:
        """Start a daemon on what is there; it may die of it.

        Raises:
            EnvironmentFault: the state file cannot be used now.
            ConfigError: it refuses.
        """
        settings = self.settings
        self.lives += 1
        stopping = _Patient(self)
        engine = self._engine(settings)
        reserve = SimulatedReserve(settings.state_file, self.troubles)
        database = ChaosDatabase(settings.state_file, self.fuse, self.troubles, reserve, self._stop)
        try:
            store = WatchedStore(database, now=self.time.now)
            store.on_finish = self._on_finish
            with self._undisturbed():
                inboxes = {name: recipe.inbox for name, recipe in settings.recipes.items()}
                doubted = check_identity(self.disk, store, folders_of(settings), inboxes)
            store.record_start(fresh_id="simulated")
            parts = assemble(
                settings,
                store=store,
                engine=engine,
                disk=self.disk,
                clock=Clock(self.time.now, self.time.monotonic),
                stopping=stopping,
                log=self.log,
                random=self.chance,
            )
            parts.roots.doubt(doubted)
            object.__setattr__(parts.ports, "openness", self._openness)
            parts.runner.resume()
            parts.words.obey()
        except BaseException:
            database.close()
            raise
        self.parts = parts
        self._locks = [*parts.roots._locks.values(), engine._tokens._lock]  # type: ignore[attr-defined]  # noqa: SLF001
        min_free = settings.retention.min_free
        self.guard = DiskGuard(parts.breakers, min_free=min_free, reserve=reserve)
        self.notes = HeldNotes(parts.ports, parts.breakers, monotonic=self.time.monotonic)

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Let threads that ask one after another in any order meet no chance."""
        self.fuse.is_safe = self.troubles.is_off = True
        try:
            yield
        finally:
            self.fuse.is_safe = self.troubles.is_off = False

    def _engine(self, settings: Settings) -> EngineClient:
        engine = EngineClient(
            base_url=settings.engine.url,
            version=settings.engine.version,
            submit_path=settings.engine.submit_route,
            auth=ClientCredentials("sandbox", lambda: "sandbox", f"{URL}/oauth/token",
                                   settings.engine.auth.audience),
            token_file=settings.state_file.with_name("token.json"),
            timeouts=Timeouts(),
            user_agent="simulated",
            now=self.time.now,
        )  # fmt: skip
        transport = SimulatedTransport(self.network)
        engine._transport = transport  # noqa: SLF001 - sockets are all that is left out
        engine._tokens._transport = transport  # type: ignore[attr-defined]  # noqa: SLF001
        return engine

    def _reach_call(self, what: str) -> None:
        """Pass a moment of a call: the daemon may die, or others go on meanwhile."""
        self.fuse.reach(what)
        self._stop()

    def _stop(self) -> None:
        """Let other attempts go on, unless this one holds what they would wait for."""
        parts = self.parts
        if parts is not None and not any(lock.locked() for lock in self._locks):
            self.attempts.stop()

    def _before_call(self, kind: str, request: Request) -> None:
        self.before_call(kind, request)

    def _on_finish(self, begun: Begun, decision: Decision, outcome: Outcome) -> None:
        self.on_finish(begun, decision, outcome)

    def die(self) -> None:
        """Throw the daemon away."""
        self.fuse.is_burnt = True
        self.attempts.die()
        self.fuse.is_burnt = False
        if self.parts is not None:
            self.parts.store.database.close()
            self.parts = None

    def close(self) -> None:
        """End the world."""
        self.die()
        self.sandbox.close()

    def log(self, event: str, /, **fields: object) -> None:
        """Take a log event."""
        self.events.append((event, fields))

    def _openness(self, _recipe: str, path: Path) -> Openness:
        if self.is_share:
            return Openness.UNKNOWN
        node = self.disk.find(path)
        if not isinstance(node, File):
            return Openness.UNKNOWN
        return Openness.OPEN if node.writers else Openness.CLOSED

    # --- mounts -----------------------------------------------------------------------------------

    def unmount(self, name: str) -> bool:
        """Let an empty folder lie where a root was; what is on it is synced by that."""
        node = self.disk.find(self.base / name)
        if name in self.unmounted or not isinstance(node, Folder):
            return False
        self.disk.sync_all(node)
        self.disk.take_away(self.base / name)
        self.unmounted[name] = node
        self.disk.put_folder(self.base / name)
        return True

    def mount(self, name: str) -> None:
        """Bring a root back."""
        self.disk.take_away(self.base / name)
        self.disk.put_back(self.base / name, self.unmounted.pop(name))

    # --- what people say --------------------------------------------------------------------------

    def say(self, word: str, case_id: str, *, may_cost: bool) -> None:
        """Leave a word in the state file, as a command does."""
        assert self.parts is not None  # said while there is a daemon
        database = self.parts.store.database
        with self._undisturbed():
            Queries(database, now=self.time.now).say(word, [case_id], may_cost=may_cost)


class _Patient(Stopping):
    """Waiting passes simulated time; after a while the trouble that was waited for is over."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def pause(self, seconds: float) -> bool:
        """Wait, and tell that we are not to stop."""
        self._world.time.advance(seconds)
        return False


def _number_everything(sandbox: Sandbox) -> None:
    """Let ids and tokens of the Engine be the same at each run of a seed."""
    made = iter(range(1, 1 << 30))
    object.__setattr__(sandbox._house, "new_id", lambda: f"job-{next(made):06d}")  # noqa: SLF001


@cache
def settings_of(base: Path, variant: int) -> Settings:
    """Return the settings of a variant; reading them takes long, and they never change."""
    common: dict[str, Any] = {
        "engine": {
            "base_url": URL,
            "auth": {
                "client_id": "sandbox",
                "client_secret": "sandbox",
                "token_url": f"{URL}/oauth/token",
            },
        },
        "job": {"outputFiles": {"meshes": [{"extension": ".stl", "structures": [name]} for name in
                                           ("mandible", "maxilla")]}},
        "intake": {"settle_s": 2, "scan_every_s": 60, "series_settle_s": 4,
                   "series_max_wait_s": 60, "min_slices": 3, "incomplete_after_s": 30},
        "limits": {"retry_first_s": 1, "retry_at_most_s": 30, "retry_for_h": 0.1,
                   "processing_at_most_h": 0.1, "poll_every_s": 5, "poll_at_most_s": 20},
        "retention": {"min_free": "1 MiB"},
        "recipes": merged(RECIPES, {"pacs": {"inbox": str(base / EXPORT)}}),
        "state_file": str(base / "state" / "state.sqlite3"),
        **{name: str(base / name) for name in ROOTS},
    }  # fmt: skip
    return load_settings(overrides=merged(common, VARIANTS[variant]), environ={}, cwd=base)


@contextmanager
def simulated_files(disk_of: Callable[[], MemoryDisk]) -> Iterator[None]:
    """Let the client read what it uploads from the simulated disk, and ask for mounts once."""

    def open_source(path: Path, *, modality: str, size: int) -> BinaryIO:
        file = disk_of().open(path)
        if len(file.read()) != size:
            raise changed(modality)
        file.seek(0)
        return file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "open_source", open_source)
        patch.setattr(zipped, "open_source", open_source)
        patch.setattr(mounts, "filesystem_of", _filesystem_of)
        patch.setattr(roots, "_reports", _asked_in_turn)
        yield


_filesystem_of = cache(mounts.filesystem_of)


def _asked_in_turn(
    disk: Disk, places: Mapping[Path, Path | None], own: Path, **_: object
) -> tuple[roots._Report, ...]:
    """Ask the roots without a thread for each: here none of them hangs."""
    return tuple(
        roots._report_of(disk, folder, claims, own)  # noqa: SLF001
        for folder, claims in sorted(places.items())
    )
