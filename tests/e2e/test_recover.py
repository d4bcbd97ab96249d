"""The installed command after a loss: killed, its state file gone, rebuilt, nothing paid twice."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable

import pytest

from tests.e2e.machine import Engine, Machine, stop
from tests.flow.house import nifti


@pytest.mark.real
def test_a_killed_daemon_without_its_state_file(
    engine: Engine, build: Callable[..., Machine]
) -> None:
    """`run` refuses, `recover` says what became of each case, and the paid job is fetched."""
    engine.set_options(processing_s=3.0)
    machine = build()
    with machine.starting() as process:
        machine.wait(machine.is_scanned)
        machine.drop("scan.nii", nifti(seed=77))
        machine.wait(lambda: machine.states().get("scan") == "waiting")
        backup = machine.run("backup", str(machine.root / "copy.sqlite3"))
        assert backup.returncode == 0, backup.stderr
        stop(process, signal.SIGKILL, within_s=10)
    shutil.rmtree(machine.root / "state")
    (machine.root / "state").mkdir(mode=0o700)
    refused = machine.run("run", "--once")
    assert (refused.returncode, "vpe-watcher recover" in refused.stderr) == (78, True)
    recovered = machine.run("recover")
    assert (recovered.returncode, recovered.stderr) == (0, "")
    assert "1 case: going on waiting for the job" in recovered.stdout
    submits = _submits(engine)
    with machine.starting():
        machine.wait(lambda: machine.states().get("scan") == "done")
    assert machine.is_delivered("scan")
    assert _submits(engine) == submits
    assert (machine.root / "archive" / "scan" / "scan.nii").read_bytes() == nifti(seed=77)


def _submits(engine: Engine) -> int:
    return len(engine.ledger()["jobs"])
