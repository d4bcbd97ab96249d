"""Roots that hang: what names them, what goes on beside them, and what happens when they answer.

The daemon runs in a thread of the test, on real time; a minute of silence is a second here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.app.test_daemon import LIMITS, OddDisk, RealTime, Service
from tests.flow.house import House, nifti
from vpe_watcher.adapters.files import Entry
from vpe_watcher.adapters.threads import busy_ns
from vpe_watcher.app.assembly import Clock
from vpe_watcher.app.daemon import Daemon, Periods
from vpe_watcher.core.model import State

SILENT_AFTER_S = 1.0


class Share(OddDisk):
    """A disk below one folder of which every call hangs, or every listing computes for long."""

    def __init__(self) -> None:
        super().__init__()
        self.root: Path | None = None
        self.hangs_at: frozenset[str] = frozenset()
        self.hangs_when: Callable[[Path], bool] = lambda path: False
        self.waiting = 0
        self.laborious: Path | None = None
        self.free: dict[Path, int] = {}

    def hang(self, root: Path, *verbs: str) -> None:
        """Answer no more below a folder, or not to some verbs."""
        self.is_released.clear()
        self.hangs_at = frozenset(verbs)
        self.root = root

    def answer(self) -> None:
        """Answer again."""
        self.root = None
        self.hangs_when = lambda path: False
        self.is_released.set()

    def look(self, path: Path) -> Entry | None:
        """Look, when the share answers."""
        self._wait("look", path)
        return super().look(path)

    def listing(self, folder: Path) -> list[Entry]:
        """List, when the share answers; the laborious folder takes its time."""
        self._wait("listing", folder)
        if folder == self.laborious:
            end = time.monotonic() + 3 * SILENT_AFTER_S
            while time.monotonic() < end:
                time.sleep(0.001)
        return super().listing(folder)

    def open(self, path: Path) -> BinaryIO:
        """Open, when the share answers."""
        self._wait("open", path)
        return super().open(path)

    def rename(self, source: Path, target: Path) -> None:
        """Rename, when the share answers."""
        self._wait("rename", source)
        super().rename(source, target)

    def free_bytes(self, folder: Path) -> int:
        """Ask for free space, when the share answers."""
        self._wait("free_bytes", folder)
        return self.free.get(folder, super().free_bytes(folder))

    def _wait(self, verb: str, path: Path) -> None:
        is_below = self.root is not None and (path == self.root or self.root in path.parents)
        is_meant = not self.hangs_at or verb in self.hangs_at
        if (is_below and is_meant) or self.hangs_when(path):
            self.waiting += 1
            self.is_released.wait()


class Silences(Service):
    """A service whose minute is a second."""

    disk: Share

    def __post_init__(self) -> None:
        """Build the daemon."""
        time_ = self.house.time
        self.daemon = Daemon(
            self.house.parts,
            clock=Clock(time_.now, time_.monotonic),
            stopping=self.house.stopping,
            log=self.house.log,
            signals=self.signals,
            periods=Periods(silent_after_s=SILENT_AFTER_S),
        )

    @property
    def teeth(self) -> Path:
        """Return the inbox of the recipe that hangs."""
        return self.house.root / "inbox" / "teeth"

    def drop(self, name: str, *, recipe: str = "", seed: int = 0) -> None:
        """Put a scan into an inbox, behind the disk's back."""
        self.house.drop(f"{name}.nii", nifti(seed=seed, side=4 + seed), recipe=recipe)

    def shown_breakers(self) -> list[str]:
        """Return the breakers that `status` shows."""
        return [row["name"] for row in self.house.queries.snapshot().get("breakers", [])]

    def hang_uploads(self) -> None:
        """Let whatever is asked of a claim of `teeth` hang while it is due for its upload."""
        claims = self.teeth / ".vpe-watcher" / "house"

        def is_uploading(path: Path) -> bool:
            if claims not in path.parents:
                return False
            case = self.house.parts.store.load(path.relative_to(claims).parts[0])
            return case is not None and case.state is State.UPLOADING

        self.disk.is_released.clear()
        self.disk.hangs_when = is_uploading

    def hint(self, name: str) -> str:
        """Return what the open breaker advises."""
        return self.house.breaker(name).hint


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Silences]]:
    """Build services with a recipe `teeth` beside the default: `build(limits={…})`."""
    houses: list[House] = []

    def make(**overrides: Any) -> Silences:
        base = {
            "intake": {"settle_s": 0.2, "scan_every_s": 0.3},
            "limits": {**LIMITS, **overrides.pop("limits", {})},
            "recipes": {"teeth": {}},
        }
        disk = Share()
        house = House(tmp_path / "house", {**base, **overrides}, disk=disk, time=RealTime())
        houses.append(house)
        return Silences(house, disk)

    yield make
    for house in houses:
        house.close()
        house.sandbox.close()


@contextmanager
def _running(service: Silences) -> Iterator[None]:
    with service.running():
        try:
            yield
        finally:
            service.disk.answer()


def _silent(service: Silences, name: str) -> Callable[[], bool]:
    return lambda: service.saw("breaker.opened", breaker=name, code="folder_silent")


def test_an_inbox_that_hangs_is_named_and_the_others_go_on(build: Callable[..., Silences]) -> None:
    """From the very start; when it answers, its breaker closes and its scan is taken."""
    service = build()
    service.disk.hang(service.teeth)
    service.drop("late", recipe="teeth", seed=9)
    with _running(service):
        for number in range(3):
            service.drop(f"scan-{number}", seed=number)
        service.wait(lambda: all(service.is_delivered(f"scan-{n}") for n in range(3)))
        service.wait(_silent(service, "inbox:teeth"))
        assert "ext4" in service.hint("inbox:teeth")
        assert service.house.breakers() == {"inbox:teeth"}
        service.drop("after", seed=5)
        service.wait(lambda: service.is_delivered("after"))
        service.wait(lambda: service.shown_breakers() == ["inbox:teeth"])
        service.disk.answer()
        service.wait(lambda: service.is_delivered("late"))
        service.wait(lambda: not service.house.breakers())
    assert not service.saw("thread.defect")


