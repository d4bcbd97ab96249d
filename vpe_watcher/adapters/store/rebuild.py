"""Rows that are written as a whole, for a state file that is rebuilt: no daemon runs meanwhile."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from vpe_watcher.adapters.store.rows import dump_problem, dump_tally, load_case
from vpe_watcher.adapters.store.statements import (
    Verbs,
    add_event,
    put_inputs,
    put_moves,
    put_output,
)
from vpe_watcher.core.keys import sizes_key
from vpe_watcher.core.model import FAILING, Case
from vpe_watcher.core.moments import iso
from vpe_watcher.core.names import folder_name, name_key, numbered


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A case as its row is to be: with the keys of duplicates, and why, for the trail.

    `names` are further folder names that belong to it.
    """

    case: Case
    request_key: str
    content_key: str | None
    reason: str
    names: tuple[str, ...] = ()


class RebuildVerbs(Verbs):
    """The verbs of `recover`."""

    def load_all(self) -> dict[str, Case]:
        """Read every case, by its id."""
        with self.database.reading() as connection:
            rows = connection.execute("SELECT case_id FROM cases ORDER BY seq").fetchall()
            cases = [load_case(connection, row["case_id"]) for row in rows]
        return {case.case_id: case for case in cases if case is not None}

    def rebuild(
        self,
        cases: Sequence[Rebuilt],
        *,
        daemon_id: str,
        starts: int,
        paused: Iterable[str],
        noted: Iterable[str],
        roots: Mapping[str, str],
        drops_words: bool,
    ) -> int:
        """Write cases over what is known of them, and whose file it is; all or nothing.

        `noted` are the cases on which a note lies in `failed`, `roots` the paths of the folders
        that bear our marker, by name.
        Returns how many words of people were dropped, who have been obeyed or are to speak again.
        """
        now = iso(self._now())
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT INTO daemon (id, daemon_id, starts) VALUES (1, ?1, ?2) ON CONFLICT (id) "
                "DO UPDATE SET daemon_id = ?1, starts = ?2, is_clean = 1, is_working = 0",
                (daemon_id, starts),
            )
            connection.executemany(
                "INSERT INTO paused VALUES (?, ?) ON CONFLICT DO NOTHING",
                [(recipe, now) for recipe in paused],
            )
            connection.executemany(
                "INSERT INTO roots (name, path, marked_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [(name, path, now) for name, path in roots.items()],
            )
            dropped = 0
            if drops_words:
                sql = "DELETE FROM words WHERE word IN ('retry', 'cancel')"
                dropped = connection.execute(sql).rowcount
            for one in cases:
                _put_case(connection, one, now)
            connection.execute("UPDATE cases SET is_noted = 0 WHERE state = 'held'")
            connection.executemany(
                "UPDATE cases SET is_noted = 1 WHERE case_id = ? AND state <> 'held'",
                [(case_id,) for case_id in noted],
            )
        return dropped


