"""Slices of a series of which others had been claimed before.

Unknown ones are held for a person, whose `retry` sends them with all that earlier cases hold of the
series, read where it lies. Known ones are a duplicate.
"""

from __future__ import annotations

from dataclasses import replace

from vpe_watcher.core.errors import ClaimGone
from vpe_watcher.core.model import Case, Input, Slice, State
from vpe_watcher.core.series import zip_names
from vpe_watcher.flow.contents import borrowed, files_of
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.reference import reading, slices_moving


def with_first_slices(case: Case, ports: Ports) -> Case:
    """Return a retried part of a series with the slices of earlier cases added, durably.

    Raises:
        ClaimGone: the first case's slices are not to be had any more, or differ from these under
            the same identifiers: neither a part alone nor a mixture is ever sent.
    """
    if not case.late_for or not case.retries or case.is_held_back:
        return case
    if any(one.owner for entry in case.inputs for one in entry.slices):
        return case
    inputs = tuple(_united(case, entry, ports) for entry in case.inputs)
    ports.store.set_inputs(case.case_id, inputs, skipped=case.skipped)
    return ports.store.load(case.case_id) or case


def _united(case: Case, entry: Input, ports: Ports) -> Input:
    if not entry.series_uid:
        return entry
    found: dict[str, Slice] = {}
    lost: set[str] = set()
    for case_id in (case.late_for, *ports.store.cases_of_series(case.recipe, {entry.series_uid})):
        earlier = ports.store.load(case_id)
        if earlier is None and case_id == case.late_for:
            raise _first_gone()
        if earlier is None or case_id == case.case_id:
            continue
        with reading(case, ports):
            slices = _here(earlier, entry.series_uid, ports)
        if case_id == case.late_for and not slices:
            raise slices_moving() if _has_moved(earlier, ports) else _first_gone()
        if not slices and ports.store.pruned(case_id):
            lost |= {one.sop_instance_uid for each in earlier.inputs for one in each.slices}
        for one in slices:
            found.setdefault(one.sop_instance_uid, one)
    own = {one.sop_instance_uid: one.sha256 for one in entry.slices}
    if any(own.get(uid) and one.sha256 and own[uid] != one.sha256 for uid, one in found.items()):
        raise _mixed()
    if lost - found.keys() - own.keys():
        raise _first_gone()
    others = [one for uid, one in found.items() if uid not in own]
    slices = (*others, *entry.slices)
    names = zip_names(len(slices))
    size = ports.rules.zip_size(zip(names, (one.mark.size for one in slices), strict=True))
    return replace(entry, mark=replace(entry.mark, size=size), slices=tuple(slices))


def _here(earlier: Case, series_uid: str, ports: Ports) -> tuple[Slice, ...]:
    """Return the slices that a case holds of a series, as another refers to them; all or none."""
    for entry in earlier.inputs:
        if entry.series_uid == series_uid and entry.slices:
            files = files_of(earlier, ports, [entry])
            if all(ports.disk.exists(file.path) for file in files):
                return borrowed(entry.slices, earlier.case_id)
    return ()


def _has_moved(earlier: Case, ports: Ports) -> bool:
    """Tell whether a case's files are on their way to its rest, or have just come there."""
    now = ports.store.load(earlier.case_id)
    return now is not None and (now.state is not earlier.state or now.state is State.ARCHIVING)


def _mixed() -> ClaimGone:
    return ClaimGone(
        "These slices and those of the first case differ under the same identifiers: no volume is "
        "made of both.",
        code="series_differs",
        hint="Find out which of the two is right, and send the whole series again, as one.",
    )


def _first_gone() -> ClaimGone:
    return ClaimGone(
        "The slices of the first case of this series are gone, and a part alone is not sent.",
        code="first_slices_gone",
        hint="Send the whole series again.",
    )
