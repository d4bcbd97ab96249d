"""Pre-signed URLs that break, expire or are slow: one case's trouble, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.flow.endings import GIVES_UP, HOUR, failed_as, meshes, starts
from tests.flow.house import House
from vpe_watcher.core.model import State
from vpe_watcher.sandbox.options import Options

Build = Callable[..., House]


@pytest.mark.parametrize(
    "do",
    [
        {"truncate": 10},
        {"reset_after": 10},
        {"wrong_size": True},
        {"stall_after": 5, "stall_s": 99},
    ],
    ids=str,
)
def test_a_broken_download_is_fetched_again(house: House, do: dict[str, Any]) -> None:
    """What is published is whole, and nothing of the broken one stays."""
    house.sandbox.set_faults([{"on": "download", "times": 2, "do": do}])
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    (output,) = house.result("scan")["outputs"]
    path = house.root / "outbox" / "scan" / "mandible.stl"
    assert path.stat().st_size == output["size"]
    assert house.parts.disk.digest(path) == output["sha256"]
    assert house.leftovers() == []
    assert starts(house) == 1


def test_a_download_that_stays_truncated_fails_as_transient(build: Build) -> None:
    """Nothing was fetched in all the time: the case fails, and can be taken up again for free."""
    house = build(limits=GIVES_UP)
    house.sandbox.set_faults([{"on": "download", "do": {"truncate": 10}}])
    house.drop("scan.nii")
    house.live(900, step_s=10)
    assert house.states() == {"scan": State.FETCHING}
    house.live(HOUR, step_s=10)
    error = failed_as(house, "scan")
    assert (error["class"], error["code"]) == ("transient", "answer_incomplete")
    assert "cut short" in error["message"]
    assert error["job_id"] == house.sandbox.ledger.job().id
    house.sandbox.set_faults([])
    house.say("retry", house.case("scan"))
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert starts(house) == len(house.sandbox.ledger.jobs) == 1


def test_what_was_fetched_is_delivered_when_patience_ends(build: Build) -> None:
    """One output stays truncated: the others are delivered as partial, not thrown away."""
    house = build(job=meshes("mandible", "airway"), limits=GIVES_UP)
    house.sandbox.set_faults([{"on": "download", "structure": "airway", "do": {"truncate": 10}}])
    house.drop("scan.nii")
    house.live(2 * HOUR, step_s=10)
    assert house.states() == {"scan": State.PARTIAL}
    assert house.files("outbox") == ["scan/mandible.stl", "scan/result.json"]
    result = house.result("scan")
    assert result["status"] == "partial"
    assert [o["file"] for o in result["outputs"]] == ["mandible.stl", None]
    assert house.leftovers() == []
    house.sandbox.set_faults([])
    house.say("retry", house.case("scan"))
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert len(house.sandbox.ledger.jobs) == 1


@pytest.mark.parametrize(
    ("do", "after_effect"),
    [({"reset_after": 10}, False), ({"reset": True}, True), ({"stall_s": 99}, True)],
    ids=str,
)
def test_a_broken_upload_is_sent_again_to_the_same_job(
    house: House, do: dict[str, Any], *, after_effect: bool
) -> None:
    """What the Engine has in the end is the whole file."""
    rule = {"on": "upload", "times": 2, "do": do, "after_effect": after_effect}
    house.sandbox.set_faults([rule])
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    (job,) = house.sandbox.ledger.jobs.values()
    assert job.inputs["cbct"].uploads[-1].sha256 == house.result("scan")["inputs"][0]["sha256"]


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_an_expired_upload_url_makes_a_new_job(house: House, status: int) -> None:
    """The new job costs nothing and counts no attempt; the first one never starts."""
    house.sandbox.set_faults([{"on": "upload", "times": 1, "do": {"status": status}}])
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert [job.started for job in house.sandbox.ledger.jobs.values()] == [0, 1]
    assert house.case("scan").attempts == house.result("scan")["attempts"] == 1
    assert house.result("scan")["engine"]["job_id"] == house.sandbox.ledger.job().id


def test_an_upload_url_that_really_expired_makes_a_new_job(build: Build) -> None:
    """The object store itself says so, after the daemon slept over the URL's end."""
    house = build(options=Options(url_expiry_s=60))
    house.drop("scan.nii")
    house.live_until("scan", State.UPLOADING)
    house.time.advance(120)
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert [job.started for job in house.sandbox.ledger.jobs.values()] == [0, 1]


def test_upload_urls_that_always_expire_fail_after_five_new_jobs(house: House) -> None:
    """Six jobs in all, none started; the error says what happened and a retry is free."""
    house.sandbox.set_faults([{"on": "upload", "do": {"status": 403}}])
    house.drop("scan.nii")
    house.live_until_rest(at_most_s=HOUR)
    error = failed_as(house, "scan")
    assert (error["class"], error["code"]) == ("transient", "upload_link_expired")
    assert "403" in error["message"]
    assert "6 times in a row" in error["message"]
    assert "clock" in error["hint"]
    assert error["attempts"] == 1
    assert [job.started for job in house.sandbox.ledger.jobs.values()] == [0] * 6
    house.sandbox.set_faults([])
    house.say("retry", house.case("scan"))
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert starts(house) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_an_expired_download_url_is_renewed_by_polling(house: House, status: int) -> None:
    """A fresh poll brings a fresh URL of the same job."""
    house.sandbox.set_faults([{"on": "download", "times": 5, "do": {"status": status}}])
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert house.sandbox.ledger.count("poll") == 6
    assert starts(house) == len(house.sandbox.ledger.jobs) == 1


def test_a_download_url_that_really_expired_is_renewed(build: Build) -> None:
    """The object store itself says so, after the daemon slept over the URL's end."""
    house = build(options=Options(url_expiry_s=60))
    house.drop("scan.nii")
    house.live_until("scan", State.FETCHING)
    house.time.advance(120)
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert len(house.sandbox.ledger.jobs) == 1


def test_download_urls_that_always_expire_fail_after_five_fresh_polls(house: House) -> None:
    """Six polls in all; nothing fetched: failed as transient, with the job to come back to."""
    house.sandbox.set_faults([{"on": "download", "do": {"status": 403}}])
    house.drop("scan.nii")
    house.live_until_rest(at_most_s=HOUR)
    error = failed_as(house, "scan")
    assert (error["class"], error["code"]) == ("transient", "download_link_expired")
    assert house.sandbox.ledger.count("poll") == 6
    assert "6 times in a row" in error["message"]
    assert error["job_id"] == house.sandbox.ledger.job().id


def test_what_was_fetched_is_delivered_when_fresh_urls_run_out(build: Build) -> None:
    """One output's URL never works: the other is delivered as partial."""
    house = build(job=meshes("mandible", "airway"))
    house.sandbox.set_faults([{"on": "download", "structure": "airway", "do": {"status": 403}}])
    house.drop("scan.nii")
    house.live_until_rest(at_most_s=HOUR)
    assert house.states() == {"scan": State.PARTIAL}
    assert [o["file"] for o in house.result("scan")["outputs"]] == ["mandible.stl", None]
