"""The client against the simulated Engine: one suite for both of its faces."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.engine.conftest import MakeClient
from vpe_watcher.adapters.engine import (
    ClientCredentials,
    EngineClient,
    Part,
    Sent,
    Timeouts,
    zip_size,
)
from vpe_watcher.core.errors import (
    AnswerLost,
    EnvironmentFault,
    HostFault,
    InputChanged,
    InputFault,
    JobRefused,
    LinkExpired,
    TransientFault,
)
from vpe_watcher.sandbox.adapter import SandboxAdapter
from vpe_watcher.sandbox.rules import Sandbox
from vpe_watcher.sandbox.server import SandboxServer

JOB = {
    "inputFiles": {"cbct": {"extension": ".dcm"}},
    "outputFiles": {"meshes": [{"extension": ".stl", "structures": ["mandible"]}]},
}
SCAN = b"\x00" * 128 + b"DICM" + bytes(range(256)) * 3000


@dataclass(frozen=True, slots=True)
class Face:
    """A sandbox and a client of it."""

    sandbox: Sandbox
    client: EngineClient
    scan: Path


@pytest.fixture(params=["server", "adapter"])
def face(request: pytest.FixtureRequest, make_client: MakeClient, tmp_path: Path) -> Iterator[Face]:
    """Give the same sandbox behind a socket and inside the process."""
    scan = tmp_path / "scan.dcm"
    scan.write_bytes(SCAN)
    sandbox = Sandbox(tmp_path / "sandbox", simple=True)

    def made(url: str, **more: Any) -> Face:
        auth = ClientCredentials(
            "sandbox", lambda: "sandbox", f"{url}/oauth/token", "virtualpatientengine.com"
        )
        timeouts = Timeouts(connect_s=2, stall_s=0.5)
        client = make_client(url, auth=auth, timeouts=timeouts, **more)
        return Face(sandbox, client, scan)

    if request.param == "adapter":
        yield made("https://sandbox.test", adapter=SandboxAdapter(sandbox))
    else:
        with SandboxServer(sandbox) as server:
            given = made(server.url)
            yield given
            given.client.close()
    sandbox.close()


def upload(face: Face, url: str) -> str:
    """Send the scan."""
    return face.client.upload(
        url,
        face.scan,
        size=len(SCAN),
        modality="cbct",
        on_progress=lambda _: None,
        should_stop=lambda: False,
    ).sha256


def fetch(face: Face, output: dict[str, Any]) -> bytes:
    """Get an output."""
    target = io.BytesIO()
    face.client.download(
        output["url"],
        target,
        size=output["size"],
        on_progress=lambda _: None,
        should_stop=lambda: False,
    )
    return target.getvalue()


def submitted(face: Face) -> tuple[str, str, str]:
    """Submit and return job id, upload URL and notification URL."""
    answer = face.client.submit(JOB)
    urls = answer["presignedUploadUrl"]["cbct"]
    return answer["jobId"], urls["presignedUploadUrl"], urls["notifyFinishUploadUrl"]


def finished(face: Face, job_id: str) -> dict[str, Any]:
    """Poll until the result is there."""
    for _ in range(2000):
        body = face.client.poll(job_id).body
        if body is not None:
            return body
    pytest.fail("the job never ends")


def run(face: Face) -> tuple[str, dict[str, Any]]:
    """Go all the way to the result."""
    job_id, upload_url, notify_url = submitted(face)
    upload(face, upload_url)
    face.client.notify(notify_url)
    return job_id, finished(face, job_id)


def test_the_whole_way(face: Face) -> None:
    """Submit, upload, notify, poll, download: with one token, and none on pre-signed URLs."""
    job_id, upload_url, notify_url = submitted(face)
    assert face.client.poll(job_id).body is None
    assert upload(face, upload_url) == hashlib.sha256(SCAN).hexdigest()
    face.client.notify(notify_url)
    output = finished(face, job_id)["outputFiles"]["meshes"][0]
    assert len(fetch(face, output)) == output["size"]
    job = face.sandbox.ledger.jobs[job_id]
    assert job.started == 1
    assert job.inputs["cbct"].uploads[0].sha256 == hashlib.sha256(SCAN).hexdigest()
    seen = face.sandbox.ledger.requests
    assert [each.kind for each in seen].count("token") == 1
    assert not any(each.authorization for each in seen if each.kind in {"upload", "download"})
    assert all(each.status in {200, 202} for each in seen)


def test_an_empty_input_is_taken(face: Face) -> None:
    """Content-Length 0, not chunked."""
    _, upload_url, _ = submitted(face)
    face.scan.write_bytes(b"")
    sent = face.client.upload(
        upload_url,
        face.scan,
        size=0,
        modality="cbct",
        on_progress=lambda _: None,
        should_stop=lambda: False,
    )
    assert sent == Sent(hashlib.sha256().hexdigest())


def series_of(face: Face) -> tuple[Part, ...]:
    """Write a series of slices that are longer together than what is read ahead."""
    parts = []
    for number in range(4):
        path = face.scan.with_name(f"Doe^Jane.{number}")
        path.write_bytes(SCAN + bytes([number]))
        parts.append(Part(path, f"{number:06d}.dcm", len(SCAN) + 1))
    return tuple(parts)


def upload_series(face: Face, url: str, parts: tuple[Part, ...], **more: Any) -> Sent:
    """Send a series."""
    known = {"on_progress": lambda _: None, "should_stop": lambda: False}
    size = zip_size((part.name, part.size) for part in parts)
    return face.client.upload(url, parts, size=size, modality="cbct", **(known | more))


def test_a_series_is_one_upload(face: Face) -> None:
    """The store has the bytes that were digested, the same ones from either attempt."""
    parts = series_of(face)
    job_id, upload_url, _ = submitted(face)
    face.sandbox.set_faults([{"on": "upload", "do": {"reset_after": 300_000}}])
    with pytest.raises(HostFault):
        upload_series(face, upload_url, parts)
    face.sandbox.set_faults([])
    sent = [upload_series(face, upload_url, parts) for _ in range(2)]
    uploads = face.sandbox.ledger.jobs[job_id].inputs["cbct"].uploads
    assert [each.sha256 for each in uploads] == [each.sha256 for each in sent]
    assert sent[0] == sent[1]
    with zipfile.ZipFile(uploads[-1].path) as archive:
        assert all(archive.read(part.name) == part.path.read_bytes() for part in parts)


@pytest.mark.parametrize("size_after", [None, 0, len(SCAN), len(SCAN) + 2])
def test_a_series_that_changes_is_no_upload(face: Face, size_after: int | None) -> None:
    """The store never has a whole body, so it has nothing."""
    parts = series_of(face)
    job_id, upload_url, _ = submitted(face)

    def change(_: int) -> None:
        path = parts[-2].path
        if size_after is None:
            path.unlink(missing_ok=True)
        else:
            os.truncate(path, size_after)

    with pytest.raises(InputChanged):
        upload_series(face, upload_url, parts, on_progress=change)
    assert face.sandbox.ledger.jobs[job_id].inputs["cbct"].uploads == []


def test_post_where_put_is_not_known(face: Face) -> None:
    """The other form of the notification."""
    face.sandbox.set_options(notify_method="POST")
    _, result = run(face)
    assert result["success"]


def test_a_revoked_token_is_replaced_once(face: Face) -> None:
    """The next call gets a new one and goes through."""
    submitted(face)
    face.sandbox.revoke_tokens()
    submitted(face)
    assert [each.kind for each in face.sandbox.ledger.requests].count("token") == 2


def test_the_progress_ends_at_the_size(face: Face) -> None:
    """Whoever reads exactly Content-Length bytes has got them all."""
    seen: list[int] = []
    _, upload_url, _ = submitted(face)
    face.client.upload(
        upload_url,
        face.scan,
        size=len(SCAN),
        modality="cbct",
        on_progress=seen.append,
        should_stop=lambda: False,
    )
    assert seen[-1] == len(SCAN)
    assert seen == sorted(set(seen))


@pytest.mark.parametrize(
    ("do", "kind", "code"),
    [
        ({"status": 500}, EnvironmentFault, "server_error"),
        ({"status": 429, "headers": {"Retry-After": "4"}}, EnvironmentFault, "rate_limited"),
        ({"status": 401}, EnvironmentFault, "token_not_accepted"),
        ({"status": 402}, EnvironmentFault, "payment_required"),
        ({"status": 400}, InputFault, "refused_by_engine"),
        ({"redirect": "/elsewhere"}, EnvironmentFault, "redirected"),
        ({"garbage": True}, TransientFault, "answer_garbled"),
        ({"reset": True}, AnswerLost, "connection_broken"),
        ({"truncate": 10}, AnswerLost, "answer_incomplete"),
        ({"stall_s": 30}, AnswerLost, "timed_out"),
    ],
    ids=str,
)
def test_a_submit_that_goes_wrong(
    face: Face, do: dict[str, Any], kind: type[Exception], code: str
) -> None:
    """Both faces break in the same way."""
    face.sandbox.set_faults([{"on": "submit", "do": do}])
    with pytest.raises(kind) as caught:
        face.client.submit(JOB)
    assert type(caught.value) is kind
    assert getattr(caught.value, "code", None) == code


@pytest.mark.parametrize(
    ("do", "kind", "code"),
    [
        ({"expire": True}, LinkExpired, "upload_link_expired"),
        ({"status": 503}, HostFault, "upload_server_error"),
        ({"reset": True}, HostFault, "connection_broken"),
        ({"reset_after": 1000}, HostFault, "connection_broken"),
    ],
    ids=str,
)
def test_an_upload_that_goes_wrong(
    face: Face, do: dict[str, Any], kind: type[Exception], code: str
) -> None:
    """Both faces break in the same way."""
    _, upload_url, _ = submitted(face)
    face.sandbox.set_faults([{"on": "upload", "do": do}])
    with pytest.raises(kind) as caught:
        upload(face, upload_url)
    assert getattr(caught.value, "code", None) == code


@pytest.mark.parametrize(
    ("do", "kind", "code"),
    [
        ({"expire": True}, LinkExpired, "download_link_expired"),
        ({"status": 500}, HostFault, "download_server_error"),
        ({"wrong_size": True}, HostFault, "size_differs"),
        ({"truncate": 20}, HostFault, "answer_incomplete"),
        ({"reset_after": 20}, HostFault, "connection_broken"),
        ({"stall_after": 20, "stall_s": 30}, HostFault, "timed_out"),
    ],
    ids=str,
)
def test_a_download_that_goes_wrong(
    face: Face, do: dict[str, Any], kind: type[Exception], code: str
) -> None:
    """Both faces break in the same way."""
    _, result = run(face)
    face.sandbox.set_faults([{"on": "download", "do": do}])
    with pytest.raises(kind) as caught:
        fetch(face, result["outputFiles"]["meshes"][0])
    assert getattr(caught.value, "code", None) == code


def test_a_job_that_is_not_known(face: Face) -> None:
    """The Engine does not tell about other people's jobs."""
    with pytest.raises(JobRefused):
        face.client.poll("00000000-0000-0000-0000-000000000000")
