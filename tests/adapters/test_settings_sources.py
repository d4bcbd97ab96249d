"""Where a setting comes from: the order of the sources, the search for the file, variables."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vpe_watcher.adapters.settings import SettingsError, load_settings
from vpe_watcher.core.errors import ConfigError

TOP = """
inbox = "inbox"
outbox = "outbox"
archive = "archive"
failed = "failed"
state_file = "state/state.sqlite3"
"""
JOB = '[job.outputFiles]\nmeshes = [{ extension = ".stl", structures = ["mandible"] }]\n'
TOKEN = '[engine.auth]\naccess_token = "from-file"\n'
BASE = TOP + TOKEN + JOB


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder with a state folder, a valid file and a second place to stand in."""
    (tmp_path / "state").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "vpe-watcher.toml").write_text(BASE)
    return tmp_path


def secret_file(folder: Path, name: str, value: str) -> Path:
    """Write a secret that only its owner can read."""
    file = folder / name
    file.write_text(value)
    file.chmod(0o600)
    return file


def test_the_stronger_source_wins_key_by_key(home: Path) -> None:
    """Command line beats environment beats file beats default, each for its own keys only."""
    file = home / "c.toml"
    file.write_text(BASE + "[intake]\nsettle_s = 1\nscan_every_s = 1\nmin_slices = 1\n")
    environ = {"VPE_WATCHER_INTAKE__SETTLE_S": "2.5", "VPE_WATCHER_INTAKE__SCAN_EVERY_S": "2"}
    overrides = {"intake": {"settle_s": 3}}
    intake = load_settings(file, overrides=overrides, environ=environ, cwd=home).intake
    assert intake.settle_s == 3
    assert intake.scan_every_s == 2
    assert intake.min_slices == 1
    assert intake.series_settle_s == 30


@pytest.mark.parametrize(
    ("variable", "value", "section", "key", "expected"),
    [
        ("LIMITS__UPLOADS", "7", "limits", "uploads", 7),
        ("LOG__NAMES", "Yes", "log", "names", True),
        ("DELIVERY__IDENTIFIERS", "0", "delivery", "identifiers", False),
        ("RETENTION__MIN_FREE", "1024", "retention", "min_free", 1024),
        ("RETENTION__MIN_FREE", "1 MiB", "retention", "min_free", 1024**2),
        ("ENGINE__VERSION", "24.06", "engine", "version", "24.06"),
        ("INTAKE__IGNORE", '["*.pdf", "x"]', "intake", "ignore", ("*.pdf", "x")),
        ("LOG", '{"level": "debug"}', "log", "level", "debug"),
    ],
)
def test_a_variable_is_read_by_the_type_of_its_key(
    home: Path, variable: str, value: str, section: str, key: str, expected: object
) -> None:
    """Numbers, switches, sizes, lists and tables can all be given as variables."""
    settings = load_settings(environ={f"VPE_WATCHER_{variable}": value}, cwd=home)
    assert getattr(getattr(settings, section), key) == expected


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("LIMITS__UPLOADS", "many", "must be a whole number, not a string"),
        ("LIMITS__UPLOADS", "1.5", "not a fraction"),
        ("INTAKE__SETTLE_S", "nan", "0 or more"),
        ("LOG__NAMES", "maybe", "must be true or false"),
        ("INTAKE__IGNORE", "*.pdf", "must be a list of strings"),
        ("LOG", "debug", "must be a table"),
        ("INBOX", "", "is empty"),
    ],
)
def test_a_wrong_variable_is_shown_by_its_name(
    home: Path, variable: str, value: str, reason: str
) -> None:
    """The sentence about a wrong variable names it, so that nobody searches in the file."""
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={f"VPE_WATCHER_{variable}": value}, cwd=home)
    assert f" in the environment variable VPE_WATCHER_{variable}: " in caught.value.message
    assert reason in caught.value.message


