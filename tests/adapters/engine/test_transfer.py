"""Files to and from pre-signed URLs, on real sockets that behave well and badly."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.adapters.engine.conftest import MakeClient
from tests.adapters.engine.servers import (
    Handler,
    RawServer,
    Sink,
    answer,
    read_head,
    read_request,
    reset,
    unused_port,
)
from vpe_watcher.adapters.engine import EngineClient, Timeouts
from vpe_watcher.core.errors import HostFault, InputChanged, LinkExpired, Stopped

MIB = 1024 * 1024


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """Return a file of 2.5 MiB and one byte."""
    path = tmp_path / "Doe^Jane.dcm"
    path.write_bytes(os.urandom(2 * MIB + MIB // 2 + 1))
    return path


def put(client: EngineClient, url: str, path: Path, **changes: object) -> str:
    """Upload a file with what is not under test left out."""
    known = {
        "size": path.stat().st_size,
        "modality": "cbct",
        "on_progress": lambda _: None,
        "should_stop": lambda: False,
    }
    return client.upload(url, path, **(known | changes)).sha256  # type: ignore[arg-type]


def get(client: EngineClient, url: str, size: int | None = None) -> bytes:
    """Download into memory and check what is said about it."""
    target = io.BytesIO()
    done = client.download(
        url, target, size=size, on_progress=lambda _: None, should_stop=lambda: False
    )
    content = target.getvalue()
    assert done.size == len(content)
    assert done.sha256 == hashlib.sha256(content).hexdigest()
    return content


@pytest.mark.parametrize("size", [0, 1, 65537, MIB, MIB + 1, 3 * MIB])
def test_an_upload_arrives_as_it_is(make_client: MakeClient, tmp_path: Path, size: int) -> None:
    """Content-Length, never chunked (the empty file too), no Authorization, the right digest."""
    path = tmp_path / "scan"
    path.write_bytes(os.urandom(size))
    sink = Sink()
    with RawServer(sink) as server:
        client = make_client(server.url)
        digest = put(client, f"{server.url}/up?sig=%2Fa%3D&x=1", path)
        client.close()
    assert sink.body == path.read_bytes()
    assert digest == hashlib.sha256(sink.body).hexdigest()
    lines = sink.head.decode().split("\r\n")
    assert lines[0] == "PUT /up?sig=%2Fa%3D&x=1 HTTP/1.1"
    headers = {line.partition(":")[0].lower(): line.partition(": ")[2] for line in lines[1:]}
    assert headers["content-length"] == str(size)
    assert headers["content-type"] == "application/octet-stream"
    assert not headers.keys() & {"transfer-encoding", "authorization", "cookie", "expect"}


def test_progress_is_told_and_ends_at_the_size(make_client: MakeClient, scan: Path) -> None:
    """The numbers are the bytes sent so far."""
    seen: list[int] = []
    with RawServer(Sink()) as server:
        put(make_client(server.url), f"{server.url}/up", scan, on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == scan.stat().st_size
    assert len(seen) == 11


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_an_expired_link(
    httpserver: HTTPServer, client: EngineClient, scan: Path, status: int
) -> None:
    """These four mean: get a new URL."""
    httpserver.expect_request("/x").respond_with_data("<Error/>", status=status)
    with pytest.raises(LinkExpired) as caught:
        put(client, httpserver.url_for("/x"), scan)
    assert caught.value.code == "upload_link_expired"
    with pytest.raises(LinkExpired) as caught:
        get(client, httpserver.url_for("/x"))
    assert caught.value.code == "download_link_expired"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (307, "redirected"),
        (401, "refused"),
        (409, "refused"),
        (413, "refused"),
        (429, "rate_limited"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_any_other_answer_is_the_hosts_trouble(
    httpserver: HTTPServer, client: EngineClient, scan: Path, status: int, code: str
) -> None:
    """The breaker names the direction and the host; the wait that is asked for is passed on."""
    httpserver.expect_request("/x").respond_with_data(
        "<Error/>", status=status, headers={"Retry-After": "3", "Location": "/y"}
    )
    with pytest.raises(HostFault) as caught:
        put(client, httpserver.url_for("/x"), scan)
    fault = caught.value
    assert (fault.breaker, fault.code) == ("upload:localhost", f"upload_{code}")
    assert fault.retry_after_s == 3
    with pytest.raises(HostFault) as caught:
        get(client, httpserver.url_for("/x"))
    fault = caught.value
    assert (fault.breaker, fault.code) == ("download:localhost", f"download_{code}")
    assert {request.path for request, _ in httpserver.log} == {"/x"}


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "http://", "http://[", "x"])
def test_a_link_that_is_none(client: EngineClient, scan: Path, url: str) -> None:
    """A garbled URL is never called and never opened."""
    with pytest.raises(HostFault) as caught:
        put(client, url, scan)
    assert caught.value.code == "link_invalid"
    with pytest.raises(HostFault) as caught:
        get(client, url)
    assert caught.value.code == "link_invalid"


def test_a_scan_never_travels_in_the_clear(make_client: MakeClient, scan: Path) -> None:
    """Behind an Engine with TLS a plain http address is taken on this machine only."""
    client = make_client("https://eu.example.invalid")
    with pytest.raises(HostFault) as caught:
        put(client, "http://store.example.invalid/up", scan)
    assert caught.value.code == "link_invalid"
    with RawServer(Sink()) as server:
        assert put(client, f"{server.url}/up", scan)


def test_a_host_that_is_down(make_client: MakeClient, scan: Path) -> None:
    """Trouble of the network is the host's; nothing of the URL's query is in the message."""
    url = f"http://127.0.0.1:{unused_port()}/up?sig=verysecret"
    client = make_client("http://127.0.0.1:1")
    for call in (lambda: put(client, url, scan), lambda: get(client, url)):
        with pytest.raises(HostFault) as caught:
            call()
        assert caught.value.code == "connection_refused"
        assert "secret" not in caught.value.message
        assert "Doe" not in caught.value.message


@pytest.mark.parametrize("change", [-1, 1, 100])
def test_a_file_of_another_size_is_not_sent(
    make_client: MakeClient, scan: Path, change: int
) -> None:
    """Nobody is even asked."""
    client = make_client("http://127.0.0.1:1")
    with pytest.raises(InputChanged) as caught:
        put(client, "http://127.0.0.1:1/up", scan, size=scan.stat().st_size + change)
    assert caught.value.code == "input_changed"
    assert "Doe" not in caught.value.message


@pytest.mark.parametrize("size_after", [MIB, 3 * MIB])
def test_a_file_that_changes_under_way_never_arrives_whole(
    make_client: MakeClient, scan: Path, size_after: int
) -> None:
    """Cut or grown while it is sent: the server does not get a complete body."""
    size = scan.stat().st_size
    sink = Sink()
    with RawServer(sink) as server, pytest.raises(InputChanged):
        put(
            make_client(server.url),
            f"{server.url}/up",
            scan,
            size=size,
            on_progress=lambda _: os.truncate(scan, size_after),
        )
    assert not sink.is_complete
    assert len(sink.body) < size


def test_only_regular_files_are_sent(make_client: MakeClient, tmp_path: Path) -> None:
    """A symbolic link is not followed, a FIFO does not hang, a folder is no file."""
    client = make_client("http://127.0.0.1:1")
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="symbolic"):
        put(client, "http://127.0.0.1:1/up", tmp_path / "link")
    with pytest.raises(InputChanged):
        put(client, "http://127.0.0.1:1/up", tmp_path / "fifo")
    with pytest.raises(InputChanged):
        put(client, "http://127.0.0.1:1/up", tmp_path)


def test_a_missing_file_stays_an_oserror(make_client: MakeClient, tmp_path: Path) -> None:
    """The caller knows what a missing file means."""
    with pytest.raises(FileNotFoundError):
        put(make_client("http://127.0.0.1:1"), "http://127.0.0.1:1/", tmp_path / "x", size=1)


def test_a_file_that_fails_under_way_stays_an_oserror(make_client: MakeClient) -> None:
    """Reading a process's memory at 0 is an I/O error of the file, not of the network."""
    with RawServer(Sink()) as server:
        client = make_client(server.url)
        with pytest.raises(OSError, match="Input/output") as caught:
            put(client, f"{server.url}/up", Path("/proc/self/mem"), size=0)
    assert not isinstance(caught.value, ConnectionError)


