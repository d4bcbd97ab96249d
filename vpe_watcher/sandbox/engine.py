"""The Engine's own calls: token, submit, notify, poll.

Never computes a mesh and never holds a file's bytes.
"""

from __future__ import annotations

import json
import math
from typing import Any

from vpe_watcher.sandbox.bucket import upload_path
from vpe_watcher.sandbox.context import Context
from vpe_watcher.sandbox.ledger import Job, JobInput
from vpe_watcher.sandbox.messages import Response, json_response, read_body, refusal
from vpe_watcher.sandbox.results import result_body
from vpe_watcher.sandbox.validation import complaint_about

OLD_VERSIONS = ("v0", "v1", "v2")
SPELLINGS = {
    "presigned": ("presignedUploadUrl", "notifyFinishUploadUrl"),
    "plain": ("uploadUrl", "notifyUrl"),
}


def issue_token(context: Context) -> Response:
    """Answer `POST /oauth/token`."""
    if context.request.method != "POST":
        return _not_allowed("POST")
    form = _json_object(context)
    if form is None:
        return json_response(400, {"error": "invalid_request", "error_description": "not JSON"})
    denial = context.house.accounts.judge(form)
    if denial:
        content = {"error": denial.error, "error_description": denial.description}
        return json_response(denial.status, content)
    with context.house.ledger.lock:
        context.house.ledger.tokens_issued += 1
    lifetime_s = context.options.token_expiry_s
    token = context.house.accounts.issue(context.now + lifetime_s)
    return json_response(
        200, {"access_token": token, "token_type": "Bearer", "expires_in": int(lifetime_s)}
    )


def submit_job(context: Context) -> Response:
    """Answer `POST /{version}/job`; on old Engines that is `/generic-job`."""
    if context.names["route"] != _submit_route(context.names["version"]):
        return refusal(404, f"no such route on version {context.names['version']}")
    if context.request.method != "POST":
        return _not_allowed("POST")
    if refused := _bearer_refusal(context):
        return refused
    body = _json_object(context)
    complaint = "the body is not a JSON object" if body is None else complaint_about(body)
    if body is None or complaint:
        return refusal(400, complaint)
    job = _open_job(context, body)
    return json_response(200, {"jobId": job.id, "presignedUploadUrl": _links(context, job)})


def notify_upload(context: Context) -> Response:
    """Answer the notification that an input is uploaded; the last one starts the job."""
    if context.request.method != context.options.notify_method:
        return _not_allowed(context.options.notify_method)
    if refused := _bearer_refusal(context):
        return refused
    with context.house.ledger.lock:
        job = context.house.ledger.jobs.get(context.names["job"])
        entry = job.inputs.get(context.names["modality"]) if job else None
        if job is None or entry is None or entry.download_url:
            return refusal(404, "no such job or input")
        if not entry.uploads:
            return refusal(400, "nothing has been uploaded for this input")
        entry.notifications.append(context.now)
        has_started = job.start_if_ready(context.now)
    if has_started:
        context.house.workshop.begin(job)
    return json_response(200, {})


def poll_job(context: Context) -> Response:
    """Answer `GET /{version}/pollJobResults?jobId=`: 202 while there is nothing to tell."""
    if context.request.method != "GET":
        return _not_allowed("GET")
    if refused := _bearer_refusal(context):
        return refused
    job = context.house.ledger.jobs.get(context.request.query.get("jobId", ""))
    if job is None:
        return refusal(404, "no such job")
    if job.started_at is None or context.now < job.started_at + context.options.processing_s:
        return _still_working()
    outcome = context.house.workshop.outcome(job)
    if outcome is None:
        return _still_working()
    return json_response(200, result_body(context, job, outcome))


def _submit_route(version: str) -> str:
    return "generic-job" if version in OLD_VERSIONS else "job"


def _open_job(context: Context, body: dict[str, Any]) -> Job:
    ledger = context.house.ledger
    inputs = {
        name: JobInput(name, wanted["extension"], wanted.get("downloadUrl", ""))
        for name, wanted in body["inputFiles"].items()
    }
    with ledger.lock:
        job = Job(
            context.house.new_id(),
            len(ledger.jobs),
            context.names["version"],
            context.now,
            body,
            inputs,
        )
        ledger.jobs[job.id] = job
        has_started = job.start_if_ready(context.now)
    if has_started:
        context.house.workshop.begin(job)
    return job


def _links(context: Context, job: Job) -> dict[str, dict[str, str]]:
    upload_name, notify_name = SPELLINGS[context.options.spelling]
    return {
        modality: {
            upload_name: context.presigned("PUT", upload_path(job, modality)),
            notify_name: f"{context.request.origin}/{job.version}/jobs/{job.id}"
            f"/inputs/{modality}/finished",
        }
        for modality, entry in job.inputs.items()
        if not entry.download_url
    }


def _json_object(context: Context) -> dict[str, Any] | None:
    try:
        content = json.loads(read_body(context.request))
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _bearer_refusal(context: Context) -> Response | None:
    now = math.inf if context.is_link_expired else context.now
    if context.house.accounts.knows(context.request.headers.get("authorization", ""), now):
        return None
    return refusal(401, "Unauthorized", headers={"WWW-Authenticate": "Bearer"})


def _still_working() -> Response:
    return json_response(202, {"message": "the job is not finished"})


def _not_allowed(method: str) -> Response:
    return refusal(405, f"only {method} is allowed here", headers={"Allow": method})
