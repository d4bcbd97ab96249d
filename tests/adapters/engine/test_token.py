"""One token for all threads and over restarts."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.adapters.engine.conftest import NOW_S, Clock, MakeClient
from tests.adapters.engine.servers import RawServer, unused_port
from vpe_watcher.adapters.engine import ClientCredentials, EngineClient, ReadyToken
from vpe_watcher.adapters.settings import AuthSettings
from vpe_watcher.core.errors import EnvironmentFault

POLL = "/24.06/pollJobResults"


class TokenServer:
    """Gives out token-1, token-2, … and accepts the newest one only."""

    def __init__(self, httpserver: HTTPServer, **answer: Any) -> None:
        self.given = 0
        self.answer = {"expires_in": 86400} | answer
        self.bodies: list[Any] = []
        self._lock = threading.Lock()
        httpserver.expect_request("/oauth/token", method="POST").respond_with_handler(self._give)
        httpserver.expect_request(POLL).respond_with_handler(self._poll)

    def _give(self, request: Request) -> Response:
        with self._lock:
            self.given += 1
            self.bodies.append((request.json, dict(request.headers)))
            token = {"access_token": f"token-{self.given}"} | self.answer
        return Response(json.dumps(token))

    def _poll(self, request: Request) -> Response:
        is_newest = request.headers.get("Authorization") == f"Bearer token-{self.given}"
        return Response("{}", status=200 if is_newest else 401)


@pytest.fixture
def make(
    httpserver: HTTPServer, make_client: MakeClient, credentials: ClientCredentials
) -> Callable[..., EngineClient]:
    """Make clients with client credentials."""

    def make(**changes: Any) -> EngineClient:
        auth = replace(credentials, **changes)
        return make_client(httpserver.url_for("/"), auth=auth)

    return make


Make = Callable[..., EngineClient]


def test_the_token_call_is_what_auth0_wants(httpserver: HTTPServer, make: Make) -> None:
    """Client credentials as JSON, without any Authorization."""
    server = TokenServer(httpserver)
    make().poll("j1")
    body, headers = server.bodies[0]
    assert body == {
        "grant_type": "client_credentials",
        "audience": "virtualpatientengine.com",
        "client_id": "clinic",
        "client_secret": "hush-hush",
    }
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in headers


def test_one_token_serves_calls_threads_and_restarts(httpserver: HTTPServer, make: Make) -> None:
    """Many calls of many threads, then another process: one token call."""
    server = TokenServer(httpserver)
    client = make()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client.poll, map(str, range(32))))
    make().poll("j1")
    assert server.given == 1


def test_the_token_file_is_private(httpserver: HTTPServer, make: Make, token_file: Path) -> None:
    """Mode 0600, nothing else left beside it."""
    TokenServer(httpserver)
    make().poll("j1")
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    kept = json.loads(token_file.read_text())
    assert kept["access_token"] == "token-1"
    assert kept["expires_at"] == NOW_S + 86400
    assert [each.name for each in token_file.parent.iterdir()] == [token_file.name]


def test_many_401s_at_once_cause_one_new_token(httpserver: HTTPServer, make: Make) -> None:
    """However many threads are told that the token is no good."""
    server = TokenServer(httpserver)
    client = make()
    client.poll("j1")
    server.given += 1  # somebody else got a newer one: ours is not accepted any more
    barrier = threading.Barrier(8)

    def poll(job_id: str) -> None:
        barrier.wait()
        client.poll(job_id)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(poll, map(str, range(8))))
    assert server.given == 3


@pytest.mark.parametrize(
    ("expires_in", "life_s", "ahead_s"),
    [
        (86400, 86400, 300),
        ("43200", 43200, 300),
        (600, 600, 60),
        (None, 86400, 300),
        ("soon", 86400, 300),
        (-1, 86400, 300),
        (float("inf"), 86400, 300),
    ],
)
def test_a_token_is_renewed_shortly_before_its_end(
    httpserver: HTTPServer,
    make: Make,
    clock: Clock,
    *,
    expires_in: object,
    life_s: float,
    ahead_s: float,
) -> None:
    """Five minutes or a tenth of its life ahead; a day is assumed where nothing is said."""
    server = TokenServer(httpserver, expires_in=expires_in)
    client = make()
    client.poll("j1")
    clock.now_s = NOW_S + life_s - ahead_s - 1
    client.poll("j1")
    assert server.given == 1
    clock.now_s += 1
    client.poll("j1")
    assert server.given == 2
    make().poll("j1")
    assert server.given == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"token"',
        b"{}",
        b'{"access_token": 3, "expires_at": 9e9, "key": "KEY"}',
        b'{"access_token": "a b", "expires_at": 9e9, "key": "KEY"}',
        b'{"access_token": "stale", "expires_at": 1, "key": "KEY"}',
        b'{"access_token": "stale", "expires_at": "x", "key": "KEY"}',
        b'{"access_token": "stale", "expires_at": 1e999, "key": "KEY"}',
        b'{"access_token": "stale", "expires_at": 9e9, "key": "foreign"}',
        b"\xff" * 100_000,
    ],
)
def test_a_bad_token_file_is_ignored(
    httpserver: HTTPServer, make: Make, token_file: Path, content: bytes
) -> None:
    """Whatever lies there, the client gets a token of its own and replaces it."""
    server = TokenServer(httpserver)
    make().poll("j1")
    key = json.loads(token_file.read_text())["key"]
    token_file.write_bytes(content.replace(b"KEY", key.encode()))
    make().poll("j1")
    assert server.given == 2
    assert json.loads(token_file.read_text())["access_token"] == "token-2"


@pytest.mark.parametrize("change", [{"client_id": "other"}, {"audience": "elsewhere"}])
def test_a_token_of_other_credentials_is_not_used(
    httpserver: HTTPServer, make: Make, change: dict[str, str]
) -> None:
    """A changed configuration drops the kept token."""
    server = TokenServer(httpserver)
    make().poll("j1")
    make(**change).poll("j1")
    assert server.given == 2


def test_a_token_that_cannot_be_kept_is_used(
    httpserver: HTTPServer, make_client: MakeClient, credentials: ClientCredentials, tmp_path: Path
) -> None:
    """A state folder that cannot be written to is somebody else's trouble."""
    server = TokenServer(httpserver)
    client = make_client(
        httpserver.url_for("/"), auth=credentials, token_file=tmp_path / "missing" / "token"
    )
    client.poll("j1")
    client.poll("j1")
    assert server.given == 1


