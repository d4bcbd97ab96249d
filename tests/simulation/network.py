"""The way to the Engine: the real client over a transport without sockets, to the sandbox's rules.

`EngineClient` with its token, its reading of answers and its mapping of errors is the real one;
only `requests` and what is below it is left out, for speed. A fault is one of `FAULTS`, for one
call or for all calls of some kinds until a moment; foreign exceptions are those that requests
raises, mapped by the real code. Says of each fault whether it is the environment's by the
contract's table, read a second time here.
"""

from __future__ import annotations

import errno
import io
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import requests
import urllib3.exceptions as u3
from urllib3.connection import HTTPConnection

from vpe_watcher.adapters.engine.faults import host_of, mapped
from vpe_watcher.adapters.engine.transport import Answer, Call, Transport
from vpe_watcher.sandbox.adapter import _IterableReader
from vpe_watcher.sandbox.messages import BodyReader, Request, Response
from vpe_watcher.sandbox.rules import Sandbox, find_route

CALLS = ("token", "submit", "upload", "notify", "poll", "download")
UNSENT = ("refused", "unresolved", "connect timeout", "TLS refused")
LOST = ("reset before", "reset after", "timeout before", "timeout after", "cut in the middle")
GARBLED = ("HTML", "HTML, in vain", "a list", "nothing")
STATUSES = (400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 418, 422, 425, 429, 500, 502,
            503, 504, 302, 307, 204)  # fmt: skip
LATER = ("429 later", "503 later", "503 at a date", "429 nonsense")
ODD = ("slow", "twice", "500 after")
LINKS = ("upload", "download")
REFUSES_INPUT = frozenset({400, 413, 422})


def faults_of(call: str) -> tuple[str, ...]:
    """Name the faults that a call can meet."""
    more: dict[str, tuple[str, ...]] = {
        "token": ("expired",),
        "submit": ("expired", *GARBLED),
        "notify": ("expired",),
        "upload": ("expired", "reset in the middle"),
        "poll": ("wrong length", "failed", "failed with outputs", "missing", "one failed",
                 "202 for ever", "expired", *GARBLED),
        "download": ("wrong length", "expired", "reset in the middle"),
    }  # fmt: skip
    garbled = GARBLED if call == "token" else ()
    statuses = tuple(f"{status}" for status in STATUSES)
    return (*UNSENT, *LOST, *statuses, *LATER, *ODD, *more.get(call, ()), *garbled)


ALL_FAULTS = frozenset(f"{call}: {fault}" for call in CALLS for fault in faults_of(call))


def is_environment(call: str, fault: str) -> bool:
    """Tell whether a fault is nobody's case's, by the contract. Source: the table of failures."""
    if call in LINKS or fault in {"slow", "twice"}:
        return False
    if call == "token":
        return fault != "expired"
    if fault in UNSENT or fault in LOST or fault in LATER or fault == "500 after":
        return True
    if fault.isdigit():
        status = int(fault)
        paused = call == "submit" and (status in {402, 403, 404, 405} or 300 <= status < 400)
        return status >= 500 or status == 429 or paused
    return False


@dataclass
class Weather:
    """What befalls calls: the next ones of a kind, or all of some kinds until a moment.

    `storms` holds (kinds, fault, until when by the monotonic clock).
    """

    once: dict[str, list[str]] = field(default_factory=dict)
    storms: list[tuple[frozenset[str], str, float]] = field(default_factory=list)

    def clear(self) -> None:
        """Let all be well."""
        self.once.clear()
        self.storms.clear()

    def fault_for(self, call: str, now: float) -> str:
        """Return what befalls a call now; "" for nothing."""
        waiting = self.once.get(call)
        if waiting:
            return waiting.pop(0)
        self.storms = [storm for storm in self.storms if storm[2] > now]
        return next((fault for calls, fault, _ in self.storms if call in calls), "")


