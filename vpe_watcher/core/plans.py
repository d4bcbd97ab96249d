"""What cases a ready candidate makes: modalities, series, names, and what is left aside.

Judges content that was read, never whether it is ready. Source of the rules: the contract's "What
becomes a case".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vpe_watcher.core.content import (
    DIRECTORY,
    MESH,
    USABLE,
    VOLUME,
    ZIP,
    Content,
    Facts,
    KnownSeries,
    in_a_sentence,
)
from vpe_watcher.core.grouping import JOB_JSON, SIDECAR, Group, Rules, sight
from vpe_watcher.core.modalities import modality_of
from vpe_watcher.core.model import FailureClass, FileMark, Input, Modality, Problem, Proof, Slice
from vpe_watcher.core.series import (
    Series,
    folder_case_name,
    series_zip_name,
    why_not_a_volume,
    zip_names,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The case that a ready candidate makes. Paths of `files` are relative to the root.

    `is_part`: the folder is claimed by the first plan of the candidate, and `files` are taken out
    of that claim. `doom` and `hold` say why it is claimed only to fail, or to wait for a person.
    """

    case_name: str
    content: str
    files: tuple[str, ...]
    inputs: tuple[Input, ...]
    sight: str
    job_json: tuple[str, ...] = ()
    skipped: tuple[dict[str, str], ...] = ()
    doom: Problem | None = None
    hold: Problem | None = None
    late_for: str = ""
    is_part: bool = False
    notes: tuple[str, ...] = ()


def plans_of(content: Content, rules: Rules, *, gap: str) -> tuple[Plan, ...]:
    """Return the cases of a candidate: one, or one for each volume series of a folder.

    `gap` says what is not here of a series that waited long enough for it: it is held.
    """
    for path in content.of_family(*USABLE):
        if content.facts[path].verdict.proof is Proof.WRONG:
            return (doomed(content.group, _wrong(content.facts[path]), rules),)
    pieces = [_series_piece(series, content, rules, gap) for series in content.volumes]
    others = _other_inputs(content, rules)
    if isinstance(others, Problem):
        return (doomed(content.group, others, rules),)
    volumes, meshes = others
    pieces += volumes
    if not pieces and not meshes:
        return (doomed(content.group, _no_volume(content), rules),)
    if sum(piece.is_plain for piece in volumes) and len(pieces) > 1:
        return (doomed(content.group, _two_of(Modality.CBCT), rules),)
    plans = _cases(content, pieces, meshes, rules)
    if gap and content.unlisted:
        return tuple(plan if plan.late_for else replace(plan, hold=_gap(gap)) for plan in plans)
    return plans


# --- pieces: what becomes a case of its own ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Piece:
    """A volume with the files that it consists of; `is_plain`: no DICOM, so it has no series."""

    entry: Input
    files: tuple[str, ...]
    number: str = ""
    description: str = ""
    is_plain: bool = False
    hold: Problem | None = None
    late_for: str = ""
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def _series_piece(series: Series, content: Content, rules: Rules, gap: str) -> _Piece:
    known, late = content.lateness.get(series.uid), content.late(series)
    sent = late or series.slices
    names = {path: inside(content.group, path, rules) for path in sent}
    marks = {seen.path: seen.mark for seen in content.group.members}
    slices = tuple(Slice(names[p], marks[p], content.instance(p)) for p in sent)
    size = rules.zip_size(
        zip(zip_names(len(slices)), (one.mark.size for one in slices), strict=True)
    )
    skipped = series.skipped
    if late and known is not None:
        new = frozenset(late)
        again = (path for path in series.slices if path not in new)
        skipped += tuple((path, f"known from case {known.case_id}") for path in again)
    return _Piece(
        entry=Input(
            Modality.CBCT,
            series_zip_name(series),
            ".zip",
            FileMark(size, 0, 0, 0),
            series_uid=series.uid,
            slices=slices,
        ),
        files=(*series.slices, *(path for path, _ in series.skipped)),
        number=series.number,
        description=series.description,
        hold=_hold(series, late, known, gap, rules),
        late_for=known.case_id if known is not None and not _is_whole(series, late, known) else "",
        skipped=skipped,
        notes=series.notes,
    )


def _is_whole(series: Series, late: tuple[str, ...], known: KnownSeries) -> bool:
    """Tell whether exactly the known slices are here again: an ordinary duplicate, or a rerun."""
    return not late and len(series.slices) == len(known.instances)


