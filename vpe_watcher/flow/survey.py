"""What the folders tell of cases: claims with their evidence, and the documents of those at rest.

Reads, and changes nothing. What makes no sense is left out and counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vpe_watcher.adapters.files import Disk, draft_name
from vpe_watcher.core.model import Case, FileMark, Input, Kind, Slice
from vpe_watcher.core.records import UNREADABLE, Recorded, rested_case
from vpe_watcher.core.series import gathered, series_zip_name
from vpe_watcher.flow.facts import read_facts
from vpe_watcher.flow.places import EVIDENCE, HELD_NOTE, HIDDEN, Places, records_in
from vpe_watcher.flow.roots import EVIDENCE_AT_MOST

ARRIVING = ".arriving"
_ID_LINE = "Case id: "


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim folder: what people's files are in it, its evidence, a document of ours among them.

    `is_damaged`: there is evidence, and it cannot be read.
    """

    case_id: str
    recipe: str
    folder: Path
    entries: tuple[str, ...]
    evidence: Mapping[str, Any] | None = None
    document: Recorded | None = None
    is_damaged: bool = False

    @property
    def is_empty(self) -> bool:
        """Tell whether there is neither a file of people's nor evidence in it."""
        return not self.entries and self.evidence is None and not self.is_damaged

    @property
    def is_paid(self) -> bool:
        """Tell whether money may have gone into it: evidence that cannot be read may say so."""
        return self.is_damaged or bool(self.evidence and self.evidence["may_be_paid"])

    @property
    def job_id(self) -> str | None:
        """Return the job that the evidence names."""
        found = self.evidence.get("job_id") if self.evidence else None
        return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class Ending:
    """A folder with a document that tells how a case ended."""

    recorded: Recorded
    path: Path

    @property
    def retries(self) -> int:
        """Return how often a person had the case taken up again before this."""
        return self.recorded.case.retries


@dataclass(slots=True)
class Survey:
    """All that the folders tell, by case id; `rests` are archive and failed.

    `records` are files that may tell of a case what a document does not say.
    """

    records: Mapping[str, list[Path]]
    claims: dict[str, Claim] = field(default_factory=dict)
    rests: dict[str, Ending] = field(default_factory=dict)
    deliveries: dict[str, Ending] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)
    noted: set[str] = field(default_factory=set)
    staged: set[str] = field(default_factory=set)
    unreadable: int = 0

    @property
    def case_ids(self) -> list[str]:
        """Return all cases that are known, in the order in which they were claimed."""
        found = {**self.claims, **self.rests, **self.deliveries}
        return sorted(found, key=lambda case_id: (self._moment(case_id), case_id))

    def _moment(self, case_id: str) -> str:
        for ending in (self.rests.get(case_id), self.deliveries.get(case_id)):
            if ending is not None:
                times = ending.recorded.case.times
                return times.get("claimed") or times.get("detected") or ""
        evidence = self.claims[case_id].evidence or {}
        try:
            return str(evidence["record"]["times"]["claimed"])
        except UNREADABLE:
            return "~"  # after all that have a time


def survey(disk: Disk, places: Places) -> Survey:
    """Look through all folders. Raises `OSError`: one of them cannot be read now."""
    outboxes = tuple(dict.fromkeys(places.outboxes.values()))
    found = Survey(_records(disk, (places.archive, places.failed, *outboxes)))
    for recipe in places.inboxes:
        if not places.is_in_place(recipe):
            for claim in _claims(disk, places.claims(recipe), recipe, found):
                found.claims[claim.case_id] = claim
    for root in (places.archive, places.failed):
        for ending in _endings(disk, root, found):
            _keep_last(found.rests, ending)
    for case_id in found.claims.keys() & found.rests.keys():
        found.claims[case_id] = _without_copy(found.claims[case_id], found.rests[case_id])
    for root in outboxes:
        for ending in _endings(disk, root, found):
            _keep_last(found.deliveries, ending)
        found.staged |= set(_names(disk, root / HIDDEN / "staging"))
    found.noted = set(_noted(disk, places.failed))
    return found


def _keep_last(known: dict[str, Ending], ending: Ending) -> None:
    case_id = ending.recorded.case.case_id
    if case_id not in known or known[case_id].retries < ending.retries:
        known[case_id] = ending


# --- claims --------------------------------------------------------------------------------------


def _claims(disk: Disk, folder: Path, recipe: str, found: Survey) -> Iterator[Claim]:
    for case_id in _names(disk, folder):
        if case_id.startswith(".") or case_id.endswith(ARRIVING):
            continue
        claim = folder / case_id
        if (entry := disk.look(claim)) is None or entry.kind is not Kind.FOLDER:
            continue
        ours = {EVIDENCE, draft_name(EVIDENCE)}
        entries = tuple(name for name in _names(disk, claim) if name not in ours)
        evidence = _evidence(disk, claim / EVIDENCE)
        is_damaged = evidence is None and disk.exists(claim / EVIDENCE)
        document = None
        if evidence is None:
            document = next(_documents_of(disk, claim, entries, case_id, found), None)
        yield Claim(case_id, recipe, claim, entries, evidence, document, is_damaged)


def _without_copy(claim: Claim, rest: Ending) -> Claim:
    """Leave out the copy in which a folder was being brought back, for a retry, from its rest."""
    copy = f"{rest.recorded.case.content}{ARRIVING}"
    is_folder = copy != ARRIVING
    return replace(claim, entries=tuple(n for n in claim.entries if not (is_folder and n == copy)))


def _evidence(disk: Disk, path: Path) -> Mapping[str, Any] | None:
    """Return evidence that says whether it may be paid; None when there is no such."""
    document = _json(disk, path)
    says = document is not None and isinstance(document.get("may_be_paid"), bool)
    return document if says else None


