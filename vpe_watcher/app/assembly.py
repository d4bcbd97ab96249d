"""From settings to a daemon's parts: who is handed what. Builds, and does nothing else."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

from vpe_watcher.adapters import leases, mounts
from vpe_watcher.adapters.engine import (
    ClientCredentials,
    EngineClient,
    Paces,
    ReadyToken,
    Timeouts,
)
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.leases import Leases
from vpe_watcher.adapters.notify import Target
from vpe_watcher.adapters.settings import Recipe, Settings
from vpe_watcher.adapters.store import Database, Store
from vpe_watcher.app.notifying import policy_of, targets_of
from vpe_watcher.app.terms import (
    SOFTWARE,
    limits_of,
    marked_folders_of,
    patiences_of,
    places_of,
    rules_of,
    setup_of,
)
from vpe_watcher.app.transfers import Transfers
from vpe_watcher.app.wake import Wake
from vpe_watcher.core.errors import ConfigError
from vpe_watcher.core.model import Case, Problem
from vpe_watcher.flow.breakers import Breakers, Log
from vpe_watcher.flow.exports import Exports
from vpe_watcher.flow.inbox import Inbox
from vpe_watcher.flow.options import Setup
from vpe_watcher.flow.places import Places
from vpe_watcher.flow.ports import Engine, Ports
from vpe_watcher.flow.roots import Roots
from vpe_watcher.flow.runner import Runner
from vpe_watcher.flow.schedule import Schedule
from vpe_watcher.flow.words import Words

TRUSTED_FOR_S = 1.0


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as the daemon sees it: seconds since 1970, seconds that never jump, and a pause."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep


@dataclass(slots=True)
class Stopping:
    """What makes running steps stop: the daemon's end, or a person's cancel of one case.

    `spares` tells at the daemon's end for a case id whether its step is let finish.
    """

    event: threading.Event = field(default_factory=threading.Event)
    cancelling: set[str] = field(default_factory=set)
    is_asked_to: Callable[[], bool] = lambda: False
    spares: Callable[[str], bool] = lambda _: False

    def pause(self, seconds: float) -> bool:
        """Wait, and tell whether we are to stop."""
        return self.event.wait(seconds) or self.is_asked_to()

    def should_stop(self, case_id: str) -> bool:
        """Tell whether this case's step is to be abandoned."""
        if case_id in self.cancelling:
            return True
        return self.event.is_set() and not self.spares(case_id)


@dataclass(slots=True)
class Parts:
    """A daemon, assembled and still.

    `settings`, `ports` and `inboxes` are replaced at a reload, by `app.reload` alone; `ports_of`
    and `inbox_of` make those of other settings. `config_error` says why the last was not taken.
    """

    settings: Settings
    store: Store
    disk: Disk
    roots: Roots
    ports: Ports
    breakers: Breakers
    schedule: Schedule
    runner: Runner
    inboxes: Mapping[str, Inbox]
    words: Words
    wake: Wake
    paces: Paces
    transfers: Transfers
    targets: tuple[Target, ...]
    ports_of: Callable[[Settings, Engine], Ports]
    inbox_of: Callable[[Setup], Inbox]
    config_error: str | None = None

    @property
    def engine(self) -> Engine:
        """Return the Engine that steps call now."""
        return self.ports.engine

    @property
    def places(self) -> Places:
        """Return the folders of steps that begin now."""
        return self.ports.places


def open_store(
    settings: Settings, *, now: Callable[[], float], on_full: Callable[[], None] = lambda: None
) -> Store:
    """Open the state file, its folder checked, and keep it from other users' eyes.

    `on_full` is called when its disk turns out to be full.

    Raises:
        ConfigError: it is on a network file system, damaged, not ours, or too new.
    """
    mounts.check_state_folder(settings.state_file.parent)
    for suffix in ("", "-wal", "-shm"):  # a restored backup may come with any mode
        with suppress(OSError):
            settings.state_file.with_name(settings.state_file.name + suffix).chmod(0o600)
    before = os.umask(0o077)
    try:
        return Store(Database(settings.state_file, on_full=on_full), now=now)
    finally:
        os.umask(before)


def build_engine(settings: Settings, *, now: Callable[[], float]) -> EngineClient:
    """Build the Engine's client for these settings."""
    auth = settings.engine.auth
    limits = settings.limits
    return EngineClient(
        base_url=settings.engine.url,
        version=settings.engine.version,
        submit_path=settings.engine.submit_route,
        auth=ReadyToken(auth.read_access_token)
        if auth.is_ready_made
        else ClientCredentials(
            client_id=auth.client_id,
            client_secret=auth.read_client_secret,
            token_url=auth.token_url,
            audience=auth.audience,
        ),
        token_file=settings.state_file.with_name("token.json"),
        timeouts=Timeouts(connect_s=limits.connect_timeout_s, stall_s=limits.stall_timeout_s),
        user_agent=SOFTWARE.replace(" ", "/"),
        now=now,
    )


def exports_of(settings: Settings, disk: Disk, store: Store) -> Exports:
    """Return what guards the inboxes where nothing is written."""
    inboxes = {one.name: one.inbox for one in settings.recipes.values() if one.leave_in_place}
    return Exports(disk, store, inboxes, mount_of=mounts.filesystem_of)


def set_rates(settings: Settings, paces: Paces) -> None:
    """Let uploads go as fast as these settings say, running ones, too."""
    rates = {name: recipe.upload_rate for name, recipe in settings.recipes.items()}
    paces.set(settings.limits.upload_rate, rates)


