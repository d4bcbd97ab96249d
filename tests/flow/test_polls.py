"""Polls that know no job, jobs that take too long, and when patience ends."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.flow.endings import GIVES_UP, HOUR, failed_as, held_as, starts
from tests.flow.house import House, nifti
from vpe_watcher.core.model import State
from vpe_watcher.sandbox.options import Options

Build = Callable[..., House]


@pytest.mark.parametrize("status", [400, 404, 410])
def test_a_poll_that_knows_no_job_is_borne_for_ten_minutes(house: House, status: int) -> None:
    """An Engine that is slow to know its jobs is no trouble; a lost job waits for a person."""
    house.sandbox.set_faults([{"on": "poll", "do": {"status": status}}])
    house.drop("scan.nii")
    house.live(500, step_s=5)
    assert house.states() == {"scan": State.WAITING}
    house.live(900, step_s=5)
    case = held_as(house, "scan")
    assert case.problem is not None
    assert case.problem.code == "job_unknown"
    assert str(status) in case.problem.message
    assert case.job_id == house.sandbox.ledger.job().id
    assert house.breakers() == set()
    house.sandbox.set_faults([])
    house.say("retry", case)
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert house.files("failed") == []
    assert starts(house) == len(house.sandbox.ledger.jobs) == 1


def test_a_poll_that_knows_the_job_again_goes_on(house: House) -> None:
    """A 404 for a while leaves no trace."""
    house.sandbox.set_faults([{"on": "poll", "times": 4, "do": {"status": 404}}])
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}


def test_a_poll_forbidden_for_one_job_is_held_at_once(house: House) -> None:
    """A 403 for this job alone: no use in asking again, and the others go on."""
    house.sandbox.set_faults([{"on": "poll", "job": 0, "do": {"status": 403}}])
    house.drop("scan.nii")
    house.live(30)
    case = held_as(house, "scan")
    assert case.problem is not None
    assert case.problem.code == "job_forbidden"
    assert case.job_id == house.sandbox.ledger.job().id
    assert house.sandbox.ledger.count("poll") == 1
    house.drop("other.nii", nifti(seed=1))
    house.live(30)
    assert house.states()["other"] is State.DONE


def test_two_jobs_forbidden_far_apart_are_both_held(build: Build) -> None:
    """The second one was answered well before: the first 403 is no reason to blame the Engine."""
    house = build(options=Options(processing_s=60))
    forbidden = {"status": 403}
    house.sandbox.set_faults([{"on": "poll", "job": 0, "do": forbidden}])
    house.drop("first.nii")
    house.live(30)
    assert house.states() == {"first": State.HELD}
    house.sandbox.set_faults([{"on": "poll", "job": 1, "nth": 2, "times": 99, "do": forbidden}])
    house.drop("second.nii", nifti(seed=1))
    house.live(120)
    assert house.states() == {"first": State.HELD, "second": State.HELD}
    assert house.breakers() == set()


def test_a_job_that_is_processing_too_long_is_held(build: Build) -> None:
    """After `processing_at_most_h` a person is told; a retry waits on for the same job."""
    house = build(options=Options(processing_s=3 * HOUR), limits={"processing_at_most_h": 1})
    house.drop("scan.nii")
    house.live(HOUR - 120, step_s=10)
    assert house.states() == {"scan": State.WAITING}
    house.live(900, step_s=10)
    case = held_as(house, "scan")
    assert case.problem is not None
    assert case.problem.code == "processing_overdue"
    assert "1 hours" in case.problem.message
    assert "costs nothing" in case.problem.hint
    house.time.advance(3 * HOUR)
    house.say("retry", case)
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert starts(house) == len(house.sandbox.ledger.jobs) == 1


def test_polls_are_seldom_but_not_too_seldom(build: Build) -> None:
    """The pause between looks grows from `poll_every_s` to `poll_at_most_s`."""
    house = build(options=Options(processing_s=900))
    house.drop("scan.nii")
    house.live_until_rest(at_most_s=HOUR)
    times = [seen.time for seen in house.sandbox.ledger.requests if seen.kind == "poll"]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert 9 <= gaps[0] <= 12
    assert 54 <= gaps[-1] <= 67
    assert max(gaps) <= 67


# --- patience -------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", ["upload", "download"])
def test_trouble_of_one_case_with_its_urls_ends_after_retry_for_h(build: Build, on: str) -> None:
    """The case is tried with growing pauses, then fails as transient without a breaker."""
    house = build(limits=GIVES_UP)
    house.sandbox.set_faults([{"on": on, "do": {"status": 500}}])
    house.drop("scan.nii")
    house.live(HOUR + 600, step_s=10)
    error = failed_as(house, "scan")
    assert (error["class"], error["code"]) == ("transient", f"{on}_server_error")
    assert "sandbox.test" in error["message"]
    assert 20 <= house.sandbox.ledger.count(on) <= 200
    assert house.breakers() == set()


def test_the_time_of_an_open_breaker_is_nobodys_patience(build: Build) -> None:
    """A day of a dead Engine between two tries does not use up `retry_for_h`."""
    house = build(limits=GIVES_UP)
    house.sandbox.set_faults([{"on": "poll", "times": 3, "do": {"garbage": True}}])
    house.drop("scan.nii")
    house.live_until("scan", State.WAITING)
    house.live(60)
    house.adapter.down = True
    house.live(24 * HOUR, step_s=300)
    house.adapter.down = False
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}


def test_the_trail_tells_every_step(house: House) -> None:
    """`show` lists each try with its outcome and its reason."""
    house.sandbox.set_faults([{"on": "upload", "times": 2, "do": {"status": 500}}])
    house.drop("scan.nii")
    house.live_until_rest()
    events = house.queries.events(house.case("scan").case_id)
    uploads = [(e["attempt"], e["outcome"]) for e in events if e["step"] == "uploading"]
    assert [outcome for _, outcome in uploads] == ["transient", "transient", "ok"]
    assert [attempt for attempt, _ in uploads] == [1, 2, 3]
    (reason, _) = [e["reason"] for e in events if e["outcome"] == "transient"]
    assert "status 500" in reason
