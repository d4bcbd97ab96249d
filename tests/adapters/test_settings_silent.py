"""A configuration with a folder on a share that does not answer: it is read all the same."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from vpe_watcher.adapters.settings import load_settings

KEYS = {
    "engine": {"base_url": "http://127.0.0.1:1", "auth": {"access_token": "x"}},
    "job": {"outputFiles": {"meshes": [{"extension": ".stl", "structures": ["mandible"]}]}},
}


def test_a_folder_that_hangs_is_taken_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for the status of a daemon with a hung share gets an answer."""
    (tmp_path / "state").mkdir(mode=0o700)
    share, real, may_end = tmp_path / "share", os.path.realpath, threading.Event()

    def realpath(path: Path) -> str:
        if Path(path).is_relative_to(share):
            may_end.wait()
        return real(path)

    monkeypatch.setattr(os.path, "realpath", realpath)
    folders = {name: str(tmp_path / name) for name in ("inbox", "outbox", "archive", "failed")}
    overrides = {
        **KEYS,
        **folders,
        "state_file": str(tmp_path / "state" / "state.sqlite3"),
        "recipes": {"pacs": {"inbox": str(share / "export")}},
    }
    began = time.monotonic()
    settings = load_settings(overrides=overrides, environ={}, cwd=tmp_path)
    assert settings.recipes["pacs"].inbox == share / "export"
    assert time.monotonic() - began < 10
    may_end.set()
