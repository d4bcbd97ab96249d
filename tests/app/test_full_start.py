"""A start without room for the lock or the state file: later again, and no wrong configuration."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.flow.house import House
from vpe_watcher.adapters.lock import DaemonLock, lock_holder
from vpe_watcher.app.process import run
from vpe_watcher.app.signals import Signals
from vpe_watcher.core.errors import TryAgainLater


@contextmanager
def _files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let this process write no longer file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_lock_that_cannot_be_written_is_given_back(tmp_path: Path) -> None:
    """Nobody would know whose it is; with room the next start takes it."""
    lock = DaemonLock(tmp_path / "state.sqlite3")
    with _files_of_at_most(0), pytest.raises(TryAgainLater) as caught:
        lock.acquire()
    assert (caught.value.code, caught.value.exit_code) == ("lock_unwritable", 75)
    assert lock_holder(tmp_path / "state.sqlite3") is None
    lock.acquire()
    lock.release()


def test_a_state_file_without_room_is_tried_later(tmp_path: Path) -> None:
    """A service that is started again finds room some day; 78 would keep it down."""
    house = House(tmp_path)
    house.close()
    house.overrides["state_file"] = str(tmp_path / "state" / "new.sqlite3")
    settings = house.read_settings()
    with _files_of_at_most(1024), pytest.raises(TryAgainLater) as caught:
        run(settings, once=True, reread=house.read_settings, signals=Signals())
    assert (caught.value.code, caught.value.exit_code) == ("state_full", 75)
    assert "full" in caught.value.hint
