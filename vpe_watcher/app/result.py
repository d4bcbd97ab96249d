"""What a command answers, as a value. Owns its form; never prints it (see `render`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vpe_watcher.core.errors import WatcherError

EXIT_NO = 1
ERRORS_SCHEMA = "vpe-watcher/errors/1"


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """Why the answer is "no": a stable word for programs, a sentence, what to do about it."""

    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """An answer: `data` for `--json`, `lines` for people on stdout, `messages` for stderr.

    With `errors` the exit code is never 0; with `--json` they are then all of stdout.
    """

    data: dict[str, Any] | None = None
    lines: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    errors: tuple[ErrorEntry, ...] = ()
    exit_code: int = 0


def refused(*errors: ErrorEntry, lines: tuple[str, ...] = ()) -> Result:
    """Return the answer "no" with its reasons."""
    return Result(lines=lines, errors=errors, exit_code=EXIT_NO)


def failure(error: WatcherError) -> Result:
    """Return what a raised error answers; mistakes in the configuration come one by one."""
    problems = getattr(error, "problems", None) or (error,)
    entries = tuple(ErrorEntry(found.code, found.message, found.hint) for found in problems)
    return Result(errors=entries, exit_code=error.exit_code)


def errors_object(errors: tuple[ErrorEntry, ...]) -> dict[str, Any]:
    """Return errors in the shape of the contract."""
    rows = [{"code": entry.code, "message": entry.message, "hint": entry.hint} for entry in errors]
    return {"schema": ERRORS_SCHEMA, "errors": rows}
