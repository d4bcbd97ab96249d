"""A case as the JSON that our folders hold of it, and back: what `recover` builds rows from.

A claim's evidence holds all of a row but what the Engine's answers can tell again; the record of a
case at rest holds what its document does not say. URLs that are secrets are in neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vpe_watcher.core.keys import content_key, request_key
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
)
from vpe_watcher.core.wire import Json, input_rows, without_urls

RECORD, PARTS = "record", "parts"
TIMES = ("detected", "claimed", "submitted", "uploaded", "finished", "delivered")
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A case as a record tells of it, with the keys under which duplicates are found.

    `series` are the inputs of a case at rest that are series, also where their UIDs are left out.
    """

    case: Case
    request_key: str
    content_key: str | None
    series: frozenset[str] = frozenset()


# --- of a claim ----------------------------------------------------------------------------------


def claim_record(case: Case) -> Json:
    """Return what the evidence of a claim holds of its case."""
    return {
        "case_name": case.case_name,
        "folder": case.folder,
        "content": case.content,
        "sight": case.sight,
        "job": without_urls(case.job),
        "job_json": _without_urls(case.job_json),
        "engine_version": case.engine_version,
        "request_key": request_key(case.job, case.engine_version),
        "generation": case.generation,
        "retries": case.retries,
        "is_rerun": case.is_rerun,
        "is_counted": case.is_counted,
        "skipped": [dict(entry) for entry in case.skipped],
        "doom": _problem_row(case.doom),
        "hold": _problem_row(case.hold),
        "hold_retries": case.hold_retries,
        "split_of": case.split_of,
        "late_for": case.late_for,
        "times": dict(case.times),
        "moves": [[move.source, move.target] for move in case.moves],
        "inputs": [_input_row(entry) for entry in case.inputs],
    }


def claimed_case(case_id: str, recipe: str, record: Mapping[str, Any]) -> Recorded:
    """Return the case of a claim's evidence, in `claiming` and unpaid.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, IndexError: it is no such record.
    """
    case = Case(
        case_id=case_id,
        recipe=recipe,
        state=State.CLAIMING,
        case_name=str(record["case_name"]),
        folder=str(record["folder"]),
        content=str(record["content"]),
        sight=str(record["sight"]),
        job=dict(record["job"]),
        job_json=tuple(map(str, record["job_json"])),
        engine_version=str(record["engine_version"]),
        generation=int(record["generation"]),
        retries=int(record["retries"]),
        is_rerun=bool(record["is_rerun"]),
        is_counted=bool(record["is_counted"]),
        skipped=tuple(dict(entry) for entry in record["skipped"]),
        doom=_problem(record["doom"]),
        hold=_problem(record["hold"]),
        hold_retries=int(record["hold_retries"]),
        split_of=str(record["split_of"]),
        late_for=str(record["late_for"]),
        times=_times(record["times"]),
        moves=tuple(Move(str(source), str(target)) for source, target in record["moves"]),
        inputs=tuple(map(_input, record["inputs"])),
    )
    return Recorded(case, str(record["request_key"]), content_key(case.inputs) or None)


def _without_urls(job_json: tuple[str, ...]) -> list[str]:
    """Leave out what a `job.json` says with a URL in it: without it, it would say another thing."""
    return [one for one in job_json if without_urls(one) == one]


def _input_row(entry: Input) -> Json:
    return {
        "modality": str(entry.modality),
        "name": entry.name,
        "extension": entry.extension,
        "mark": _mark_row(entry.mark),
        "sha256": entry.sha256,
        "notify_url": entry.notify_url,
        "uploaded": entry.uploaded,
        "notified": str(entry.notified),
        "series_uid": entry.series_uid,
        "slices": [
            [one.name, one.sop_instance_uid, _mark_row(one.mark), one.sha256, one.owner]
            for one in entry.slices
        ],
    }


def _input(row: Mapping[str, Any]) -> Input:
    return Input(
        modality=Modality(row["modality"]),
        name=str(row["name"]),
        extension=str(row["extension"]),
        mark=_mark(row["mark"]),
        sha256=_text(row["sha256"]),
        notify_url=_text(row["notify_url"]),
        uploaded=bool(row["uploaded"]),
        notified=Notified(row["notified"]),
        series_uid=str(row["series_uid"]),
        slices=tuple(
            Slice(str(name), _mark(mark), str(uid), _text(sha256), str(owner))
            for name, uid, mark, sha256, owner in row["slices"]
        ),
    )


def _mark_row(mark: FileMark) -> list[int]:
    return [mark.size, mark.mtime_ns, mark.ctime_ns, mark.inode]


def _mark(row: Any) -> FileMark:
    size, mtime_ns, ctime_ns, inode = map(int, row)
    return FileMark(size, mtime_ns, ctime_ns, inode)


def _problem_row(problem: Problem | None) -> Json | None:
    if problem is None:
        return None
    fields = ("code", "message", "hint")
    return {"class": str(problem.failure_class)} | {name: getattr(problem, name) for name in fields}


def _problem(row: Mapping[str, Any] | None) -> Problem | None:
    if row is None:
        return None
    return Problem(
        FailureClass(row["class"]), str(row["code"]), str(row["message"]), str(row["hint"])
    )


