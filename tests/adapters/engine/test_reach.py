"""The one question whether the Engine is at work: a look at a job, which no answer fails."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
import trustme
from pytest_httpserver import HTTPServer
from werkzeug import Response

from tests.adapters.engine.conftest import MakeClient
from tests.adapters.engine.servers import RawServer
from vpe_watcher.adapters.engine import ClientCredentials, EngineClient, ReadyToken
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.sandbox.rules import Sandbox
from vpe_watcher.sandbox.server import SandboxServer

JOB = "no-such/job"
POLLS = "/24.06/pollJobResults"


def test_the_sandbox_answers_and_its_closed_port_does_not(
    make_client: MakeClient, tmp_path: Path
) -> None:
    """A word on the token or the job is one; a port that nobody listens on gives none."""
    sandbox = Sandbox(tmp_path / "sandbox", simple=True)
    with SandboxServer(sandbox) as server:
        client = make_client(server.url, auth=ReadyToken(lambda: "stale"))
        with pytest.raises(EnvironmentFault, match="access token"):
            client.check_reachable(JOB)
        auth = ClientCredentials(
            "sandbox", lambda: "sandbox", f"{server.url}/oauth/token", "virtualpatientengine.com"
        )
        client = make_client(server.url, auth=auth)
        client.check_reachable(JOB)
        client.close()
    asked = [(seen.kind, seen.method, seen.status) for seen in sandbox.ledger.requests]
    assert asked == [("poll", "GET", 401)] * 2 + [("token", "POST", 200), ("poll", "GET", 404)]
    with pytest.raises(EnvironmentFault, match="no complete answer") as met:
        client.check_reachable(JOB)
    assert (met.value.breaker, met.value.code) == ("engine", "connection_refused")
    sandbox.close()


@pytest.mark.parametrize("status", [200, 202, 204, 301, 403, 404, 405, 410])
def test_whatever_is_said_is_an_answer(
    client: EngineClient, httpserver: HTTPServer, status: int
) -> None:
    """Nobody is followed elsewhere, and the call is not repeated."""
    answer = Response(status=status, headers={"Location": httpserver.url_for("/else")})
    httpserver.expect_request(POLLS).respond_with_response(answer)
    client.check_reachable(JOB)
    assert [request.path for request, _ in httpserver.log] == [POLLS]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_engine_that_is_away_is_the_environments(
    client: EngineClient, httpserver: HTTPServer, status: int
) -> None:
    """A gateway that speaks for it, or one that is too busy: it tells when to ask again."""
    answer = Response(status=status, headers={"Retry-After": "7"})
    httpserver.expect_request(POLLS).respond_with_response(answer)
    with pytest.raises(EnvironmentFault, match=f"status {status}") as met:
        client.check_reachable(JOB)
    assert (met.value.breaker, met.value.retry_after_s) == ("engine", 7.0)


def test_a_connection_that_died_in_the_pool_does_not_speak_for_it(make_client: MakeClient) -> None:
    """The question goes out on one of its own: a proxy may have let the old one go in hours."""

    def answers_once(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        connection.recv(65536)

    with RawServer(answers_once) as server:
        client = make_client(server.url)
        for _ in range(2):
            client.check_reachable(JOB)
        assert server.connections == 2


def test_a_token_that_is_not_to_be_had_is_the_token_services(make_client: MakeClient) -> None:
    """Without one nothing can be asked, and nobody is to blame but who should give it."""

    def none() -> str:
        raise EnvironmentFault("None.", code="made_up", breaker="token")

    with pytest.raises(EnvironmentFault) as met:
        make_client("http://127.0.0.1:9", auth=ReadyToken(none)).check_reachable(JOB)
    assert met.value.breaker == "token"


def test_who_is_not_trusted_is_not_reached(make_client: MakeClient) -> None:
    """A stranger with another certificate, as behind a captive portal, is no Engine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = RawServer(lambda _: None, tls=context)
    with server, pytest.raises(EnvironmentFault) as met:
        make_client(server.url).check_reachable(JOB)
    assert (met.value.breaker, met.value.code) == ("engine", "tls_failed")
