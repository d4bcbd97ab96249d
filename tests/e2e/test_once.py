"""`run --once`, for cron: it does what there is to do and says by its exit code what is left."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.e2e.machine import Engine, Machine
from tests.flow.house import nifti

Build = Callable[..., Machine]


def test_an_empty_inbox_ends_within_two_seconds(machine: Machine) -> None:
    """Nothing to do: exit 0, nothing on stdout; the best of three counts on a busy machine."""
    took_s: list[float] = []
    while len(took_s) < 3 and min(took_s, default=2.0) >= 2.0:
        started = time.monotonic()
        ran = machine.run("run", "--once")
        took_s.append(time.monotonic() - started)
        assert (ran.returncode, ran.stdout) == (0, "")
    assert min(took_s) < 2.0


@pytest.mark.real
def test_fifty_scans_are_delivered(machine: Machine, engine: Engine) -> None:
    """Each once, each complete, with one token, and nothing is left where it does not belong."""
    before = engine.ledger()
    for number in range(50):
        machine.drop(f"scan{number}.nii", nifti(seed=number))
    ran = machine.run("run", "--once", timeout_s=55)
    assert (ran.returncode, ran.stdout) == (0, "")
    assert set(machine.states().values()) == {"done"}
    results = sorted((machine.root / "outbox").glob("*/result.json"))
    assert len(results) == 50
    assert {json.loads(path.read_text())["status"] for path in results} == {"complete"}
    assert len(list((machine.root / "archive").glob("*/*.nii"))) == 50
    assert [path.name for path in (machine.root / "inbox").iterdir()] == [".vpe-watcher"]
    after = engine.ledger()
    jobs = after["jobs"][len(before["jobs"]) :]
    assert [job["started"] for job in jobs] == [1] * 50
    assert after["tokens_issued"] == before["tokens_issued"] + 1
    assert after["presigned_with_authorization"] == 0


def test_a_job_that_is_processing_is_waited_for(machine: Machine, engine: Engine) -> None:
    """Work at the Engine is work."""
    engine.set_options(processing_s=0.8)
    machine.drop("scan.nii", nifti())
    assert machine.run("run", "--once").returncode == 0
    assert machine.is_delivered("scan")


def test_an_engine_that_is_down_leaves_work(build: Build) -> None:
    """An open breaker holds a case back: 75, and the input is safe in the claim."""
    machine = build(url="http://127.0.0.1:9")
    machine.drop("scan.nii", nifti())
    ran = machine.run("run", "--once")
    assert (ran.returncode, ran.stdout) == (75, "")
    assert machine.states() == {"scan": "submitting"}
    assert len(list((machine.root / "inbox" / ".vpe-watcher").rglob("scan.nii"))) == 1


def test_a_full_disk_leaves_work(build: Build) -> None:
    """Below min_free nothing is taken, and the command does not wait for space for ever."""
    machine = build(min_free="9000000 GiB")
    machine.drop("scan.nii", nifti())
    assert machine.run("run", "--once", timeout_s=30).returncode == 75
    assert machine.states() == {}
    assert (machine.root / "inbox" / "scan.nii").exists()


def test_a_missing_inbox_leaves_work(machine: Machine) -> None:
    """Whether there is work in it nobody knows."""
    (machine.root / "inbox").rmdir()
    assert machine.run("run", "--once").returncode == 75


@pytest.mark.real
@pytest.mark.parametrize("page_of", ["roots", "cases_by_folder"])
def test_a_damaged_state_file_is_not_waited_for(machine: Machine, page_of: str) -> None:
    """Where no inbox can be looked at for it, or nobody tells what is due: 75."""
    assert machine.run("run", "--once").returncode == 0
    state_file = machine.root / "state" / "state.sqlite3"
    with closing(sqlite3.connect(state_file)) as connection:
        sql = "SELECT rootpage - 1 FROM sqlite_master WHERE name = ?"
        ((page,),) = connection.execute(sql, (page_of,)).fetchall()
        ((size,),) = connection.execute("PRAGMA page_size").fetchall()
    with state_file.open("r+b") as file:
        file.seek(page * size)
        file.write(bytes(size))
    machine.drop("scan.nii", nifti())
    ran = machine.run("run", "--once")
    assert (ran.returncode, "state_damaged" in ran.stderr) == (75, True)


def test_what_cannot_become_ready_soon_is_not_waited_for(machine: Machine) -> None:
    """An incomplete file waits for the next run; what is no scan waits for ever."""
    machine.drop("half.nii", nifti()[:-1])
    machine.drop("notes.txt", b"hello")
    started = time.monotonic()
    assert machine.run("run", "--once").returncode == 0
    assert time.monotonic() - started < 10
    assert machine.states() == {}


def test_a_case_that_fails_is_no_work_left(machine: Machine, engine: Engine) -> None:
    """A person must look, but nothing is due: 0."""
    engine.set_faults([{"on": "submit", "do": {"status": 422}}])
    machine.drop("scan.nii", nifti())
    assert machine.run("run", "--once").returncode == 0
    assert machine.states() == {"scan": "failed"}
