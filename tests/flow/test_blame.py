"""Whose fault it is: one case's, a host's or a recipe's, told by how many meet it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.flow.endings import all_is_delivered
from tests.flow.house import House, nifti
from vpe_watcher.core.model import State

Build = Callable[..., House]
SLOW = {"retry_first_s": 120}
UPLOAD, DOWNLOAD = "upload:sandbox.test", "download:sandbox.test"


# --- pre-signed hosts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "breaker", "state"),
    [("upload", UPLOAD, State.UPLOADING), ("download", DOWNLOAD, State.FETCHING)],
)
@pytest.mark.parametrize("do", [{"status": 500}, {"reset": True}, {"stall_s": 9999}], ids=str)
def test_a_host_that_fails_for_three_cases_opens_its_breaker(
    house: House, on: str, breaker: str, state: State, do: dict[str, Any]
) -> None:
    """Two cases are their own trouble; the third makes it the host's, and nobody pays for it."""
    house.sandbox.set_faults([{"on": on, "do": do}])
    for number in range(2):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live(120, step_s=2)
    assert house.breakers() == set()
    assert set(house.states().values()) == {state}
    house.drop("2.nii", nifti(seed=2))
    house.live(1200, step_s=10)
    assert house.breakers() == {breaker}
    assert house.breaker(breaker).reason
    spent = [case.tally.retry_spent_s for case in house.cases()]
    house.live(3600 * 6, step_s=60)
    assert [case.tally.retry_spent_s for case in house.cases()] == spent
    house.sandbox.set_faults([])
    all_is_delivered(house)


@pytest.mark.parametrize("on", ["upload", "download"])
def test_one_case_alone_never_opens_a_hosts_breaker(house: House, on: str) -> None:
    """However often one case fails at a host, others go through there meanwhile."""
    house.sandbox.set_faults([{"on": on, "job": 0, "do": {"status": 500}}])
    house.drop("bad.nii")
    house.live(600, step_s=2)
    assert house.breakers() == set()
    house.drop("good.nii", nifti(seed=1))
    house.live(120, step_s=2)
    assert house.states()["good"] is State.DONE
    assert not house.states()["bad"].is_at_rest
    house.sandbox.set_faults([])
    all_is_delivered(house)


def test_a_success_between_keeps_a_hosts_breaker_closed(house: House) -> None:
    """Two cases fail, one goes through, two fail again: that is four cases' own trouble."""
    house.sandbox.set_faults([{"on": "download", "job": n, "do": {"status": 500}} for n in (0, 1)])
    for number in range(2):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live(30)
    house.drop("good.nii", nifti(seed=5))
    house.live(300)
    assert house.states()["good"] is State.DONE
    assert house.breakers() == set()
    assert [house.states()[name] for name in ("0", "1")] == [State.FETCHING] * 2


def test_a_success_at_another_host_excuses_none(build: Build) -> None:
    """Two cases fail at one host, one goes through at another: the next failure is the third."""
    house = build(limits={"retry_first_s": 1e6, "retry_at_most_s": 1e6})
    here = [{"on": "upload", "job": number, "do": {"status": 500}} for number in (0, 1, 3)]
    house.sandbox.set_faults(here)
    for number in range(2):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live(10)
    house.sandbox.set_options(store_url="https://other.test")
    house.drop("good.nii", nifti(seed=5))
    house.live(30)
    assert house.states()["good"] is State.DONE
    house.sandbox.set_options(store_url="")
    house.drop("third.nii", nifti(seed=6))
    house.live(30)
    assert house.breakers() == {UPLOAD}


def test_a_url_that_makes_no_sense_blames_no_real_host(house: House) -> None:
    """An Engine that names such URLs is waited for like a host that fails for all."""
    output = {"status": "Available", "extension": ".stl", "structures": ["mandible"]}
    body = {"success": True, "outputFiles": {"meshes": [{**output, "url": "https://[bad"}]}}
    house.sandbox.set_faults([{"on": "poll", "do": {"status": 200, "body": json.dumps(body)}}])
    for number in range(3):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live(120)
    assert house.breakers() == {"download:unknown"}
    assert set(house.states().values()) == {State.FETCHING}
    assert not [event for event, _ in house.events if event == "step.defect"]


# --- a recipe that the Engine refuses -------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 422])
def test_three_refusals_in_a_row_open_the_recipes_breaker(build: Build, status: int) -> None:
    """Three scans of a recipe fail; the rest waits for a person instead of failing too."""
    house = build(limits=SLOW)
    do = {"status": status, "body": '{"message": "no such structure"}'}
    house.sandbox.set_faults([{"on": "submit", "do": do}])
    _drop_one_after_another(house, 6)
    states = list(house.states().values())
    assert states == [State.FAILED] * 3 + [State.SUBMITTING] * 3
    assert house.breakers() == {"recipe:default"}
    assert "three scans of recipe default" in house.breaker("recipe:default").reason
    assert "[job]" in house.breaker("recipe:default").hint
    assert house.error("0")["class"] == "input"
    assert f'status {status}: "no such structure"' in house.error("0")["message"]
    house.sandbox.set_faults([])
    house.live_until_rest()
    assert "recipe:default" not in house.breakers()
    assert list(house.states().values()).count(State.DONE) == 3
    assert house.breakers() == set()


def test_a_refused_recipe_leaves_the_others_alone(build: Build) -> None:
    """The breaker of one recipe stops no scan of another."""
    house = build(recipes={"teeth": {}}, limits=SLOW)
    house.sandbox.set_faults([{"on": "submit", "times": 3, "do": {"status": 422}}])
    _drop_one_after_another(house, 4, recipe="teeth")
    house.drop("other.nii", nifti(seed=9))
    house.live(10)
    assert house.breakers() == {"recipe:teeth"}
    assert house.states()["other"] is not State.FAILED
    house.live(30)
    assert house.states()["other"] is State.DONE
    assert house.states()["3"] is State.SUBMITTING


def test_a_success_between_refusals_keeps_the_recipes_breaker_closed(house: House) -> None:
    """Only refusals in a row say that the recipe is wrong."""
    house.sandbox.set_faults(
        [{"on": "submit", "nth": nth, "do": {"status": 422}} for nth in (1, 2, 4, 5)]
    )
    for number in range(6):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live(60)
    assert sorted(house.states().values()) == [State.DONE] * 2 + [State.FAILED] * 4
    assert not [event for event, _ in house.events if event == "breaker.opened"]


def test_trouble_of_the_engine_does_not_part_refusals_in_a_row(house: House) -> None:
    """A 500 in between is no success: the third refusal opens the breaker all the same."""
    house.sandbox.set_faults(
        [
            {"on": "submit", "nth": 3, "do": {"status": 500}},
            {"on": "submit", "do": {"status": 422}},
        ]
    )
    _drop_one_after_another(house, 3)
    assert "recipe:default" in house.breakers()


def _drop_one_after_another(house: House, count: int, *, recipe: str = "") -> None:
    for number in range(count):
        house.drop(f"{number}.nii", nifti(seed=number), recipe=recipe)
        house.live(8)
