"""Servers on loopback that misbehave as real ones do. Own sockets and threads, no expectations."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Self

MIB = 1024 * 1024
TAIL = 256 * 1024
Handler = Callable[[socket.socket], None]


class RawServer:
    """Runs `handler` on each connection in a thread of its own and closes the connection after."""

    def __init__(
        self, handler: Handler, *, receive_buffer: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._handler = handler
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in list(self._threads):
            thread.join(timeout=10)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._tls is None:
                self._handler(connection)
                return
            with self._tls.wrap_socket(connection, server_side=True) as secure:
                self._handler(secure)


def head_without_end(is_over: threading.Event) -> Handler:
    """Return who begins to answer again and again, byte after byte in time, until it is over."""

    def trickle(connection: socket.socket) -> None:
        read_head(connection)
        while not is_over.wait(0.05):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    return trickle


def read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    """Return the head of a request, and what of its body came along."""
    head = b""
    while b"\r\n\r\n" not in head:
        block = connection.recv(65536)
        if not block:
            raise ConnectionResetError
        head += block
    text, _, rest = head.partition(b"\r\n\r\n")
    return text, rest


def length_of(head: bytes) -> int:
    """Return the Content-Length of a request, 0 without."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def read_request(connection: socket.socket) -> bytes:
    """Read a whole request and return its head; who closes before that sends a reset."""
    head, rest = read_head(connection)
    missing = length_of(head) - len(rest)
    while missing > 0:
        block = connection.recv(missing)
        if not block:
            raise ConnectionResetError
        missing -= len(block)
    return head


def answer(status: int = 200, body: bytes = b"", *headers: str) -> bytes:
    """Return an answer as bytes."""
    lines = [f"HTTP/1.1 {status} Something", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def reset(connection: socket.socket) -> None:
    """Close with a reset instead of a farewell."""
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.close()


def unused_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Sink:
    """Takes an upload at its own pace and remembers what came."""

    def __init__(self, *, pause_s: float = 0, block: int = MIB, reply: bytes = answer()) -> None:
        self.head = b""
        self.body = bytearray()
        self._pause_s = pause_s
        self._block = block
        self._reply = reply
        self.is_complete = False

    def __call__(self, connection: socket.socket) -> None:
        self.head, rest = read_head(connection)
        self.body += rest
        while len(self.body) < length_of(self.head):
            block = connection.recv(self._block)
            if not block:
                return
            self.body += block
            # what the kernels hold at the end is not what is under test
            if len(self.body) < length_of(self.head) - TAIL:
                time.sleep(self._pause_s)
        self.is_complete = True
        connection.sendall(self._reply)
