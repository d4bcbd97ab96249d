"""`explain`: an answer for every path, with or without a daemon."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

import pytest

from tests.app.desk import Desk
from tests.app.test_status import emptied
from tests.flow.house import NOBODY
from vpe_watcher.adapters.store import Queries
from vpe_watcher.app.terms import candidate_rules
from vpe_watcher.flow.explain import Place, explain

DICOM = b"\0" * 128 + b"DICM" + b"\0" * 400


def test_a_letter_is_no_scan(desk: Desk) -> None:
    """It stays where it is, and the reason is told."""
    letter = desk.settings.inbox / "letter.txt"
    letter.write_text("Dear doctor")
    ran = desk.run("explain", str(letter))
    assert ran.code == 0
    assert "not a scan" in ran.out


def test_a_temporary_name_is_told(desk: Desk) -> None:
    """The rule by which it is left alone."""
    part = desk.settings.inbox / "scan.dcm.part"
    part.write_bytes(DICOM)
    assert "temporary name" in desk.run("explain", str(part)).out


def test_what_the_daemon_last_saw_is_added(running: Desk) -> None:
    """The snapshot's row for this very path."""
    scan = running.settings.inbox / "scan.dcm"
    scan.write_bytes(DICOM)
    row = {"path": str(scan), "recipe": "default", "state": "settling", "reason": "r", "age_s": 2}
    running.store.put_snapshot({"candidates": [row]})
    assert "last saw it as settling: r" in running.run("explain", str(scan)).out


def test_a_taken_file_leads_to_its_case(desk: Desk) -> None:
    """What was dropped there became a case."""
    case_id = desk.finish(desk.add())
    out = desk.run("explain", str(desk.settings.inbox / "scan.dcm")).out
    assert f"case {case_id}, which is done" in out


def test_the_inbox_itself_is_no_case(desk: Desk) -> None:
    """What was taken out of it does not make it one, nor the folder above it."""
    desk.finish(desk.add())
    for folder in (desk.settings.inbox, desk.settings.inbox.parent):
        ran = desk.run("explain", str(folder))
        assert ran.code == 0
        assert "taken as case" not in ran.out
    assert "It is the inbox itself." in desk.run("explain", str(desk.settings.inbox)).out


