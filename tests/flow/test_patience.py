"""What is counted against a case and what is not, and which probe says that all is well again."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from tests.flow.endings import HOUR, all_is_delivered, meshes
from tests.flow.house import House, nifti
from vpe_watcher.core.model import State
from vpe_watcher.sandbox.options import Options

Build = Callable[..., House]


def opened(house: House) -> int:
    """Count how often a breaker was opened."""
    return [event for event, _ in house.events].count("breaker.opened")


# --- what is counted ------------------------------------------------------------------------------


def test_a_pause_that_a_restart_cut_short_is_not_counted(build: Build) -> None:
    """A store asks for four hours, five times; the daemon is restarted after a minute each time."""
    house = build(limits={"retry_for_h": 6})
    wait = {"status": 503, "headers": {"Retry-After": str(4 * HOUR)}}
    house.sandbox.set_faults([{"on": "upload", "times": 5, "do": wait}])
    house.drop("scan.nii")
    house.live_until("scan", State.UPLOADING)
    for _ in range(5):
        house.live(60, step_s=10)
        assert house.case("scan").tally.retry_spent_s < 120
        house.restart()
    all_is_delivered(house)


def test_one_upload_outlives_an_engine_that_is_down_for_all(build: Build) -> None:
    """Its host is blamed by nobody else; what the others know of the Engine speaks for it."""
    options = Options(url_expiry_s=24 * HOUR, processing_s=300)
    house = build(limits={"retry_for_h": 1}, options=options)
    house.drop("waits.nii")
    house.live_until("waits", State.WAITING)
    house.drop("sends.nii", nifti(seed=1))
    house.live_until("sends", State.UPLOADING)
    house.adapter.down = True
    house.live(6 * HOUR, step_s=60)
    assert house.states()["sends"] is State.UPLOADING
    assert house.case("sends").tally.retry_spent_s < 60
    house.adapter.down = False
    all_is_delivered(house)


def test_fresh_urls_come_before_patience_with_another_result(build: Build) -> None:
    """One mesh's URL has expired, another's store is down for hours: both are delivered."""
    house = build(job=meshes("mandible", "airway"), limits={"retry_for_h": 1})
    house.sandbox.set_faults(
        [
            {"on": "download", "structure": "mandible", "do": {"status": 500}},
            {"on": "download", "structure": "airway", "times": 2, "do": {"status": 403}},
        ]
    )
    house.drop("scan.nii")
    house.live(1200, step_s=10)
    fetched = {output.structures[0]: output.file for output in house.case("scan").outputs}
    assert fetched == {"mandible": None, "airway": "airway.stl"}
    house.live(2 * HOUR, step_s=30)
    assert house.states() == {"scan": State.PARTIAL}
    assert house.files("outbox") == ["scan/airway.stl", "scan/result.json"]


# --- whose fault it is ----------------------------------------------------------------------------


def test_a_file_that_came_through_beside_a_bad_one_clears_its_host(build: Build) -> None:
    """Three cases have one bad result each and one good one, from the same host: no breaker."""
    slow = {"retry_first_s": 1e6, "retry_at_most_s": 1e6}  # so that each meets trouble once
    house = build(job=meshes("mandible", "airway"), limits=slow)
    house.sandbox.set_faults([{"on": "download", "structure": "airway", "do": {"status": 500}}])
    for number in range(3):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live(60)
    assert set(house.states().values()) == {State.FETCHING}
    assert opened(house) == 0


def test_the_rest_of_a_refused_recipe_waits_however_often_it_is_tried(build: Build) -> None:
    """A probe that is refused fails no scan: only the first three are lost to a wrong recipe."""
    house = build(limits={"retry_first_s": 1, "retry_at_most_s": 20})
    house.sandbox.set_faults([{"on": "submit", "do": {"status": 422}}])
    for number in range(8):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live(HOUR, step_s=30)
    states = list(house.states().values())
    assert (states.count(State.FAILED), states.count(State.SUBMITTING)) == (3, 5)
    assert "three scans" in house.breaker("recipe:default").reason
    assert opened(house) == 1
    house.sandbox.set_faults([])
    house.live_until_rest()
    assert list(house.states().values()).count(State.DONE) == 5


def test_one_scan_that_is_refused_for_good_fails_once_others_pass(build: Build) -> None:
    """It waits with the rest while the recipe is blamed; afterwards it is its own fault."""
    house = build(limits={"retry_first_s": 1, "retry_at_most_s": 20})
    house.sandbox.set_faults([{"on": "submit", "times": 5, "do": {"status": 422}}])
    for number in range(6):
        house.drop(f"{number}.nii", nifti(seed=number))
        house.live(6)
    house.live_until_rest()
    states = list(house.states().values())
    assert (states.count(State.FAILED), states.count(State.DONE)) == (3, 3)


def test_one_job_that_is_answered_500_for_ever_does_not_open_every_second(house: House) -> None:
    """Its own calls become rare, and all others go through, even where none is to be polled."""
    house.sandbox.set_options(processing_s=20.0)
    house.sandbox.set_faults([{"on": "poll", "job": 0, "do": {"status": 500}}])
    house.drop("bad.nii")
    house.live(60)
    for number in range(8):
        house.drop(f"{number}.nii", nifti(seed=number + 1))
        house.live(150, step_s=5)
    states = house.states()
    assert states.pop("bad") is State.WAITING
    assert set(states.values()) == {State.DONE}
    assert opened(house) < 40
    house.sandbox.set_faults([])
    all_is_delivered(house)


# --- probes ---------------------------------------------------------------------------------------


def test_a_probe_that_shows_nothing_is_put_off(house: House) -> None:
    """The Engine answers rubbish after its outage: it is not asked by one case after the other."""
    house.sandbox.set_faults([{"on": "submit", "do": {"status": 503}}])
    for number in range(6):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live(1200, step_s=10)
    before = house.sandbox.ledger.count("submit")
    house.sandbox.set_faults([{"on": "submit", "do": {"garbage": True}}])
    house.live(HOUR, step_s=10)
    assert house.breakers() == {"engine"}
    assert house.sandbox.ledger.count("submit") - before < 30
    house.sandbox.set_faults([])
    all_is_delivered(house)


def test_a_probe_that_made_no_call_closes_nothing(house: House) -> None:
    """The claim of the case that was to try is gone: that says nothing of the Engine."""
    house.sandbox.set_faults([{"on": "notify", "do": {"status": 503}}])
    for number in range(2):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live(60)
    assert house.breakers() == {"engine"}
    house.live(HOUR, step_s=60)
    shutil.rmtree(house.claim_folder(house.case("0")))
    house.live(HOUR / 2, step_s=10)
    assert house.states() == {"0": State.HELD, "1": State.NOTIFYING}
    assert house.breakers() == {"engine"}
    assert opened(house) == 1


def test_a_give_up_is_no_success(build: Build) -> None:
    """A case runs out of patience as the probe: the breaker stays, for the other one to try."""
    house = build(limits={"retry_for_h": 0})
    house.sandbox.set_faults([{"on": "poll", "do": {"status": 503}}])
    for number in range(2):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live(60)
    assert house.breakers() == {"engine"}
    house.sandbox.set_faults([{"on": "poll", "do": {"garbage": True}}])
    for _ in range(60):
        if State.FAILED in house.states().values():
            break
        house.live(10, step_s=5)
    assert sorted(house.states().values()) == [State.FAILED, State.WAITING]
    assert house.breakers() == {"engine"}
    assert "breaker.closed" not in [event for event, _ in house.events]
