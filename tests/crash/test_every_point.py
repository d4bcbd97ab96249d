"""A daemon dies at every point of a run, and at pairs of points: the end is the same."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from tests.conftest import DEATHS
from tests.crash.scenarios import SCENARIOS
from tests.crash.trials import Graveyard, Trial, Verdict

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
    _assert_like(graveyard.quiet_run(name), verdicts)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_second_death_after_the_first_changes_nothing(
    graveyard: Graveyard, pairs_wanted: int, record_property: Callable[[str, object], None]
) -> None:
    """The first life dies at n, the second at its m-th point, the third ends as if none had."""
    chance = Random(SEED)
    singles = [verdict for name in SCENARIOS for verdict in graveyard.single_deaths(name)]
    possible = [
        Trial(verdict.trial.scenario, (*verdict.trial.deaths, second))
        for verdict in singles
        for second in range(1, verdict.lives[-1].points + 1)
    ]
    pairs = chance.sample(possible, min(pairs_wanted, len(possible)))
    verdicts = graveyard.tried(pairs)
    numbers = f"{len(singles)} points, {len(pairs)} of {len(possible)} pairs, seed {SEED}"
    record_property(DEATHS, numbers)
    assert all(verdict.deaths == 2 for verdict in verdicts)
    for name in SCENARIOS:
        mine = [verdict for verdict in verdicts if verdict.trial.scenario == name]
        _assert_like(graveyard.quiet_run(name), mine)


def _assert_like(quiet: Verdict, verdicts: list[Verdict]) -> None:
    wrong = [verdict for verdict in verdicts if verdict.broken or verdict.picture != quiet.picture]
    reports = [verdict.report() + verdict.difference(quiet) for verdict in wrong]
    if wrong:
        words = f"{len(wrong)} of {len(verdicts)} trials:\n" + "\n".join(reports[:12])
        pytest.fail(words, pytrace=False)
