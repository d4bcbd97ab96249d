"""A file whose content takes long to be judged: seen in `status`, and once in the log."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import BinaryIO, cast

from tests.flow.house import House
from vpe_watcher.adapters.files import Disk
from vpe_watcher.core.model import State


class SlowDisk(Disk):
    """A disk on which each piece of a packed scan takes a while."""

    def __init__(self) -> None:
        super().__init__()
        self.on_piece: Callable[[], None] = lambda: None

    def open(self, path: Path) -> BinaryIO:
        """Open a file that reads slowly."""
        if not path.name.endswith(".gz"):
            return super().open(path)
        disk = self

        class Slow(io.FileIO):
            def read(self, size: int | None = -1) -> bytes:
                disk.on_piece()
                return super().read(size) or b""

        return cast(BinaryIO, Slow(path))


def test_a_reading_that_lasts_is_shown_and_told_once(build: Callable[..., House]) -> None:
    """As of a file that unpacks to gigabytes: nobody has to guess why the others wait."""
    disk = SlowDisk()
    house = build(disk=disk)
    shown: set[str] = set()

    def on_piece() -> None:
        house.time.advance(3.0)
        for inbox in house.parts.inboxes.values():
            shown.update(str(one["reason"]) for one in inbox.candidates())

    disk.on_piece = on_piece
    house.drop("scan.nii.gz", gzip.compress(Random(1).randbytes(1 << 20)))
    house.live(120)
    assert [event for event, _ in house.events].count("scan.slow") == 1
    assert any("is being read" in reason for reason in shown)
    assert house.states() == {"scan": State.FAILED}
