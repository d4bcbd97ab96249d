"""A store for each test, on a real file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.store.builders import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Open a new state file, and close whatever was opened of it."""
    house = House(tmp_path / "state.sqlite3")
    yield house
    house.close()
