"""What systemd hears, by a real datagram socket in its stead."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vpe_watcher.adapters.manager import Manager

PID = 4711


@pytest.fixture(name="ear", params=["path", "abstract"])
def open_ear(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """Listen as systemd does: at a path, or under an abstract name."""
    name = f"\0vpe-watcher-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify") if request.param == "path" else name)
        ear.settimeout(5)
        yield ear


def _address(ear: socket.socket) -> str:
    name = ear.getsockname()
    return "@" + name[1:].decode() if isinstance(name, bytes) else str(name)


def _manager(ear: socket.socket, **more: str) -> Manager:
    return Manager.taken_from({"NOTIFY_SOCKET": _address(ear), **more}, pid=PID)


@pytest.mark.parametrize(
    ("tell", "heard"),
    [
        (Manager.ready, b"READY=1"),
        (
            lambda manager: manager.status("3 uploading,\n Engine ok"),
            b"STATUS=3 uploading, Engine ok",
        ),
        (lambda manager: manager.status("m\udcffnd"), b"STATUS=m?nd"),
        (
            lambda manager: manager.stopping(within_s=25),
            b"STOPPING=1\nEXTEND_TIMEOUT_USEC=25000000",
        ),
        (lambda manager: manager.needs_longer(1.5), b"EXTEND_TIMEOUT_USEC=1500000"),
    ],
)
def test_each_word_is_one_datagram(
    ear: socket.socket, tell: Callable[[Manager], None], heard: bytes
) -> None:
    """A word is what sd_notify(3) says, and a status never more than one line."""
    tell(_manager(ear))
    assert ear.recv(4096) == heard


def test_a_reload_says_when_it_began(ear: socket.socket) -> None:
    """RELOADING=1 comes with the monotonic time, as notify-reload of later systemd asks."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    _manager(ear).reloading()
    word, _, moment = ear.recv(4096).partition(b"\nMONOTONIC_USEC=")
    assert word == b"RELOADING=1"
    assert before <= int(moment) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_watched_process_feeds_its_watchdog(ear: socket.socket) -> None:
    """The period is known in seconds; the word is one datagram."""
    manager = _manager(ear, WATCHDOG_USEC="30000000", WATCHDOG_PID=str(PID))
    manager.alive()
    assert (manager.watchdog_s, ear.recv(4096)) == (30.0, b"WATCHDOG=1")


@pytest.mark.parametrize(
    "period",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "x"},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
    ],
)
def test_nobody_feeds_a_watchdog_that_is_not_theirs(
    ear: socket.socket, period: dict[str, str]
) -> None:
    """Without a period, or with that of another process, there is no word."""
    manager = _manager(ear, **period)
    manager.alive()
    manager.ready()
    assert (manager.watchdog_s, ear.recv(4096)) == (None, b"READY=1")


def test_children_hear_nothing_of_the_manager() -> None:
    """What systemd left for this process is taken out of what its children inherit."""
    left = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    Manager.taken_from(left, pid=PID)
    assert left == {"PATH": "/bin"}


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify", "@nobody-listens", "x" * 200])
def test_nobody_who_listens_stops_nobody(address: str | None) -> None:
    """Without a manager, or with one that is gone, each word is silently nothing."""
    manager = Manager(address, watchdog_s=1)
    manager.ready()
    manager.alive()
    assert manager.watchdog_s == (1 if address else None)
