"""What the simulated Engine has seen: tokens, jobs, requests. Tests read it, nothing decides by it.

Jobs live here too, because what a job is and what was seen of it are the same facts.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Upload:
    """One body that arrived complete."""

    time: float
    size: int
    sha256: str
    path: Path


@dataclass(slots=True)
class JobInput:
    """One input of a job: what was asked, what came, when it was said to be finished."""

    modality: str
    extension: str
    download_url: str = ""
    uploads: list[Upload] = field(default_factory=list)
    notifications: list[float] = field(default_factory=list)

    @property
    def is_ready(self) -> bool:
        """Tell whether nothing of this input keeps the job from starting."""
        return bool(self.download_url or self.notifications)


@dataclass(slots=True)
class Job:
    """One job. `started` counts how often it began to compute: what a customer pays for."""

    id: str
    index: int
    version: str
    created: float
    request: dict[str, Any]
    inputs: dict[str, JobInput]
    started: int = 0
    started_at: float | None = None

    def start_if_ready(self, now: float) -> bool:
        """Start when every input is there and it has not started yet; tell whether it did."""
        if self.started or not all(entry.is_ready for entry in self.inputs.values()):
            return False
        self.started += 1
        self.started_at = now
        return True


@dataclass(frozen=True, slots=True)
class Seen:
    """One request. `status` is None when no status line left the house; `path` has no query."""

    time: float
    kind: str
    method: str
    path: str
    status: int | None
    authorization: bool
    job: str | None
    fault: bool


class Ledger:
    """All that was seen. Safe for threads; `lock` also guards every change of a job."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.jobs: dict[str, Job] = {}
        self.requests: list[Seen] = []
        self.tokens_issued = 0

    def count(self, kind: str, status: int | None = None) -> int:
        """Return how many requests of a kind came, or how many got this status."""
        with self.lock:
            fitting = [seen for seen in self.requests if seen.kind == kind]
        return len([seen for seen in fitting if status in (None, seen.status)])

    def job(self, index: int = -1) -> Job:
        """Return a job by its order of arrival, the newest by default."""
        with self.lock:
            return list(self.jobs.values())[index]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values, for `GET /_sandbox/ledger`."""
        with self.lock:
            stray = [
                seen
                for seen in self.requests
                if seen.kind in ("upload", "download") and seen.authorization
            ]
            return {
                "tokens_issued": self.tokens_issued,
                "jobs": [_job_as_json(job) for job in self.jobs.values()],
                "requests": [asdict(seen) for seen in self.requests],
                "presigned_with_authorization": len(stray),
            }


def _job_as_json(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "index": job.index,
        "version": job.version,
        "created": job.created,
        "request": job.request,
        "inputs": {name: _input_as_json(entry) for name, entry in job.inputs.items()},
        "started": job.started,
        "started_at": job.started_at,
    }


def _input_as_json(entry: JobInput) -> dict[str, Any]:
    uploads = [
        {"time": upload.time, "size": upload.size, "sha256": upload.sha256}
        for upload in entry.uploads
    ]
    newest: dict[str, Any] = uploads[-1] if uploads else {"size": None, "sha256": None}
    return {
        "extension": entry.extension,
        "size": newest["size"],
        "sha256": newest["sha256"],
        "uploads": uploads,
        "notifications": list(entry.notifications),
    }
