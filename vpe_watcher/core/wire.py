"""All JSON that crosses a border: the job request, the Engine's answers, the result manifest.

Both spellings of the Engine's answers are read here and nowhere else. Nothing here does I/O.
Source of the shapes: the Engine's public documentation; the manifest is the project's contract.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from vpe_watcher.core.errors import InputFault, TransientFault
from vpe_watcher.core.model import Case, Input, Output, Problem

NOTICE = "Outputs are proposals and must be checked by a qualified person."
AVAILABLE, MISSING, FAILED = "Available", "Missing", "Failed"
MAX_KEY = 40
JOB_JSON_KEYS = ("outputFiles", "options")
JOB_JSON_LEVELS = 32
JOB_JSON_AT_MOST_BYTES = 1024 * 1024
LARGEST_SIZE = 2**63 - 1
URL = re.compile(r"https?://\S*", re.IGNORECASE)

Json = dict[str, Any]


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Json:
    """Merge two job bodies: objects key by key, everything else (lists too) replaced."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result


def canonical(value: Any) -> str:
    """Return JSON that is equal for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(value: Any) -> str:
    """Return the SHA-256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


# --- job.json ------------------------------------------------------------------------------------


def parse_job_json(text: bytes, *, allowed_keys: Iterable[str]) -> Json:
    """Return the wishes of a `job.json`.

    Raises:
        InputFault: it is no JSON object, or holds a key that this recipe does not allow.
    """
    if len(text) >= JOB_JSON_AT_MOST_BYTES:
        raise _bad_job_json("is larger than 1 MiB")
    try:
        wishes = json.loads(text)
        json.dumps(wishes, allow_nan=False)  # Python reads NaN and 1e999, no Engine does
    except RecursionError as error:
        raise _bad_job_json("is nested too deeply") from error
    except ValueError as error:
        raise _bad_job_json("is not valid JSON") from error
    if _is_deeper_than(JOB_JSON_LEVELS, wishes):
        raise _bad_job_json("is nested too deeply")
    if not isinstance(wishes, dict):
        raise _bad_job_json("is not a JSON object")
    allowed = {*JOB_JSON_KEYS, *allowed_keys} - {"inputFiles"}
    foreign = sorted(set(wishes) - allowed)
    if foreign:
        raise _bad_job_json(f"holds {_named(foreign[0])}, which this recipe does not allow")
    if not isinstance(wishes.get("outputFiles", {}), dict):
        raise _bad_job_json("has an outputFiles that is not an object")
    if any("uploadUrl" in item for item in _objects(wishes.get("outputFiles"))):
        raise _bad_job_json("sets an uploadUrl, which only the configuration may do")
    return wishes


def _named(key: str) -> str:
    """Name a key that looks like one; any other text may be a name, and this goes into the log."""
    is_key = key.isascii() and key.isidentifier() and len(key) <= MAX_KEY
    return f"the key {key!r}" if is_key else "a key"


def _bad_job_json(what: str) -> InputFault:
    return InputFault(
        f"The job.json of this case {what}.",
        code="bad_job_json",
        hint="Correct job.json (it may set outputFiles and options) and drop the scan again.",
    )


def _is_deeper_than(levels: int, value: Any) -> bool:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper_than(levels - 1, item) for item in below)


def _objects(value: Any) -> Iterator[Json]:
    """Walk every JSON object in a value, outermost first."""
    if isinstance(value, dict):
        yield value
        for below in value.values():
            yield from _objects(below)
    elif isinstance(value, list):
        for below in value:
            yield from _objects(below)


# --- submit --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Links:
    """Where one input is uploaded to, and which call tells the Engine that it was."""

    upload_url: str
    notify_url: str


@dataclass(frozen=True, slots=True)
class Submitted:
    """The Engine's answer to a submit."""

    job_id: str
    links: Mapping[str, Links]


