"""The daemon's threads under trouble: shares that hang, threads that end, a state file that is out.

The daemon runs in a thread of the test, on real time, with the sandbox in-process.
"""

from __future__ import annotations

import errno
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.flow.house import FakeTime, House, nifti
from vpe_watcher.adapters.files import Disk, Entry
from vpe_watcher.app.assembly import Clock
from vpe_watcher.app.daemon import MIND_PERIOD_S, Daemon, Periods
from vpe_watcher.app.integrity import Integrity
from vpe_watcher.app.signals import Signals
from vpe_watcher.app.workers import SPARE_THREADS
from vpe_watcher.core.errors import EnvironmentFault

LIMITS = {
    "poll_every_s": 0.1,
    "retry_first_s": 0.1,
    "retry_at_most_s": 1,
    "stop_grace_s": 1,
}


class RealTime(FakeTime):
    """Both clocks of this machine."""

    def now(self) -> float:
        """Return the wall clock."""
        return time.time()

    def monotonic(self) -> float:
        """Return the clock that never jumps."""
        return time.monotonic()


class OddDisk(Disk):
    """A disk with a folder that hangs, cannot be used, or ends the thread that asks."""

    def __init__(self) -> None:
        self.hanging: Path | None = None
        self.denied: Path | None = None
        self.deadly: Path | None = None
        self.is_released = threading.Event()
        self.has_hung = threading.Event()
        self.hung: set[str] = set()  # the threads that did

    def look(self, path: Path) -> Entry | None:
        """Look, unless the folder is odd."""
        self._hang(path)
        if path == self.denied:
            raise PermissionError(errno.EACCES, "denied")
        return super().look(path)

    def listing(self, folder: Path) -> list[Entry]:
        """List a folder; the deadly one ends the thread, once."""
        if folder == self.deadly:
            self.deadly = None
            raise SystemExit
        return super().listing(folder)

    def free_bytes(self, folder: Path) -> int:
        """Ask for free space, unless the folder hangs."""
        self._hang(folder)
        return super().free_bytes(folder)

    def _hang(self, path: Path) -> None:
        if path == self.hanging:
            self.has_hung.set()
            self.hung.add(threading.current_thread().name)
            self.is_released.wait()


@dataclass
class Service:
    """A house with a real daemon in it."""

    house: House
    disk: OddDisk
    signals: Signals = field(default_factory=Signals)
    integrity: Integrity | None = None
    count_every_s: float = 60.0

    def __post_init__(self) -> None:
        """Build the daemon; `running` starts it."""
        time_ = self.house.time
        self.daemon = Daemon(
            self.house.parts,
            clock=Clock(time_.now, time_.monotonic),
            stopping=self.house.stopping,
            log=self.house.log,
            signals=self.signals,
            integrity=self.integrity,
            periods=Periods(count_every_s=self.count_every_s),
        )

    @contextmanager
    def running(self, *, once: bool = False) -> Iterator[Future[int]]:
        """Run it until the block ends, or with `once` until nothing is due."""
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(self.daemon.run, once=once)
            try:
                yield future
                self.stop()
                future.result(10)
            finally:
                self.stop()
                self.disk.is_released.set()
                _join_threads()

    def stop(self) -> None:
        """Do what a signal does."""
        self.signals.is_stopping = True
        self.signals.wake()

    def saw(self, event: str, **fields: object) -> bool:
        """Tell whether an event with these fields was logged."""
        return any(
            name == event and fields.items() <= found.items()
            for name, found in list(self.house.events)
        )

    def is_delivered(self, name: str) -> bool:
        """Tell whether a result is there."""
        return (self.house.root / "outbox" / name / "result.json").exists()

    def wait(self, is_so: Callable[[], object], *, timeout_s: float = 15.0) -> None:
        """Wait until something is so."""
        end = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < end, self.house.events[-8:]
            time.sleep(0.02)

    @contextmanager
    def without_table(self, table: str) -> Iterator[None]:
        """Let the state file be out of order: a table of it is away."""
        self._rename(table, f"away_{table}")
        try:
            yield
        finally:
            self._rename(f"away_{table}", table)

    def _rename(self, before: str, after: str) -> None:
        with closing(sqlite3.connect(self.house.settings.state_file, timeout=10)) as connection:
            connection.execute(f"ALTER TABLE {before} RENAME TO {after}")


