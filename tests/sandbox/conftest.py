"""One sandbox behind each of its two faces: every rule is tried through both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.sandbox.client import READY_MADE, Client, FakeClock
from vpe_watcher.sandbox.adapter import SandboxAdapter
from vpe_watcher.sandbox.rules import Sandbox
from vpe_watcher.sandbox.server import SandboxServer


@pytest.fixture
def clock() -> FakeClock:
    """Return the sandbox's clock."""
    return FakeClock()


@pytest.fixture
def sandbox(tmp_path: Path, clock: FakeClock) -> Iterator[Sandbox]:
    """Return a sandbox that answers every job with the tetrahedron."""
    sandbox = Sandbox(tmp_path / "scratch", simple=True, clock=clock, tokens=[READY_MADE])
    yield sandbox
    sandbox.close()


@pytest.fixture(params=["server", "adapter"])
def client(request: pytest.FixtureRequest, sandbox: Sandbox, clock: FakeClock) -> Iterator[Client]:
    """Return a client of the sandbox through one of its faces."""
    with requests.Session() as session:
        session.trust_env = False
        if request.param == "adapter":
            session.mount("https://sandbox.test", SandboxAdapter(sandbox))
            yield Client("https://sandbox.test", session, sandbox, clock)
            return
        with SandboxServer(sandbox) as server:
            yield Client(server.url, session, sandbox, clock)
