"""How much a soak simulates, and that nobody starts one without asking for it."""

from __future__ import annotations

from pathlib import Path

import pytest

STEPS, SEEDS = 1_000_000, 2000


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer more, or less: `--simulated-steps 5000000 --simulated-seeds 9000`."""
    parser.addoption("--simulated-steps", type=int, default=STEPS, help="steps of a soak, in all")
    parser.addoption("--simulated-seeds", type=int, default=SEEDS, help="seeds of a soak")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave soaks out that were asked for neither by their marker nor by how much."""
    steps = config.getoption("--simulated-steps", default=STEPS)
    amounts = (steps, config.getoption("--simulated-seeds", default=SEEDS))
    if "soak" in config.getoption("markexpr") or amounts != (STEPS, SEEDS):
        return
    here = Path(__file__).parent
    soaks = [one for one in items if one.path.parent == here and one.get_closest_marker("soak")]
    if soaks:
        config.hook.pytest_deselected(items=soaks)
        items[:] = [one for one in items if one not in soaks]
