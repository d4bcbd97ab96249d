"""Is it the same scan as an earlier case? Asked at the claim, before anything costs."""

from __future__ import annotations

from contextlib import suppress

from vpe_watcher.adapters.store import Earlier
from vpe_watcher.core.errors import ClaimGone, TransientFault
from vpe_watcher.core.model import AT_REST, OK, Case, FailureClass, Label, Outcome, Problem, State
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.reference import unreadable

WAITS_FOR_SAME = "waits_for_same"


def compare_with_earlier(case_id: str, ports: Ports) -> Outcome:
    """Say whether an earlier case has the result, is about to, or may have been paid for it.

    Source: the contract, "Duplicates". Content is digested only where sizes agree.
    """
    case = ports.store.load(case_id)
    if case is None or case.is_rerun or not ports.rules.recipes[case.recipe].skips_duplicates:
        return OK
    alike = _alike(case_id, ports)
    if not alike:
        return OK
    key = _content_key(case, ports)
    for earlier in alike:
        _find_key(earlier, ports)
    # Reading files takes long: meanwhile a person may have had an earlier case taken up again.
    same = [one for one in _alike(case_id, ports) if one.content_key in {key, None}]
    for earlier in same:
        if earlier.state in {State.DONE, State.PARTIAL}:
            ports.store.set_duplicate(case_id, earlier.case_id)
            return Outcome(Label.DUPLICATE)
    for earlier in same:
        if earlier.state not in AT_REST:
            message = f"It may be the same scan as case {earlier.case_id}, which is under way."
            ports.store.set_wait_reason(case_id, message)
            return Outcome(Label.PENDING, Problem(FailureClass.INPUT, WAITS_FOR_SAME, message))
    for earlier in same:
        if earlier.state is State.HELD or (
            earlier.paid and earlier.state in {State.FAILED, State.CANCELLED}
        ):
            return Outcome(Label.AMBIGUOUS, _ambiguous(earlier.case_id))
    return OK


def _alike(case_id: str, ports: Ports) -> list[Earlier]:
    return [
        earlier
        for earlier in ports.store.earlier_alike(case_id)
        if earlier.content_key or earlier.state not in AT_REST
    ]


def _find_key(earlier: Earlier, ports: Ports) -> None:
    """Record an earlier case's content key if it is not known and can be told now."""
    if earlier.content_key:
        return
    case = ports.store.load(earlier.case_id)
    if case is not None and case.times["claimed"] is not None:
        with suppress(ClaimGone, TransientFault):
            _content_key(case, ports)


def _content_key(case: Case, ports: Ports) -> str:
    content = ports.places.content(case)
    digests: dict[str, str] = {}
    for entry in case.inputs:
        if entry.sha256 is not None:
            continue
        try:
            digests[entry.modality] = ports.disk.digest(content / entry.name)
        except OSError as error:
            raise unreadable(error, case, ports) from error
    return ports.store.set_digests(case.case_id, digests)


def _ambiguous(earlier_id: str) -> Problem:
    return Problem(
        FailureClass.UNKNOWN,
        "duplicate_ambiguous",
        f"It is the same scan as case {earlier_id}, which may have been paid for.",
        f"Look at `vpe-watcher show {earlier_id}` and retry that one if it can be saved. "
        "`vpe-watcher retry --yes CASE` sends this one as a new job, at its price.",
    )
