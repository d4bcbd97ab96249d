"""`status --watch`: how things stand, on one screen, again and again until Ctrl-C.

Every section has its heading on the screen, whatever its size; what is left of the rows is shared.
"""

from __future__ import annotations

import textwrap
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpe_watcher.app.commands import opened, text
from vpe_watcher.app.commands import status as plain
from vpe_watcher.app.result import Result
from vpe_watcher.core.errors import EnvironmentFault, UsageError, WatcherError
from vpe_watcher.core.printable import printable

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings
    from vpe_watcher.app.commands.status import Glance

EVERY_S = 1.0
BAR = 20
SAMPLES = 6
ALARM, CARE = "bold red", "bold yellow"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, and lines below it of which as many are shown as there is room.

    `total` counts what the lines stand for, one each; 0: they are words.
    """

    head: str
    body: tuple[str, ...] = ()
    total: int = 0
    style: str = ""


class Speeds:
    """How fast transfers are, in bytes a second, of what was shown in the last seconds."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], deque[tuple[float, int]]] = {}

    def take(self, transfers: Sequence[Row], now: float) -> dict[tuple[str, str], float]:
        """Note how far transfers are; return the speed of those that are known for a while."""
        keys = {(row["case_id"], row["direction"]): int(row["bytes"]) for row in transfers}
        self._seen = {key: self._seen.get(key, deque(maxlen=SAMPLES)) for key in keys}
        speeds = {}
        for key, done in keys.items():
            samples = self._seen[key]
            if samples and samples[-1][1] > done:
                samples.clear()  # it began anew
            samples.append((now, done))
            took_s = now - samples[0][0]
            if took_s > 0:
                speeds[key] = (done - samples[0][1]) / took_s
        return speeds


def watch(config: Path | None, *, as_json: bool) -> Result:
    """Show `status` live on the terminal until Ctrl-C. Prints by itself."""
    if as_json:
        raise UsageError("--watch is for people and --json for programs: choose one.", code="usage")
    settings = opened.state_of(config)
    with suppress(EnvironmentFault):
        plain.look(settings)  # the only time that folders are asked, which may hang
    with suppress(KeyboardInterrupt):
        _live(settings)
    return Result()


def _live(settings: Settings | opened.Remains) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console, speeds, never = Console(), Speeds(), threading.Event()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            columns, rows = console.size
            sections = _sections(settings, speeds, columns)
            lines = fitted(sections, columns, rows)
            shown = Text(no_wrap=True, overflow="crop")
            for number, (line, style) in enumerate(lines):
                shown.append(f"\n{line}" if number else line, style=style)
            live.update(shown, refresh=True)
            never.wait(EVERY_S)


def _sections(settings: Settings | opened.Remains, speeds: Speeds, columns: int) -> list[Section]:
    """Look now; a state file that cannot be read at the moment is no reason to end."""
    try:
        glance = plain.look(settings, asks_folders=False)
    except WatcherError as error:
        return [Section(f"error: {error.message}", _wrapped(columns, error.hint), style=ALARM)]
    shown = speeds.take(glance.transfers, time.monotonic())
    clock = time.strftime("%H:%M:%S")
    return list(sections_of(glance, columns, speeds=shown, clock=clock))


def sections_of(
    glance: Glance, columns: int, *, speeds: dict[tuple[str, str], float], clock: str
) -> Iterator[Section]:
    """Yield what is to be shown, what matters most first; `speeds` by case and direction."""
    yield _daemon(glance, columns, clock)
    for row in glance.paused:
        since = f" (since {text.moment(row['since'])})" if row["since"] else ""
        hint = f"hint: {row['hint']}" if row["hint"] else ""
        yield Section(
            f"paused: {row['name']}{since}", _wrapped(columns, row["reason"], hint), style=CARE
        )
    yield Section(plain.case_line(glance.data["cases"]), tuple(_transfers(glance, speeds)))
    for head, reason in glance.queued:
        yield Section(head, _wrapped(columns, reason))
    if glance.held:
        head = f"held, a person must decide (`vpe-watcher show CASE`): {len(glance.held)}"
        yield Section(head, tuple(_held(glance, columns)), len(glance.held), CARE)
    for words, reasons in plain.waiting(glance):
        head = f"{words} {text.count(len(reasons), 'reason')}"
        yield Section(head, tuple(_waits(reasons)), len(reasons))
    if head := plain.candidates_head(glance):
        yield Section(head, tuple(_candidates(glance, columns)), glance.total)
    for line in plain.root_lines(glance):
        yield Section(line)


