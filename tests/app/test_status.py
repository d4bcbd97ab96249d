"""`status`: the contract's object with and without a daemon, and what people read."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.app.desk import DAEMON_ID, Desk, problem
from vpe_watcher import __version__
from vpe_watcher.app.commands.live import sections_of
from vpe_watcher.app.commands.status import look
from vpe_watcher.core.model import FailureClass, Label, Problem, State

SINCE = "2026-11-22T10:00:00.000Z"
CANDIDATE = {
    "path": "/srv/vpe/inbox/late.dcm",
    "recipe": "default",
    "state": "settling",
    "reason": "quiet for 2 s of 5 s",
    "age_s": 2.0,
}
BREAKER = {
    "name": "engine",
    "open": True,
    "since": SINCE,
    "reason": "The Engine answered with status 503.",
    "hint": "It is tried again by itself.",
}


def _snapshot(**changes: Any) -> dict[str, Any]:
    return {
        "since": SINCE,
        "version": "9.9.9",
        "config_error": None,
        "candidates": [CANDIDATE],
        "candidates_total": 1,
        "breakers": [BREAKER],
        "transfers": [],
        "roots": [],
        **changes,
    }


def test_status_before_the_first_start(desk: Desk) -> None:
    """Nothing has ever run: an answer all the same, and no state file is made."""
    desk.store.database.close()
    desk.settings.state_file.unlink()
    ran = desk.run("status", "--json")
    assert ran.code == 0
    assert json.loads(ran.out) == {
        "schema": "vpe-watcher/status/1",
        "daemon": {
            "running": False,
            "pid": None,
            "since": None,
            "version": __version__,
            "config_error": None,
        },
        "cases": {str(state): 0 for state in State},
        "candidates": [],
        "breakers": [],
    }
    assert not desk.settings.state_file.exists()
    told = f"state file: none yet at {desk.settings.state_file} "
    assert told in desk.run("status").out


@pytest.mark.parametrize("words", [["status"], ["cases"], ["explain", "x.dcm"], ["run", "--once"]])
def test_only_who_asks_the_engine_needs_the_secret(desk: Desk, words: list[str]) -> None:
    """Systemd hands it to the service alone; all others look without it."""
    config = desk.home / "vpe-watcher.toml"
    config.write_text(config.read_text().replace('client_secret = "sandbox"\n', ""))
    assert desk.run(*words).code == (78 if words[0] == "run" else 0)


def test_status_says_nothing_of_a_state_file_that_is_there(desk: Desk) -> None:
    """There is nothing to say."""
    assert "state file" not in desk.run("status").out


def test_status_of_a_running_daemon(running: Desk) -> None:
    """Pid from the lock, the rest from what the daemon last showed."""
    running.finish(running.add())
    running.store.put_snapshot(_snapshot())
    body = json.loads(running.run("status", "--json").out)
    assert body["daemon"] == {
        "running": True,
        "pid": os.getpid(),
        "since": SINCE,
        "version": "9.9.9",
        "config_error": None,
    }
    assert body["candidates"] == [CANDIDATE]
    assert body["breakers"] == [BREAKER]
    assert body["cases"] == {**{str(state): 0 for state in State}, "done": 1}


def test_status_after_the_daemon_has_gone(desk: Desk) -> None:
    """The last candidates are told; breakers belong to a daemon that runs."""
    desk.store.put_snapshot(_snapshot(config_error="a mistake"))
    body = json.loads(desk.run("status", "--json").out)
    assert body["daemon"]["running"] is False
    assert (body["daemon"]["pid"], body["daemon"]["since"]) == (None, None)
    assert body["daemon"]["config_error"] is None
    assert (body["candidates"], body["breakers"]) == ([CANDIDATE], [])


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", ["syntax", "empty", "binary", "gone", "folder", "fifo"])
def test_status_with_a_file_that_says_nothing_any_more(running: Desk, what: str) -> None:
    """The daemon is found by the place where `init` puts its state file."""
    content = {"syntax": b"[limits\n", "empty": b"", "binary": bytes(range(256))}.get(what)
    running.config.unlink()
    if content is not None:
        running.config.write_bytes(content)
    elif what == "folder":
        running.config.mkdir()
    elif what == "fifo":
        os.mkfifo(running.config)
    ran = running.run("status", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["daemon"]["pid"] == os.getpid()
    assert "configuration could not be read now" in ran.err
    assert f"the daemon of the state file {running.settings.state_file}" in ran.err
    running.lock.release()
    assert running.run("status").code == 78


@pytest.mark.parametrize("mistake", ["settle = 5\n", "no TOML at all\n"])
def test_status_with_a_mistake_in_the_configuration(running: Desk, mistake: str) -> None:
    """A daemon that runs is shown with what it says of the file; the mistake is told beside it."""
    config = running.home / "vpe-watcher.toml"
    config.write_text(config.read_text() + mistake)
    running.store.put_snapshot(_snapshot(config_error="not taken"))
    ran = running.run("status", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["daemon"]["config_error"] == "not taken"
    assert "configuration could not be read now" in ran.err


def test_without_a_daemon_a_mistake_is_the_answer(desk: Desk) -> None:
    """There is nothing else to tell."""
    config = desk.home / "vpe-watcher.toml"
    config.write_text(config.read_text() + "settle = 5\n")
    assert desk.run("status", "--json").code == 78


def test_people_see_what_matters_at_a_glance(running: Desk) -> None:
    """Pause, hint, counts, held cases and the reason for waiting, in 80 columns."""
    running.finish(running.add("good"))
    held = running.walk(running.add("odd"), State.WAITING)
    running.end(held, Label.REFUSED_AT_ONCE, problem("job_forbidden"))
    running.store.put_snapshot(_snapshot(config_error="unknown key"))
    ran = running.run("status")
    assert ran.code == 0
    for words in (
        f"pid {os.getpid()}",
        "unknown key",
        "paused: engine",
        "hint: It is tried again by itself.",
        "cases: 1 done, 1 held",
        held,
        "Because of job_forbidden.",
        "settling, 2 s: quiet for 2 s of 5 s",
    ):
        assert words in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


def test_people_see_why_cases_wait_before_they_are_sent(running: Desk) -> None:
    """Each reason once, and not what a breaker tells; the contract's object has no more keys."""
    first, *others = [running.add(f"scan{number}") for number in range(3)]
    why = Problem(FailureClass.TRANSIENT, "unreadable", "It cannot be read now.", "Look.")
    running.end(first, Label.TRANSIENT, why)
    for other in others:
        same = f"It may be the same scan as case {first}."
        running.end(other, Label.PENDING, replace(why, message=same))
    paused = replace(why, message=str(BREAKER["reason"]))
    running.end(running.add("paused"), Label.PENDING, paused)
    running.store.put_snapshot(_snapshot())
    lines = running.run("status").out.splitlines()
    start = lines.index("claiming, and not yet sent because:")
    assert lines[start + 1 : start + 6] == [
        f"  {first}",
        "    It cannot be read now.",
        f"  {others[0]} and 1 other",
        f"    It may be the same scan as case {first}.",
        "inbox: 1 candidate not taken yet",
    ]
    body = json.loads(running.run("status", "--json").out)
    assert set(body) == {"schema", "daemon", "cases", "candidates", "breakers"}