def test_an_override_is_shown_as_the_command_lines(home: Path) -> None:
    """A mistake on the command line is told as such; None means that it was not given."""
    overrides = {"engine.version": None, "intake.settle_s": "soon"}
    with pytest.raises(SettingsError) as caught:
        load_settings(overrides=overrides, environ={}, cwd=home)
    assert caught.value.message.startswith("intake.settle_s on the command line: ")
    assert len(caught.value.problems) == 1


def test_overrides_may_be_paths_and_words(home: Path) -> None:
    """What a command line gives as text or path is read by the type of its key."""
    overrides = {"inbox": Path("in"), "limits.uploads": "3", "log": {"names": "true"}}
    settings = load_settings(overrides=overrides, environ={}, cwd=home)
    assert settings.inbox == home / "in"
    assert settings.limits.uploads == 3
    assert settings.log.names is True


def test_recipes_and_jobs_can_be_set_by_variables(home: Path) -> None:
    """A recipe is found whatever its capitals; inside a job body the spelling is the Engine's."""
    (home / "vpe-watcher.toml").write_text(BASE + "[recipes.TeethA]\nsettle_s = 1\n")
    environ = {
        "VPE_WATCHER_RECIPES__TEETHA__SETTLE_S": "9",
        "VPE_WATCHER_RECIPES__NEW__OUTBOX": "new-results",
        "VPE_WATCHER_RECIPES__NEW__JOB__OPTIONS__mandible": '{"smoothingIterations": 3}',
        "VPE_WATCHER_JOB__OUTPUTFILES": '{"meshes": []}',
        "VPE_WATCHER_JOB__ENDUSERID": "0815",
    }
    recipes = load_settings(environ=environ, cwd=home).recipes
    assert list(recipes) == ["default", "TeethA", "new"]
    assert recipes["TeethA"].intake.settle_s == 9
    assert recipes["new"].outbox == home / "new-results"
    assert recipes["new"].job == {
        "outputFiles": {"meshes": []},
        "endUserId": "0815",
        "options": {"mandible": {"smoothingIterations": 3}},
    }


def test_relative_paths_belong_to_the_file_or_to_the_working_folder(home: Path) -> None:
    """Paths of the file start at its folder, those of variables and command line at ours."""
    settings = load_settings(
        home / "vpe-watcher.toml",
        overrides={"archive": "a"},
        environ={"VPE_WATCHER_FAILED": "f"},
        cwd=home / "elsewhere",
    )
    assert settings.inbox == home / "inbox"
    assert settings.archive == home / "elsewhere" / "a"
    assert settings.failed == home / "elsewhere" / "f"
    assert settings.state_file == home / "state" / "state.sqlite3"


def test_the_file_is_searched_in_the_order_of_the_contract(home: Path) -> None:
    """--config beats the variable beats the working folder; the file in use is known."""
    option, variable = home / "option.toml", home / "variable.toml"
    option.write_text(BASE)
    variable.write_text(BASE)
    environ = {"VPE_WATCHER_CONFIG": "variable.toml"}
    assert load_settings(option, environ=environ, cwd=home).config_file == option
    assert load_settings(environ=environ, cwd=home).config_file == variable
    assert load_settings(environ={}, cwd=home).config_file == home / "vpe-watcher.toml"
    relative = load_settings(Path("../option.toml"), environ={}, cwd=home / "elsewhere")
    assert relative.config_file == option


def test_a_named_file_that_is_missing_is_no_reason_to_take_another(home: Path) -> None:
    """A missing file that was named is an error even where another would be found."""
    with pytest.raises(ConfigError, match=r"gone\.toml cannot be read") as caught:
        load_settings(environ={"VPE_WATCHER_CONFIG": "gone.toml"}, cwd=home)
    assert "VPE_WATCHER_CONFIG" in caught.value.hint


