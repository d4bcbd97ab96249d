"""The house that flow tests live in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flow.house import House


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Build houses that are closed at the end: `build(limits={…}, options=Options(…))`."""
    houses: list[House] = []

    def make(*, options: Any = None, disk: Any = None, **overrides: Any) -> House:
        more = {name: value for name, value in (("options", options), ("disk", disk)) if value}
        house = House(tmp_path / f"house{len(houses)}", overrides, **more)
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