def test_a_disk_that_fails_under_way_stays_an_oserror(make_client: MakeClient, scan: Path) -> None:
    """A read that fails in the middle of the body is not taken for a broken line."""
    sink = Sink()

    def break_disk(_: int) -> None:
        folder = os.open(scan.parent, os.O_RDONLY)
        for number in os.listdir("/proc/self/fd"):  # noqa: PTH208
            link = Path("/proc/self/fd") / number
            if link.exists() and link.readlink() == scan:
                os.dup2(folder, int(number))
        os.close(folder)

    with RawServer(sink) as server, pytest.raises(IsADirectoryError):
        put(make_client(server.url), f"{server.url}/up", scan, on_progress=break_disk)
    assert not sink.is_complete


def test_a_redirect_to_nowhere_is_only_an_answer(make_client: MakeClient) -> None:
    """Nobody looks at where it leads."""

    def handler(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(302, b"", "Location: http://["))

    with RawServer(handler) as server, pytest.raises(HostFault) as caught:
        get(make_client(server.url), f"{server.url}/x")
    assert caught.value.code == "download_redirected"


def test_no_cookie_is_kept(httpserver: HTTPServer, client: EngineClient) -> None:
    """What one call is told, the next does not repeat."""
    httpserver.expect_request("/x").respond_with_data("x", headers={"Set-Cookie": "a=b; Path=/"})
    get(client, httpserver.url_for("/x"))
    get(client, httpserver.url_for("/x"))
    assert all("Cookie" not in request.headers for request, _ in httpserver.log)


