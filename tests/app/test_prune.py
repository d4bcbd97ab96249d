"""`prune`: what it says, what it changes, and what other commands say afterwards."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.app.desk import DAEMON_ID, Desk, problem
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.lock import removing
from vpe_watcher.adapters.store import Limits
from vpe_watcher.core.model import FailureClass, Label, State
from vpe_watcher.core.moments import iso
from vpe_watcher.flow.places import record_in

LONG_AGO = iso(time.time() - 100 * 86_400.0)
KEYS = ("case_id", "case_name", "recipe", "state", "path", "rested", "age_s", "size", "reason")


@pytest.fixture
def old(desk: Desk) -> Desk:
    """Return a desk with an old case that is done and one that failed; days are set."""
    config = desk.config.read_text()
    desk.config.write_text(f"{config}archive_days = 30\nfailed_days = 60\n")
    for root in ("archive", "failed"):
        hidden = desk.home / root / ".vpe-watcher"
        hidden.mkdir()
        marker = {"daemon_id": DAEMON_ID, "starts": 1}
        (hidden / "marker.json").write_text(json.dumps(marker))
    done = desk.finish(desk.add("scan"))
    failed = desk.end(desk.add("bad"), Label.INPUT, problem("truncated", FailureClass.INPUT))
    for case_id, name in ((done, "result.json"), (failed, "error.json")):
        desk.lay_input(case_id)
        document = {"schema": "vpe-watcher/x/1", "case_id": case_id}
        (desk.places.input_folder(desk.case(case_id)) / name).write_text(json.dumps(document))
    with desk.store.database.transaction() as connection:
        connection.execute("UPDATE cases SET updated = ?", (LONG_AGO,))
    return desk


def tree(desk: Desk) -> set[Path]:
    """Return all paths of the house."""
    return set(desk.home.rglob("*"))


def test_a_dry_run_names_what_would_go_and_changes_nothing(old: Desk) -> None:
    """Each folder with its size, its age and the key that lets it go."""
    before, version = tree(old), old.store.database.data_version()
    ran = old.run("prune", "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].startswith("would remove 2 folders, ")
    assert "older than archive_days (30)  archive/scan" in lines[1]
    assert "older than failed_days (60)   failed/bad" in lines[2]
    assert (tree(old), old.store.database.data_version()) == (before, version)


def test_json_has_a_row_for_each_folder(old: Desk) -> None:
    """What would go, what is due and kept, what refused: the same keys in each."""
    (old.home / "failed/bad/error.json").unlink()
    shown = json.loads(old.run("prune", "--dry-run", "--json").out)
    assert (shown["schema"], shown["dry_run"]) == ("vpe-watcher/prune/1", True)
    assert [tuple(row) for row in shown["removed"] + shown["kept"]] == [KEYS, KEYS]
    assert shown["removed"][0]["path"] == str(old.home / "archive/scan")
    assert shown["kept"][0]["reason"] == "it holds no document of its case"
    assert shown["refused"] == []


def test_a_retry_during_a_removal_is_told(old: Desk) -> None:
    """No word is left that could only be struck out; `prune` says what it takes back."""
    rest = old.store.rest_in("bad")
    assert rest is not None
    assert old.store.begin_pruning(rest, "old", Limits())
    ran = old.run("retry", "bad")
    assert (ran.code, old.words()) == (1, [])
    assert "is just being removed" in ran.err
    assert f"case {rest.case_id} is taken back: nothing was removed yet." in old.run("prune").err


def test_a_dry_run_doubts_a_clock_that_is_far_ahead(old: Desk) -> None:
    """The daemon would wait for a person; `prune` is the person's word, and removes."""
    with old.store.database.transaction() as connection:
        connection.execute("UPDATE cases SET updated = '2020-01-01T00:00:00.000Z'")
    before = tree(old)
    dry = old.run("prune", "--dry-run")
    assert dry.code == 0
    assert "would remove 2 folders" in dry.out
    assert "between 2020-01-01 and a week ago" in " ".join(dry.err.split())
    assert {path for path in before if path.exists()} == before
    ran = old.run("prune")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("removed 2 folders")


def test_what_was_removed_is_told_by_show_and_refused_by_retry(old: Desk) -> None:
    """The rows stay: `show` says when and why, `retry` what to do instead."""
    assert old.run("prune").out.startswith("removed 2 folders")
    assert not (old.home / "archive/scan").exists()
    assert not (old.home / "failed/bad").exists()
    assert "older than archive_days (30))" in old.run("show", "scan").out
    ran = old.run("retry", "bad")
    assert ran.code == 1
    assert "was removed on " in ran.err
    assert "once more" in ran.err
    ran = old.run("retry", "--failed")
    assert ran.code == 0, "what nobody can retry is no reason to say no"
    assert "left out: its input was removed" in ran.err
    assert old.words() == []
    assert old.run("prune").err == "There is nothing to remove.\n"


