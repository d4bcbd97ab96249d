"""Connections to the state file: WAL, FULL, one a thread, short transactions, migrations.

The database files are never opened but through `sqlite3`: closing any other descriptor of them
would drop SQLite's POSIX locks, and the next process that leaves would remove the WAL under us.
"""

from __future__ import annotations

import re
import shlex
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

from vpe_watcher.adapters.store.copies import keep_before_migration, newest_copy_of
from vpe_watcher.core.breakers import DAMAGED
from vpe_watcher.core.errors import ConfigError, EnvironmentFault, TryAgainLater

SCHEMA_VERSION = 4
APPLICATION_ID = int.from_bytes(b"vpew")
BUSY_TIMEOUT_S = 10.0
STATEMENTS_KEPT = 256  # there are some 150, of which none is to be prepared again and again
# Beside its own word: SQLite tells of a quota and of a WAL index without room as of a sick disk.
FULL = frozenset({"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE"})
RECOVER = (
    "Stop the daemon. If there is a backup, put it in the place of the state file; then run "
    "`vpe-watcher recover`, which keeps what it replaces."
)
MAY_NOT = (
    "Give the service's user the state file (0600) and its folder (0700), and see that their disk "
    "is mounted."
)
ROOM = (
    "Free space on the disk of the state file, or raise the quota: is it full, or does it fail "
    "(`dmesg`)? It goes on by itself."
)
SICK = (
    "Look at the disk of the state file: does it fail (`dmesg`), is it read-only or gone? Or does "
    "another program hold the file? It goes on by itself."
)
GONE = (
    "Is the disk of the state file mounted? If the file was removed or replaced, stop the daemon, "
    "put a backup in its place if there is one, and run `vpe-watcher recover`."
)
UNSTORABLE = re.compile("[\ud800-\udfff\ufffd]")
ESCAPED = re.compile("\ufffd([0-9a-f]{4})")


def _escaped(value: Any) -> Any:
    """Return a value as SQLite takes it.

    A file name with bytes that are no UTF-8 (an old `Müller.dcm`) holds half surrogates, which no
    database text may: each is kept as U+FFFD and its code in hexadecimal.
    """
    if isinstance(value, str) and not value.isascii():
        return UNSTORABLE.sub(lambda match: f"\ufffd{ord(match[0]):04x}", value)
    return value


def _unescaped(raw: bytes) -> str:
    text = raw.decode()
    return ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if "\ufffd" in text else text


