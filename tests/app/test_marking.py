"""Markers that are written soon after the start, and what is told of a root that takes none."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.app.test_daemon import LIMITS, OddDisk, RealTime, Service
from tests.flow.house import House
from vpe_watcher.adapters.files import fault_of
from vpe_watcher.app.marking import Marking
from vpe_watcher.core.errors import EnvironmentFault

MARKED = ("outbox", "archive", "failed")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Return a house on real time whose folders were never used."""
    base = {"intake": {"settle_s": 0.2, "scan_every_s": 0.3}, "limits": LIMITS}
    house = House(tmp_path / "house", base, disk=OddDisk(), time=RealTime())
    yield house
    house.close()
    house.sandbox.close()


def _marker(house: House, name: str) -> Path:
    return house.root / name / ".vpe-watcher" / "marker.json"


def _wait(is_so: Callable[[], object], *, timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def _marking(house: House, guard: Callable[[str], None] | None = None) -> Iterator[None]:
    """Run the threads of the markers until the block ends."""
    marking = Marking(
        guard or house.parts.roots.guard,
        breakers=house.parts.breakers,
        stopping=house.stopping,
        log=house.log,
        again_s=0.02,
    )
    threads = [threading.Thread(target=marking.keep, args=(name,)) for name in MARKED]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        house.stopping.event.set()
        if isinstance(house.disk, OddDisk):
            house.disk.is_released.set()
        for thread in threads:
            thread.join(10)


def test_a_daemon_marks_the_folders_that_it_has_not_used_yet(house: House) -> None:
    """The next start finds an empty mount point in the place of any of them, and says so."""
    with Service(house, house.disk).running():  # type: ignore[arg-type]
        _wait(lambda: all(_marker(house, name).exists() for name in MARKED))
    shutil.rmtree(house.root / "archive" / ".vpe-watcher")
    house.restart()
    with Service(house, house.disk).running():  # type: ignore[arg-type]
        _wait(lambda: "archive" in house.breakers())
    assert "lost its marker" in house.breaker("archive").reason
    assert not _marker(house, "archive").exists()


def test_a_missing_outbox_is_told_before_it_is_needed(house: House) -> None:
    """Its breaker opens once, and closes when it is there; what it was for stays out of the way."""
    (house.root / "outbox").rmdir()
    with _marking(house):
        _wait(lambda: house.breakers() == {"outbox"})
        _wait(lambda: _marker(house, "archive").exists())
        time.sleep(0.1)
        assert house.breaker("outbox").failures == 1
        (house.root / "outbox").mkdir()
        _wait(lambda: not house.breakers())
    assert _marker(house, "outbox").exists()
    assert [name for name, _ in house.events] == ["breaker.opened", "breaker.closed"]


def test_what_a_step_has_found_is_left_to_steps(house: House) -> None:
    """That a folder can be marked closes no breaker that a delivery has opened."""
    fault = fault_of(OSError(5, "sick"), "outbox")
    house.parts.breakers.open(fault, kind="delivering")
    with _marking(house):
        _wait(lambda: _marker(house, "outbox").exists())
        time.sleep(0.1)
        assert house.breakers() == {"outbox"}


def test_no_orphan_is_made_of_it(house: House) -> None:
    """No step needs the folder, and its breaker does not open and close meanwhile."""
    (house.root / "failed").rmdir()
    with _marking(house):
        _wait(lambda: house.breakers() == {"failed"})
        _wait(lambda: house.breaker("failed").retry_at < time.monotonic())
        house.parts.schedule.take_ready()
        assert house.breakers() == {"failed"}


def test_a_full_disk_is_for_others_to_tell(house: House) -> None:
    """It pauses claiming, and only a step of the kind that met it could close it."""
    asked: list[str] = []

    def guard(name: str) -> None:
        asked.append(name)
        raise EnvironmentFault("full", code="disk_full", hint="", breaker="disk")

    with _marking(house, guard):
        _wait(lambda: asked.count("outbox") > 2)
    assert house.breakers() == set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_root_that_hangs_holds_up_no_other(house: House) -> None:
    """The archive hangs from the start: the others are marked, and a signal ends it soon."""
    disk = house.disk
    assert isinstance(disk, OddDisk)
    disk.hanging = house.root / "archive"
    service = Service(house, disk)
    with service.running() as future:
        _wait(lambda: "marking-archive" in disk.hung)
        _wait(lambda: all(_marker(house, name).exists() for name in ("outbox", "failed")))
        service.stop()
        assert future.result(5) == 0
    assert not service.daemon.has_abandoned


def test_a_run_once_that_leaves_no_work_ends_well(house: House) -> None:
    """That the outbox is missing is told, and nothing waits for it."""
    (house.root / "outbox").rmdir()
    service = Service(house, OddDisk())
    with service.running(once=True) as future:
        assert future.result(10) == 0
    assert service.saw("breaker.opened", breaker="outbox")
