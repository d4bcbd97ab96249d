"""State files of earlier versions: what was in them is in them afterwards, whatever happens.

`old/version_<n>.sql` is a state file of version n with a case in every state, as that version wrote
it; `old/version_<n>.json` is what that version read from it.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.store.builders import House
from vpe_watcher.adapters.store import Database, Queries
from vpe_watcher.adapters.store.database import SCHEMA_VERSION
from vpe_watcher.core.content import KnownSeries
from vpe_watcher.core.errors import ConfigError, TryAgainLater
from vpe_watcher.core.model import Modality, Slice, State

OLD = Path(__file__).parent / "old"
VERSIONS = tuple(range(1, SCHEMA_VERSION))
AS_BEFORE: dict[int, dict[str, Any]] = {
    version: json.loads((OLD / f"version_{version}.json").read_text("utf-8"))
    for version in VERSIONS
}
CASES = [(version, case_id) for version in VERSIONS for case_id in AS_BEFORE[version]]
# What each version says of a case that an earlier one took.
ADDED: dict[int, dict[str, Any]] = {
    2: {
        "hold": None,
        "hold_retries": 0,
        "split_of": "",
        "late_for": "",
        "series_uid": "",
        "slices": [],
    },
    3: {"deaths": 0, "due_step": None, "due_problem": None},
    4: {},
}


class Mortal(Database):
    """A state file whose opener dies like a machine whose power goes off before a statement."""

    def __init__(self, path: Path, *, statement: int) -> None:
        self._left = statement
        super().__init__(path)

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.set_trace_callback(self._count)
        return connection

    def _count(self, _: str) -> None:
        self._left -= 1
        if self._left == 0:
            os._exit(9)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> int:
    """Name an earlier version."""
    return int(request.param)


@pytest.fixture
def old_file(tmp_path: Path, version: int) -> Path:
    """Make a state file as an earlier version left it."""
    return as_left_by(version, tmp_path / "state.sqlite3")


def as_left_by(version: int, path: Path) -> Path:
    """Write a state file as a version did."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        script = (OLD / f"version_{version}.sql").read_text("utf-8")
        connection.executescript(f"BEGIN; {script} COMMIT;")
    return path


@pytest.fixture
def house(old_file: Path) -> Iterator[House]:
    """Open it with the program of today."""
    house = House(old_file)
    yield house
    house.close()


def plain(value: Any) -> Any:
    """Return values as JSON has them."""
    return json.loads(json.dumps(value))


def without_new_fields(value: Any, version: int) -> Any:
    """Leave out what a version did not know, after a look that it says nothing."""
    if isinstance(value, list):
        return [without_new_fields(item, version) for item in value]
    if not isinstance(value, dict):
        return value
    added = {key: one for new in ADDED if new > version for key, one in ADDED[new].items()}
    assert {key: value[key] for key in added if key in value} == {
        key: added[key] for key in added if key in value
    }
    return {
        key: without_new_fields(item, version) for key, item in value.items() if key not in added
    }


def rows_of(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return all rows by table, as any program may read them."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        return {
            name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")]  # noqa: S608
            for name in [row["name"] for row in names]
        }


def checks_of(sql: str) -> Iterator[str]:
    """Yield the CHECK clauses of a table, up to the bracket that closes each."""
    for found in re.finditer(r"CHECK \(", sql):
        depth = 0
        for place in range(found.end() - 1, len(sql)):
            depth += {"(": 1, ")": -1}.get(sql[place], 0)
            if not depth:
                yield re.sub(r"\s+", " ", sql[found.start() : place + 1])
                break


def shape_of(path: Path) -> dict[str, Any]:
    """Return what a state file is made of. The order of columns may differ."""
    with closing(sqlite3.connect(path)) as connection:
        objects = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")
        shape: dict[str, Any] = {}
        for kind, name, table, sql in objects.fetchall():
            if kind == "table":
                columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
                keys = connection.execute(f"PRAGMA foreign_key_list({name})").fetchall()
                options = connection.execute(f"PRAGMA table_list({name})").fetchall()
                shape[name] = {tuple(column[1:]) for column in columns}, keys, options
                shape[f"checks of {name}"] = sorted(checks_of(sql or ""))
            else:
                shape[name] = kind, table, re.sub(r"\s+", " ", sql or "")
        for name in ("user_version", "application_id", "journal_mode"):
            shape[name] = connection.execute(f"PRAGMA {name}").fetchone()
        return shape


def test_the_fixture_holds_every_state(version: int) -> None:
    """Nothing that an old file may hold is left out."""
    assert {row["state"] for row in AS_BEFORE[version].values()} == set(State)


