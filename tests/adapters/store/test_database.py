"""The state file itself: whose it is, what is wrong with it, and what leaves as which error."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.adapters.store.builders import House
from vpe_watcher.adapters.store import Database
from vpe_watcher.adapters.store.database import SCHEMA_VERSION
from vpe_watcher.core.errors import ConfigError, EnvironmentFault


def run_sql(path: Path, *statements: str) -> None:
    """Write to a database file as some other program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_new_state_file_is_safe(house: House) -> None:
    """WAL and FULL, so that a commit is on the disk and readers never wait."""
    pragmas = {
        name: house.database.read(f"PRAGMA {name}")[0][0]
        for name in ("journal_mode", "synchronous", "foreign_keys", "user_version")
    }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "user_version": SCHEMA_VERSION,
    }


def test_opening_again_keeps_everything(house: House) -> None:
    """A migration that was done is not done again."""
    house.add()
    house.close()
    assert House(house.path).case().case_name == "scan"


def test_a_backup_that_is_put_back_gets_its_wal(house: House) -> None:
    """And what has it is not written to."""
    house.close()
    run_sql(house.path, "PRAGMA journal_mode = DELETE")
    database = Database(house.path)
    assert database.read("PRAGMA journal_mode")[0][0] == "wal"
    database.close()
    before = (house.path.stat().st_mtime_ns, house.path.read_bytes())
    Database(house.path).close()
    assert (house.path.stat().st_mtime_ns, house.path.read_bytes()) == before


def make_newer(path: Path) -> None:
    """Do what a later version may do."""
    Database(path).close()
    run_sql(path, "PRAGMA user_version = 99", "CREATE TABLE later (x)")


def make_foreign(path: Path) -> None:
    """Make a database that has nothing to do with us."""
    run_sql(path, "CREATE TABLE photos (x)")


def make_foreign_with_a_version(path: Path) -> None:
    """Make one whose version happens to be ours."""
    run_sql(path, "CREATE TABLE photos (x)", "PRAGMA user_version = 2")


def make_text(path: Path) -> None:
    """Put something else in its place."""
    path.write_text("This is no database at all. " * 50)


def make_damaged(path: Path) -> None:
    """Overwrite the first tables of a good state file."""
    Database(path).close()
    content = bytearray(path.read_bytes())
    content[100:4000] = b"\xff" * 3900
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "code", "hint"),
    [
        (make_newer, "state_too_new", "install that version"),
        (make_foreign, "state_not_ours", "state_file"),
        (make_foreign_with_a_version, "state_not_ours", "state_file"),
        (make_text, "state_damaged", "recover"),
        (make_damaged, "state_damaged", "recover"),
    ],
)
@pytest.mark.parametrize("create", [True, False])
def test_what_is_not_our_state_file_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], code: str, hint: str, *, create: bool
) -> None:
    """Exit 78 with a hint, and the file is left as it was."""
    path = tmp_path / "state.sqlite3"
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(ConfigError) as caught:
        Database(path, create=create)
    assert (caught.value.code, caught.value.exit_code) == (code, 78)
    assert hint in caught.value.hint
    assert path.read_bytes() == before


def test_a_missing_file_is_not_made_by_a_reader(tmp_path: Path) -> None:
    """`status` before the first start leaves nothing behind."""
    with pytest.raises(EnvironmentFault) as caught:
        Database(tmp_path / "state.sqlite3", create=False)
    assert (caught.value.breaker, caught.value.code) == ("state", "state_cannot_open")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_trouble_with_the_machine(tmp_path: Path) -> None:
    """The message names what SQLite said, without a path."""
    with pytest.raises(EnvironmentFault, match="SQLITE_CANTOPEN") as caught:
        Database(tmp_path / "gone" / "state.sqlite3")
    assert str(tmp_path) not in caught.value.message


def test_a_full_disk_is_trouble_with_the_machine(house: House) -> None:
    """SQLite's FULL opens the breaker `state`; the transaction leaves no trace."""
    pages = house.database.read("PRAGMA page_count")[0][0]
    house.database.read(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(EnvironmentFault, match="SQLITE_FULL") as caught:
        house.add(job={"filler": "x" * 100_000})
    assert caught.value.breaker == "state"
    house.database.read(f"PRAGMA max_page_count = {pages + 1000}")
    assert house.store.load("c1") is None
    house.add()


def test_a_defect_of_ours_is_not_called_environment(house: House) -> None:
    """What the schema forbids stays SQLite's own error, with its traceback."""
    house.add()
    with pytest.raises(sqlite3.IntegrityError):
        house.add()


def test_an_error_rolls_back(house: House) -> None:
    """Half a transaction is none."""

    def write_and_fail() -> None:
        with house.database.transaction() as connection:
            connection.execute("INSERT INTO snapshot VALUES (1, '{\"half\": 1}', '')")
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    assert house.queries.snapshot() == {}


def test_data_version_tells_of_others(house: House) -> None:
    """It changes when another connection commits, and not by our own commits."""
    other = house.open()
    before = other.data_version()
    assert other.data_version() == before
    house.add()
    after = other.data_version()
    assert after != before
    with other.transaction() as connection:
        connection.execute("DELETE FROM words")
    assert other.data_version() == after


def test_a_closed_database_opens_again(house: House) -> None:
    """Closing is no end: the next use opens a connection again."""
    house.add()
    house.database.close()
    assert house.case().case_id == "c1"


def test_the_log_files_take_the_mode_over(tmp_path: Path) -> None:
    """Opened under a strict umask, nobody else reads any of the files, now or later."""
    before = os.umask(0o077)
    try:
        house = House(tmp_path / "state.sqlite3")
    finally:
        os.umask(before)
    house.add()
    house.close()
    again = House(tmp_path / "state.sqlite3")
    again.add("c2")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    again.close()
    assert modes == dict.fromkeys(
        ("state.sqlite3", "state.sqlite3-wal", "state.sqlite3-shm"), 0o600
    )


def test_a_path_with_odd_characters(tmp_path: Path) -> None:
    """A question mark in the path is no option of the address."""
    path = tmp_path / "odd ?mode=memory #% ä.sqlite3"
    house = House(path)
    house.add()
    house.close()
    assert path.stat().st_size > 0


def _remove(path: Path) -> None:
    for one in path.parent.iterdir():
        one.unlink()


def _replace(path: Path) -> None:
    other = path.with_name("other")
    Database(other).close()
    other.rename(path)


@pytest.mark.parametrize("spoil", [_remove, _replace])
def test_a_file_that_is_gone_is_written_no_more_and_not_made_anew(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """What was written into it would be lost with the last of the threads that have it open."""
    path = tmp_path / "state.sqlite3"
    with closing(Database(path)) as database:
        spoil(path)
        before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
        with pytest.raises(EnvironmentFault) as caught, database.transaction():
            pytest.fail("it is written")
        assert (caught.value.code, caught.value.breaker) == ("state_gone", "state")
        assert "recover" in caught.value.hint
        with ThreadPoolExecutor(1) as pool, pytest.raises(EnvironmentFault, match="is gone"):
            pool.submit(database.read, "SELECT 1").result()
        assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before
