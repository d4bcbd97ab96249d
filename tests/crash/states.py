"""What a death leaves for the next life, as a digest: deaths of one digest have one future.

A life knows the folders, the state file and what the Engine remembers, and nothing else. Left out
is what differs from run to run and decides nothing here: random identifiers (told by their order),
times of day, the trail of attempts that have ended, how often the daemon started. A file's mark is
told by the file that bears it now; which look a case was claimed by is not, so no scenario may
change a file that is no input just before its claim. Of the Engine's faults is told which kinds
have fired: a rule may fire once, or always.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from tests.crash.lives import FOLDERS, Stage
from tests.crash.points import Points, nothing
from vpe_watcher.core.poison import DEATHS_AT_MOST, DEATHS_BEFORE_ALONE

UNTOLD = {"snapshot", "events", "daemon", "sqlite_sequence"}
DRAFTS = (".json.part", ".txt.part")
VARIES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\[\s*(\d+),\s*\d{19},\s*\d{19},\s*\d+\s*\]", r"[\1, MARK]"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"\b1[67]\d{8}(\.\d+)?\b", "TIME"),
        (r"Signature=[0-9a-f]+", "SIGNATURE"),
        (r"\bsandbox-[\w-]{32}", "TOKEN"),
        (r"\b([in]):[0-9a-f]{64}", r"\1:SIGHT"),
    )
)
POISON = re.compile(r'"deaths": (\d+)')
STARTS = re.compile(r'"starts": (\d+)')


class WatchedPoints(Points):
    """Points at which nobody dies: what a death would leave there is noted, one digest a point."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(is_fine=stage.is_fine)
        self._stage = stage
        self.states: list[str] = []

    def reach(self, what: str, half: Callable[[], None] = nothing) -> None:
        """Pass a point, and note the state there."""
        super().reach(what, half)
        self.states.append(state_of(self._stage, half))


def state_of(stage: Stage, half: Callable[[], None] = nothing) -> str:
    """Return the digest of what a death leaves here, after `half` of the next effect.

    That is not done: it is told by its name and what it is done to.
    """
    files = _files(stage.root)
    rows = _rows(stage.settings.state_file)
    told = [
        *_told_rows(rows, files),
        *(str(path) for path in _folders(stage.root)),
        *(f"{path} {_content(path)}" for path in files),
        *_engine(stage),
        _told_half(half),
    ]
    told = sorted(_without_chance("\0".join(told), stage, rows).split("\0"))
    return hashlib.sha256("\0".join(told).encode()).hexdigest()


# --- the state file ------------------------------------------------------------------------------

Rows = dict[str, list[dict[str, Any]]]


def _rows(state_file: Path) -> Rows:
    """Return all that is committed, by table; in cases the oldest first."""
    if not state_file.exists():
        return {}
    with closing(sqlite3.connect(f"file:{state_file}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {
            table: [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]  # noqa: S608 - a table of ours
            for (table,) in tables.fetchall()
        }


def _told_rows(rows: Rows, files: list[Path]) -> Iterator[str]:
    bearers = {path.stat().st_ino: path for path in files}
    moments = {path.stat().st_mtime_ns for path in files}
    yield f"tables {sorted(rows)}"
    for table in rows.keys() - UNTOLD:
        for row in rows[table]:
            yield f"{table} {_without_mark(row, bearers, moments)}"
    for row in rows.get("daemon", ()):
        deaths = len(json.loads(row["deaths"])) + row["is_working"]
        deaths = min(deaths, DEATHS_BEFORE_ALONE)
        yield f"daemon {row['is_clean']} {row['is_working']} {deaths}"
    events = rows.get("events", ())
    for row in events:
        if row["step"] and not row["outcome"]:
            yield f"under way {row['case_id']} {row['step']}"


def _without_mark(
    row: dict[str, Any], bearers: dict[int, Path], moments: set[int]
) -> dict[str, Any]:
    """Tell the row of a file by who bears its mark now, and how much of it."""
    told = {name: one for name, one in row.items() if name not in {"mtime_ns", "ctime_ns", "inode"}}
    if "mtime_ns" not in row:
        return told
    path = bearers.get(row.get("inode", 0))
    if path is None:
        return {**told, "mark": row["mtime_ns"] in moments}
    seen = path.stat()
    is_same = (row["mtime_ns"] == seen.st_mtime_ns, row["ctime_ns"] == seen.st_ctime_ns)
    return {**told, "mark": (str(path), is_same)}


# --- folders and the Engine ----------------------------------------------------------------------


def _files(root: Path) -> list[Path]:
    """Return all files but the Engine's and the state file's own."""
    return sorted(
        path
        for folder in FOLDERS
        if folder != "engine"
        for path in (root / folder).rglob("*")
        if path.is_file() and not path.name.startswith("state.sqlite3")
    )


def _folders(root: Path) -> list[Path]:
    inside = ((root / folder).rglob("*") for folder in FOLDERS if folder != "engine")
    return sorted(path for paths in inside for path in paths if path.is_dir())


def _content(path: Path) -> str:
    if path.name.endswith(DRAFTS):
        return "a draft, which nobody reads"
    content = path.read_bytes()
    is_text = path.suffix in {".json", ".txt"} and content.isascii()
    return content.decode() if is_text else hashlib.sha256(content).hexdigest()


def _engine(stage: Stage) -> Iterator[str]:
    """Tell what was sent, bought and refused, and what people have dropped."""
    ledger = stage.sandbox.ledger
    for job in ledger.jobs.values():
        inputs = [
            (name, entry.extension, [one.sha256 for one in entry.uploads[-1:]], entry.is_ready)
            for name, entry in job.inputs.items()
        ]
        yield f"job {job.id} {job.started} {job.request} {inputs}"
    yield f"refused {sorted({seen.kind for seen in ledger.requests if seen.fault})}"
    yield f"dropped {sorted(stage.dropped)}"


def _told_half(half: Callable[[], None]) -> str:
    if half is nothing:
        return "whole"
    assert isinstance(half, partial), "a half is told by what it is done to"
    what = [getattr(one, "name", one) for one in half.args if not isinstance(one, Path | bytes)]
    paths = [str(one) for one in half.args if isinstance(one, Path)]
    return f"half {half.func.__name__} {paths} {what}"


# --- what differs from run to run ----------------------------------------------------------------


def _without_chance(text: str, stage: Stage, rows: Rows) -> str:
    text = text.replace(str(stage.root), "")
    for order, row in enumerate(rows.get("cases", ())):
        text = text.replace(row["case_id"], f"CASE {order}")
    for order, job_id in enumerate(stage.sandbox.ledger.jobs):
        text = text.replace(job_id, f"JOB {order}")
    for pattern, replacement in VARIES:
        text = pattern.sub(replacement, text)
    starts = sum(row["starts"] for row in rows.get("daemon", ()))
    text = STARTS.sub(lambda found: f"behind {int(found[1]) < starts}", text)
    return POISON.sub(lambda found: f"poison {int(found[1]) + 1 >= DEATHS_AT_MOST}", text)