def test_without_a_daemon_people_see_why_cases_wait_on_their_way(desk: Desk) -> None:
    """Nobody else tells it then: a `run --once` has ended with the Engine down."""
    case_id = desk.walk(desk.add(), State.SUBMITTING)
    why = Problem(FailureClass.TRANSIENT, "engine_unreachable", "Nobody answers.", "Wait.")
    desk.end(case_id, Label.TRANSIENT, why)
    wanted = f"submitting, and not done yet because:\n  {case_id}\n    Nobody answers.\n"
    assert wanted in desk.run("status").out
    sections = sections_of(look(desk.settings), 80, speeds={}, clock="14:02:33")
    assert "submitting, and not done yet because: 1 reason" in [one.head for one in sections]
    desk.lock.acquire()
    assert "not done yet" not in desk.run("status").out


def test_a_closed_breaker_is_no_news_for_people(running: Desk) -> None:
    """Only what is paused now is shown."""
    running.store.put_snapshot(_snapshot(breakers=[{**BREAKER, "open": False}]))
    assert "paused" not in running.run("status").out


def test_an_inbox_that_is_not_looked_at_is_not_called_empty(running: Desk) -> None:
    """Missing, unreadable or without its marker: nobody knows what waits there."""
    away = {**BREAKER, "name": "inbox:default", "reason": "The folder is missing."}
    running.store.put_snapshot(_snapshot(candidates=[], candidates_total=0, breakers=[away]))
    out = running.run("status").out
    assert "inbox: not looked at (inbox:default: see above)" in out
    assert "nothing waits" not in out
    running.store.put_snapshot(_snapshot(candidates=[], candidates_total=0))
    assert "inbox: nothing waits" in running.run("status").out