def test_without_days_nothing_is_ever_removed(desk: Desk) -> None:
    """The defaults keep everything, and say so."""
    ran = desk.run("prune")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith("Nothing is ever removed")


@pytest.mark.parametrize(
    ("marker", "exit_code", "code"),
    [
        (None, 75, "folder_without_marker"),
        ({"daemon_id": "another", "starts": 1}, 78, "folder_of_another"),
        ({"daemon_id": DAEMON_ID, "starts": 9}, 78, "state_outdated"),
    ],
)
def test_a_folder_that_is_not_ours_is_left_alone(
    old: Desk, marker: dict[str, object] | None, exit_code: int, code: str
) -> None:
    """Not mounted, another daemon's, or ahead of the state file: nothing is touched."""
    path = old.home / "archive/.vpe-watcher/marker.json"
    path.unlink() if marker is None else path.write_text(json.dumps(marker))
    before = tree(old)
    for more in ((), ("--dry-run",)):
        ran = old.run("prune", "--json", *more)
        assert (ran.code, json.loads(ran.out)["errors"][0]["code"]) == (exit_code, code)
    assert {path for path in before if "state" not in path.parts} <= tree(old)


def test_what_is_set_aside_and_refuses_is_told(old: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing half removed is visible, the answer is "no" each time, and at last it goes."""

    def refuse(_disk: Disk, _folder: Path) -> None:
        raise PermissionError(1, "immutable")

    with monkeypatch.context() as sick:
        sick.setattr(Disk, "remove_tree", refuse)
        assert old.run("prune").code == 1
        assert not (old.home / "archive/scan").exists()
        again = old.run("prune")
        assert again.code == 1
        assert "it cannot be removed: operation not permitted" in again.err
        (aside,) = (old.home / "archive/.vpe-watcher").glob("*.pruned")
        shown = old.run("prune", "--dry-run")
        assert shown.code == 0
        assert shown.out.splitlines()[0].startswith("not yet removed")
        assert str(aside) in shown.out
        assert str(aside) in json.loads(old.run("prune", "--dry-run", "--json").out)["aside"]
    assert old.run("prune").code == 0
    assert list((old.home / "archive/.vpe-watcher").glob("*.pruned")) == []


def test_a_removal_that_was_begun_earlier_is_ended_and_said(old: Desk) -> None:
    """Also where nothing is to be removed any more; the records of other cases stay then."""
    config = old.config.read_text()
    old.config.write_text(
        config.replace("_days = 30", "_days = 0").replace("_days = 60", "_days = 0")
    )
    rest = old.store.rest_in("scan")
    assert rest is not None
    assert old.store.begin_pruning(rest, "old", Limits())
    hidden = old.home / "archive/.vpe-watcher"
    (old.home / "archive/scan").rename(hidden / f"{rest.case_id}.pruned")
    away = old.finish(old.add("away"))
    record = record_in(old.home / "archive", away)
    record.parent.mkdir(exist_ok=True)
    record.write_text("{}")
    ran = old.run("prune")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == f"The removal of case {rest.case_id} was begun earlier, and is done.\n"
    assert not (hidden / f"{rest.case_id}.pruned").exists()
    assert record.exists()
    assert "Nothing is ever removed" in old.run("prune").err


def test_two_do_not_prune_at_once(old: Desk) -> None:
    """While the daemon is at it, a person is asked to try again."""
    with removing(old.settings.state_file, "archive"):
        ran = old.run("prune", "--json")
        assert (ran.code, json.loads(ran.out)["errors"][0]["code"]) == (75, "pruning_already")
    assert old.case("case0001").state is State.DONE
    assert (old.home / "archive/scan").exists()


def test_a_folder_that_refuses_makes_the_answer_no(
    old: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 1, and the other one is gone."""
    rename = Disk.rename

    def refuse(disk: Disk, source: Path, target: Path) -> None:
        if source.name == "scan":
            raise PermissionError(13, "no")
        rename(disk, source, target)

    monkeypatch.setattr(Disk, "rename", refuse)
    ran = old.run("prune")
    assert ran.code == 1
    assert "could not be removed:" in ran.out
    assert "permission denied" in ran.out
    assert not (old.home / "failed/bad").exists()
