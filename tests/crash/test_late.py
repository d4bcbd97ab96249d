"""Late slices that are sent while those of the first case are on their way to the archive."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.crash.laws import broken_laws
from tests.crash.lives import Stage
from tests.crash.points import MortalDisk, Points
from tests.crash.scenario import QUICK
from tests.crash.scenarios import SCENARIOS
from tests.crash.series import late_meanwhile
from tests.crash.slices import FEW
from tests.flow.house import merged
from vpe_watcher.adapters.files import Entry
from vpe_watcher.core.model import Case

MANY = 60


class HastyDisk(MortalDisk):
    """A disk on which something happens just before a slice is looked at or opened."""

    def happens(self, before: Callable[[Path], None]) -> HastyDisk:
        """Say what."""
        self._before = before
        return self

    def look(self, path: Path) -> Entry | None:
        """Return what lies at a path."""
        self._before(path)
        return super().look(path)

    def open(self, path: Path) -> BinaryIO:
        """Open a file for reading."""
        self._before(path)
        return super().open(path)


class HastyStage(Stage):
    """A stage whose first case comes to rest just before the `left`-th use of one of its slices."""

    left = 0
    is_busy = False

    def _disk(self, points: Points) -> MortalDisk:
        return HastyDisk(points, {}, self.meddle).happens(self._before)

    def _before(self, path: Path) -> None:
        if not self.left or self.is_busy or path.suffix != ".dcm":
            return
        first = self._first()
        if first.case_id not in path.parts:
            return
        self.left -= 1
        if self.left:
            return
        self.is_busy = True
        self.sandbox.set_options(processing_s=0)
        while not (first := self._first()).state.is_at_rest:
            self.parts.runner.run(first.case_id, first.state)
        self.is_busy = False

    def _first(self) -> Case:
        return next(case for case in self.cases() if not case.late_for)


@pytest.mark.slow
def test_the_first_case_may_be_archived_at_any_moment(ground: Path) -> None:
    """Whoever needs its slices finds them where they lie then; no person is asked."""
    for number in range(1, MANY, 2):
        stage = HastyStage(ground / "stage", merged(QUICK, FEW))
        with closing(stage.sandbox):
            late_meanwhile(stage)
            stage.sandbox.set_options(processing_s=100)
            stage.left = number
            stage.live_once()
            if stage.left:
                break
            assert not broken_laws(stage, SCENARIOS["late_meanwhile"]), f"use {number}"
    assert 5 < number < MANY
