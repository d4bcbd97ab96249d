"""The one connection of a world: what is read of a case is kept until a row of it is written.

So the same rows are not read again and again. SQLite itself tells of each row that is written, by
triggers; what is taken back forgets everything. Nobody else writes to a state file in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from vpe_watcher.adapters.store import database, progress, rows, statements, store

# Of which values of a case the rows of a table are a part.
READ_FROM = {
    "cases": "cases",
    "inputs": "inputs",
    "slices": "inputs",
    "moves": "moves",
    "outputs": "outputs",
}


class Connection(sqlite3.Connection):
    """A connection that knows what was read; it escapes no name, for no name here needs it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.known: dict[str, dict[str, Any]] = {}

    def watch(self) -> None:
        """Keep what is read from now on; the tables are there."""
        if self.known:
            return
        self.text_factory = str
        known = self.known
        known.update((value, {}) for value in READ_FROM.values())

        def forget(value: str, case_id: str) -> None:
            known["cases"].pop(case_id, None)
            known[value].pop(case_id, None)

        self.create_function("forget", 2, forget)
        for table, value in READ_FROM.items():
            for verb, row in (("INSERT", "NEW"), ("UPDATE", "OLD"), ("DELETE", "OLD")):
                self.execute(
                    f"CREATE TEMP TRIGGER {verb}_{table} AFTER {verb} ON {table} "
                    f"BEGIN SELECT forget('{value}', {row}.case_id); END"
                )

    def forget(self) -> None:
        """Forget everything, as what was written may have been taken back."""
        for values in self.known.values():
            values.clear()


def keep_what_is_read(patch: pytest.MonkeyPatch) -> None:
    """Let the store read each case once, from connections of this kind."""
    load_case, load_inputs = _once("cases", rows.load_case), _once("inputs", rows.load_inputs)
    read_values = rows._values  # noqa: SLF001

    def values(make: Any, connection: Connection, table: str, case_id: str, *order: str) -> Any:
        known = {} if table == "inputs" else connection.known[table]  # `load_inputs` keeps those
        if case_id not in known:
            known[case_id] = read_values(make, connection, table, case_id, *order)
        return known[case_id]

    patch.setattr(database, "Connection", Connection)
    patch.setattr(rows, "_values", values)
    for module in (store, statements):
        patch.setattr(module, "load_case", load_case)
    for module in (rows, statements, progress):
        patch.setattr(module, "load_inputs", load_inputs)


def _once(value: str, read: Callable[[Any, str], Any]) -> Callable[[Connection, str], Any]:
    def read_once(connection: Connection, case_id: str) -> Any:
        known = connection.known[value]
        if case_id not in known:
            known[case_id] = read(connection, case_id)
        return known[case_id]

    return read_once
