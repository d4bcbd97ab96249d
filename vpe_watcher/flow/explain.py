"""Why a path is (not) taken: the pure rules run afresh on it, plus what the daemon last saw.

Reads the path itself and the state file; changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.store import Queries
from vpe_watcher.core.candidates import Candidate, Judgement, Plan, judged
from vpe_watcher.core.grouping import Group, Rules, grouped, ignored_by
from vpe_watcher.core.model import Kind
from vpe_watcher.flow.facts import read_facts
from vpe_watcher.flow.looks import seen_in
from vpe_watcher.flow.places import HIDDEN


@dataclass(frozen=True, slots=True)
class Place:
    """An inbox as `explain` needs it."""

    recipe: str
    folder: Path
    rules: Rules


def explain(path: Path, *, inboxes: Iterable[Place], queries: Queries | None) -> tuple[str, ...]:
    """Say in sentences what the daemon makes of a path. `queries` is None before its first start.

    Raises:
        OSError: the path's folder cannot be read by this user.
    """
    lines = list(_history(path, queries))
    place = _place_of(path, inboxes)
    if place is None:
        lines.append("It does not lie below an inbox of this configuration: never looked at.")
        return tuple(lines)
    entry = Disk().look(path)
    if entry is None:
        lines.append("There is nothing at this path now.")
        return tuple(lines)
    lines.append(f"It lies in the inbox of recipe {place.recipe}.")
    relative = path.relative_to(place.folder).as_posix()
    if relative == ".":
        lines.append("It is the inbox itself.")
        return tuple(lines)
    lines += _by_rules(place, relative)
    lines += _last_seen(place.folder / relative.partition("/")[0], queries)
    return tuple(lines)


def _history(path: Path, queries: Queries | None) -> Iterable[str]:
    if queries is None:
        yield "The daemon has never run on this state file."
        return
    case_id = queries.case_by_source(str(path))
    if case_id is None:
        return
    row = queries.case_row(case_id)
    yield f"It was taken as case {case_id}, which is {row['state']} now."
    if row["error"]:
        yield f"{row['error']['message']} {row['error']['hint']}".strip()
    elif row["wait_reason"]:
        yield row["wait_reason"]
    case = queries.case(case_id)
    if case is not None and case.duplicate_of:
        yield f"It is a duplicate of case {case.duplicate_of}."
    if case is not None:
        inside = path.name if not case.content else path.as_posix()
        for entry in case.skipped:
            if inside.endswith(entry["name"]):
                yield f"In that case it was skipped: {entry['reason']}."


def _place_of(path: Path, inboxes: Iterable[Place]) -> Place | None:
    """Return the inbox that a path lies in: the innermost one."""
    above = [place for place in inboxes if path.is_relative_to(place.folder)]
    return max(above, key=lambda place: len(place.folder.parts), default=None)


def _by_rules(place: Place, relative: str) -> Iterable[str]:
    parts = relative.split("/")
    if parts[0] == HIDDEN:
        yield "It is claimed: `vpe-watcher cases` lists the case that it belongs to."
        return
    disk = Disk()
    for depth in range(1, len(parts) + 1):
        here = "/".join(parts[:depth])
        entry = disk.look(place.folder / here)
        rule = ignored_by(here, entry.kind, place.rules) if entry else ""
        if rule:
            yield f"{here} is never touched: {rule}."
            return
    group = _group_of(place, parts[0], disk)
    if group is None:
        yield "It goes with another file: it is the job.json of a scan beside it."
        return
    yield from _judgement(place, group, disk)


def _group_of(place: Place, top: str, disk: Disk) -> Group | None:
    seen = seen_in(
        disk,
        place.folder,
        place.rules,
        wants=lambda entry: entry.kind is not Kind.FOLDER or entry.name == top,
        refused=_refused,
    )
    return next((group for group in grouped(seen, place.rules) if group.path == top), None)


def _refused(_name: str, error: PermissionError) -> None:
    raise error


def _judgement(place: Place, group: Group, disk: Disk) -> Iterable[str]:
    """Judge the group as if it had been quiet for as long as it takes."""
    facts = {
        seen.path: read_facts(disk, place.folder / seen.path)
        for seen in group.files
        if not group.temporaries
    }
    candidate = Candidate(group, group.fingerprint, since=0.0, detected=0.0, looks=2)
    now = place.rules.settle_s
    judgement = judged(candidate, facts, place.rules, now=now)
    yield from _in_words(judgement, place, group)


def _in_words(judgement: Judgement, place: Place, group: Group) -> Iterable[str]:
    plan = judgement.plan
    if plan is not None:
        yield from _plan_in_words(plan, place)
    elif judgement.state is not None:
        yield f"It waits ({judgement.state}): {judgement.reason}."
    else:
        yield "It is not a scan: neither a known extension nor DICOM by its content. It stays."
    if group.sidecars:
        yield f"Its job is changed by {group.sidecars[0].path}."


def _plan_in_words(plan: Plan, place: Place) -> Iterable[str]:
    if plan.doom is not None:
        yield f"It will fail: {plan.doom.message} {plan.doom.hint}"
        return
    inputs = ", ".join(f"{entry.name} as {entry.modality}" for entry in plan.inputs)
    yield f"By the rules it is taken as one case: {inputs}."
    for entry in plan.skipped:
        yield f"Skipped: {entry['name']} ({entry['reason']})."
    yield (
        f"It is taken when it has not changed for {place.rules.settle_s:g} s "
        "and its format does not prove it incomplete."
    )


def _last_seen(top: Path, queries: Queries | None) -> Iterable[str]:
    snapshot: Mapping[str, Any] = queries.snapshot() if queries else {}
    for row in snapshot.get("candidates", ()):
        if row["path"] == str(top):
            yield (
                f"The daemon last saw it as {row['state']}: {row['reason']} "
                f"(unchanged for {row['age_s']:.0f} s then)."
            )
            return
    yield "The daemon's last list of candidates does not name it."