class Trust:
    """Whether leases tell the truth in a recipe's inbox; what is mounted there may change.

    Thread-safe: two threads that ask at once read the same table twice.
    """

    def __init__(self, recipe: Recipe, *, monotonic: Callable[[], float]) -> None:
        self._recipe = recipe
        self._monotonic = monotonic
        self._known: tuple[float, bool] | None = None

    def __call__(self) -> bool:
        """Answer as of at most a second ago: it is asked for each file of a look."""
        now = self._monotonic()
        known = self._known
        if known is None or not known[0] <= now < known[0] + TRUSTED_FOR_S:
            known = self._known = (now, self._ask())
        return known[1]

    def _ask(self) -> bool:
        if self._recipe.exported_by_nfs:
            return False
        return mounts.filesystem_of(self._recipe.inbox).fs_type in leases.TRUSTED


def check_recipes(settings: Settings, store: Store) -> None:
    """Refuse a configuration that lacks a recipe of which cases are under way.

    Raises:
        ConfigError: nobody could finish them, and what was paid for them would be lost.
    """
    recipes = (case.recipe for case in store.due())
    missing = Counter(name for name in recipes if name not in settings.recipes)
    if not missing:
        return
    named = ", ".join(f"{name} ({count})" for name, count in sorted(missing.items()))
    raise ConfigError(
        f"Cases are under way of recipes that are not configured: {named}.",
        code="recipe_in_use",
        hint="Put the recipe back, under the same name, until its cases are at rest "
        "(`vpe-watcher cases --recipe NAME` shows them). Then take it out.",
    )


def assemble(
    settings: Settings,
    *,
    store: Store,
    engine: Engine,
    disk: Disk,
    clock: Clock,
    stopping: Stopping,
    log: Log,
    random: Random,
    names_in: Callable[[Path], list[str]] | None = None,
) -> Parts:
    """Build the parts of a daemon whose start is recorded in its state file.

    `names_in` lists a folder that may hang, in its stead with an OSError; without it the disk does.

    Raises:
        ConfigError: cases are under way of a recipe that is not configured.
    """
    check_recipes(settings, store)
    targets = targets_of(settings, now=clock.now)
    store.notice_policy = policy_of(settings, targets)
    daemon_id, _ = store.identity()
    wake = Wake()
    transfers = Transfers(clock.monotonic)
    roots = Roots(disk, store, marked_folders_of(settings))
    patience = patiences_of(settings)
    breakers = Breakers(
        patience=patience["default"],
        monotonic=clock.monotonic,
        now=clock.now,
        chance=random.random,
        log=log,
    )

    paces = Paces(monotonic=clock.monotonic, sleep=clock.sleep)
    set_rates(settings, paces)

    def ports_of(settings: Settings, engine: Engine) -> Ports:
        exports = exports_of(settings, disk, store)
        asked = {
            name: Leases(trusts=Trust(recipe, monotonic=clock.monotonic))
            for name, recipe in settings.recipes.items()
        }
        return Ports(
            store=store,
            disk=disk,
            engine=engine,
            places=places_of(settings, daemon_id),
            rules=rules_of(settings),
            now=clock.now,
            guard=lambda name: (exports if exports.holds(name) else roots).guard(name),
            should_stop=stopping.should_stop,
            progress=transfers.note,
            names_in=names_in or disk.names,
            openness=lambda recipe, path: asked[recipe].openness(path),
            pace_of=paces.of,
        )

    def claimed(recipe: str, case_id: str) -> None:
        schedule.add(case_id, recipe)
        wake.set()

    def inbox_of(setup: Setup) -> Inbox:
        return Inbox(
            setup,
            breakers=breakers,
            monotonic=clock.monotonic,
            new_id=lambda: f"{random.getrandbits(48):012x}",
            log=log,
            on_claim=partial(claimed, setup.options.recipe),
        )

    def returned(case: Case, problem: Problem | None) -> None:
        if inbox := parts.inboxes.get(case.recipe):  # its recipe may have gone meanwhile
            inbox.returned(case, problem)

    def take(path: str) -> None:
        for inbox in parts.inboxes.values():
            folder = inbox.options.folder
            is_below = (
                parts.places.is_in_place(inbox.options.recipe) and folder in Path(path).parents
            )
            if is_below or Path(path).parent == folder:
                inbox.want(path)

    ports = ports_of(settings, engine)
    schedule = Schedule(
        store,
        breakers,
        limits_of(settings),
        monotonic=clock.monotonic,
        now=clock.now,
        should_stop=stopping.should_stop,
    )
    runner = Runner(
        ports,
        patience=patience,
        schedule=schedule,
        breakers=breakers,
        monotonic=clock.monotonic,
        chance=random.random,
        pause=stopping.pause,
        log=log,
        on_returned=returned,
    )
    parts = Parts(
        settings=settings,
        store=store,
        disk=disk,
        roots=roots,
        ports=ports,
        breakers=breakers,
        schedule=schedule,
        runner=runner,
        inboxes={
            name: inbox_of(setup_of(settings, recipe, ports))
            for name, recipe in settings.recipes.items()
        },
        words=Words(ports, schedule, cancelling=stopping.cancelling, on_take=take, log=log),
        wake=wake,
        paces=paces,
        transfers=transfers,
        targets=targets,
        ports_of=ports_of,
        inbox_of=inbox_of,
    )
    return parts
