"""`status`: the daemon, what waits, what rests, what is out of order.

Reads what the daemon last showed of its memory; never disturbs it.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpe_watcher import __version__
from vpe_watcher.app.commands import opened, text
from vpe_watcher.app.result import Result
from vpe_watcher.core.errors import UsageError
from vpe_watcher.core.model import State
from vpe_watcher.core.printable import printable

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings

SCHEMA = "vpe-watcher/status/1"
CANDIDATE = ("path", "recipe", "state", "reason", "age_s")
BREAKER = ("name", "open", "since", "reason", "hint")
AT_MOST_LISTED = 20
WATCH_EVERY_S = 1.0
WELL = ("is a local file system", "as configured")  # how an inbox is watched that needs no word


def status(config: Path | None) -> Result:
    """Answer how things stand, with or without a daemon."""
    settings = opened.settings_of(config)
    data, notes, total, roots = _look(settings)
    lines = _lines(data, notes, total, roots)
    if not settings.state_file.exists():
        lines.append(
            f"state file: none yet at {settings.state_file} (`vpe-watcher run` makes it; if there "
            "was one, see `vpe-watcher recover`)"
        )
    return Result(data=data, lines=tuple(lines))


def watch(config: Path | None, *, as_json: bool) -> Result:
    """Show `status` live on the terminal until Ctrl-C. Prints by itself."""
    if as_json:
        raise UsageError("--watch is for people and --json for programs: choose one.", code="usage")
    settings = opened.settings_of(config)
    with suppress(KeyboardInterrupt):
        _live(config, settings)
    return Result()


def transfers_of(snapshot: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the uploads and downloads that the daemon last showed."""
    return list(snapshot.get("transfers") or ())


def _live(config: Path | None, settings: Settings) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from vpe_watcher.app.progress import TransferBars

    bars = TransferBars(Console())
    never = threading.Event()
    with Live(console=bars.console, auto_refresh=False, screen=bars.console.is_terminal) as live:
        while True:
            lines = (printable(line) for line in status(config).lines)
            bars.show(_transfers(settings))
            live.update(Group(Text("\n".join(lines)), bars.progress), refresh=True)
            never.wait(WATCH_EVERY_S)


def _transfers(settings: Settings) -> list[dict[str, Any]]:
    if opened.daemon_pid(settings) is None:
        return []
    with opened.reading(settings) as queries:
        return transfers_of(queries.snapshot()) if queries else []


def _look(
    settings: Settings,
) -> tuple[dict[str, Any], list[str], int, list[dict[str, Any]]]:
    """Return the contract's object, words on some cases, the number of candidates, the roots."""
    pid = opened.daemon_pid(settings)
    with opened.reading(settings) as queries:
        counts = queries.counts() if queries else {str(state): 0 for state in State}
        snapshot = queries.snapshot() if queries else {}
        held = queries.cases(state=State.HELD) if queries else []
        reasons = queries.wait_reasons(State.CLAIMING) if queries else []
    candidates = [_only(row, CANDIDATE) for row in snapshot.get("candidates") or ()]
    breakers = [_only(row, BREAKER) for row in snapshot.get("breakers") or ()]
    shown = breakers if pid is not None else []
    data = {
        "schema": SCHEMA,
        "daemon": _daemon(snapshot, pid),
        "cases": counts,
        "candidates": candidates,
        "breakers": shown,
    }
    total = max(int(snapshot.get("candidates_total") or 0), len(candidates))
    roots = list(snapshot.get("roots") or ())
    receiver = snapshot.get("receiver") or {}
    if receiver.get("reason"):
        roots.append({**receiver, "name": receiver["listen"], "watch": "receiver"})
    told = {breaker["reason"] for breaker in shown}
    notes = _held_lines(held) + _claiming_lines([one for one in reasons if one[0] not in told])
    return data, notes, total, roots


def _daemon(snapshot: dict[str, Any], pid: int | None) -> dict[str, Any]:
    is_running = pid is not None
    return {
        "running": is_running,
        "pid": pid,
        "since": snapshot.get("since") if is_running else None,
        "version": (snapshot.get("version") if is_running else None) or __version__,
        "config_error": snapshot.get("config_error") if is_running else None,
    }


