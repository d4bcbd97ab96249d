"""`status`: the daemon, what waits, what rests, what is out of order.

Reads what the daemon last showed of its memory; never disturbs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpe_watcher import __version__
from vpe_watcher.app.commands import opened, queued, text, told
from vpe_watcher.app.result import Result
from vpe_watcher.core.model import State

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings

SCHEMA = "vpe-watcher/status/1"
CANDIDATE = ("path", "recipe", "state", "reason", "age_s")
BREAKER = ("name", "open", "since", "reason", "hint")
AT_MOST_LISTED = 20
WELL = ("is a local file system", "as configured")  # how an inbox is watched that needs no word


@dataclass(frozen=True, slots=True)
class Glance:
    """How things stand: the contract's object, and what people are told beside it.

    `reasons` are those for which cases wait, by state, each with the oldest case and a count: of
    `claiming` and `archiving`, and where no daemon runs of all states under way.
    `total` counts the candidates, of which the object holds the first.
    """

    data: dict[str, Any]
    held: list[dict[str, Any]]
    reasons: dict[State, list[tuple[str, str, int]]]
    total: int
    roots: list[dict[str, Any]]
    transfers: list[dict[str, Any]]
    queued: list[tuple[str, str]]  # who waits with which nothing is wrong, and why, in words
    doubt: tuple[str, ...]  # why no daemon would start on this state file
    as_of: str = ""  # when what the daemon knows could be recorded last; "" = just now

    @property
    def is_running(self) -> bool:
        """Tell whether a daemon runs."""
        return bool(self.data["daemon"]["running"])

    @property
    def paused(self) -> list[dict[str, Any]]:
        """Return the breakers that are open."""
        return [one for one in self.data["breakers"] if one["open"]]


def status(config: Path | None) -> Result:
    """Answer how things stand, with or without a daemon."""
    settings = opened.state_of(config)
    glance = look(settings)
    lines = _lines(glance)
    if not settings.state_file.exists():
        lines.append(
            f"state file: none yet at {settings.state_file} (`vpe-watcher run` makes it; if there "
            "was one, see `vpe-watcher recover`)"
        )
    messages = _warnings(settings) if isinstance(settings, opened.Remains) else glance.doubt
    return Result(data=glance.data, lines=tuple(lines), messages=messages)


def _warnings(remains: opened.Remains) -> tuple[str, ...]:
    """Tell the mistake, and whose daemon is shown: where that was guessed it may be another's."""
    mistake = remains.mistake
    hint = (f"  hint: {mistake.hint}",) if mistake.hint else ()
    shown = f"  shown is the daemon of the state file {remains.state_file}"
    return (f"The configuration could not be read now: {mistake.message}", *hint, shown)


def look(settings: Settings | opened.Remains, *, asks_folders: bool = True) -> Glance:
    """Look at the state file and the lock; at the folders only where there is no state file."""
    pid = opened.daemon_pid(settings)
    under_way = tuple(state for state in State if not state.is_at_rest)
    # Why cases wait between these two a daemon shows by itself.
    asked = under_way if pid is None else (State.CLAIMING, State.ARCHIVING)
    with opened.reading(settings, asks_folders=asks_folders) as queries:
        counts = queries.counts() if queries else {str(state): 0 for state in State}
        snapshot = queries.snapshot() if queries else {}
        held = queries.cases(state=State.HELD) if queries else []
        broken = told.state_breaker(settings.state_file) if pid is not None else None
        if broken is not None:
            snapshot = told.own_snapshot(snapshot, settings.state_file)
        reasons = {state: queries.wait_reasons(state) for state in asked} if queries else {}
        doubt = opened.doubt(settings, queries) if asks_folders else ()
    candidates = [_only(row, CANDIDATE) for row in snapshot.get("candidates") or ()]
    breakers = [_only(row, BREAKER) for row in snapshot.get("breakers") or ()]
    shown = breakers if pid is not None else []
    is_old = broken is not None and all(one["name"] != "state" for one in shown)
    shown += [broken] if broken is not None and is_old else []
    data = {
        "schema": SCHEMA,
        "daemon": _daemon(snapshot, pid),
        "cases": counts,
        "candidates": candidates,
        "breakers": shown,
    }
    roots = list(snapshot.get("roots") or ())
    receiver = snapshot.get("receiver") or {}
    if receiver.get("reason"):
        roots.append({**receiver, "name": receiver["listen"], "watch": "receiver"})
    said = {breaker["reason"] for breaker in shown}
    return Glance(
        data,
        held=held,
        reasons={s: [one for one in rows if one[0] not in said] for s, rows in reasons.items()},
        total=max(int(snapshot.get("candidates_total") or 0), len(candidates)),
        roots=roots,
        transfers=list(snapshot.get("transfers") or ()) if pid is not None else [],
        queued=queued.told(snapshot) if pid is not None else [],
        as_of=broken["since"] if broken is not None and is_old else "",
        doubt=doubt,
    )


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


