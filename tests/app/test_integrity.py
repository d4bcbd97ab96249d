"""Whether the state file is sound: looked at in part at each start, as a whole after a death."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.app.test_daemon import OddDisk, RealTime, Service
from tests.flow.house import House, nifti
from vpe_watcher.adapters.store import database
from vpe_watcher.adapters.store.soundness import check_at_start
from vpe_watcher.app.integrity import Integrity
from vpe_watcher.app.process import run
from vpe_watcher.app.signals import Signals
from vpe_watcher.app.start import counted_start
from vpe_watcher.core.errors import ConfigError, TryAgainLater, WatcherError
from vpe_watcher.core.model import State


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


def test_a_file_that_cannot_be_read_now_is_read_later(house: House) -> None:
    """That says nothing of the file: intake goes on, it is logged once, and tried again."""
    path = house.settings.state_file
    aside = path.with_name("aside")
    integrity = _integrity(house)
    path.rename(aside)
    assert [integrity.check(), integrity.check()] == [False, False]
    assert (integrity.is_sound, house.breakers()) == (False, set())
    aside.rename(path)
    assert integrity.check()
    assert (integrity.is_sound, house.breakers()) == (True, set())
    told = [fields["code"] for name, fields in house.events if name.startswith("state.")]
    assert told == ["state_cannot_open"]


def test_the_reading_comes_again_by_itself(house: House) -> None:
    """On the same thread, until the file could be read."""
    path = house.settings.state_file
    aside = path.with_name("aside")
    path.rename(aside)

    def put_back(event: str, /, **_: object) -> None:
        assert event == "state.unread"
        aside.rename(path)

    integrity = Integrity(path, house.parts.breakers, was_clean=False, log=put_back, again_s=0.01)
    integrity.check_until_known()
    assert integrity.is_sound


def test_a_stop_ends_the_waiting_for_a_file(house: House) -> None:
    """Nobody waits a minute for a thread that waits."""
    path = house.settings.state_file
    path.rename(path.with_name("aside"))
    told = threading.Event()

    def tell(event: str, /, **_: object) -> None:
        told.set()

    integrity = Integrity(path, house.parts.breakers, was_clean=False, log=tell)
    integrity.start()
    assert told.wait(10)
    integrity.stop()
    assert "integrity" not in {thread.name for thread in threading.enumerate()}
    assert not integrity.is_sound


@pytest.fixture(name="busy")
def keep_busy(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    """Keep the state file for somebody else, until this connection is closed."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.0)
    house.parts.store.database.close()
    with closing(sqlite3.connect(house.settings.state_file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        yield other


def test_a_start_waits_for_a_busy_file(house: House, busy: sqlite3.Connection) -> None:
    """The supervisor does not start again after a 78, so the daemon has to wait itself."""
    signals, told = Signals(), []

    def log(event: str, /, **fields: object) -> None:
        told.append((event, fields["breaker"]))
        busy.close()
        signals.wake()

    start = counted_start(
        house.settings, house.parts.store, house.disk, log=log, once=False, signals=signals
    )
    assert start is not None
    assert told == [("breaker.opened", "state"), ("breaker.closed", "state")]


@pytest.mark.usefixtures("busy")
def test_one_run_does_not_wait_for_a_busy_file(house: House) -> None:
    """It ends with 75: whoever started it tries again."""
    with pytest.raises(TryAgainLater) as caught:
        counted_start(
            house.settings,
            house.parts.store,
            house.disk,
            log=house.log,
            once=True,
            signals=Signals(),
        )
    assert (caught.value.code, caught.value.exit_code) == ("state_unusable", 75)


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


@pytest.mark.real
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


def _overwrite(path: Path, name: str) -> None:
    """Let the disk have forgotten the first page of an index or table."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        page = connection.execute(sql, (name,)).fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("name", ["cases_by_state", "words"])
def test_a_start_refuses_damage_wherever_it_meets_it(
    house: House, name: str, *, once: bool
) -> None:
    """78 and the hint `recover`: after anything else the supervisor would start it for ever."""
    _fill(house)
    house.close()
    _overwrite(house.settings.state_file, name)
    signals = Signals()
    end = threading.Timer(10, signals.take, (signal.SIGTERM, None))
    end.start()
    try:
        with pytest.raises(WatcherError) as caught:
            run(house.settings, once=once, reread=house.read_settings, signals=signals)
    finally:
        end.cancel()
    assert (caught.value.code, caught.value.exit_code) == ("state_damaged", 78)
    assert "recover" in caught.value.hint


def test_reads_do_not_close_the_breaker_of_the_state_file(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While no write is taken it stays open, told once, and is tried ever more rarely."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.0)
    house.restart()
    with closing(sqlite3.connect(house.settings.state_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # others read on
        house.drop("scan.nii")
        house.live(600)
        assert house.breakers() == {"state"}
        assert 5 < house.parts.breakers.failures("state") < 15
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    told = [name for name, fields in house.events if fields.get("breaker") == "state"]
    assert told == ["breaker.opened", "breaker.closed"]


def test_damage_that_is_met_stops_intake_until_a_person_ends_it(house: House) -> None:
    """Whoever meets it: no write elsewhere takes it back, nothing is claimed, sent or failed."""
    _fill(house)
    integrity = _integrity(house, was_clean=True)
    house.parts.breakers.open(database.damaged("Damaged"), kind="waiting")
    house.parts.breakers.written()
    house.drop("next.nii", nifti(seed=9))
    for _ in range(30):
        house.turn()
        house.time.advance(60)
        integrity.mind()
    assert house.files("inbox") == ["next.nii"]
    assert (house.breakers(), integrity.is_sound) == ({"state"}, False)
    assert "recover" in house.breaker("state").hint
    told = [name for name, fields in house.events if fields.get("breaker") == "state"]
    assert told == ["breaker.opened"]
