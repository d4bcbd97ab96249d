"""The reserve: there while there is room, for its owner alone, and gone when the disk is full."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vpe_watcher.adapters.reserve import SIZE_BYTES, Reserve


@pytest.fixture(name="reserve")
def make_reserve(tmp_path: Path) -> Reserve:
    """Return the reserve of a state file."""
    return Reserve(tmp_path / "state.sqlite3")


def _free(monkeypatch: pytest.MonkeyPatch, free: int, total: int = 1 << 40) -> None:
    """Let the disk have this many bytes free."""

    class Found:
        f_frsize, f_bavail, f_blocks = 1, free, total

    monkeypatch.setattr(os, "statvfs", lambda _path: Found)


def test_it_takes_real_space_for_its_owner_alone(reserve: Reserve) -> None:
    """A hole would give nothing back, and nobody else has any business with it."""
    reserve.keep()
    found = reserve.path.stat()
    assert (found.st_size, found.st_mode & 0o7777) == (SIZE_BYTES, 0o600)
    assert found.st_blocks * 512 >= SIZE_BYTES
    assert not reserve.is_spent


def test_what_was_given_back_is_taken_again_when_there_is_room_for_two(
    reserve: Reserve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it gave back is no room for it: it would fill the disk up again."""
    reserve.keep()
    reserve.release()
    assert not reserve.path.exists()
    with monkeypatch.context() as patched:
        _free(patched, 2 * SIZE_BYTES - 1)
        reserve.keep()
        assert not reserve.path.exists()
        _free(patched, 2 * SIZE_BYTES)
        reserve.keep()
    assert reserve.path.stat().st_size == SIZE_BYTES


def test_a_small_disk_keeps_an_eighth(reserve: Reserve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a disk that is small but empty would pass for full."""
    _free(monkeypatch, 1 << 20, 1 << 20)
    reserve.keep()
    assert reserve.path.stat().st_size == 1 << 17


def test_one_that_was_broken_off_is_made_anew(reserve: Reserve) -> None:
    """A power cut may leave a shorter one."""
    reserve.path.write_bytes(b"short")
    reserve.keep()
    assert reserve.path.stat().st_size == SIZE_BYTES


def test_a_start_on_a_full_disk_makes_way(
    reserve: Reserve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening the state file needs room for its WAL; with room, the reserve stays."""
    reserve.keep()
    reserve.make_way()
    assert reserve.path.exists()
    _free(monkeypatch, 4096)
    reserve.make_way()
    assert not reserve.path.exists()
    assert reserve.is_spent


def test_a_first_start_on_a_full_disk_has_none_to_give(
    reserve: Reserve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then SQLite says what it can do."""
    _free(monkeypatch, 4096)
    reserve.make_way()
    reserve.keep()
    assert not reserve.path.exists()
    assert not reserve.is_spent


def test_a_disk_that_says_nothing_changes_nothing(tmp_path: Path) -> None:
    """The folder may be gone: the state file itself will tell."""
    reserve = Reserve(tmp_path / "gone" / "state.sqlite3")
    reserve.make_way()
    reserve.keep()
    reserve.release()
    assert reserve.is_spent
