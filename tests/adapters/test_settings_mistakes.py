"""Every mistake in a configuration: its key, place, reason and hint, as a person sees them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vpe_watcher.adapters.settings import Mistake, SettingsError, load_settings
from vpe_watcher.core.errors import ConfigError
from vpe_watcher.core.printable import printable

TOP = """
inbox = "inbox"
outbox = "outbox"
archive = "archive"
failed = "failed"
state_file = "state/state.sqlite3"
"""
AUTH = '[engine.auth]\naccess_token = "t0p-s3cret"\n'
JOB = '[job.outputFiles]\nmeshes = [{ extension = ".stl", structures = ["mandible"] }]\n'
BASE = TOP + AUTH + JOB

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a configuration file into a folder with a state folder."""
    (tmp_path / "state").mkdir()

    def write_config(text: str) -> Path:
        file = tmp_path / "vpe-watcher.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write_config


def mistakes_in(file: Path, **variables: str) -> tuple[Mistake, ...]:
    """Load a file that must be refused, and return its mistakes."""
    with pytest.raises(SettingsError) as caught:
        load_settings(file, environ=variables)
    assert caught.value.exit_code == 78
    return caught.value.problems


def only(file: Path, **variables: str) -> Mistake:
    """Load a file that has exactly one mistake, and return it."""
    (mistake,) = mistakes_in(file, **variables)
    return mistake


UNKNOWN = [
    (BASE + "[engine]\nverzion = '1'", "engine.verzion", "engine.version"),
    ("inbocks = 'x'\n" + BASE, "inbocks", "inbox"),
    (BASE + "[limit]\nuploads = 2", "limit", "limits"),
    (BASE + "[intake.patterns]\nios_uper = ['*u*']", "intake.patterns.ios_uper", "ios_upper"),
    (BASE + "[recipes.teeth]\nsetle_s = 1", "recipes.teeth.setle_s", "recipes.teeth.settle_s"),
    (BASE + "[recipes.teeth]\nmin_free = 1", "recipes.teeth.min_free", "retention.min_free"),
    (BASE + "[log]\nstate_file = 'x'", "log.state_file", "state_file"),
    (BASE + "[engine]\ntoken_url = 'https://x'", "engine.token_url", "engine.auth.token_url"),
]


@pytest.mark.parametrize(("text", "key", "near"), UNKNOWN)
def test_an_unknown_key_names_the_nearest_known_one(
    write: Write, text: str, key: str, near: str
) -> None:
    """An unknown key is refused with its place, and the hint names the key that was meant."""
    file = write(text)
    mistake = only(file)
    assert mistake.code == "config_unknown_key"
    assert mistake.message == f"{key} in {file}: unknown key"
    assert mistake.hint.startswith("did you mean ")
    assert mistake.hint.endswith(f"{near}?")


@pytest.mark.parametrize(
    ("variable", "key", "near"),
    [
        ("VPE_WATCHER_ENGINE__VERZION", "engine.verzion", "VPE_WATCHER_ENGINE__VERSION"),
        ("VPE_WATCHER_INBOXX", "inboxx", "VPE_WATCHER_INBOX"),
        ("VPE_WATCHER_SETTLE_S", "settle_s", "VPE_WATCHER_INTAKE__SETTLE_S"),
        ("VPE_WATCHER_LOG__NAME", "log.name", "VPE_WATCHER_LOG__NAMES"),
    ],
)
def test_an_unknown_variable_names_the_nearest_known_one(
    write: Write, variable: str, key: str, near: str
) -> None:
    """A mistyped variable is shown by its own name, and so is the one that was meant."""
    mistake = only(write(BASE), **{variable: "1"})
    assert mistake.message == f"{key} in the environment variable {variable}: unknown key"
    assert mistake.hint == f"did you mean {near}?"