def test_an_upload_can_be_stopped(make_client: MakeClient, scan: Path) -> None:
    """The server gets no complete body."""
    answers = iter([False, False, True])
    sink = Sink()
    with RawServer(sink) as server, pytest.raises(Stopped):
        put(make_client(server.url), f"{server.url}/up", scan, should_stop=lambda: next(answers))
    assert not sink.is_complete
    assert 0 < len(sink.body) <= 512 * 1024


def test_a_download_can_be_stopped(httpserver: HTTPServer, client: EngineClient) -> None:
    """Nothing more is written."""
    httpserver.expect_request("/x").respond_with_data(b"x" * 3 * MIB)
    target = io.BytesIO()
    with pytest.raises(Stopped):
        client.download(
            httpserver.url_for("/x"),
            target,
            size=3 * MIB,
            on_progress=lambda _: None,
            should_stop=lambda: target.tell() > 0,
        )
    assert 0 < target.tell() < 3 * MIB


def test_a_slow_line_is_not_cut(make_client: MakeClient, scan: Path) -> None:
    """Every block takes longer than the time-out, but it moves, so it goes on."""
    os.truncate(scan, MIB)
    sink = Sink(pause_s=0.1, block=32 * 1024)
    with RawServer(sink, receive_buffer=32 * 1024) as server:
        client = make_client(server.url, timeouts=Timeouts(connect_s=0.3, stall_s=0.4))
        started = time.monotonic()
        put(client, f"{server.url}/up", scan)
        assert time.monotonic() - started > 1.5
    assert sink.body == scan.read_bytes()


