"""Seeds in which everything goes wrong at once, and nothing is lost or paid twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.simulation.conftest import SEEDS, STEPS
from vpe_watcher.adapters.store import Database

Simulate = Callable[..., str]
FEW, SOME, EVENTS = "1-12", "1-220", 800


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


def test_a_commit_of_the_real_state_file_is_synced(tmp_path: Path) -> None:
    """A simulated commit counts as durable, and is not synced: here is what allows that."""
    database = Database(tmp_path / "state.sqlite3")
    (row,) = database.read("PRAGMA synchronous")
    database.close()
    assert row[0] == 2, "2 is FULL"


def test_a_few_seeds_hold_all_laws(simulate: Simulate) -> None:
    """A small part of what `make test-real` and `make soak` run."""
    said = simulate("--seeds", FEW, "--events", "400", "--quiet")
    assert re.search(r"12 trials, 0 broken", said)


@pytest.mark.real
@pytest.mark.timeout(600)
def test_every_deliberate_bug_is_caught(simulate: Simulate) -> None:
    """Syncs left out, rows after effects, answers misread: the laws see each of them soon."""
    said = simulate("--mutants", "--seeds", "1-40", "--events", "600")
    assert re.search(r"(\d+) of \1 deliberate bugs", said)


@pytest.mark.real
@pytest.mark.timeout(900)
def test_a_hundred_thousand_steps_hold_all_laws(simulate: Simulate) -> None:
    """Every fault of every call and every moment of death has come at least once."""
    said = simulate("--seeds", SOME, "--events", str(EVENTS), "--complete")
    steps = re.search(r"([\d,]+) steps in", said)
    assert steps is not None
    assert int(steps[1].replace(",", "")) >= 100_000


@pytest.mark.real
def test_a_killed_campaign_leaves_no_process_behind() -> None:
    """A time-out kills the program alone: its processes go with it."""
    program = (
        "import os, time; from tests.simulation.campaign import pool_of\n"
        "if __name__ == '__main__':\n"
        "    with pool_of(2) as pool:\n"
        "        print(pool.submit(os.getpid).result(), flush=True)\n"
        "        pool.submit(time.sleep, 50).result()\n"
    )
    words = [sys.executable, "-c", program]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = Path("/proc") / process.stdout.readline().strip()
        assert worker.exists()
        process.kill()
        end = time.monotonic() + 10
        while worker.exists():
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.mark.real
@pytest.mark.parametrize(
    ("arguments", "is_there"),
    [((), False), (("-m", "soak"), True), (("--simulated-steps", "9"), True)],
)
def test_a_soak_is_asked_for(arguments: tuple[str, ...], *, is_there: bool) -> None:
    """Who runs the tests of this folder does not find the machine busy for an hour."""
    words = [sys.executable, "-m", "pytest", str(Path(__file__).parent), "--collect-only", "-q"]
    done = subprocess.run([*words, *arguments], capture_output=True, text=True, check=False)
    assert ("test_a_million_steps_hold_all_laws" in done.stdout) is is_there
    assert done.returncode == 0, done.stdout


@pytest.mark.soak
def test_a_million_steps_hold_all_laws(simulate: Simulate, pytestconfig: pytest.Config) -> None:
    """The full number, over as many seeds as one asks for."""
    seeds = int(pytestconfig.getoption("--simulated-seeds", default=SEEDS))
    wanted = int(pytestconfig.getoption("--simulated-steps", default=STEPS))
    events = max(EVENTS, wanted // seeds)  # the peace after each script takes steps, too
    said = simulate("--seeds", f"1-{seeds}", "--events", str(events), "--complete")
    steps = re.search(r"([\d,]+) steps in", said)
    assert steps is not None
    assert int(steps[1].replace(",", "")) >= wanted