@pytest.mark.real
@pytest.mark.parametrize("root", ["outbox", "archive", "failed"])
def test_another_root_that_hangs_is_named(build: Callable[..., Silences], root: str) -> None:
    """Nobody has to need it for that; it is taken back when it answers."""
    service = build()
    with _running(service):
        service.wait(lambda: service.saw("watch.started"))
        service.disk.hang(service.house.root / root)
        service.wait(_silent(service, root))
        service.disk.answer()
        service.wait(lambda: service.saw("breaker.closed", breaker=root))
        service.drop("scan")
        service.wait(lambda: service.is_delivered("scan"))


@pytest.mark.real
def test_an_inbox_of_which_only_the_listing_hangs_is_named(
    build: Callable[..., Silences],
) -> None:
    """It still answers the simple question: its look, which stands still, tells."""
    service = build()
    with _running(service):
        service.disk.hang(service.teeth, "listing")
        service.wait(_silent(service, "inbox:teeth"))
        service.disk.answer()
        service.wait(lambda: service.saw("breaker.closed", breaker="inbox:teeth"))


@pytest.mark.real
def test_a_long_look_is_no_silence(build: Callable[..., Silences]) -> None:
    """A share with very many files answers all the time, a little."""
    service = build()
    service.disk.laborious = service.teeth
    with _running(service):
        service.drop("scan")
        service.wait(lambda: service.is_delivered("scan"))
        time.sleep(2.5 * SILENT_AFTER_S)
    assert not service.saw("breaker.opened")


@pytest.mark.real
def test_uploads_that_hang_use_up_no_lane(build: Callable[..., Silences]) -> None:
    """Both places are taken by files that cannot be read: after a minute others get places."""
    service = build(limits={"uploads": 2})
    with _running(service):
        service.hang_uploads()
        for number in range(3):
            service.drop(f"teeth-{number}", recipe="teeth", seed=20 + number)
        service.wait(lambda: service.disk.waiting == 2)
        service.disk.hang(service.teeth)
        for number in range(3):
            service.drop(f"scan-{number}", seed=number)
        service.wait(lambda: all(service.is_delivered(f"scan-{n}") for n in range(3)))
        assert service.house.breakers() == {"inbox:teeth"}
        service.disk.answer()
        service.wait(lambda: all(service.is_delivered(f"teeth-{n}") for n in range(3)))
    assert service.house.sandbox.ledger.count("submit") == 6


def test_free_space_is_judged_beside_a_folder_that_hangs(build: Callable[..., Silences]) -> None:
    """The archive says nothing; that the outbox is full is noticed all the same."""
    service = build(retention={"min_free": 1000})
    service.disk.hang(service.house.root / "archive")
    service.disk.free[service.house.root / "outbox"] = 10
    with _running(service):
        service.wait(lambda: service.saw("breaker.opened", breaker="disk"))


@pytest.mark.real
def test_a_root_that_hangs_does_not_hold_up_the_end(build: Callable[..., Silences]) -> None:
    """A signal ends the daemon within its grace, and says that something was left."""
    service = build()
    with service.running() as future:
        service.disk.hang(service.teeth)
        service.wait(_silent(service, "inbox:teeth"))
        began = time.monotonic()
        service.stop()
        assert future.result(10) == 0
        assert time.monotonic() - began < service.house.settings.limits.stop_grace_s + 3
        assert service.daemon.has_abandoned


@pytest.mark.real
def test_a_run_once_ends_beside_a_root_that_hangs(build: Callable[..., Silences]) -> None:
    """With 75: something was left; what could be done is done."""
    service = build()
    service.disk.hang(service.teeth)
    service.drop("scan")
    with service.running(once=True) as future:
        assert future.result(20) == 75
        assert service.is_delivered("scan")


def test_a_thread_that_waits_takes_no_processor() -> None:
    """And one that computes does; of a thread that is gone nobody tells."""
    may_end, computes = threading.Event(), threading.Event()

    def work() -> None:
        if computes.is_set():
            sum(range(3_000_000))
        may_end.wait()

    waiter = threading.Thread(target=work)
    waiter.start()
    time.sleep(0.05)
    before = busy_ns(waiter.native_id or 0)
    time.sleep(0.2)
    after = busy_ns(waiter.native_id or 0)
    computes.set()
    worker = threading.Thread(target=work)
    worker.start()
    time.sleep(0.3)
    worked = busy_ns(worker.native_id or 0)
    may_end.set()
    waiter.join()
    worker.join()
    assert before is not None
    assert after is not None
    assert worked is not None
    assert after - before < 1_000_000 < worked
    assert busy_ns(-1) is None


@pytest.mark.real
def test_an_archive_that_hangs_under_retention_stops_nothing_else(
    build: Callable[..., Silences],
) -> None:
    """Who looks whether it has to give way waits for it alone: scans are taken and delivered."""
    service = build(retention={"min_free": 1, "prune_below": 1})
    archive = service.house.root / "archive"
    service.disk.hang(archive)
    with _running(service):
        service.wait(lambda: service.disk.waiting)
        service.drop("scan")
        service.wait(lambda: service.is_delivered("scan"))
        service.disk.answer()
        service.wait(lambda: service.saw("case.done"))
    assert not service.saw("thread.defect")