def test_a_slow_line_with_tls_is_not_cut(
    make_client: MakeClient, scan: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A TLS socket takes all that it is given or nothing: it is given little."""
    os.truncate(scan, MIB)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    sink = Sink(pause_s=0.05, block=16 * 1024)
    with RawServer(sink, receive_buffer=32 * 1024, tls=context) as server:
        client = make_client(server.url, timeouts=Timeouts(connect_s=1, stall_s=0.4))
        started = time.monotonic()
        put(client, f"{server.url}/up", scan)
        assert time.monotonic() - started > 1
        client.close()
    assert sink.body == scan.read_bytes()


def test_a_server_that_stops_reading_is_given_up(make_client: MakeClient, scan: Path) -> None:
    """No progress for the time-out, whatever was sent before."""
    done = threading.Event()

    def handler(connection: socket.socket) -> None:
        read_head(connection)
        done.wait(10)

    with RawServer(handler, receive_buffer=32 * 1024) as server:
        client = make_client(server.url, timeouts=Timeouts(connect_s=5, stall_s=0.3))
        started = time.monotonic()
        with pytest.raises(HostFault) as caught:
            put(client, f"{server.url}/up", scan)
        assert 0.25 < time.monotonic() - started < 3
        done.set()
    assert caught.value.code == "timed_out"


def test_a_server_that_never_answers_is_given_up(make_client: MakeClient, scan: Path) -> None:
    """All was sent, nothing comes back."""
    done = threading.Event()

    def handler(connection: socket.socket) -> None:
        read_request(connection)
        done.wait(10)

    with RawServer(handler) as server:
        client = make_client(server.url, timeouts=Timeouts(connect_s=5, stall_s=0.2))
        with pytest.raises(HostFault) as caught:
            put(client, f"{server.url}/up", scan)
        done.set()
    assert caught.value.code == "timed_out"


def early(status: int, *, end: Callable[[socket.socket], None]) -> Handler:
    """Return a server that answers before it has read the body."""

    def handler(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answer(status))
        end(connection)

    return handler


def close_politely(connection: socket.socket) -> None:
    """Say that nothing more comes and read on for a while."""
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(MIB):
        pass


def close_at_once(connection: socket.socket) -> None:
    """Close with the body unread: the client's next block is answered by a reset."""
    time.sleep(0.05)
    connection.close()


def stay(connection: socket.socket) -> None:
    """Keep the connection and read nothing more."""
    time.sleep(1.5)


@pytest.mark.parametrize("end", [close_politely, close_at_once, stay])
@pytest.mark.parametrize(("status", "expected"), [(403, LinkExpired), (413, HostFault)])
def test_an_early_answer_counts_more_than_the_broken_line(
    make_client: MakeClient,
    scan: Path,
    end: Callable[[socket.socket], None],
    status: int,
    expected: type[Exception],
) -> None:
    """Whichever way the server ends it, its answer says what is wrong."""
    with RawServer(early(status, end=end), receive_buffer=32 * 1024) as server:
        client = make_client(server.url, timeouts=Timeouts(connect_s=2, stall_s=0.4))
        with pytest.raises(expected, match=str(status)):
            put(client, f"{server.url}/up", scan)
        client.close()


def test_a_success_before_the_end_is_none(make_client: MakeClient, scan: Path) -> None:
    """Who says 200 without having read everything has not got it."""
    with RawServer(early(200, end=stay), receive_buffer=32 * 1024) as server:
        client = make_client(server.url, timeouts=Timeouts(connect_s=2, stall_s=0.3))
        with pytest.raises(HostFault) as caught:
            put(client, f"{server.url}/up", scan)
        assert caught.value.code == "connection_broken"
        # the half-used connection must not serve another request
        with pytest.raises(HostFault):
            put(client, f"{server.url}/up", scan)
        assert server.connections == 2


def test_a_reset_without_an_answer(make_client: MakeClient, scan: Path) -> None:
    """The host's trouble."""

    def handler(connection: socket.socket) -> None:
        read_head(connection)
        connection.recv(MIB)
        reset(connection)

    with RawServer(handler) as server, pytest.raises(HostFault) as caught:
        put(make_client(server.url), f"{server.url}/up", scan)
    assert caught.value.code == "connection_broken"


@pytest.mark.parametrize("size", [0, 1, 3 * MIB + 7])
def test_a_download_arrives_as_it_is(
    httpserver: HTTPServer, client: EngineClient, size: int
) -> None:
    """With or without an announced size; never with Authorization."""
    content = os.urandom(size)
    httpserver.expect_request("/x").respond_with_data(content)
    assert get(client, httpserver.url_for("/x"), size) == content
    assert get(client, httpserver.url_for("/x")) == content
    assert all("Authorization" not in request.headers for request, _ in httpserver.log)


def test_a_packed_answer_is_unpacked(httpserver: HTTPServer, client: EngineClient) -> None:
    """An object that is stored with Content-Encoding comes as its content."""
    httpserver.expect_request("/x").respond_with_data(
        gzip.compress(b"mesh" * 1000), headers={"Content-Encoding": "gzip"}
    )
    assert get(client, httpserver.url_for("/x"), 4000) == b"mesh" * 1000


def test_a_body_in_chunks(httpserver: HTTPServer, client: EngineClient) -> None:
    """The size is checked at the end where none is announced by the server."""

    def stream(_: Request) -> Response:
        return Response((b"x" * 1000 for _ in range(5)), direct_passthrough=True)

    httpserver.expect_request("/x").respond_with_handler(stream)
    assert get(client, httpserver.url_for("/x"), 5000) == b"x" * 5000
    with pytest.raises(HostFault) as caught:
        get(client, httpserver.url_for("/x"), 6000)
    assert caught.value.code == "download_truncated"
    with pytest.raises(HostFault) as caught:
        get(client, httpserver.url_for("/x"), 4000)
    assert caught.value.code == "size_differs"


def test_a_body_of_another_size_is_not_read(httpserver: HTTPServer, client: EngineClient) -> None:
    """What is announced by the server must be what the job's result announced."""
    httpserver.expect_request("/x").respond_with_data(b"x" * 100)
    target = io.BytesIO()
    with pytest.raises(HostFault) as caught:
        client.download(
            httpserver.url_for("/x"),
            target,
            size=99,
            on_progress=lambda _: None,
            should_stop=lambda: False,
        )
    assert (caught.value.code, caught.value.breaker) == ("size_differs", "download:localhost")
    assert target.tell() == 0


def test_a_download_that_is_cut(make_client: MakeClient) -> None:
    """Fewer bytes than announced is never a success."""

    def handler(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answer(200, b"x" * 5000)[:-1])

    with RawServer(handler) as server, pytest.raises(HostFault) as caught:
        get(make_client(server.url), f"{server.url}/x")
    assert caught.value.code in {"answer_incomplete", "connection_broken"}


def test_a_download_that_stalls_is_given_up(make_client: MakeClient) -> None:
    """No byte within the time-out."""
    done = threading.Event()

    def handler(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answer(200, b"x" * 5000)[:-1])
        done.wait(10)

    with RawServer(handler) as server:
        client = make_client(server.url, timeouts=Timeouts(connect_s=5, stall_s=0.2))
        with pytest.raises(HostFault) as caught:
            get(client, f"{server.url}/x")
        done.set()
    assert caught.value.code == "timed_out"


def test_a_slow_download_is_not_cut(make_client: MakeClient) -> None:
    """Longer than the time-out in all, never without progress for so long; told as it comes."""
    seen: list[int] = []

    def handler(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answer(200, b"x" * 10)[:-10])
        for _ in range(10):
            time.sleep(0.05)
            connection.sendall(b"x")

    with RawServer(handler) as server:
        client = make_client(server.url, timeouts=Timeouts(connect_s=1, stall_s=0.3))
        client.download(
            f"{server.url}/x",
            io.BytesIO(),
            size=10,
            on_progress=seen.append,
            should_stop=lambda: False,
        )
    assert seen[-1] == 10
    assert len(seen) > 5


def test_a_full_disk_stays_an_oserror(httpserver: HTTPServer, client: EngineClient) -> None:
    """The target's trouble is not the network's."""
    httpserver.expect_request("/x").respond_with_data(b"x" * 100)
    with (
        open("/dev/full", "wb", buffering=0) as target,  # noqa: PTH123
        pytest.raises(OSError, match="No space left"),
    ):
        client.download(
            httpserver.url_for("/x"),
            target,
            size=100,
            on_progress=lambda _: None,
            should_stop=lambda: False,
        )