@pytest.mark.parametrize(("version", "case_id"), CASES)
def test_every_case_is_read_as_before(house: House, version: int, case_id: str) -> None:
    """Each field of it says what the old program read, and new ones say nothing."""
    as_now = without_new_fields(plain(asdict(house.case(case_id))), version)
    assert as_now == AS_BEFORE[version][case_id]


def test_every_row_keeps_its_columns(old_file: Path) -> None:
    """No table loses a row or a value: jobs, events, words, roots and names too."""
    before = rows_of(old_file)
    Database(old_file).close()
    after = rows_of(old_file)
    for table, rows in before.items():
        assert len(after[table]) == len(rows)
        kept = [{name: row[name] for name in rows[0]} for row in after[table]]
        assert kept == rows


def test_the_schema_is_that_of_a_new_file(old_file: Path, tmp_path: Path) -> None:
    """Columns, defaults, keys, indexes, triggers and checks: there is one schema, not two."""
    new_file = tmp_path / "new.sqlite3"
    Database(new_file).close()
    Database(old_file).close()
    assert shape_of(old_file) == shape_of(new_file)


def test_a_file_of_today_is_kept_for_tomorrow(tmp_path: Path) -> None:
    """Whoever changes the schema makes a version of it, and keeps a file as this one was left."""
    new_file = tmp_path / "new.sqlite3"
    Database(new_file).close()
    kept = as_left_by(SCHEMA_VERSION, tmp_path / "kept.sqlite3")
    assert shape_of(kept) == shape_of(new_file)


def test_a_migrated_file_is_sound(house: House) -> None:
    """SQLite finds no fault with it."""
    assert [tuple(row) for row in house.database.read("PRAGMA integrity_check")] == [("ok",)]
    assert house.database.read("PRAGMA foreign_key_check") == []


def test_a_second_open_changes_nothing(old_file: Path) -> None:
    """A migration that was done is not done again."""
    Database(old_file).close()
    before = old_file.read_bytes(), rows_of(old_file), shape_of(old_file)
    Database(old_file).close()
    assert (old_file.read_bytes(), rows_of(old_file), shape_of(old_file)) == before


def test_a_reader_may_be_the_first(old_file: Path, version: int) -> None:
    """`cases` of the new program before its daemon started shows all of them."""
    database = Database(old_file, create=False)
    found = [row["case_id"] for row in Queries(database, now=float).cases()]
    database.close()
    assert sorted(found) == sorted(AS_BEFORE[version])


def test_a_file_that_a_daemon_uses_is_left_as_it_is(old_file: Path) -> None:
    """A command of the new program beside the old daemon changes nothing, and says what to do."""
    before = rows_of(old_file), shape_of(old_file)
    with pytest.raises(TryAgainLater) as caught:
        Database(old_file, create=False, migrates=False)
    assert (caught.value.code, caught.value.exit_code) == ("state_too_old", 75)
    assert "restart" in caught.value.hint
    assert (rows_of(old_file), shape_of(old_file)) == before
    assert list(old_file.parent.glob("*.before-*")) == []


def test_two_that_come_first_at_once(old_file: Path) -> None:
    """Daemon and command start together: one migrates, the other finds it done."""
    barrier = threading.Barrier(4, timeout=30)
    failures: list[BaseException] = []

    def open_it() -> None:
        barrier.wait()
        try:
            Database(old_file).close()
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert shape_of(old_file)["user_version"] == (SCHEMA_VERSION,)


def test_new_things_fit_into_an_old_file(house: House) -> None:
    """A series with its slices is written beside the old cases and read back."""
    case = house.case("submitting1")
    (entry,) = case.inputs
    one = Slice("1.dcm", entry.mark, "1.2.3", None, "")
    added = house.add("new1", inputs=(entry_of_series(entry, one),), split_of="done1")
    assert added.inputs[0].slices == (one,)
    assert added.split_of == "done1"
    known = house.store.known_series("default", ["1.2"])
    assert known == {"1.2": KnownSeries("new1", frozenset({"1.2.3"}))}
    assert house.case("submitting1") == case


def entry_of_series(entry: Any, one: Slice) -> Any:
    """Return an input that is a series of one slice."""
    changes = {"modality": Modality.CBCT, "extension": ".zip", "series_uid": "1.2"}
    return type(entry)(**(asdict(entry) | changes | {"mark": entry.mark, "slices": (one,)}))


