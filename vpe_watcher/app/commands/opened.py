"""What most commands begin with: the settings, the state file, the words of a case.

Never makes a state file unless asked to, and never opens it but through the store.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from vpe_watcher.core.errors import ConfigError, Refusal

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings
    from vpe_watcher.adapters.store import Database, Queries
    from vpe_watcher.core.model import Case
    from vpe_watcher.flow.places import Places


AS_RUN_S, SOON_S = 10.0, 2.0  # so long is waited for what folders say: to act, only to read


class HasState(Protocol):
    """What knows its state file."""

    @property
    def state_file(self) -> Path:
        """Return its path."""


@dataclass(frozen=True, slots=True)
class Remains:
    """A configuration with a mistake, by whose earlier text a daemon runs."""

    state_file: Path
    mistake: ConfigError


def settings_of(config: Path | None, *, asks_engine: bool = False) -> Settings:
    """Read the configuration, with its secrets if the Engine is to be asked.

    Raises `ConfigError`.
    """
    from vpe_watcher.adapters.settings import load_settings

    return load_settings(config, asks_engine=asks_engine)


def state_of(config: Path | None) -> Settings | Remains:
    """Read the configuration as far as is needed to look at a daemon that runs.

    Raises `ConfigError`: it has a mistake, and no daemon runs.
    """
    from vpe_watcher.adapters.settings import state_files_despite

    try:
        return settings_of(config)
    except ConfigError as error:
        for state_file in state_files_despite(config):
            remains = Remains(state_file, error)
            with suppress(Refusal):
                if daemon_pid(remains) is not None:
                    return remains
        raise


def daemon_pid(settings: HasState) -> int | None:
    """Return the process that holds this state file; None: no daemon runs."""
    from vpe_watcher.adapters.lock import lock_holder

    _is_there(settings.state_file)
    return lock_holder(settings.state_file)


@contextmanager
def reading(settings: Settings | Remains, *, asks_folders: bool = True) -> Iterator[Queries | None]:
    """Open the state file; None when no daemon has made one yet.

    Raises `ConfigError`: there was one, by the folders if they are asked, or this one is damaged.
    What else a start would refuse, `doubt` tells.
    """
    if not _is_there(settings.state_file):
        if asks_folders:
            _check_unmarked(settings)
        yield None
        return
    with _opened(settings) as queries:
        yield queries


@contextmanager
def acting(settings: Settings) -> Iterator[Queries | None]:
    """Open the state file as `reading` does, and refuse as `writing` does."""
    with reading(settings) as queries:
        if queries is not None:
            _check_belonging(settings, queries)
        yield queries


@contextmanager
def writing(settings: Settings, *, create: bool = False) -> Iterator[Queries]:
    """Open the state file to leave words in it; `create` makes it, for its folder's owner alone.

    Raises `ConfigError`: no daemon runs, and none would start on it.
    """
    with _opened(settings, create=create) as queries:
        _check_belonging(settings, queries)
        yield queries


def doubt(settings: Settings | Remains, queries: Queries | None) -> tuple[str, ...]:
    """Say in a line why no daemon would start on this state file; nothing where one runs."""
    if queries is None or isinstance(settings, Remains):
        return ()
    try:
        _check_belonging(settings, queries, within_s=SOON_S)
    except ConfigError as error:
        return (f"warning: `vpe-watcher run` would refuse to start: {error.message} {error.hint}",)
    return ()


def _check_belonging(settings: Settings, queries: Queries, *, within_s: float = AS_RUN_S) -> None:
    """Ask the folders, unless a daemon has them, whether they know more than the state file."""
    from vpe_watcher.adapters.files import Disk
    from vpe_watcher.adapters.store import Store
    from vpe_watcher.app.start import check_belonging

    if daemon_pid(settings) is None:
        store = Store(queries.database, now=time.time)
        check_belonging(settings, store, Disk(), within_s=within_s)


@contextmanager
def _opened(settings: Settings | Remains, *, create: bool = False) -> Iterator[Queries]:
    from vpe_watcher.adapters.store import Database, Queries

    is_new = create and not _is_there(settings.state_file)
    has_daemon = daemon_pid(settings) is not None  # of an earlier version, if the file is
    if is_new:
        _check_unmarked(settings)
    mask = os.umask(0o077)
    try:
        database = Database(settings.state_file, create=create, migrates=not has_daemon)
    finally:
        os.umask(mask)
    try:
        if is_new:
            give_to_owner(settings.state_file)
        if not has_daemon and not isinstance(settings, Remains):
            _check(settings, database)
        yield Queries(database, now=time.time)
    finally:
        database.close()


def _check(settings: Settings, database: Database) -> None:
    """Look at a state file as a start would that asks no folder, in milliseconds.

    Folders are asked only if it knows of no start: nothing in it says then whose it is.
    """
    from vpe_watcher.adapters.store import Store
    from vpe_watcher.adapters.store.soundness import check_at_start

    check_at_start(database)
    daemon_id, _ = Store(database, now=time.time).identity()
    if not daemon_id:
        _check_unmarked(settings)


def _check_unmarked(settings: Settings | Remains) -> None:
    """Ask the folders whether there was another state file, unless a daemon has them."""
    from vpe_watcher.adapters.files import Disk
    from vpe_watcher.app.start import check_no_other

    if isinstance(settings, Remains) or daemon_pid(settings) is not None:
        return
    check_no_other(settings, Disk())


def case_of(queries: Queries | None, word: str) -> Case:
    """Find the case that a person means. Raises `Refusal`: none, or several (with their ids)."""
    found = queries.find(word) if queries else []
    if len(found) > 1:
        raise Refusal(
            f"Several cases fit {word!r}: {', '.join(found)}",
            code="several_cases",
            hint="Name one by its case id; `vpe-watcher show CASE_ID` tells them apart.",
        )
    case = queries.case(found[0]) if queries and found else None
    if case is None:
        raise Refusal(
            f"There is no case {word!r}.",
            code="no_such_case",
            hint="`vpe-watcher cases` lists all; a file that waits in the inbox is no case yet.",
        )
    return case


def places_of(settings: Settings, queries: Queries) -> Places:
    """Return where this daemon keeps everything."""
    from vpe_watcher.adapters.store import Store
    from vpe_watcher.app import terms

    daemon_id, _ = Store(queries.database, now=time.time).identity()
    return terms.places_of(settings, daemon_id)


def _is_there(state_file: Path) -> bool:
    try:
        return state_file.exists()
    except PermissionError as error:
        raise Refusal(
            f"The state file {state_file} may not be read by this user.",
            code="state_not_readable",
            hint="Run the command as the service's user, or as root.",
        ) from error


def give_to_owner(state_file: Path) -> None:
    """Let the service use what root has made: its folder says who the service is.

    Of a link what lies beside the file itself.
    """
    state_file = Path(os.path.realpath(state_file))
    owner = state_file.parent.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for suffix in ("", "-wal", "-shm", ".lock", ".archive.lock", ".failed.lock"):
        file = state_file.with_name(f"{state_file.name}{suffix}")
        if file.exists():
            os.chown(file, owner.st_uid, owner.st_gid)
