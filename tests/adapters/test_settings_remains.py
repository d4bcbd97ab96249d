"""Where the state file is, told by a configuration that cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from vpe_watcher.adapters.settings import state_file_despite

DEFAULT = Path("/var/lib/vpe-watcher/state.sqlite3")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('state_file = "state/s.sqlite3"\nnonsense', "state/s.sqlite3"),
        ("nonsense =\n  state_file='/srv/s.sqlite3'  # here", "/srv/s.sqlite3"),
        ('# state_file = "elsewhere"\n[', DEFAULT),
        ("", DEFAULT),
    ],
)
def test_the_line_of_the_file_counts(tmp_path: Path, text: str, wanted: str | Path) -> None:
    """Whatever else stands there; a relative path is relative to the file."""
    config = tmp_path / "config.toml"
    config.write_text(text)
    assert state_file_despite(config, environ={}) == tmp_path / wanted


def test_the_environment_is_stronger(tmp_path: Path) -> None:
    """As it is when all is well."""
    environ = {"VPE_WATCHER_STATE_FILE": "own.sqlite3"}
    assert state_file_despite(None, environ=environ, cwd=tmp_path) == tmp_path / "own.sqlite3"


def test_a_file_that_cannot_be_read_leaves_the_default(tmp_path: Path) -> None:
    """No more can be known."""
    assert state_file_despite(tmp_path / "none.toml", environ={}) == DEFAULT