def _hold(
    series: Series,
    late: tuple[str, ...],
    known: KnownSeries | None,
    gap: str,
    rules: Rules,
) -> Problem | None:
    if known is None:
        return _gap(gap) if gap and series.missing else None
    if not late or not rules.keeps_late_slices:
        return None
    count = "1 slice" if len(late) == 1 else f"{len(late)} slices"
    return Problem(
        FailureClass.INPUT,
        "late_slices",
        f"{count} of a series came after case {known.case_id} had taken it.",
        f"`vpe-watcher retry CASE` sends them together with those of case {known.case_id}, as one "
        "new job. If the result without them is good enough, leave this case as it is.",
    )


def _gap(gap: str) -> Problem:
    return Problem(
        FailureClass.INPUT,
        "series_incomplete",
        f"Slices of this series are missing: {gap}.",
        "Send the whole series again: that makes a case of its own, and this one stays. "
        "`vpe-watcher retry CASE` sends what is here as it is.",
    )


def _other_inputs(
    content: Content, rules: Rules
) -> tuple[list[_Piece], dict[Modality, tuple[str, Input]]] | Problem:
    """Return volumes that are one file each, and meshes by modality; a problem as it is."""
    volumes: list[_Piece] = []
    meshes: dict[Modality, tuple[str, Input]] = {}
    for path in content.of_family(VOLUME, MESH, ZIP):
        fact = content.facts[path]
        modality = modality_of(path, fact, rules)
        if isinstance(modality, Problem):
            return modality
        mark = next(seen.mark for seen in content.group.members if seen.path == path)
        entry = Input(modality, inside(content.group, path, rules), fact.extension, mark)
        if modality is Modality.CBCT:
            volumes.append(_file_piece(path, entry, fact))
        elif modality in meshes:
            return _two_of(modality)
        else:
            meshes[modality] = (path, entry)
    return volumes, meshes


def _file_piece(path: str, entry: Input, fact: Facts) -> _Piece:
    if fact.header is None:
        return _Piece(entry, (path,), is_plain=True)
    header = fact.header
    return _Piece(entry, (path,), header.series_number, header.series_description)


# --- cases ---------------------------------------------------------------------------------------


def _cases(
    content: Content,
    pieces: list[_Piece],
    meshes: dict[Modality, tuple[str, Input]],
    rules: Rules,
) -> tuple[Plan, ...]:
    group = content.group
    with_meshes = tuple(entry for _, entry in meshes.values())
    if len(pieces) < 2:
        piece = pieces[0] if pieces else None
        inputs = ((piece.entry,) if piece else ()) + with_meshes
        used = {path for path, _ in meshes.values()} | set(_sent(piece, group, rules))
        skipped = _skipped(content, used, pieces, rules)
        return (_case(group, _name_of(group, rules), inputs, rules, skipped, piece),)
    plans = []
    for number, piece in enumerate(pieces):
        name = folder_case_name(group.path, piece.number, piece.description)
        if number == 0:
            used = {path for path, _ in meshes.values()}
            used |= {path for one in pieces for path in one.files}
            skipped = _skipped(content, used, [piece], rules)
            own = _first_of(group, pieces[1:]) if rules.leaves_in_place else group
            plans.append(_case(own, name, (piece.entry, *with_meshes), rules, skipped, piece))
        else:
            plans.append(_part(content, name, piece, rules))
    return tuple(plans)


def _first_of(group: Group, others: list[_Piece]) -> Group:
    """Leave the files of other cases out of a folder that is not moved as a whole."""
    theirs = {path for piece in others for path in piece.files}
    return replace(group, members=tuple(s for s in group.members if s.path not in theirs))


def _sent(piece: _Piece | None, group: Group, rules: Rules) -> Iterable[str]:
    if piece is None:
        return ()
    names = {name for name, _ in piece.entry.files}
    return (path for path in piece.files if inside(group, path, rules) in names)


def _name_of(group: Group, rules: Rules) -> str:
    if group.is_folder:
        return group.path.rpartition("/")[2]
    return group.name or rules.split_name(group.path.rpartition("/")[2])[0]