def _lines(glance: Glance) -> list[str]:
    lines = _daemon_lines(glance.data["daemon"], would_start=not glance.doubt)
    lines += _breaker_lines(glance.paused)
    if glance.as_of:
        lines.append(
            f"what follows is as of {text.moment(glance.as_of)}: nothing newer could be recorded"
        )
    lines.append(case_line(glance.data["cases"]))
    for head, reason in glance.queued:
        lines += [head, f"  {reason}"]
    lines += _held_lines(glance.held)
    for head, reasons in waiting(glance):
        lines += _waiting_lines(head, reasons)
    lines += _candidate_lines(glance)
    return lines + root_lines(glance)


def _daemon_lines(daemon: dict[str, Any], *, would_start: bool) -> list[str]:
    if not daemon["running"]:
        if not would_start:
            return ["daemon: not running, and it would refuse to start (see the warning)"]
        return ["daemon: not running (start it: `vpe-watcher run`)"]
    since = f", since {text.moment(daemon['since'])}" if daemon["since"] else ""
    lines = [f"daemon: running, pid {daemon['pid']}{since}, version {daemon['version']}"]
    if daemon["config_error"]:
        lines.append(f"  its configuration was changed, but not taken: {daemon['config_error']}")
    return lines


def _breaker_lines(breakers: list[dict[str, Any]]) -> list[str]:
    lines = []
    for breaker in breakers:
        since = f" (since {text.moment(breaker['since'])})" if breaker["since"] else ""
        lines.append(f"paused: {breaker['name']}{since}")
        lines += [f"  {breaker['reason']}"] if breaker["reason"] else []
        lines += [f"  hint: {breaker['hint']}"] if breaker["hint"] else []
    return lines


def case_line(counts: dict[str, int]) -> str:
    """Count the cases in words."""
    shown = [f"{number} {state}" for state, number in counts.items() if number]
    return f"cases: {', '.join(shown) if shown else 'none yet'}"


def _held_lines(held: list[dict[str, Any]]) -> list[str]:
    lines = ["held, a person must decide (`vpe-watcher show CASE`):"] if held else []
    for row in held[:AT_MOST_LISTED]:
        lines.append(f"  {row['case_id']}  {row['case_name']}")
        lines += [f"    {row['error']['message']}"] if row["error"] else []
    return lines + _and_more(len(held))


def waiting(glance: Glance) -> list[tuple[str, list[tuple[str, str, int]]]]:
    """Say of which state the cases are that wait for a reason, and return these reasons."""
    begun = {State.CLAIMING: "claiming, and not yet sent because:"}
    return [
        (begun.get(state, f"{state}, and not done yet because:"), reasons)
        for state, reasons in glance.reasons.items()
        if reasons
    ]


def _waiting_lines(head: str, reasons: list[tuple[str, str, int]]) -> list[str]:
    """Tell why cases do not get beyond a state: each reason once, with the oldest case."""
    lines = [head]
    for reason, case_id, number in reasons[:AT_MOST_LISTED]:
        others = f" and {text.count(number - 1, 'other')}" if number > 1 else ""
        lines += [f"  {case_id}{others}", f"    {reason}"]
    return lines + _and_more(len(reasons))


def candidates_head(glance: Glance) -> str:
    """Say how much lies in the inboxes; "" when nothing is known."""
    if not glance.data["candidates"]:
        unseen = [one["name"] for one in glance.paused if one["name"].startswith("inbox:")]
        if unseen:
            return f"inbox: not looked at ({', '.join(unseen)}: see above)"
        if glance.as_of:
            return "inbox: not known since then"
        return "inbox: nothing waits" if glance.is_running else ""
    when = "" if glance.is_running else " when the daemon last looked"
    return f"inbox: {text.count(glance.total, 'candidate')} not taken yet{when}"


def _candidate_lines(glance: Glance) -> list[str]:
    head, candidates = candidates_head(glance), glance.data["candidates"]
    lines = [head] if head else []
    for row in candidates[:AT_MOST_LISTED]:
        lines.append(f"  {row['path']}")
        lines.append(f"    {row['state']}, {text.age(row['age_s'] or 0)}: {row['reason']}")
    return lines + _and_more(glance.total)


def root_lines(glance: Glance) -> list[str]:
    """Tell of the inboxes that are not simply watched by events, and why."""
    how = {
        "poll": "by looking again and again",
        "none": "not now",
        "events": "by events",
    }
    lines = []
    for root in glance.roots if glance.is_running else ():
        reason = root.get("reason") or ""
        watch = root.get("watch", "")
        if watch == "receiver":
            lines.append(f"receiving: not at {root['name']} ({reason})")
        elif reason and not reason.endswith(WELL):
            lines.append(f"watching: {root['name']} {how.get(watch, 'not now')} ({reason})")
    return lines


def _and_more(total: int) -> list[str]:
    return [f"  … and {total - AT_MOST_LISTED} more"] if total > AT_MOST_LISTED else []
