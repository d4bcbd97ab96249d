"""`status --watch`: one screen, on which nothing that matters is pushed out by something else."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len

from tests.app.desk import Desk, problem
from vpe_watcher.app.commands import live
from vpe_watcher.app.commands.live import Section, Speeds, fitted, sections_of
from vpe_watcher.app.commands.status import look
from vpe_watcher.core.model import Label, State

SINCE = "2026-11-22T10:00:00.000Z"
LONG = "Müller, Anna-Katharina Elisabeth von und zu Hohenstein-Wittelsbach 1967"
WIDE = "山田太郎さんの下顎スキャン画像データ二〇二六年十一月の最後のもの"


def _candidate(name: str, state: str = "settling") -> dict[str, Any]:
    path = f"/srv/vpe/inbox/{name}"
    return {"path": path, "recipe": "default", "state": state, "reason": "not yet", "age_s": 2.0}


def _breaker(name: str) -> dict[str, Any]:
    hint = "Free space on the disks of inbox, outbox, archive, failed and the state file. " * 2
    return {"name": name, "open": True, "since": SINCE, "reason": "It is full.", "hint": hint}


@pytest.fixture
def busy(running: Desk) -> Desk:
    """Return a desk where everything is to be told at once, with long and wide names."""
    for name in (LONG, WIDE, *(f"held{number}" for number in range(12))):
        case_id = running.walk(running.add(name.replace("/", "")), State.WAITING)
        running.end(case_id, Label.REFUSED_AT_ONCE, problem("job_forbidden"))
    same = replace(problem("same"), message="It may be the same scan as another case.")
    running.end(running.add("same"), Label.PENDING, same)
    names = (LONG, WIDE, "evil\x1b[2J.dcm", *(f"slice{number}.dcm" for number in range(40)))
    running.store.put_snapshot(
        {
            "since": SINCE,
            "version": "9.9.9",
            "config_error": None,
            "candidates": [_candidate(name) for name in names],
            "candidates_total": 1500,
            "breakers": [_breaker("disk"), _breaker("engine")],
            "transfers": [
                {"case_id": "case0001", "direction": "upload", "bytes": 1 << 20, "total": 1 << 21},
                {"case_id": "case0002", "direction": "download", "bytes": 1 << 20, "total": None},
            ],
            "roots": [],
        }
    )
    return running


def screen(desk: Desk, columns: int, rows: int) -> list[str]:
    """Return what is shown on a terminal of this size."""
    speeds = {("case0001", "upload"): 1024.0}
    sections = sections_of(look(desk.settings), columns, speeds=speeds, clock="14:02:33")
    return [line for line, _ in fitted(list(sections), columns, rows)]


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 12), (132, 50)])
def test_all_that_matters_fits_the_screen(busy: Desk, columns: int, rows: int) -> None:
    """Every heading is there, none of the lines is wider than the terminal, none is too many."""
    lines = screen(busy, columns, rows)
    assert len(lines) <= rows
    assert max(map(cell_len, lines)) <= columns
    heads = ("daemon: ", "paused: disk", "paused: engine", "cases: ", "held, ", "claiming", "inbox")
    assert [sum(line.startswith(head) for line in lines) for head in heads] == [1] * len(heads)
    assert not any("\x1b" in line for line in lines)


def test_a_usual_terminal_shows_some_of_everything(busy: Desk) -> None:
    """In 80 columns and 24 rows: why, what to do, how far, and how much is not shown."""
    text = "\n".join(lines := screen(busy, 80, 24))
    assert lines[0].endswith(" 14:02:33")
    assert "  It is full.\n  hint: Free space" in text
    assert "upload    case0001  [##########..........]   50% of 2 MiB" in text
    assert "1 KiB/s" in text
    assert "): 14 (3 shown)" in text
    assert "inbox: 1500 candidates not taken yet (3 shown)" in text
    assert "…  not yet" in text


def test_rows_are_shared_line_by_line() -> None:
    """A thousand lines of one section leave the others theirs; what stays free is used."""
    many = Section("many", tuple(f"m{number}" for number in range(1000)), 1000)
    lines = [line for line, _ in fitted([many, Section("few", ("f0", "f1"))], 80, 10)]
    assert lines == ["many (6 shown)", *(f"m{n}" for n in range(6)), "few", "f0", "f1"]


def test_without_a_daemon_that_is_said_first(desk: Desk) -> None:
    """And nothing of what it last transferred."""
    lines = screen(desk, 80, 24)
    assert lines[0].startswith("daemon: not running ")
    assert lines[1:] == ["cases: none yet"]


def test_a_state_file_that_cannot_be_read_now_does_not_end_the_view(desk: Desk) -> None:
    """What is wrong is shown instead, with what to do."""
    desk.store.database.close()
    desk.settings.state_file.write_bytes(b"no database")
    (section,) = live._sections(desk.settings, Speeds(), 80)  # noqa: SLF001
    assert section.head.startswith("error: The state file is damaged")
    assert "recover" in " ".join(section.body)


def test_a_state_file_that_was_lost_is_told_and_not_watched(desk: Desk) -> None:
    """The folders know of it. They are asked once: one that hangs would hold up each look."""
    desk.store.database.close()
    desk.settings.state_file.unlink()
    hidden = desk.settings.archive / ".vpe-watcher"
    hidden.mkdir()
    (hidden / "marker.json").write_text('{"daemon_id": "deadbeef", "starts": 1}')
    ran = desk.run("status", "--watch")
    assert ran.code == 78
    assert "The state file is lost" in ran.err
    assert "recover" in ran.err
    assert "daemon: not running" in live._sections(desk.settings, Speeds(), 80)[0].head  # noqa: SLF001


def test_without_a_thread_to_ask_the_folders_status_answers(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders that cannot be asked are as those that do not answer, and are not waited for."""

    def fails(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    desk.store.database.close()
    desk.settings.state_file.unlink()
    monkeypatch.setattr(threading.Thread, "start", fails)
    began = time.monotonic()
    assert look(desk.settings).data["daemon"]["running"] is False
    assert time.monotonic() - began < 5


def test_speed_is_that_of_the_last_seconds() -> None:
    """A transfer that begins anew, or has just begun, has no speed that would mislead."""
    speeds, row = Speeds(), {"case_id": "a", "direction": "upload"}
    assert speeds.take([{**row, "bytes": 100}], 1.0) == {}
    assert speeds.take([{**row, "bytes": 300}], 2.0) == {("a", "upload"): 200.0}
    shown = [speeds.take([{**row, "bytes": 300}], float(second)) for second in range(3, 20)]
    assert shown[-1] == {("a", "upload"): 0.0}
    assert speeds.take([{**row, "bytes": 5}], 20.0) == {}
    assert speeds.take([], 21.0) == {}
