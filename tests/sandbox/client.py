"""A plain client of the sandbox: just requests, no code of the daemon."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO, Any

import requests

from vpe_watcher.sandbox.rules import Sandbox

CREDENTIALS = {
    "grant_type": "client_credentials",
    "audience": "virtualpatientengine.com",
    "client_id": "sandbox",
    "client_secret": "sandbox",
}
STL = {"extension": ".stl", "structures": ["mandible"]}
READY_MADE = "ready-made"
OCTETS = {"Content-Type": "application/octet-stream"}


@dataclass
class FakeClock:
    """Seconds since 1970 that pass only by hand."""

    now: float = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Client:
    """One session against one face of one sandbox."""

    url: str
    session: requests.Session
    sandbox: Sandbox
    clock: FakeClock
    token: str = READY_MADE
    timeout: float = 20
    version: str = "24.06"
    bearer: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bearer = {"Authorization": f"Bearer {self.token}"}

    def ask_token(self, **changes: Any) -> requests.Response:
        """Ask for a token, with other credentials if told."""
        form = {**CREDENTIALS, **changes}
        return self.session.post(f"{self.url}/oauth/token", json=form, timeout=self.timeout)

    def submit(
        self,
        inputs: dict[str, Any] | None = None,
        outputs: dict[str, Any] | None = None,
        **more: Any,
    ) -> requests.Response:
        """Submit a job, one volume and one STL unless told otherwise."""
        body = {
            "inputFiles": inputs or {"cbct": {"extension": ".dcm"}},
            "outputFiles": outputs or {"meshes": [STL]},
            **more,
        }
        return self.post("job", body)

    def post(self, route: str, body: Any) -> requests.Response:
        """Post JSON to a route of the version."""
        return self.session.post(
            f"{self.url}/{self.version}/{route}",
            json=body,
            headers=self.bearer,
            timeout=self.timeout,
        )

    def put(
        self,
        url: str,
        data: bytes | IO[bytes] | Iterable[bytes] = b"scan",
        headers: dict[str, str] | None = None,
    ) -> requests.Response:
        """PUT bytes to a pre-signed URL."""
        return self.session.put(
            url, data=data, headers={**OCTETS, **(headers or {})}, timeout=self.timeout
        )

    def notify(self, url: str, method: str = "PUT") -> requests.Response:
        """Say that an input is uploaded."""
        return self.session.request(method, url, headers=self.bearer, timeout=self.timeout)

    def get(self, url: str, headers: dict[str, str] | None = None) -> requests.Response:
        """GET a pre-signed URL."""
        return self.session.get(url, headers=headers, timeout=self.timeout)

    def poll(self, job_id: str) -> requests.Response:
        """Ask once for a job's results."""
        return self.session.get(
            f"{self.url}/{self.version}/pollJobResults",
            params={"jobId": job_id},
            headers=self.bearer,
            timeout=self.timeout,
        )

    def run(
        self,
        outputs: dict[str, Any] | None = None,
        *,
        data: bytes = b"scan",
        modality: str = "cbct",
        extension: str = ".dcm",
    ) -> str:
        """Submit, upload and notify; return the job's id."""
        answer = self.submit({modality: {"extension": extension}}, outputs).json()
        links = answer["presignedUploadUrl"][modality]
        assert self.put(links["presignedUploadUrl"], data).status_code == 200
        assert self.notify(links["notifyFinishUploadUrl"]).status_code == 200
        return str(answer["jobId"])

    def result(self, job_id: str) -> dict[str, Any]:
        """Poll until there is something else than 202, and return the body."""
        deadline = time.monotonic() + 20
        while (answer := self.poll(job_id)).status_code == 202:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        body: dict[str, Any] = answer.json()
        return body

    def fetched(self, body: dict[str, Any]) -> requests.Response:
        """GET the first mesh of a result."""
        return self.get(body["outputFiles"]["meshes"][0]["url"])

    def links(self) -> tuple[str, str, str]:
        """Submit a job with one volume; return its id, upload URL and notification URL."""
        answer = self.submit().json()
        links = answer["presignedUploadUrl"]["cbct"]
        return answer["jobId"], links["presignedUploadUrl"], links["notifyFinishUploadUrl"]
