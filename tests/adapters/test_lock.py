"""One daemon a state file: the lock, and who holds it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vpe_watcher.adapters.lock import TOLD, DaemonLock, lock_holder, lock_path, told_by
from vpe_watcher.core.errors import ConfigError, TryAgainLater

HOLDER = """
import sys, time
from pathlib import Path
from vpe_watcher.adapters.lock import DaemonLock
DaemonLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def state_file(tmp_path: Path) -> Path:
    """Return where a state file would be."""
    return tmp_path / "state.sqlite3"


def test_the_lock_holds_the_pid(state_file: Path) -> None:
    """Beside the state file, for its owner alone."""
    lock = DaemonLock(state_file)
    lock.acquire()
    try:
        assert lock_path(state_file).name == "state.sqlite3.lock"
        assert lock_path(state_file).read_text() == f"{os.getpid()}\n"
        assert stat.S_IMODE(lock_path(state_file).stat().st_mode) == 0o600
        assert lock_holder(state_file) == os.getpid()
    finally:
        lock.release()


def test_a_second_one_is_refused_with_the_firsts_pid(state_file: Path) -> None:
    """Exit 75: try again when that one has gone."""
    lock = DaemonLock(state_file)
    lock.acquire()
    with pytest.raises(TryAgainLater, match=f"pid {os.getpid()}") as caught:
        DaemonLock(state_file).acquire()
    assert caught.value.exit_code == 75
    assert caught.value.hint
    lock.release()
    again = DaemonLock(state_file)
    again.acquire()
    again.release()


def test_nobody_holds_what_was_released_or_never_made(state_file: Path) -> None:
    """*Running* is the lock, not the file: a stale pid in it means nothing."""
    assert lock_holder(state_file) is None
    lock = DaemonLock(state_file)
    lock.acquire()
    lock.release()
    lock.release()
    assert lock_path(state_file).exists()
    assert lock_holder(state_file) is None


def test_a_killed_daemon_holds_nothing(state_file: Path) -> None:
    """The system lets go, however the process ends."""
    command = [sys.executable, "-c", HOLDER, str(state_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert lock_holder(state_file) == holder.pid
        holder.kill()
        holder.wait(10)
    assert lock_holder(state_file) is None
    lock = DaemonLock(state_file)
    lock.acquire()
    lock.release()


def test_a_shorter_pid_leaves_nothing_of_a_longer_one(state_file: Path) -> None:
    """What an earlier daemon wrote is gone."""
    lock_path(state_file).write_text("12345678901234567890\n")
    lock = DaemonLock(state_file)
    lock.acquire()
    assert lock_holder(state_file) == os.getpid()
    lock.release()


def test_commands_that_ask_do_not_keep_a_daemon_from_starting(state_file: Path) -> None:
    """Asking holds the lock for a moment; the daemon tries a little longer than that."""
    lock_path(state_file).touch()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            lock_holder(state_file)
            time.sleep(0.001)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(20):
            lock = DaemonLock(state_file)
            lock.acquire()
            lock.release()
    finally:
        over.set()
        asking.join()


def test_a_lock_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    """The message names the file and the reason."""
    with pytest.raises(ConfigError, match=r"state\.sqlite3\.lock") as caught:
        DaemonLock(tmp_path / "none" / "state.sqlite3").acquire()
    assert caught.value.exit_code == 78
    assert caught.value.hint


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EROFS, TryAgainLater), (errno.EIO, TryAgainLater), (errno.EACCES, ConfigError)],
)
def test_a_sick_disk_may_get_well_by_itself(
    state_file: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    """75 where nobody has to do anything to our files, 78 where somebody must."""

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("vpe_watcher.adapters.lock.os.open", refuse)
    with pytest.raises(kind):
        DaemonLock(state_file).acquire()


def test_a_daemon_tells_of_its_state_file_without_a_disk(tmp_path: Path) -> None:
    """What is wrong and since when, until it is well or the daemon is gone; its pid stays."""
    state_file, lock = tmp_path / "state.sqlite3", DaemonLock(tmp_path / "state.sqlite3")
    assert told_by(state_file) is None
    lock.acquire()
    before = lock_path(state_file).read_bytes()
    for code in TOLD:
        lock.tell(code, 1795425000.7)
        assert told_by(state_file) == (code, 1795425000.0)
    assert (lock_path(state_file).read_bytes(), lock_holder(state_file)) == (before, os.getpid())
    lock.tell(None)
    assert told_by(state_file) is None
    lock.tell("state_full", 1.0)
    lock.release()
    assert told_by(state_file) is None


def test_what_could_not_be_told_is_told_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system was out of locks; what was told before is unsaid by then, and is told anew too."""
    state_file, lock = tmp_path / "state.sqlite3", DaemonLock(tmp_path / "state.sqlite3")
    lock.acquire()
    lock.tell(TOLD[0], 1.0)
    setlk = fcntl.fcntl

    def out_of_locks(descriptor: int, command: int, argument: bytes) -> object:
        if argument.startswith(struct.pack("h", fcntl.F_WRLCK)):
            raise OSError(errno.ENOLCK, "out of locks")
        return setlk(descriptor, command, argument)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "fcntl", out_of_locks)
        lock.tell(TOLD[1], 2.0)
    lock.tell(TOLD[0], 1.0)
    assert told_by(state_file) == (TOLD[0], 1.0)
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "fcntl", out_of_locks)
        lock.tell(TOLD[1], 2.0)
    lock.tell(TOLD[1], 2.0)
    assert told_by(state_file) == (TOLD[1], 2.0)
