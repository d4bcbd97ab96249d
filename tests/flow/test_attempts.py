"""Around an attempt: defects outside its effect, and roots that hold each other up."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.flow.house import House
from vpe_watcher.adapters.files import Disk, Entry
from vpe_watcher.core.model import State
from vpe_watcher.flow.runner import DEFECT_AGAIN_S

TRIGGERS = {
    "begin": "BEFORE INSERT ON events WHEN NEW.step = 'submitting'",
    "finish": "BEFORE UPDATE OF outcome ON events WHEN NEW.step = 'submitting'",
}


class HangingDisk(Disk):
    """One folder of it hangs until it is let go."""

    def __init__(self) -> None:
        self.hanging: Path | None = None
        self.has_hung = threading.Event()
        self.is_released = threading.Event()

    def look(self, path: Path) -> Entry | None:
        """Look, unless the folder hangs."""
        if path == self.hanging:
            self.has_hung.set()
            self.is_released.wait()
        return super().look(path)


@contextmanager
def forbidden(house: House, what: str) -> Iterator[None]:
    """Let the schema forbid what the code does: to the program a defect of its own."""
    path = house.settings.state_file
    trigger = f"CREATE TRIGGER forbid {what} BEGIN SELECT RAISE(ABORT, 'forbidden'); END"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(trigger)
        try:
            yield
        finally:
            connection.execute("DROP TRIGGER forbid")


@pytest.mark.parametrize("what", TRIGGERS.values(), ids=list(TRIGGERS))
def test_a_defect_around_an_effect_is_not_repeated_at_once(house: House, what: str) -> None:
    """It leaves for the log once a minute, not in an endless stream, and others go on."""
    house.drop("scan.nii")
    house.live_until("scan", State.SUBMITTING)
    with forbidden(house, what):
        for _ in range(2):
            ((case_id, state),) = house.parts.schedule.take_ready()
            with pytest.raises(sqlite3.IntegrityError, match=r"forbidden|UNIQUE"):
                house.parts.runner.run(case_id, state)
            house.time.advance(DEFECT_AGAIN_S - 1)
            assert house.parts.schedule.take_ready() == []
            house.time.advance(1)
    if what == TRIGGERS["finish"]:
        house.restart()
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}


def test_a_root_that_hangs_holds_up_no_other(build: Callable[..., House]) -> None:
    """While one folder is asked in vain the others are guarded."""
    disk = HangingDisk()
    house = build(disk=disk)
    house.turn()
    disk.hanging = house.root / "archive"
    with ThreadPoolExecutor(2) as pool:
        stuck = pool.submit(house.parts.roots.guard, "archive")
        assert disk.has_hung.wait(5)
        try:
            for name in ("inbox:default", "outbox", "failed"):
                pool.submit(house.parts.roots.guard, name).result(5)
            assert not stuck.done()
        finally:
            disk.is_released.set()
        stuck.result(5)
