"""The effect `claiming`: a case's files into its claim folder, checked, compared with earlier ones.

Safe to repeat: a rename is judged by what lies at its target. A candidate that turns out not to be
ready goes back to where it lay, and its row is forgotten.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from vpe_watcher import formats
from vpe_watcher.adapters.files import blamed, fault_of
from vpe_watcher.adapters.store import Earlier
from vpe_watcher.core.candidates import (
    Candidate,
    Group,
    Judgement,
    Rules,
    Seen,
    grouped,
    in_a_sentence,
    judged,
    sight,
)
from vpe_watcher.core.errors import (
    ClaimGone,
    InputChanged,
    InputFault,
    StepFault,
    TransientFault,
)
from vpe_watcher.core.model import (
    AT_REST,
    Case,
    FailureClass,
    FileMark,
    Kind,
    Label,
    Move,
    Outcome,
    Problem,
    Proof,
    State,
)
from vpe_watcher.core.wire import case_evidence, merged, parse_job_json
from vpe_watcher.flow.facts import read_facts
from vpe_watcher.flow.places import EVIDENCE
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.relocate import relocate, remove_moved, remove_our_documents

REFUSED = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY, errno.EXDEV}
OK = Outcome(Label.OK)
CLAIM_GONE = "claim_gone"


def claim(case: Case, ports: Ports) -> Outcome:
    """Take a case's files out of the inbox for good; find out whether it is wanted at all."""
    ports.guard(f"inbox:{case.recipe}")
    returned = _gather(case, ports)
    if returned is not None:
        return returned
    if case.doom is not None:
        return Outcome(Label.INPUT, case.doom)
    if case.paid:
        _keep_reference(case, ports)  # a person's retry of the same job
        write_evidence(case, ports, may_be_paid=True)
        return OK
    if case.retries and not case.inputs:
        case = _planned_again(case, ports)
    waits = _take_reference(case, ports)
    if waits is not None:
        return waits
    ports.store.set_claimed(case.case_id, _job_of(case, ports))
    write_evidence(case, ports, may_be_paid=False)
    return _compared_with_earlier(case.case_id, ports)


def write_evidence(case: Case, ports: Ports, *, may_be_paid: bool) -> None:
    """Write `.case.json` beside the claimed files, durably."""
    document = json.dumps(case_evidence(case, may_be_paid=may_be_paid), indent=1)
    with blamed(f"inbox:{case.recipe}"):
        ports.disk.write(ports.places.claim(case) / EVIDENCE, document.encode())


def check_unchanged(case: Case, ports: Ports) -> None:
    """Compare every claimed input with its reference.

    Raises:
        ClaimGone: one is not there.
        InputChanged: one was touched.
    """
    content = ports.places.content(case)
    ports.guard(f"inbox:{case.recipe}")
    with blamed(f"inbox:{case.recipe}"):
        found = {entry.name: ports.disk.look(content / entry.name) for entry in case.inputs}
    for entry in case.inputs:
        seen = found[entry.name]
        if seen is None or seen.kind is not Kind.FILE:
            raise claim_gone()
        if seen.mark != entry.mark:
            raise input_changed(after_notification=case.paid)


def check_present(case: Case, ports: Ports) -> None:
    """Raise ClaimGone if the claimed files are not there; whether they changed is not asked."""
    ports.guard(f"inbox:{case.recipe}")
    with blamed(f"inbox:{case.recipe}"):
        if not ports.disk.exists(ports.places.content(case)):
            raise claim_gone()


def claim_gone() -> ClaimGone:
    """Return the fault for claimed files that are not where they were put."""
    return ClaimGone(
        "The claimed files of this case are gone from the hidden folder of the inbox.",
        code=CLAIM_GONE,
        hint="Nothing was sent again. Find out who removed them; drop the scan again if you "
        "still have it.",
    )


def unreadable(error: OSError, case: Case, ports: Ports) -> StepFault:
    """Return the fault for a claimed file that cannot be read.

    The inbox is blamed only if the daemon cannot use a file of its own there either.
    """
    if isinstance(error, FileNotFoundError):
        return claim_gone()
    if not _probe(ports, case.recipe):
        return fault_of(error, f"inbox:{case.recipe}")
    return TransientFault(
        f"A claimed file of this case cannot be read: {os.strerror(error.errno or 0).lower()}.",
        code="input_unreadable",
        hint="Look at the disk of the inbox and at the permissions of the file, which lies in the "
        "hidden folder of the inbox.",
    )


def input_changed(*, after_notification: bool) -> InputChanged:
    """Return the fault for a claimed file that somebody wrote to."""
    if after_notification:
        return InputChanged(
            "A file of this case was changed after the Engine had been told to start.",
            code="changed_after_notification",
            hint="The result may belong to other data, so nothing was published. "
            "`vpe-watcher retry --yes CASE` sends the file as it is now, at the price of a job.",
        )
    return InputChanged(
        "A file of this case was still being written; it starts again with the new content.",
        code="changed",
    )


