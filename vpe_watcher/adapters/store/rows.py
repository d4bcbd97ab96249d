"""Rows to values and back. No statement here changes anything."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, TypeVar

from vpe_watcher.core.model import (
    Case,
    FailureClass,
    FileMark,
    Input,
    Modality,
    Move,
    Notified,
    Output,
    Problem,
    Slice,
    State,
    Tally,
)

Row = dict[str, Any]
Value = TypeVar("Value")
TIMES = ("detected", "claimed", "submitted", "uploaded", "finished", "delivered")


def load_case(connection: sqlite3.Connection, case_id: str) -> Case | None:
    """Read one case with its inputs, moves and outputs; None when there is no such row."""
    found = _rows(connection, "cases", case_id, "seq")
    if not found:
        return None
    row = found[0]
    return Case(
        case_id=row["case_id"],
        case_name=row["case_name"],
        recipe=row["recipe"],
        state=State(row["state"]),
        verdict=State(row["verdict"]) if row["verdict"] else None,
        folder=row["folder"],
        content=row["content"],
        sight=row["sight"],
        job=_job(row["job"]),
        job_json=_list(row["job_json"]),
        engine_version=row["engine_version"],
        job_id=row["job_id"],
        paid=bool(row["paid"]),
        is_counted=row["first_submit_at"] is not None,
        generation=row["generation"],
        retries=row["retries"],
        is_rerun=bool(row["is_rerun"]),
        is_settling=bool(row["is_settling"]),
        publishing=bool(row["publishing"]),
        skipped=_list(row["skipped"]),
        doom=load_problem(row["doom"]),
        hold=load_problem(row["hold"]),
        hold_retries=row["hold_retries"],
        split_of=row["split_of"],
        late_for=row["late_for"],
        due_step=State(row["due_step"]) if row["due_step"] else None,
        due_problem=load_problem(row["due_problem"]),
        problem=load_problem(row["problem"]),
        tally=_tally(row["tally"]),
        engine_result=json.loads(row["engine_result"]) if row["engine_result"] else None,
        result_status=row["result_status"],
        duplicate_of=row["duplicate_of"],
        outbox=row["outbox"],
        times={name: row[name] for name in TIMES},
        inputs=load_inputs(connection, case_id),
        moves=_values(_move, connection, "moves", case_id),
        outputs=_values(_output, connection, "outputs", case_id),
    )


def load_inputs(connection: sqlite3.Connection, case_id: str) -> tuple[Input, ...]:
    """Read the inputs of a case."""
    inputs = _values(_input, connection, "inputs", case_id, "modality")
    if not any(map(_is_series, inputs)):
        return inputs
    slices = tuple(map(_slice, _rows(connection, "slices", case_id, "position")))
    return tuple(replace(one, slices=slices) if _is_series(one) else one for one in inputs)


def _rows(connection: sqlite3.Connection, table: str, case_id: str, order: str) -> list[Row]:
    """Read what a table holds of a case, as dictionaries: in them a name is found at once."""
    sql = f"SELECT * FROM {table} WHERE case_id = ? ORDER BY {order}"  # noqa: S608 - our names
    found = connection.execute(sql, (case_id,)).fetchall()
    names = found[0].keys() if found else ()
    return [dict(zip(names, row, strict=True)) for row in found]


def _values(
    make: Callable[[tuple[str, ...], tuple[Any, ...]], Value],
    connection: sqlite3.Connection,
    table: str,
    case_id: str,
    order: str = "position",
) -> tuple[Value, ...]:
    """Make a value of each row that a table holds of a case; what a row says never changes."""
    sql = f"SELECT * FROM {table} WHERE case_id = ? ORDER BY {order}"  # noqa: S608 - our names
    found = connection.execute(sql, (case_id,)).fetchall()
    names = tuple(found[0].keys()) if found else ()
    return tuple(make(names, tuple(row)) for row in found)


def _mark(row: Row) -> FileMark:
    return FileMark(row["size"], row["mtime_ns"], row["ctime_ns"], row["inode"])


@lru_cache(maxsize=256)
def _move(names: tuple[str, ...], values: tuple[Any, ...]) -> Move:
    row = dict(zip(names, values, strict=True))
    return Move(row["source"], row["target"])


def _slice(row: Row) -> Slice:
    return Slice(row["name"], _mark(row), row["sop_instance_uid"], row["sha256"], row["owner"])


def _is_series(one: Input) -> bool:
    """Tell whether an input has slices; those of a case all belong to its one series."""
    return one.extension == ".zip" and bool(one.series_uid)


@lru_cache(maxsize=256)
def _input(names: tuple[str, ...], values: tuple[Any, ...]) -> Input:
    row = dict(zip(names, values, strict=True))
    return Input(
        modality=Modality(row["modality"]),
        name=row["name"],
        extension=row["extension"],
        mark=_mark(row),
        sha256=row["sha256"],
        download_url=row["download_url"],
        upload_url=row["upload_url"],
        notify_url=row["notify_url"],
        uploaded=bool(row["is_uploaded"]),
        notified=Notified(row["notified"]),
        series_uid=row["series_uid"],
    )


@lru_cache(maxsize=256)
def _output(names: tuple[str, ...], values: tuple[Any, ...]) -> Output:
    row = dict(zip(names, values, strict=True))
    return Output(
        position=row["position"],
        kind=row["kind"],
        structures=tuple(json.loads(row["structures"])),
        extension=row["extension"],
        status=row["status"],
        announced_size=row["announced_size"],
        url=row["url"],
        file=row["file"],
        size=row["size"],
        sha256=row["sha256"],
    )


@lru_cache(maxsize=64)
def _job(text: str) -> dict[str, Any]:
    """Read a job, which nobody changes: the same cases are read again and again.

    What the Engine answered is not kept so: one may have many megabytes.
    """
    found: dict[str, Any] = json.loads(text)
    return found


@lru_cache(maxsize=64)
def _list(text: str) -> tuple[Any, ...]:
    return tuple(json.loads(text))


@lru_cache(maxsize=64)
def _tally(text: str) -> Tally:
    return Tally(**json.loads(text))


@lru_cache(maxsize=64)
def load_problem(text: str | None) -> Problem | None:
    """Read a problem from its column."""
    if text is None:
        return None
    fields: dict[str, Any] = json.loads(text)
    return Problem(FailureClass(fields["class"]), fields["code"], fields["message"], fields["hint"])


def dump_problem(problem: Problem | None) -> str | None:
    """Write a problem as its column, in the shape that commands show."""
    return None if problem is None else json.dumps(problem_row(problem))


def problem_row(problem: Problem) -> dict[str, str]:
    """Return a problem as the contract's `error` object."""
    return {
        "class": str(problem.failure_class),
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
    }


@lru_cache(maxsize=64)
def dump_tally(tally: Tally) -> str:
    """Write a tally as its column."""
    return json.dumps({one.name: getattr(tally, one.name) for one in fields(tally)})


def mark_columns(mark: FileMark) -> tuple[int, int, int, int]:
    """Return a mark as the four columns size, mtime_ns, ctime_ns, inode."""
    return mark.size, mark.mtime_ns, mark.ctime_ns, mark.inode
