"""Where the state file is, told by a configuration that cannot be loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vpe_watcher.adapters.settings import state_files_despite

DEFAULT = Path("/var/lib/vpe-watcher/state.sqlite3")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('state_file = "state/s.sqlite3"\nnonsense', "state/s.sqlite3"),
        ("nonsense =\n  state_file='/srv/s.sqlite3'  # here", "/srv/s.sqlite3"),
        ('[limits\nstate_file = "s.sqlite3"\nstate_file = "other"', "s.sqlite3"),
        ('\xff\0state_file = "no line of its own"\nstate_file = "s.sqlite3"', "s.sqlite3"),
    ],
)
def test_the_line_of_the_file_counts(tmp_path: Path, text: str, wanted: str) -> None:
    """Whatever else stands there; a relative path is relative to the file."""
    config = tmp_path / "config.toml"
    config.write_text(text, encoding="latin-1")
    assert state_files_despite(config, environ={}) == (tmp_path / wanted,)


def test_the_environment_is_stronger(tmp_path: Path) -> None:
    """As it is when all is well."""
    environ = {"VPE_WATCHER_STATE_FILE": "own.sqlite3"}
    found = state_files_despite(None, environ=environ, cwd=tmp_path)
    assert found == (tmp_path / "own.sqlite3",)


def _with(content: bytes) -> Callable[[Path], object]:
    return lambda config: config.write_bytes(content)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "put",
    [
        _with(b""),
        _with(b"[limits\n"),
        _with(b'# state_file = "elsewhere"\n['),
        _with(bytes(range(256))),
        Path.mkdir,
        os.mkfifo,
        lambda _: None,
    ],
    ids=["empty", "syntax", "comment", "binary", "folder", "fifo", "gone"],
)
def test_a_file_that_names_none_leaves_what_init_writes_and_the_default(
    tmp_path: Path, put: Callable[[Path], object]
) -> None:
    """No more can be known, and nobody waits for more."""
    put(config := tmp_path / "config.toml")
    wanted = (tmp_path / "state/state.sqlite3", DEFAULT)
    assert state_files_despite(config, environ={}) == wanted
    assert state_files_despite(None, environ={"VPE_WATCHER_CONFIG": str(config)}) == wanted