def job_request(job: Mapping[str, Any], inputs: Iterable[Input]) -> Json:
    """Build the body of a submit from a job body and the case's inputs."""
    files: Json = {}
    for entry in inputs:
        files[entry.modality] = {"extension": entry.extension}
        if entry.download_url:
            files[entry.modality]["downloadUrl"] = entry.download_url
    return {**job, "inputFiles": files}


def parse_submitted(answer: Mapping[str, Any], *, modalities: Iterable[str]) -> Submitted:
    """Read the answer to a submit in either spelling; `modalities` are those to be uploaded.

    Raises:
        TransientFault: a job id or a link is missing, so the answer is of no use.
    """
    job_id = answer.get("jobId")
    if not isinstance(job_id, str) or not job_id:
        raise _incomplete_answer("no jobId")
    entries = answer.get("presignedUploadUrl")
    links: dict[str, Links] = {}
    for modality in modalities:
        entry = entries.get(modality) if isinstance(entries, dict) else None
        if not isinstance(entry, dict):
            raise _incomplete_answer(f"no upload URL for {modality}")
        upload_url = entry.get("presignedUploadUrl") or entry.get("uploadUrl")
        notify_url = entry.get("notifyFinishUploadUrl") or entry.get("notifyUrl")
        if not _is_url(upload_url) or not _is_url(notify_url):
            raise _incomplete_answer(f"no usable URLs for {modality}")
        links[modality] = Links(upload_url, notify_url)
    return Submitted(job_id, links)


def _is_url(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.lower().startswith(("https://", "http://"))


def _incomplete_answer(what: str) -> TransientFault:
    return TransientFault(
        f"The Engine's answer to the submit is not usable: {what}.",
        code="answer_incomplete",
        hint="This is tried again. If it stays, tell the vendor of the Engine.",
    )


# --- results -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """The Engine's answer to a poll of a finished job."""

    success: bool
    outputs: tuple[Output, ...]
    body: Json  # as received, without pre-signed URLs


def parse_result(body: Mapping[str, Any]) -> Result:
    """Walk a finished job's answer: every object with a `status` is one output file.

    Raises:
        TransientFault: neither `success` nor any output is in it, so it is not a result.
    """
    files = body.get("outputFiles")
    outputs = tuple(_outputs(files if isinstance(files, dict) else {}))
    success = body.get("success")
    if not isinstance(success, bool):
        if not outputs:
            raise TransientFault(
                "The Engine's answer to the poll holds no result.",
                code="answer_incomplete",
                hint="This is tried again. If it stays, tell the vendor of the Engine.",
            )
        success = True
    return Result(success, outputs, without_urls(body))


def _outputs(files: Json) -> Iterator[Output]:
    position = 0
    for kind, value in files.items():
        for item in _objects(value):
            if not isinstance(item.get("status"), str):
                continue
            yield _output(position, kind, item)
            position += 1


def _output(position: int, kind: str, item: Json) -> Output:
    url = item.get("url") or item.get("downloadUrl")
    size = item.get("size")
    extension = item.get("extension")
    return Output(
        position=position,
        kind=kind,
        structures=_structures(item),
        extension=extension if isinstance(extension, str) else "",
        status=item["status"],
        announced_size=size if type(size) is int and 0 <= size <= LARGEST_SIZE else None,
        url=url if _is_url(url) else None,
    )


def _structures(item: Mapping[str, Any]) -> tuple[str, ...]:
    names = item.get("structures")
    if isinstance(names, str):
        return (names,)
    return tuple(map(str, names)) if isinstance(names, list) else ()


def without_urls(value: Any) -> Any:
    """Return JSON without any URL: pre-signed ones are secrets.

    A member whose key or value is a URL goes; within longer words the URL alone goes.
    """
    if isinstance(value, Mapping):
        kept = {key: below for key, below in value.items() if not _is_url(below)}
        return {key: without_urls(below) for key, below in kept.items() if not URL.search(key)}
    if isinstance(value, list):
        return [without_urls(below) for below in value if not _is_url(below)]
    return URL.sub("(URL removed)", value) if isinstance(value, str) else value


def unanswered(job: Mapping[str, Any], outputs: Iterable[Output]) -> list[str]:
    """Name the asked outputs of which the answer says nothing.

    An answer fits by kind, extension and set of structures, as far as these were asked for. A
    shorthand (`all_teeth`) may be answered by items of other names, so any item of that kind
    answers it.
    """
    answered = list(outputs)
    return [
        f"{kind}: {'+'.join(structures) or extension or '?'}"
        for kind, extension, structures in _asked(job)
        if not any(_fits(kind, extension, structures, output) for output in answered)
    ]


def _asked(job: Mapping[str, Any]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    files = job.get("outputFiles")
    for kind, value in files.items() if isinstance(files, Mapping) else ():
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, Mapping):
                continue
            yield kind, str(item.get("extension") or ""), _structures(item)


def _fits(kind: str, extension: str, structures: tuple[str, ...], output: Output) -> bool:
    if output.kind != kind:
        return False
    if any(name.startswith("all_") for name in structures):
        return True
    same_extension = not extension or not output.extension or output.extension == extension
    return same_extension and (not structures or set(output.structures) == set(structures))


def asked_upload_url(job: Mapping[str, Any], output: Output) -> bool:
    """Tell whether the request gave this output an `uploadUrl`, so that it is already there."""
    files = job.get("outputFiles")
    value = files.get(output.kind) if isinstance(files, Mapping) else None
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, Mapping) or not item.get("uploadUrl"):
            continue
        if _fits(output.kind, str(item.get("extension") or ""), _structures(item), output):
            return True
    return False


