"""The one place that prints a command's answer: data to stdout, everything else to stderr.

Owns how an error becomes an exit code, when there is colour, and that no file name commands a
terminal, be it behind a pipe. Never decides what is said.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import Any, TextIO

from vpe_watcher.app.result import Result, errors_object, failure
from vpe_watcher.core.errors import WatcherError
from vpe_watcher.core.printable import printable

NARROW = 40  # columns: less is nothing that a line could be fitted into
BEGIN = re.compile(r"\s*(?:[a-z][a-z ]{0,12}:\s+)?")
COLOURS = {"error": "31", "warning": "33", "ok": "32", "hint": "36"}


def answer(command: Callable[[], Result], *, as_json: bool = False) -> int:
    """Run a command, print what it answers and return the exit code."""
    try:
        result = command()
    except WatcherError as error:
        result = failure(error)
    show(result, as_json=as_json)
    return result.exit_code


def show(result: Result, *, as_json: bool = False) -> None:
    """Print a result for people, or as one JSON object."""
    if as_json:
        _print_json(result)
    else:
        for line in result.lines:
            for part in _fitted(printable(line), sys.stdout):
                _print(part, sys.stdout)
    for message in result.messages:
        say(message)
    if as_json and result.errors:
        return
    for entry in result.errors:
        say(f"error: {entry.message}")
        if entry.hint:
            say(f"hint: {entry.hint}")


def say(message: str) -> None:
    """Print a sentence for people to stderr, now."""
    _print(message, sys.stderr)


def is_watched() -> bool:
    """Tell whether a person looks at stderr, so that a live view has somebody to look at it."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def can_ask() -> bool:
    """Tell whether there is a person to ask: both what is read and what is shown is a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def has_colour(stream: TextIO) -> bool:
    """Tell whether a stream gets colours: a terminal that can, and nobody who said NO_COLOR."""
    is_unwanted = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not is_unwanted


def _fitted(line: str, stream: TextIO) -> list[str]:
    """Break a line between words where a terminal would break it anywhere; a path alone stays.

    What follows stands below the value of a `name: value`, else below the line's first word.
    """
    columns = shutil.get_terminal_size().columns if stream.isatty() else 0
    if len(line) <= columns or columns < NARROW or line.lstrip().startswith("/"):
        return [line]
    begin = BEGIN.match(line)
    return textwrap.wrap(
        line,
        columns,
        subsequent_indent=" " * (begin.end() if begin else 0),
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


def _print(line: str, stream: TextIO) -> None:
    line = printable(line)
    if has_colour(stream):
        line = _coloured(line)
    print(line, file=stream, flush=True)


def _coloured(line: str) -> str:
    word, colon, rest = line.partition(":")
    colour = COLOURS.get(word.strip())
    return f"\x1b[{colour}m{word}{colon}\x1b[0m{rest}" if colon and colour else line


def _print_json(result: Result) -> None:
    body: dict[str, Any] | None = errors_object(result.errors) if result.errors else result.data
    if body is not None:
        print(json.dumps(body, indent=2), flush=True)  # noqa: T201 - the one place that prints
