"""The object store's manners: who may PUT and GET by a pre-signed URL, and how it says no.

Behaves as Amazon S3 does where the Engine's documentation points there. Knows nothing of jobs but
where their bytes go.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

from vpe_watcher.sandbox.context import Context
from vpe_watcher.sandbox.ledger import Job, Upload
from vpe_watcher.sandbox.messages import CappedReader, Request, Response, xml_error
from vpe_watcher.sandbox.signing import SIGNATURE, Seal, verify

BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Received:
    """What came of a body: its size in bytes and its digest."""

    size: int
    sha256: str


def put_upload(context: Context) -> Response:
    """Take an input's bytes, or say why not."""
    request = context.request
    if refused := _door(context) or _put_manners(context):
        return refused
    job = context.house.ledger.jobs.get(context.names["job"])
    if job is None or _key(job, context.names["modality"]) != request_path(request):
        return _no_such_key()
    number = context.house.new_id()
    target = context.house.scratch / "uploads" / f"{number}{Path(request_path(request)).suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    received = _receive(CappedReader(request.body, request.length or 0), target)
    if received.size != request.length:
        target.unlink()
        return xml_error(400, "IncompleteBody", "fewer bytes came than Content-Length said")
    with context.house.ledger.lock:
        upload = Upload(context.now, received.size, received.sha256, target)
        job.inputs[context.names["modality"]].uploads.append(upload)
    return Response(200, {"ETag": f'"{received.sha256[:32]}"'})


def get_result(context: Context) -> Response:
    """Give a result's bytes, or say why not."""
    if refused := _door(context):
        return refused
    job = context.house.ledger.jobs.get(context.names["job"])
    number, _, extension = context.names["file"].partition(".")
    if job is None or not number.isdecimal() or job.started_at is None:
        return _no_such_key()
    outcome = context.house.workshop.outcome(job)
    path = outcome.files.get(f".{extension}") if outcome else None
    if path is None or not path.is_file():
        return _no_such_key()
    body: bytes | Path = path.read_bytes()[:-1] if context.is_size_wrong else path
    return Response(200, {"Content-Type": "application/octet-stream"}, body)


def upload_path(job: Job, modality: str) -> str:
    """Return where in the store an input belongs."""
    return _key(job, modality)


def result_path(job: Job, number: int, extension: str) -> str:
    """Return where in the store an output lies."""
    return f"/_store/results/{job.id}/{number}{extension}"


def request_path(request: Request) -> str:
    """Return the path of a request without its query."""
    return request.parts.path


def _key(job: Job, modality: str) -> str:
    entry = job.inputs.get(modality)
    return f"/_store/uploads/{job.id}/{modality}{entry.extension if entry else ''}"


def _door(context: Context) -> Response | None:
    request = context.request
    if request.is_authorized and SIGNATURE in request.query:
        return xml_error(
            400,
            "InvalidArgument",
            "Only one auth mechanism allowed; only the query string or the Authorization header "
            "should be specified",
        )
    now = math.inf if context.is_link_expired else context.now
    path = request_path(request)
    match verify(context.house.secret, request.method, path, request.query, now):
        case Seal.GOOD:
            return None
        case Seal.EXPIRED:
            return xml_error(403, "AccessDenied", "Request has expired")
        case Seal.ABSENT:
            return xml_error(403, "AccessDenied", "Access Denied")
        case Seal.TAMPERED:
            return xml_error(
                403,
                "SignatureDoesNotMatch",
                "The signature does not match method, path and expiry of this request",
            )


def _put_manners(context: Context) -> Response | None:
    request, expected = context.request, context.options.signed_content_type
    if request.is_chunked or request.length is None:
        return xml_error(
            411, "MissingContentLength", "You must provide the Content-Length HTTP header."
        )
    if expected and request.headers.get("content-type", "") != expected:
        return xml_error(
            403, "SignatureDoesNotMatch", f"The URL is signed for Content-Type {expected}"
        )
    return None


def _receive(body: CappedReader, target: Path) -> Received:
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        while block := body.read(BLOCK):
            file.write(block)
            digest.update(block)
            size += len(block)
    return Received(size, digest.hexdigest())


def _no_such_key() -> Response:
    return xml_error(404, "NoSuchKey", "The specified key does not exist.")
