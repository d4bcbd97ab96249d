"""Whether a candidate is ready, and if not, what it waits for.

Everything here follows from looks (paths, kinds, marks), facts about content and the caller's
monotonic `now`: it can be recomputed by looking again, so it lives in memory. Source of the rules:
the contract's "When is it ready?".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from vpe_watcher.core.candidate import Candidate
from vpe_watcher.core.content import (
    DIRECTORY,
    SLICE,
    USABLE,
    Content,
    Facts,
    KnownSeries,
    in_a_sentence,
    no_volume,
    sorted_out,
)
from vpe_watcher.core.grouping import Group, Rules
from vpe_watcher.core.model import FailureClass, Problem, Proof
from vpe_watcher.core.plans import Plan, doomed, plans_of

TELL_AGAIN_S = 10.0  # how often the seconds that are left are told anew


class CandidateState(StrEnum):
    """Why a candidate waits."""

    SETTLING = "settling"
    INCOMPLETE = "incomplete"
    HELD_BACK = "held_back"
    BLOCKED = "blocked"
    EXISTING = "existing"
    WAITING_MARKER = "waiting_marker"
    WAITING_PARTNER = "waiting_partner"
    NO_USABLE_FILE = "no_usable_file"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be done about a candidate now.

    Exactly one of: `plans` (claim them), `state` with a reason (it waits; look again after
    `again_s`), `facts_of` (read these files first), or none of them: not a scan.
    """

    state: CandidateState | None = None
    reason: str = ""
    again_s: float | None = None
    plans: tuple[Plan, ...] = ()
    facts_of: tuple[str, ...] = field(default=())


def judged(
    candidate: Candidate,
    facts: Mapping[str, Facts | None],
    rules: Rules,
    *,
    now: float,
    known: Mapping[str, KnownSeries],
) -> Judgement:
    """Say what is to be done about a candidate.

    `facts` holds by path what was read of members that have not changed since; None for a file
    that went meanwhile. `known` holds by series UID what was claimed before.
    """
    group, quiet_s = candidate.group, now - candidate.since
    if not all(_is_text(seen.path) for seen in group.files):
        return Judgement(CandidateState.BLOCKED, "a name that is not valid UTF-8: rename it")
    if rules.ready_marker and not group.is_marked:
        return _unmarked(group, facts, rules)
    if candidate.is_open:
        reason = "somebody has it open for writing"
        return Judgement(CandidateState.SETTLING, reason, max(rules.settle_s, 0.2))
    missing = tuple(seen.path for seen in group.files if facts.get(seen.path) is None)
    found = {path: fact for path, fact in facts.items() if fact is not None}
    is_at_once = group.is_marked or (not missing and _is_proven(candidate, found))
    if not is_at_once and (quiet_s < rules.settle_s or candidate.looks < 2):
        return _settling(rules.settle_s, quiet_s)
    if group.temporaries:
        return _incomplete(candidate, "a file in it still has a temporary name", rules, quiet_s)
    if missing:
        return Judgement(facts_of=missing)
    return _judged_by_facts(candidate, found, rules, quiet_s, is_at_once, known)


def may_be_taken_at_once(candidate: Candidate) -> bool:
    """Tell whether reading it before it is quiet may spare the wait."""
    group = candidate.group
    return not group.is_folder or candidate.was_moved_in or bool(_directories(group))


def _settling(settle_s: float, quiet_s: float) -> Judgement:
    reason = f"taken after {settle_s:g} s without a change"
    return Judgement(CandidateState.SETTLING, reason, max(settle_s - quiet_s, 0.0))


def _unmarked(group: Group, facts: Mapping[str, Facts | None], rules: Rules) -> Judgement:
    """Say which marker is awaited. What is known to be no scan, such as a marker, awaits none."""
    again_s = None
    if group.is_folder:
        where = f"{rules.ready_marker} in the folder, or beside it"
        again_s = max(rules.settle_s, 1.0)  # what happens inside a folder is not told by events
    elif all(_is_no_scan(facts.get(seen.path)) for seen in group.members):
        return Judgement()
    else:
        where = f"the same name with {rules.ready_marker} added"
    return Judgement(CandidateState.WAITING_MARKER, f"waits for its ready marker: {where}", again_s)


def _is_no_scan(fact: Facts | None) -> bool:
    return fact is not None and fact.family not in USABLE


