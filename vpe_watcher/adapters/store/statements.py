"""Statements that several verbs share. Each runs inside the caller's transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable

from vpe_watcher.adapters.store.database import Database
from vpe_watcher.adapters.store.rows import load_case, load_inputs, mark_columns
from vpe_watcher.adapters.store.values import Remembered
from vpe_watcher.core.keys import content_key
from vpe_watcher.core.machine import Decision
from vpe_watcher.core.model import Case, Input, Label, Move, Output
from vpe_watcher.core.moments import iso
from vpe_watcher.core.names import name_key

DAY_S = 24 * 3600.0
CLOCK_TOLERANCE_S = 300.0
NOT_COUNTED = frozenset({Label.ENVIRONMENT, Label.NOT_SENT, Label.STOPPED})


# A part of a folder waits until the folder is claimed; its first case, until all parts are out.
_UNGATHERED = (
    "other.claimed IS NULL "
    "AND (other.state IN ('claiming', 'archiving') OR other.due_step IS NOT NULL)"
)
WAITS_FOR_FAMILY = (
    "(cases.state IN ('claiming', 'archiving') AND CASE WHEN cases.claimed IS NULL "  # noqa: S608
    "THEN cases.split_of <> '' AND EXISTS (SELECT 1 FROM cases AS other "
    f"WHERE other.case_id = cases.split_of AND {_UNGATHERED}) "
    "ELSE cases.state = 'archiving' AND EXISTS (SELECT 1 FROM cases AS other "
    "WHERE other.split_of = cases.case_id AND other.split_of <> '' "
    f"AND {_UNGATHERED}) END)"
)

# Why such a case waits: no attempt is made meanwhile that would record it.
FAMILY_REASON = (
    f"CASE WHEN {WAITS_FOR_FAMILY} THEN CASE WHEN cases.claimed IS NULL THEN "  # noqa: S608
    "'Its files are in the folder of case ' || cases.split_of || ', which is to be claimed first.' "
    "ELSE 'Case ' || (SELECT other.case_id FROM cases AS other WHERE other.split_of = "
    f"cases.case_id AND other.split_of <> '' AND {_UNGATHERED} ORDER BY other.seq LIMIT 1) || "
    "', which is in its folder, is to be claimed first.' END END"
)


def waits_for_family(connection: sqlite3.Connection, case_id: str) -> bool:
    """Tell whether a case cannot go on before another case of the same folder has."""
    row = connection.execute(
        f"SELECT 1 FROM cases WHERE case_id = ? AND {WAITS_FOR_FAMILY}",  # noqa: S608 - ours
        (case_id,),
    ).fetchone()
    return row is not None


def is_cancelled_in_part(connection: sqlite3.Connection, case_id: str) -> bool:
    """Tell whether a person wants a case that is not taken yet cancelled, or a part of its folder.

    The word may not have been obeyed yet. Once it is, a part is in `claiming` no more.
    """
    row = connection.execute(
        "SELECT 1 FROM cases WHERE (case_id = ?1 OR (split_of = ?1 AND split_of <> '')) "
        "AND ((case_id <> ?1 AND state <> 'claiming') OR EXISTS "
        "(SELECT 1 FROM words WHERE word = 'cancel' AND subject = cases.case_id))",
        (case_id,),
    ).fetchone()
    return row is not None


def must_load(connection: sqlite3.Connection, case_id: str) -> Case:
    """Read a case that must have a row: none is a defect of ours."""
    case = load_case(connection, case_id)
    if case is None:
        raise AssertionError(f"case {case_id} has no row")
    return case


def update_case(connection: sqlite3.Connection, case_id: str, **columns: object) -> None:
    """Set columns of one case."""
    names = ", ".join(f"{name} = ?" for name in columns)
    count = connection.execute(
        f"UPDATE cases SET {names} WHERE case_id = ?",  # noqa: S608 - column names are ours
        (*columns.values(), case_id),
    ).rowcount
    if count != 1:
        raise AssertionError(f"case {case_id} has no row")


def add_event(
    connection: sqlite3.Connection,
    case_id: str,
    time: str,
    event: str,
    *,
    outcome: str | None = None,
    reason: str | None = None,
) -> None:
    """Add a line to a case's trail that is no attempt."""
    connection.execute(
        "INSERT INTO events (case_id, time, event, outcome, reason) VALUES (?, ?, ?, ?, ?)",
        (case_id, time, event, outcome, reason),
    )


def is_in_step(connection: sqlite3.Connection, case_id: str) -> bool:
    """Tell whether an attempt of this case is under way."""
    row = connection.execute(
        "SELECT 1 FROM events WHERE case_id = ? AND step IS NOT NULL AND outcome IS NULL",
        (case_id,),
    ).fetchone()
    return row is not None


def begin_event(connection: sqlite3.Connection, case: Case, now: str) -> tuple[int, int]:
    """Record an attempt as begun; return its row and its number in this step.

    One that met everybody's trouble, or was stopped, costs the case none: the next has its number.
    """
    last = connection.execute(
        "SELECT id, step, outcome, attempt FROM events WHERE case_id = ? AND step IS NOT NULL "
        "ORDER BY id DESC LIMIT 1",
        (case.case_id,),
    ).fetchone()
    attempt = 1
    if last and last["step"] == case.state:
        attempt = last["attempt"] + (last["outcome"] not in NOT_COUNTED)
    if last and last["step"] == case.state and last["outcome"] == Label.PENDING:
        connection.execute(
            "UPDATE events SET event = 'step.begun', outcome = NULL, attempt = ? WHERE id = ?",
            (attempt, last["id"]),
        )
        return last["id"], attempt
    cursor = connection.execute(
        "INSERT INTO events (case_id, time, event, step, attempt) VALUES (?, ?, ?, ?, ?)",
        (case.case_id, now, "step.begun", str(case.state), attempt),
    )
    return cursor.lastrowid or 0, attempt


