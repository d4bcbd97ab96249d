"""A daemon dies at every point of a run, and at pairs of points: the end is the same."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from tests.conftest import DEATHS
from tests.crash.scenarios import SCENARIOS
from tests.crash.trials import Graveyard, Trial, Verdict, expect_like

SEED = 20_240_611


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_run_without_a_death_keeps_the_laws(graveyard: Graveyard, name: str) -> None:
    """What the deaths are compared with is right in itself."""
    verdict = graveyard.quiet_run(name)
    assert not verdict.broken, verdict.report()


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_death_at_any_point_changes_nothing(graveyard: Graveyard, name: str) -> None:
    """One delivery, one started job, one place for the input, nothing left over."""
    verdicts = graveyard.single_deaths(name)
    assert len(verdicts) == len(graveyard.points_of(name))
    assert all(verdict.deaths == 1 for verdict in verdicts)
    expect_like(graveyard.quiet_run(name), verdicts)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_second_death_after_the_first_changes_nothing(
    graveyard: Graveyard,
    pairs_wanted: int,
    record_property: Callable[[str, object], None],
) -> None:
    """The first life dies at n, the second at its m-th point, the third ends as if none had."""
    chance = Random(SEED)
    firsts = _first_deaths(graveyard)
    drawn = [chance.choice(firsts) for _ in range(pairs_wanted)]
    singles = {one.trial: one for one in graveyard.tried(sorted(set(drawn)))}
    pairs = sorted({chance.choice(_pairs_of(singles[first])) for first in drawn})
    verdicts = graveyard.tried(pairs)
    record_property(
        DEATHS, f"{len(singles)} of {len(firsts)} points, {len(pairs)} pairs, seed {SEED}"
    )
    assert all(verdict.deaths == 2 for verdict in verdicts)
    for name in SCENARIOS:
        mine = [one for one in (*singles.values(), *verdicts) if one.trial.scenario == name]
        expect_like(graveyard.quiet_run(name), mine)


def _first_deaths(graveyard: Graveyard) -> list[Trial]:
    """Return a trial for each point of each scenario."""
    return [
        Trial(name, (point,))
        for name in SCENARIOS
        for point in range(1, graveyard.quiet_run(name).lives[-1].points + 1)
    ]


def _pairs_of(single: Verdict) -> list[Trial]:
    """Return a trial for each point of the life after a first death."""
    seconds = range(1, single.lives[-1].points + 1)
    return [Trial(single.trial.scenario, (*single.trial.deaths, at)) for at in seconds]