WRONG = [
    ("[intake]\nsettle_s = '5'", "intake.settle_s", "must be a number, not a string", "quotes"),
    ("[intake]\nsettle_s = true", "intake.settle_s", "must be a number, not a boolean", ""),
    ("[intake]\nsettle_s = -0.5", "intake.settle_s", "0 or more", ""),
    ("[intake]\nsettle_s = nan", "intake.settle_s", "0 or more", ""),
    ("[limits]\nretry_for_h = inf", "limits.retry_for_h", "longer than a hundred years", ""),
    (f"[limits]\nretry_for_h = 1{'0' * 400}", "limits.retry_for_h", "longer than a hundred", ""),
    ("[limits]\njobs_per_day = 1_000_000_001", "limits.jobs_per_day", "or less", ""),
    ("[limits]\nuploads = 257", "limits.uploads", "a whole number of 256 or less", "a thread"),
    ("[limits]\ndownloads = 100_000", "limits.downloads", "of 256 or less", "a thread"),
    ("[limits]\nretry_for_h = 1e9", "limits.retry_for_h", "longer than a hundred years", ""),
    ("[limits]\nuploads = 0", "limits.uploads", "a whole number of 1 or more", ""),
    ("[limits]\nuploads = 2.0", "limits.uploads", "whole number, not a fraction", ""),
    ("[limits]\njobs_per_day = -1", "limits.jobs_per_day", "a whole number of 0 or more", ""),
    ("[limits]\njobs_per_day = true", "limits.jobs_per_day", "not a boolean", ""),
    ("[engine]\nversion = 24.06", "engine.version", "must be a string, not a number", "in quotes"),
    ("[engine]\nversion = '../x'", "engine.version", "must be a version", ""),
    ("[engine]\nregion = 'eu.evil/'", "engine.region", "must be a short name", "base_url"),
    ("[engine]\nregion = ''", "engine.region", "neither region nor base_url", "eu"),
    ("[engine]\nsubmit_path = 'jobs'", "engine.submit_path", '"auto", "job"', '"job"?'),
    ("[engine]\nbase_url = 'ftp://x'", "engine.base_url", "must be an https:// address", ""),
    ("[engine]\nbase_url = 'https://h:x'", "engine.base_url", "not an address", ""),
    ("[engine]\nbase_url = 'https://u:p@h'", "engine.base_url", "user name", ""),
    ("[engine]\nbase_url = 'https://h/?a=1'", "engine.base_url", "without ? and #", ""),
    ("[engine]\nbase_url = 'http://eu.example'", "engine.base_url", "to eu.example", "127.0.0.1"),
    ("[engine]\nbase_url = 'http://10.0.0.7'", "engine.base_url", "to 10.0.0.7", "use https"),
    ("[intake]\nwatch = 'event'", "intake.watch", '"auto", "events", "poll"', '"events"?'),
    ("[intake]\nignore = '*.pdf'", "intake.ignore", "list of strings, not a string", '["one"'),
    ("[intake]\nignore = ['']", "intake.ignore", "none of them empty", ""),
    ("[intake.patterns]\nfacial = [1]", "intake.patterns.facial", "a list of strings", ""),
    ("[retention]\nmin_free = '2 GB'", "retention.min_free", "is not a size", '"2 GiB"'),
    ("[retention]\nmin_free = -1", "retention.min_free", "must be a size", "bytes"),
    ("[retention]\nprune_below = 0", "retention.prune_below", "is 0", 'write "" for never'),
    (
        "[retention]\nprune_below = 1\nmin_free = 0",
        "retention.prune_below",
        "that is 0 (off)",
        "set min_free",
    ),
    (
        "[retention]\nprune_below = '3 GiB'",
        "retention.prune_below",
        "is more than min_free",
        "as much as min_free, or less",
    ),
    (
        "[retention]\nprune_below = '1 GiB'\non_success = 'delete'",
        "retention.prune_below",
        "frees nothing",
        'write "" for never',
    ),
    ("[retention]\non_success = 'keep'", "retention.on_success", '"archive", "delete"', ""),
    ("[delivery]\nidentifiers = 'no'", "delivery.identifiers", "must be true or false", ""),
    ("[log]\nlevel = 3", "log.level", '"debug"', ""),
    ("[recipes]\nteeth = 3", "recipes.teeth", "must be a table, not a number", ""),
    ("[recipes.teeth]\nsettle_s = '1'", "recipes.teeth.settle_s", "must be a number", ""),
    ("[recipes.teeth]\njobs_per_day = 0.5", "recipes.teeth.jobs_per_day", "whole number", ""),
    ("[recipes.t]\nready_marker = 'done'", "recipes.t.ready_marker", "starts with a dot", ""),
    ("[recipes.t]\nrequire = ['jaw']", "recipes.t.require", '"ios_upper"', ""),
    ("[recipes.t]\njob_json_keys = ['inputFiles']", "recipes.t.job_json_keys", "daemon's own", ""),
    ("[recipes.'a b']", "recipes.a b", "letters, digits", "folder"),
    ("[recipes.'.x']", "recipes..x", "letters, digits", "folder"),
    ("[recipes.Default]", "recipes.Default", "capital letters only", "rename"),
    ("[job.inputFiles]\n", "job.inputFiles", "daemon's own", "remove it"),
    ("[recipes.t.job.inputFiles]", "recipes.t.job.inputFiles", "daemon's own", "remove it"),
    ("[job]\nendUserId = 2026-01-01", "job", "JSON cannot express", "quotes"),
    ("[recipes.t.job]\noutputFiles = []", "recipes.t.job.outputFiles", "must be a table", ""),
]


