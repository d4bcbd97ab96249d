"""Every foreign exception becomes one of ours, and *not sent* is said only when it is certain."""

from __future__ import annotations

import inspect
import socket
import ssl
from collections.abc import Iterator
from http.client import IncompleteRead, RemoteDisconnected

import pytest
import requests
import trustme
import urllib3

from tests.adapters.engine.conftest import MakeClient
from tests.adapters.engine.servers import (
    Handler,
    RawServer,
    answer,
    read_request,
    reset,
    unused_port,
)
from vpe_watcher.adapters.engine import Timeouts
from vpe_watcher.adapters.engine.faults import mapped, translate
from vpe_watcher.core.errors import AnswerLost, EnvironmentFault, HostFault, StepFault

URL = "https://store.example/secret-path?sig=verysecret"


def foreign_classes() -> Iterator[type[BaseException]]:
    """Yield every exception class that the two libraries name."""
    for module in (requests.exceptions, urllib3.exceptions):
        for _, each in inspect.getmembers(module, inspect.isclass):
            if issubclass(each, Exception) and each.__module__ == module.__name__:
                yield each


def made(kind: type[BaseException]) -> BaseException:
    """Make an instance, whatever its constructor wants."""
    error = kind.__new__(kind)
    error.args = (URL,)
    return error


CLASSES = sorted(set(foreign_classes()), key=str)
UNSENT = {
    "ConnectTimeout",
    "ConnectTimeoutError",
    "InvalidProxyURL",
    "InvalidSchema",
    "InvalidURL",
    "LocationParseError",
    "LocationValueError",
    "MissingSchema",
    "NameResolutionError",
    "NewConnectionError",
    "ProxySchemeUnknown",
    "ProxySchemeUnsupported",
    "URLRequired",
    "URLSchemeUnknown",
}


@pytest.mark.parametrize("kind", CLASSES, ids=str)
def test_no_class_of_the_libraries_leaks(kind: type[BaseException]) -> None:
    """Each class of both libraries is ours afterwards; only listed ones count as not sent."""
    error = made(kind)
    fault = translate(error, breaker="engine", host="engine.example")
    assert isinstance(fault, EnvironmentFault)
    assert isinstance(fault, AnswerLost) == (kind.__name__ not in UNSENT)
    token = translate(error, breaker="token", host="auth.example")
    assert isinstance(token, EnvironmentFault)
    assert (token.breaker, token.code) == ("token", "token_unreachable")
    store = translate(error, breaker="upload:store.example", host="store.example")
    assert isinstance(store, HostFault)
    assert store.breaker == "upload:store.example"
    for each in (fault, token, store):
        assert "secret" not in each.message + each.hint


@pytest.mark.parametrize(
    "kind", [each for each in CLASSES if not issubclass(each, Warning)], ids=str
)
def test_what_can_be_raised_is_caught(kind: type[BaseException]) -> None:
    """The edge catches every class of the libraries that is not a mere warning."""
    with pytest.raises(StepFault), mapped(breaker="engine", host="engine.example"):
        raise made(kind)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectionResetError(104, "reset"), "connection_broken"),
        (BrokenPipeError(32, "pipe"), "connection_broken"),
        (RemoteDisconnected("gone"), "connection_broken"),
        (TimeoutError("slow"), "timed_out"),
        (ssl.SSLError("bad record"), "tls_broken"),
        (IncompleteRead(b"x", 3), "answer_lost"),
        (urllib3.exceptions.ProtocolError("x", IncompleteRead(b"x", 3)), "connection_broken"),
        (
            requests.ConnectionError(urllib3.exceptions.ProtocolError("x", TimeoutError())),
            "timed_out",
        ),
        (OSError(5, "I/O"), "answer_lost"),
    ],
)
def test_what_may_have_been_sent_is_lost(error: Exception, code: str) -> None:
    """Anything that can happen after the first byte leaves the outcome unknown."""
    fault = translate(error, breaker="engine", host="engine.example")
    assert isinstance(fault, AnswerLost)
    assert fault.code == code


