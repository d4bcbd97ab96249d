"""Looking at claimed files as the look before the claim did, and judging them once more."""

from __future__ import annotations

from vpe_watcher import formats
from vpe_watcher.core.candidates import Candidate, Judgement, judged
from vpe_watcher.core.errors import InputFault
from vpe_watcher.core.grouping import Group, Rules, Seen, grouped
from vpe_watcher.core.model import Case
from vpe_watcher.flow.facts import read_facts
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.reference import claim_gone, reading


def planned_again(case: Case, ports: Ports) -> Case:
    """Judge a case afresh that failed before anything in it was known to be an input."""
    folder = ports.places.claim(case)
    with reading(case, ports):
        groups = claimed_groups(case, ports)
        group = next((one for one in groups if one.path == case.content or not case.content), None)
        if group is None:
            raise claim_gone()
        facts = {one.path: read_facts(ports.disk, folder / one.path) for one in group.files}
    candidate = Candidate(group, group.fingerprint, since=0.0, detected=0.0, looks=2)
    judgement = judged(candidate, facts, _rules_of(case, ports), now=1.0)
    if judgement.plan is None or judgement.plan.doom is not None:
        raise _still_no_scan(judgement)
    plan = judgement.plan
    ports.store.set_inputs(case.case_id, plan.inputs, skipped=plan.skipped)
    return ports.store.load(case.case_id) or case


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
