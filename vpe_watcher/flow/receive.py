"""The effects that bring a result home: `waiting`, `fetching`, `delivering`.

Results gather in a hidden folder of the outbox, each file synced under a temporary name and then
renamed; the folder is published by one rename. What is visible is complete.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from vpe_watcher import formats
from vpe_watcher.adapters.files import TEMPORARY_SUFFIX, blamed
from vpe_watcher.core.errors import EngineFault, LinkExpired, StepFault, TransientFault
from vpe_watcher.core.machine import AT_MOST_FRESH_POLLS
from vpe_watcher.core.model import OK, Case, Input, Label, Outcome, Output, State
from vpe_watcher.core.names import output_name
from vpe_watcher.core.wire import (
    AVAILABLE,
    MISSING,
    asked_upload_url,
    manifest,
    parse_result,
    unanswered,
)
from vpe_watcher.flow.blame import whose_fault
from vpe_watcher.flow.contents import files_of
from vpe_watcher.flow.places import RECORDS
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.records import keep_record
from vpe_watcher.flow.reference import check_unchanged
from vpe_watcher.flow.relocate import settle
from vpe_watcher.flow.send import notify_again
from vpe_watcher.flow.taken import is_taken

RESULT = "result.json"
_VERDICTS = {"complete": State.DONE, "partial": State.PARTIAL, "duplicate": State.DUPLICATE}


def wait(case: Case, ports: Ports) -> Outcome:
    """Ask the Engine once whether the job is finished, and keep its answer."""
    poll = ports.engine.poll(case.job_id or "")
    if poll.body is None:
        notify_again(case, ports)
        return Outcome(Label.PENDING, retry_after_s=poll.retry_after_s)
    result = parse_result(poll.body)
    has_output = any(output.status == AVAILABLE for output in result.outputs)
    if not result.success and not has_output:
        raise EngineFault(
            "The Engine reports that this job failed.",
            code="engine_failed",
            hint="Report the job id to the vendor of the Engine. "
            "`vpe-watcher retry --yes CASE` makes a new job, at its price.",
        )
    is_complete = (
        result.success
        and all(output.status in {AVAILABLE, MISSING} for output in result.outputs)
        and not unanswered(case.job, result.outputs)
    )
    ports.store.set_result(
        case.case_id,
        outputs=result.outputs,
        body=result.body,
        result_status="complete" if is_complete else "partial",
    )
    return OK


# --- fetching ------------------------------------------------------------------------------------


def fetch(case: Case, ports: Ports) -> Outcome:
    """Download every output that has a URL and is not yet staged; one failure stops no other."""
    ports.guard("outbox")
    staging = ports.places.staging(case)
    with blamed("outbox"):
        ports.disk.make_folder(staging)
    faults: list[StepFault] = []
    fetched, taken = 0, {output.file for output in case.outputs if output.file}
    for output in case.outputs:
        if _is_staged(output, staging, ports) or not _is_to_fetch(output):
            continue
        name = output.file or output_name(
            kind=output.kind,
            structures=output.structures,
            extension=output.extension,
            taken=taken,
        )
        taken.add(name)
        try:
            fetched += _fetch_one(case, output, staging / name, ports)
        except (TransientFault, LinkExpired) as fault:
            faults.append(fault)
    if faults:
        raise _worst_of(faults, case)
    return Outcome(Label.OK, bytes=fetched)


def _worst_of(faults: list[StepFault], case: Case) -> StepFault:
    """Return what is to be done first: fresh URLs as long as there are, then patience."""
    has_fresh = case.tally.fresh_polls < AT_MOST_FRESH_POLLS
    return next(
        (fault for fault in faults if isinstance(fault, LinkExpired) is has_fresh), faults[0]
    )


def _is_to_fetch(output: Output) -> bool:
    return output.status == AVAILABLE and (output.url is not None or output.file is not None)


def _is_staged(output: Output, staging: Path, ports: Ports) -> bool:
    if output.file is None:
        return False
    with blamed("outbox"):
        found = ports.disk.look(staging / output.file)
    return found is not None and found.mark.size == output.size


def _fetch_one(case: Case, output: Output, target: Path, ports: Ports) -> int:
    """Download one output to its place in the staging folder; return its size in bytes."""
    if output.url is None:
        raise LinkExpired("A staged result is gone.", code="download_link_expired")
    temporary = target.with_name(f".{target.name}{TEMPORARY_SUFFIX}")
    try:
        with ports.disk.writing(temporary) as file:
            got = ports.engine.download(
                output.url,
                file,
                size=output.announced_size,
                on_progress=lambda now: ports.progress(
                    case.case_id, "download", now, output.announced_size
                ),
                should_stop=lambda: ports.should_stop(case.case_id),
            )
        ports.disk.replace(temporary, target)
    except OSError as error:
        raise whose_fault(error, case, ports, "outbox") from error
    ports.store.set_fetched(
        case.case_id, output.position, file=target.name, size=got.size, sha256=got.sha256
    )
    return got.size


# --- delivering ----------------------------------------------------------------------------------


def deliver(case: Case, ports: Ports) -> Outcome:
    """Publish the result folder by one rename, under a name that nobody has."""
    ports.guard("outbox")
    staging = ports.places.staging(case)
    is_duplicate = case.verdict is State.DUPLICATE
    with blamed("outbox"):
        is_staged = ports.disk.exists(staging)
    if case.publishing and not is_staged:
        with blamed("outbox"):
            settle(ports.disk, staging, ports.places.published(case))
        return _published(case, ports)
    if not is_duplicate:
        check_unchanged(case, ports)
        if not is_staged or not _all_staged(case, staging, ports):
            ports.store.forget_fetched(case.case_id)
            return Outcome(Label.LOST)
    case = _with_final_status(case, ports)
    _remove_leftovers(case, staging, ports)  # makes the folder: once begun, no folder = published
    ports.store.begin_publishing(case.case_id)
    case = ports.store.load(case.case_id) or case
    while True:
        try:
            _publish(case, staging, ports)
        except FileExistsError:
            ports.store.reserve_name(case.case_id, is_taken=lambda name: is_taken(name, ports))
            case = ports.store.load(case.case_id) or case
        else:
            return _published(case, ports)


def _all_staged(case: Case, staging: Path, ports: Ports) -> bool:
    return all(_is_staged(output, staging, ports) for output in case.outputs if output.file)


def _with_final_status(case: Case, ports: Ports) -> Case:
    """Call a result partial when an output that is there could not be fetched."""
    unfetched = any(
        output.status == AVAILABLE
        and output.file is None
        and not asked_upload_url(case.job, output)
        for output in case.outputs
    )
    if case.result_status != "complete" or not unfetched:
        return case
    ports.store.set_result_status(case.case_id, "partial")
    return replace(case, result_status="partial")


def _remove_leftovers(case: Case, staging: Path, ports: Ports) -> None:
    """Remove what a broken-off download left: only what the manifest names is published."""
    wanted = {output.file for output in case.outputs if output.file}
    with blamed("outbox"):
        ports.disk.make_folder(staging)
        for entry in ports.disk.listing(staging):
            if entry.name not in wanted:
                ports.disk.remove_file(staging / entry.name)


def _publish(case: Case, staging: Path, ports: Ports) -> None:
    document = manifest_of(case, ports)
    with blamed("outbox", RECORDS):
        keep_record(case, ports.places.outboxes[case.recipe], ports)
    try:
        ports.disk.write(staging / RESULT, as_text(document))
        ports.disk.rename(staging, ports.places.published(case))
    except FileExistsError:
        raise
    except OSError as error:
        raise whose_fault(error, case, ports, "outbox") from error


def _published(case: Case, ports: Ports) -> Outcome:
    outbox = ports.places.published(case)
    ports.store.set_published(case.case_id, str(outbox), _VERDICTS[case.result_status])
    return OK


def manifest_of(case: Case, ports: Ports) -> dict[str, Any]:
    """Build a case's `result.json`, reading the patient's identifiers from its DICOM input."""
    return manifest(
        case,
        engine_url=ports.rules.engine_url,
        dicom=_identifiers(case, ports) if ports.rules.names_patients else None,
        software=ports.rules.software,
    )


def _identifiers(case: Case, ports: Ports) -> dict[str, str] | None:
    for entry in case.inputs:
        facts = _facts_of(entry, case, ports)
        if facts is not None:
            return {
                "patient_id": facts.patient_id,
                "patient_name": facts.patient_name,
                "birth_date": facts.birth_date,
                "study_uid": facts.study_uid,
                "series_uid": facts.series_uid,
                "accession_number": facts.accession_number,
                "study_date": facts.study_date,
                "series_description": facts.series_description,
            }
    return None


def _facts_of(entry: Input, case: Case, ports: Ports) -> formats.DicomFacts | None:
    """Read the identifiers of an input; None when it has none, or cannot be read.

    The result is worth more than the names, which are in the archive too. Asked twice where it
    lies: slices of another case may come to rest between the question and the opening.
    """
    extension = ".dcm" if entry.slices else entry.extension
    for _ in range(2):
        path = files_of(case, ports, [entry])[0].path
        with suppress(OSError), ports.disk.open(path) as file:
            return formats.identifiers(file, extension)
    return None


def as_text(document: dict[str, Any]) -> bytes:
    """Return a document as people will open it."""
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate becomes its JSON escape
