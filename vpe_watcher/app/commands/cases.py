"""`cases` and `show`: what the state file says of cases. Changes nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpe_watcher.app.commands import opened, queued, text
from vpe_watcher.app.result import Result
from vpe_watcher.core.errors import UsageError
from vpe_watcher.core.model import Case, State
from vpe_watcher.core.moments import iso

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings
    from vpe_watcher.adapters.store import Pruned, Queries

CASES_SCHEMA = "vpe-watcher/cases/1"
CASE_SCHEMA = "vpe-watcher/case/1"
AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
ROW = (
    *("case_id", "case_name", "recipe", "state", "job_id"),
    *("detected", "updated", "outbox", "error"),
)
IN_CLAIM = ("claim_gone", "wishes_gone")  # a person is to put something into the claim folder
UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def cases(
    config: Path | None, *, state: str | None, recipe: str | None, since: str | None
) -> Result:
    """List the cases, newest first."""
    wanted = None if state is None else _state(state)
    start = None if since is None else parse_since(since, now=time.time)
    settings = opened.settings_of(config)
    with opened.reading(settings) as queries:
        rows = queries.cases(state=wanted, recipe=recipe, since=start) if queries else []
        doubt = opened.doubt(settings, queries)
    messages = (*doubt, *(() if rows else ("No case fits.",)))
    data = {"schema": CASES_SCHEMA, "cases": [_shown(row) for row in rows]}
    return Result(data=data, lines=tuple(_list_lines(rows)), messages=messages)


def show(config: Path | None, word: str) -> Result:
    """Show one case with its inputs, outputs and every step."""
    settings = opened.settings_of(config)
    with opened.reading(settings) as queries:
        case = opened.case_of(queries, word)
        # case_of has refused where there is no state file
        row = queries.case_row(case.case_id) if queries else {}
        events = queries.events(case.case_id) if queries else []
        pruned = queries.pruned(case.case_id) if queries else None
        snapshot = queries.snapshot() if queries else {}
        claim = _claim_folder(case, settings, queries)
        doubt = opened.doubt(settings, queries)
    is_running = opened.daemon_pid(settings) is not None
    row["wait_reason"] = row.get("wait_reason") or queued.reason_of(
        case, snapshot, settings, is_running=is_running
    )
    below = {"inputs": _inputs(case), "outputs": _outputs(case), "events": events}
    lines = _summary(row, case, pruned, claim) + _file_lines(case) + _event_lines(events)
    data = {"schema": CASE_SCHEMA, **_shown(row), **below}
    return Result(data=data, lines=tuple(lines), messages=doubt)


def parse_since(words: str, *, now: Callable[[], float]) -> str:
    """Return the moment that `2d`, `3h`, a date or a time (local unless it says) stands for.

    Raises `UsageError`.
    """
    age = AGE.fullmatch(words.strip().lower())
    try:
        if age:
            return iso(now() - float(age[1]) * UNITS_S[age[2]])
        return iso(datetime.fromisoformat(words.strip()).timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"--since: {words!r} is neither a moment nor an age.",
            code="usage",
            hint="For example 2026-11-20, 2026-11-20T14:30, 2d, 3h, 45m.",
        ) from error


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the contract's keys alone."""
    return {key: row[key] for key in ROW}


def _state(word: str) -> str:
    try:
        return str(State(word.lower()))
    except ValueError as error:
        raise UsageError(
            f"--state: there is no state {word!r}.",
            code="usage",
            hint=f"One of {', '.join(State)}.",
        ) from error


def _inputs(case: Case) -> list[dict[str, Any]]:
    return [
        {
            "modality": str(entry.modality),
            "name": entry.name,
            "extension": entry.extension,
            "size": entry.mark.size,
            "sha256": entry.sha256,
        }
        for entry in case.inputs
    ]


def _outputs(case: Case) -> list[dict[str, Any]]:
    return [
        {
            "kind": output.kind,
            "structures": list(output.structures),
            "extension": output.extension,
            "status": output.status,
            "file": output.file,
            "size": output.size,
            "sha256": output.sha256,
        }
        for output in case.outputs
    ]


def _list_lines(rows: list[dict[str, Any]]) -> list[str]:
    head = ("CASE", "STATE", "RECIPE", "DETECTED", "NAME")
    body = [
        (
            row["case_id"],
            row["state"],
            row["recipe"],
            text.moment(row["detected"]),
            row["case_name"],
        )
        for row in rows
    ]
    return text.table([head, *body], indent=0) if body else []


def _claim_folder(case: Case, settings: Settings, queries: Queries | None) -> str:
    """Return where a person has to put back what is gone from a claim; "" for other cases."""
    is_gone = case.problem is not None and case.problem.code in IN_CLAIM
    if not is_gone or queries is None or case.recipe not in settings.recipes:
        return ""
    return str(opened.places_of(settings, queries).content(case))


def _summary(
    row: dict[str, Any], case: Case, pruned: Pruned | None, claim_folder: str
) -> list[str]:
    facts = [
        ("case", case.case_id),
        ("name", case.case_name),
        ("recipe", case.recipe),
        ("state", str(case.state)),
        ("job", case.job_id or "-"),
        ("detected", text.moment(row["detected"])),
        ("updated", text.moment(row["updated"])),
        ("outbox", row["outbox"] or "-"),
        ("attempts", str(case.attempts)),
    ]
    facts += [("duplicate of", case.duplicate_of)] if case.duplicate_of else []
    facts += [("waits", row["wait_reason"])] if row.get("wait_reason") else []
    if pruned:
        why = f" ({pruned.reason})" if pruned.reason else ""
        facts += [("input", f"removed {text.moment(pruned.time)}{why}")]
    error = row["error"]
    if error:
        facts += [("error", f"{error['message']} ({error['class']}, {error['code']})")]
        facts += [("hint", error["hint"])] if error["hint"] else []
        facts += [("claim folder", claim_folder)] if claim_folder else []
    return text.table([(f"{name}:", value) for name, value in facts], indent=0)


def _file_lines(case: Case) -> list[str]:
    inputs = [(str(e.modality), text.size(e.mark.size), e.name) for e in case.inputs]
    outputs = [
        ("+".join(o.structures) or o.kind, o.status, text.size(o.size or 0), o.file or "-")
        for o in case.outputs
    ]
    lines = ["inputs:", *text.table(inputs)] if inputs else []
    return lines + (["outputs:", *text.table(outputs)] if outputs else [])


def _event_lines(events: list[dict[str, Any]]) -> list[str]:
    lines = ["steps:"]
    for event in events:
        step = f" {event['step']}" if event["step"] else ""
        attempt = f" #{event['attempt']}" if (event["attempt"] or 0) > 1 else ""
        outcome = f": {event['outcome']}" if event["outcome"] else ""
        took = f" in {text.age(event['duration_s'])}" if event["duration_s"] else ""
        lines.append(
            f"  {text.moment(event['time'])}  {event['event']}{step}{attempt}{outcome}{took}"
        )
        lines += [f"      {event['reason']}"] if event["reason"] else []
    return lines
