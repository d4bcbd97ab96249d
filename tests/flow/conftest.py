"""The house that flow tests live in."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flow.house import House

SCHEDULES_A_KIND = 4


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer more: `pytest tests/flow/test_writers.py --writer-schedules 30`."""
    parser.addoption(
        "--writer-schedules",
        type=int,
        default=SCHEDULES_A_KIND,
        help="schedules of each kind of writer",
    )


@pytest.fixture(scope="session")
def schedules_wanted(pytestconfig: pytest.Config) -> int:
    """Return how many schedules of each kind of writer are to be played."""
    return int(pytestconfig.getoption("--writer-schedules", default=SCHEDULES_A_KIND))


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Path]:
    """Return a folder to build on: in memory where the system has one, for syncs cost nothing."""
    memory = Path("/dev/shm")  # noqa: S108 - a fresh folder of our own is made in it
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(dir=memory, prefix="vpe-watcher-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def build(ground: Path) -> Iterator[Callable[..., House]]:
    """Build houses that are closed at the end: `build(limits={…}, options=Options(…))`."""
    houses: list[House] = []

    def make(*, options: Any = None, disk: Any = None, **overrides: Any) -> House:
        more = {name: value for name, value in (("options", options), ("disk", disk)) if value}
        house = House(ground / f"house{len(houses)}", overrides, **more)
        houses.append(house)
        return house

    yield make
    for house in houses:
        house.close()
        house.sandbox.close()


@pytest.fixture
def house(build: Callable[..., House]) -> House:
    """Return a house with the usual settings."""
    return build()


@pytest.fixture
def other_disk(ground: Path, tmp_path: Path) -> Path:
    """Return a folder on another file system than the houses; skip where there is only one."""
    if ground.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has only one file system to write on")
    return tmp_path
