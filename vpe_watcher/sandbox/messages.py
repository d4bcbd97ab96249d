"""Requests and responses as the rules see them, whichever face carries them.

Never knows a socket, a requests session or a rule of the Engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qsl, urlsplit
from xml.sax.saxutils import escape


class BodyReader(Protocol):
    """Where the bytes of a request come from; reads past the end return nothing."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `url` is absolute or starts with `/`; header names are in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: BodyReader

    @property
    def parts(self) -> SplitResult:
        """Return the parts of the URL."""
        return urlsplit(self.url)

    @property
    def query(self) -> dict[str, str]:
        """Return the decoded query."""
        return dict(parse_qsl(self.parts.query, keep_blank_values=True))

    @property
    def origin(self) -> str:
        """Return scheme and host by which the client reached the sandbox."""
        parts = self.parts
        if parts.netloc:
            return f"{parts.scheme}://{parts.netloc}"
        return f"http://{self.headers.get('host', '127.0.0.1')}"

    @property
    def length(self) -> int | None:
        """Return the announced length of the body in bytes, None if it has none."""
        value = self.headers.get("content-length", "")
        return int(value) if value.isdecimal() else None

    @property
    def is_chunked(self) -> bool:
        """Tell whether the body comes in chunks of unknown total length."""
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def is_authorized(self) -> bool:
        """Tell whether an Authorization header came along, whatever it says."""
        return "authorization" in self.headers


@dataclass(frozen=True, slots=True)
class Breakage:
    """What the face does to the answer on its way out. Sizes in bytes of the answer's body.

    `stall_s`: wait so long once `stall_after` bytes are sent (None: before the status line).
    `cut_after`: close in good order after so many bytes; `reset_after`: reset the connection.
    `reset`: reset it before the first byte of the answer.
    """

    stall_s: float = 0.0
    stall_after: int | None = None
    cut_after: int | None = None
    reset_after: int | None = None
    reset: bool = False

    @property
    def sent_at_most(self) -> int | None:
        """Return how many bytes of the body leave the house, None for all."""
        limits = [limit for limit in (self.cut_after, self.reset_after) if limit is not None]
        return min(limits, default=None)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. `body` is the bytes, or the file that holds them."""

    status: int
    headers: Mapping[str, str]
    body: bytes | Path = b""
    breakage: Breakage = Breakage()

    @property
    def length(self) -> int:
        """Return the length of the whole body in bytes."""
        return self.body.stat().st_size if isinstance(self.body, Path) else len(self.body)


class CappedReader:
    """Reads at most `limit` bytes from another reader."""

    def __init__(self, reader: BodyReader, limit: int) -> None:
        self._reader = reader
        self.left = limit

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, nothing once the limit is reached."""
        data = self._reader.read(min(size, self.left)) if self.left else b""
        self.left -= len(data)
        return data


class RequestCut(Exception):
    """The client went away in the middle of its request: there is nothing to carry out."""


def read_body(request: Request, *, at_most: int = 4 << 20) -> bytes:
    """Return the request's body, cut at `at_most` bytes. Only for small JSON bodies.

    Raises RequestCut if fewer bytes come than were announced.
    """
    pieces: list[bytes] = []
    left = at_most
    while piece := request.body.read(left):
        pieces.append(piece)
        left -= len(piece)
    body = b"".join(pieces)
    if len(body) < min(request.length or 0, at_most):
        raise RequestCut
    return body


def json_response(
    status: int, content: object, *, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer with a JSON body."""
    body = json.dumps(content).encode()
    return Response(status, {"Content-Type": "application/json", **(headers or {})}, body)


def refusal(
    status: int, message: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """Return the Engine's way of saying no: a JSON object with a message."""
    return json_response(status, {"message": message, **more}, headers=headers)


def xml_error(status: int, code: str, message: str) -> Response:
    """Return an object store's way of saying no."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        "<RequestId>SANDBOX</RequestId></Error>"
    )
    return Response(status, {"Content-Type": "application/xml"}, body.encode())