def _put_case(connection: sqlite3.Connection, one: Rebuilt, now: str) -> None:
    """Write one case; its trail and its earlier jobs stay."""
    case_id = one.case.case_id
    connection.execute(
        "UPDATE events SET event = 'step.retry', outcome = 'interrupted' "
        "WHERE case_id = ? AND step IS NOT NULL AND outcome IS NULL",
        (case_id,),
    )
    case = _with_a_name(connection, one)
    values = _columns(case, one, now)
    names = ", ".join(values)
    marks = ", ".join("?" * len(values))
    changes = ", ".join(f"{name} = excluded.{name}" for name in values)
    connection.execute(
        f"INSERT INTO cases ({names}) VALUES ({marks}) "  # noqa: S608 - column names are ours
        f"ON CONFLICT (case_id) DO UPDATE SET {changes}",
        tuple(values.values()),
    )
    for table in ("inputs", "slices", "outputs"):
        connection.execute(f"DELETE FROM {table} WHERE case_id = ?", (case_id,))  # noqa: S608
    put_moves(connection, case_id, case.moves)
    put_inputs(connection, case_id, case.inputs)
    for entry in case.inputs:
        connection.execute(
            "UPDATE inputs SET sha256 = ?, notify_url = ?, is_uploaded = ? "
            "WHERE case_id = ? AND modality = ?",
            (entry.sha256, entry.notify_url, int(entry.uploaded), case_id, str(entry.modality)),
        )
    for entry in case.inputs:  # the schema wants all uploads before the first of these
        connection.execute(
            "UPDATE inputs SET notified = ? WHERE case_id = ? AND modality = ?",
            (str(entry.notified), case_id, str(entry.modality)),
        )
    for output in case.outputs:
        put_output(connection, case_id, output, output if output.file else None)
    if case.job_id is not None:
        connection.execute(
            "INSERT INTO jobs VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (job_id) DO UPDATE SET "
            "may_be_paid = max(may_be_paid, excluded.may_be_paid)",
            (case.job_id, case_id, case.generation, case.times["submitted"] or now, int(case.paid)),
        )
    elif case.paid:  # a submit that starts the Engine at once: that it was begun is known by this
        connection.execute(
            "INSERT INTO events (case_id, time, event, step, attempt, outcome) "
            "VALUES (?, ?, 'step.done', 'submitting', 1, 'interrupted')",
            (case_id, now),
        )
    _reserve_all(connection, case_id, (case.folder, *one.names))
    add_event(connection, case_id, now, "case.recovered", reason=one.reason)


def _with_a_name(connection: sqlite3.Connection, one: Rebuilt) -> Case:
    """Return the case with a folder name that no other case has."""

    def is_anothers(name: str) -> bool:
        rows = connection.execute("SELECT case_id FROM names WHERE name_key = ?", (name_key(name),))
        return any(row["case_id"] != one.case.case_id for row in rows.fetchall())

    case = one.case
    if case.folder and (case.state.is_at_rest or not is_anothers(case.folder)):
        return case
    return replace(case, folder=numbered(folder_name(case.case_name), is_anothers))


def _reserve_all(connection: sqlite3.Connection, case_id: str, names: Iterable[str]) -> None:
    connection.executemany(
        "INSERT INTO names (name_key, case_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(name_key(name), case_id) for name in names],
    )


def _columns(case: Case, one: Rebuilt, now: str) -> dict[str, object]:
    times = case.times
    counted = times["submitted"] or times["claimed"] or now
    return {
        "case_id": case.case_id,
        "case_name": case.case_name,
        "recipe": case.recipe,
        "state": str(case.state),
        "verdict": str(case.verdict) if case.verdict else None,
        "folder": case.folder,
        "content": case.content,
        "sight": case.sight,
        "job": json.dumps(case.job),
        "job_json": json.dumps(case.job_json),
        "engine_version": case.engine_version,
        "request_key": one.request_key,
        "sizes_key": sizes_key(case.inputs),
        "content_key": one.content_key,
        "job_id": case.job_id,
        "paid": int(case.paid),
        "generation": case.generation,
        "retries": case.retries,
        "is_rerun": int(case.is_rerun),
        "is_settling": int(case.is_settling),
        "publishing": 0,
        "is_noted": 0,
        "first_submit_at": counted if case.is_counted else None,
        "skipped": json.dumps(case.skipped),
        "doom": dump_problem(case.doom),
        "hold": dump_problem(case.hold),
        "hold_retries": case.hold_retries,
        "split_of": case.split_of,
        "late_for": case.late_for,
        "due_step": str(case.due_step) if case.due_step else None,
        "due_problem": dump_problem(case.due_problem),
        "problem": dump_problem(case.problem),
        "wait_reason": None,
        "tally": dump_tally(case.tally),
        "engine_result": json.dumps(case.engine_result) if case.engine_result else None,
        "result_status": case.result_status,
        "duplicate_of": case.duplicate_of,
        "outbox": case.outbox,
        "detected": times["detected"] or now,
        **{name: times[name] for name in ("claimed", "submitted", "uploaded")},
        **{name: times[name] for name in ("finished", "delivered")},
        "updated": now if case.state in FAILING else times["delivered"] or times["finished"] or now,
    }
