"""The reference: how claimed files looked when they were claimed, and whether they still do.

Compared before each upload, before the first notification and before a delivery. A file that
changed before anything was paid starts again; one that changed afterwards is held.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from vpe_watcher.adapters.files import fault_of
from vpe_watcher.core.candidates import in_a_sentence
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
)
from vpe_watcher.flow.blame import can_use
from vpe_watcher.flow.facts import read_facts
from vpe_watcher.flow.ports import Ports

CLAIM_GONE = "claim_gone"


def check_unchanged(case: Case, ports: Ports) -> None:
    """Compare every claimed input with its reference.

    Raises:
        ClaimGone: one is not there.
        InputChanged: one was touched.
    """
    content = ports.places.content(case)
    ports.guard(f"inbox:{case.recipe}")
    with reading(case, ports):
        found = {entry.name: ports.disk.look(content / entry.name) for entry in case.inputs}
    for entry in case.inputs:
        seen = found[entry.name]
        if seen is None or seen.kind is not Kind.FILE:
            raise claim_gone()
        if _comparable(seen.mark, case) != _comparable(entry.mark, case):
            raise input_changed(after_notification=case.paid)


def check_present(case: Case, ports: Ports) -> None:
    """Raise ClaimGone if the claimed files are not there; whether they changed is not asked."""
    ports.guard(f"inbox:{case.recipe}")
    with reading(case, ports):
        if not ports.disk.exists(ports.places.content(case)):
            raise claim_gone()


def keep_reference(case: Case, ports: Ports) -> None:
    """Make sure that the files are those that the Engine got, and remember how they look now.

    Raises:
        ClaimGone: one is not there.
        InputChanged: one has other content.
    """
    content = ports.places.content(case)
    marks: dict[str, FileMark] = {}
    with reading(case, ports):
        for entry in case.inputs:
            seen = ports.disk.look(content / entry.name)
            if seen is None or seen.kind is not Kind.FILE:
                raise claim_gone()
            before, now = entry.mark, _comparable(seen.mark, case)
            is_touched = (before.size, before.mtime_ns) != (now.size, now.mtime_ns)
            if is_touched and ports.disk.digest(content / entry.name) != entry.sha256:
                raise input_changed(after_notification=True)
            marks[entry.name] = now
    ports.store.keep_reference(case.case_id, marks)


def take_reference(case: Case, ports: Ports) -> Outcome | None:
    """Read the marks afresh (a rename changes ctime); wait while a changed file is not quiet."""
    content = ports.places.content(case)
    marks: dict[str, FileMark] = {}
    with reading(case, ports):
        for entry in case.inputs:
            seen = ports.disk.look(content / entry.name)
            if seen is None or seen.kind is not Kind.FILE:
                raise claim_gone()
            marks[entry.name] = _comparable(seen.mark, case)
    before = {entry.name: _comparable(entry.mark, case) for entry in case.inputs}
    ports.store.set_reference(case.case_id, marks)
    if not case.is_settling:
        return None
    if marks != before:
        return settles("A file of this case is still being written.", case, ports)
    return _proof_again(case, ports)


def _comparable(mark: FileMark, case: Case) -> FileMark:
    return mark.comparable(trusts_inodes=case.trusts_inodes)


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


def claim_gone() -> ClaimGone:
    """Return the fault for claimed files that are not where they were put."""
    return ClaimGone(
        "The claimed files of this case are gone from the hidden folder of the inbox.",
        code=CLAIM_GONE,
        hint="Nothing was sent again. Find out who removed them; drop the scan again if you "
        "still have it.",
    )


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
        return claim_gone()
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
