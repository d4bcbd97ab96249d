"""The effect `archiving`: the input comes to rest, with the documents that explain its end."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from vpe_watcher.adapters.files import blamed, draft_name
from vpe_watcher.core.model import FAILING, OK, Case, FailureClass, Label, Outcome, Problem, State
from vpe_watcher.core.moments import iso
from vpe_watcher.core.wire import error_document
from vpe_watcher.flow.blame import blamed_for
from vpe_watcher.flow.claim import blocked_again, rename_all
from vpe_watcher.flow.places import EVIDENCE, RECORDS
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.receive import RESULT, as_text, manifest_of
from vpe_watcher.flow.records import keep_record, remove_record
from vpe_watcher.flow.relocate import relocate, remove_moved, settle
from vpe_watcher.flow.taken import is_taken
from vpe_watcher.flow.verdicts import CANCELLED
from vpe_watcher.flow.wishes import keep_wishes

ERROR_FILES = frozenset({"error.json", "error.txt"})
_NO_PROBLEM = Problem(FailureClass.UNKNOWN, "unknown", "The reason was not recorded.")


def archive(case: Case, ports: Ports) -> Outcome:
    """Move a case's input to the archive or to failed; safe to repeat after a crash anywhere."""
    verdict = case.verdict or State.FAILED
    is_failure = verdict in FAILING
    root = "failed" if is_failure else "archive"
    ports.guard(root)
    ports.guard(f"inbox:{case.recipe}")
    if case.times["claimed"] is None:
        blocked = _gather(case, ports)
        if blocked is not None:
            return blocked_again(blocked)  # else it would be taken, and sent, anew
        case = ports.store.load(case.case_id) or case
    waits = _waits(case, ports, deletes=not is_failure and not ports.rules.keeps_inputs)
    if waits is not None:
        return waits
    with blamed_for(case, ports, root, f"inbox:{case.recipe}"):
        if ports.places.is_in_place(case.recipe):
            _leave_documents(case, verdict, ports)
        elif is_failure or ports.rules.keeps_inputs:
            _move_to_rest(case, verdict, ports, root=root)
        else:
            _leave_documents(case, verdict, ports)
        if not ports.places.is_in_place(case.recipe):
            _remove(ports.places.claim(case), ports)
            _remove(ports.places.arriving(case, verdict), ports)
    if case.outputs or case.publishing:
        ports.guard("outbox")  # what is not mounted looks as if nothing were staged there
    with blamed_for(case, ports, "outbox"):
        _remove(ports.places.staging(case), ports)
    with blamed("outbox", RECORDS):
        remove_record(case, ports.places.outboxes[case.recipe], ports)
    if case.retries and root == "archive" and ports.places.is_in_place(case.recipe):
        with suppress(OSError):  # what is left of an earlier end does no harm
            _forget_failure(case, ports)
    return OK


def _waits(case: Case, ports: Ports, *, deletes: bool) -> Outcome | None:
    """Return an outcome while the parts of its folder, or late slices, need what is in its claim.

    The parts are taken out of it first; the slices are sent with those that would be deleted.
    """
    if ports.store.is_waiting_for_family(case.case_id):
        return Outcome(Label.PENDING)
    borrower_id = ports.store.borrower_of(case.case_id) if deletes else ""
    if not borrower_id:
        return None
    message = f"Case {borrower_id} is to be sent with its slices before these are deleted."
    problem = Problem(FailureClass.INPUT, "lends_slices", message)
    return Outcome(Label.PENDING, problem, waits_for=borrower_id)


def _remove(folder: Path, ports: Ports) -> None:
    """Remove a folder of ours for good; what an earlier attempt removed may come back until then.

    A removal that was cut short before its sync is undone by a power cut.
    """
    if ports.disk.exists(folder):
        ports.disk.remove_tree(folder)
    elif ports.disk.exists(folder.parent):
        ports.disk.sync_folder(folder.parent)


def _forget_failure(case: Case, ports: Ports) -> None:
    """Remove what tells of an earlier failure; elsewhere a retry takes it away with the input."""
    folder = ports.places.resting(case, State.FAILED)
    aside = ports.places.arriving(case, State.FAILED)
    _remove(aside, ports)
    if ports.disk.exists(folder) and ERROR_FILES.issuperset(ports.disk.names(folder)):
        ports.disk.rename(folder, aside)
        _remove(aside, ports)
    remove_record(case, ports.places.failed, ports)


