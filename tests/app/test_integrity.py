"""Whether the state file is sound: looked at in part at each start, as a whole after a death."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.app.test_daemon import OddDisk, RealTime, Service
from tests.flow.house import House, nifti
from vpe_watcher.adapters.store.soundness import check_at_start
from vpe_watcher.app.integrity import Integrity
from vpe_watcher.core.errors import ConfigError


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Return a house with the usual settings."""
    house = House(tmp_path / "house")
    yield house
    house.close()
    house.sandbox.close()


def _fill(house: House) -> None:
    for number in range(3):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live_until_rest()


def _spoil(path: Path) -> None:
    """Damage an index, which no look at a few rows would show."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'events_by_case'"
        page = connection.execute(sql).fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((page - 1) * size + 8)
        file.write(b"\xff" * 64)


def _integrity(house: House, *, was_clean: bool = False) -> Integrity:
    return Integrity(
        house.settings.state_file, house.parts.breakers, was_clean=was_clean, log=house.log
    )


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DROP INDEX cases_by_state", "has no index cases_by_state"),
        ("DROP TRIGGER uploads_before_notifications", "trigger uploads_before"),
        ("ALTER TABLE jobs ADD COLUMN more TEXT", "its table jobs is not that"),
        ("DROP TABLE words", "has no table words"),
    ],
)
def test_another_schema_is_noticed_at_the_start(house: House, statement: str, words: str) -> None:
    """Whoever changed it: nothing is written into what is not as it should be."""
    house.parts.store.database.connection().execute(statement)
    with pytest.raises(ConfigError, match=words) as caught:
        check_at_start(house.parts.store.database)
    assert (caught.value.exit_code, "recover" in caught.value.hint) == (78, True)


def test_a_sound_file_passes(house: House) -> None:
    """Also one with cases in it."""
    _fill(house)
    check_at_start(house.parts.store.database)
    integrity = _integrity(house)
    integrity.check()
    assert (integrity.is_sound, house.breakers()) == (True, set())


def test_a_finding_stops_intake_and_nothing_else(house: House) -> None:
    """It is logged once and shown; what comes stays in the inbox, and the breaker stays open."""
    _fill(house)
    house.close()
    _spoil(house.settings.state_file)
    house.start()
    integrity = _integrity(house)
    integrity.check()
    assert not integrity.is_sound
    assert house.breakers() == {"state"}
    assert "recover" in house.breaker("state").hint
    house.drop("next.nii", nifti(seed=9))
    for _ in range(30):
        house.look()
        house.time.advance(60)
        integrity.mind()
    assert house.files("inbox") == ["next.nii"]
    assert house.breakers() == {"state"}
    assert [name for name, _ in house.events if name == "state.damaged"] == ["state.damaged"]


def test_only_doubt_makes_it_read(house: House) -> None:
    """After a clean stop nothing is read."""
    integrity = _integrity(house, was_clean=True)
    integrity.start()
    integrity.stop()
    assert integrity.is_sound


def test_a_stop_does_not_wait_for_the_reading(house: House) -> None:
    """What was not read to its end proves nothing: the next start begins anew."""
    integrity = _integrity(house)
    integrity.stop()
    integrity.check()
    assert not integrity.is_sound
    assert house.breakers() == set()


def test_a_start_leaves_the_mark_of_a_death(house: House) -> None:
    """Until a daemon comes to its end by itself."""
    store = house.parts.store
    assert not store.was_stopped_cleanly()
    store.record_clean_stop()
    assert store.was_stopped_cleanly()
    house.restart()
    assert not house.parts.store.was_stopped_cleanly()


def test_a_daemon_reads_after_a_death(tmp_path: Path) -> None:
    """On a thread of its own, beside its work; then it may say that it stopped well."""
    disk = OddDisk()
    house = House(tmp_path / "real", disk=disk, time=RealTime())
    integrity = _integrity(house)
    service = Service(house, disk, integrity=integrity)
    with service.running():
        service.wait(lambda: integrity.is_sound)
    house.close()
    house.sandbox.close()