def _join_threads() -> None:
    """Wait for threads that a daemon has abandoned: the state file is closed under them next."""
    for thread in threading.enumerate():
        if thread.name.startswith(("worker-", "inbox-", "housekeeper", "sounding-", "marking-")):
            thread.join(15)


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Build services: `build(retention={…})`."""
    houses: list[House] = []

    def make(**overrides: object) -> Service:
        disk = OddDisk()
        base = {"intake": {"settle_s": 0.2, "scan_every_s": 0.3}, "limits": LIMITS}
        house = House(tmp_path / "house", {**base, **overrides}, disk=disk, time=RealTime())
        houses.append(house)
        return Service(house, disk)

    yield make
    for house in houses:
        house.close()
        house.sandbox.close()


@pytest.fixture
def service(build: Callable[..., Service]) -> Service:
    """Return a service with the usual settings."""
    return build()


def test_an_inbox_that_denies_itself_stops_no_thread(service: Service) -> None:
    """A share that answers EACCES opens the inbox's breaker; with the right back work goes on."""
    inbox = service.disk.denied = service.house.root / "inbox"
    with service.running():
        service.wait(lambda: service.saw("breaker.opened", breaker="inbox:default"))
        service.house.drop("scan.nii")
        service.disk.denied = None
        service.wait(lambda: service.is_delivered("scan"))
    assert not service.saw("thread.defect")
    assert service.saw("watch.started", recipe="default")
    assert inbox.is_dir()


def test_a_late_thread_closes_no_breaker_of_the_inbox_that_came(service: Service) -> None:
    """A share that hung and went with a reload answers at last: that says nothing of the new."""
    house = service.house
    old, other = house.root / "inbox", EnvironmentFault("Gone.", code="x", breaker="inbox:default")
    with service.running():
        service.wait(lambda: service.saw("watch.started", recipe="default"))
        service.disk.hanging = old
        house.parts.inboxes["default"].look_anew()
        service.wait(lambda: "inbox-default" in service.disk.hung)
        house.reload(inbox=str(house.root / "elsewhere"))
        house.parts.breakers.open(other, kind="scan")
        service.disk.hanging = None
        service.disk.is_released.set()
        service.wait(lambda: "inbox-default" not in {one.name for one in threading.enumerate()})
        assert house.parts.breakers.is_open("inbox:default")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_is_started_again(service: Service) -> None:
    """Whatever ends an inbox's thread is logged, and the inbox is looked after again."""
    service.disk.deadly = service.house.root / "inbox"
    service.house.drop("scan.nii")
    with service.running():
        service.wait(lambda: service.is_delivered("scan"))
    assert service.saw("thread.defect", reason="inbox-default ended and is started again")


@contextmanager
def _threads_of_at_most(count: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process start no thread beyond so many more, as a service with few TasksMax."""
    start, most = threading.Thread.start, threading.active_count() + count

    def starts(thread: threading.Thread) -> None:
        if threading.active_count() >= most:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", starts)
        yield


@pytest.mark.real
def test_few_threads_do_the_work_of_many(
    build: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer workers, told once; some threads are left to others, and it stops as always."""
    service = build(limits={**LIMITS, "uploads": 200})
    service.house.drop("scan.nii")
    with _threads_of_at_most(24, monkeypatch), service.running() as future:
        service.wait(lambda: service.is_delivered("scan"))
        service.wait(lambda: len(_workers()) < 24 - SPARE_THREADS)
        time.sleep(2 * MIND_PERIOD_S)
        assert _workers()
        service.stop()
        assert future.result(10) == 0
    told = [fields["reason"] for name, fields in service.house.events if name == "thread.defect"]
    assert len(told) == 1
    assert "limits.uploads" in str(told[0])


def _workers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("worker-")]


