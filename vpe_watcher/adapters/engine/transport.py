"""Sessions and sockets. Owns time-outs and what is sent in which pieces; never follows or repeats.

urllib3 keeps the *connect* time-out on the socket while a body is sent, and `sendall` takes it for
the whole of a block: a slow line would be cut while it moves. The connections here wait for
`stall_s` for each piece instead, and turn all trouble before the first byte into
`NewConnectionError`, so that the caller knows that nothing was sent.
"""

from __future__ import annotations

import socket
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.auth import AuthBase
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, SSLError
from urllib3.util.ssl_match_hostname import CertificateError
from urllib3.util.wait import wait_for_read

from vpe_watcher.adapters.engine.faults import host_of, mapped
from vpe_watcher.adapters.engine.values import Timeouts

BLOCK_BYTES = 1024 * 1024
TLS_RECORD_BYTES = 16 * 1024
UNSENT_BYTES = 32 * 1024
ANSWER_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `breaker` names the resource that is out of order if no answer comes."""

    method: str
    url: str
    breaker: str
    auth: AuthBase
    data: Any = None
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. `is_cut`: the body is longer than we read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False


class Bearer(AuthBase):
    """Set the access token; an auth callable, so that `~/.netrc` cannot replace it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the token into the request."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Anonymous(AuthBase):
    """Send no Authorization at all, whatever `~/.netrc` says."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Take out what anybody may have put into the request."""
        request.headers.pop("Authorization", None)
        return request


class PatientConnection(HTTPConnection):
    """A connection that is given up without progress, not after a time."""

    stall_s: float = 60
    piece_bytes: int = BLOCK_BYTES
    _is_cut_short = False

    def connect(self) -> None:
        """Connect, with every failure as one that says: nothing was sent."""
        self._is_cut_short = False
        try:
            super().connect()
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "timed out while connecting") from error
        except (OSError, SSLError, CertificateError, HTTPException) as error:
            raise NewConnectionError(self, "no connection") from error

    def send(self, data: Any) -> None:
        """Send bytes piece by piece; raise if a piece does not go within `stall_s`."""
        if self.sock is None:
            self.connect()
        self.sock.settimeout(self.stall_s)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self.sock.send(rest[: self.piece_bytes]) :]
        except TimeoutError:
            self._is_cut_short = True
            if wait_for_read(self.sock, timeout=0):
                # it stopped reading because it has answered: urllib3 reads on after a broken pipe
                raise BrokenPipeError from None
            raise
        except OSError:
            self._is_cut_short = True
            raise

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as in urllib3 itself
        """Return the answer; one to half a request is no success, and ends the connection."""
        response = super().getresponse()
        if self._is_cut_short:
            self.close()
            if response.status < 300:
                response.close()
                raise ConnectionAbortedError
        return response


class PatientTlsConnection(PatientConnection, HTTPSConnection):
    """The same with TLS. CPython sends all that a TLS socket is given or nothing: one record."""

    piece_bytes = TLS_RECORD_BYTES


class PatientAdapter(HTTPAdapter):
    """An adapter whose connections have the given patience. Nothing is retried."""

    def __init__(self, *, stall_s: float) -> None:
        self._pools = pool_classes(stall_s)
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, socket_options=socket_options(), **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Make the pools of connections through a proxy; SOCKS has its own connections."""
        if proxy.lower().startswith("socks"):
            return super().proxy_manager_for(proxy, **proxy_kwargs)
        options = socket_options()
        manager = super().proxy_manager_for(proxy, socket_options=options, **proxy_kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager


class PlainSession(requests.Session):
    """A session that follows no redirect and keeps no cookie."""

    def __init__(self, adapter: BaseAdapter, *, user_agent: str) -> None:
        super().__init__()
        self.headers["User-Agent"] = user_agent
        self.headers["Accept-Encoding"] = "identity"
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """Return None: a redirect is an answer like any other."""
        return None


class Transport:
    """Sends calls, one session a thread. Every error that leaves is ours."""

    def __init__(
        self, *, timeouts: Timeouts, user_agent: str, adapter: BaseAdapter | None = None
    ) -> None:
        self._timeouts = timeouts
        self._user_agent = user_agent
        self._adapter = adapter
        self._local = threading.local()
        self._lock = threading.Lock()
        self._sessions: weakref.WeakSet[PlainSession] = weakref.WeakSet()

    def call(self, call: Call, *, on_new_connection: bool = False) -> Answer:
        """Send one request and return its complete answer.

        `on_new_connection` keeps a connection that died in the pool from making the outcome of a
        request unknown.
        """
        if not on_new_connection or self._adapter is not None:
            return self._call(self._session(), call)
        with self._new_session() as session:
            return self._call(session, call)

    @contextmanager
    def stream(self, call: Call) -> Iterator[requests.Response]:
        """Send one request and give the answer with its body unread; closed on leaving."""
        with mapped(breaker=call.breaker, host=host_of(call.url)):
            response = self._send(self._session(), call)
        with response:
            yield response

    def close(self) -> None:
        """Close all connections of all threads."""
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.close()

    def _call(self, session: PlainSession, call: Call) -> Answer:
        with (
            mapped(breaker=call.breaker, host=host_of(call.url)),
            self._send(session, call) as response,
        ):
            return read_answer(response)

    def _send(self, session: PlainSession, call: Call) -> requests.Response:
        return session.request(
            call.method,
            call.url,
            data=call.data,
            headers={"Content-Type": call.content_type} if call.content_type else None,
            auth=call.auth,
            stream=True,
            allow_redirects=False,
            timeout=(self._timeouts.connect_s, self._timeouts.stall_s),
        )

    def _session(self) -> PlainSession:
        session: PlainSession | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = self._new_session()
            with self._lock:
                self._sessions.add(session)
        return session

    def _new_session(self) -> PlainSession:
        adapter = self._adapter or PatientAdapter(stall_s=self._timeouts.stall_s)
        return PlainSession(adapter, user_agent=self._user_agent)


def pool_classes(stall_s: float) -> dict[str, Any]:
    """Return urllib3's pools for http and https with connections of this patience (seconds)."""
    known = {"stall_s": stall_s}
    plain = type("Connection", (PatientConnection,), known)
    tls = type("TlsConnection", (PatientTlsConnection,), known)
    return {
        "http": type("Pool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("TlsPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
    }


def socket_options() -> list[tuple[int, int, int]]:
    """Return socket options that keep the kernel from hiding a slow line.

    With megabytes in the kernel's buffer a slow line would still send when the time-out for the
    answer is over, and progress would be reported long before it is made.
    """
    options = list(HTTPConnection.default_socket_options)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        options.append((socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES))
    return options


def read_answer(response: requests.Response) -> Answer:
    """Read an answer into memory, up to a limit that no honest answer reaches."""
    body = bytearray()
    for block in blocks_of(response):
        body += block
        if len(body) > ANSWER_LIMIT_BYTES:
            return Answer(response.status_code, response.headers, b"", is_cut=True)
    return Answer(response.status_code, response.headers, bytes(body))


def blocks_of(response: requests.Response) -> Iterator[bytes]:
    """Yield a body as it arrives, at most 1 MiB at a time; foreign exceptions leave."""
    raw = response.raw
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raw.decode_content = True
    read = getattr(raw, "read1", raw.read)
    while block := read(BLOCK_BYTES):
        yield block
