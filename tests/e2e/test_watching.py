"""The installed daemon and how file events fail: limits, mounts, folders that come late.

Everything that would touch the machine happens in user and mount name spaces of the daemon's own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machine import COMMAND, Engine, Machine, clean_environment, end, running_engine
from tests.flow.house import nifti
from vpe_watcher.adapters.store import Database, Queries

Build = Callable[..., Machine]
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
LIMIT = "/proc/sys/user/max_inotify_"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Run one sandbox for all tests here."""
    with running_engine(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture
def machine(tmp_path: Path, engine: Engine) -> Machine:
    """Return the folders and the configuration of a daemon that scans twice a second."""
    if subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    return Machine(tmp_path / "site", engine.url)


@contextmanager
def _daemon(machine: Machine, before: str) -> Iterator[subprocess.Popen[str]]:
    """Run the daemon after a shell command, in name spaces of its own."""
    command = f"{before}; exec {COMMAND} run --config {machine.config}"
    with (
        (machine.root / "daemon.log").open("a") as log,
        subprocess.Popen(
            [*NAMESPACE, "sh", "-c", command],
            cwd=machine.root,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            machine.wait(lambda: "watch.started" in machine.log)
            yield process
        finally:
            end(process)


def _inside(process: subprocess.Popen[str], *command: str) -> None:
    """Run a command in the daemon's name spaces."""
    target = [
        "nsenter",
        "--target",
        str(process.pid),
        "--user",
        "--mount",
        "--preserve-credentials",
    ]
    subprocess.run([*target, *command], check=True, capture_output=True)


def _root(machine: Machine) -> dict[str, Any]:
    """Return what the daemon shows of its inbox."""
    database = Database(machine.root / "state" / "state.sqlite3", create=False)
    try:
        roots = Queries(database, now=lambda: 0.0).snapshot().get("roots") or [{}]
    finally:
        database.close()
    return dict(roots[0])


def _said(machine: Machine) -> list[tuple[str, str]]:
    found = [event for event in machine.events() if event["event"] == "watch.started"]
    return [(event["watch"], event["reason"]) for event in found]


@pytest.mark.real
@pytest.mark.parametrize("kind", ["watches", "instances"])
def test_used_up_limits_stop_nothing(machine: Machine, kind: str) -> None:
    """Scans find what comes; log and status name the system's key; one line, however often."""
    with _daemon(machine, f"echo 0 > {LIMIT}{kind}"):
        for number in range(3):
            machine.drop(f"scan-{number}.nii", nifti(seed=number))
        machine.wait(lambda: all(machine.is_delivered(f"scan-{n}") for n in range(3)))
        machine.wait(lambda: _root(machine)["watch"] == "poll")
        assert f"raise fs.inotify.max_user_{kind}" in _root(machine)["reason"]
        assert f"max_user_{kind}" in machine.run("status").stdout
    assert len(_said(machine)) == 1


def test_one_watch_is_enough(machine: Machine) -> None:
    """A tree of folders takes no more than that of the inbox."""
    with _daemon(machine, f"echo 1 > {LIMIT}watches"):
        folder = machine.root / "draft"
        for number in range(50):
            (folder / str(number)).mkdir(parents=True)
        (folder / "7" / "volume.nii").write_bytes(nifti())
        folder.rename(machine.root / "inbox" / "patient")
        machine.wait(lambda: machine.is_delivered("patient"))
    assert [mode for mode, _ in _said(machine)] == ["events"]


def test_an_inbox_that_is_mounted_over_and_back_is_heard(machine: Machine) -> None:
    """Another file system on it opens the breaker; without it work goes on, nothing is lost."""
    inbox = str(machine.root / "inbox")
    with _daemon(machine, "true") as process:
        machine.drop("before.nii", nifti())
        machine.wait(lambda: machine.is_delivered("before"))
        _inside(process, "mount", "-t", "tmpfs", "empty", inbox)
        machine.wait(lambda: "folder_without_marker" in machine.log)
        _inside(process, "umount", inbox)
        machine.wait(lambda: "breaker.closed" in machine.log)
        machine.drop("after.nii", nifti(seed=1))
        machine.wait(lambda: machine.states() == {"before": "done", "after": "done"})


@pytest.mark.real
def test_an_inbox_that_comes_late_is_watched_then(tmp_path: Path, engine: Engine) -> None:
    """It is missing at the start, and shown so."""
    machine = Machine(tmp_path / "site", engine.url, {"scan_every_s": 3600})
    (machine.root / "inbox").rmdir()
    with machine.starting():
        machine.wait(lambda: "breaker.opened" in machine.log)
        machine.wait(lambda: _root(machine).get("watch") == "none")
        assert "inbox:default not now" in machine.run("status").stdout
        (machine.root / "inbox").mkdir()
        machine.wait(lambda: _root(machine).get("watch") == "events")
        machine.drop("scan.nii", nifti())
        machine.wait(lambda: machine.is_delivered("scan"))
    assert [mode for mode, _ in _said(machine)] == ["none", "events"]