def test_a_share_that_hangs_stops_no_other_scan(service: Service) -> None:
    """`failed` hangs under the note on a held case: others are delivered, and a signal is heard."""
    with service.running() as future:
        service.house.sandbox.set_faults([{"on": "poll", "times": 1, "do": {"status": 403}}])
        failed = service.house.root / "failed"
        service.wait((failed / ".vpe-watcher" / "marker.json").exists)
        service.disk.hanging = failed
        service.house.drop("held.nii")
        service.wait(lambda: "housekeeper" in service.disk.hung)
        service.house.drop("scan.nii", nifti(seed=1))
        service.wait(lambda: service.is_delivered("scan"))
        service.stop()
        assert future.result(5) == 0
        assert service.daemon.has_abandoned


@pytest.mark.real
def test_free_space_that_cannot_be_told_stops_nothing(build: Callable[..., Service]) -> None:
    """Statvfs of a dead share hangs from the very start: scans are taken all the same."""
    service = build(retention={"min_free": 1})
    service.disk.hanging = service.house.root / "archive"
    service.house.drop("scan.nii")
    with service.running():
        service.wait(service.disk.has_hung.is_set)
        service.wait(service.house.parts.store.due)


@pytest.mark.parametrize("table", ["events", "words"])
def test_it_waits_at_start_for_the_state_file(service: Service, table: str) -> None:
    """What cannot be resumed yet opens the breaker `state`, and is resumed later."""
    service.house.drop("scan.nii")
    with service.running() as future:
        with service.without_table(table):
            service.wait(lambda: service.saw("breaker.opened", breaker="state"))
        service.wait(lambda: service.is_delivered("scan"))
        assert not future.done()
        service.wait(lambda: service.saw("breaker.closed", breaker="state"))


def test_a_signal_ends_the_wait_at_start(service: Service) -> None:
    """SIGTERM while the state file is away: the end, with nothing started."""
    with service.without_table("events"), service.running() as future:
        service.wait(lambda: service.saw("breaker.opened", breaker="state"))
        service.stop()
        assert future.result(5) == 0
        assert not service.saw("watch.started")


def test_a_run_once_outlives_trouble_with_the_state_file(build: Callable[..., Service]) -> None:
    """The question whether all is done may fail too: it is asked again, and the run ends well."""
    service = build(
        intake={"settle_s": 0.2, "scan_every_s": 3600}, limits={**LIMITS, "poll_every_s": 2}
    )
    service.house.sandbox.set_options(processing_s=1.0)
    service.house.drop("scan.nii")
    with service.running(once=True) as future:
        service.wait(lambda: service.saw("step.done", step="notifying"))
        time.sleep(0.3)  # only the main thread asks the state file until the next poll
        with service.without_table("cases"):
            service.wait(lambda: service.saw("breaker.opened", breaker="state"))
            assert not future.done()
        assert future.result(15) == 0
    assert service.is_delivered("scan")


def test_the_markers_count_on_while_it_works(service: Service) -> None:
    """A copy of the state file is older than the folders a minute later, and not in idle times."""
    service = replace(service, count_every_s=0.2)
    house = service.house
    with service.running():
        house.drop("scan.nii", nifti())
        service.wait(lambda: service.is_delivered("scan"))
        service.wait(lambda: _counted(house) > 1)
        service.wait(lambda: not _is_counting(house))
    marker = json.loads((house.root / "inbox" / ".vpe-watcher" / "marker.json").read_text())
    assert marker["starts"] > 1


def _counted(house: House) -> int:
    return house.parts.store.identity()[1]


def _is_counting(house: House) -> bool:
    before = _counted(house)
    time.sleep(0.7)
    return _counted(house) > before
