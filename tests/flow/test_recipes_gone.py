"""Recipes that are taken out of the configuration while it has cases of theirs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.flow.house import House, nifti
from vpe_watcher.core.errors import ConfigError
from vpe_watcher.core.model import State

Build = Callable[..., House]


def _without_recipe(house: House) -> None:
    """Take the recipe out of the configuration and restart."""
    house.overrides = {**house.overrides, "recipes": {}}
    house.settings = house.read_settings()
    house.restart()


@pytest.mark.parametrize("state", [State.CLAIMING, State.WAITING, State.ARCHIVING])
def test_a_recipe_with_cases_under_way_is_missed_at_the_start(build: Build, state: State) -> None:
    """The daemon refuses, says how many cases of which recipe, and goes on when it is back."""
    house = build(recipes={"teeth": {}})
    house.drop("scan.nii", recipe="teeth")
    house.live_until("scan", state)
    before = house.overrides
    with pytest.raises(ConfigError, match=r"teeth \(1\)") as refusal:
        _without_recipe(house)
    assert refusal.value.code == "recipe_in_use"
    assert "back" in refusal.value.hint
    house.overrides = before
    house.settings = house.read_settings()
    house.restart()
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}


def test_a_recipe_with_cases_at_rest_may_go(build: Build) -> None:
    """Held ones too: notes, words and the same scan elsewhere disturb nobody."""
    house = build(recipes={"teeth": {}})
    house.sandbox.set_faults([{"on": "poll", "times": 1, "do": {"status": 403}}])
    house.drop("scan.nii", recipe="teeth")
    house.live_until("scan", State.HELD)
    house.queries.say("retry", [house.case("scan").case_id], may_cost=True)
    _without_recipe(house)
    assert house.parts.store.words() == []
    house.drop("other.nii", nifti(seed=1))
    house.drop("same.nii")
    house.live(60)
    assert house.states() == {"scan": State.HELD, "other": State.DONE, "same": State.HELD}
    assert "scan.held.txt" in house.files("failed")
