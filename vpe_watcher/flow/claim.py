"""The effect `claiming`: a case's files into its claim folder, checked, compared with earlier ones.

Safe to repeat: a rename is judged by what lies at its target. A candidate that turns out not to be
ready goes back to where it lay, and its row is forgotten.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

from vpe_watcher.adapters.files import blamed, fault_of
from vpe_watcher.core.grouping import sight
from vpe_watcher.core.model import (
    OK,
    Case,
    FailureClass,
    Label,
    Move,
    Outcome,
    Problem,
)
from vpe_watcher.core.records import PARTS, RECORD, claim_record
from vpe_watcher.core.wire import case_evidence
from vpe_watcher.flow.blame import blamed_for, can_use, whose_fault
from vpe_watcher.flow.duplicates import SAME_AS_HELD, compare_with_earlier, remember_known
from vpe_watcher.flow.late import with_first_slices
from vpe_watcher.flow.places import EVIDENCE, RECORDS
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.records import remove_record
from vpe_watcher.flow.reference import claim_gone, keep_reference, reading, take_reference
from vpe_watcher.flow.relocate import relocate, remove_moved, remove_our_documents
from vpe_watcher.flow.replan import claimed_groups, planned_again, taken_in
from vpe_watcher.flow.wishes import job_of

BLOCKED_AGAIN_S = 600.0
REFUSED = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY, errno.EXDEV}


def claim(case: Case, ports: Ports) -> Outcome:
    """Take a case's files out of the inbox for good; find out whether it is wanted at all."""
    ports.guard(f"inbox:{case.recipe}")
    returned = _gather(case, ports)
    if returned is not None:
        return returned
    if case.doom is None and not case.paid:
        case = with_first_slices(case, ports)
    if case.doom is not None:
        return Outcome(Label.INPUT, case.doom)
    if case.paid:
        keep_reference(case, ports)  # a person's retry of the same job
        write_evidence(case, ports, may_be_paid=True)
        return OK
    if case.retries and not case.inputs:
        case = planned_again(case, ports)
    waits = taken_in(case, ports) or take_reference(case, ports)
    if waits is not None:
        return waits
    version = ports.rules.engine_version
    ports.store.set_claimed(case.case_id, job_of(case, ports), engine_version=version)
    write_evidence(case, ports, may_be_paid=False)
    if case.is_held_back:
        return Outcome(Label.AMBIGUOUS, case.hold)
    return _known_in_place(case, compare_with_earlier(case.case_id, ports), ports)


def _known_in_place(case: Case, outcome: Outcome, ports: Ports) -> Outcome:
    """Let known content that is left in place make no case, and remember whose it is."""
    code = outcome.problem.code if outcome.problem else ""
    is_known = outcome.label is Label.DUPLICATE or code == SAME_AS_HELD
    if not ports.places.is_in_place(case.recipe) or not is_known or case.retries:
        return outcome
    fresh = ports.store.load(case.case_id) or case
    remember_known(fresh, ports)
    return Outcome(Label.RETURNED, outcome.problem)


def write_evidence(case: Case, ports: Ports, *, may_be_paid: bool) -> None:
    """Write `.case.json` beside the claimed files, durably; nowhere if they were left in place.

    It holds the case as its row has it now, and those that are to be taken out of its claim.
    """
    if ports.places.is_in_place(case.recipe):
        return
    case = ports.store.load(case.case_id) or case
    others = map(ports.store.load, ports.store.parts_of(case.case_id))
    parts = {one.case_id: claim_record(one) for one in others if one and not one.times["claimed"]}
    evidence = case_evidence(case, may_be_paid=may_be_paid)
    document = json.dumps({**evidence, RECORD: claim_record(case), PARTS: parts})
    with blamed(f"inbox:{case.recipe}"):
        ports.disk.write(ports.places.claim(case) / EVIDENCE, document.encode())


# --- gathering -----------------------------------------------------------------------------------


def _gather(case: Case, ports: Ports) -> Outcome | None:
    """Rename what is not yet in the claim. An outcome only when it goes back to the inbox."""
    is_first = case.times["claimed"] is None and case.retries == 0
    problem = rename_all(case, ports)
    if problem is None and is_first and case.times["claimed"] is None and not case.is_settling:
        problem = _changed_since_last_look(case, ports)
    if problem is None:
        if case.retries and not ports.places.is_in_place(case.recipe):
            if case.paid:  # before the documents go that say so
                write_evidence(case, ports, may_be_paid=True)
            with reading(case, ports):
                remove_our_documents(ports.disk, ports.places.content(case))
            with blamed("failed", RECORDS):
                remove_record(case, ports.places.failed, ports)
        return None
    if not is_first:
        raise claim_gone(case)
    if ports.places.is_in_place(case.recipe):
        return Outcome(Label.RETURNED, problem)
    if case.split_of or ports.store.is_cancelled_in_part(case.case_id):
        return _kept_back(case, problem)
    return _put_back(case, ports, problem)