def test_without_any_file_the_places_are_named(home: Path) -> None:
    """Nothing configured at all: the hint says where a file could be and how to make one."""
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={}, cwd=home / "elsewhere")
    assert caught.value.code == "config_missing"
    assert "vpe-watcher init" in caught.value.hint
    assert "/etc/vpe-watcher/config.toml" in caught.value.hint


def test_variables_alone_are_enough(home: Path) -> None:
    """A container without a file can be configured by variables only."""
    environ = {
        f"VPE_WATCHER_{key.upper()}": str(home / key)
        for key in ("inbox", "outbox", "archive", "failed")
    } | {
        "VPE_WATCHER_STATE_FILE": str(home / "state" / "s.sqlite3"),
        "VPE_WATCHER_ENGINE__AUTH__ACCESS_TOKEN": "token",
        "VPE_WATCHER_JOB": '{"outputFiles": {"meshes": []}}',
    }
    settings = load_settings(environ=environ, cwd=home / "elsewhere")
    assert settings.config_file is None
    assert settings.recipes["default"].inbox == home / "inbox"


def test_a_byte_order_mark_does_not_matter(home: Path) -> None:
    """A file saved by a Windows editor is read like any other."""
    (home / "vpe-watcher.toml").write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    assert load_settings(environ={}, cwd=home).inbox == home / "inbox"


def test_a_systemd_credential_is_used_and_read_late(home: Path) -> None:
    """The client secret of the credentials beats the file's, and is read when it is asked for."""
    credentials = home / "credentials"
    credentials.mkdir()
    file = secret_file(credentials, "client_secret", "first\n")
    (home / "vpe-watcher.toml").write_text(
        TOP + '[engine.auth]\nclient_id = "id"\nclient_secret_file = "gone"\n' + JOB
    )
    auth = load_settings(environ={"CREDENTIALS_DIRECTORY": str(credentials)}, cwd=home).engine.auth
    assert auth.client_id == "id"
    assert auth.read_client_secret() == "first"
    file.write_text("second")
    assert auth.read_client_secret() == "second"
    assert not auth.is_ready_made


def test_a_credential_token_replaces_the_files_client_credentials(home: Path) -> None:
    """The strongest source that names a secret decides which way is taken."""
    secret_file(home, "access_token", "credential-token")
    (home / "vpe-watcher.toml").write_text(
        TOP + '[engine.auth]\nclient_id = "id"\nclient_secret = "s"\n' + JOB
    )
    auth = load_settings(environ={"CREDENTIALS_DIRECTORY": str(home)}, cwd=home).engine.auth
    assert auth.is_ready_made
    assert auth.client_id == ""
    assert auth.read_access_token() == "credential-token"


def test_the_environment_beats_a_credential(home: Path) -> None:
    """A secret in the environment hides the credential and the file."""
    secret_file(home, "access_token", "credential-token")
    environ = {
        "CREDENTIALS_DIRECTORY": str(home),
        "VPE_WATCHER_ENGINE__AUTH__ACCESS_TOKEN": "environment-token",
    }
    auth = load_settings(environ=environ, cwd=home).engine.auth
    assert auth.read_access_token() == "environment-token"


def test_two_credentials_at_once_are_refused(home: Path) -> None:
    """Both credentials in one folder leave open which way is meant."""
    secret_file(home, "access_token", "a")
    secret_file(home, "client_secret", "b")
    with pytest.raises(SettingsError, match="both set"):
        load_settings(environ={"CREDENTIALS_DIRECTORY": str(home)}, cwd=home)


def test_a_secret_file_opened_later_is_refused_at_its_use(home: Path) -> None:
    """The permissions are looked at again whenever the secret is read."""
    file = secret_file(home, "token", "t")
    (home / "vpe-watcher.toml").write_text(
        TOP + '[engine.auth]\naccess_token_file = "token"\n' + JOB
    )
    auth = load_settings(environ={}, cwd=home).engine.auth
    assert auth.access_token_file == file
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="open to every user") as caught:
        auth.read_access_token()
    assert caught.value.code == "secret_file"