def test_another_way_to_the_same_inbox(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths and links to the inbox's folder are the same place."""
    (desk.settings.inbox / "letter.txt").write_text("Dear doctor")
    (tmp_path / "link").symlink_to(desk.home)
    monkeypatch.chdir(desk.settings.inbox)
    for path in ("letter.txt", str(tmp_path / "link" / "inbox" / "letter.txt")):
        assert "inbox of recipe default" in desk.run("explain", path).out


@pytest.mark.parametrize("place", ["nowhere.dcm", "../other.dcm"])
def test_what_is_not_there_is_an_answer_too(desk: Desk, place: str) -> None:
    """Exit 0: it could be answered."""
    ran = desk.run("explain", str(desk.settings.inbox / place))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out


def test_before_the_first_start(desk: Desk) -> None:
    """No state file, an answer all the same."""
    desk.store.database.close()
    desk.settings.state_file.unlink()
    ran = desk.run("explain", str(desk.settings.inbox / "scan.dcm"))
    assert ran.code == 0
    assert "never run" in ran.out


@pytest.mark.parametrize("way", ["empty", "gone", "elsewhere"])
def test_without_the_state_file_that_was_lost(desk: Desk, tmp_path: Path, way: str) -> None:
    """The rules answer, and what to do about the loss stands beside it."""
    desk.store.database.close()
    emptied(desk.settings.state_file)
    if way != "empty":
        desk.settings.state_file.unlink()
    other = tmp_path / "other.sqlite3"
    if way == "elsewhere":
        other.touch()
    hidden = desk.settings.archive / ".vpe-watcher"
    hidden.mkdir()
    marker = {"daemon_id": "deadbeef", "starts": 1, "state_file": str(other)}
    (hidden / "marker.json").write_text(json.dumps(marker))
    letter = desk.settings.inbox / "letter.txt"
    letter.write_text("Dear doctor")
    ran = desk.run("explain", str(letter))
    assert ran.code == 0
    assert "not a scan" in ran.out
    assert "in no state file here" in ran.out
    assert "never run" not in ran.out
    assert "vpe-watcher recover" in ran.err
    assert (str(other) in ran.err) is (way == "elsewhere")
    assert desk.run("status").code == 78


@pytest.mark.parametrize("root", ["outbox", "archive"])
def test_what_was_put_away_leads_to_its_case(desk: Desk, root: str) -> None:
    """A file in the archive, or a folder in the outbox: of which case it is, and how that ended."""
    case_id = desk.finish(desk.add())
    folder: Path = getattr(desk.settings, root)
    out = desk.run("explain", str(folder / "scan" / "scan.dcm")).out
    assert f"It lies in the {root} folder" in out
    assert f"scan is of case {case_id}, which is done now." in out
    assert "never looked at" not in out


def test_a_claimed_file_leads_to_its_case(desk: Desk) -> None:
    """Whoever looks into the hidden folder learns whose it is."""
    case_id = desk.add()
    claim = desk.settings.inbox / ".vpe-watcher" / "id-of-a-daemon" / case_id
    claim.mkdir(parents=True)
    (claim / "scan.dcm").write_bytes(DICOM)
    out = desk.run("explain", str(claim / "scan.dcm")).out
    assert f"It is claimed by case {case_id}, which is claiming now." in out
    for folder in (claim.parent, claim.parent.parent):
        out = desk.run("explain", str(folder)).out
        assert "the daemon's own" in out
        assert "taken as case" not in out


def _see_blocked(desk: Desk, path: Path) -> None:
    row = {"path": str(path), "recipe": "default", "state": "blocked", "reason": "no permission"}
    desk.store.put_snapshot({"candidates": [{**row, "age_s": 2}]})


@pytest.mark.parametrize("name", ["visit", "visit/scan.dcm", "visit/sub/scan.dcm", "mine.dcm"])
def test_what_this_user_may_not_read_is_an_answer_too(desk: Desk, name: str) -> None:
    """Who needs permission, and what the daemon last saw of it."""
    visit = desk.settings.inbox / "visit"
    (visit / "sub").mkdir(parents=True)
    mine = desk.settings.inbox / "mine.dcm"
    mine.write_bytes(DICOM)
    mine.chmod(0)
    _see_blocked(desk, desk.settings.inbox / name.partition("/")[0])
    with _nobody_reads(visit):
        lines = explain(
            desk.settings.inbox / name,
            inboxes=[_place(desk)],
            queries=Queries(desk.store.database, now=lambda: 0.0),
        )
    told = "\n".join(lines)
    assert f"may not look at {desk.settings.inbox / name}" in told
    assert "the service's user needs read permission" in told
    assert "last saw it as blocked: no permission" in told


@contextmanager
def _nobody_reads(folder: Path) -> Iterator[None]:
    """Close a folder, and be an ordinary user."""
    folder.chmod(0)
    is_root = os.geteuid() == 0
    for above in folder.parents if is_root else ():
        if above.stat().st_uid == 0 and above.is_relative_to(gettempdir()):
            above.chmod(0o755)
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)


def _place(desk: Desk) -> Place:
    recipe = desk.settings.recipes["default"]
    return Place("default", recipe.inbox, candidate_rules(desk.settings, recipe))


def test_what_the_daemon_may_not_read_is_not_said_to_be_taken(desk: Desk) -> None:
    """Root may read it, which helps nobody: first what the daemon saw, then what the rules say."""
    scan = desk.settings.inbox / "scan.dcm"
    scan.write_bytes(DICOM)
    _see_blocked(desk, scan)
    lines = desk.run("explain", str(scan)).out.splitlines()
    assert "blocked: no permission" in lines[1]
    assert lines[2] == "When that is put right:"
    assert lines[3].startswith("It")


def test_an_inbox_that_is_not_there_is_named(desk: Desk) -> None:
    """Neither a path in it nor the inbox itself passes for one that was emptied."""
    teeth = desk.settings.recipes["teeth"].inbox
    teeth.rmdir()
    for path in (teeth, teeth / "scan.stl"):
        ran = desk.run("explain", str(path))
        assert ran.code == 0
        assert "The inbox of recipe teeth" in ran.out
        assert "is not there" in ran.out