def _is_text(path: str) -> bool:
    """Tell whether a name can be stored and shown: names are bytes, and not all bytes are text."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_proven(candidate: Candidate, facts: Mapping[str, Facts]) -> bool:
    """Tell whether it is certain that all of it is there and nobody writes to it."""
    group = candidate.group
    if group.temporaries or not all(facts[seen.path].is_closed for seen in group.files):
        return False
    if group.is_folder and _lists_all(group, facts):
        return True
    if group.is_folder and not candidate.was_moved_in:
        return False
    return not group.series_uid and all(facts[seen.path].is_proven for seen in group.files)


# --- DICOMDIR ------------------------------------------------------------------------------------


def _directories(group: Group) -> tuple[str, ...]:
    return tuple(
        seen.path
        for seen in group.members
        if seen.path.rpartition("/")[2].upper().partition(".")[0] == "DICOMDIR"
    )


def _listed(group: Group, facts: Mapping[str, Facts]) -> set[str]:
    """Return the lower-case paths that the DICOMDIRs of a folder name, relative to the root."""
    found: set[str] = set()
    for seen in group.members:
        fact = facts[seen.path]
        base = seen.path.rpartition("/")[0]
        found |= {_plain(f"{base}/{name}") for name in fact.listed}
    return found


def _plain(path: str) -> str:
    return path.lower().removesuffix(";1").rstrip(".")


def _lists_all(group: Group, facts: Mapping[str, Facts]) -> bool:
    """Tell whether DICOMDIRs list exactly what is there, and none of it is proven short."""
    listed = _listed(group, facts)
    others = [s.path for s in group.members if facts[s.path].family != DIRECTORY]
    is_short = any(facts[path].verdict.proof is Proof.INCOMPLETE for path in others)
    return bool(listed) and not is_short and {_plain(path) for path in others} == listed


def _is_satisfied(group: Group, facts: Mapping[str, Facts]) -> bool:
    """Tell whether all that DICOMDIRs list is here, and they list all the DICOM that is here."""
    listed = _listed(group, facts) if group.is_folder else set()
    here = {_plain(seen.path) for seen in group.members}
    dicom = {_plain(path) for path, fact in facts.items() if fact.header is not None}
    return bool(listed) and listed <= here and dicom <= listed


def _unlisted(group: Group, facts: Mapping[str, Facts]) -> str:
    """Say what the DICOMDIRs of a folder name that is not there; "" when there is nothing."""
    if not group.is_folder:
        return ""
    listed = _listed(group, facts)
    here = {_plain(seen.path) for seen in group.members}
    if not listed - here:
        return ""
    return f"{len(listed)} files listed in DICOMDIR, {len(listed & here)} here"


# --- by content ----------------------------------------------------------------------------------


def _judged_by_facts(
    candidate: Candidate,
    facts: Mapping[str, Facts],
    rules: Rules,
    quiet_s: float,
    is_at_once: bool,  # noqa: FBT001 - a step of `judged`
    known: Mapping[str, KnownSeries],
) -> Judgement:
    group = candidate.group
    unreadable = next((fact.unreadable for fact in facts.values() if fact.unreadable), "")
    if unreadable:
        return Judgement(CandidateState.BLOCKED, unreadable)
    members = {seen.path: facts[seen.path] for seen in group.members}
    if not any(fact.family in USABLE for fact in members.values()):
        return _no_scan(group)
    holds_slices = any(fact.family == SLICE for fact in members.values())
    if holds_slices and not is_at_once and quiet_s < rules.series_settle_s:
        return _settling(rules.series_settle_s, quiet_s)
    for fact in members.values():
        if fact.family in USABLE and fact.verdict.proof is Proof.INCOMPLETE:
            return _incomplete(candidate, in_a_sentence(fact.verdict), rules, quiet_s)
    is_wrong = any(fact.verdict.proof is Proof.WRONG for fact in members.values())
    if group.lacks and not is_wrong:
        partners = " and ".join(str(modality) for modality in group.lacks)
        return Judgement(CandidateState.WAITING_PARTNER, f"waits for {partners} of the same name")
    return _judged_by_content(candidate, members, rules, quiet_s, known)


def _no_scan(group: Group) -> Judgement:
    if not group.is_folder:
        return Judgement()
    return Judgement(CandidateState.NO_USABLE_FILE, "no file in it is a scan")


def _judged_by_content(
    candidate: Candidate,
    facts: Mapping[str, Facts],
    rules: Rules,
    quiet_s: float,
    known: Mapping[str, KnownSeries],
) -> Judgement:
    group = candidate.group
    content = sorted_out(group, facts, rules, known)
    if not rules.leaves_in_place:  # there a DICOMDIR also names what was seen before
        content = replace(content, unlisted=_unlisted(group, facts))
    nothing = no_volume(content)
    if nothing and group.is_folder:
        return Judgement(CandidateState.NO_USABLE_FILE, nothing)
    gap = _gap_of(content, facts, rules)
    if gap and not group.is_marked and quiet_s < rules.series_max_wait_s:
        return _held_back(gap, rules.series_max_wait_s - quiet_s)
    return Judgement(plans=plans_of(content, rules, gap=gap))


def _gap_of(content: Content, facts: Mapping[str, Facts], rules: Rules) -> str:
    """Say what is missing of the series; a DICOMDIR that lists all of it, and is whole, settles it.

    It does not make a volume of a few slices.
    """
    if _is_satisfied(content.group, facts):
        return content.too_few(rules.min_slices) if not content.few else ""
    return "; ".join(words for words in (content.missing, content.unlisted) if words)


def _held_back(gap: str, left_s: float) -> Judgement:
    reason = f"{gap}, waiting {left_s:.0f} s more"
    return Judgement(CandidateState.HELD_BACK, reason, min(left_s, TELL_AGAIN_S))


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
    return Judgement(plans=(doomed(candidate.group, problem, rules),))


def series_of(facts: Iterable[Facts | None]) -> set[str]:
    """Return the series UIDs of slices: what may have been claimed before."""
    return {
        fact.header.series_uid
        for fact in facts
        if fact is not None and fact.family == SLICE and fact.header and fact.header.series_uid
    }
