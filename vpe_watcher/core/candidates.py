"""What in an inbox is a candidate, whether it is ready, and what case it makes.

Everything here follows from looks (paths, kinds, marks), facts about content and the caller's
monotonic `now`: it can be recomputed by looking again, so it lives in memory. Source of the rules:
the contract's "What becomes a case" and "When is it ready?".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase

from vpe_watcher.core.grouping import JOB_JSON, Group, Rules, sight
from vpe_watcher.core.model import (
    FailureClass,
    Input,
    Modality,
    Problem,
    Proof,
    Verdict,
)

VOLUME, MESH, ZIP = "volume", "mesh", "zip"


class CandidateState(StrEnum):
    """Why a candidate waits."""

    SETTLING = "settling"
    INCOMPLETE = "incomplete"
    HELD_BACK = "held_back"
    BLOCKED = "blocked"
    EXISTING = "existing"
    NO_USABLE_FILE = "no_usable_file"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file's name and content say; read when it has become quiet.

    `family` is `volume`, `mesh`, `zip` or "" (not a scan). `unreadable` says why it could not be
    opened, "" when it could.
    """

    stem: str
    extension: str
    family: str
    verdict: Verdict
    lists_mesh: bool = False
    is_slice: bool = False
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A group over time. `since` is the monotonic moment of its last change."""

    group: Group
    fingerprint: str
    since: float
    detected: float  # wall clock, seconds since 1970
    looks: int = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """The case that a ready candidate makes. Paths of `files` are relative to the root."""

    case_name: str
    content: str
    files: tuple[str, ...]
    inputs: tuple[Input, ...]
    sight: str
    job_json: tuple[str, ...] = ()
    skipped: tuple[dict[str, str], ...] = ()
    doom: Problem | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be done about a candidate now.

    Exactly one of: `plan` (claim it), `state` with a reason (it waits; look again after
    `again_s`), `wants_facts` (read its content first), or none of them: not a scan.
    """

    state: CandidateState | None = None
    reason: str = ""
    again_s: float | None = None
    wants_facts: bool = False
    plan: Plan | None = None
    facts_of: tuple[str, ...] = field(default=())


def looked(before: Candidate | None, group: Group, *, now: float, wall: float) -> Candidate:
    """Return the candidate after one more look: any difference starts its quiet time anew."""
    fingerprint = group.fingerprint
    if before is None:
        return Candidate(group, fingerprint, now, wall)
    if before.fingerprint != fingerprint:
        return Candidate(group, fingerprint, now, before.detected)
    return replace(before, looks=before.looks + 1)


# --- judging -------------------------------------------------------------------------------------


def judged(
    candidate: Candidate, facts: Mapping[str, Facts | None], rules: Rules, *, now: float
) -> Judgement:
    """Say what is to be done about a candidate.

    `facts` holds by path what was read of members that have not changed since; None for a file
    that went meanwhile.
    """
    group, quiet_s = candidate.group, now - candidate.since
    if quiet_s < rules.settle_s or candidate.looks < 2:
        reason = f"taken after {rules.settle_s:g} s without a change"
        return Judgement(CandidateState.SETTLING, reason, max(rules.settle_s - quiet_s, 0.0))
    if not all(_is_text(seen.path) for seen in group.files):
        reason = "a name that is not valid UTF-8: rename it"
        return Judgement(CandidateState.BLOCKED, reason)
    if group.temporaries:
        return _incomplete(candidate, "a file in it still has a temporary name", rules, quiet_s)
    missing = tuple(seen.path for seen in group.files if facts.get(seen.path) is None)
    if missing:
        return Judgement(wants_facts=True, facts_of=missing)
    known = {seen.path: facts[seen.path] for seen in group.files}
    found = {path: fact for path, fact in known.items() if fact is not None}
    return _judged_by_facts(candidate, found, rules, quiet_s)


