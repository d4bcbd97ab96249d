"""A daemon dies twice, at every pair of points: each state that this leaves is tried once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from random import Random

import pytest

from tests.conftest import DEATHS
from tests.crash.futures import all_futures
from tests.crash.scenarios import SCENARIOS
from tests.crash.trials import Graveyard, Trial, Verdict, expect_like

SEED = 20_261_122
TWINS = 24
UNLIKE = ("two", "split", "late_retry", "expired", "same_name", "written", "split_written", "far")
ALIKE = [
    *(pytest.param(name, marks=pytest.mark.real) for name in ("file", "bad", "place_late")),
    *(pytest.param(name, marks=pytest.mark.soak) for name in UNLIKE),
]


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_pair_of_deaths_changes_nothing(
    graveyard: Graveyard, name: str, record_property: Callable[[str, object], None]
) -> None:
    """The first life dies at each point, the second at each of its own, the third ends well."""
    futures = all_futures(graveyard, name, deaths=2)
    quiet, *verdicts = futures.verdicts
    points, pairs = futures.sequences
    record_property(DEATHS, f"{name}: {len(verdicts)} states of {points} points, {pairs} pairs")
    assert not quiet.broken, quiet.report()
    expect_like(quiet, verdicts)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", ALIKE)
def test_deaths_that_leave_the_same_have_the_same_future(graveyard: Graveyard, name: str) -> None:
    """What is left out of a state decides nothing: lives that begin in one pass the same states."""
    quiet = graveyard.tried([Trial(name)], is_watched=True)
    twins = _twins(graveyard.tried(_after(quiet), is_watched=True))
    assert twins, "no two deaths leave the same"
    verdicts = graveyard.tried([trial for both in twins for trial in both], is_watched=True)
    for (one, other), first, second in zip(twins, verdicts[::2], verdicts[1::2], strict=True):
        assert first.deaths == second.deaths == 2
        assert first.states
        assert not first.broken + second.broken
        assert first.states == second.states, f"{one.again}\n{other.again}"
        assert first.picture == second.picture


def _after(verdicts: list[Verdict]) -> list[Trial]:
    """Return the trials that die once more, at each point of the last life."""
    return [
        Trial(verdict.trial.scenario, (*verdict.trial.deaths, point))
        for verdict in verdicts
        for point in range(1, len(verdict.states) + 1)
    ]


def _twins(verdicts: list[Verdict]) -> list[tuple[Trial, Trial]]:
    """Draw pairs of trials that die once more, and leave the same."""
    ways: dict[str, list[Trial]] = defaultdict(list)
    for verdict in verdicts:
        for state, trial in zip(verdict.states, _after([verdict]), strict=True):
            ways[state].append(trial)
    chance = Random(SEED)
    alike = [trials for _, trials in sorted(ways.items()) if len(trials) > 1]
    drawn = chance.sample(alike, min(TWINS, len(alike)))
    return [(one, other) for one, other in (chance.sample(trials, 2) for trials in drawn)]
