"""A case that an earlier version left under way is delivered by the program of today, paid once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.flow.house import House
from vpe_watcher.core.model import State

OLD = Path(__file__).parent.parent / "adapters" / "store" / "old"
VERSIONS = sorted(int(path.stem.partition("_")[2]) for path in OLD.glob("version_*.sql"))
UNDER_WAY = (State.SUBMITTING, State.UPLOADING, State.WAITING, State.DELIVERING)


def put_back_to(version: int, state_file: Path) -> None:
    """Make a state file one of an earlier version: its tables, with all rows that they can hold."""
    today = state_file.with_name("today.sqlite3")
    state_file.rename(today)
    with closing(sqlite3.connect(state_file)) as connection:
        script = (OLD / f"version_{version}.sql").read_text("utf-8")
        connection.executescript(f"BEGIN; {script} COMMIT; ATTACH '{today}' AS today;")
        tables = connection.execute(
            "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        ).fetchall()
        for (table,) in tables:
            known = columns_of(connection, "today", table)
            kept = ", ".join(
                name for name in columns_of(connection, "main", table) if name in known
            )
            connection.execute(f"DELETE FROM main.{table}")  # noqa: S608
            connection.execute(
                f"INSERT INTO main.{table} ({kept}) SELECT {kept} FROM today.{table}"  # noqa: S608
            )
        connection.commit()
    today.unlink()


def columns_of(connection: sqlite3.Connection, schema: str, table: str) -> list[str]:
    """Return the columns of a table."""
    rows = connection.execute(f"PRAGMA {schema}.table_info({table})").fetchall()
    return [row[1] for row in rows]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("state", UNDER_WAY)
def test_a_case_under_way_is_delivered(house: House, version: int, state: State) -> None:
    """Stopped by the old program in each of these states, started by the new one."""
    house.drop("scan.nii")
    house.live_until("scan", state)
    house.close()
    put_back_to(version, house.settings.state_file)
    house.start()
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert house.files("outbox") == ["scan/mandible.stl", "scan/result.json"]
    assert house.started() == 1
    assert len(house.sandbox.ledger.jobs) == 1