def test_a_leftover_draft_does_not_disturb(
    httpserver: HTTPServer, make: Make, token_file: Path
) -> None:
    """A crash in the middle of writing leaves a draft; the next write replaces it."""
    TokenServer(httpserver)
    draft = token_file.with_name(token_file.name + ".tmp")
    draft.write_text("half")
    make().poll("j1")
    assert json.loads(token_file.read_text())["access_token"] == "token-1"
    assert not draft.exists()


def test_check_gets_a_fresh_token(httpserver: HTTPServer, make: Make) -> None:
    """`renew_token` asks even though the kept one is good."""
    server = TokenServer(httpserver)
    client = make()
    client.poll("j1")
    client.renew_token()
    assert server.given == 2
    client.poll("j1")
    assert server.given == 2


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, '{"error": "access_denied", "error_description": "hush-hush?"}', "token_refused"),
        (403, "", "token_refused"),
        (404, "<html>nothing</html>", "token_refused"),
        (302, "", "token_refused"),
        (201, '{"access_token": "t"}', "token_refused"),
        (429, "", "token_server_error"),
        (500, "", "token_server_error"),
        (200, "", "token_garbled"),
        (200, "[]", "token_garbled"),
        (200, "{}", "token_garbled"),
        (200, '{"access_token": ""}', "token_garbled"),
        (200, '{"access_token": 5}', "token_garbled"),
        (200, '{"access_token": "a\\nb"}', "token_garbled"),
    ],
)
def test_anything_but_a_token_opens_the_tokens_breaker(
    httpserver: HTTPServer, make: Make, status: int, body: str, code: str
) -> None:
    """The Engine is not called at all, and the secret is not in the message."""
    httpserver.expect_request("/oauth/token").respond_with_data(
        body, status=status, headers={"Retry-After": "9", "Location": "/oauth/token"}
    )
    with pytest.raises(EnvironmentFault) as caught:
        make().poll("j1")
    fault = caught.value
    assert (fault.breaker, fault.code) == ("token", code)
    assert "hush-hush" not in fault.message + fault.hint
    assert fault.retry_after_s == (9 if status != 200 else None)
    assert len(httpserver.log) == 1


def test_a_token_endpoint_that_is_down(make: Make) -> None:
    """No connection, or no answer: the breaker `token` all the same."""
    with pytest.raises(EnvironmentFault) as caught:
        make(token_url=f"http://127.0.0.1:{unused_port()}/oauth/token").poll("j1")
    assert (caught.value.breaker, caught.value.code) == ("token", "token_unreachable")
    with RawServer(lambda connection: None) as server, pytest.raises(EnvironmentFault) as caught:
        make(token_url=f"{server.url}/oauth/token").poll("j1")
    assert (caught.value.breaker, caught.value.code) == ("token", "token_unreachable")


