"""What systemd hears of a daemon: the line that it shows, and when its watchdog is fed.

Real threads that really wait for one another or for the system, a real state file, fake time.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vpe_watcher.adapters.manager import Manager
from vpe_watcher.adapters.store import Database, Store
from vpe_watcher.adapters.threads import waits_for_a_thread
from vpe_watcher.app.pulse import Pulse, line_of
from vpe_watcher.app.standstill import Turn
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.machine import Patience
from vpe_watcher.core.model import State
from vpe_watcher.flow.breakers import Breakers

PERIOD_S = 100.0
STUCK_AFTER_S = 0.3


@dataclass
class Ward:
    """A pulse, the ear of systemd, and a clock that is set by hand."""

    pulse: Pulse
    breakers: Breakers
    store: Store
    ear: socket.socket
    clock: list[float]
    turns: dict[str, Turn] = field(default_factory=dict)
    threads: list[threading.Thread] = field(default_factory=list)
    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def beat(self, *, after_s: float) -> list[str]:
        """Let time pass and the main thread turn once; return what systemd hears."""
        self.clock[0] += after_s
        self.pulse.beat(self.turns, self.threads)
        heard = []
        with suppress(BlockingIOError):
            while True:
                heard.append(self.ear.recv(4096).decode())
        return heard

    def is_fed(self) -> bool:
        """Tell whether the watchdog is fed at the next time to do so."""
        return "WATCHDOG=1" in self.beat(after_s=PERIOD_S / 4)


@pytest.fixture(name="ward")
def open_ward(tmp_path: Path) -> Iterator[Ward]:
    """Make a pulse of a daemon with nothing to do."""
    database = Database(tmp_path / "state.sqlite3")
    store = Store(database, now=lambda: 0.0)
    clock = [1000.0]
    events: list[tuple[str, dict[str, object]]] = []

    def log(event: str, /, **fields: object) -> None:
        events.append((event, fields))

    breakers = Breakers(
        patience=Patience(),
        monotonic=lambda: clock[0],
        now=lambda: 0.0,
        chance=lambda: 0.5,
        log=log,
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(0)
        pulse = Pulse(
            Manager(str(tmp_path / "notify"), watchdog_s=PERIOD_S),
            store,
            breakers,
            monotonic=lambda: clock[0],
            log=log,
            stuck_after_s=STUCK_AFTER_S,
        )
        yield Ward(pulse, breakers, store, ear, clock, events=events)
    database.close()


def _wait(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def _thread(target: Callable[[], object]) -> Iterator[threading.Thread]:
    """Run something beside the test; it must have ended when the block ends."""
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    yield thread
    thread.join(10)
    assert not thread.is_alive()


@contextmanager
def waiting_for_a_lock() -> Iterator[threading.Thread]:
    """Have a thread that waits for another one."""
    lock = threading.Lock()
    lock.acquire()
    with _thread(lock.acquire) as thread:
        _wait(lambda: waits_for_a_thread(thread.native_id or 0))
        yield thread
        lock.release()


@contextmanager
def waiting_for_the_system() -> Iterator[threading.Thread]:
    """Have a thread in a call that does not return, as of a share that hangs."""
    reader, writer = os.pipe()
    with _thread(lambda: os.read(reader, 1)) as thread:
        yield thread
        os.write(writer, b"x")
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("counts", "breakers", "line"),
    [
        ({}, (), "Nothing to do, Engine ok"),
        (
            {State.UPLOADING: 3, State.WAITING: 12, State.HELD: 1},
            (),
            "3 uploading, 12 processing, 1 held, Engine ok",
        ),
        ({State.WAITING: 1}, ("inbox:pacs",), "1 processing, Engine ok, paused: inbox:pacs"),
        ({State.SUBMITTING: 2}, ("outbox", "engine"), "2 submitting, paused: engine outbox"),
        ({}, ("token",), "Nothing to do, paused: token"),
    ],
)
def test_the_line_says_what_is_under_way(
    counts: dict[State, int], breakers: tuple[str, ...], line: str
) -> None:
    """Cases by what is done with them, the Engine, and what is paused by its breakers' names."""
    assert line_of(counts, breakers) == line