def test_causes_that_go_in_circles_end() -> None:
    """An exception that is its own cause does not hang the mapping."""
    first, second = OSError("a"), OSError("b")
    first.__cause__, second.__cause__ = second, first
    assert isinstance(translate(first, breaker="engine", host="x"), EnvironmentFault)


def test_a_name_that_does_not_exist(make_client: MakeClient) -> None:
    """Not sent."""
    with pytest.raises(EnvironmentFault) as caught:
        make_client("http://engine.invalid").poll("j1")
    assert type(caught.value) is EnvironmentFault
    assert caught.value.code == "name_not_resolved"
    assert "engine.invalid" in caught.value.message


@pytest.mark.parametrize("base_url", ["http://a..b", "http://" + "x" * 70 + ".invalid", "nonsense"])
def test_a_base_url_that_is_none(make_client: MakeClient, base_url: str) -> None:
    """Not sent, whichever of the libraries notices."""
    with pytest.raises(EnvironmentFault) as caught:
        make_client(base_url).poll("j1")
    assert type(caught.value) is EnvironmentFault
    assert caught.value.code in {"url_invalid", "name_not_resolved"}


def test_a_connection_that_is_never_taken(make_client: MakeClient) -> None:
    """A listener whose queue is full: connect time-out, not sent."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        host, port = listener.getsockname()
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.settimeout(0)
            filler.connect_ex((host, port))
        client = make_client(
            f"http://127.0.0.1:{port}", timeouts=Timeouts(connect_s=0.2, stall_s=5)
        )
        with pytest.raises(EnvironmentFault) as caught:
            client.poll("j1")
        for filler in fillers:
            filler.close()
    assert type(caught.value) is EnvironmentFault
    assert caught.value.code == "connect_timeout"


def silent(connection: socket.socket) -> None:
    """Read the request and say nothing until the client goes."""
    read_request(connection)
    connection.recv(1)


def half_an_answer(connection: socket.socket) -> None:
    """Announce more than is sent."""
    read_request(connection)
    connection.sendall(answer(200, b"{" + b" " * 50)[:-20])


def half_a_line(connection: socket.socket) -> None:
    """Close within the first line."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 2")


def not_http(connection: socket.socket) -> None:
    """Speak another protocol."""
    read_request(connection)
    connection.sendall(b"220 mail.example ESMTP\r\n")


def reset_at_once(connection: socket.socket) -> None:
    """Reset after the request."""
    read_request(connection)
    reset(connection)


def bad_chunks(connection: socket.socket) -> None:
    """Send chunks that are none."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\r\nzz")


def bad_gzip(connection: socket.socket) -> None:
    """Say gzip and send something else."""
    read_request(connection)
    connection.sendall(answer(200, b"{}", "Content-Encoding: gzip"))


@pytest.mark.parametrize(
    "handler", [silent, half_an_answer, half_a_line, not_http, reset_at_once, bad_chunks, bad_gzip]
)
def test_no_complete_answer_is_lost(make_client: MakeClient, handler: Handler) -> None:
    """On real sockets: whatever happens after the request was sent, the outcome is not known."""
    with RawServer(handler) as server:
        client = make_client(server.url, timeouts=Timeouts(connect_s=2, stall_s=0.2))
        with pytest.raises(AnswerLost) as caught:
            client.submit({})
        client.close()
    assert caught.value.breaker == "engine"
    assert caught.value.__cause__ is not None


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return a private certificate authority."""
    return trustme.CA()