class Connection(sqlite3.Connection):
    """A connection that any file name may pass, there and back."""

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Run one statement with positional parameters."""
        return super().execute(sql, tuple(map(_escaped, parameters)))

    def executemany(self, sql: str, parameters: Iterable[Any]) -> sqlite3.Cursor:
        """Run one statement for each row of positional parameters."""
        return super().executemany(sql, [tuple(map(_escaped, row)) for row in parameters])


class Database:
    """The state file, opened by each thread for itself at its first use.

    `on_full` is called when its disk turns out to be full. Nobody but its own next start
    `migrates` an older file on which a daemon runs: that one is older, too.

    Raises at construction:
        ConfigError: the file is no state file of ours, or of a newer version.
        TryAgainLater: it is of an older version, and not to be changed.
        EnvironmentFault: the file cannot be opened or written now (breaker `state`).
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        migrates: bool = True,
        on_full: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self._on_full = on_full
        self._mode = "rwc" if create else "rw"
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._asked_at: dict[int, float] = {}  # by thread: since when it waits for the file
        self._identity: tuple[int, int] | None = None  # device and inode of what was opened
        try:
            self._prepare(migrates=migrates)
            self._mode = "rw"  # one that is gone is not made anew by the next thread
            self._identity = self._found()
        except EnvironmentFault as fault:
            self.close()
            if fault.code == DAMAGED:
                raise as_refusal(fault) from fault
            raise
        except BaseException:
            self.close()
            raise

    def connection(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        known: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if known is None:
            known = self._connect()
            self._local.connection = known
            with self._lock:
                self._all.append(known)
        return known

    def _connect(self) -> sqlite3.Connection:
        self._must_be_there()
        with mapped_errors(self._on_full):
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={self._mode}",
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                cached_statements=STATEMENTS_KEPT,
                check_same_thread=False,
                factory=Connection,
            )
            connection.row_factory = sqlite3.Row
            connection.text_factory = _unescaped
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -512")  # KiB, and a dozen threads have one each
        return connection

    def _found(self) -> tuple[int, int] | None:
        with suppress(OSError):
            found = self.path.stat()
            return found.st_dev, found.st_ino
        return None

    def _must_be_there(self) -> None:
        """Raise when the file is no longer at its path: what is written into it would be lost."""
        if self._identity is not None and self._found() != self._identity:
            raise EnvironmentFault(
                "The state file is gone, or another lies in its place.",
                code="state_gone",
                hint=GONE,
                breaker="state",
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Open a write transaction; commit at the end, roll back on any error."""
        with _Asking(self._asked_at, self._on_full):
            connection = self.connection()
            self._must_be_there()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Open a read transaction: all queries in it see the same moment."""
        with _Asking(self._asked_at, self._on_full):
            connection = self.connection()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    def read(self, sql: str, parameters: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        """Run one query outside a transaction."""
        with _Asking(self._asked_at, self._on_full):
            return self.connection().execute(sql, parameters).fetchall()

    def data_version(self) -> int:
        """Return a number that changes when another connection has committed."""
        return int(self.read("PRAGMA data_version")[0][0])

    def longest_s(self) -> float:
        """Return for how long the file has owed some thread the end of what it asks; 0: none.

        Waits for nobody. Being refused, as by a full disk or a busy file, is an end, too.
        """
        return max(
            0.0, time.monotonic() - min(self._asked_at.copy().values(), default=float("inf"))
        )

    def leave(self) -> None:
        """Close this thread's connection, which no other could use: the thread ends."""
        known: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if known is None:
            return
        del self._local.connection
        with self._lock, suppress(ValueError):
            self._all.remove(known)
        known.close()

    def close(self) -> None:
        """Close every thread's connection. No other thread may be using the database."""
        with self._lock:
            connections, self._all = self._all, []
        for connection in connections:
            connection.close()
        self._local = threading.local()

    def _prepare(self, *, migrates: bool) -> None:
        """Make the file if it is new, and see that it has the schema of this version."""
        version = self.read("PRAGMA user_version")[0][0]
        if version > SCHEMA_VERSION:
            raise too_new(self.path, version)
        if version:
            if self.read("PRAGMA application_id")[0][0] != APPLICATION_ID:
                raise not_a_state_file(self.path)
            if version < SCHEMA_VERSION and not migrates:
                raise too_old(version)
            self._use_wal()  # a backup that was put in its place uses none
            self._bring_up_to_date(version)
            return
        if self.read("SELECT name FROM sqlite_schema LIMIT 1"):
            raise not_a_state_file(self.path)
        with mapped_errors(self._on_full):
            self.connection().execute("PRAGMA journal_mode = WAL")
        with self.transaction() as connection:
            if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
                return
            for statement in statements_of("schema.sql"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _use_wal(self) -> None:
        """Set the journal of a file that has another; one that is in use gets it another time."""
        if self.read("PRAGMA journal_mode")[0][0] != "wal":
            with suppress(sqlite3.OperationalError):
                self.connection().execute("PRAGMA journal_mode = WAL")

    def _bring_up_to_date(self, version_found: int) -> None:
        """Change an older schema step by step; each step and its record commit together.

        A copy of what was there is kept before the first.
        """
        is_kept = False
        for version in range(version_found + 1, SCHEMA_VERSION + 1):
            with self.transaction() as connection:
                before = connection.execute("PRAGMA user_version").fetchone()[0]
                if before >= version:
                    continue
                if not is_kept:
                    keep_before_migration(self.path, SCHEMA_VERSION)
                    is_kept = True
                for statement in statements_of(f"migration_{version}.sql"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version}")


def statements_of(name: str) -> Iterator[str]:
    """Yield the statements of one of our SQL files."""
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def too_new(path: Path, version: int) -> ConfigError:
    """Return the error for a state file of a later version, with the way back to this one."""
    copy = newest_copy_of(path, at_most=SCHEMA_VERSION, application_id=APPLICATION_ID)
    old, new, aside = (shlex.quote(str(one)) for one in (copy, path, f"{path}.version-{version}"))
    back = (
        f"mv {new} {aside} && cp -p {old} {new} && vpe-watcher recover"
        if copy is not None
        else f"no copy of an earlier version lies beside it; one of your own backups goes in its "
        f"place in the same way, after: mv {new} {aside}"
    )
    return ConfigError(
        f"The state file {path} has schema version {version}; "
        f"this program knows versions up to {SCHEMA_VERSION}.",
        code="state_too_new",
        hint="It was written by a newer vpe-watcher: install that version again. The way back to "
        f"this one, with the daemon stopped: {back}",
    )


def too_old(version: int) -> TryAgainLater:
    """Return the error for a state file of an earlier version that is not to be changed now."""
    return TryAgainLater(
        f"The state file is of an earlier version of vpe-watcher (schema {version}, this program "
        f"has {SCHEMA_VERSION}).",
        code="state_too_old",
        hint="Restart the service (`systemctl restart vpe-watcher`), which changes it and keeps a "
        "copy; then repeat the command.",
    )


def not_a_state_file(path: Path) -> ConfigError:
    """Return the error for a database that we did not make."""
    return ConfigError(
        f"{path} is not a state file of vpe-watcher.",
        code="state_not_ours",
        hint="Set state_file to a path of its own, or put the right file back from a backup.",
    )


class _Asking:
    """Note since when this thread waits for the file, and translate the error that ends it."""

    __slots__ = ("_asked_at", "_is_within", "_on_full")

    def __init__(self, asked_at: dict[int, float], on_full: Callable[[], None]) -> None:
        self._asked_at = asked_at
        self._on_full = on_full

    def __enter__(self) -> None:
        thread = threading.get_ident()
        self._is_within = thread in self._asked_at  # a transaction
        if not self._is_within:
            self._asked_at[thread] = time.monotonic()

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if not self._is_within:
            del self._asked_at[threading.get_ident()]
        if isinstance(error, sqlite3.Error):
            _translate(error, self._on_full)


@contextmanager
def mapped_errors(on_full: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Translate SQLite's errors: trouble with the disk is environment, and so is a broken file."""
    try:
        yield
    except sqlite3.Error as error:
        _translate(error, on_full)
        raise


def _translate(error: sqlite3.Error, on_full: Callable[[], None]) -> None:
    """Raise what SQLite's error means; return when it is a defect of ours."""
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
        return  # the schema forbids what the code tried
    if isinstance(error, sqlite3.OperationalError):
        name = getattr(error, "sqlite_errorname", None) or "SQLITE_ERROR"
        is_full = name in FULL
        if is_full:
            on_full()
        raise _unusable(name, is_full=is_full) from error
    if isinstance(error, sqlite3.DatabaseError):
        raise damaged("The state file is damaged or no SQLite database") from error


def _unusable(name: str, *, is_full: bool) -> EnvironmentFault:
    what = f"The state file cannot be used now ({name})."
    if is_full:
        return EnvironmentFault(what, code="state_full", hint=ROOM, breaker="state")
    if name == "SQLITE_CANTOPEN":
        return EnvironmentFault(what, code="state_cannot_open", hint=MAY_NOT, breaker="state")
    return EnvironmentFault(what, code="state_unusable", hint=SICK, breaker="state")


def hint_of(word: str) -> str:
    """Say what to do about a state file that cannot be used; `word` is the code of its fault."""
    if word in {DAMAGED, "state_gone"}:
        return RECOVER if word == DAMAGED else GONE
    if word == "state_cannot_open":
        return MAY_NOT
    return ROOM if word in {"state_full", "state_reserve_used"} else SICK


def damaged(what: str) -> EnvironmentFault:
    """Return the fault for a state file that is not what it should be; intake stops."""
    return EnvironmentFault(
        f"{what}.",
        code=DAMAGED,
        hint=RECOVER,
        breaker="state",
    )


def as_refusal(fault: EnvironmentFault) -> ConfigError:
    """Return what refuses to work on a state file at all, with the same words."""
    return ConfigError(fault.message, code=fault.code, hint=fault.hint)