def test_old_cases_go_on(house: House, version: int) -> None:
    """What was due is due, and a person's word on a case at rest works."""
    due = {case.case_id for case in house.store.due()}
    waiting = {"part1"}  # for the first case of its folder
    assert (
        due
        == {
            case_id
            for case_id, row in AS_BEFORE[version].items()
            if not State(row["state"]).is_at_rest
        }
        - waiting
    )
    house.work(State.SUBMITTING, "submitting1")
    assert house.case("submitting1").state is State.UPLOADING
    (begun,) = house.store.abandon_open_attempts()
    assert begun.case.state is State.NOTIFYING
    assert house.store.words()[0].subject == "failed1"


def die_before(path: Path, statement: int) -> bool:
    """Open a state file in a process that dies before a statement; False if it had done all."""
    process = os.fork()
    if process == 0:
        try:
            Mortal(path, statement=statement).close()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) in {0, 9}
    return os.waitstatus_to_exitcode(status) == 9


@pytest.mark.parametrize("version", VERSIONS[:1])  # passes through all others
def test_power_may_go_off_at_any_statement(old_file: Path, version: int, tmp_path: Path) -> None:
    """Before each statement in turn: the file is of one version as a whole, and opens."""
    new_file = tmp_path / "new.sqlite3"
    Database(new_file).close()
    new_shape = shape_of(new_file)
    known = [
        shape_of(as_left_by(other, tmp_path / f"{other}.sqlite3"))
        for other in range(version, SCHEMA_VERSION)
    ]
    deaths = 0
    while die_before(old_file, deaths + 1):
        deaths += 1
        assert shape_of(old_file) in (*known, new_shape)
        assert len(rows_of(old_file)["cases"]) == len(AS_BEFORE[version])
    assert deaths > 5
    assert shape_of(old_file) == new_shape


def test_a_copy_is_kept_before_a_migration(old_file: Path, version: int) -> None:
    """As the earlier version left it, for its owner alone; a second one gets another name."""
    before = rows_of(old_file)
    Database(old_file).close()
    copy = old_file.with_name(f"state.sqlite3.before-{SCHEMA_VERSION}")
    assert rows_of(copy) == before
    assert shape_of(copy)["user_version"] == (version,)
    assert copy.stat().st_mode & 0o777 == 0o600
    as_left_by(version, old_file.with_name("other.sqlite3")).replace(old_file)
    Database(old_file).close()
    assert [path.name for path in sorted(old_file.parent.glob("*before*"))] == [
        copy.name,
        f"{copy.name}.2",
    ]


def test_the_way_back_is_told_and_works(old_file: Path, version: int) -> None:
    """A newer program changed the file: the refusal names the copy, and its commands lead back."""
    before = rows_of(old_file)
    Database(old_file).close()
    write_as_later(old_file)
    old_file.with_name(f"{old_file.name}.before-98").write_text("not ours")
    with pytest.raises(ConfigError) as caught:
        Database(old_file)
    assert (caught.value.code, caught.value.exit_code) == ("state_too_new", 78)
    command, _, recover = caught.value.hint.rpartition(" && ")
    assert recover == "vpe-watcher recover"
    move_and_copy = command.partition("stopped: ")[2]
    subprocess.run(["/bin/sh", "-c", move_and_copy], check=True, timeout=20)
    assert rows_of(old_file) == before
    assert shape_of(old_file)["user_version"] == (version,)
    assert old_file.stat().st_mode & 0o777 == 0o600
    assert old_file.with_name(f"{old_file.name}.version-99").exists()


def test_without_a_copy_the_way_back_is_an_own_backup(tmp_path: Path) -> None:
    """Nothing is named that is not there, or that this program could not open either."""
    path = tmp_path / "the state.sqlite3"
    Database(path).close()
    write_as_later(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.with_name(f"{path.name}.before-99").write_bytes(path.read_bytes())
    with pytest.raises(ConfigError, match="version 99") as caught:
        Database(path)
    assert "before-99" not in caught.value.hint
    assert "your own backups" in caught.value.hint
    assert f"mv '{path}' '{path}.version-99'" in caught.value.hint


def write_as_later(path: Path) -> None:
    """Do to a state file what a later version may do, and die without closing it."""
    script = (
        "import os, sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1])\n"
        "connection.execute('CREATE TABLE later (x)')\n"
        "connection.execute('PRAGMA user_version = 99')\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, timeout=20)


def test_nothing_is_changed_without_room_for_the_copy(old_file: Path, version: int) -> None:
    """A migration that cannot be taken back does not begin."""
    draft = old_file.with_name(f".state.sqlite3.before-{SCHEMA_VERSION}.unfinished")
    (draft / "in the way").mkdir(parents=True)
    with pytest.raises(ConfigError) as caught:
        Database(old_file)
    assert caught.value.code == "no_room_for_copy"
    assert shape_of(old_file)["user_version"] == (version,)
