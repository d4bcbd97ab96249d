"""The workers in which daemons live and die, and the number of deaths that a person asks for."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.crash.trials import MEMORY, Graveyard

PAIRS = 15
SHARE = 0.015  # of the points of the scenarios that are sampled


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer a soak: `pytest tests/crash --crash-share 1 --crash-pairs 20000`, `--kills 5000`."""
    parser.addoption("--crash-pairs", type=int, default=PAIRS, help="pairs of deaths to draw")
    parser.addoption("--crash-share", type=float, default=SHARE, help="of the points, 0 to 1")
    parser.addoption("--kills", type=int, default=1000, help="SIGKILLs of a soak")
    parser.addoption("--scans", type=int, default=500, help="scans that are dropped meanwhile")


@pytest.fixture(scope="session")
def pairs_wanted(pytestconfig: pytest.Config) -> int:
    """Return how many pairs of deaths are to be drawn in all."""
    return int(pytestconfig.getoption("--crash-pairs", default=PAIRS))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let a soak take its time."""
    is_soak = config.getoption("--crash-pairs", default=PAIRS) > PAIRS
    for item in items:
        if is_soak and "graveyard" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(0), append=False)


@pytest.fixture(scope="session")
def graveyard(pytestconfig: pytest.Config) -> Iterator[Graveyard]:
    """Return what runs trials: fresh processes without threads, so that they may fork."""
    share = float(pytestconfig.getoption("--crash-share", default=SHARE))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(os.cpu_count() or 1, 4), mp_context=context) as pool:
        yield Graveyard(pool, share=share)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory, where syncing costs nothing, if there is such a place."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="vpe-watcher-") as folder:
        yield Path(folder)