@pytest.mark.parametrize("content", [b" \n", b"\xff\xfe"])
def test_a_secret_file_without_words_is_refused_at_its_use(home: Path, content: bytes) -> None:
    """White space alone and what is no text are told without showing the content."""
    file = secret_file(home, "token", "t")
    file.write_bytes(content)
    (home / "vpe-watcher.toml").write_text(
        TOP + '[engine.auth]\naccess_token_file = "token"\n' + JOB
    )
    auth = load_settings(environ={}, cwd=home).engine.auth
    with pytest.raises(ConfigError, match=r"engine\.auth\.access_token_file: the file "):
        auth.read_access_token()


def test_the_process_environment_is_the_default(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without arguments the real environment and working folder are used."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("VPE_WATCHER_LIMITS__UPLOADS", "5")
    monkeypatch.delenv("VPE_WATCHER_CONFIG", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert load_settings().limits.uploads == 5


@pytest.mark.timeout(10)
@pytest.mark.parametrize("put", [os.mkfifo, Path.mkdir], ids=["fifo", "folder"])
def test_what_is_no_file_is_refused_and_not_waited_for(
    home: Path, put: Callable[[Path], object]
) -> None:
    """A FIFO without a writer would keep every command waiting."""
    put(home / "odd.toml")
    with pytest.raises(ConfigError, match=r"odd\.toml is no regular file") as caught:
        load_settings(home / "odd.toml", environ={})
    assert caught.value.code == "config_unreadable"


def test_the_empty_device_is_an_empty_file(home: Path) -> None:
    """It says nothing; where variables say all, it is a way to name no file."""
    with pytest.raises(ConfigError, match="/dev/null is empty"):
        load_settings(Path("/dev/null"), environ={}, cwd=home)


def test_a_pipe_can_be_the_configuration_file(home: Path) -> None:
    """What a shell makes of <(command) is read like a file."""
    read, write = os.pipe()
    os.write(write, BASE.encode())
    os.close(write)
    overrides = {key: home / key for key in ("inbox", "outbox", "archive", "failed")}
    overrides["state_file"] = home / "state" / "s.sqlite3"
    try:
        settings = load_settings(Path(f"/dev/fd/{read}"), overrides=overrides, environ={})
    finally:
        os.close(read)
    assert settings.engine.auth.read_access_token() == "from-file"


def test_a_name_without_our_prefix_sets_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may have a variable that is called like a key, and only ours count."""
    monkeypatch.setenv("INBOX", "/elsewhere")
    monkeypatch.setenv("log", '{"level": "debug"}')
    settings = load_settings(environ={"inbox": "/elsewhere"}, cwd=home)
    assert settings.inbox == home / "inbox"
    assert settings.log.level == "info"


@pytest.mark.parametrize("key", ["Inbox", "_env_file", "_build_sources", "model_config"])
def test_a_key_is_spelled_exactly(home: Path, key: str) -> None:
    """Capital letters count in the file, and no word means anything to the library alone."""
    (home / "vpe-watcher.toml").write_text(f'{key} = "x"\n' + BASE)
    for given, where in (({}, "in "), ({key: "x"}, "on the command line")):
        with pytest.raises(SettingsError) as caught:
            load_settings(overrides=given, environ={}, cwd=home)
        assert caught.value.message.startswith(f"{key} {where}")
        assert caught.value.code == "config_unknown_key"


def test_each_load_reads_its_own_sources(home: Path) -> None:
    """Nothing of one load is left in the next: a reload sees what has changed."""
    environ = {"VPE_WATCHER_LIMITS__UPLOADS": "7"}
    assert load_settings(environ=environ, cwd=home).limits.uploads == 7
    (home / "vpe-watcher.toml").write_text(BASE + "[limits]\ndownloads = 9\n")
    limits = load_settings(environ={}, cwd=home).limits
    assert (limits.uploads, limits.downloads) == (2, 9)