def test_more_candidates_than_shown_are_counted(running: Desk) -> None:
    """A thousand files in the inbox do not push everything else off the screen."""
    many = [{**CANDIDATE, "path": f"/srv/vpe/inbox/{n}.dcm"} for n in range(30)]
    running.store.put_snapshot(_snapshot(candidates=many, candidates_total=1500))
    out = running.run("status").out
    assert "1500 candidates" in out
    assert "… and 1480 more" in out


def test_watching_and_json_exclude_each_other(desk: Desk) -> None:
    """One is for people, the other for programs."""
    ran = desk.run("status", "--watch", "--json")
    assert ran.code == 2
    assert json.loads(ran.out)["errors"][0]["code"] == "usage"


def test_a_state_file_of_a_later_version_is_refused(desk: Desk) -> None:
    """An older program must not explain what it does not understand."""
    desk.store.database.connection().execute("PRAGMA user_version = 999")
    desk.store.database.close()
    ran = desk.run("status", "--json")
    assert ran.code == 78
    assert json.loads(ran.out)["errors"][0]["code"] == "state_too_new"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_state_folder_of_somebody_else_is_told(desk: Desk) -> None:
    """No traceback for a user who may not look."""
    desk.settings.state_file.parent.chmod(0)
    try:
        ran = desk.run("status")
    finally:
        desk.settings.state_file.parent.chmod(0o700)
    assert ran.code == 1
    assert "service's user" in ran.err


def emptied(state_file: Path) -> None:
    """Leave what lies in a state file whose WAL is gone before it was ever written back."""
    for name in ("", "-wal", "-shm"):
        state_file.with_name(state_file.name + name).unlink(missing_ok=True)
    with closing(sqlite3.connect(state_file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


@pytest.mark.parametrize("is_left", [True, False], ids=["empty", "gone"])
@pytest.mark.parametrize("command", [("status",), ("prune",), ("prune", "--dry-run"), ("cases",)])
def test_a_state_file_that_lost_everything_is_told(
    desk: Desk, command: tuple[str, ...], *, is_left: bool
) -> None:
    """A sound database without a case, or none; but a folder knows of a daemon, as `run` says."""
    desk.finish(desk.add())
    desk.store.database.close()
    emptied(desk.settings.state_file)
    if not is_left:
        desk.settings.state_file.unlink()
    assert desk.run(*command).code == 0
    hidden = desk.settings.archive / ".vpe-watcher"
    hidden.mkdir()
    (hidden / "marker.json").write_text(json.dumps({"daemon_id": DAEMON_ID, "starts": 1}))
    ran = desk.run(*command, "--json")
    assert ran.code == 78
    (told,) = json.loads(ran.out)["errors"]
    assert told["code"] == "state_outdated"
    assert "recover" in told["hint"]


@pytest.mark.parametrize("command", [("status",), ("prune",), ("cases",)])
def test_a_state_file_without_a_table_is_told(desk: Desk, command: tuple[str, ...]) -> None:
    """What `run` refuses at its start, no command takes for an answer."""
    desk.store.database.close()
    with closing(sqlite3.connect(desk.settings.state_file)) as connection:
        connection.execute("DROP TABLE notices")
    ran = desk.run(*command)
    assert ran.code == 78
    assert "The state file is damaged: it has no" in ran.err


@pytest.mark.parametrize("code", ["state_unusable", "state_full", "state_damaged"])
def test_a_daemon_that_cannot_write_is_told_by_its_lock(running: Desk, code: str) -> None:
    """The breaker, since when, and that what was shown before an earlier end is not this daemon's.

    `check` fails with the same words.
    """
    running.store.put_snapshot(_snapshot())
    running.lock.tell(code, time.time())
    answer = json.loads(running.run("status", "--json").out)
    assert [(one["name"], one["open"]) for one in answer["breakers"]] == [("state", True)]
    assert answer["daemon"]["since"] > SINCE
    shown, checked = running.run("status").out, running.run("check")
    for words in ("paused: state", "what follows is as of", "inbox: not known since then"):
        assert words in shown
    assert checked.code == 1
    assert f"paused state: {answer['breakers'][0]['reason']}" in checked.out
    assert answer["breakers"][0]["hint"] in checked.out
    running.lock.tell(None)
    assert "as of" not in running.run("status").out
