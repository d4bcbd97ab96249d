"""The power is cut at every moment at which something has become durable: the end is the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.crash.laws import broken_laws, picture
from tests.crash.power import PoweredStage
from tests.crash.scenarios import SCENARIOS
from vpe_watcher.core.model import State

CHOSEN = (
    "file",
    "far",
    "far_bad",
    "held_retry",
    "far_retry",
    "deleted",
    "series",
    "split",
    "pruned",
)
# Six to thirty seconds each: with make test-real.
LONG = ("far_bad", "split", "far_retry", "far", "deleted", "held_retry", "series", "pruned")


@contextmanager
def _stage(name: str, root: Path) -> Iterator[PoweredStage]:
    stage = SCENARIOS[name].stage_of(PoweredStage, root)
    with closing(stage.platter), closing(stage.sandbox):
        yield stage


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.real if name in LONG else ()) for name in CHOSEN],
)
def test_a_power_cut_at_any_moment_changes_nothing(ground: Path, name: str) -> None:
    """What was not synced before the row that speaks of it would be missing, or half there."""
    with _stage(name, ground / "quiet") as stage:
        life = stage.live_powered()
        wanted = picture(stage)
        assert not [*stage.broken, *broken_laws(stage, SCENARIOS[name])]
    for moment in range(1, life.points + 1):
        with _stage(name, ground / "cut") as stage:
            cut = stage.live_powered(moment)
            assert cut.has_died
            stage.live_powered()
            broken = [*stage.broken, *broken_laws(stage, SCENARIOS[name])]
            assert not broken, f"moment {moment}, {cut.words}: {broken}"
            assert picture(stage) == wanted, f"moment {moment}, {cut.words}"


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["series", "split"])
def test_what_a_killed_daemon_has_renamed_is_made_durable(ground: Path, name: str) -> None:
    """Killed between a rename and its sync; the next life's power is cut when the row is there."""
    with _stage(name, ground / "quiet") as stage:
        stage.live_powered()
        wanted = picture(stage)
    for rename in (1, 2, 3):  # all of the claims
        with _stage(name, ground / "cut") as stage:
            stage.live_and_be_killed(rename)
            cut = stage.live_powered(is_due=partial(_is_past_claiming, stage))
            assert cut.has_died
            stage.live_powered()
            broken = [*stage.broken, *broken_laws(stage, SCENARIOS[name])]
            assert not broken, f"rename {rename}, {cut.words}: {broken}"
            assert picture(stage) == wanted


def _is_past_claiming(stage: PoweredStage) -> bool:
    return any(case.state is State.SUBMITTING for case in stage.cases())
