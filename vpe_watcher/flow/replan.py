"""Looking at claimed files as the look before the claim did, and judging them once more."""

from __future__ import annotations

from vpe_watcher import formats
from vpe_watcher.core.candidates import Candidate, Judgement, judged
from vpe_watcher.core.errors import InputFault
from vpe_watcher.core.grouping import Group, Rules, Seen, grouped
from vpe_watcher.core.model import Case, Input, Outcome
from vpe_watcher.flow.facts import read_facts
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.reference import claim_gone, reading, settles


def planned_again(case: Case, ports: Ports) -> Case:
    """Judge a case afresh that failed before anything in it was known to be an input."""
    judgement = _judged_again(case, ports)
    if judgement.plan is None or judgement.plan.doom is not None:
        raise _still_no_scan(judgement)
    plan = judgement.plan
    ports.store.set_inputs(case.case_id, plan.inputs, skipped=plan.skipped)
    return ports.store.load(case.case_id) or case


def taken_in(case: Case, ports: Ports) -> Outcome | None:
    """Plan a case folder again that changed after its claim: a file may have come to it.

    An outcome while it is to be looked at again; None when its inputs are all that is in it.
    """
    if not case.is_settling or not case.content:
        return None
    with reading(case, ports):
        paths = {seen.path for group in claimed_groups(case, ports) for seen in group.files}
    if paths <= {f"{case.content}/{entry.name}" for entry in case.inputs}:
        return None
    judgement = _judged_again(case, ports)
    plan = judgement.plan
    if plan is None or (plan.doom is not None and plan.doom.code == "incomplete"):
        fault = _still_no_scan(judgement)
        if case.tally.processing_s < ports.rules.recipes[case.recipe].incomplete_after_s:
            return settles(fault.message, case, ports)
        raise fault
    if plan.doom is not None:
        raise _still_no_scan(judgement)
    if not _names(case.inputs) < _names(plan.inputs):
        return None  # what is missing of the known ones is told by who looks at them next
    ports.store.set_inputs(case.case_id, plan.inputs, skipped=plan.skipped)
    return settles("A file came to this case after it was taken.", case, ports)


def _names(inputs: tuple[Input, ...]) -> set[tuple[str, str]]:
    return {(entry.modality, entry.name) for entry in inputs}


def _judged_again(case: Case, ports: Ports) -> Judgement:
    """Judge what lies in the claim folder now as if it had been quiet for long enough."""
    folder = ports.places.claim(case)
    with reading(case, ports):
        groups = claimed_groups(case, ports)
        group = next((one for one in groups if one.path == case.content or not case.content), None)
        if group is None:
            raise claim_gone()
        facts = {one.path: read_facts(ports.disk, folder / one.path) for one in group.files}
    candidate = Candidate(group, group.fingerprint, since=0.0, detected=0.0, looks=2)
    return judged(candidate, facts, _rules_of(case, ports), now=1.0)


def _still_no_scan(judgement: Judgement) -> InputFault:
    doom = judgement.plan.doom if judgement.plan else None
    if doom is not None:
        return InputFault(doom.message, code=doom.code, hint=doom.hint)
    return InputFault(
        f"This cannot be sent: {judgement.reason or 'it is not a scan'}.",
        code="not_a_scan",
        hint="Export the scan again and drop it anew.",
    )


def claimed_groups(case: Case, ports: Ports) -> list[Group]:
    """Look at the claim folder as the look before the claim did: what is ignored does not count."""
    tree = ports.disk.tree(ports.places.claim(case))
    seen = [Seen(path, entry.kind, entry.mark) for path, entry in tree]
    return grouped(seen, _rules_of(case, ports))


def _rules_of(case: Case, ports: Ports) -> Rules:
    recipe = ports.rules.recipes[case.recipe]
    return Rules(
        settle_s=0.0,
        incomplete_after_s=0.0,
        patterns=recipe.patterns,
        split_name=formats.split_name,
        ignore=recipe.ignore,
        trusts_inodes=case.sight.startswith("i:"),
    )
