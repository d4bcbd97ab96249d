"""The values that go into and come out of the Engine client. Owns no behaviour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """OAuth 2.0 client credentials. `client_secret` is asked anew for each token call."""

    client_id: str
    client_secret: Callable[[], str]
    token_url: str
    audience: str


@dataclass(frozen=True, slots=True)
class ReadyToken:
    """A ready-made access token. `read` is asked for each call: a changed file counts at once."""

    read: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for a connection, and for the next sign of progress on it."""

    connect_s: float = 10
    stall_s: float = 60


@dataclass(frozen=True, slots=True)
class Poll:
    """One look at a job. `body` is None while the Engine is working on it."""

    body: dict[str, Any] | None
    retry_after_s: float | None


@dataclass(frozen=True, slots=True)
class Download:
    """What a download brought: size in bytes and SHA-256 in hexadecimal digits."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a series: where it lies, its name inside the ZIP, its size in bytes."""

    path: Path
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: SHA-256 (hex) of all bytes; for a series also of each part, in their order."""

    sha256: str
    parts: tuple[str, ...] = ()
