"""What is damage of the state file, and what is only trouble of the moment."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.adapters.store.builders import House
from vpe_watcher.adapters.store import database
from vpe_watcher.adapters.store.soundness import check_at_start, check_was_read
from vpe_watcher.core.errors import ConfigError, EnvironmentFault


def test_a_busy_file_is_not_damaged(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody keeps it for himself for a moment: the start may wait, and then it is sound."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.0)
    house.add()
    house.close()
    with closing(sqlite3.connect(house.database.path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(EnvironmentFault, match="SQLITE_BUSY") as caught:
            check_at_start(house.database)
        assert caught.value.code == "state_unusable"
    check_at_start(house.database)


def test_a_file_that_was_overwritten_is_damaged(house: House) -> None:
    """What SQLite itself calls no database stays a matter for a person."""
    house.add()
    house.close()
    house.database.path.write_bytes(b"This is no database at all. " * 300)
    with pytest.raises(ConfigError) as caught:
        check_at_start(house.database)
    assert (caught.value.code, caught.value.exit_code) == ("state_damaged", 78)


def test_a_table_with_an_odd_name_is_no_matter(house: House) -> None:
    """What a person's own tool added beside ours breaks nothing."""
    house.database.connection().execute('CREATE TABLE "notes (of mine" (x)')
    check_at_start(house.database)


@pytest.mark.parametrize(
    "verdict",
    [
        "*** in database main ***\nPage 7: unable to get the page. error code=8458",
        "*** in database main ***\nTree 3 page 7: unable to get the page. error code=266",
        "*** in database main ***\nOn tree page 50 cell 0: failed to get page 49",
        "*** in database main ***\nMain freelist: failed to get page 9",
    ],
)
def test_a_page_that_the_disk_kept_is_no_finding(verdict: str) -> None:
    """So SQLite words an EIO in the middle of its check."""
    with pytest.raises(EnvironmentFault) as caught:
        check_was_read(verdict)
    assert caught.value.code == "state_unusable"


@pytest.mark.parametrize(
    "verdict",
    [
        "ok",
        "*** in database main ***\nPage 7: unable to get the page. error code=11",
        "*** in database main ***\nPage 7: btreeInitPage() returns error code 11",
        "*** in database main ***\nOn tree page 5 cell 0: invalid page number 4711",
    ],
)
def test_what_was_read_speaks_for_itself(verdict: str) -> None:
    """A page with the wrong content is damage."""
    assert check_was_read(verdict) is None  # type: ignore[func-returns-value]