class Network:
    """Carries calls to the sandbox and answers back, through the weather.

    `reach` is told of the moments before and behind each call, `on_call` of each call with the
    fault that befell it, `let_pass` of time that a call takes, in seconds. The Engine lives on
    whatever becomes of the daemon.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        let_pass: Callable[[float], None],
        reach: Callable[[str], None],
        before: Callable[[str, Request], None],
    ) -> None:
        self.sandbox = sandbox
        self.weather = Weather()
        self.met: list[tuple[str, str]] = []
        self.fired: Counter[str] = Counter()
        self.stuck: set[str] = set()
        self._now = now
        self._monotonic = monotonic
        self._let_pass = let_pass
        self._reach = reach
        self._before = before

    def send(self, call: Call) -> Response:
        """Carry one call over; raise what requests would."""
        request = _request_of(call)
        kind = find_route(request.parts.path).kind
        self._reach("call not sent")
        fault = self.weather.fault_for(kind, self._monotonic())
        if fault and fault in faults_of(kind):
            self.met.append((kind, fault))
            self.fired[f"{kind}: {fault}"] += 1
            response = self._befallen(kind, fault, request)
        else:
            response = self._handled(kind, request)
        self._reach("call answered")
        return response

    def _handled(self, kind: str, request: Request, **do: Any) -> Response:
        """Let the Engine do what it is asked; `do` is an action of the sandbox's fault script."""
        self._before(kind, request)
        if kind == "poll" and request.query.get("jobId") in self.stuck:
            return Response(202, {}, b"{}")
        if not do:
            return self.sandbox.handle(request)
        self.sandbox.set_faults([{"on": kind, "do": do}])
        try:
            return self.sandbox.handle(request)
        finally:
            self.sandbox.set_faults([])

    def _befallen(self, kind: str, fault: str, request: Request) -> Response:
        if fault in UNSENT:
            raise _unsent(fault)
        if fault in LOST or fault == "reset in the middle":
            return self._lost(kind, fault, request)
        if fault.isdigit():
            return Response(int(fault), {"Location": "https://elsewhere.test/"}, b"no")
        if fault in LATER:
            return self._later(fault)
        if fault in GARBLED:
            return self._garbled(kind, fault, request)
        return self._odd(kind, fault, request)

    def _lost(self, kind: str, fault: str, request: Request) -> Response:
        if fault.startswith("timeout"):
            self._let_pass(60.0)
        if fault == "reset in the middle" and kind == "upload":
            request.body.read((request.length or 0) // 2)
            raise _broken()
        if fault in {"cut in the middle", "reset in the middle"}:
            response = self._handled(kind, request)
            content = _bytes_of(response)
            half = content[: len(content) // 2]
            headers = {**response.headers, "Content-Length": str(len(content))}
            return Response(response.status, {**headers, "X-Cut": "1"}, half)
        if fault.endswith("after"):
            self._handled(kind, request)
        if fault.startswith("timeout"):
            raise requests.ReadTimeout(u3.ReadTimeoutError(cast("Any", None), "", "timed out"))
        raise _broken()

    def _later(self, fault: str) -> Response:
        after = {"429 later": "7", "503 later": "90.5", "429 nonsense": "soon"}.get(fault)
        headers = {"Retry-After": after or formatdate(self._now() + 45, usegmt=True)}
        return Response(int(fault[:3]), headers, b"later")

    def _garbled(self, kind: str, fault: str, request: Request) -> Response:
        if fault != "HTML, in vain":
            self._handled(kind, request)
        body = {"a list": b"[1]", "nothing": b""}.get(fault, b"<html>welcome</html>")
        return Response(200, {}, body)

    def _odd(self, kind: str, fault: str, request: Request) -> Response:
        if fault == "slow":
            self._let_pass(55.0)
            return self._handled(kind, request)
        if fault == "twice":
            return self._twice(kind, request)
        if fault == "500 after":
            self._handled(kind, request)
            return Response(500, {}, b"sorry")
        if fault == "202 for ever":
            self.stuck.add(request.query.get("jobId", ""))
            return Response(202, {}, b"{}")
        actions: dict[str, dict[str, Any]] = {
            "expired": {"expire": True},
            "wrong length": {"wrong_size": True},
            "failed": {"success": False},
            "failed with outputs": {"success": False},
            "missing": {"missing": ["mandible"]},
            "one failed": {"failed": ["mandible"]},
        }
        if fault == "failed with outputs":
            self.sandbox.set_options(outputs_when_failed=True)
        try:
            return self._handled(kind, request, **actions[fault])
        finally:
            self.sandbox.set_options(outputs_when_failed=False)

    def _twice(self, kind: str, request: Request) -> Response:
        """Let a request arrive two times, as a proxy that repeats makes it."""
        body = b"".join(iter(lambda: request.body.read(1 << 20), b""))
        answers = [
            self._handled(
                kind, Request(request.method, request.url, request.headers, io.BytesIO(body))
            )
            for _ in range(2)
        ]
        return answers[0]


class SimulatedTransport(Transport):
    """The client's transport without sockets."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def call(self, call: Call, *, on_new_connection: bool = False) -> Answer:
        """Send one request and return its complete answer."""
        with mapped(breaker=call.breaker, host=host_of(call.url)):
            response = self._network.send(call)
            if "X-Cut" in response.headers:
                raise requests.exceptions.ChunkedEncodingError(u3.IncompleteRead(1, 1))
            return Answer(response.status, response.headers, _bytes_of(response))

    @contextmanager
    def stream(self, call: Call) -> Iterator[requests.Response]:
        """Send one request and give the answer with its body unread."""
        with mapped(breaker=call.breaker, host=host_of(call.url)):
            response = self._network.send(call)
        raw = io.BytesIO(_bytes_of(response))
        yield cast(
            "requests.Response",
            SimpleNamespace(status_code=response.status, headers=response.headers, raw=raw),
        )

    def close(self) -> None:
        """Hold nothing, so close nothing."""


def _request_of(call: Call) -> Request:
    prepared = SimpleNamespace(headers={})
    call.auth(cast("Any", prepared))
    headers = {name.lower(): value for name, value in prepared.headers.items()}
    if call.content_type:
        headers["content-type"] = call.content_type
    headers["content-length"] = str(len(call.data) if call.data is not None else 0)
    return Request(call.method, call.url, headers, _reader_of(call.data))


def _reader_of(data: Any) -> BodyReader:
    if data is None or isinstance(data, bytes):
        return io.BytesIO(data or b"")
    return _IterableReader(data)


def _bytes_of(response: Response) -> bytes:
    return response.body.read_bytes() if isinstance(response.body, Path) else response.body


def _unsent(fault: str) -> Exception:
    nobody = cast("HTTPConnection", None)
    if fault == "connect timeout":
        return requests.ConnectTimeout(u3.ConnectTimeoutError(nobody, "timed out"))
    error = u3.NewConnectionError(nobody, "no connection")
    reasons: Mapping[str, Exception] = {
        "refused": ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)),
        "unresolved": socket.gaierror(socket.EAI_NONAME, "unknown"),
        "TLS refused": u3.SSLError("handshake"),
    }
    error.__cause__ = reasons[fault]
    return requests.ConnectionError(error)


def _broken() -> Exception:
    reset = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    return requests.ConnectionError(u3.ProtocolError("Connection aborted.", reset))
