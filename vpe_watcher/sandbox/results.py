"""What a finished job answers: every asked output with its status, size and fresh URL."""

from __future__ import annotations

from typing import Any

from vpe_watcher.sandbox.bucket import result_path
from vpe_watcher.sandbox.context import Context
from vpe_watcher.sandbox.ledger import Job
from vpe_watcher.sandbox.validation import items_of, structures_of
from vpe_watcher.sandbox.workshop import Outcome

NOTICE = "sandbox: iso-surface, not a segmentation"


def result_body(context: Context, job: Job, outcome: Outcome) -> dict[str, Any]:
    """Return the body of a finished job's poll answer; every call signs fresh URLs."""
    has_failed = bool(outcome.error) or not context.options.success
    body: dict[str, Any] = {
        "success": not has_failed,
        "jobId": job.id,
        "engineVersion": context.options.engine_version,
        "notice": NOTICE,
        "outputFiles": {},
    }
    if has_failed:
        body["error"] = outcome.error or "sandbox: the job was told to fail"
    if not outcome.error and (not has_failed or context.options.outputs_when_failed):
        body["outputFiles"] = _outputs(context, job, outcome)
    return body


def _outputs(context: Context, job: Job, outcome: Outcome) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    number = 0
    for kind, wanted in job.request["outputFiles"].items():
        answers = []
        for item in items_of(wanted):
            answers.append(_answer(context, job, outcome, kind, item, number))
            number += 1
        outputs[kind] = answers if isinstance(wanted, list) else answers[0]
    return outputs


def _answer(
    context: Context, job: Job, outcome: Outcome, kind: str, item: dict[str, Any], number: int
) -> dict[str, Any]:
    echo: dict[str, Any] = {
        name: item[name] for name in ("extension", "structures") if name in item
    }
    structures = structures_of(item)
    if kind != "meshes" or all(name in context.options.missing for name in structures):
        return {"status": "Missing", **echo}
    if any(name in context.options.failed for name in structures):
        return {"status": "Failed", **echo, "reason": "sandbox: this structure was told to fail"}
    path = outcome.files.get(item["extension"])
    if path is None:
        reason = f"sandbox: cannot write {item['extension']}"
        return {"status": "Failed", **echo, "reason": reason}
    size = path.stat().st_size + (1 if context.is_size_wrong else 0)
    answer: dict[str, Any] = {"status": "Available", "size": size, **echo}
    if "uploadUrl" not in item:
        link = context.presigned("GET", result_path(job, number, item["extension"]))
        answer[context.options.result_url_key] = link
    return answer
