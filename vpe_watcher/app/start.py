"""The start of a daemon: whose folders these are, and which start this is on the state file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.manager import Manager
from vpe_watcher.adapters.store.soundness import check_at_start
from vpe_watcher.app.signals import Signals
from vpe_watcher.app.terms import folders_of, in_place_of
from vpe_watcher.app.wake import Wake
from vpe_watcher.core.breakers import DAMAGED
from vpe_watcher.core.errors import EnvironmentFault, TryAgainLater
from vpe_watcher.flow.breakers import Log
from vpe_watcher.flow.roots import ANSWER_WITHIN_S, check_identity, check_unmarked

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings
    from vpe_watcher.adapters.store import Store

START_AGAIN_S = 1.0
# So long may systemd wait for the next word: a try that is refused takes ten seconds or so.
PATIENCE_S = 90.0


Tell = Callable[[str | None, float], None]  # a fault's code, or that there is none; since when


@dataclass(frozen=True, slots=True)
class Start:
    """A start on this state file: its number, and the folders that said nothing of theirs.

    `was_clean`: the last daemon came to its end by itself, so the file needs no reading.
    """

    number: int
    unchecked: frozenset[Path]
    was_clean: bool = True


def check_nothing_is_lost(settings: Settings, disk: Disk) -> None:
    """Look at the folders before a state file is made where there is none.

    Raises:
        ConfigError: there was one.
    """
    if not os.path.lexists(settings.state_file):
        check_no_other(settings, disk)


def check_no_other(settings: Settings, disk: Disk) -> None:
    """Ask the folders whether there was another state file. Raises `ConfigError`: there was."""
    folders = chain.from_iterable(folders_of(settings).values())
    check_unmarked(disk, folders, settings.state_file, in_place=in_place_of(settings))


def check_belonging(
    settings: Settings, store: Store, disk: Disk, *, within_s: float = ANSWER_WITHIN_S
) -> frozenset[Path]:
    """Ask whether state file and folders belong together; return the folders that say nothing.

    Raises `ConfigError`: they do not, as `check_identity` finds.
    """
    inboxes = {name: recipe.inbox for name, recipe in settings.recipes.items()}
    in_place = in_place_of(settings)
    return check_identity(
        disk, store, folders_of(settings), inboxes, in_place=in_place, within_s=within_s
    )


def counted_start(
    settings: Settings,
    store: Store,
    disk: Disk,
    *,
    log: Log,
    once: bool,
    signals: Signals,
    manager: Manager | None = None,
    tell: Tell = lambda _code, _since: None,
) -> Start | None:
    """Check that folders and state file belong together, and count this start.

    Waits for a state file that cannot be used now; None: a signal came first. One that is damaged
    is not waited for, whoever meets it: `EnvironmentFault`.
    """
    wake, is_waiting = Wake(), False
    signals.wake = wake.set
    while not signals.is_stopping:
        try:
            check_at_start(store.database)
            was_clean = store.was_stopped_cleanly()
            unchecked = check_belonging(settings, store, disk)
            _, starts = store.record_start(fresh_id=os.urandom(6).hex())
        except EnvironmentFault as fault:
            if fault.code == DAMAGED:
                raise  # no waiting mends it
            if once:
                raise TryAgainLater(fault.message, code=fault.code, hint=fault.hint) from fault
            if not is_waiting:
                log(
                    "breaker.opened",
                    breaker=fault.breaker,
                    reason=fault.message,
                    hint=fault.hint,
                    code=fault.code,
                )
                tell(fault.code, time.time())
            is_waiting = True
            tell_waiting(manager or Manager(), fault)
            wake.wait(START_AGAIN_S)
        else:
            if is_waiting:
                log("breaker.closed", breaker="state")
                tell(None, 0.0)
            return Start(starts, unchecked, was_clean)
    return None


def tell_waiting(manager: Manager, fault: EnvironmentFault) -> None:
    """Say why the start takes its time, and that it goes on: to be killed would not help."""
    manager.needs_longer(PATIENCE_S)
    manager.status(f"Not started yet: {fault.message}")
