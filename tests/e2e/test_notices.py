"""People are told by the daemon itself: beside receivers that hang, deaths, and `--once`."""

from __future__ import annotations

import signal
import time

import pytest

from tests.e2e.machine import Machine, stop
from tests.flow.house import nifti
from tests.receiver import Receiver

pytestmark = pytest.mark.real
SECRET = "a webhook's s3cret"
BAD = b"no scan at all, whatever its name says" * 20


@pytest.fixture(name="told")
def configure(machine: Machine, receiver: Receiver) -> Machine:
    """Let the machine tell a webhook, and by apprise; both are the same receiver."""
    table = f"""
[notify]
on = ["failed", "held"]
urls = ["json://127.0.0.1:{receiver.port}/t0ken"]
[notify.webhook]
url = "{receiver.url}/hook?key=t0ken"
secret = "{SECRET}"
"""
    machine.config.write_text(machine.config.read_text() + table)
    return machine


def hooked(receiver: Receiver) -> list[str]:
    """Return the ids that came by the webhook, in order."""
    return [one.document["id"] for one in receiver.received if one.path.startswith("/hook")]


def test_a_receiver_that_hangs_holds_up_neither_scans_nor_the_end(
    told: Machine, receiver: Receiver
) -> None:
    """Cases come to rest, SIGTERM ends it soon, and the next daemon tells once who waits."""
    receiver.status = lambda _: None
    told.drop("Mueller.nii", BAD)
    with told.daemon() as process:
        told.wait(lambda: len(receiver.received) == 2)
        told.drop("good.nii", nifti())
        told.wait(lambda: told.is_delivered("good"))
        started = time.monotonic()
        assert stop(process, signal.SIGTERM, within_s=10) == 0
        assert time.monotonic() - started < 5.0
    assert told.events()[-1]["event"] == "daemon.stopped"
    assert not (told.root / "state" / "state.sqlite3-wal").exists()
    (first,) = hooked(receiver)
    receiver.release.set()
    receiver.status = lambda _: 204
    with told.daemon():
        told.wait(lambda: told.log.count("notice.sent") == 2)
    assert hooked(receiver) == [first, first]
    sent = b"".join(one.body for one in receiver.received)
    assert b"Mueller" not in sent
    assert "t0ken" not in told.log
    assert SECRET not in told.log


def test_what_was_put_down_before_a_kill_is_told_after_it(
    told: Machine, receiver: Receiver
) -> None:
    """SIGKILL while nobody listens; all of it arrives, in order, each once."""
    receiver.down()
    with told.daemon() as process:
        for number in range(3):
            told.drop(f"scan{number}.nii", BAD)
            told.wait(lambda: told.log.count('"event": "case.failed"') > number)  # noqa: B023
        stop(process, signal.SIGKILL, within_s=10)
    failed = [one["case_id"] for one in told.events() if one["event"] == "case.failed"]
    receiver.up()
    with told.daemon():
        told.wait(lambda: told.log.count("notice.sent") == 6)
    assert len(set(hooked(receiver))) == len(hooked(receiver)) == 3
    hooks = [one.document for one in receiver.received if one.path.startswith("/hook")]
    assert [one["details"]["case_id"] for one in hooks] == failed


def test_once_tells_before_it_ends(told: Machine, receiver: Receiver) -> None:
    """A daemon from cron has no other time for it; who does not answer is told later."""
    told.drop("scan.nii", BAD)
    assert told.run("run", "--once").returncode == 0
    assert len(hooked(receiver)) == 1
    receiver.down()
    told.drop("other.nii", BAD)
    assert told.run("run", "--once").returncode == 0
    assert "1 to be told of" in told.run("notify").stdout
