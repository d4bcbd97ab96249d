"""Slices that came after their series had been claimed.

Unknown ones are held for a person, whose `retry` sends them with the first case's slices, read
where those lie. Known ones are a duplicate.
"""

from __future__ import annotations

from dataclasses import replace

from vpe_watcher.core.model import Case, Input
from vpe_watcher.core.series import zip_names
from vpe_watcher.flow.contents import borrowed
from vpe_watcher.flow.ports import Ports


def with_first_slices(case: Case, ports: Ports) -> Case:
    """Return a retried case of late slices with those of the first case added, durably."""
    if not case.late_for or case.hold is None or not case.retries:
        return case
    first = ports.store.load(case.late_for)
    if first is None or any(one.owner for entry in case.inputs for one in entry.slices):
        return case
    inputs = tuple(_united(entry, first, ports) for entry in case.inputs)
    ports.store.set_inputs(case.case_id, inputs, skipped=case.skipped)
    return ports.store.load(case.case_id) or case


def _united(entry: Input, first: Case, ports: Ports) -> Input:
    earlier = next((one for one in first.inputs if one.series_uid == entry.series_uid), None)
    if earlier is None or not entry.series_uid:
        return entry
    here = {one.sop_instance_uid for one in entry.slices}
    theirs = [one for one in earlier.slices if one.sop_instance_uid not in here]
    slices = (*borrowed(theirs, first.case_id), *entry.slices)
    names = zip_names(len(slices))
    size = ports.rules.zip_size(zip(names, (one.mark.size for one in slices), strict=True))
    return replace(entry, mark=replace(entry.mark, size=size), slices=slices)
