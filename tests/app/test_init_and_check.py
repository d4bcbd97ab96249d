"""`init` and `check`: a configuration that works, and findings that say what to do."""

from __future__ import annotations

import json
import resource
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.app.desk import DAEMON_ID, Desk, Ran, make_home
from vpe_watcher.adapters.settings import SettingsError, load_settings
from vpe_watcher.adapters.store.database import SCHEMA_VERSION
from vpe_watcher.app import cli
from vpe_watcher.sandbox.rules import Sandbox
from vpe_watcher.sandbox.server import SandboxServer


@pytest.fixture(name="ran_init")
def run_init(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ran:
    """Run `init` into a new folder."""
    code = cli.run(["init", str(tmp_path / "new")])
    shown = capsys.readouterr()
    return Ran(code, shown.out, shown.err)


@pytest.fixture(name="live")
def make_live(desk: Desk, tmp_path: Path) -> Iterator[Desk]:
    """Return a desk whose configuration names a sandbox Engine that runs."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with SandboxServer(Sandbox(scratch, simple=True)) as server:
        make_home(desk.home, port=server.port)
        yield desk


def test_init_makes_folders_and_a_private_state_folder(ran_init: Ran, tmp_path: Path) -> None:
    """The four folders and the state folder with mode 0700."""
    home = tmp_path / "new"
    assert ran_init.code == 0
    assert sorted(path.name for path in home.iterdir()) == [
        "archive",
        "failed",
        "inbox",
        "outbox",
        "state",
        "vpe-watcher.toml",
    ]
    assert stat.S_IMODE((home / "state").stat().st_mode) == 0o700


@pytest.mark.usefixtures("ran_init")
def test_all_that_is_left_to_fill_in_are_the_credentials(tmp_path: Path) -> None:
    """The one complaint about a fresh configuration is the missing account."""
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / "new" / "vpe-watcher.toml", environ={})
    assert [found.code for found in caught.value.problems] == ["config_auth_missing"]


@pytest.mark.usefixtures("ran_init")
def test_with_credentials_the_configuration_is_good(tmp_path: Path) -> None:
    """Its folders lie below DIR, its comments are still there."""
    home = tmp_path / "new"
    token = {"VPE_WATCHER_ENGINE__AUTH__ACCESS_TOKEN": "x"}
    settings = load_settings(home / "vpe-watcher.toml", environ=token)
    assert settings.inbox == home / "inbox"
    assert settings.state_file == home / "state" / "state.sqlite3"
    assert "# people and PACS drop" in (home / "vpe-watcher.toml").read_text()


@pytest.mark.usefixtures("ran_init")
def test_init_changes_nothing_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second time: exit 1, and the file as it was."""
    config = tmp_path / "new" / "vpe-watcher.toml"
    config.write_text("# mine")
    assert cli.run(["init", str(tmp_path / "new")]) == 1
    assert config.read_text() == "# mine"
    assert "already" in capsys.readouterr().err


def test_init_here(tmp_path: Path) -> None:
    """Without DIR it is the working directory."""
    assert cli.run(["init"]) == 0
    assert (tmp_path / "vpe-watcher.toml").is_file()


def test_init_with_the_configuration_elsewhere(tmp_path: Path) -> None:
    """--config names the file; the folders are then named by their whole path."""
    config = tmp_path / "etc.toml"
    assert cli.run(["init", str(tmp_path / "data"), "--config", str(config)]) == 0
    token = {"VPE_WATCHER_ENGINE__AUTH__ACCESS_TOKEN": "x"}
    assert load_settings(config, environ=token).inbox == tmp_path / "data" / "inbox"


def test_init_into_a_file_is_refused(tmp_path: Path) -> None:
    """A reason instead of a traceback."""
    (tmp_path / "file").touch()
    assert cli.run(["init", str(tmp_path / "file")]) == 1


def _findings(ran: Ran) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"ok": [], "warning": [], "error": []}
    body = json.loads(ran.out)
    assert body["schema"] == "vpe-watcher/check/1"
    for finding in body["findings"]:
        assert set(finding) == {"status", "what", "hint"}
        found[finding["status"]].append(finding["what"])
    return found


def test_check_finds_all_well(live: Desk) -> None:
    """Folders, space, watch mode, a fresh token, the Engine: exit 0 and nothing left behind."""
    before = sorted(live.home.rglob("*"))
    ran = live.run("check", "--json")
    assert ran.code == 0, ran.out
    found = _findings(ran)
    for word in (
        "rename",
        "free space",
        "watched by",
        "private",
        "belong",
        "fresh token",
        "Engine answers",
    ):
        assert any(word in what for what in found["ok"]), word
    assert sorted(live.home.rglob("*")) == before