def _kept_back(case: Case, problem: Problem) -> Outcome:
    """Keep a part of a folder, which left the inbox with it, and what is cancelled in part.

    In the inbox the latter would be taken and sent anew. What may not be renamed yet is no reason
    to hold a part: its folder would be put away, or deleted, with the part's files in it.
    """
    if problem.code == "gone":
        raise claim_gone(case)
    if problem.code == "blocked":
        return blocked_again(problem)
    return Outcome(Label.CHANGED, problem)


def blocked_again(problem: Problem) -> Outcome:
    """Let a rename be tried again until it succeeds."""
    return Outcome(Label.PENDING, problem, retry_after_s=BLOCKED_AGAIN_S)


def rename_all(case: Case, ports: Ports) -> Problem | None:
    """Rename what is not yet in the claim; a problem when that is not possible.

    What did arrive is durable in both cases: the folder that it left may soon be removed.
    """
    if ports.places.is_in_place(case.recipe):
        return None
    claims = ports.places.claims(case.recipe)
    arrived: set[Path] = set()
    left: set[Path] = set()
    with blamed_for(case, ports, f"inbox:{case.recipe}"):
        _make_durable({claims / move.target for move in case.moves}, claims, ports)
    problem = _rename_each(case, ports, arrived, left)
    with blamed_for(case, ports, f"inbox:{case.recipe}"):
        for folder in sorted(arrived) if problem else (*sorted(arrived), *sorted(left - arrived)):
            ports.disk.sync_folder(folder)  # those it left may be gone, where there is a problem
    return problem


def _rename_each(case: Case, ports: Ports, arrived: set[Path], left: set[Path]) -> Problem | None:
    """Rename file by file, up to a problem; add the folders that are to be synced."""
    claims, root = ports.places.claims(case.recipe), f"inbox:{case.recipe}"
    for move in case.moves:
        source, target = Path(move.source), claims / move.target
        with blamed_for(case, ports, root):
            if ports.disk.exists(target):
                arrived.add(target.parent)  # a life that ended may not have made it durable
                if case.retries and ports.disk.exists(source):
                    remove_moved(ports.disk, source, target)
                continue
            if not ports.disk.exists(source):
                return Problem(FailureClass.INPUT, "gone", "It went before it could be taken.")
            if target.parent not in arrived:
                ports.disk.make_folder(target.parent)
        problem = _rename(source, target, case, ports)
        if problem is not None:
            return problem
        arrived.add(target.parent)
        left.add(source.parent)
    return None


def _make_durable(targets: set[Path], claims: Path, ports: Ports) -> None:
    """Sync what lies above the folders that a life before has made: it may not have come to that.

    Else a power cut takes such a folder, with all that was renamed into it.
    """
    made = {one for target in targets for one in target.parents if one.is_relative_to(claims)}
    for folder in sorted(made - {claims}):
        if ports.disk.exists(folder):
            ports.disk.sync_folder(folder.parent)


def _rename(source: Path, target: Path, case: Case, ports: Ports) -> Problem | None:
    try:
        if case.retries:
            relocate(ports.disk, source, target, via=target.with_name(f"{target.name}.arriving"))
        else:
            ports.disk.rename_unsynced(source, target)
    except FileNotFoundError:
        return Problem(FailureClass.INPUT, "gone", "It went before it could be taken.")
    except OSError as error:
        root = f"inbox:{case.recipe}"
        if case.retries or error.errno not in REFUSED:
            raise whose_fault(error, case, ports, root) from error
        if not can_use(root, case.recipe, ports):
            raise fault_of(error, root) from error
        return _blocked(error)
    return None


def _blocked(error: OSError) -> Problem:
    what = os.strerror(error.errno or 0).lower()
    return Problem(
        FailureClass.ENVIRONMENT,
        "blocked",
        f"It cannot be taken out of the inbox: {what}.",
        "Give the service's user write permission on it (a folder of another user needs it on "
        "the folder itself), or move it out of a mount of its own.",
    )


def _changed_since_last_look(case: Case, ports: Ports) -> Problem | None:
    with reading(case, ports):
        groups = claimed_groups(case, ports)
    found = [(seen.path, seen.mark) for group in groups for seen in group.files]
    if sight(found, trusts_inodes=case.sight.startswith("i:")) == case.sight:
        return None
    return Problem(FailureClass.INPUT, "changed", "It changed while it was being taken.")


def _put_back(case: Case, ports: Ports, problem: Problem) -> Outcome:
    """Return everything to the inbox, so that a writer that goes by path finds its file again."""
    claims = ports.places.claims(case.recipe)
    with blamed(f"inbox:{case.recipe}"):
        for move in reversed(case.moves):
            target = claims / move.target
            if not ports.disk.exists(target):
                continue
            try:
                ports.disk.rename(target, Path(move.source))
            except FileExistsError:
                return Outcome(Label.CHANGED, problem)  # its place is taken: settle where it is
        ports.disk.remove_tree(ports.places.claim(case))
    return Outcome(Label.RETURNED, problem)


def moves_to_claim(case: Case, ports: Ports) -> tuple[Move, ...]:
    """Return the one rename that brings the input of a case at rest back into its claim."""
    if ports.places.is_in_place(case.recipe):
        return case.moves
    target = case.case_id if not case.content else f"{case.case_id}/{case.content}"
    return (Move(str(ports.places.input_folder(case)), target),)
