"""SIGHUP to the installed daemon in the midst of work: what changes, what is refused."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machine import Engine, Machine
from tests.flow.house import nifti
from tests.receiver import Receiver

Build = Callable[..., Machine]
ANSWERS = ("config.reloaded", "config.unchanged", "config.refused")
PACS = """
[recipes.pacs]
inbox = "pacs"
"""


class Operator:
    """Edits the configuration and sends SIGHUP to one daemon."""

    def __init__(self, machine: Machine, process: subprocess.Popen[str]) -> None:
        self.machine = machine
        self.process = process
        self.first = machine.config.read_text()

    def reload(self, text: str) -> dict[str, Any]:
        """Write a configuration, have it read; return the event that tells what came of it."""
        answered = len(self._answers())
        self.machine.config.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        self.machine.wait(lambda: len(self._answers()) > answered)
        return self._answers()[-1]

    def edited(self, old: str, new: str, more: str = "") -> str:
        """Return the first configuration with other text in it."""
        assert old in self.first
        return self.first.replace(old, new) + more

    def _answers(self) -> list[dict[str, Any]]:
        lines = self.machine.log.rpartition("\n")[0]
        if not any(answer in lines for answer in ANSWERS):
            return []
        return [event for event in self.machine.events() if event["event"] in ANSWERS]

    def open_files(self) -> tuple[Counter[str], int]:
        """Return what the daemon has open, and how often the state file beside that."""
        found: Counter[str] = Counter()
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(OSError):
                found[re.sub(r"\d+", "", str(link.readlink()))] += 1
        own = {name for name in found if "state.sqlite" in name}
        return Counter({name: found[name] for name in found.keys() - own}), sum(
            found[name] for name in own
        )

    def threads(self) -> int:
        """Count the daemon's threads."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))


def _bodies(engine: Engine, jobs: set[str]) -> int:
    """Count the uploads that have come, answered or not, of jobs that were not there before."""
    return sum(
        len(entry["uploads"])
        for job in engine.ledger()["jobs"]
        if job["id"] not in jobs
        for entry in job["inputs"].values()
    )


def _jobs(engine: Engine) -> set[str]:
    return {job["id"] for job in engine.ledger()["jobs"]}


def _drop(folder: Path, name: str, seed: int) -> None:
    draft = folder / f".{name}"
    draft.write_bytes(nifti(seed=seed))
    draft.rename(folder / name)


def test_a_bad_configuration_is_told_until_a_good_one_comes(machine: Machine) -> None:
    """It changes nothing; JSON and text of `status` show it, and that it is over."""
    with machine.daemon() as process:
        operator = Operator(machine, process)
        assert operator.reload(operator.first)["event"] == "config.unchanged"
        told = operator.reload(operator.edited("settle_s", "setle_s"))
        assert (told["event"], told["level"]) == ("config.refused", "warning")
        assert "setle_s" in told["reason"]
        machine.config.write_text(operator.first)  # other commands read the file, too
        machine.wait(lambda: machine.json("status")["daemon"]["config_error"])
        assert "setle_s" in machine.json("status")["daemon"]["config_error"]
        assert "setle_s" in machine.run("status").stdout
        machine.drop("scan.nii", nifti())
        machine.wait(lambda: machine.is_delivered("scan"))
        assert operator.reload(operator.edited("settle_s = 0.3", "settle_s = 0.2"))["keys"] == [
            "recipes.default",
            "intake.settle_s",
        ]
        machine.wait(lambda: machine.json("status")["daemon"]["config_error"] is None)
    assert machine.events()[-1]["event"] == "daemon.stopped"


def test_a_secret_that_others_may_read_is_refused(machine: Machine) -> None:
    """As at a start; closed to them, it is taken."""
    secret = machine.root / "secret"
    secret.write_text("sandbox")
    secret.chmod(0o644)
    with machine.daemon() as process:
        operator = Operator(machine, process)
        text = operator.edited('client_secret = "sandbox"', 'client_secret_file = "secret"')
        assert operator.reload(text)["code"] == "config_secret_file"
        secret.chmod(0o600)
        assert operator.reload(text)["event"] == "config.reloaded"
        machine.drop("scan.nii", nifti())
        machine.wait(lambda: machine.is_delivered("scan"))


def test_what_needs_a_restart_is_named_once(machine: Machine) -> None:
    """The state file is the daemon's own; all else of the same file counts at once."""
    with machine.daemon() as process:
        operator = Operator(machine, process)
        text = operator.edited("state.sqlite3", "other.sqlite3")
        assert operator.reload(text)["event"] == "config.unchanged"
        operator.reload(text)
    (told,) = [event for event in machine.events() if event["event"] == "config.deferred"]
    assert told["keys"] == ["state_file"]
    assert not (machine.root / "state" / "other.sqlite3").exists()