# --- gathering -----------------------------------------------------------------------------------


def _gather(case: Case, ports: Ports) -> Outcome | None:
    """Rename what is not yet in the claim. An outcome only when it goes back to the inbox."""
    is_first = case.times["claimed"] is None and case.retries == 0
    problem = rename_all(case, ports)
    if problem is None and is_first and case.times["claimed"] is None and not case.is_settling:
        problem = _changed_since_last_look(case, ports)
    if problem is None:
        if case.retries:
            with blamed(f"inbox:{case.recipe}"):
                remove_our_documents(ports.disk, ports.places.content(case))
        return None
    if not is_first:
        raise claim_gone()
    return _put_back(case, ports, problem)


def rename_all(case: Case, ports: Ports) -> Problem | None:
    """Rename what is not yet in the claim; a problem when that is not possible."""
    claims = ports.places.claims(case.recipe)
    root = f"inbox:{case.recipe}"
    for move in case.moves:
        source, target = Path(move.source), claims / move.target
        with blamed(root):
            if ports.disk.exists(target):
                if case.retries and ports.disk.exists(source):
                    remove_moved(ports.disk, source, target)
                continue
            if not ports.disk.exists(source):
                return Problem(FailureClass.INPUT, "gone", "It went before it could be taken.")
            ports.disk.make_folder(target.parent)
        problem = _rename(source, target, case, ports)
        if problem is not None:
            return problem
    return None


def _rename(source: Path, target: Path, case: Case, ports: Ports) -> Problem | None:
    try:
        if case.retries:
            relocate(ports.disk, source, target, via=target.with_name(f"{target.name}.arriving"))
        else:
            ports.disk.rename(source, target)
    except FileNotFoundError:
        return Problem(FailureClass.INPUT, "gone", "It went before it could be taken.")
    except OSError as error:
        root = f"inbox:{case.recipe}"
        if case.retries or error.errno not in REFUSED or not _probe(ports, case.recipe):
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


def _probe(ports: Ports, recipe: str) -> bool:
    """Tell whether the daemon can rename a file of its own in this inbox."""
    folder = ports.places.claims(recipe)
    one, other = folder / ".probe", folder / ".probed"
    try:
        ports.disk.create(one, b"")
        ports.disk.replace(one, other)
        ports.disk.remove_file(other)
    except OSError:
        return False
    return True


def _changed_since_last_look(case: Case, ports: Ports) -> Problem | None:
    with blamed(f"inbox:{case.recipe}"):
        groups = _claimed_groups(case, ports)
    found = [(seen.path, seen.mark) for group in groups for seen in group.files]
    if sight(found, trusts_inodes=case.sight.startswith("i:")) == case.sight:
        return None
    return Problem(FailureClass.INPUT, "changed", "It changed while it was being taken.")


def _claimed_groups(case: Case, ports: Ports) -> list[Group]:
    """Look at the claim folder as the look before the claim did: what is ignored does not count."""
    tree = ports.disk.tree(ports.places.claim(case))
    seen = [Seen(path, entry.kind, entry.mark) for path, entry in tree]
    return grouped(seen, _rules_again(case, ports))


def _rules_again(case: Case, ports: Ports) -> Rules:
    recipe = ports.rules.recipes[case.recipe]
    return Rules(
        settle_s=0.0,
        incomplete_after_s=0.0,
        patterns=recipe.patterns,
        split_name=formats.split_name,
        ignore=recipe.ignore,
        trusts_inodes=case.sight.startswith("i:"),
    )


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


def _planned_again(case: Case, ports: Ports) -> Case:
    """Judge a case afresh that failed before anything in it was known to be an input."""
    folder = ports.places.claim(case)
    with blamed(f"inbox:{case.recipe}"):
        groups = _claimed_groups(case, ports)
        group = next((one for one in groups if one.path == case.content or not case.content), None)
        if group is None:
            raise claim_gone()
        facts = {one.path: read_facts(ports.disk, folder / one.path) for one in group.files}
    candidate = Candidate(group, group.fingerprint, since=0.0, detected=0.0, looks=2)
    judgement = judged(candidate, facts, _rules_again(case, ports), now=1.0)
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


# --- the reference -------------------------------------------------------------------------------


def _keep_reference(case: Case, ports: Ports) -> None:
    """Make sure that the files are those that the Engine got, and remember how they look now.

    Raises:
        ClaimGone: one is not there.
        InputChanged: one has other content.
    """
    content = ports.places.content(case)
    marks: dict[str, FileMark] = {}
    with blamed(f"inbox:{case.recipe}"):
        for entry in case.inputs:
            seen = ports.disk.look(content / entry.name)
            if seen is None or seen.kind is not Kind.FILE:
                raise claim_gone()
            before, now = entry.mark, seen.mark
            is_touched = (before.size, before.mtime_ns) != (now.size, now.mtime_ns)
            if is_touched and ports.disk.digest(content / entry.name) != entry.sha256:
                raise input_changed(after_notification=True)
            marks[entry.name] = now
    ports.store.keep_reference(case.case_id, marks)