def test_check_for_people_says_what_to_do(live: Desk) -> None:
    """Each finding in a line, each trouble with a hint."""
    text, failed = live.config.read_text(), live.home / "not here"
    live.config.write_text(text.replace('failed = "failed"', 'failed = "not here"'))
    live.settings.state_file.parent.chmod(0o755)
    ran = live.run("check")
    assert ran.code == 1
    assert f"error: failed ({failed}) is not there" in ran.out
    assert f"mkdir -p '{failed}' (and chown it" in ran.out
    assert f"hint: chmod 0700 {live.settings.state_file.parent}" in ran.out
    assert "2 checks failed." in ran.out


def test_check_says_of_a_missing_inbox_only_that(desk: Desk) -> None:
    """It is watched by nothing."""
    desk.settings.recipes["teeth"].inbox.rmdir()
    ran = desk.run("check")
    lines = [line for line in ran.out.splitlines() if "inbox:teeth" in line]
    assert len(lines) == 1
    assert lines[0].startswith("error: inbox:teeth")


def test_check_finds_a_readable_state_file(live: Desk) -> None:
    """Every file in the state folder is for the service alone."""
    live.settings.state_file.chmod(0o644)
    found = _findings(live.run("check", "--json"))
    assert [what for what in found["error"] if "0644" in what]


def test_check_finds_that_the_folders_know_more(live: Desk) -> None:
    """`run` would not start; an older state file, which it would bring up to date, is well."""
    with live.store.database.transaction() as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION - 1}")
    assert _findings(live.run("check", "--json"))["error"] == []
    hidden = live.settings.archive / ".vpe-watcher"
    hidden.mkdir()
    (hidden / "marker.json").write_text(json.dumps({"daemon_id": DAEMON_ID, "starts": 99}))
    with live.store.database.transaction() as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    ran = live.run("check", "--json")
    assert ran.code == 1
    assert [what for what in _findings(ran)["error"] if "newer state file" in what]


def test_check_finds_a_full_disk(live: Desk) -> None:
    """Below min_free the intake would pause."""
    text = live.config.read_text().replace("min_free = 0", 'min_free = "900000 GiB"')
    live.config.write_text(text)
    found = _findings(live.run("check", "--json"))
    assert [what for what in found["error"] if "free space" in what]


def test_check_finds_wrong_credentials(live: Desk) -> None:
    """No token, but the Engine itself does answer."""
    text = live.config.read_text().replace('secret = "sandbox"', 'secret = "hush-hush"')
    live.config.write_text(text)
    ran = live.run("check", "--json")
    assert ran.code == 1
    assert "hush-hush" not in ran.out + ran.err
    found = _findings(ran)
    assert [what for what in found["error"] if what.startswith("no token")]
    assert [what for what in found["ok"] if what.startswith("the Engine answers")]


def test_check_finds_a_ready_made_token_that_nobody_accepts(live: Desk) -> None:
    """There is no other token to be had, so the Engine itself is asked."""
    text = live.config.read_text().replace('client_id = "sandbox"', 'access_token = "stale"')
    live.config.write_text(text.replace('client_secret = "sandbox"', ""))
    found = _findings(live.run("check", "--json"))
    assert [what for what in found["error"] if "does not accept the access token" in what]


def test_check_finds_an_engine_that_is_down(desk: Desk) -> None:
    """Token endpoint and Engine are two findings."""
    found = _findings(desk.run("check", "--json"))
    assert len(found["error"]) == 2


def test_check_tells_every_mistake_of_the_configuration(desk: Desk) -> None:
    """Exit 78, all mistakes at once; with --json the errors object is all of stdout."""
    desk.config.write_text(desk.config.read_text() + 'colour = "red"\n[log]\nlevel = "loud"\n')
    ran = desk.run("check", "--json")
    assert ran.code == 78
    body = json.loads(ran.out)
    assert body["schema"] == "vpe-watcher/errors/1"
    assert len(body["errors"]) == 2
    people = desk.run("check")
    assert (people.code, people.out) == (78, "")
    assert people.err.count("error:") == 2


def test_check_finds_damage_that_no_look_at_a_few_rows_shows(live: Desk) -> None:
    """All of the state file is read where no daemon runs: its next start may meet it."""
    live.store.database.close()
    path = live.settings.state_file
    with closing(sqlite3.connect(path)) as connection:
        sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'events_by_case'"
        page = connection.execute(sql).fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)
    ran = live.run("check")
    assert (ran.code, "damaged" in ran.out, "recover" in ran.out) == (1, True, True)


def test_check_writes_beside_the_state_file(live: Desk) -> None:
    """A disk that takes no file is a finding; the probe is gone afterwards."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32 * 1024, before[1]))
    try:
        ran = live.run("check")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (ran.code, "error: the state folder" in ran.out) == (1, True)
    assert not list(live.settings.state_file.parent.glob("*.check-*"))
