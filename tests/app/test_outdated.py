"""Commands where `run` would refuse: the folders know more than the state file (an old copy)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.app.desk import DAEMON_ID, Desk
from vpe_watcher.core.model import State

WOULD_REFUSE = "warning: `vpe-watcher run` would refuse to start: The folder"


@pytest.fixture
def outdated(desk: Desk) -> Desk:
    """Return a desk whose outbox was used with a newer state file; it has a case that failed."""
    hidden = desk.home / "outbox" / ".vpe-watcher"
    hidden.mkdir()
    marker = {"daemon_id": DAEMON_ID, "starts": 99}
    (hidden / "marker.json").write_text(json.dumps(marker))
    return desk


@pytest.mark.parametrize(
    "words", [["status"], ["cases"], ["show", "scan"], ["backup"], ["explain"]]
)
def test_who_only_reads_is_told_in_a_line_that_no_daemon_would_start(
    outdated: Desk, tmp_path: Path, words: list[str]
) -> None:
    """The answer and its exit code stay as they are; beside a daemon nothing is said."""
    outdated.finish(outdated.add())
    paths = {"backup": tmp_path / "copy.sqlite3", "explain": outdated.home / "inbox" / "x.dcm"}
    words += [str(paths[words[0]])] if words[0] in paths else []
    ran = outdated.run(*words)
    assert ran.code == 0
    (line,) = [one for one in ran.err.splitlines() if one.startswith(WOULD_REFUSE)]
    assert "newer state file" in line
    assert "vpe-watcher recover" in line
    assert "start it" not in ran.out
    outdated.lock.acquire()
    assert WOULD_REFUSE not in outdated.run(*words[:2]).err


@pytest.mark.parametrize("words", [["retry", "scan"], ["cancel", "scan"], ["submit"], ["prune"]])
def test_who_leaves_a_word_is_refused_as_a_start_is(
    outdated: Desk, tmp_path: Path, words: list[str]
) -> None:
    """What the file says of payments is not true any more, and the word would be dropped."""
    outdated.walk(outdated.add(), State.UPLOADING)
    scan = tmp_path / "new.dcm"
    scan.write_bytes(b"scan")
    ran = outdated.run(*words, *([str(scan)] if words == ["submit"] else []))
    assert ran.code == 78
    assert "newer state file" in ran.err
    assert "vpe-watcher recover" in ran.err
    assert outdated.words() == []
    assert not (outdated.home / "inbox" / "new.dcm").exists()
