"""An Engine client with a ready-made token or client credentials, on servers of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from vpe_watcher.adapters.engine import ClientCredentials, EngineClient, ReadyToken, Timeouts

NOW_S = 1_790_000_000.0
MakeClient = Callable[..., EngineClient]


class Clock:
    """A wall clock that stands until it is told to go."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(autouse=True)
def no_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the machine's proxies and netrc out."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def clock() -> Clock:
    """Return a wall clock."""
    return Clock()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """Return where the token is kept."""
    return tmp_path / "engine-token"


@pytest.fixture
def make_client(clock: Clock, token_file: Path) -> Iterator[MakeClient]:
    """Make clients, with a ready-made token unless told otherwise, and close them."""
    made: list[EngineClient] = []

    def make(base_url: str, **changes: Any) -> EngineClient:
        known: dict[str, Any] = {
            "base_url": base_url,
            "version": "24.06",
            "submit_path": "job",
            "auth": ReadyToken(lambda: "ready-token"),
            "token_file": token_file,
            "timeouts": Timeouts(connect_s=2, stall_s=2),
            "user_agent": "vpe-watcher/test",
            "now": clock,
        }
        client = EngineClient(**(known | changes))
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make_client: MakeClient, httpserver: HTTPServer) -> EngineClient:
    """Return a client of the test's server with a ready-made token."""
    return make_client(httpserver.url_for("/"))


@pytest.fixture
def credentials(httpserver: HTTPServer) -> ClientCredentials:
    """Return client credentials whose token endpoint is on the test's server."""
    return ClientCredentials(
        client_id="clinic",
        client_secret=lambda: "hush-hush",
        token_url=httpserver.url_for("/oauth/token"),
        audience="virtualpatientengine.com",
    )