# --- what we write -------------------------------------------------------------------------------


def manifest(
    case: Case, *, engine_url: str, dicom: Mapping[str, str] | None, software: str
) -> Json:
    """Build `result.json` of a case: the contract's `vpe-watcher/result/1`."""
    document: Json = {
        "schema": "vpe-watcher/result/1",
        "case_id": case.case_id,
        "case_name": case.case_name,
        "recipe": case.recipe,
        "status": case.result_status,
        "notice": NOTICE,
        "engine": {"url": engine_url, "version": case.engine_version, "job_id": case.job_id},
        "inputs": input_rows(case),
        "outputs": [_output_row(entry) for entry in case.outputs],
        "times": dict(case.times),
        "skipped": [dict(entry) for entry in case.skipped],
        "attempts": case.attempts,
        "software": software,
        "engine_result": case.engine_result,
    }
    if dicom is not None:
        document["dicom"] = dict(dicom)
    if case.duplicate_of is not None:
        document["duplicate_of"] = case.duplicate_of
    return document


def input_rows(case: Case) -> list[Json]:
    """Return a case's inputs as its documents name them."""
    return [
        {
            "modality": str(entry.modality),
            "name": entry.name,
            "extension": entry.extension,
            "size": entry.mark.size,
            "sha256": entry.sha256,
        }
        for entry in case.inputs
    ]


def _output_row(entry: Output) -> Json:
    return {
        "kind": entry.kind,
        "structures": list(entry.structures),
        "extension": entry.extension,
        "status": entry.status,
        "file": entry.file,
        "size": entry.size if entry.file else entry.announced_size,
        "sha256": entry.sha256,
    }


def error_document(case: Case, problem: Problem, *, when: str) -> Json:
    """Build `error.json` of a failed case: the contract's `vpe-watcher/error/1`."""
    return {
        "schema": "vpe-watcher/error/1",
        "case_id": case.case_id,
        "case_name": case.case_name,
        "class": str(problem.failure_class),
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "job_id": case.job_id,
        "attempts": case.attempts,
        "when": when,
    }


def case_evidence(case: Case, *, may_be_paid: bool) -> Json:
    """Build `.case.json`, the evidence beside claimed files."""
    return {
        "case_id": case.case_id,
        "recipe": case.recipe,
        "job_id": case.job_id,
        "may_be_paid": may_be_paid,
    }
