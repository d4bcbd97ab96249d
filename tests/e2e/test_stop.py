"""A stop in the middle of an upload over a slow line: finished or let go, and never an attempt."""

from __future__ import annotations

import json
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.chaos.proxy import REQUEST, THROTTLE, Fault, Proxy
from tests.e2e.machine import Engine, Machine, stop
from tests.flow.house import nifti
from vpe_watcher.adapters.store import Database, Queries

Build = Callable[..., Machine]
SIDE = 240
SIZE = 352 + 2 * SIDE**3  # 26 MiB, of which the kernel's buffers hold some


def _large() -> bytes:
    header = bytearray(nifti()[:352])
    struct.pack_into("<8h", header, 40, 3, SIDE, SIDE, SIDE, 1, 1, 1, 1)
    return bytes(header) + os.urandom(2 * SIDE**3)


class Line:
    """The line to the store, as slow as it is told to be."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.bytes_per_s = 0.0
        self.proxy = Proxy(urlsplit(engine.url).port or 0, self._fault)

    def _fault(self) -> Fault:
        if not self.bytes_per_s:
            return Fault()
        return Fault(THROTTLE, REQUEST, bytes_per_s=self.bytes_per_s)


@pytest.fixture
def line(engine: Engine) -> Iterator[Line]:
    """Put a line between the daemon and the store."""
    line = Line(engine)
    with line.proxy:
        engine.set_options(store_url=line.proxy.url)
        yield line


def _sent(machine: Machine) -> int:
    """Return how many bytes the daemon says it has sent."""
    database = Database(machine.root / "state" / "state.sqlite3", create=False)
    try:
        shown = Queries(database, now=time.time).snapshot().get("transfers") or []
    finally:
        database.close()
    return max((row["bytes"] for row in shown), default=0)


def _uploads(engine: Engine) -> int:
    job = engine.ledger()["jobs"][-1]
    return sum(len(entry["uploads"]) for entry in job["inputs"].values())


@pytest.mark.real
@pytest.mark.timeout(120)
def test_an_upload_that_is_nearly_done_is_finished(
    build: Build, engine: Engine, line: Line
) -> None:
    """What is left takes less than the grace: it is sent once, and the next start goes on."""
    machine = build(stop_grace_s=20)
    line.bytes_per_s = 4e6
    with machine.daemon() as process:
        machine.drop("scan.nii", _large())
        machine.wait(lambda: _sent(machine) > 0.5 * SIZE)
        assert _sent(machine) < SIZE
        assert stop(process, signal.SIGTERM, within_s=20) == 0
    assert machine.states() == {"scan": "notifying"}
    assert "daemon.abandoned" not in machine.log
    line.bytes_per_s = 0.0
    with machine.daemon():
        machine.wait(lambda: machine.is_delivered("scan"))
    assert _uploads(engine) == 1


@pytest.mark.real
@pytest.mark.timeout(180)
def test_an_upload_that_is_far_from_done_is_let_go(
    build: Build, engine: Engine, line: Line
) -> None:
    """At once, again and again: no attempt, no money, and nobody takes the scan for poison."""
    machine = build(stop_grace_s=8)
    line.bytes_per_s = 4e5
    machine.drop("scan.nii", _large())
    for _ in range(6):
        with machine.daemon() as process:
            machine.wait(lambda: machine.states().get("scan") == "uploading")
            machine.wait(lambda: _sent(machine) > 0)
            began = time.monotonic()
            assert stop(process, signal.SIGTERM, within_s=20) == 0
            assert time.monotonic() - began < 6
    line.bytes_per_s = 0.0
    with machine.daemon():
        machine.wait(lambda: machine.is_delivered("scan"), timeout_s=60)
    result = json.loads((machine.root / "outbox" / "scan" / "result.json").read_text())
    shown = machine.json("show", "scan")
    attempts = {event["attempt"] for event in shown["events"] if event["step"] == "uploading"}
    assert (result["attempts"], attempts) == (1, {1})
    assert {"daemon.died", "daemon.abandoned"}.isdisjoint(
        event["event"] for event in machine.events()
    )
    assert engine.ledger()["jobs"][-1]["started"] == 1


def test_a_second_sigint_ends_it_at_once(machine: Machine, engine: Engine) -> None:
    """Ctrl-C twice: 128 + 2, and the next start repeats the step."""
    engine.set_faults([{"on": "submit", "do": {"stall_s": 40.0}}])
    machine.drop("scan.nii", nifti())
    with machine.daemon() as process:
        machine.wait(lambda: machine.states().get("scan") == "submitting")
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        assert stop(process, signal.SIGINT, within_s=1.0) == 130
    engine.set_faults([])
    with machine.daemon():
        machine.wait(lambda: machine.is_delivered("scan"))
