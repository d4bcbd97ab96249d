"""The sandbox's face inside a process: a transport adapter for `requests` sessions.

Fails exactly as requests and urllib3 do over a real socket. Never waits: a stall that is longer
than the caller's time-out is a time-out at once. Knows no rule.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPResponse
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import (
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)

from vpe_watcher.sandbox.messages import BodyReader, Breakage, Request, Response
from vpe_watcher.sandbox.rules import Sandbox

Timeout = None | float | tuple[float | None, float | None]


class SandboxAdapter(BaseAdapter):
    """Mount it for the base URL: `session.mount("https://sandbox.test", SandboxAdapter(sandbox))`.

    With `down` set every connection is refused.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__()
        self.sandbox = sandbox
        self.down = False
        self._builder = HTTPAdapter()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 - the signature of requests
        timeout: Any = None,
        verify: bool | str = True,  # noqa: ARG002, FBT001, FBT002
        cert: Any = None,  # noqa: ARG002
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> requests.Response:
        """Let the rules answer one prepared request."""
        if self.down:
            raise _refused(request)
        response = self.sandbox.handle(_translate(request))
        breakage = response.breakage
        if breakage.stall_after is None and _is_too_long(breakage.stall_s, timeout):
            raise requests.ReadTimeout(_timed_out(request), request=request)
        if breakage.reset:
            fault = ProtocolError("Connection aborted.", _reset_error())
            raise requests.ConnectionError(fault, request=request)
        answer = self._builder.build_response(request, _raw(request, response, timeout))
        if not stream:
            _ = answer.content
        return answer

    def close(self) -> None:
        """Hold nothing, so close nothing."""


class _IterableReader:
    """Reads from an iterable of blocks, as requests sends one."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        while len(self._rest) < size:
            block = next(self._blocks, None)
            if block is None:
                break
            self._rest += block
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class _BrokenBody(io.RawIOBase):
    """An answer's body that ends, stalls or breaks where it is told to."""

    def __init__(self, body: bytes | Path, breakage: Breakage, *, is_stalling: bool) -> None:
        super().__init__()
        self._file: IO[bytes] = body.open("rb") if isinstance(body, Path) else io.BytesIO(body)
        self._breakage = breakage
        self._is_stalling = is_stalling
        self._sent = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if self._is_stalling and self._sent == self._breakage.stall_after:
            raise TimeoutError("timed out")
        size = min([len(buffer), *self._borders()])
        data = self._file.read(size)
        if not data and self._sent == self._breakage.reset_after:
            raise _reset_error()
        buffer[: len(data)] = data
        self._sent += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _borders(self) -> Iterator[int]:
        if self._breakage.sent_at_most is not None:
            yield self._breakage.sent_at_most - self._sent
        if self._is_stalling and self._breakage.stall_after is not None:
            yield self._breakage.stall_after - self._sent


def _translate(request: requests.PreparedRequest) -> Request:
    headers = {name.lower(): _text(value) for name, value in request.headers.items()}
    return Request(request.method or "GET", request.url or "", headers, _reader(request.body))


def _reader(body: Any) -> BodyReader:
    if body is None or isinstance(body, str | bytes):
        return io.BytesIO(body.encode() if isinstance(body, str) else body or b"")
    if hasattr(body, "read"):
        return cast("BodyReader", body)
    return _IterableReader(body)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _raw(request: requests.PreparedRequest, response: Response, timeout: Timeout) -> HTTPResponse:
    breakage = response.breakage
    is_stalling = breakage.stall_after is not None and _is_too_long(breakage.stall_s, timeout)
    body = b"" if request.method == "HEAD" else response.body
    return HTTPResponse(
        body=io.BufferedReader(_BrokenBody(body, breakage, is_stalling=is_stalling), 1 << 16),
        headers={**response.headers, "Content-Length": str(response.length)},
        status=response.status,
        request_method=request.method,
        preload_content=False,
        pool=_pool(request),
    )


def _is_too_long(stall_s: float, timeout: Timeout) -> bool:
    limit = timeout[1] if isinstance(timeout, tuple) else timeout
    limit = getattr(limit, "read_timeout", limit)
    return isinstance(limit, int | float) and stall_s >= limit


def _pool(request: requests.PreparedRequest) -> HTTPConnectionPool:
    return HTTPConnectionPool(requests.compat.urlparse(request.url or "").hostname or "sandbox")


def _timed_out(request: requests.PreparedRequest) -> ReadTimeoutError:
    return ReadTimeoutError(_pool(request), request.path_url, "Read timed out.")


def _reset_error() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


def _refused(request: requests.PreparedRequest) -> requests.ConnectionError:
    pool = _pool(request)
    reason = NewConnectionError(
        HTTPConnection(pool.host), "Failed to establish a new connection: Connection refused"
    )
    return requests.ConnectionError(MaxRetryError(pool, request.path_url, reason), request=request)