def _times(row: Mapping[str, Any]) -> dict[str, str | None]:
    return {name: _text(row.get(name)) for name in TIMES}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


# --- of a case at rest ---------------------------------------------------------------------------


def rest_record(case: Case, *, names_series: bool) -> Json:
    """Return what `recover` is to know beside what `result.json` or `error.json` says.

    `attempts` tells to which ending of the case it belongs; `names_series` false leaves out the
    UIDs of series.
    """
    series = {str(one.modality): one.series_uid for one in case.inputs if one.series_uid}
    return {
        "attempts": case.attempts,
        "recipe": case.recipe,
        "inputs": input_rows(case),
        "skipped": [dict(entry) for entry in case.skipped],
        "times": dict(case.times),
        "request_key": request_key(case.job, case.engine_version),
        "content_key": content_key(case.inputs),
        "engine_version": case.engine_version,
        "job": without_urls(case.job),
        "job_json": _without_urls(case.job_json),
        "content": case.content,
        "sight": case.sight[:2],
        "generation": case.generation,
        "is_rerun": case.is_rerun,
        "is_counted": case.is_counted,
        "may_be_paid": case.paid,
        "split_of": case.split_of,
        "late_for": case.late_for,
        "series": series if names_series else dict.fromkeys(series, ""),
    }


def rested_case(document: Mapping[str, Any], record: Mapping[str, Any], *, folder: str) -> Recorded:
    """Return the case of a `result.json` or `error.json` in the folder of this name.

    `record` is what else is known of it: {} when that is lost, or stands in a document of an
    earlier version. Without any the content is told by the digests of the inputs, as far as the
    document names them, the request is not known (""), nor is the recipe of an `error.json`, and
    what cannot be known for unpaid is paid.
    The marks of its inputs hold their sizes alone.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, IndexError: they make no sense.
    """
    told = {**record, **document, **(document.get(RECORD) or {})}
    series = dict(told.get("series") or {})
    inputs = tuple(_rested_input(row, series) for row in told.get("inputs") or ())
    is_error = "result" not in str(told["schema"])
    state = _state_of(told, is_error=is_error)
    engine = told.get("engine") or {}
    job_id = _text(told["job_id"] if is_error else engine.get("job_id"))
    may_be_paid = job_id is not None or state is State.CANCELLED  # held as unknown before, perhaps
    case = Case(
        case_id=str(told["case_id"]),
        case_name=str(told["case_name"]),
        recipe=str(told.get("recipe") or ""),
        state=state,
        folder=folder,
        content=str(told.get("content", "")),
        sight=str(told.get("sight", "n:")),
        job=dict(told.get("job") or {}),
        job_json=tuple(map(str, told.get("job_json") or ())),
        engine_version=str(told.get("engine_version") or engine.get("version") or ""),
        job_id=job_id,
        paid=bool(told.get("may_be_paid", may_be_paid)) or bool(job_id and not is_error),
        generation=int(told.get("generation", 1)),
        retries=int(told["attempts"]) - 1,
        is_rerun=bool(told.get("is_rerun")),
        is_counted=bool(told.get("is_counted", job_id is not None)),
        split_of=str(told.get("split_of", "")),
        late_for=str(told.get("late_for", "")),
        skipped=tuple(dict(entry) for entry in told.get("skipped") or ()),
        times=_times(told.get("times") or {}),
        problem=_problem(told) if is_error else None,
        inputs=inputs,
        moves=(),
        outputs=tuple(_outputs(told.get("outputs") or ())),
        result_status="complete" if is_error else str(told["status"]),
        engine_result=told.get("engine_result"),
        duplicate_of=_text(told.get("duplicate_of")),
    )
    known = told.get("content_key") or ("" if series else content_key(inputs))
    return Recorded(case, str(told.get("request_key", "")), known or None, frozenset(series))


def _state_of(document: Mapping[str, Any], *, is_error: bool) -> State:
    if is_error:
        is_cancelled = document["class"] == FailureClass.CANCELLED
        return State.CANCELLED if is_cancelled else State.FAILED
    return {
        "complete": State.DONE,
        "partial": State.PARTIAL,
        "duplicate": State.DUPLICATE,
    }[document["status"]]


def _rested_input(row: Mapping[str, Any], series: Mapping[str, Any]) -> Input:
    modality = Modality(row["modality"])
    return Input(
        modality=modality,
        name=str(row["name"]),
        extension=str(row["extension"]),
        mark=FileMark(int(row["size"]), 0, 0, 0),
        sha256=_text(row["sha256"]),
        series_uid=str(series.get(str(modality), "")),
    )


def _outputs(rows: Any) -> list[Output]:
    return [
        Output(
            position=position,
            kind=str(row["kind"]),
            structures=tuple(map(str, row["structures"])),
            extension=str(row["extension"]),
            status=str(row["status"]),
            announced_size=row["size"],
            file=_text(row["file"]),
            size=row["size"] if row["file"] else None,
            sha256=_text(row["sha256"]),
        )
        for position, row in enumerate(rows)
    ]
