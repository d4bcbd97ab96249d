"""Looking at claimed files as the look before the claim did, and judging them once more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vpe_watcher import formats
from vpe_watcher.core.candidate import Candidate
from vpe_watcher.core.candidates import Judgement, judged, series_of
from vpe_watcher.core.errors import InputFault
from vpe_watcher.core.grouping import Group, Rules, Seen, grouped
from vpe_watcher.core.joining import joined
from vpe_watcher.core.model import Case, Input, Outcome
from vpe_watcher.core.plans import Plan
from vpe_watcher.flow.facts import read_facts
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.reference import claim_gone, reading, settles


def planned_again(case: Case, ports: Ports) -> Case:
    """Judge a case afresh that failed before anything in it was known to be an input.

    It may turn out that slices are missing, or came late: then it has a `hold` from now on.
    """
    plan = _only_plan(_judged_again(case, ports))
    ports.store.set_inputs(
        case.case_id,
        plan.inputs,
        skipped=plan.skipped,
        hold=plan.hold,
        late_for=plan.late_for,
    )
    return ports.store.load(case.case_id) or case


def taken_in(case: Case, ports: Ports) -> Outcome | None:
    """Plan a case folder again that changed after its claim: a file may have come to it.

    An outcome while it is to be looked at again; None when its inputs are all that is in it.
    """
    if not case.is_settling or not case.content:
        return None
    with reading(case, ports):
        paths = {seen.path for group in claimed_groups(case, ports) for seen in group.files}
    paths -= _of_parts(case, ports)
    if paths <= {f"{case.content}/{name}" for _, name in _names(case.inputs)}:
        return None
    judgement = _judged_again(case, ports)
    plans = judgement.plans
    if not plans or (plans[0].doom is not None and plans[0].doom.code == "incomplete"):
        fault = _still_no_scan(judgement)
        if case.tally.processing_s < ports.rules.recipes[case.recipe].incomplete_after_s:
            return settles(fault.message, case, ports)
        raise fault
    plan = _only_plan(judgement)
    if not _names(case.inputs) < _names(plan.inputs):
        return None  # what is missing of the known ones is told by who looks at them next
    ports.store.set_inputs(case.case_id, plan.inputs, skipped=plan.skipped)
    return settles("A file came to this case after it was taken.", case, ports)


def _of_parts(case: Case, ports: Ports) -> set[str]:
    """Name the files in a claim that other cases are about to take out of it."""
    claim = ports.places.claim(case)
    parts = (ports.store.load(case_id) for case_id in ports.store.parts_of(case.case_id))
    sources = (Path(move.source) for part in parts if part for move in part.moves)
    return {path.relative_to(claim).as_posix() for path in sources if path.is_relative_to(claim)}


def _names(inputs: tuple[Input, ...]) -> set[tuple[str, str]]:
    return {(entry.modality, name) for entry in inputs for name, _ in entry.files}


def _only_plan(judgement: Judgement) -> Plan:
    if len(judgement.plans) > 1:
        raise InputFault(
            "Several series lie in the folder of this one case.",
            code="several_series",
            hint="Drop the folder into the inbox again: each series becomes a case of its own.",
        )
    if not judgement.plans or judgement.plans[0].doom is not None:
        raise _still_no_scan(judgement)
    return judgement.plans[0]


def _judged_again(case: Case, ports: Ports) -> Judgement:
    """Judge what lies in the claim folder now as if it had been quiet for long enough."""
    is_in_place = ports.places.is_in_place(case.recipe)
    folder = ports.places.content(case) if is_in_place else ports.places.claim(case)
    rules = _rules_of(case, ports)
    with reading(case, ports):
        groups = claimed_groups(case, ports)
        if case.content:
            parts = _of_parts(case, ports)
            groups = [_without(one, parts) for one in groups if one.path == case.content]
        facts = {
            seen.path: read_facts(ports.disk, folder / seen.path)
            for group in groups
            for seen in group.files
        }
    candidates = (Candidate(one, one.fingerprint, 0.0, 0.0, looks=2) for one in groups)
    found = joined(candidates, facts, rules, now=1.0)
    if not found:
        raise claim_gone(case)
    known = ports.store.known_series(case.recipe, series_of(facts.values()))
    judgements = [judged(one, facts, rules, now=1.0, known=known) for one in found]
    return next((one for one in judgements if one.plans), judgements[0])


def _without(group: Group, paths: set[str]) -> Group:
    return replace(group, members=tuple(s for s in group.members if s.path not in paths))


def _still_no_scan(judgement: Judgement) -> InputFault:
    doom = judgement.plans[0].doom if judgement.plans else None
    if doom is not None:
        return InputFault(doom.message, code=doom.code, hint=doom.hint)
    return InputFault(
        f"This cannot be sent: {judgement.reason or 'it is not a scan'}.",
        code="not_a_scan",
        hint="Export the scan again and drop it anew.",
    )


def claimed_groups(case: Case, ports: Ports) -> list[Group]:
    """Look at the claim folder as the look before the claim did: what is ignored does not count."""
    if ports.places.is_in_place(case.recipe):
        return grouped(_left_in_place(case, ports), _rules_of(case, ports))
    tree = ports.disk.tree(ports.places.claim(case))
    seen = [Seen(path, entry.kind, entry.mark) for path, entry in tree]
    return grouped(seen, _rules_of(case, ports))


def _left_in_place(case: Case, ports: Ports) -> list[Seen]:
    """Look at the files that a case left in its inbox."""
    inbox = ports.places.inboxes[case.recipe]
    paths = [Path(move.source) for move in case.moves]
    found = [(path.relative_to(inbox).as_posix(), ports.disk.look(path)) for path in paths]
    return [Seen(name, entry.kind, entry.mark) for name, entry in found if entry is not None]


def _rules_of(case: Case, ports: Ports) -> Rules:
    """Return the rules of a second look: nothing waits for time or for a marker any more."""
    recipe = ports.rules.recipes[case.recipe]
    return Rules(
        settle_s=0.0,
        incomplete_after_s=0.0,
        series_settle_s=0.0,
        series_max_wait_s=0.0,
        min_slices=recipe.min_slices,
        zip_size=ports.rules.zip_size,
        patterns=recipe.patterns,
        split_name=formats.split_name,
        ignore=recipe.ignore,
        leaves_in_place=ports.places.is_in_place(case.recipe),
        trusts_inodes=case.sight.startswith("i:"),
    )
