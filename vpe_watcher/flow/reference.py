"""The reference: how claimed files looked when they were claimed, and whether they still do.

Compared before each upload, before the first notification and before a delivery. A file that
changed before anything was paid starts again; one that changed afterwards is held.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vpe_watcher.adapters.engine import zip_size
from vpe_watcher.adapters.files import fault_of
from vpe_watcher.adapters.leases import Openness
from vpe_watcher.core.content import in_a_sentence
from vpe_watcher.core.errors import (
    ClaimGone,
    InputChanged,
    InputFault,
    StepFault,
    TransientFault,
)
from vpe_watcher.core.model import (
    Case,
    FailureClass,
    FileMark,
    Kind,
    Label,
    Outcome,
    Problem,
    Proof,
    State,
)
from vpe_watcher.core.series import zip_names
from vpe_watcher.flow.blame import can_use
from vpe_watcher.flow.contents import File, files_of
from vpe_watcher.flow.facts import read_facts
from vpe_watcher.flow.ports import Ports

CLAIM_GONE = "claim_gone"


def check_unchanged(case: Case, ports: Ports) -> None:
    """Compare every claimed input with its reference.

    What is held by another case and was paid for may be gone: it was read while it was sent.

    Raises:
        ClaimGone: one is not there.
        TransientFault: one of another case is on its way to its rest.
        InputChanged: one was touched.
    """
    ports.guard(f"inbox:{case.recipe}")
    files = files_of(case, ports)
    with reading(case, ports):
        found = [ports.disk.look(file.path) for file in files]
    for file, seen in zip(files, found, strict=True):
        if seen is None and file.owner and case.paid:
            continue
        if seen is None or seen.kind is not Kind.FILE:
            raise _missing(case, ports)
        if _is_other(file, seen.mark, case):
            raise input_changed(after_notification=case.paid)
    if any(is_open(file, case, ports) for file in files):
        raise _being_written(case)


def check_present(case: Case, ports: Ports) -> None:
    """Raise ClaimGone if the claimed files are not there; whether they changed is not asked."""
    ports.guard(f"inbox:{case.recipe}")
    with reading(case, ports):
        if not all(ports.disk.exists(folder) for folder in _folders(case, ports)):
            raise claim_gone(case)


def _folders(case: Case, ports: Ports) -> set[Path]:
    own = {file.path.parent for file in files_of(case, ports) if not file.owner}
    return own or {ports.places.content(case)}


def _is_other(file: File, mark: FileMark, case: Case) -> bool:
    """Tell whether a file is not what it was; one that another case holds may have been moved."""
    if file.owner:
        return (mark.size, mark.mtime_ns) != (file.mark.size, file.mark.mtime_ns)
    return _comparable(mark, case) != _comparable(file.mark, case)


def is_open(file: File, case: Case, ports: Ports) -> bool:
    """Tell whether somebody is known to have a file of a case open for writing."""
    return not file.owner and ports.openness(case.recipe, file.path) is Openness.OPEN


def _being_written(case: Case) -> StepFault:
    if not case.paid:
        return input_changed(after_notification=False)
    return TransientFault(
        "Somebody has a file of this case open for writing, though nothing in it has changed.",
        code="input_open",
        hint="Close the program that has it open (it lies in the hidden folder of the inbox).",
    )


def keep_reference(case: Case, ports: Ports) -> None:
    """Make sure that the files are those that the Engine got, and remember how they look now.

    Raises:
        ClaimGone: one is not there.
        InputChanged: one has other content.
    """
    marks: dict[tuple[str, str], FileMark] = {}
    with reading(case, ports):
        for file in files_of(case, ports):
            seen = ports.disk.look(file.path)
            if seen is None and file.owner:
                continue
            if seen is None or seen.kind is not Kind.FILE:
                raise claim_gone(case)
            before, now = file.mark, _comparable(seen.mark, case)
            is_touched = (before.size, before.mtime_ns) != (now.size, now.mtime_ns)
            if is_touched and ports.disk.digest(file.path) != file.sha256:
                raise input_changed(after_notification=True)
            marks[file.key] = now
    ports.store.keep_reference(case.case_id, marks)


def take_reference(case: Case, ports: Ports) -> Outcome | None:
    """Read the marks afresh (a rename changes ctime); wait while a changed file is not quiet."""
    files = files_of(case, ports)
    marks: dict[tuple[str, str], FileMark] = {}
    with reading(case, ports):
        for file in files:
            seen = ports.disk.look(file.path)
            if seen is None or seen.kind is not Kind.FILE:
                raise _missing(case, ports)
            marks[file.key] = _comparable(seen.mark, case)
    before = {file.key: _comparable(file.mark, case) for file in files}
    ports.store.set_reference(case.case_id, marks, zip_sizes=_zip_sizes(case, marks))
    if not case.is_settling:
        return None
    if marks != before or any(is_open(file, case, ports) for file in files):
        return settles("A file of this case is still being written.", case, ports)
    return _proof_again(case, ports)


def _zip_sizes(case: Case, marks: dict[tuple[str, str], FileMark]) -> dict[str, int]:
    sizes = {}
    for entry in case.inputs:
        if entry.slices:
            names = zip_names(len(entry.slices))
            found = (marks[one.owner, one.name].size for one in entry.slices)
            sizes[entry.name] = zip_size(zip(names, found, strict=True))
    return sizes


def _comparable(mark: FileMark, case: Case) -> FileMark:
    return mark.comparable(trusts_inodes=case.trusts_inodes)


def _proof_again(case: Case, ports: Ports) -> Outcome | None:
    """Judge the content once more after it changed in the claim."""
    for file in files_of(case, ports):
        facts = read_facts(ports.disk, file.path)
        if facts is None:
            raise claim_gone(case)
        if facts.verdict.proof in {Proof.COMPLETE, Proof.CANNOT_TELL} and not facts.unreadable:
            continue
        reason = facts.unreadable or in_a_sentence(facts.verdict)
        may_change = facts.unreadable or facts.verdict.proof is Proof.INCOMPLETE
        limit_s = ports.rules.recipes[case.recipe].incomplete_after_s
        if may_change and case.tally.processing_s < limit_s:
            return settles(f"A file of this case is not complete: {reason}.", case, ports)
        raise InputFault(
            f"A file of this case is not complete or wrong: {reason}.",
            code="incomplete",
            hint="Export or copy the scan again and drop it anew.",
        )
    return None


def settles(message: str, case: Case, ports: Ports) -> Outcome:
    """Return the outcome of a case whose claimed files are looked at again when they are quiet."""
    settle_s = ports.rules.recipes[case.recipe].settle_s
    problem = Problem(FailureClass.INPUT, "settling", message)
    return Outcome(Label.PENDING, problem, retry_after_s=settle_s)


def claim_gone(case: Case) -> ClaimGone:
    """Return the fault for claimed files that are not where they were put.

    Dropped anew, what is paid for might be paid for twice: put back, the same job goes on.
    """
    goes_on = bool(case.paid and case.job_id)
    return ClaimGone(
        "The claimed files of this case are gone from the hidden folder of the inbox.",
        code=CLAIM_GONE,
        hint="Nothing was sent again. Copy the scan back into the claim folder of this case, then "
        "`vpe-watcher retry CASE`: the same job goes on, which costs nothing. Do not drop it "
        "again: that may be paid for once more."
        if goes_on
        else "Nothing was sent again. Find out who removed them; drop the scan again if you "
        "still have it.",
    )


def _missing(case: Case, ports: Ports) -> StepFault:
    """Return the fault for a file that is not there; one of another case may be on its way."""
    with suppress(OSError):
        files = files_of(case, ports)
        gone = {file.owner for file in files if not ports.disk.exists(file.path)}
        if any(file.owner for file in files) and all(_moves(owner, ports) for owner in gone):
            return slices_moving()
    return claim_gone(case)


def slices_moving() -> TransientFault:
    """Return the fault for slices of another case that are on their way to its rest."""
    return TransientFault(
        "The slices of the first case of this series are being put away.",
        code="slices_moving",
        hint="They are looked for again where they lie then.",
    )


def _moves(owner: str, ports: Ports) -> bool:
    """Tell whether the files of another case are on their way to or from its rest."""
    found = ports.store.load(owner) if owner else None
    return found is not None and found.state in {State.CLAIMING, State.ARCHIVING}


@contextmanager
def reading(case: Case, ports: Ports) -> Iterator[None]:
    """Turn an `OSError` on claimed files into the fault that `unreadable` returns."""
    try:
        yield
    except OSError as error:
        raise unreadable(error, case, ports) from error


def unreadable(error: OSError, case: Case, ports: Ports) -> StepFault:
    """Return the fault for a claimed file that cannot be read.

    The inbox is blamed only if the daemon cannot use a file of its own there either.
    """
    if isinstance(error, FileNotFoundError):
        return _missing(case, ports)
    if not can_use(f"inbox:{case.recipe}", case.recipe, ports):
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