def test_the_line_says_that_older_settings_count() -> None:
    """A reload that was refused changes nothing: people have to know."""
    line = line_of({}, (), is_config_wrong=True)
    assert line == "Nothing to do, Engine ok, the new configuration is refused"


def test_the_line_is_told_when_it_changes_at_most_once_a_second(ward: Ward) -> None:
    """Nobody is woken by a line that is known."""
    fault = EnvironmentFault("away", code="x", hint="", breaker="engine")
    assert "STATUS=Nothing to do, Engine ok" in ward.beat(after_s=0)
    assert ward.beat(after_s=1.5) == []
    ward.breakers.open(fault, kind="submitting")
    assert ward.beat(after_s=1.0) == ["STATUS=Nothing to do, paused: engine"]
    ward.breakers.close("engine", kind="submitting")
    assert ward.beat(after_s=0.5) == []
    assert ward.beat(after_s=0.5) == ["STATUS=Nothing to do, Engine ok"]


def test_the_watchdog_is_fed_four_times_in_its_period(ward: Ward) -> None:
    """Often enough that one word may be lost, and no more often."""
    heard = [word for _ in range(100) for word in ward.beat(after_s=PERIOD_S / 100)]
    assert heard.count("WATCHDOG=1") == 4


def test_a_state_file_that_does_not_answer_ends_the_feeding(ward: Ward) -> None:
    """Whatever thread it is that waits; it goes on with the file's next answer."""
    goes_on = threading.Event()

    def ask() -> None:
        with ward.store.database.transaction():
            goes_on.wait(10)

    with _thread(ask):
        _wait(lambda: ward.store.database.longest_s() > STUCK_AFTER_S)
        assert [ward.is_fed() for _ in range(3)] == [False] * 3
        assert ward.events == [
            ("daemon.stuck", {"reason": "the state file has not answered for 0.3 s"})
        ]
        goes_on.set()
    assert ward.is_fed()


def test_a_state_file_that_refuses_is_no_reason_to_be_killed(ward: Ward) -> None:
    """Full, sick or busy: each try ends, and the daemon lives to try again."""
    ward.store.database.connection().execute("PRAGMA query_only = ON")
    with pytest.raises(EnvironmentFault):
        ward.store.record_stop()
    assert ward.store.database.longest_s() == 0
    assert ward.is_fed()


def _turn(thread: threading.Thread, *, began: float = 0.0) -> Turn:
    return Turn(began, thread.native_id or 0)


def test_threads_that_wait_for_one_another_end_the_feeding(ward: Ward) -> None:
    """A deadlock among workers and looks heals by a new start alone."""
    with waiting_for_a_lock() as one, waiting_for_a_lock() as other:
        ward.turns = {"inbox:default": _turn(one), "4d5e": _turn(other)}
        ward.threads = [one, other]
        assert not ward.is_fed()
        assert [name for name, _ in ward.events] == ["daemon.stuck"]
        ward.turns = {}
        assert ward.is_fed()


@pytest.mark.parametrize("is_at_work", [True, False])
def test_a_folder_that_hangs_is_no_reason_to_be_killed(ward: Ward, *, is_at_work: bool) -> None:
    """Neither for the thread that asks it, whatever for, nor for those that wait for that one."""
    with waiting_for_the_system() as asking, waiting_for_a_lock() as waiting:
        ward.turns = {"4d5e": _turn(waiting)}
        if is_at_work:
            ward.turns["inbox:default"] = _turn(asking)
        ward.threads = [asking, waiting]
        assert [ward.is_fed() for _ in range(3)] == [True] * 3
    assert ward.events == []


def test_who_has_waited_for_a_moment_is_not_stuck(ward: Ward) -> None:
    """A lock that is held for a while is no deadlock."""
    with waiting_for_a_lock() as thread:
        ward.clock[0] += PERIOD_S / 4
        ward.turns = {"4d5e": _turn(thread, began=ward.clock[0])}
        ward.threads = [thread]
        assert "WATCHDOG=1" in ward.beat(after_s=STUCK_AFTER_S / 2)
