"""One Engine for all tests here; machines are each test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machine import Engine, Machine, running_engine


@pytest.fixture(scope="session")
def engine_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Run the sandbox Engine for the whole session."""
    with running_engine(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture
def engine(engine_process: Engine) -> Iterator[Engine]:
    """Return the Engine as it is when nothing is wrong with it."""
    yield engine_process
    engine_process.set_faults([])
    engine_process.set_options(processing_s=0.0, success=True, store_url="")


@pytest.fixture
def build(tmp_path: Path, engine: Engine) -> Callable[..., Machine]:
    """Build machines: `build(settle_s=1)`."""

    def make(*, url: str = engine.url, **keys: Any) -> Machine:
        return Machine(tmp_path / f"machine{len(list(tmp_path.iterdir()))}", url, keys)

    return make


@pytest.fixture
def machine(build: Callable[..., Machine]) -> Machine:
    """Return a machine with the usual settings."""
    return build()
