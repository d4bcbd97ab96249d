"""Rows that `recover` writes as a whole: nothing of an older row is left in them."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from tests.adapters.store.builders import House
from vpe_watcher.adapters.store import Rebuilt
from vpe_watcher.core.model import Case, State


def _rebuild(house: House, *cases: Case, drops_words: bool = False) -> int:
    rebuilt = [Rebuilt(case, "request", "content", "why") for case in cases]
    return house.store.rebuild(
        rebuilt,
        daemon_id="d1",
        starts=5,
        paused=["pacs"],
        noted=[],
        roots={},
        drops_words=drops_words,
    )


def test_every_column_is_written(house: House) -> None:
    """A row that is written over says what a new one says, in all columns but its order."""
    old = house.bring(State.FETCHING)
    connection = house.database.connection()
    names = [row["name"] for row in house.database.read("PRAGMA table_info(cases)")]
    for name in set(names) - {"seq", "case_id", "state", "verdict", "job_id", "paid"}:
        kind = connection.execute(f"SELECT typeof({name}) FROM cases").fetchone()[0]  # noqa: S608
        value = 1 if kind == "integer" else "left over"
        connection.execute(f"UPDATE cases SET {name} = ?", (value,))  # noqa: S608
    wanted = replace(old, state=State.DONE, outputs=())
    fresh = replace(wanted, case_id="c2", job_id="job-2", folder="scan.2")
    _rebuild(house, wanted, fresh)
    rows = [dict(row) for row in house.database.read("SELECT * FROM cases ORDER BY seq")]
    own = ("seq", "case_id", "job_id", "folder")
    first, second = ({k: v for k, v in row.items() if k not in own} for row in rows)
    assert first == second


def test_an_attempt_under_way_is_ended(house: House) -> None:
    """The next start would not know what to make of it."""
    case = house.bring(State.UPLOADING)
    house.begin()
    _rebuild(house, replace(case, state=State.CLAIMING, job_id=None))
    sql = "SELECT 1 FROM events WHERE step IS NOT NULL AND outcome IS NULL"
    assert house.database.read(sql) == []


def test_whose_file_it_is(house: House) -> None:
    """Id, starts and paused recipes are written with the cases, or nothing is."""
    case = house.add()
    broken = replace(case, case_id="c2", state=State.WAITING)  # without a job
    with pytest.raises(sqlite3.IntegrityError):
        _rebuild(house, case, broken)
    assert (house.store.identity(), house.store.paused()) == (("", 0), [])
    house.queries.say("retry", ["c1"])
    house.queries.say("take", ["/in/x"])
    assert _rebuild(house, case, drops_words=True) == 1
    assert (house.store.identity(), house.store.paused()) == (("d1", 5), ["pacs"])
    assert [word.word for word in house.store.words()] == ["take"]
    assert (house.store.is_paused("pacs"), house.store.resume("pacs")) == (True, True)
    assert (house.store.is_paused("pacs"), house.store.resume("pacs")) == (False, False)