def test_who_waits_for_a_token_shares_the_failure(httpserver: HTTPServer, make: Make) -> None:
    """A wrong secret costs one call, not one for each worker."""
    arrived, go = threading.Event(), threading.Event()

    def refuse(_: Request) -> Response:
        arrived.set()
        go.wait(10)
        return Response(status=401)

    httpserver.expect_request("/oauth/token").respond_with_handler(refuse)
    client = make()
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(client.poll, "0")
        assert arrived.wait(10)
        others = [pool.submit(client.poll, str(number)) for number in range(1, 6)]
        while pool._work_queue.qsize():  # noqa: SLF001 - all have been taken by a thread
            threading.Event().wait(0.01)
        threading.Event().wait(0.1)
        go.set()
        faults = [future.exception() for future in [first, *others]]
    assert {getattr(fault, "code", None) for fault in faults} == {"token_refused"}
    assert len(httpserver.log) == 1


@pytest.mark.parametrize("mode", [0o644, None])
def test_a_secret_file_that_was_spoilt_since_the_start(
    make: Make, tmp_path: Path, mode: int | None
) -> None:
    """What the settings say of an opened or removed file is the token's trouble, not a defect."""
    file = tmp_path / "secret"
    if mode:
        file.write_text("s3cret")
        file.chmod(mode)
    auth = AuthSettings.model_construct(client_secret_file=file)
    with pytest.raises(EnvironmentFault) as caught:
        make(client_secret=auth.read_client_secret).poll("j1")
    assert (caught.value.breaker, caught.value.code) == ("token", "secret_unreadable")
    assert str(file) not in caught.value.message
    assert caught.value.hint


def test_a_secret_that_cannot_be_read(make: Make, tmp_path: Path) -> None:
    """A missing secret file is the token's trouble, without its path in the message."""
    missing = tmp_path / "secret"
    with pytest.raises(EnvironmentFault) as caught:
        make(client_secret=missing.read_text).poll("j1")
    assert (caught.value.breaker, caught.value.code) == ("token", "secret_unreadable")
    assert str(missing) not in caught.value.message


def test_a_ready_token_is_read_anew_when_it_changes(
    httpserver: HTTPServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """Somebody else renews the file; line ends around the token do not matter."""
    file = tmp_path / "token"
    file.write_text("first\n")
    client = make_client(httpserver.url_for("/"), auth=ReadyToken(file.read_text))
    for token in ("first", "second"):
        file.write_text(f"{token}\n")
        httpserver.expect_oneshot_request(
            POLL, headers={"Authorization": f"Bearer {token}"}
        ).respond_with_json({})
        assert client.poll("j1").body == {}


def test_a_ready_token_is_read_again_on_401(
    httpserver: HTTPServer, make_client: MakeClient
) -> None:
    """The call is made once more with what is there then."""
    tokens = iter(["old", "new"])
    httpserver.expect_request(POLL, headers={"Authorization": "Bearer old"}).respond_with_data(
        status=401
    )
    httpserver.expect_request(POLL, headers={"Authorization": "Bearer new"}).respond_with_json({})
    client = make_client(httpserver.url_for("/"), auth=ReadyToken(lambda: next(tokens)))
    assert client.poll("j1").body == {}


def test_a_ready_token_that_is_not_accepted(
    httpserver: HTTPServer, make_client: MakeClient, token_file: Path
) -> None:
    """Two calls, then a clear error; nothing is kept of a token that is not ours."""
    httpserver.expect_request(POLL).respond_with_data(status=401)
    client = make_client(httpserver.url_for("/"))
    with pytest.raises(EnvironmentFault) as caught:
        client.poll("j1")
    assert (caught.value.breaker, caught.value.code) == ("engine", "token_not_accepted")
    assert "token" in caught.value.hint
    assert len(httpserver.log) == 2
    assert not token_file.exists()


@pytest.mark.parametrize(
    ("token", "code"), [("", "secret_unreadable"), ("two words", "token_garbled")]
)
def test_a_ready_token_that_is_none(make_client: MakeClient, token: str, code: str) -> None:
    """An empty file or a pasted sentence is found before anything is sent."""
    client = make_client("http://127.0.0.1:1", auth=ReadyToken(lambda: token))
    with pytest.raises(EnvironmentFault) as caught:
        client.renew_token()
    assert (caught.value.breaker, caught.value.code) == ("token", code)


def test_a_new_token_that_is_not_accepted_either(httpserver: HTTPServer, make: Make) -> None:
    """One new token a call, never a loop."""
    httpserver.expect_request("/oauth/token").respond_with_json({"access_token": "t"})
    httpserver.expect_request(POLL).respond_with_data(status=401)
    with pytest.raises(EnvironmentFault) as caught:
        make().poll("j1")
    assert caught.value.code == "token_not_accepted"
    assert [request.path for request, _ in httpserver.log] == [
        "/oauth/token",
        POLL,
        "/oauth/token",
        POLL,
    ]
