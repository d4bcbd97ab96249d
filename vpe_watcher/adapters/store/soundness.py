"""Whether a state file is what it should be: its schema, its last rows, and all of it.

Looks only, and changes nothing.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from vpe_watcher.adapters.store.database import (
    Database,
    as_refusal,
    damaged,
    mapped_errors,
    statements_of,
)
from vpe_watcher.core.breakers import DAMAGED
from vpe_watcher.core.errors import EnvironmentFault

LAST_ROWS = 50
# `quick_check` reports a page that the disk did not give as a finding; 11 is SQLITE_CORRUPT.
_UNREAD = re.compile(r"failed to get page \d|unable to get the page\. error code=(?!11\b)\d")
_READ = (
    "SELECT * FROM cases ORDER BY seq DESC LIMIT ?",
    "SELECT * FROM events ORDER BY id DESC LIMIT ?",
    "SELECT * FROM jobs ORDER BY made_at DESC LIMIT ?",
    "SELECT * FROM daemon LIMIT ?",
)


def check_at_start(database: Database) -> None:
    """Look at the schema and the last rows, in milliseconds.

    Raises:
        ConfigError: something is not as it should be; a person runs `recover`.
        EnvironmentFault: it cannot be read now (busy, a sick disk), which says nothing of it.
    """
    try:
        with mapped_errors():
            found = _schema_fault(database.connection())
            for query in () if found else _READ:
                database.connection().execute(query, (LAST_ROWS,)).fetchall()
        if found:
            raise damaged(f"The state file is damaged: {found}")
    except EnvironmentFault as fault:
        if fault.code != DAMAGED:
            raise
        raise as_refusal(fault) from fault


class QuickCheck:
    """Reads all of a state file over a connection of its own; writers are not held up."""

    def __init__(self, path: Path) -> None:
        with mapped_errors():
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw", uri=True, check_same_thread=False
            )

    def fault(self) -> str:
        """Say in words what is wrong. Takes as long as reading the file does.

        Raises:
            EnvironmentFault: it cannot be read now, or was interrupted; or it is
                no database any more (`state_damaged`).
        """
        with mapped_errors():
            rows = self._connection.execute("PRAGMA quick_check(1)").fetchall()
        verdict = str(rows[0][0]) if rows else "no answer"
        check_was_read(verdict)
        return "" if verdict == "ok" else verdict.replace("\n", " ")

    def interrupt(self) -> None:
        """Let `fault` end soon; called by another thread, and fine when it has ended."""
        with suppress(sqlite3.ProgrammingError):
            self._connection.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def check_was_read(verdict: str) -> None:
    """Tell a finding of `quick_check` from a page that could not be read.

    Raises:
        EnvironmentFault: the disk did not give a page.
    """
    if _UNREAD.search(verdict):
        raise EnvironmentFault(
            "A part of the state file cannot be read now.",
            code="state_unusable",
            hint="Look at the disk of the state file: is it well?",
            breaker="state",
        )


def _schema_fault(connection: sqlite3.Connection) -> str:
    with closing(sqlite3.connect(":memory:")) as model:
        for statement in statements_of("schema.sql"):
            model.execute(statement)
        wanted, found = _shape(model), _shape(connection)
    missing = sorted(set(wanted) - set(found))
    if missing:
        return f"it has no {missing[0]}"
    different = sorted(name for name in wanted if wanted[name] != found[name])
    return f"its {different[0]} is not that of this version" if different else ""


def _shape(connection: sqlite3.Connection) -> dict[str, object]:
    """Return what a database is made of; the order of columns may differ."""
    objects = connection.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'"
    ).fetchall()
    shape: dict[str, object] = {}
    for kind, name, sql in objects:
        if kind == "table":
            columns = connection.execute("SELECT * FROM pragma_table_info(?)", (name,)).fetchall()
            shape[f"{kind} {name}"] = {tuple(column)[1:] for column in columns}
        else:
            shape[f"{kind} {name}"] = re.sub(r"\s+", " ", sql)
    return shape
