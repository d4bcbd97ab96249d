"""How much a soak simulates."""

from __future__ import annotations

import pytest

STEPS, SEEDS = 1_000_000, 2000


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer more, or less: `--simulated-steps 5000000 --simulated-seeds 9000`."""
    parser.addoption("--simulated-steps", type=int, default=STEPS, help="steps of a soak, in all")
    parser.addoption("--simulated-seeds", type=int, default=SEEDS, help="seeds of a soak")
