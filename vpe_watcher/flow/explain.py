"""Why a path is (not) taken: the pure rules run afresh on it, plus what the daemon last saw.

Reads the path itself and the state file; changes nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.store import Queries
from vpe_watcher.core.candidate import Candidate
from vpe_watcher.core.candidates import CandidateState, Judgement, judged, series_of
from vpe_watcher.core.content import DIRECTORY, SLICE, Facts
from vpe_watcher.core.grouping import (
    SIDECAR,
    Group,
    Rules,
    Seen,
    grouped,
    ignored_by,
    is_marker_inside,
)
from vpe_watcher.core.joining import joined
from vpe_watcher.core.model import Case, Input, Kind
from vpe_watcher.core.plans import Plan
from vpe_watcher.flow.facts import read_facts
from vpe_watcher.flow.looks import TOO_LONG, seen_in
from vpe_watcher.flow.options import UNREAD
from vpe_watcher.flow.places import HELD_NOTE, HIDDEN, root_key
from vpe_watcher.flow.sightings import lasting


@dataclass(frozen=True, slots=True)
class Place:
    """An inbox as `explain` needs it."""

    recipe: str
    folder: Path
    rules: Rules
    takes_existing: bool = True


def explain(
    path: Path,
    *,
    inboxes: Iterable[Place],
    queries: Queries | None,
    is_lost: bool = False,
    roots: Mapping[str, tuple[Path, ...]] = MappingProxyType({}),
) -> tuple[str, ...]:
    """Say in sentences what the daemon makes of a path. `queries` is None before its first start.

    It is also None if the state file `is_lost`. `roots` are the folders into which it puts cases,
    by their names.

    Raises:
        OSError: the disk does not answer; what may not be read is an answer.
    """
    places = list(inboxes)
    place = _place_of(path, places)
    is_own = place is not None and HIDDEN in path.relative_to(place.folder).parts[:1]
    holds_inbox = any(one.folder.is_relative_to(path) for one in places)
    lines = [] if holds_inbox or is_own else list(_history(path, queries, is_lost=is_lost))
    rests = list(_resting(path, roots, queries))
    if rests:
        return (*lines, *rests)
    if place is None:
        return (*lines, "It does not lie below an inbox of this configuration: never looked at.")
    return (*lines, *_in_inbox(place, path, queries))


def _in_inbox(place: Place, path: Path, queries: Queries | None) -> list[str]:
    """Say what the daemon makes of a path in an inbox, as far as this user may look."""
    relative = path.relative_to(place.folder).as_posix()
    shown = {relative, relative.partition("/")[0]}
    rules: list[str] = []
    try:
        entry = Disk().look(path)
        if entry is None and not Disk().exists(place.folder):
            return [f"The inbox of recipe {place.recipe}, {place.folder}, is not there."]
        if entry is None:
            return ["There is nothing at this path now."]
        if relative != ".":
            rules += _by_rules(place, relative, queries, shown)
    except PermissionError as error:
        rules.append(_unreadable(error))
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        rules.append(f"It is not taken: {TOO_LONG}.")
    lines = [f"It lies in the inbox of recipe {place.recipe}."]
    if relative == ".":
        return [*lines, "It is the inbox itself.", *rules]
    rows = _rows_of({str(place.folder / name) for name in shown}, queries)
    if any(row["state"] == CandidateState.BLOCKED for row in rows):
        return [*lines, *_last_seen(rows), "When that is put right:", *rules]
    return [*lines, *rules, *_last_seen(rows)]


def _unreadable(error: PermissionError) -> str:
    return (
        f"This user (user id {os.geteuid()}) may not look at {error.filename}; "
        "the service's user needs read permission on it and on the folders above it."
    )


def _history(path: Path, queries: Queries | None, *, is_lost: bool) -> Iterable[str]:
    if queries is None and is_lost:
        yield "What the daemon knew of it is in no state file here: this is by the rules alone."
        return
    if queries is None:
        yield "The daemon has never run on this state file."
        return
    first = queries.case_by_source(str(path))
    if first is None:
        return
    parts = queries.parts_of(first)
    found = [case for one in (first, *parts) if (case := queries.case(one)) is not None]
    holders = [case for case in found if _holds(case, path)] or found
    for case in holders:
        yield from _fate(case, queries)
    for case in found:
        for entry in case.skipped:
            if path.as_posix().endswith(f"/{entry['name']}"):
                yield f"In case {case.case_id} it was skipped: {entry['reason']}."


def _resting(
    path: Path, roots: Mapping[str, tuple[Path, ...]], queries: Queries | None
) -> Iterable[str]:
    """Say whose a path is that lies where the daemon puts what it has done with."""
    for name, folders in roots.items():
        for folder in folders:
            if path == folder or not path.is_relative_to(folder):
                continue
            yield f"It lies in the {name} folder, where nothing is taken from."
            top = path.relative_to(folder).parts[0]
            if queries is None or top == HIDDEN:
                continue
            for case_id in queries.find(top.removesuffix(HELD_NOTE)):
                row = queries.case_row(case_id)
                yield f"{top} is of case {case_id}, which is {row['state']} now."


def _holds(case: Case, path: Path) -> bool:
    """Tell whether a case sends the file that lay at a path."""
    names = [name for entry in case.inputs for name, _ in entry.files]
    return any(path.as_posix().endswith(f"/{name}") for name in names)


def _fate(case: Case, queries: Queries) -> Iterable[str]:
    row = queries.case_row(case.case_id)
    yield f"It was taken as case {case.case_id}, which is {row['state']} now."
    if row["error"]:
        yield f"{row['error']['message']} {row['error']['hint']}".strip()
    elif row["wait_reason"]:
        yield row["wait_reason"]
    if case.duplicate_of:
        yield f"It is a duplicate of case {case.duplicate_of}."


def _place_of(path: Path, inboxes: Iterable[Place]) -> Place | None:
    """Return the inbox that a path lies in: the innermost one."""
    above = [place for place in inboxes if path.is_relative_to(place.folder)]
    return max(above, key=lambda place: len(place.folder.parts), default=None)


def _by_rules(
    place: Place, relative: str, queries: Queries | None, shown: set[str]
) -> Iterable[str]:
    """Say what the rules make of a path; `shown` gets the path under which `status` has it."""
    parts = relative.split("/")
    if parts[0] == HIDDEN:
        yield from _claimed(parts, queries)
        return
    disk = Disk()
    rule = _never_touched(place, parts, disk)
    if rule:
        yield rule
        return
    known = _remembered(place, relative, queries)
    if known:
        yield known
        return
    path = place.folder / relative
    if not os.access(path, os.R_OK, effective_ids=True, follow_symlinks=False):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    seen = _seen(place, parts[0], disk)
    if place.rules.leaves_in_place and queries is not None:
        found = _new_ones(place, seen, queries)
        if not any(item.kind is Kind.FILE and _lies_at(item.path, relative) for item in found):
            yield "All of it is left in place and known: nothing in it is new."
            return
        seen = found
    elif queries is not None and _is_unwanted(place, parts[0], seen, queries):
        yield 'It lay here at the very first scan, and existing = "ignore": it is not taken.'
        return
    facts = _facts(place, seen, relative, disk)
    candidate = _candidate_of(place, relative, seen, facts)
    if candidate is None:
        yield from _companion(place, relative)
        return
    shown.add(candidate.group.path)
    yield from _judgement(place, candidate, facts, queries)


def _claimed(parts: list[str], queries: Queries | None) -> Iterable[str]:
    """Say whose claim a path is: `.vpe-watcher/<daemon_id>/<case_id>/…`."""
    case = queries.case(parts[2]) if queries is not None and len(parts) > 2 else None
    if case is None:
        yield "It is the daemon's own, and never taken."
    else:
        yield f"It is claimed by case {case.case_id}, which is {case.state} now."


def _never_touched(place: Place, parts: list[str], disk: Disk) -> str:
    for depth in range(1, len(parts) + 1):
        here = "/".join(parts[:depth])
        entry = disk.look(place.folder / here)
        if entry is not None and is_marker_inside(here, place.rules):
            return f"{here} is the ready marker of its folder, and goes with it."
        rule = ignored_by(here, entry.kind, place.rules) if entry else ""
        if rule:
            return f"{here} is never touched: {rule}."
    return ""


def _remembered(place: Place, relative: str, queries: Queries | None) -> str:
    if queries is None or not place.rules.leaves_in_place:
        return ""
    known = queries.remembered(root_key(place.recipe, place.folder), relative)
    entry = Disk().look(place.folder / relative)
    if known is None or entry is None:
        return ""
    if (known.size, known.mtime_ns) != (entry.mark.size, entry.mark.mtime_ns):
        return ""
    if known.case_id:
        return f"It is left in place and known: its content belongs to case {known.case_id}."
    return "It is left in place and known: it lay there at the very first scan, or holds no scan."


def _new_ones(place: Place, seen: list[Seen], queries: Queries) -> list[Seen]:
    """Leave out the files that are as they were when they were seen."""
    root = root_key(place.recipe, place.folder)

    def is_known(item: Seen) -> bool:
        known = queries.remembered(root, item.path) if item.kind is Kind.FILE else None
        mark = (item.mark.size, item.mark.mtime_ns)
        return known is not None and (known.size, known.mtime_ns) == mark

    return [item for item in seen if not is_known(item)]


def _lies_at(path: str, relative: str) -> bool:
    return path == relative or path.startswith(f"{relative}/")


def _is_unwanted(place: Place, top: str, seen: list[Seen], queries: Queries) -> bool:
    """Tell whether a path is as it was at the first scan of a root whose files are not taken."""
    if place.takes_existing:
        return False
    before = queries.existing(root_key(place.recipe, place.folder)).get(top)
    group = next((one for one in grouped(seen, place.rules) if one.path == top), None)
    return group is not None and before in {lasting(group), UNREAD}


def _companion(place: Place, relative: str) -> Iterable[str]:
    marker = place.rules.ready_marker
    if marker and relative.lower().endswith(marker.lower()):
        yield "It is a ready marker: it goes with the scan that it stands beside."
    else:
        yield "It goes with another file: it is the job.json of a scan beside it."


def _seen(place: Place, top: str, disk: Disk) -> list[Seen]:
    def refuse(name: str, error: OSError) -> None:
        if name == top:
            raise error

    return seen_in(
        disk,
        place.folder,
        place.rules,
        wants=lambda entry: entry.kind is not Kind.FOLDER or entry.name == top,
        refused=refuse,
    )


def _facts(place: Place, seen: list[Seen], relative: str, disk: Disk) -> dict[str, Facts | None]:
    """Read what lies with the path: its folder, or the loose files that may be of its series."""
    top, _, below = relative.partition("/")
    is_folder = bool(below) or any(s.kind is Kind.FOLDER and s.path == top for s in seen)
    facts: dict[str, Facts | None] = {}
    if not is_folder:
        facts[top] = read_facts(disk, place.folder / top)
        fact = facts[top]
        if fact is None or fact.family != SLICE:
            names = [s.path for s in seen if s.path.startswith(place.rules.split_name(top)[0])]
        else:
            names = [s.path for s in seen if place.rules.split_name(s.path)[1] in {"", ".dcm"}]
    else:
        names = [s.path for s in seen if s.path.startswith(f"{top}/")]
    wanted = {s.path for s in seen if s.kind is Kind.FILE and s.path in set(names)}
    for path in wanted - facts.keys():
        if not ignored_by(path, Kind.FILE, place.rules):
            facts[path] = read_facts(disk, place.folder / path)
    return facts


def _candidate_of(
    place: Place, relative: str, seen: list[Seen], facts: Mapping[str, Facts | None]
) -> Candidate | None:
    """Return the candidate that holds a path, as if it had been quiet for as long as it takes."""
    groups = grouped(seen, place.rules)
    candidates = [Candidate(one, one.fingerprint, 0.0, 0.0, looks=2) for one in groups]
    for one in joined(candidates, facts, place.rules, now=_quiet_s(place)):
        paths = {one.group.path, *(member.path for member in one.group.members)}
        if relative in paths or (one.group.is_folder and relative.startswith(f"{one.group.path}/")):
            return one
    return None


def _quiet_s(place: Place) -> float:
    return max(place.rules.settle_s, place.rules.series_settle_s)


def _judgement(
    place: Place,
    candidate: Candidate,
    facts: Mapping[str, Facts | None],
    queries: Queries | None,
) -> Iterable[str]:
    found = {seen.path: facts.get(seen.path) for seen in candidate.group.files}
    uids = series_of(found.values())
    known = queries.known_series(place.recipe, uids) if queries and uids else {}
    quiet_s = _quiet_s(place)
    judgement = judged(candidate, found, place.rules, now=quiet_s, known=known)
    directory = any(fact is not None and fact.family == DIRECTORY for fact in found.values())
    yield from _in_words(judgement, place, candidate.group, directory=directory)


def _no_scan(is_directory: bool) -> str:  # noqa: FBT001 - one question
    if is_directory:
        return "It is a DICOMDIR alone, which is no scan. It stays."
    return "It is not a scan: neither a known extension nor DICOM by its content. It stays."


def _in_words(
    judgement: Judgement, place: Place, group: Group, *, directory: bool
) -> Iterable[str]:
    if group.series_uid:
        yield f"It is one of {len(group.members)} loose slices of one series."
    if judgement.plans:
        yield from _plans_in_words(judgement.plans, place, group)
    elif judgement.state is not None:
        yield f"It waits ({judgement.state}): {judgement.reason}."
    else:
        yield _no_scan(directory)
    for sidecar in group.sidecars:
        if sidecar.path.lower().endswith(SIDECAR):
            yield f"Its job is changed by {sidecar.path}."


def _plans_in_words(plans: tuple[Plan, ...], place: Place, group: Group) -> Iterable[str]:
    if plans[0].doom is not None:
        yield f"It will fail: {plans[0].doom.message} {plans[0].doom.hint}"
        return
    many = "one case" if len(plans) == 1 else f"{len(plans)} cases"
    yield f"By the rules it is taken as {many}."
    for plan in plans:
        inputs = ", ".join(_input_in_words(entry) for entry in plan.inputs)
        yield f"{plan.case_name}: {inputs}."
        if plan.hold is not None:
            yield f"That case will be held: {plan.hold.message} {plan.hold.hint}"
        elif plan.late_for:
            yield f"Its slices are known from case {plan.late_for}: nothing is sent."
        for entry in plan.skipped:
            yield f"Skipped: {entry['name']} ({entry['reason']})."
        for note in plan.notes:
            yield f"Noticed: {note}."
    yield _when(place, group, plans)


def _input_in_words(entry: Input) -> str:
    if entry.slices:
        return f"{len(entry.slices)} slices as {entry.modality}, sent as one ZIP"
    return f"{entry.name} as {entry.modality}"


def _when(place: Place, group: Group, plans: tuple[Plan, ...]) -> str:
    if group.is_marked:
        return "Its ready marker is there, so it is taken at once."
    holds_slices = any(entry.slices for plan in plans for entry in plan.inputs)
    settle_s = place.rules.series_settle_s if holds_slices else place.rules.settle_s
    return (
        f"It is taken when it has not changed for {settle_s:g} s and nothing in it is proven "
        "incomplete; sooner if all of it is proven complete and nobody has it open."
    )


def _rows_of(paths: set[str], queries: Queries | None) -> list[Mapping[str, Any]]:
    """Return what the daemon's last list of candidates says of some paths."""
    snapshot: Mapping[str, Any] = queries.snapshot() if queries else {}
    return [row for row in snapshot.get("candidates", ()) if row["path"] in paths]


def _last_seen(rows: list[Mapping[str, Any]]) -> Iterable[str]:
    for row in rows[:1]:
        yield (
            f"The daemon last saw it as {row['state']}: {row['reason']} "
            f"(unchanged for {row['age_s']:.0f} s then)."
        )
    if not rows:
        yield "The daemon's last list of candidates does not name it."