def _part(content: Content, name: str, piece: _Piece, rules: Rules) -> Plan:
    """Return the plan of a further series: its files are taken out of the first one's claim."""
    group = content.group
    files = frozenset(piece.files)
    part = replace(
        group,
        members=tuple(seen for seen in group.members if seen.path in files),
        sidecars=(),
    )
    skipped = tuple(_row(group, path, reason, rules) for path, reason in piece.skipped)
    plan = _case(part, name, (piece.entry,), rules, skipped, piece)
    wishes = _wishes(group)
    return replace(
        plan, files=tuple(seen.path for seen in part.members), is_part=True, job_json=wishes
    )


def _case(
    group: Group,
    name: str,
    inputs: tuple[Input, ...],
    rules: Rules,
    skipped: tuple[dict[str, str], ...],
    piece: _Piece | None,
) -> Plan:
    is_moved_whole = group.is_folder and not rules.leaves_in_place
    marks = ((seen.path, seen.mark) for seen in group.files)
    beside = tuple(seen.path for seen in group.sidecars)
    return Plan(
        case_name=name,
        content=group.path if is_moved_whole else "",
        files=(group.path, *beside) if is_moved_whole else tuple(seen.path for seen in group.files),
        inputs=inputs,
        sight=sight(marks, trusts_inodes=rules.trusts_inodes),
        job_json=_wishes(group),
        skipped=skipped,
        hold=piece.hold if piece else None,
        late_for=piece.late_for if piece else "",
        notes=piece.notes if piece else (),
    )


def _wishes(group: Group) -> tuple[str, ...]:
    """Return the paths of `job.json` files, the one that wins first."""
    if not group.is_folder:
        found = [s.path for s in group.sidecars if s.path.lower().endswith(SIDECAR)]
    else:
        found = [s.path for s in group.members if _below(group, s.path).lower() == JOB_JSON]
    return tuple(sorted(found, key=len, reverse=True))


def _skipped(
    content: Content, used: set[str], pieces: list[_Piece], rules: Rules
) -> tuple[dict[str, str], ...]:
    """List what is not sent, each with its reason."""
    group = content.group
    reasons = {path: reason for piece in pieces for path, reason in piece.skipped}
    for series in content.refused:
        reasons |= {path: _reason(content.facts[path], series) for path in series.slices}
        reasons |= dict(series.skipped)
    for series in content.few:
        words = f"a series of {len(series.slices)}, fewer than {rules.min_slices} slices"
        reasons |= dict.fromkeys(series.slices, words) | dict(series.skipped)
    wishes = set(_wishes(group))
    return tuple(
        _row(group, seen.path, reasons.get(seen.path) or _aside(content.facts[seen.path]), rules)
        for seen in group.members
        if seen.path in reasons or (seen.path not in used and seen.path not in wishes)
    )


def _reason(fact: Facts, series: Series) -> str:
    return (why_not_a_volume(fact.header) if fact.header else "") or series.refusal


def _aside(fact: Facts) -> str:
    return "a DICOMDIR" if fact.family == DIRECTORY else "not a scan"


def _row(group: Group, path: str, reason: str, rules: Rules) -> dict[str, str]:
    return {"name": inside(group, path, rules), "reason": reason}


def inside(group: Group, path: str, rules: Rules) -> str:
    """Return a member's name relative to the content folder of its case."""
    return path if rules.leaves_in_place else _below(group, path)


def _below(group: Group, path: str) -> str:
    return path[len(group.path) + 1 :] if group.is_folder else path


def doomed(group: Group, problem: Problem, rules: Rules) -> Plan:
    """Return the plan of a case that is claimed only to fail."""
    name = _name_of(group, rules)
    return replace(_case(group, name, (), rules, (), None), doom=problem)


# --- problems ------------------------------------------------------------------------------------


def _wrong(fact: Facts) -> Problem:
    return Problem(
        FailureClass.INPUT,
        "wrong_content",
        f"The content is not what the name says: {in_a_sentence(fact.verdict)}.",
        "Export the scan again in the right format, or give it the right extension.",
    )


def _two_of(modality: Modality) -> Problem:
    return Problem(
        FailureClass.INPUT,
        "two_for_one_modality",
        f"Two files of this case are both {modality}.",
        "Drop one case folder for each scan, with one file for each modality.",
    )


def _no_volume(content: Content) -> Problem:
    reasons = "; ".join(dict.fromkeys(series.refusal for series in content.refused))
    return Problem(
        FailureClass.INPUT,
        "no_volume",
        f"This DICOM is no volume that can be sent: {reasons}.",
        "Export the volume itself: the whole series of its slices, or one multi-frame file.",
    )