def _gather(case: Case, ports: Ports) -> Problem | None:
    """Take what was cancelled before it was claimed out of the inbox: it is not to be taken again.

    Never twice: once the files are at rest, what bears their names in the inbox is somebody's
    next scan. A problem when they are there and may not be taken.
    """
    problem = rename_all(case, ports)
    if problem is not None and problem.code == "blocked" and case.verdict is State.CANCELLED:
        return problem
    keep_wishes(case, ports)
    ports.store.set_gathered(case.case_id)
    return None


def _move_to_rest(case: Case, verdict: State, ports: Ports, *, root: str) -> None:
    content = ports.places.content(case)
    resting = ports.places.resting(case, verdict)
    if not ports.disk.exists(content):
        if ports.disk.exists(resting):
            settle(ports.disk, content, resting)
        else:
            _leave_documents(case, verdict, ports)
        return
    if _has_ended(case, verdict, ports):
        return
    with blamed_for(case, ports, f"inbox:{case.recipe}", root):  # all that lies in the claim yet
        _gather_sidecars(case, content, ports)
        _write_documents(case, verdict, content, ports)
        for name in (draft_name(EVIDENCE), EVIDENCE):
            ports.disk.remove_file(ports.places.claim(case) / name)
    while True:
        try:
            relocate(
                ports.disk,
                content,
                ports.places.resting(case, verdict),
                via=ports.places.arriving(case, verdict),
            )
        except FileExistsError:
            case = _renamed(case, ports)
        else:
            return


def _has_ended(case: Case, verdict: State, ports: Ports) -> bool:
    """End the move of an earlier attempt whose copy is in place; tell whether there was one.

    Asked before the documents are written anew, which would make the source differ from the copy.
    """
    return _holds_documents(case, verdict, ports) and remove_moved(
        ports.disk, ports.places.content(case), ports.places.resting(case, verdict)
    )


def _renamed(case: Case, ports: Ports) -> Case:
    ports.store.reserve_name(case.case_id, is_taken=lambda name: is_taken(name, ports))
    return ports.store.load(case.case_id) or case


def _gather_sidecars(case: Case, content: Path, ports: Ports) -> None:
    """Put what was claimed beside a case folder into it, so that one rename moves all."""
    if not case.content:
        return
    claim = ports.places.claim(case)
    for entry in ports.disk.listing(claim):
        if entry.name not in {case.content, EVIDENCE} and not entry.name.startswith("."):
            ports.disk.rename(claim / entry.name, content / entry.name)


def _leave_documents(case: Case, verdict: State, ports: Ports) -> None:
    """Make a folder that holds only the documents: the input is gone or was not to be kept."""
    while ports.disk.exists(ports.places.resting(case, verdict)):
        if _holds_documents(case, verdict, ports):
            if case.retries:  # they may be those of an earlier end
                _write_documents(case, verdict, ports.places.resting(case, verdict), ports)
            return
        case = _renamed(case, ports)
    staged = ports.places.arriving(case, verdict)
    ports.disk.remove_tree(staged)
    ports.disk.make_folder(staged)
    _write_documents(case, verdict, staged, ports)
    ports.disk.rename(staged, ports.places.resting(case, verdict))


def _holds_documents(case: Case, verdict: State, ports: Ports) -> bool:
    path = ports.places.resting(case, verdict) / _document_name(case, verdict)
    if not ports.disk.exists(path):
        return False
    return case.case_id.encode() in ports.disk.read(path)


def _document_name(case: Case, verdict: State) -> str:
    """Name our document; a person's own file of this name stays what it is."""
    if verdict in FAILING:
        return "error.json"
    if RESULT in {entry["name"] for entry in case.skipped}:
        return f"result.{case.case_id}.json"
    return RESULT


def _write_documents(case: Case, verdict: State, folder: Path, ports: Ports) -> None:
    with blamed("failed" if verdict in FAILING else "archive", RECORDS):
        keep_record(case, ports.places.rest(verdict), ports)
    if verdict in FAILING:
        problem = case.problem or _NO_PROBLEM
        if verdict is State.CANCELLED:
            problem = CANCELLED
        document = error_document(case, problem, when=iso(ports.now()))
        ports.disk.write(folder / "error.json", as_text(document))
        ports.disk.write(folder / "error.txt", _in_words(case, problem).encode())
        return
    content = as_text(manifest_of(case, ports))
    ports.disk.write(folder / _document_name(case, verdict), content)


def _in_words(case: Case, problem: Problem) -> str:
    lines = [
        f"{case.case_name}: no result.",
        "",
        f"What happened: {problem.message}",
        f"What to do:    {problem.hint or 'Run `vpe-watcher show ' + case.case_id + '`.'}",
        "",
        f"Case id: {case.case_id}",
        f"Job id:  {case.job_id or 'none, nothing was sent'}",
    ]
    return "\n".join(lines) + "\n"