@pytest.mark.parametrize(("text", "key", "reason", "hint"), WRONG)
def test_a_wrong_value_is_told_in_one_sentence(
    write: Write, text: str, key: str, reason: str, hint: str
) -> None:
    """A value that its key cannot have is shown with key, file, reason and hint."""
    file = write(BASE + text)
    mistake = only(file)
    assert mistake.message.startswith(f"{key} in {file}: ")
    assert reason in mistake.message
    assert hint in mistake.hint
    assert "\n" not in mistake.message


@pytest.mark.parametrize(
    ("auth", "key", "reason", "hint"),
    [
        ("", "engine.auth", "how to get a token", "client_secret_file, or access_token_file"),
        ("client_id = 'a'", "client_secret_file", "missing beside client_id", "only the service"),
        ("client_secret = 's3'", "client_id", "missing beside the client secret", "set both"),
        ("client_id='a'\nclient_secret='s3'\ntoken_url=''", "token_url", "is empty", "default"),
        ("client_id='a'\nclient_secret='s3'\naccess_token='t'", "access_token", "both", "one way"),
        ("client_id = 'a'\naccess_token = 't'", "access_token", "both set", "one way"),
        ("client_id=''\naccess_token='t'\naccess_token_file='k'", "access_token", "both", "keep"),
        ("token_url='http://auth.example/'\naccess_token='t'", "token_url", "auth.example", "::1"),
    ],
)
def test_authentication_is_exactly_one_way(
    write: Write, tmp_path: Path, auth: str, key: str, reason: str, hint: str
) -> None:
    """Neither, half of one or both ways to get a token are refused."""
    (tmp_path / "k").write_text("token")
    (tmp_path / "k").chmod(0o600)
    mistake = only(write(f"{TOP}[engine.auth]\n{auth}\n{JOB}"))
    assert mistake.message.split(" ")[0].endswith(key)
    assert reason in mistake.message
    assert hint in mistake.hint


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644])
def test_a_secret_file_with_a_permission_for_other_is_refused(
    write: Write, tmp_path: Path, mode: int
) -> None:
    """Any permission bit for other users on a secret file is refused, with the remedy."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    secret.chmod(mode)
    file = write(f"{TOP}[engine.auth]\nclient_id = 'a'\nclient_secret_file = 'secret'\n{JOB}")
    mistake = only(file)
    assert mistake.message == (
        f"engine.auth.client_secret_file in {file}: the file {secret} is open to every user"
        f" (mode {mode:04o})"
    )
    assert mistake.hint == f"chmod 0600 {secret}"
    assert mistake.code == "config_secret_file"


def test_a_secret_file_must_be_a_file_with_something_in_it(write: Write, tmp_path: Path) -> None:
    """A missing, an empty and a secret file that is a folder are each named as what they are."""
    (tmp_path / "empty").touch(0o600)
    (tmp_path / "folder").mkdir(0o700)
    reasons = {"gone": "No such file", "empty": "is empty", "folder": "not a regular file"}
    for name, reason in reasons.items():
        text = f"{TOP}[engine.auth]\naccess_token_file = '{name}'\n{JOB}"
        mistake = only(write(text))
        assert reason in mistake.message
        assert mistake.hint


def test_a_recipe_without_output_files_is_shown_an_example(write: Write) -> None:
    """Without any [job] the hint shows what is missing, in the one line that a hint is shown in."""
    mistake = only(write(TOP + AUTH))
    assert mistake.message.startswith("job.outputFiles (not set in ")
    assert mistake.hint.startswith("write below [job.outputFiles], for example: meshes = [{")
    assert printable(mistake.hint) == mistake.hint


FOLDERS = [
    ({"outbox": "inbox"}, "outbox", "is the same folder as inbox"),
    ({"archive": "inbox/done"}, "archive", "overlaps with inbox"),
    ({"inbox": "outbox/in"}, "outbox", "overlaps with inbox"),
    ({"failed": "archive/../archive"}, "failed", "is the same folder as archive"),
    ({"recipes.t.inbox": "outbox/t"}, "recipes.t.inbox", "overlaps with outbox"),
    ({"recipes.t.inbox": "inbox/deep/t"}, "recipes.t.inbox", "overlaps with inbox"),
    ({"recipes.t.inbox": "."}, "recipes.t.inbox", "overlaps with"),
    ({"recipes.t.inbox": "x", "recipes.u.inbox": "x"}, "recipes.u.inbox", "same folder"),
    ({"recipes.t.inbox": "x", "recipes.u.inbox": "x/y"}, "recipes.u.inbox", "overlaps with"),
    ({"recipes.t.outbox": "archive"}, "recipes.t.outbox", "is the same folder as archive"),
    ({"recipes.default.inbox": "other"}, "recipes.default.inbox", "can have no other"),
]


@pytest.mark.parametrize(("paths", "key", "reason"), FOLDERS)
def test_folders_neither_coincide_nor_nest(
    write: Write, tmp_path: Path, paths: dict[str, Any], key: str, reason: str
) -> None:
    """No two folders may be one, or one in another, except where the contract says so."""
    file = write(BASE)
    with pytest.raises(SettingsError) as caught:
        load_settings(file, overrides=paths, environ={}, cwd=tmp_path)
    first = caught.value.problems[0]
    assert first.message.startswith(f"{key} ")
    assert reason in first.message
    assert first.hint


def test_a_link_does_not_hide_that_two_folders_are_one(write: Write, tmp_path: Path) -> None:
    """Two names of one folder are found out through the symbolic link."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "outbox").symlink_to(tmp_path / "inbox")
    assert "is the same folder as inbox" in only(write(BASE)).message


