"""Order and caps of a whole daemon, by what the sandbox's ledger says of the Engine's side."""

from __future__ import annotations

import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.flow.house import House, nifti
from vpe_watcher.core.model import State
from vpe_watcher.sandbox.options import Options

URGENT = {"priority": "urgent"}
FLYING = {State.UPLOADING, State.NOTIFYING, State.WAITING, State.FETCHING}
SLOW = Options(processing_s=20.0)
LIMITS = {"jobs_per_day": 0, "poll_every_s": 2, "poll_at_most_s": 5}


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Read the clock on the wall of a zone in which a house begins at 23:13."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def _backlog(house: House, count: int, *, recipe: str, first: int = 0) -> None:
    for number in range(first, first + count):
        house.drop(f"{recipe}{number}.nii", _scan(number), recipe=recipe)


def _scan(number: int) -> bytes:
    """Return a volume that no other number has: duplicates would not be sent."""
    voxels = nifti()
    return voxels[:-4] + struct.pack("<i", number)


def _recipes(house: House) -> dict[str, str]:
    """Return the recipes by job id."""
    return {row["job_id"]: row["recipe"] for row in house.queries.cases() if row["job_id"]}


def _submitted(house: House) -> list[str]:
    """Return the recipes of the jobs that the Engine was asked for, in their order."""
    recipes = _recipes(house)
    jobs = sorted(house.sandbox.ledger.jobs.values(), key=lambda job: job.index)
    return [recipes[job.id] for job in jobs]


def _live_and_count(house: House, seconds: int) -> Counter[str]:
    """Live; return how many jobs of each recipe were in flight at most, as the ledger sees it."""
    most: Counter[str] = Counter()
    for _ in range(seconds):
        house.turn()
        recipes = _recipes(house)
        ended = {row["job_id"] for row in house.queries.cases() if row["state"] not in FLYING}
        jobs = [one for one in house.sandbox.ledger.jobs if one not in ended]
        most |= Counter(recipes[one] for one in jobs) + Counter({"all": len(jobs)})
        house.time.advance(1)
    return most


def _until_urgent(house: House, cases: int) -> tuple[int, list[str]]:
    """Live until the urgent case, one beside so many, is submitted.

    Return how many were before it was there, and the recipes of all.
    """
    before, order = 0, _submitted(house)
    while "now" not in order:
        if len(house.queries.cases()) == cases or house.queries.counts()["claiming"]:
            before = len(order)
        house.look()
        for case_id, state in house.parts.schedule.take_ready():
            house.parts.runner.run(case_id, state)
        order = _submitted(house)
        house.time.advance(0.5)
    return before, order


@pytest.mark.parametrize(
    "count", [40, pytest.param(1000, marks=[pytest.mark.real, pytest.mark.timeout(300)])]
)
def test_behind_a_backlog_the_urgent_case_is_submitted_next(
    build: Callable[..., House], count: int
) -> None:
    """By the ledger it gets the very next job that may be made once it is claimed."""
    house = build(
        options=SLOW, recipes={"bulk": {}, "now": URGENT}, limits={**LIMITS, "jobs_in_flight": 4}
    )
    _backlog(house, count, recipe="bulk")
    house.live(30)
    assert house.queries.counts()["submitting"] > count * 0.7
    house.drop("urgent.nii", _scan(count), recipe="now")
    before, order = _until_urgent(house, count)
    assert order[:before] == ["bulk"] * before
    assert order[before] == "now"


@pytest.mark.parametrize(
    ("limits", "recipe", "most"),
    [
        ({"jobs_in_flight": 3}, {}, {"all": 3}),
        ({"jobs_in_flight": 6}, {"jobs_in_flight": 2}, {"all": 6, "bulk": 2}),
    ],
)
def test_no_more_jobs_are_in_flight_than_may_be(
    build: Callable[..., House],
    limits: dict[str, int],
    recipe: dict[str, int],
    most: dict[str, int],
) -> None:
    """Of all and of a recipe, by the ledger; and what may be is used."""
    house = build(options=SLOW, recipes={"bulk": recipe, "teeth": {}}, limits={**LIMITS, **limits})
    _backlog(house, 8, recipe="bulk")
    _backlog(house, 8, recipe="teeth", first=100)
    seen = _live_and_count(house, 40)
    assert {name: seen[name] for name in most} == most