def _take_reference(case: Case, ports: Ports) -> Outcome | None:
    """Read the marks afresh (a rename changes ctime); wait while a changed file is not quiet."""
    content = ports.places.content(case)
    marks: dict[str, FileMark] = {}
    with blamed(f"inbox:{case.recipe}"):
        for entry in case.inputs:
            seen = ports.disk.look(content / entry.name)
            if seen is None or seen.kind is not Kind.FILE:
                raise claim_gone()
            marks[entry.name] = seen.mark
    before = {entry.name: entry.mark for entry in case.inputs}
    ports.store.set_reference(case.case_id, marks)
    if not case.is_settling:
        return None
    if marks != before:
        return _settles("A file of this case is still being written.", case, ports)
    return _proof_again(case, ports)


def _proof_again(case: Case, ports: Ports) -> Outcome | None:
    """Judge the content once more after it changed in the claim."""
    for entry in case.inputs:
        facts = read_facts(ports.disk, ports.places.content(case) / entry.name)
        if facts is None:
            raise claim_gone()
        if facts.verdict.proof in {Proof.COMPLETE, Proof.CANNOT_TELL} and not facts.unreadable:
            continue
        reason = facts.unreadable or in_a_sentence(facts.verdict)
        may_change = facts.unreadable or facts.verdict.proof is Proof.INCOMPLETE
        limit_s = ports.rules.recipes[case.recipe].incomplete_after_s
        if may_change and case.tally.processing_s < limit_s:
            return _settles(f"A file of this case is not complete: {reason}.", case, ports)
        raise InputFault(
            f"A file of this case is not complete or wrong: {reason}.",
            code="incomplete",
            hint="Export or copy the scan again and drop it anew.",
        )
    return None


def _settles(message: str, case: Case, ports: Ports) -> Outcome:
    settle_s = ports.rules.recipes[case.recipe].settle_s
    problem = Problem(FailureClass.INPUT, "settling", message)
    return Outcome(Label.PENDING, problem, retry_after_s=settle_s)


def _job_of(case: Case, ports: Ports) -> dict[str, Any]:
    """Return the job body with the wishes of the case's `job.json` (the first that is there)."""
    recipe = ports.rules.recipes[case.recipe]
    folder = ports.places.claim(case)
    for name in case.job_json:
        with blamed(f"inbox:{case.recipe}"):
            if not ports.disk.exists(folder / name):
                continue
            text = ports.disk.read(folder / name)
        return merged(recipe.job, parse_job_json(text, allowed_keys=recipe.job_json_keys))
    return dict(case.job)


# --- duplicates ----------------------------------------------------------------------------------


def _compared_with_earlier(case_id: str, ports: Ports) -> Outcome:
    case = ports.store.load(case_id)
    if case is None or case.is_rerun or not ports.rules.recipes[case.recipe].skips_duplicates:
        return OK
    alike = [
        earlier
        for earlier in ports.store.earlier_alike(case_id)
        if earlier.content_key or earlier.state not in AT_REST
    ]
    if not alike:
        return OK
    key = _content_key(case, ports)
    same = [earlier for earlier in alike if _key_of_earlier(earlier, ports) in {key, ""}]
    for earlier in same:
        if earlier.state in {State.DONE, State.PARTIAL}:
            ports.store.set_duplicate(case_id, earlier.case_id)
            return Outcome(Label.DUPLICATE)
    for earlier in same:
        if earlier.state not in AT_REST:
            message = f"It may be the same scan as case {earlier.case_id}, which is under way."
            ports.store.set_wait_reason(case_id, message)
            return Outcome(Label.PENDING, Problem(FailureClass.INPUT, "waits_for_same", message))
    for earlier in same:
        if earlier.state is State.HELD or (
            earlier.paid and earlier.state in {State.FAILED, State.CANCELLED}
        ):
            return Outcome(Label.AMBIGUOUS, _ambiguous(earlier.case_id))
    return OK


def _key_of_earlier(earlier: Earlier, ports: Ports) -> str:
    """Return an earlier case's content key; "" while it cannot be told."""
    if earlier.content_key:
        return earlier.content_key
    case = ports.store.load(earlier.case_id)
    if case is None or case.times["claimed"] is None:
        return ""
    try:
        return _content_key(case, ports)
    except (ClaimGone, TransientFault):
        return ""


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


def moves_to_claim(case: Case, ports: Ports) -> tuple[Move, ...]:
    """Return the one rename that brings the input of a case at rest back into its claim."""
    target = case.case_id if not case.content else f"{case.case_id}/{case.content}"
    return (Move(str(ports.places.input_folder(case)), target),)
