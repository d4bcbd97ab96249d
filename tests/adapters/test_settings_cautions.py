"""Secrets: who could read them, in the configuration file and in what the library logs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from vpe_watcher.adapters.settings import Settings, load_settings, warnings

TOP = """
inbox = "inbox"
outbox = "outbox"
archive = "archive"
failed = "failed"
state_file = "state/state.sqlite3"
[job.outputFiles]
meshes = [{ extension = ".stl", structures = ["mandible"] }]
"""
WRITTEN = TOP + '[engine.auth]\naccess_token = "t0p-s3cret"\n'


def settings_of(folder: Path, text: str, *, mode: int, **variables: str) -> Settings:
    """Load a configuration file that has these permissions."""
    (folder / "state").mkdir(exist_ok=True)
    file = folder / "vpe-watcher.toml"
    file.write_text(text)
    file.chmod(mode)
    return load_settings(file, environ=variables, cwd=folder)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666])
def test_a_secret_in_a_file_that_others_may_read_is_a_warning(tmp_path: Path, mode: int) -> None:
    """The warning names key, file and mode, says what to do, and does not show the secret."""
    (found,) = warnings(settings_of(tmp_path, WRITTEN, mode=mode))
    file = tmp_path / "vpe-watcher.toml"
    assert found.code == "secret_in_readable_file"
    assert found.message.startswith(f"engine.auth.access_token in {file}: ")
    assert f"(mode {mode:04o})" in found.message
    assert f"chmod 0640 {file}" in found.hint
    assert "access_token_file" in found.hint
    assert "t0p-s3cret" not in repr(found)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o642])
def test_a_secret_in_a_file_that_others_may_not_read_is_none(tmp_path: Path, mode: int) -> None:
    """Without the permission to read for other there is nothing to warn about."""
    assert warnings(settings_of(tmp_path, WRITTEN, mode=mode)) == []


def test_a_secret_from_elsewhere_does_not_make_the_file_a_risk(tmp_path: Path) -> None:
    """A readable file without a secret, or with an empty key, is fine."""
    variable = {"VPE_WATCHER_ENGINE__AUTH__ACCESS_TOKEN": "t"}
    text = TOP + '[engine.auth]\nclient_secret = ""\n'
    assert warnings(settings_of(tmp_path, text, mode=0o644, **variable)) == []


def test_a_secret_that_does_not_count_is_readable_all_the_same(tmp_path: Path) -> None:
    """A stronger source replaces the secret, and what stands in the file can still be read."""
    variable = {"VPE_WATCHER_ENGINE__AUTH__ACCESS_TOKEN": "t"}
    text = TOP + '[engine.auth]\nclient_id = "id"\nclient_secret = "s"\n'
    (found,) = warnings(settings_of(tmp_path, text, mode=0o644, **variable))
    assert found.message.startswith("engine.auth.client_secret in ")


def test_the_mode_is_looked_at_when_the_warnings_are_asked_for(tmp_path: Path) -> None:
    """A file that was closed or removed since it was loaded is no risk any more."""
    settings = settings_of(tmp_path, WRITTEN, mode=0o644)
    file = tmp_path / "vpe-watcher.toml"
    file.chmod(0o600)
    assert warnings(settings) == []
    file.unlink()
    assert warnings(settings) == []


def test_variables_alone_are_no_risk(tmp_path: Path) -> None:
    """Without a configuration file there is none to be read."""
    (tmp_path / "state").mkdir()
    environ = {
        "VPE_WATCHER_STATE_FILE": "state/s.sqlite3",
        "VPE_WATCHER_ENGINE__AUTH__ACCESS_TOKEN": "t",
        "VPE_WATCHER_JOB": '{"outputFiles": {"meshes": []}}',
    }
    settings = load_settings(environ=environ, cwd=tmp_path)
    assert settings.config_file is None
    assert warnings(settings) == []


def test_the_librarys_debug_log_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PYDANTIC_SETTINGS_DEBUG logs what each source says, and our sources do not tell it."""
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    variable = {"VPE_WATCHER_ENGINE__AUTH__CLIENT_SECRET": "an0ther-s3cret"}
    text = WRITTEN.replace("access_token", "client_id = 'id'\nclient_secret")
    with caplog.at_level(logging.DEBUG):
        settings_of(tmp_path, text, mode=0o600, **variable)
    assert "EnvironmentSource" in caplog.text
    assert "FileSource" in caplog.text
    assert "s3cret" not in caplog.text