def test_a_small_case_overtakes_big_ones(build: Callable[..., House]) -> None:
    """Two places, three big scans and a small one that came last: it is done first."""
    house = build(limits={**LIMITS, "big_upload": "100 KiB"})
    for number in range(3):
        house.drop(f"big{number}.nii", nifti(seed=number) + b"\0" * 200_000)
    house.live_until("big0", State.UPLOADING)
    big = house.case("big0")
    house.drop("small.nii", nifti(seed=9))
    for _ in range(3):
        house.time.advance(5)
        house.look()
    seen: list[tuple[str, State]] = []
    while house.case("small").state is not State.DONE:
        ready = [one for one in house.parts.schedule.take_ready() if one[0] != big.case_id]
        for case_id, state in ready:  # the big one's upload takes its time
            house.parts.runner.run(case_id, state)
            seen.append((case_id, state))
        house.time.advance(1)
    others = {case.case_id for case in house.cases() if case.case_name.startswith("big")}
    assert not any(case_id in others and state is State.SUBMITTING for case_id, state in seen)
    house.parts.schedule.release(big.case_id)
    house.live_until_rest()


def test_an_off_peak_recipe_claims_by_day_and_submits_by_night(
    build: Callable[..., House],
) -> None:
    """Nothing is asked of the Engine before its hours, after a restart neither; then it goes."""
    house = build(recipes={"night": {"priority": "off-peak", "off_peak": "01:00-06:00"}})
    house.drop("scan.nii", recipe="night")
    house.drop("day.nii", nifti(seed=1))
    house.live(300, step_s=10)
    assert house.states() == {"scan": State.SUBMITTING, "day": State.DONE}
    assert house.sandbox.ledger.count("submit") == 1
    assert house.files("inbox") == []
    assert house.breakers() == set()
    house.restart()
    house.live(300, step_s=10)
    assert house.sandbox.ledger.count("submit") == 1
    house.time.advance(2 * 3600)
    house.live_until_rest()
    assert house.states()["scan"] is State.DONE


def test_what_is_paid_is_fetched_outside_the_hours(build: Callable[..., House]) -> None:
    """Its hours end while the Engine computes: the result is fetched all the same."""
    house = build(
        options=Options(processing_s=1800.0),
        recipes={"night": {"priority": "off-peak", "off_peak": "23:00-23:20"}},
    )
    house.drop("scan.nii", recipe="night")
    house.live(60)
    assert house.started() == 1
    house.live(3600, step_s=60)
    assert house.states() == {"scan": State.DONE}


def test_a_submit_whose_hours_are_over_holds_up_no_poll(build: Callable[..., House]) -> None:
    """The only calls that failed may not come again before the night: another one is the probe."""
    night = {"priority": "off-peak", "off_peak": "23:00-23:20"}
    house = build(recipes={"night": night}, options=Options(processing_s=3600))
    house.drop("paid.nii")
    house.live_until("paid", State.WAITING)
    house.sandbox.set_faults([{"on": "submit", "do": {"status": 500}}])
    for number in range(3):
        house.drop(f"{number}.nii", nifti(seed=number, side=5), recipe="night")
    house.live(300, step_s=10)
    assert house.breakers() == {"engine"}
    house.live(4500, step_s=10)
    assert house.states().pop("paid") is State.DONE
    assert len(house.sandbox.ledger.jobs) == 1
    assert house.breakers() == set()


def test_a_reload_changes_order_caps_and_rates(build: Callable[..., House]) -> None:
    """At once, for cases that wait already and for uploads that run."""
    house = build(
        recipes={"night": {"priority": "off-peak", "off_peak": "01:00-06:00"}},
        limits={**LIMITS, "jobs_in_flight": 1},
        options=Options(processing_s=1000.0),
    )
    _backlog(house, 3, recipe="night")
    house.live(20)
    assert house.queries.counts()["submitting"] == 3
    house.reload(recipes={"night": {"priority": "urgent", "off_peak": ""}})
    house.live(20)
    assert house.sandbox.ledger.count("submit") == 1
    pace = house.parts.paces.of("night")
    house.reload(limits={"jobs_in_flight": 3, "upload_rate": "1 MiB"})
    house.live(20)
    assert house.sandbox.ledger.count("submit") == 3
    assert pace.piece_bytes == 1024**2 // 10
    house.reload(recipes={"night": {"upload_rate": "10 KiB"}})
    assert pace.piece_bytes == 1024
