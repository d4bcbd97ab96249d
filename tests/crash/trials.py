"""One trial: a scenario, the points at which its lives end, and a last life that finishes.

By hand: `python -m tests.crash.trials folder 17 4`.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random

import pytest

from tests.crash.laws import broken_at_death, broken_laws, picture
from tests.crash.lives import BrokenLife, Life, Stage
from tests.crash.points import Points
from tests.crash.scenarios import SCENARIOS
from tests.crash.states import WatchedPoints
from vpe_watcher.adapters.settings import Settings

MEMORY = Path("/dev/shm")  # noqa: S108 - syncing to memory costs nothing
MORE = 8  # times the share, of scenarios that are not to be sampled
Follow = Callable[[Stage], bool]


@dataclass(frozen=True, slots=True, order=True)
class Trial:
    """Which scenario, and at which point each life but the last is to end."""

    scenario: str
    deaths: tuple[int, ...] = ()

    @property
    def again(self) -> str:
        """Return the command that runs this trial alone."""
        return f"python -m tests.crash.trials {self.scenario} {' '.join(map(str, self.deaths))}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a trial: its lives, which laws were broken, and what people see in the end.

    `states` are what a death would have left at the points of its last life, if that was watched.
    """

    trial: Trial
    lives: tuple[Life, ...]
    broken: tuple[str, ...]
    picture: dict[str, str]
    states: tuple[str, ...] = ()

    @property
    def deaths(self) -> int:
        """Count the lives that died."""
        return sum(life.has_died for life in self.lives)

    def difference(self, quiet: Verdict) -> str:
        """Say what people see otherwise than after a run without a death."""
        paths = sorted(self.picture.keys() | quiet.picture.keys())
        return "".join(
            f"\n  DIFFERS: {path}\n    {self.picture.get(path)}\n    {quiet.picture.get(path)}"
            for path in paths
            if self.picture.get(path) != quiet.picture.get(path)
        )

    def report(self) -> str:
        """Say what happened and how to see it again."""
        lines = [f"again: {self.trial.again}"]
        for life in self.lives:
            end = f"died at point {life.points}: {life.words}" if life.has_died else "lived"
            lines += [f"  {end}", *(f"    defect: {one}" for one in life.defects)]
        return "\n".join([*lines, *(f"  BROKEN: {one}" for one in self.broken)])


class Graveyard:
    """Runs trials on several processes, and remembers those that every test wants."""

    def __init__(self, pool: ProcessPoolExecutor, *, share: float = 1.0) -> None:
        """Prepare; `pool` has workers without threads.

        `share` of the points is tried of scenarios that are to be sampled, of others much more.
        """
        self._pool = pool
        self._share = share
        self._quiet: dict[str, Verdict] = {}
        self._single: dict[str, list[Verdict]] = {}

    def tried(self, trials: list[Trial], *, is_watched: bool = False) -> list[Verdict]:
        """Run trials, in any order; return their verdicts in the given one."""
        return list(self._pool.map(partial(tried, is_watched=is_watched), trials, chunksize=4))

    def quiet_run(self, scenario: str) -> Verdict:
        """Return a run without a death: it counts the points, and shows what must come of it."""
        if scenario not in self._quiet:
            (self._quiet[scenario],) = self.tried([Trial(scenario)])
        return self._quiet[scenario]

    def single_deaths(self, scenario: str) -> list[Verdict]:
        """Return the trials that die once, at each point of a quiet run or at some of them."""
        if scenario not in self._single:
            trials = [Trial(scenario, (point,)) for point in self.points_of(scenario)]
            self._single[scenario] = self.tried(trials)
        return self._single[scenario]

    def points_of(self, scenario: str) -> list[int]:
        """Return the points at which a run is to end, the same ones each time."""
        count = self.quiet_run(scenario).lives[-1].points
        points = range(1, count + 1)
        share = self._share if SCENARIOS[scenario].is_sampled else MORE * self._share
        if share >= 1:
            return list(points)
        return sorted(Random(scenario).sample(points, max(1, round(count * share))))


def tried(trial: Trial, *, is_watched: bool = False) -> Verdict:
    """Run one trial in a folder of this process, in memory where there is such a place.

    `is_watched` notes the states that its last life passes.
    """
    base = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    root = base / f"vpe-watcher-crash-{os.getpid()}"
    scenario = SCENARIOS[trial.scenario]
    lives: list[Life] = []
    try:
        stage = scenario.stage(root, settings=_settings_of(trial.scenario, root))
        try:
            broken: list[str] = []
            follow = scenario.follow
            for point in trial.deaths:
                lives.append(stage.live_once(point))
                broken += broken_at_death(stage)
                follow = _followed(stage, follow)
            points = WatchedPoints(stage) if is_watched else Points(is_fine=stage.is_fine)
            lives.append(stage.live_once(points=points))
            _followed(stage, follow)
            if scenario.follow:
                stage.live_once()  # a look finds what an earlier case of its name has hidden
            broken += [*broken_laws(stage, scenario), *_defects(lives)]
            states = tuple(points.states) if isinstance(points, WatchedPoints) else ()
            return Verdict(trial, tuple(lives), tuple(broken), picture(stage), states)
        except BrokenLife as error:
            return Verdict(trial, tuple(lives), (str(error),), {})
        finally:
            stage.sandbox.close()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _followed(stage: Stage, follow: Follow | None) -> Follow | None:
    return None if follow and follow(stage) else follow


@cache
def _settings_of(scenario: str, root: Path) -> Settings:
    return SCENARIOS[scenario].settings(root)


def _defects(lives: list[Life]) -> list[str]:
    return ["a step met a defect"] if any(life.defects for life in lives) else []


def expect_like(quiet: Verdict, verdicts: list[Verdict]) -> None:
    """Fail a test with the trials that break a law, or do not end as a run without a death."""
    wrong = [verdict for verdict in verdicts if verdict.broken or verdict.picture != quiet.picture]
    reports = [verdict.report() + verdict.difference(quiet) for verdict in wrong]
    if wrong:
        words = f"{len(wrong)} of {len(verdicts)} trials:\n" + "\n".join(reports[:12])
        pytest.fail(words, pytrace=False)


if __name__ == "__main__":
    sys.stdout.write(tried(Trial(sys.argv[1], tuple(map(int, sys.argv[2:])))).report() + "\n")