@pytest.mark.real
def test_who_is_told_may_change(machine: Machine) -> None:
    """A receiver that comes with a reload is told from then on, and one that goes no more."""
    receiver = Receiver()
    try:
        with machine.daemon() as process:
            operator = Operator(machine, process)
            webhook = f'\n[notify.webhook]\nurl = "{receiver.url}"\nsecret = "s"\n'
            assert operator.reload(operator.first + webhook)["keys"] == [
                "notify.webhook.url",
                "notify.webhook.secret",
            ]
            machine.drop("bad.nii", b"\x01" * 600)
            machine.wait(lambda: len(receiver.events()) == 1)
            assert operator.reload(operator.first)["event"] == "config.reloaded"
            machine.drop("worse.nii", b"\x02" * 600)
            machine.wait(lambda: machine.states().get("worse") == "failed")
            time.sleep(2.0)
            assert len(receiver.events()) == 1
    finally:
        receiver.down()


@pytest.mark.real
def test_a_working_daemon_takes_another_configuration(build: Build, engine: Engine) -> None:
    """More uploads at once, a recipe comes and goes, a mistake between: nothing is sent twice."""
    machine = build()
    before = _jobs(engine)
    (machine.root / "pacs").mkdir()
    engine.set_faults([{"on": "upload", "times": 5, "do": {"stall_s": 8.0}}])
    with machine.daemon() as process:
        operator = Operator(machine, process)
        for number in range(5):
            _drop(machine.root / "inbox", f"{number}.nii", number)
        machine.wait(lambda: _bodies(engine, before) == 2)
        time.sleep(0.7)
        assert _bodies(engine, before) == 2
        faster = operator.edited("[limits]", "[limits]\nuploads = 5", PACS)
        assert operator.reload(faster)["keys"] == ["recipes.pacs", "limits.uploads"]
        took_s = machine.wait(lambda: _bodies(engine, before) == 5)
        assert took_s < 4
        assert "fetching" not in machine.log  # the first two are still not answered
        _drop(machine.root / "pacs", "other.nii", 6)
        machine.wait(lambda: machine.is_delivered("other"))
        assert operator.reload(faster.replace("uploads = 5", 'uploads = "five"'))["code"]
        _drop(machine.root / "pacs", "another.nii", 7)
        machine.wait(lambda: machine.is_delivered("another"))
        machine.config.write_text(faster)
        machine.wait(lambda: "uploads" in str(machine.json("status")["daemon"]["config_error"]))
        machine.wait(lambda: set(machine.states().values()) == {"done"})
        assert operator.reload(operator.first)["event"] == "config.reloaded"
        _drop(machine.root / "pacs", "left.nii", 8)
        _drop(machine.root / "inbox", "last.nii", 9)
        machine.wait(lambda: machine.is_delivered("last"))
        assert (machine.root / "pacs" / "left.nii").exists()
        machine.wait(lambda: machine.json("status")["daemon"]["config_error"] is None)
    jobs = [job for job in engine.ledger()["jobs"] if job["id"] not in before]
    assert [job["started"] for job in jobs] == [1] * 8
    assert _bodies(engine, before) == 8


@pytest.mark.real
@pytest.mark.timeout(180)
def test_fifty_reloads_lose_nothing_and_leave_nothing(build: Build, engine: Engine) -> None:
    """Under load, each with another Engine client, receiver of scans and number of workers."""
    machine = build()
    before = _jobs(engine)
    (machine.root / "pacs").mkdir()
    engine.set_options(processing_s=1.0)
    with machine.daemon() as process:
        operator = Operator(machine, process)
        machine.drop("first.nii", nifti(seed=100))
        machine.wait(lambda: machine.is_delivered("first"))
        time.sleep(1.0)
        (files, _), threads = operator.open_files(), operator.threads()
        other = operator.edited("stall_timeout_s = 60", "stall_timeout_s = 61\nuploads = 9", PACS)
        for number in range(50):
            _drop(machine.root / "inbox", f"{number}.nii", number)
            answer = operator.reload(operator.first if number % 2 else other)
            assert answer["event"] == "config.reloaded", answer
        operator.reload(other)
        _drop(machine.root / "pacs", "other.nii", 101)
        machine.wait(lambda: machine.is_delivered("other"))
        machine.wait(lambda: set(machine.states().values()) == {"done"}, timeout_s=90)
        operator.reload(operator.first)
        machine.wait(lambda: operator.threads() <= threads, timeout_s=20)
        # The last client's connections end when each inbox has turned once more.
        machine.wait(lambda: not operator.open_files()[0] - files, timeout_s=20)
        _, of_state = operator.open_files()
        assert of_state <= 2 * threads + 2  # a connection has two, and each thread at most one
    delivered = {path.name for path in (machine.root / "outbox").iterdir() if path.name[0] != "."}
    assert {str(number) for number in range(50)} <= delivered
    jobs = [job for job in engine.ledger()["jobs"] if job["id"] not in before]
    assert {job["started"] for job in jobs} == {1}
    assert _bodies(engine, before) == len(delivered) == len(jobs)
    assert "defect" not in machine.log
