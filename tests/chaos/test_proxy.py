"""Each fault of the proxy is, at the client and at the server, what its name says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from tests.chaos.proxy import (
    ANSWER,
    CUT,
    FINE,
    HALF_CLOSE,
    REQUEST,
    RESET,
    STALL,
    THROTTLE,
    Fault,
    Proxy,
)

BODY = bytes(range(256)) * 400  # 102,400 bytes
PATIENCE_S = 0.3
Fired = dict[tuple[str, str], int]


class Echo(BaseHTTPRequestHandler):
    """Answers with what came, with a length; says how many bytes that were."""

    protocol_version = "HTTP/1.1"
    server: EchoServer

    def do_PUT(self) -> None:
        """Read the announced length or to the end, then answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(len(body))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Print nothing."""


class EchoServer(ThreadingHTTPServer):
    """Remembers the sizes of the bodies that it received."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.received: list[int] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about clients that were cut off."""


@pytest.fixture(name="server")
def run_server() -> Iterator[EchoServer]:
    """Run a plain HTTP server."""
    with EchoServer() as server:
        thread = threading.Thread(target=HTTPServer.serve_forever, args=(server, 0.02))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def asking(
    server: EchoServer, draw: Callable[[], Fault]
) -> Iterator[tuple[Proxy, Callable[[], requests.Response]]]:
    """Run a proxy and offer a call through it; it has little patience."""
    with (
        Proxy(server.server_address[1], draw) as proxy,
        requests.Session() as session,
    ):
        session.trust_env = False
        yield proxy, lambda: session.put(proxy.url, data=BODY, timeout=PATIENCE_S)


def test_without_a_fault_everything_passes(server: EchoServer) -> None:
    """Bytes are the same at both ends, a connection serves again, nothing is counted."""
    with asking(server, Fault) as (proxy, ask):
        assert [ask().content for _ in range(3)] == [BODY] * 3
        assert proxy.fired == {}


@pytest.mark.parametrize(
    ("fault", "error", "words", "received"),
    [
        (Fault(RESET, REQUEST, 50_000), requests.ConnectionError, "reset|Broken pipe", []),
        (Fault(RESET, ANSWER, 0), requests.ConnectionError, "reset", [len(BODY)]),
        (Fault(RESET, ANSWER, 9000), requests.RequestException, "reset|Incomplete", [len(BODY)]),
        (Fault(CUT, ANSWER, 0), requests.ConnectionError, "without response", [len(BODY)]),
        (Fault(CUT, ANSWER, 9000), requests.RequestException, "IncompleteRead", [len(BODY)]),
        (Fault(STALL, ANSWER, 0, stall_s=9), requests.ReadTimeout, "timed out", [len(BODY)]),
        (Fault(STALL, ANSWER, 9000, stall_s=9), requests.ConnectionError, "time", [len(BODY)]),
        (Fault(STALL, REQUEST, 50_000, stall_s=9), requests.ReadTimeout, "timed out", []),
        (Fault(HALF_CLOSE, ANSWER, 9000), requests.RequestException, "Incomplete", [len(BODY)]),
    ],
    ids=[
        "reset while asking",
        "reset before the answer",
        "reset in the answer",
        "cut before the answer",
        "cut in the answer",
        "stall before the answer",
        "stall in the answer",
        "stall while asking",
        "half-closed answer",
    ],
)
def test_a_fault_is_seen_as_what_it_is(
    server: EchoServer, fault: Fault, error: type[Exception], words: str, received: list[int]
) -> None:
    """The client meets the error of its kind, the server what it got; the fault is counted."""
    with asking(server, lambda: fault) as (proxy, ask):
        with pytest.raises(error, match=f"(?i){words}"):
            ask()
        assert proxy.fired == {(fault.kind, fault.way): 1}
    assert server.received[: len(received)] == received


def test_a_short_stall_is_no_error(server: EchoServer) -> None:
    """What was held back comes later, and is whole."""
    with asking(server, lambda: Fault(STALL, ANSWER, 9000, stall_s=0.1)) as (proxy, ask):
        began = time.monotonic()
        assert ask().content == BODY
        assert time.monotonic() - began > 0.1
        assert proxy.fired == {(STALL, ANSWER): 1}


def test_a_throttled_answer_is_slow_and_whole(server: EchoServer) -> None:
    """The rest of the bytes comes at the given speed."""
    fault = Fault(THROTTLE, ANSWER, len(BODY) - 5000, bytes_per_s=20_000)
    with asking(server, lambda: fault) as (proxy, ask):
        began = time.monotonic()
        assert ask().content == BODY
        assert time.monotonic() - began > 0.15
        assert proxy.fired == {(THROTTLE, ANSWER): 1}


def test_a_half_closed_request_still_gets_an_answer(server: EchoServer) -> None:
    """The server sees the end of a body that is too short; what it says of it comes through."""
    with asking(server, lambda: Fault(HALF_CLOSE, REQUEST, 50_000)) as (proxy, ask):
        answer = ask()
        assert 0 < len(answer.content) == server.received[0] < len(BODY)
        assert proxy.fired == {(HALF_CLOSE, REQUEST): 1}


def test_faults_are_drawn_for_each_connection(server: EchoServer) -> None:
    """One connection has the first, the next the second; `use` ends those that live."""
    faults = iter([Fault(CUT), Fault()])
    with asking(server, lambda: next(faults)) as (proxy, ask):
        with pytest.raises(requests.ConnectionError):
            ask()
        assert ask().content == BODY
        proxy.use(lambda: Fault(RESET))
        with pytest.raises(requests.ConnectionError, match="reset"):
            ask()
        proxy.use(Fault)
        assert ask().content == BODY
        assert proxy.fired == {(CUT, ANSWER): 1, (RESET, ANSWER): 1}


def test_a_fault_beyond_the_end_is_not_counted(server: EchoServer) -> None:
    """Only what has really happened counts."""
    with asking(server, lambda: Fault(RESET, ANSWER, 10 * len(BODY))) as (proxy, ask):
        assert ask().content == BODY
        assert proxy.fired == {}
    assert FINE not in {kind for kind, _ in proxy.fired}