def test_the_folder_of_the_state_file_must_exist(write: Write, tmp_path: Path) -> None:
    """A missing state folder is a configuration error with the command that makes it."""
    mistake = only(write(BASE), VPE_WATCHER_STATE_FILE=str(tmp_path / "not here" / "s.sqlite3"))
    assert mistake.code == "state_folder_missing"
    assert mistake.message == (
        "state_file in the environment variable VPE_WATCHER_STATE_FILE:"
        f" the folder {tmp_path}/not here does not exist"
    )
    assert f"install -d -m 0700 '{tmp_path}/not here' (and" in mistake.hint


def test_a_state_folder_that_may_not_be_looked_at_is_a_sentence(
    write: Write, tmp_path: Path
) -> None:
    """Whatever the system says of the path (here: too long a name) is told, not thrown."""
    mistake = only(write(BASE), VPE_WATCHER_STATE_FILE=str(tmp_path / ("x" * 300) / "s.sqlite3"))
    assert mistake.code == "state_folder_closed"
    assert "cannot be looked at: file name too long" in mistake.message
    assert "as the service's user or as root" in mistake.hint


@pytest.mark.parametrize("folder", ["inbox", "outbox", "archive", "failed", "own"])
def test_the_state_file_lies_in_no_folder_of_scans(
    write: Write, tmp_path: Path, folder: str
) -> None:
    """A state file inside one of the four folders or a recipe's inbox is refused."""
    (tmp_path / folder).mkdir()
    file = write(BASE + "[recipes.t]\ninbox = 'own'")
    mistake = only(file, VPE_WATCHER_STATE_FILE=str(tmp_path / folder / "s.sqlite3"))
    assert "lies inside" in mistake.message
    assert folder in mistake.message


def test_a_state_file_that_is_a_folder_is_refused(write: Write, tmp_path: Path) -> None:
    """A folder in the place of the state file is named as such."""
    mistake = only(write(BASE), VPE_WATCHER_STATE_FILE=str(tmp_path / "state"))
    assert "is a folder" in mistake.message


def test_all_mistakes_are_told_at_once(write: Write) -> None:
    """The message is the first mistake, the hint counts and names the others."""
    file = write(BASE + "[intake]\nsettle_s = 'x'\nwach = 'auto'\n[log]\nnames = 1")
    with pytest.raises(ConfigError) as caught:
        load_settings(file, environ={})
    error = caught.value
    assert isinstance(error, SettingsError)
    assert len(error.problems) == 3
    assert error.message == error.problems[0].message
    assert "2 more mistakes" in error.hint
    assert all(problem.message in error.hint for problem in error.problems[1:])


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"inbox = = 1", "config_syntax", "line 1, column 9"),
        (b"inbox = 'a'\ninbox = 'b'", "config_syntax", "is not valid TOML"),
        (b"inbox = '\xff'", "config_syntax", "is not UTF-8 text"),
        (None, "config_unreadable", "No such file"),
        (b"", "config_empty", "c.toml is empty"),
        (b"# nothing but words\n", "config_empty", "it sets no key"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None, code: str, words: str
) -> None:
    """A missing file, bad TOML and a wrong encoding are told with the file and the place in it."""
    file = tmp_path / "c.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_settings(file, environ={})
    assert caught.value.code == code
    assert str(file) in caught.value.message
    assert words in caught.value.message
    assert caught.value.hint


def test_no_sentence_shows_a_secret(write: Write) -> None:
    """Neither messages, hints, causes nor the repr of the settings hold a secret's value."""
    text = BASE.replace("access_token =", "acces_token =")
    bad = "[engine]\nauth = 't0p-s3cret'\n" + TOP
    for config in (text, bad, BASE + "[intake]\nsettle_s = 't0p-s3cret'\nwatch = 't0p-s3cret'"):
        with pytest.raises(SettingsError) as caught:
            load_settings(write(config), environ={})
        shown = repr(caught.value.problems) + repr(caught.value) + caught.value.hint
        assert "t0p-s3cret" not in shown
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
    assert "t0p-s3cret" not in repr(load_settings(write(BASE), environ={}))