def _documents_of(
    disk: Disk, claim: Path, entries: Iterable[str], case_id: str, found: Survey
) -> Iterator[Recorded]:
    """Yield documents of ours that lie with the files: the case was being put away, or back."""
    for folder in (claim, *(claim / name for name in entries)):
        entry = disk.look(folder)
        if entry is None or entry.kind is not Kind.FOLDER:
            continue
        for recorded in _documents(disk, folder, Survey(found.records)):
            if recorded.case.case_id == case_id:
                yield recorded


# --- cases at rest -------------------------------------------------------------------------------


def _endings(disk: Disk, root: Path, found: Survey) -> Iterator[Ending]:
    for entry in disk.listing(root):
        if entry.kind is not Kind.FOLDER or entry.name == HIDDEN:
            continue
        for recorded in _documents(disk, root / entry.name, found):
            found.names.setdefault(recorded.case.case_id, set()).add(entry.name)
            yield Ending(recorded, root / entry.name)


def _documents(disk: Disk, folder: Path, found: Survey) -> Iterator[Recorded]:
    """Yield what our documents directly in a folder tell; other people's of these names do not."""
    for name in _names(disk, folder):
        if not name.endswith(".json") or not name.startswith(("result.", "error.")):
            continue
        document = _json(disk, folder / name)
        if document is None or not str(document.get("schema", "")).startswith("vpe-watcher/"):
            continue
        try:
            yield _rested(disk, document, folder.name, found.records)
        except UNREADABLE:
            found.unreadable += 1


def _rested(
    disk: Disk, document: Mapping[str, Any], folder: str, records: Mapping[str, list[Path]]
) -> Recorded:
    """Return what a document tells, with the record of this ending if there is one of any sense.

    It may lie in another root: the folder was moved, or is in a claim.
    """
    for path in records.get(str(document.get("case_id")), ()):
        record = _json(disk, path)
        if record is not None and record.get("attempts") == document.get("attempts"):
            with suppress(*UNREADABLE):
                return rested_case(document, record, folder=folder)
    return rested_case(document, {}, folder=folder)


def _records(disk: Disk, roots: Iterable[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for folder in map(records_in, roots):
        for name in _names(disk, folder):
            found.setdefault(name.removesuffix(".json"), []).append(folder / name)
    return found


def with_files(disk: Disk, case: Case, folder: Path) -> Case:
    """Return a case at rest with its files as they lie in a folder now; what is gone has no mark.

    The slices of a series are read anew: no document names them, and some not even the series.
    """
    inputs = tuple(_with_file(disk, entry, folder) for entry in case.inputs)
    return replace(case, inputs=inputs)


def _with_file(disk: Disk, entry: Input, folder: Path) -> Input:
    if entry.slices:
        return entry
    seen = disk.look(folder / entry.name)
    if seen is None and entry.extension == ".zip":
        uid, slices = _series(disk, entry, folder)
        return replace(entry, series_uid=uid, slices=slices)
    if seen is None or seen.mark.size != entry.mark.size:
        return entry
    return replace(entry, mark=seen.mark)


def with_marks_of_now(disk: Disk, case: Case, folder: Path) -> Case:
    """Return a claimed case with the marks of files that were copied, and hold what they held.

    Other files keep the marks of the claim, and so does what has changed.
    """
    return replace(case, inputs=tuple(_remarked(disk, entry, folder) for entry in case.inputs))


def _remarked(disk: Disk, entry: Input, folder: Path) -> Input:
    def now(name: str, mark: FileMark, sha256: str | None) -> FileMark:
        seen = disk.look(folder / name)
        if seen is None or seen.mark == mark or seen.mark.size != mark.size or sha256 is None:
            return mark
        return seen.mark if disk.digest(folder / name) == sha256 else mark

    if not entry.slices:
        return replace(entry, mark=now(entry.name, entry.mark, entry.sha256))
    slices = (
        one if one.owner else replace(one, mark=now(one.name, one.mark, one.sha256))
        for one in entry.slices
    )
    return replace(entry, slices=tuple(slices))


def _series(disk: Disk, entry: Input, folder: Path) -> tuple[str, tuple[Slice, ...]]:
    """Return the UID of an input that is a series, and its slices; it is known by its name."""
    if not disk.exists(folder):
        return entry.series_uid, ()
    marks: dict[str, FileMark] = {}
    headers = {}
    for path, seen in disk.tree(folder):
        facts = read_facts(disk, folder / path) if seen.kind is Kind.FILE else None
        if facts and facts.header:
            headers[path], marks[path] = facts.header, seen.mark
    for series in gathered(headers, min_slices=1):
        if series.uid == entry.series_uid or entry.name == series_zip_name(series):
            slices = (
                Slice(path, marks[path], headers[path].sop_instance_uid) for path in series.slices
            )
            return series.uid, tuple(slices)
    return entry.series_uid, ()


# --- reading -------------------------------------------------------------------------------------


def _noted(disk: Disk, failed: Path) -> Iterator[str]:
    for name in _names(disk, failed):
        if not name.endswith(HELD_NOTE):
            continue
        text = disk.read(failed / name).decode("utf-8", "replace")
        for line in text.splitlines():
            if line.startswith(_ID_LINE):
                yield line.removeprefix(_ID_LINE).strip()


def _names(disk: Disk, folder: Path) -> list[str]:
    return sorted(disk.names(folder)) if disk.exists(folder) else []


def _json(disk: Disk, path: Path) -> Mapping[str, Any] | None:
    entry = disk.look(path)
    if entry is None or entry.kind is not Kind.FILE:
        return None
    try:
        document = json.loads(disk.read(path, at_most=EVIDENCE_AT_MOST))
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