def tls_server(authority: trustme.CA, name: str = "127.0.0.1") -> RawServer:
    """Return a TLS server that answers a JSON object."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)

    def handler(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(200, b'{"ok": true}'))

    return RawServer(handler, tls=context)


def trust(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, folder: object) -> None:
    """Make the client trust the authority, as an operator would."""
    bundle = f"{folder}/ca.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)


def test_tls_works_with_a_private_authority(
    make_client: MakeClient,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: object,
) -> None:
    """REQUESTS_CA_BUNDLE is obeyed."""
    trust(authority, monkeypatch, tmp_path)
    with tls_server(authority) as server:
        client = make_client(server.url)
        assert client.submit({}) == {"ok": True}
        client.close()


def test_a_certificate_that_is_not_trusted(make_client: MakeClient, authority: trustme.CA) -> None:
    """Not sent."""
    with tls_server(authority) as server, pytest.raises(EnvironmentFault) as caught:
        make_client(server.url).submit({})
    assert type(caught.value) is EnvironmentFault
    assert caught.value.code == "tls_failed"
    assert "not trusted" in caught.value.message


def test_a_certificate_of_another_name(
    make_client: MakeClient,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: object,
) -> None:
    """Not sent."""
    trust(authority, monkeypatch, tmp_path)
    with (
        tls_server(authority, "other.example") as server,
        pytest.raises(EnvironmentFault) as caught,
    ):
        make_client(server.url).submit({})
    assert type(caught.value) is EnvironmentFault
    assert caught.value.code == "tls_failed"


def no_tls(connection: socket.socket) -> None:
    """Answer a handshake with something else."""
    connection.sendall(b"no TLS here\r\n")


def hang_up(connection: socket.socket) -> None:
    """Say nothing at all."""
    connection.shutdown(socket.SHUT_RDWR)


def stall_in_handshake(connection: socket.socket) -> None:
    """Take the first message of a handshake and wait for more."""
    connection.recv(65536)
    connection.recv(1)


def reset_in_handshake(connection: socket.socket) -> None:
    """Reset after the first message of a handshake."""
    connection.recv(65536)
    reset(connection)


@pytest.mark.parametrize("handler", [no_tls, hang_up, reset_in_handshake])
def test_a_handshake_that_fails(make_client: MakeClient, handler: Handler) -> None:
    """A server that speaks no TLS, or hangs up in the handshake: not sent."""
    with RawServer(handler) as server, pytest.raises(EnvironmentFault) as caught:
        make_client(server.url.replace("http:", "https:")).submit({})
    assert type(caught.value) is EnvironmentFault
    assert caught.value.code in {"tls_failed", "not_connected"}


def test_a_handshake_that_stalls(make_client: MakeClient) -> None:
    """No answer to the handshake within the connect time-out: not sent."""
    with RawServer(stall_in_handshake) as server:
        client = make_client(
            server.url.replace("http:", "https:"), timeouts=Timeouts(connect_s=0.2, stall_s=9)
        )
        with pytest.raises(EnvironmentFault) as caught:
            client.submit({})
    assert type(caught.value) is EnvironmentFault
    assert caught.value.code == "connect_timeout"


def test_certificates_that_are_missing(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle that is not there: not sent, and its path is not in the message."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(EnvironmentFault) as caught:
        make_client("https://127.0.0.1:1").submit({})
    assert type(caught.value) is EnvironmentFault
    assert caught.value.code == "tls_failed"
    assert "nowhere" not in caught.value.message


def test_a_proxy_of_the_environment_is_used(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy gets the whole URL, and the name is left to it to resolve."""
    seen: list[bytes] = []

    def proxy(connection: socket.socket) -> None:
        seen.append(read_request(connection).split(b"\r\n")[0])
        connection.sendall(answer(200, b"{}"))

    with RawServer(proxy) as server:
        monkeypatch.setenv("http_proxy", server.url)
        client = make_client("http://engine.invalid")
        assert client.poll("j1").body == {}
        client.close()
    assert seen == [b"GET http://engine.invalid/24.06/pollJobResults?jobId=j1 HTTP/1.1"]


@pytest.mark.parametrize("reply", [b"HTTP/1.1 407 Who are you\r\n\r\n", b"", b"nonsense\r\n\r\n"])
def test_a_proxy_that_opens_no_tunnel(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, reply: bytes
) -> None:
    """Without a tunnel nothing has reached the Engine."""

    def proxy(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply)

    with RawServer(proxy) as server:
        monkeypatch.setenv("https_proxy", server.url)
        with pytest.raises(EnvironmentFault) as caught:
            make_client("https://engine.invalid").submit({})
    assert type(caught.value) is EnvironmentFault
    assert caught.value.code in {"not_connected", "tls_failed"}


def test_a_proxy_that_is_down(make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not sent."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(EnvironmentFault) as caught:
        make_client("http://engine.invalid").submit({})
    assert type(caught.value) is EnvironmentFault
    assert caught.value.code == "connection_refused"
