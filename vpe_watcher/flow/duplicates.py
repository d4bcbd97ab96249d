"""Is it the same scan as an earlier case? Asked at the claim, before anything costs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from vpe_watcher.adapters.store import Earlier, Remembered
from vpe_watcher.core.errors import ClaimGone, TransientFault
from vpe_watcher.core.model import (
    OK,
    Case,
    FailureClass,
    Label,
    Outcome,
    Problem,
    State,
)
from vpe_watcher.flow.contents import files_of
from vpe_watcher.flow.places import root_key
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.reference import unreadable

WAITS_FOR_SAME = "waits_for_same"
SAME_AS_HELD = "duplicate_ambiguous"
_SENDING = frozenset({State.SUBMITTING, State.UPLOADING, State.NOTIFYING})


def compare_with_earlier(case_id: str, ports: Ports) -> Outcome:
    """Say whether an earlier case has the result, is about to, or may have been paid for it.

    Source: the contract, "Duplicates". Content is digested only where sizes agree.
    """
    case = ports.store.load(case_id)
    if case is None or case.is_rerun:
        return OK
    if case.late_for and case.hold is None and not case.retries:
        return _compare_with_series(case, ports)  # also where duplicates run again: a part is none
    if not ports.rules.recipes[case.recipe].skips_duplicates:
        return OK
    if not ports.store.has_earlier_alike(case_id):
        return OK
    key = _content_key(case, ports)
    for earlier in ports.store.earlier_alike(case_id, content_key=key or None):
        if earlier.is_under_way or earlier.needs_person:
            _find_key(earlier, ports)
    # Reading files takes long: meanwhile a person may have had an earlier case taken up again.
    return _outcome_of(
        case_id,
        [one for one in _alike(case_id, key, ports) if one.content_key in {key, None}],
        ports,
    )


def must_be_first(case: Case, state: State | None, ports: Ports) -> bool:
    """Tell whether it is to be asked once more, as a case moves on, that none came first.

    A person may have had an earlier one taken up again since the claim has asked, and it may have
    come to its end by now.
    """
    if (case.state, state) != (State.CLAIMING, State.SUBMITTING):
        return False
    return _is_compared(case, ports)


def may_send_what_others_sent(case: Case, ports: Ports) -> bool:
    """Tell whether a poisoned case stands past its claim, where nothing compares it any more."""
    return not case.paid and case.due_step in _SENDING and _is_compared(case, ports)


def _is_compared(case: Case, ports: Ports) -> bool:
    recipe = ports.rules.recipes.get(case.recipe)
    return not case.is_rerun and recipe is not None and recipe.skips_duplicates


def wait_for(first_id: str, outcome: Outcome) -> Outcome:
    """Return the outcome of a claim that is to be compared once more with one that came first."""
    problem = _same_as(first_id, "with which it is compared again")
    return replace(outcome, label=Label.PENDING, problem=problem)


def _same_as(earlier_id: str, what: str) -> Problem:
    message = f"It may be the same scan as case {earlier_id}, {what}."
    return Problem(FailureClass.INPUT, WAITS_FOR_SAME, message)


def _outcome_of(case_id: str, same: list[Earlier], ports: Ports) -> Outcome:
    for earlier in same:
        if earlier.has_result:
            ports.store.set_duplicate(case_id, earlier.case_id)
            return Outcome(Label.DUPLICATE)
    for earlier in same:
        if earlier.is_under_way:
            problem = _same_as(earlier.case_id, "which is under way")
            return Outcome(Label.PENDING, problem, waits_for=earlier.case_id)
    for earlier in same:
        if earlier.needs_person:
            return Outcome(Label.AMBIGUOUS, _ambiguous(earlier.case_id))
    return OK


def _compare_with_series(case: Case, ports: Ports) -> Outcome:
    """Judge slices of a series that was claimed before: all are known, or those late are ignored.

    The same instances with other bytes are no duplicate, and no volume of their own: held.
    """
    if any(not entry.slices for entry in case.inputs):
        return Outcome(Label.AMBIGUOUS, _part_alone(case.late_for))  # a mesh came with them
    known = _instances(case, ports)
    own = _digests(case, ports) if case.inputs else {}
    ports.store.set_digests(case.case_id, own)
    for entry in case.inputs:
        for one in entry.slices:
            theirs = known.get(one.sop_instance_uid)
            if theirs is not None and theirs != (one.sha256 or own["", one.name]):
                return Outcome(Label.AMBIGUOUS, _other_content(case.late_for))
    first = ports.store.earlier(case.late_for)
    outcome = _outcome_of(case.case_id, [first] if first else [], ports)
    return outcome if outcome is not OK else Outcome(Label.AMBIGUOUS, _part_alone(case.late_for))


def _part_alone(first_id: str) -> Problem:
    return Problem(
        FailureClass.INPUT,
        "part_of_series",
        f"These are only a part of a series; the whole was case {first_id}, which has no result.",
        "Send the whole series again, or `vpe-watcher retry CASE` to send these together with "
        "what is left of it.",
    )


def _instances(case: Case, ports: Ports) -> dict[str, str]:
    """Return the digests of the instances that earlier cases of the same series hold, by UID."""
    found: dict[str, str] = {}
    uids = {entry.series_uid for entry in case.inputs if entry.series_uid}
    for case_id in ports.store.cases_of_series(case.recipe, uids):
        earlier = ports.store.load(case_id)
        if earlier is None or case_id == case.case_id:
            continue
        with suppress(ClaimGone, TransientFault):
            ports.store.set_digests(case_id, _digests(earlier, ports))
        for entry in (ports.store.load(case_id) or earlier).inputs:
            found |= {s.sop_instance_uid: s.sha256 for s in entry.slices if s.sha256}
    return found


def _other_content(earlier_id: str) -> Problem:
    return Problem(
        FailureClass.INPUT,
        "series_differs",
        f"These slices bear the identifiers of slices of case {earlier_id}, with other content.",
        "Find out which of the two is right, and send the whole series again, as one.",
    )


def remember_known(case: Case, ports: Ports) -> None:
    """Remember files that were left in place and hold what an earlier case holds."""
    inbox = ports.places.inboxes[case.recipe]
    found = []
    owner = case.duplicate_of or case.late_for
    for move in case.moves:
        path = Path(move.source)
        seen = ports.disk.look(path)
        if seen is not None:
            name = path.relative_to(inbox).as_posix()
            found.append(Remembered(name, seen.mark.size, seen.mark.mtime_ns, owner))
    ports.store.remember(root_key(case.recipe, inbox), found)


def _alike(case_id: str, key: str, ports: Ports) -> list[Earlier]:
    return [
        earlier
        for earlier in ports.store.earlier_alike(case_id, content_key=key or None)
        if earlier.content_key or not earlier.state.is_at_rest
    ]


def _find_key(earlier: Earlier, ports: Ports) -> None:
    """Record an earlier case's content key if it is not known and can be told now."""
    if earlier.content_key:
        return
    case = ports.store.load(earlier.case_id)
    if case is None or case.recipe not in ports.places.inboxes:
        return
    if case.times["claimed"] is not None:
        with suppress(ClaimGone, TransientFault):
            _content_key(case, ports)


def _content_key(case: Case, ports: Ports) -> str:
    return ports.store.set_digests(case.case_id, _digests(case, ports))


def _digests(case: Case, ports: Ports) -> dict[tuple[str, str], str]:
    digests: dict[tuple[str, str], str] = {}
    for file in files_of(case, ports):
        if file.sha256 is None:
            try:
                digests[file.key] = ports.disk.digest(file.path)
            except OSError as error:
                raise unreadable(error, case, ports) from error
    return digests


def _ambiguous(earlier_id: str) -> Problem:
    return Problem(
        FailureClass.UNKNOWN,
        SAME_AS_HELD,
        f"It is the same scan as case {earlier_id}, which may have been paid for.",
        f"Look at `vpe-watcher show {earlier_id}` and retry that one if it can be saved. "
        "`vpe-watcher retry --yes CASE` sends this one as a new job, at its price.",
    )
