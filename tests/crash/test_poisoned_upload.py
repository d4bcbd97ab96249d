"""A scan in whose upload the installed daemon is killed again and again, and scans beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.machine import Engine, Machine, running_engine
from tests.flow.house import nifti
from vpe_watcher.adapters.store import Database, Store

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

INNOCENT = ("one", "two", "three")
LIVES_AT_MOST = 3 + 5


@pytest.fixture(name="engine")
def run_engine(tmp_path: Path) -> Iterator[Engine]:
    """Run an Engine of our own: the first job of it does not come to the end of its upload."""
    with running_engine(tmp_path) as engine:
        engine.set_faults([{"on": "upload", "job": 0, "do": {"stall_s": 600}}])
        yield engine


def steps_under_way(machine: Machine) -> list[str]:
    """Return the names of the cases that are in a step, read as any command would."""
    database = Database(machine.root / "state" / "state.sqlite3", create=False)
    try:
        left = Store(database, now=time.time).abandon_open_attempts()
    finally:
        database.close()
    return [begun.case.case_name for begun in left]


def live_until_in_step_again(machine: Machine, *, starts: int) -> None:
    """Start a daemon and kill it when the bad scan is in its step, or is held."""
    with machine.starting() as process:
        machine.wait(lambda: machine.log.count('"daemon.started"') >= starts)
        # What the life before left open is settled: what is open from now on is this one's.
        machine.wait(lambda: machine.log.count('"daemon.died"') >= starts - 1)
        machine.wait(lambda: machine.states()["bad"] == "held" or "bad" in steps_under_way(machine))
        process.kill()
        process.wait()


def test_kills_in_one_upload_hold_that_scan_alone(tmp_path: Path, engine: Engine) -> None:
    """Held after five lone deaths; the others are delivered, and a retry delivers it too."""
    machine = Machine(tmp_path / "machine", engine.url)
    machine.drop("bad.nii", nifti())
    with machine.daemon() as process:
        machine.wait(lambda: machine.states().get("bad") == "uploading")
        for seed, name in enumerate(INNOCENT, start=1):
            machine.drop(f"{name}.nii", nifti(seed=seed))
        machine.wait(lambda: "one" in machine.states())
        process.kill()
        process.wait()
    lives = 1
    while machine.states()["bad"] != "held":
        assert lives <= LIVES_AT_MOST
        live_until_in_step_again(machine, starts=lives + 1)
        lives += 1
    with machine.daemon():
        machine.wait(lambda: all(map(machine.is_delivered, INNOCENT)))
        machine.wait(lambda: set(machine.states().values()) == {"held", "done"})
        (bad,) = machine.json("cases", "--state", "held")["cases"]
        assert (bad["case_name"], bad["error"]["code"]) == ("bad", "poisoned_step")
        engine.set_faults([])
        assert machine.run("retry", bad["case_id"]).returncode == 0
        machine.wait(lambda: machine.states()["bad"] == "done")
    died = [event for event in machine.events() if event["event"] == "daemon.died"]
    assert 5 <= len(died) == lives
    assert any("one at a time" in event["reason"] for event in died)
    jobs = engine.ledger()["jobs"]
    # A kill between an answer and its row leaves a job that nobody starts.
    assert [job["started"] for job in jobs if job["started"]] == [1] * (1 + len(INNOCENT))
