"""The part of `check` that asks whether state file and folders belong together, as a start does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from vpe_watcher.app.commands import opened
from vpe_watcher.app.commands.check import ERROR, OK, WARNING, Finding
from vpe_watcher.core.errors import ConfigError, EnvironmentFault, TryAgainLater, WatcherError

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings


def findings(settings: Settings) -> Iterator[Finding]:
    """Tell what `run` would refuse; nothing beside a daemon, which has asked."""
    if opened.daemon_pid(settings) is not None:
        yield from _told(settings)
        return
    try:
        _ask(settings)
    except TryAgainLater:
        return  # an older state file, which the next start brings up to date
    except (ConfigError, EnvironmentFault) as error:
        yield Finding(ERROR, error.message, error.hint)
    else:
        yield Finding(OK, "state file and folders belong together")


def _told(settings: Settings) -> Iterator[Finding]:
    """Tell what the running daemon says is paused."""
    from vpe_watcher.app.commands.status import look
    from vpe_watcher.core.breakers import is_root

    try:
        paused = look(settings, asks_folders=False).paused
    except WatcherError as error:
        yield Finding(ERROR, error.message, error.hint)
        return
    for one in paused:
        what = f"the running daemon has paused {one['name']}: {one['reason']}"
        yield Finding(ERROR if is_root(one["name"]) else WARNING, what, one["hint"] or "")


def _ask(settings: Settings) -> None:
    from vpe_watcher.adapters.files import Disk
    from vpe_watcher.adapters.store import Database, Store
    from vpe_watcher.adapters.store.database import damaged
    from vpe_watcher.adapters.store.soundness import QuickCheck, check_at_start
    from vpe_watcher.app.start import check_belonging, check_no_other

    if not settings.state_file.exists():
        check_no_other(settings, Disk())
        return
    try:
        database = Database(settings.state_file, create=False, migrates=False)
        with closing(database):
            check_at_start(database)
            with closing(QuickCheck(settings.state_file)) as whole:
                if whole.fault():
                    raise damaged("A part of the state file is damaged")
            check_belonging(settings, Store(database, now=time.time), Disk())
    finally:
        opened.give_to_owner(settings.state_file)
