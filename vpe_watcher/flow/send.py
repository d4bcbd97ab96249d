"""The effects that hand a case to the Engine: `submitting`, `uploading`, `notifying`.

The paid edge runs through here. A job id is stored before anything is done with it; a notification
is recorded as begun, then written beside the files, and only then sent.
"""

from __future__ import annotations

from vpe_watcher.adapters.engine import Sent
from vpe_watcher.core.errors import (
    AnswerLost,
    EnvironmentFault,
    LinkExpired,
    NotificationRefused,
    TransientFault,
    UnknownOutcome,
)
from vpe_watcher.core.model import OK, Case, Input, Label, Notified, Outcome
from vpe_watcher.core.wire import job_request, parse_submitted
from vpe_watcher.flow.claim import write_evidence
from vpe_watcher.flow.contents import parts_of
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.reference import check_present, check_unchanged, unreadable
from vpe_watcher.flow.verdicts import submit_unknown


def submit(case: Case, ports: Ports) -> Outcome:
    """Make a job at the Engine, unless an earlier attempt has made it."""
    check_unchanged(case, ports)
    if case.job_id is None:
        if case.paid:
            return _paid_submit(case, ports)
        if case.engine_version != ports.rules.engine_version:
            # Configured anew since the claim: what is the same scan for one version is not for
            # all. The claim records it, as a death here must not leave a row that was not compared.
            return Outcome(Label.CHANGED)
        _submit(case, ports)
    write_evidence(_fresh(case, ports), ports, may_be_paid=case.paid)
    return OK


def _submit(case: Case, ports: Ports) -> None:
    answer = ports.engine.submit(job_request(case.job, case.inputs))
    to_upload = [entry.modality for entry in case.inputs if not entry.download_url]
    submitted = parse_submitted(answer, modalities=to_upload)
    ports.store.set_job(case.case_id, submitted.job_id, submitted.links)


def _paid_submit(case: Case, ports: Ports) -> Outcome:
    """Submit a job that starts at once: whatever is not certain is held for a person."""
    write_evidence(case, ports, may_be_paid=True)
    try:
        _submit(case, ports)
    except (AnswerLost, TransientFault) as fault:
        raise _unknown_submit() from fault
    except EnvironmentFault as fault:
        if fault.code == "server_error":
            raise _unknown_submit() from fault
        return Outcome(Label.NOT_SENT, fault.problem, fault.breaker, fault.retry_after_s)
    write_evidence(_fresh(case, ports), ports, may_be_paid=True)
    return OK


def _unknown_submit() -> UnknownOutcome:
    problem = submit_unknown("The answer to a submit that starts the Engine at once was lost")
    return UnknownOutcome(problem.message, code=problem.code, hint=problem.hint)


def upload(case: Case, ports: Ports) -> Outcome:
    """Send every input that is not yet with the Engine, and digest what is sent."""
    sent, total = 0, sum(entry.mark.size for entry in case.inputs)
    for entry in case.inputs:
        if not entry.uploaded and not entry.download_url:
            check_unchanged(case, ports)
            done = _upload_one(case, entry, ports, before=sent, total=total)
            ports.store.set_uploaded(case.case_id, entry.modality, done.sha256, slices=done.parts)
        sent += entry.mark.size
    return Outcome(Label.OK, bytes=total)


def _upload_one(case: Case, entry: Input, ports: Ports, *, before: int, total: int) -> Sent:
    if entry.upload_url is None:
        raise LinkExpired("The upload URL of an input is not known.", code="upload_link_expired")
    try:
        return ports.engine.upload(
            entry.upload_url,
            parts_of(case, entry, ports)
            if entry.slices
            else ports.places.content(case) / entry.name,
            size=entry.mark.size,
            modality=entry.modality,
            on_progress=lambda now: ports.progress(case.case_id, "upload", before + now, total),
            should_stop=lambda: ports.should_stop(case.case_id),
            pace=ports.pace_of(case.recipe),
        )
    except OSError as error:
        raise unreadable(error, case, ports) from error


def notify(case: Case, ports: Ports) -> Outcome:
    """Tell the Engine about each input. A refusal is no verdict: the poll decides."""
    if case.paid:
        check_present(case, ports)
    else:
        check_unchanged(case, ports)
    for entry in _to_notify(case):
        if entry.notified is Notified.NO:
            ports.store.begin_notification(case.case_id, entry.modality)
        write_evidence(case, ports, may_be_paid=True)
        _notify_one(case, entry, ports)
    return OK


def notify_again(case: Case, ports: Ports) -> None:
    """Repeat to a job under way what is not known to have been answered.

    Only a row that was rebuilt from its evidence comes to `waiting` with such an input.
    """
    for entry in _to_notify(case):
        _notify_one(case, entry, ports)


def _to_notify(case: Case) -> list[Input]:
    answered = {Notified.DONE, Notified.REFUSED}
    return [one for one in case.inputs if one.notify_url and one.notified not in answered]


def _notify_one(case: Case, entry: Input, ports: Ports) -> None:
    try:
        ports.engine.notify(entry.notify_url or "")
    except NotificationRefused:
        ports.store.set_notified(case.case_id, entry.modality, Notified.REFUSED)
    else:
        ports.store.set_notified(case.case_id, entry.modality, Notified.DONE)


def _fresh(case: Case, ports: Ports) -> Case:
    return ports.store.load(case.case_id) or case