def event_name(case: Case, decision: Decision) -> str:
    """Name what an attempt came to, for the trail."""
    if decision.label is Label.PENDING:
        return "step.waiting"
    return "step.retry" if decision.state is case.state else "step.done"


def is_reserved(connection: sqlite3.Connection, name: str) -> bool:
    """Tell whether a folder name belongs to any case."""
    row = connection.execute("SELECT 1 FROM names WHERE name_key = ?", (name_key(name),)).fetchone()
    return row is not None


def reserve(connection: sqlite3.Connection, name: str, case_id: str) -> None:
    """Give a folder name to a case for good."""
    connection.execute(
        "INSERT INTO names (name_key, case_id) VALUES (?, ?)", (name_key(name), case_id)
    )


def put_moves(connection: sqlite3.Connection, case_id: str, moves: tuple[Move, ...]) -> None:
    """Replace the renames of a case's claim."""
    connection.execute("DELETE FROM moves WHERE case_id = ?", (case_id,))
    connection.executemany(
        "INSERT INTO moves VALUES (?, ?, ?, ?)",
        [(case_id, position, move.source, move.target) for position, move in enumerate(moves)],
    )


def put_inputs(connection: sqlite3.Connection, case_id: str, inputs: tuple[Input, ...]) -> None:
    """Write the inputs of a new case."""
    connection.executemany(
        "INSERT INTO inputs (case_id, modality, name, extension, size, mtime_ns, ctime_ns, inode, "
        "download_url, series_uid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                case_id,
                str(entry.modality),
                entry.name,
                entry.extension,
                *mark_columns(entry.mark),
                entry.download_url,
                entry.series_uid,
            )
            for entry in inputs
        ],
    )
    slices = [one for entry in inputs for one in entry.slices]
    connection.executemany(
        "INSERT INTO slices (case_id, position, name, sop_instance_uid, size, mtime_ns, ctime_ns, "
        "inode, sha256, owner) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                case_id,
                position,
                one.name,
                one.sop_instance_uid,
                *mark_columns(one.mark),
                one.sha256,
                one.owner,
            )
            for position, one in enumerate(slices)
        ],
    )


def remember(connection: sqlite3.Connection, root: str, files: Iterable[Remembered]) -> None:
    """Record what was seen in a root where nothing is moved; what was known there is replaced."""
    connection.executemany(
        "INSERT OR REPLACE INTO remembered (root, path, size, mtime_ns, case_id, content) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        [(root, one.path, one.size, one.mtime_ns, one.case_id, one.content) for one in files],
    )


def drop_inputs(connection: sqlite3.Connection, case_id: str) -> None:
    """Remove what a case consists of, to be written anew."""
    connection.execute("DELETE FROM inputs WHERE case_id = ?", (case_id,))
    connection.execute("DELETE FROM slices WHERE case_id = ?", (case_id,))


def output_identity(output: Output) -> tuple[object, ...]:
    """Return what tells that two answers speak of the same output."""
    place = output.position, output.kind
    return *place, output.structures, output.extension, output.announced_size


def put_output(
    connection: sqlite3.Connection, case_id: str, output: Output, fetched: Output | None
) -> None:
    """Write one output, with what was fetched of it before."""
    connection.execute(
        "INSERT INTO outputs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            case_id,
            output.position,
            output.kind,
            json.dumps(output.structures),
            output.extension,
            output.status,
            output.announced_size,
            output.url,
            fetched.file if fetched else None,
            fetched.size if fetched else None,
            fetched.sha256 if fetched else None,
        ),
    )


def forget_links(connection: sqlite3.Connection, case_id: str) -> None:
    """Forget what belongs to the current job; its row in `jobs` stays."""
    connection.execute(
        "UPDATE inputs SET upload_url = NULL, notify_url = NULL, is_uploaded = 0, "
        "notified = 'no' WHERE case_id = ?",
        (case_id,),
    )


def forget_digests(connection: sqlite3.Connection, case_id: str) -> None:
    """Forget what was read of inputs that are not what they were."""
    connection.execute("UPDATE inputs SET sha256 = NULL WHERE case_id = ?", (case_id,))
    connection.execute("UPDATE slices SET sha256 = NULL WHERE case_id = ?", (case_id,))


def first_submits(connection: sqlite3.Connection, recipe: str, now: float) -> int:
    """Count the cases first submitted in the last 24 hours; recipe "" is all of them.

    What a clock that ran ahead dated into the future would count until then: it does not.
    """
    row = connection.execute(
        "SELECT COUNT(*) FROM cases WHERE first_submit_at > ? AND first_submit_at <= ? "
        "AND (? = '' OR recipe = ?)",
        (iso(now - DAY_S), iso(now + CLOCK_TOLERANCE_S), recipe, recipe),
    ).fetchone()
    return int(row[0])


def set_content_key(connection: sqlite3.Connection, case_id: str) -> str:
    """Record and return the digest of all inputs; "" while one of them is unknown."""
    key = content_key(load_inputs(connection, case_id))
    if key:
        update_case(connection, case_id, content_key=key)
    return key


class Verbs:
    """What all verbs need. `now` returns seconds since 1970."""

    def __init__(self, database: Database, *, now: Callable[[], float]) -> None:
        self.database = database
        self._now = now