def fitted(sections: Sequence[Section], columns: int, rows: int) -> list[tuple[str, str]]:
    """Return lines that fit the screen, each with its style; sections share it line by line."""
    shares = [0] * len(sections)
    room = rows - len(sections)
    while room > 0 and any(n < len(one.body) for n, one in zip(shares, sections, strict=True)):
        for number, section in enumerate(sections):
            if room > 0 and shares[number] < len(section.body):
                shares[number] += 1
                room -= 1
    lines: list[tuple[str, str]] = []
    for share, section in zip(shares, sections, strict=True):
        is_cut = section.total and share < section.total
        head = f"{section.head} ({share} shown)" if is_cut else section.head
        lines.append((_cut(printable(head), columns), section.style))
        lines += [(_cut(line, columns), "") for line in section.body[:share]]
    return lines[:rows]


def _daemon(glance: Glance, columns: int, clock: str) -> Section:
    daemon = glance.data["daemon"]
    if not daemon["running"]:
        return Section(_with_clock("daemon: not running", clock, columns), style=ALARM)
    since = f", since {text.moment(daemon['since'])}" if daemon["since"] else ""
    head = _with_clock(f"daemon: running, pid {daemon['pid']}{since}", clock, columns)
    error = daemon["config_error"]
    what = f"its configuration was changed, but not taken: {error}" if error else ""
    return Section(head, _wrapped(columns, what))


def _with_clock(head: str, clock: str, columns: int) -> str:
    """Put the time at the end of a line: a view that stands still is noticed by it."""
    return f"{head} {clock:>{max(0, columns - len(head) - 1)}}"


def _transfers(glance: Glance, speeds: dict[tuple[str, str], float]) -> Iterator[str]:
    for row in glance.transfers:
        done, total = int(row["bytes"]), row["total"]
        part = min(1.0, done / total) if total else 0.0
        bar = "#" * round(BAR * part)
        of_all = f"{part:4.0%} of {text.size(total)}" if total else text.size(done)
        speed = speeds.get((row["case_id"], row["direction"]))
        pace = f"{text.size(speed)}/s" if speed is not None else ""
        head = f"  {row['direction']:<8}  {row['case_id']}  [{bar:.<{BAR}}]"
        yield f"{head}  {of_all:<17}  {pace}".rstrip()


def _held(glance: Glance, columns: int) -> Iterator[str]:
    for row in glance.held:
        why = row["error"]["message"] if row["error"] else ""
        yield f"  {row['case_id']}  {_column(row['case_name'], columns)}  {printable(why)}"


def _waits(reasons: list[tuple[str, str, int]]) -> Iterator[str]:
    for reason, case_id, number in reasons:
        others = f" and {text.count(number - 1, 'other')}" if number > 1 else ""
        yield f"  {case_id}{others}: {printable(reason)}"


def _candidates(glance: Glance, columns: int) -> Iterator[str]:
    rows = glance.data["candidates"]
    width = max((len(row["state"]) for row in rows), default=0)
    for row in rows:
        name = _column(Path(row["path"]).name, columns)
        age = text.age(row["age_s"] or 0)
        yield f"  {row['state']:<{width}}  {age:>8}  {name}  {printable(row['reason'])}"


def _wrapped(columns: int, *texts: str | None) -> tuple[str, ...]:
    """Break words for people into lines below a heading."""
    return tuple(
        f"  {line}"
        for words in texts
        if words
        for line in textwrap.wrap(printable(words), max(columns - 2, 20))
    )


def _column(name: str, columns: int) -> str:
    """Return a name as wide as a third of the screen, in cells: some characters take two."""
    from rich.cells import set_cell_size

    width = max(columns // 3, 12)
    return set_cell_size(_cut(printable(name), width), width)


def _cut(line: str, columns: int) -> str:
    """Shorten a line to so many cells, and say so."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(line) <= columns:
        return line
    return f"{set_cell_size(line, columns - 1).rstrip()}…"
