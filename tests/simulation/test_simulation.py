"""Seeds in which everything goes wrong at once, and nothing is lost or paid twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

Simulate = Callable[..., str]
FEW, SOME = "1-12", "1-220"


@pytest.fixture
def simulate(record_property: Callable[[str, object], None]) -> Simulate:
    """Return what runs a campaign on processes of its own, and returns what it printed."""

    def run(*arguments: str) -> str:
        words = [sys.executable, "-m", "tests.simulation", *arguments]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        for line in done.stdout.splitlines():
            record_property("measured", line)
        return done.stdout

    return run


def test_a_few_seeds_hold_all_laws(simulate: Simulate) -> None:
    """A small part of what `make test-real` and `make soak` run."""
    said = simulate("--seeds", FEW, "--events", "200", "--quiet")
    assert re.search(r"12 trials, 0 broken", said)


@pytest.mark.real
@pytest.mark.timeout(900)
def test_a_hundred_thousand_steps_hold_all_laws(simulate: Simulate) -> None:
    """Every fault of every call and every moment of death has come at least once."""
    said = simulate("--seeds", SOME, "--events", "300", "--complete")
    steps = re.search(r"([\d,]+) steps in", said)
    assert steps is not None
    assert int(steps[1].replace(",", "")) >= 100_000
