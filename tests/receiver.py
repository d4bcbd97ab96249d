"""Somebody who is told: a real HTTP server on this machine that can be down, refuse, and hang."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """Return the body as JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Receiver:
    """A server whose port stays its own. `status` is asked for each request; None: no answer."""

    status: Callable[[Received], int | None] = lambda _: 204
    headers: dict[str, str] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        """Find a port."""
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.release = threading.Event()  # lets those hang no longer who got no answer
        self.up()

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        """Listen."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                one = Received(self.path, dict(self.headers.items()), body)
                receiver.received.append(one)
                status = receiver.status(one)
                if status is None:
                    receiver.release.wait(30)
                    return
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815 - who follows a redirect comes so

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def down(self) -> None:
        """Refuse every connection."""
        self.release.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join(10)
            self._server.server_close()
            self._server = None

    def ids(self) -> list[str]:
        """Return the ids of what came, in order."""
        return [one.document["id"] for one in self.received]

    def events(self) -> list[str]:
        """Return what it was told of, in order."""
        return [one.document["event"] for one in self.received]


@pytest.fixture(name="receiver")
def open_receiver() -> Iterator[Receiver]:
    """Return somebody who listens on this machine."""
    receiver = Receiver()
    yield receiver
    receiver.down()