def _only(row: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: row.get(key) for key in keys}


def _lines(
    data: dict[str, Any], notes: list[str], total: int, roots: list[dict[str, Any]]
) -> list[str]:
    daemon = data["daemon"]
    lines = _daemon_lines(daemon)
    lines += _breaker_lines(data["breakers"])
    lines += _case_lines(data["cases"])
    lines += notes
    lines += _candidate_lines(data["candidates"], total, is_fresh=daemon["running"])
    return lines + (_root_lines(roots) if daemon["running"] else [])


def _daemon_lines(daemon: dict[str, Any]) -> list[str]:
    if not daemon["running"]:
        return ["daemon: not running (start it: `vpe-watcher run`)"]
    since = f", since {text.moment(daemon['since'])}" if daemon["since"] else ""
    lines = [f"daemon: running, pid {daemon['pid']}{since}, version {daemon['version']}"]
    if daemon["config_error"]:
        lines.append(f"  its configuration was changed, but not taken: {daemon['config_error']}")
    return lines


def _breaker_lines(breakers: list[dict[str, Any]]) -> list[str]:
    lines = []
    for breaker in breakers:
        if not breaker["open"]:
            continue
        since = f" (since {text.moment(breaker['since'])})" if breaker["since"] else ""
        lines.append(f"paused: {breaker['name']}{since}")
        lines += [f"  {breaker['reason']}"] if breaker["reason"] else []
        lines += [f"  hint: {breaker['hint']}"] if breaker["hint"] else []
    return lines


def _case_lines(counts: dict[str, int]) -> list[str]:
    shown = [f"{number} {state}" for state, number in counts.items() if number]
    return [f"cases: {', '.join(shown) if shown else 'none yet'}"]


def _held_lines(held: list[dict[str, Any]]) -> list[str]:
    lines = ["held, a person must decide (`vpe-watcher show CASE`):"] if held else []
    for row in held[:AT_MOST_LISTED]:
        lines.append(f"  {row['case_id']}  {row['case_name']}")
        lines += [f"    {row['error']['message']}"] if row["error"] else []
    return lines + _and_more(len(held))


def _claiming_lines(reasons: list[tuple[str, str, int]]) -> list[str]:
    """Tell why cases do not get beyond `claiming`: each reason once, with the oldest case."""
    lines = ["claiming, and not yet sent because:"] if reasons else []
    for reason, case_id, number in reasons[:AT_MOST_LISTED]:
        others = f" and {text.count(number - 1, 'other')}" if number > 1 else ""
        lines += [f"  {case_id}{others}", f"    {reason}"]
    return lines + _and_more(len(reasons))


def _candidate_lines(candidates: list[dict[str, Any]], total: int, *, is_fresh: bool) -> list[str]:
    if not candidates:
        return ["inbox: nothing waits"] if is_fresh else []
    when = "" if is_fresh else " when the daemon last looked"
    lines = [f"inbox: {text.count(total, 'candidate')} not taken yet{when}"]
    for row in candidates[:AT_MOST_LISTED]:
        lines.append(f"  {row['path']}")
        lines.append(f"    {row['state']}, {text.age(row['age_s'] or 0)}: {row['reason']}")
    return lines + _and_more(total)


def _root_lines(roots: list[dict[str, Any]]) -> list[str]:
    """Tell of the inboxes that are not simply watched by events, and why."""
    how = {
        "poll": "by looking again and again",
        "none": "not now",
        "events": "by events",
    }
    lines = []
    for root in roots:
        reason = root.get("reason") or ""
        watch = root.get("watch", "")
        if watch == "receiver":
            lines.append(f"receiving: not at {root['name']} ({reason})")
        elif reason and not reason.endswith(WELL):
            lines.append(f"watching: {root['name']} {how.get(watch, 'not now')} ({reason})")
    return lines


def _and_more(total: int) -> list[str]:
    return [f"  … and {total - AT_MOST_LISTED} more"] if total > AT_MOST_LISTED else []