def _is_text(path: str) -> bool:
    """Tell whether a name can be stored and shown: names are bytes, and not all bytes are text."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _judged_by_facts(
    candidate: Candidate, facts: Mapping[str, Facts], rules: Rules, quiet_s: float
) -> Judgement:
    group = candidate.group
    usable = {path: fact for path, fact in facts.items() if fact.family}
    unreadable = next((fact.unreadable for fact in facts.values() if fact.unreadable), "")
    if unreadable:
        return Judgement(CandidateState.BLOCKED, unreadable)
    if not usable:
        if not group.is_folder:
            return Judgement()
        return Judgement(CandidateState.NO_USABLE_FILE, "no file in it is a scan")
    for fact in usable.values():
        if fact.verdict.proof is Proof.INCOMPLETE:
            return _incomplete(candidate, in_a_sentence(fact.verdict), rules, quiet_s)
    if any(fact.is_slice for fact in usable.values()):
        reason = "a single DICOM slice; this version takes slices as one .zip or multi-frame file"
        return Judgement(CandidateState.HELD_BACK, reason)
    return Judgement(plan=_plan(candidate, usable, rules))


def _incomplete(candidate: Candidate, reason: str, rules: Rules, quiet_s: float) -> Judgement:
    if quiet_s < rules.incomplete_after_s:
        left_s = rules.incomplete_after_s - quiet_s
        words = f"{reason}; fails after {rules.incomplete_after_s:g} s without a change"
        return Judgement(CandidateState.INCOMPLETE, words, left_s)
    problem = Problem(
        FailureClass.INPUT,
        "incomplete",
        f"The scan is not complete: {reason}.",
        "Export or copy the scan again and drop it anew.",
    )
    return Judgement(plan=_doomed(candidate, problem, rules))


def _plan(candidate: Candidate, usable: Mapping[str, Facts], rules: Rules) -> Plan:
    for fact in usable.values():
        if fact.verdict.proof is Proof.WRONG:
            return _doomed(candidate, _wrong(fact), rules)
    inputs: dict[Modality, Input] = {}
    for seen in candidate.group.members:
        if seen.path not in usable:
            continue
        fact = usable[seen.path]
        modality = modality_of(seen.path, fact, rules)
        if isinstance(modality, Problem):
            return _doomed(candidate, modality, rules)
        if modality in inputs:
            return _doomed(candidate, _two_of(modality), rules)
        name = _inside(candidate.group, seen.path)
        inputs[modality] = Input(modality, name, fact.extension, seen.mark)
    return _case(candidate, usable, tuple(inputs.values()), None, rules)


def modality_of(path: str, fact: Facts, rules: Rules) -> Modality | Problem:
    """Return the modality of a usable file; a problem when its name fits no pattern or two."""
    if fact.family == VOLUME:
        return Modality.CBCT
    name = path.rpartition("/")[2].lower()
    fitting = [
        modality
        for modality, patterns in rules.patterns.items()
        if any(fnmatchcase(name, pattern.lower()) for pattern in patterns)
    ]
    if fact.family == ZIP and not (fitting and fact.lists_mesh):
        return Modality.CBCT
    if len(fitting) == 1:
        return fitting[0]
    what = "no pattern" if not fitting else "more than one pattern"
    return Problem(
        FailureClass.INPUT,
        "mesh_name",
        f"The name of a mesh fits {what} of upper jaw, lower jaw and face.",
        "Name the file so that it says what it shows, for example upper.stl, lower.stl or "
        "face.obj, and drop it again (the patterns are in [intake.patterns]).",
    )


def in_a_sentence(verdict: Verdict) -> str:
    """Return a verdict's reason so that it can follow a colon: with the file as its subject."""
    is_verb = verdict.reason.partition(" ")[0] in {"is", "ends", "starts", "holds"}
    return f"the file {verdict.reason}" if is_verb else verdict.reason


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


def _doomed(candidate: Candidate, problem: Problem, rules: Rules) -> Plan:
    return _case(candidate, {}, (), problem, rules)


def _case(
    candidate: Candidate,
    usable: Mapping[str, Facts],
    inputs: tuple[Input, ...],
    doom: Problem | None,
    rules: Rules,
) -> Plan:
    group = candidate.group
    name = group.path if group.is_folder else rules.split_name(group.path)[0]
    if group.is_folder:
        job_json = [
            seen.path for seen in group.members if _inside(group, seen.path).lower() == JOB_JSON
        ]
        files: tuple[str, ...] = (group.path,)
    else:
        job_json = [seen.path for seen in group.sidecars]
        files = tuple(seen.path for seen in group.files)
    skipped = tuple(
        {"name": _inside(group, seen.path), "reason": "not a scan"}
        for seen in group.members
        if doom is None and seen.path not in usable and seen.path not in job_json
    )
    return Plan(
        case_name=name,
        content=group.path if group.is_folder else "",
        files=files,
        inputs=inputs,
        sight=sight(((s.path, s.mark) for s in group.files), trusts_inodes=rules.trusts_inodes),
        job_json=tuple(sorted(job_json, key=len, reverse=True)),
        skipped=skipped,
        doom=doom,
    )


def _inside(group: Group, path: str) -> str:
    return path[len(group.path) + 1 :] if group.is_folder else path
