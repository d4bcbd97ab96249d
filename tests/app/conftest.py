"""Fixtures for the tests of commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.desk import Desk, open_desk


@pytest.fixture(autouse=True)
def _no_foreign_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the machine's own configuration and terminal out of the tests."""
    for name in ("VPE_WATCHER_CONFIG", "CREDENTIALS_DIRECTORY", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(name="desk")
def make_desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    """Return folders, configuration and state file; no daemon runs."""
    desk = open_desk(tmp_path / "home", capsys)
    yield desk
    desk.lock.release()
    desk.store.database.close()


@pytest.fixture(name="running")
def make_running(desk: Desk) -> Desk:
    """Return a desk whose lock is held, as by a running daemon."""
    desk.lock.acquire()
    return desk
