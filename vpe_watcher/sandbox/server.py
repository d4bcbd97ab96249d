"""The sandbox's face for other processes: an HTTP/1.1 server on 127.0.0.1.

Carries requests to the rules and answers back, and breaks answers as it is told. Knows no rule.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vpe_watcher.sandbox.messages import BodyReader, CappedReader, Request, Response
from vpe_watcher.sandbox.rules import Sandbox

BLOCK = 1 << 20
HOST = "127.0.0.1"


def serve(
    sandbox: Sandbox,
    *,
    port: int,
    stop: threading.Event,
    started: Callable[[str], None],
) -> None:
    """Serve until `stop` is set; `started` is called once with the URL.

    `port` 0 takes a free one. OSError leaves when the port cannot be had.
    """
    with SandboxServer(sandbox, port=port) as server:
        started(server.url)
        stop.wait()


class SandboxServer:
    """A server for one sandbox, as a context manager. Leaving it cuts every connection.

    The port stays free for another server on the same sandbox: an Engine that was down.
    """

    def __init__(self, sandbox: Sandbox, *, port: int = 0) -> None:
        self.sandbox = sandbox
        self._http = _HttpServer(sandbox, port)
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.05,), name="sandbox-server", daemon=True
        )

    @property
    def port(self) -> int:
        """Return the port that it listens on."""
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """Return the origin of the server, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self.sandbox.compute_in_background()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._http.cut_connections()
        self._thread.join()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, sandbox: Sandbox, port: int) -> None:
        self.sandbox = sandbox
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer asks the name service for its own name here: slow, and of no use.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        if _is_to_reset(request):
            # A shutdown would send FIN first; closing with a linger time of 0 sends RST.
            request.close()
            return
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about clients that went away."""

    def cut_connections(self) -> None:
        """Cut what clients keep open."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HttpServer

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Print nothing."""

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.rfile)
        body = CappedReader(self.rfile, request.length or 0)
        request = Request(self.command, self.path, headers, body)
        response = self.server.sandbox.handle(request)
        self._send(request, response, body)

    def _send(self, request: Request, response: Response, body: CappedReader) -> None:
        breakage = response.breakage
        if breakage.stall_s and breakage.stall_after is None:
            self.server.stopping.wait(breakage.stall_s)
        if breakage.reset:
            # With its small body read, a client always meets the reset while it waits for us.
            _drain(CappedReader(body, BLOCK))
            self._reset()
            return
        # A client that is still sending would see a reset instead of the answer.
        _drain(body)
        if request.is_chunked:
            _drain_chunks(self.rfile)
        self._send_head(response)
        if request.method == "HEAD":
            return
        self._send_body(response)

    def _send_head(self, response: Response) -> None:
        phrase = HTTPStatus(response.status).phrase if response.status in _STATUSES else ""
        self.send_response(response.status, phrase)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(response.length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _send_body(self, response: Response) -> None:
        breakage = response.breakage
        sent = 0
        for block in _blocks(response, breakage.stall_after):
            self.wfile.write(block)
            sent += len(block)
            if sent == breakage.stall_after:
                self.server.stopping.wait(breakage.stall_s)
        if breakage.sent_at_most is not None:
            self.close_connection = True
        if breakage.reset_after is not None:
            self._reset()

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


_STATUSES = frozenset(int(status) for status in HTTPStatus)


def _is_to_reset(connection: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        linger = connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        return struct.unpack("ii", linger) == (1, 0)
    return False


def _drain(body: BodyReader) -> None:
    while body.read(BLOCK):
        pass


def _drain_chunks(body: BufferedIOBase) -> None:
    while size := int(body.readline(100).split(b";")[0].strip() or b"0", 16):
        _drain(CappedReader(body, size))
        body.readline(3)
    while body.readline(65536).strip():
        pass


def _blocks(response: Response, pause_at: int | None) -> Iterator[bytes]:
    """Yield what leaves the house of a body, with a border between blocks at `pause_at`."""
    left = response.breakage.sent_at_most
    left = response.length if left is None else min(left, response.length)
    borders = sorted({0, left, min(pause_at, left) if pause_at is not None else left})
    with _opened(response.body) as read:
        for start, end in itertools.pairwise(borders):
            for offset in range(start, end, BLOCK):
                yield read(min(BLOCK, end - offset))


@contextlib.contextmanager
def _opened(body: bytes | Path) -> Iterator[Callable[[int], bytes]]:
    with body.open("rb") if isinstance(body, Path) else io.BytesIO(body) as file:
        yield file.read
