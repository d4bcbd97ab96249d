"""What each answer to a submit becomes."""

from __future__ import annotations

import socket

import pytest
from pytest_httpserver import HTTPServer

from tests.adapters.engine.conftest import MakeClient
from tests.adapters.engine.servers import RawServer, answer, read_request, unused_port
from vpe_watcher.adapters.engine import EngineClient
from vpe_watcher.core.errors import AnswerLost, EnvironmentFault, InputFault, TransientFault

JOB = {"inputFiles": {"cbct": {"extension": ".dcm"}}}


def test_a_submit_is_json_with_the_token(httpserver: HTTPServer, client: EngineClient) -> None:
    """The body goes as JSON to the job route, with the bearer token and our name."""
    httpserver.expect_oneshot_request(
        "/24.06/job",
        method="POST",
        json=JOB,
        headers={
            "Authorization": "Bearer ready-token",
            "Content-Type": "application/json",
            "User-Agent": "vpe-watcher/test",
        },
    ).respond_with_json({"jobId": "j1", "extra": [1]})
    assert client.submit(JOB) == {"jobId": "j1", "extra": [1]}


def test_old_engines_have_another_route(httpserver: HTTPServer, make_client: MakeClient) -> None:
    """`generic-job` is a matter of configuration; a slash at the end of the URL does not matter."""
    httpserver.expect_oneshot_request("/v2/generic-job").respond_with_json({"jobId": "j1"})
    client = make_client(httpserver.url_for("/"), version="v2", submit_path="generic-job")
    assert client.submit(JOB)["jobId"] == "j1"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_job_is_the_inputs_fault(
    httpserver: HTTPServer, client: EngineClient, status: int
) -> None:
    """What the Engine says is passed on, without URLs, tokens and control characters."""
    said = "bad\x1b[31m scan https://x.example/a?sig=1 Bearer abc " + "long " * 80
    httpserver.expect_request("/24.06/job").respond_with_json({"message": said}, status=status)
    with pytest.raises(InputFault) as caught:
        client.submit(JOB)
    fault = caught.value
    assert fault.code == "refused_by_engine"
    assert str(status) in fault.message
    assert "bad [31m scan [URL] [token] long" in fault.message
    assert "sig=1" not in fault.message
    assert len(fault.message) < 300


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (301, "redirected"),
        (302, "redirected"),
        (307, "redirected"),
        (308, "redirected"),
        (401, "token_not_accepted"),
        (402, "payment_required"),
        (403, "forbidden"),
        (404, "not_found"),
        (405, "method_not_allowed"),
        (429, "rate_limited"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_trouble_of_all_jobs_opens_the_engines_breaker(
    httpserver: HTTPServer, client: EngineClient, status: int, code: str
) -> None:
    """Nothing of this is the case's fault; an answer came, so it is not AnswerLost."""
    httpserver.expect_request("/24.06/job").respond_with_data(
        "no", status=status, headers={"Retry-After": "7", "Location": "/elsewhere"}
    )
    with pytest.raises(EnvironmentFault) as caught:
        client.submit(JOB)
    fault = caught.value
    assert type(fault) is EnvironmentFault
    assert (fault.breaker, fault.code) == ("engine", code)
    assert fault.hint
    assert fault.retry_after_s == 7
    assert {request.path for request, _ in httpserver.log} == {"/24.06/job"}


@pytest.mark.parametrize("status", [406, 408, 409, 418, 451])
def test_any_other_answer_is_tried_again(
    httpserver: HTTPServer, client: EngineClient, status: int
) -> None:
    """An answer that nobody has named is trouble of this one case."""
    httpserver.expect_request("/24.06/job").respond_with_data("what", status=status)
    with pytest.raises(TransientFault) as caught:
        client.submit(JOB)
    assert caught.value.code == "unexpected_answer"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"<html>"),
        (200, b"[1]"),
        (200, b'"j1"'),
        (200, b'{"jobId": '),
        (200, b"\xff\xfe\x00"),
        (200, b"[" * 100_000),
        (201, b'{"jobId": "j1"}'),
        (204, b""),
    ],
)
def test_a_success_that_makes_no_sense_is_garbled(
    httpserver: HTTPServer, client: EngineClient, status: int, body: bytes
) -> None:
    """The code says that the Engine may have taken the job."""
    httpserver.expect_request("/24.06/job").respond_with_data(body, status=status)
    with pytest.raises(TransientFault) as caught:
        client.submit(JOB)
    assert caught.value.code == "answer_garbled"


def test_a_job_that_json_cannot_say_is_the_inputs_fault(client: EngineClient) -> None:
    """TOML knows nan, JSON does not: nothing is sent."""
    with pytest.raises(InputFault) as caught:
        client.submit({"options": float("nan")})
    assert caught.value.code == "job_not_json"


def test_nobody_listening_means_not_sent(make_client: MakeClient) -> None:
    """A refused connection is no lost answer."""
    client = make_client(f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(EnvironmentFault) as caught:
        client.submit(JOB)
    assert not isinstance(caught.value, AnswerLost)
    assert (caught.value.code, caught.value.breaker) == ("connection_refused", "engine")


def test_a_closed_connection_loses_the_answer(make_client: MakeClient) -> None:
    """The request was read and then the line closed: the job may have been made."""

    def handler(connection: socket.socket) -> None:
        read_request(connection)

    with RawServer(handler) as server, pytest.raises(AnswerLost) as caught:
        make_client(server.url).submit(JOB)
    assert caught.value.code == "connection_broken"
    assert server.connections == 1


def test_a_submit_never_uses_an_old_connection(make_client: MakeClient) -> None:
    """A connection that died in the pool must not make the outcome of a submit unknown."""

    def handler(connection: socket.socket) -> None:
        while True:
            read_request(connection)
            connection.sendall(answer(200, b"{}"))

    with RawServer(handler) as server:
        client = make_client(server.url)
        client.poll("a")
        client.poll("b")
        assert server.connections == 1
        client.submit(JOB)
        client.submit(JOB)
        assert server.connections == 3
        client.close()
