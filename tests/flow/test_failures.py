"""What becomes of one case in trouble: its state, its folder, and what a person reads there."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.flow.house import House, nifti
from vpe_watcher.core.model import Case, State
from vpe_watcher.sandbox.options import Options

Build = Callable[..., House]
HOUR = 3600.0
GIVES_UP = {"retry_for_h": 0.5, "retry_at_most_s": 60}


def meshes(*structures: str) -> dict[str, Any]:
    """Return a job body that asks for one mesh a structure."""
    return {
        "outputFiles": {"meshes": [{"extension": ".stl", "structures": [s]} for s in structures]}
    }


def starts(house: House) -> int:
    """Count how often the Engine began to compute: what was paid."""
    return sum(job.started for job in house.sandbox.ledger.jobs.values())


def failed_as(house: House, name: str, *, folder: str = "") -> dict[str, Any]:
    """Return a failed case's error document, after a look at all that goes with it."""
    case = house.case(name)
    assert case.state is State.FAILED
    folder = folder or name
    error = house.error(folder)
    text = (house.root / "failed" / folder / "error.txt").read_text()
    assert error["schema"] == "vpe-watcher/error/1"
    assert error["case_id"] == case.case_id
    assert error["message"] in text
    assert error["hint"] in text
    assert error["hint"]
    assert (error["job_id"] or "none") in text
    assert f"{folder}/{name}.nii" in house.files("failed")
    assert house.files("outbox") == house.files("archive") == []
    assert house.leftovers() == []
    return error


def held_as(house: House, name: str) -> Case:
    """Return a held case, after a look at its note and its claimed input."""
    case = house.case(name)
    assert case.state is State.HELD
    assert case.problem is not None
    note = house.held_note(name)
    assert case.problem.message in note
    assert case.problem.hint in note
    assert case.case_id in note
    assert (case.job_id or "none") in note
    assert (house.claim_folder(case) / f"{name}.nii").is_file()
    assert house.files("failed") == [f"{name}.held.txt"]
    assert house.files("outbox") == house.files("archive") == []
    return case


# --- the Engine says no --------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_submit_fails_as_input(house: House, status: int) -> None:
    """The Engine's own words are in error.txt, and nothing was uploaded."""
    do = {"status": status, "body": json.dumps({"message": "cbct is too large"})}
    house.sandbox.set_faults([{"on": "submit", "do": do}])
    house.drop("scan.nii")
    house.live_until_rest()
    error = failed_as(house, "scan")
    assert (error["class"], error["code"]) == ("input", "refused_by_engine")
    assert (
        error["message"] == f'The Engine refused the job with status {status}: "cbct is too large".'
    )
    assert error["job_id"] is None
    assert error["attempts"] == 1
    assert house.sandbox.ledger.count("upload") == 0


def test_success_false_without_output_fails_with_the_job_id(build: Build) -> None:
    """What the vendor needs is in error.txt; only a person's yes makes a new job."""
    house = build(options=Options(success=False))
    house.drop("scan.nii")
    house.live_until_rest()
    error = failed_as(house, "scan")
    assert (error["class"], error["code"]) == ("engine", "engine_failed")
    assert error["job_id"] == house.sandbox.ledger.job().id
    assert "vendor" in error["hint"]
    assert "--yes" in error["hint"]
    house.live(HOUR, step_s=60)
    assert starts(house) == len(house.sandbox.ledger.jobs) == 1


def test_success_false_with_an_available_output_is_partial(build: Build) -> None:
    """What was computed is delivered, and called partial."""
    house = build(options=Options(success=False, outputs_when_failed=True))
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.PARTIAL}
    assert house.result("scan")["status"] == "partial"
    assert house.files("outbox") == ["scan/mandible.stl", "scan/result.json"]
    assert house.files("archive") == ["scan/result.json", "scan/scan.nii"]
    assert house.files("failed") == []


def test_one_failed_output_makes_the_result_partial(build: Build) -> None:
    """The others are delivered; the manifest says which one failed and what the Engine said."""
    house = build(job=meshes("mandible", "airway"), options=Options(failed=("airway",)))
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.PARTIAL}
    result = house.result("scan")
    assert result["status"] == "partial"
    statuses = {tuple(o["structures"]): (o["status"], o["file"]) for o in result["outputs"]}
    assert statuses == {("mandible",): ("Available", "mandible.stl"), ("airway",): ("Failed", None)}
    assert "told to fail" in json.dumps(result["engine_result"])
    assert house.files("outbox") == ["scan/mandible.stl", "scan/result.json"]


def test_one_missing_output_is_complete(build: Build) -> None:
    """A tooth that the patient does not have is no error."""
    house = build(job=meshes("mandible", "tooth18"), options=Options(missing=("tooth18",)))
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    result = house.result("scan")
    assert result["status"] == "complete"
    assert [(o["status"], o["file"]) for o in result["outputs"]] == [
        ("Available", "mandible.stl"),
        ("Missing", None),
    ]


def answer(*outputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return what a poll is to answer instead of the sandbox's own result."""
    body = {"success": True, "outputFiles": {"meshes": list(outputs)}, **more}
    return {"on": "poll", "do": {"status": 200, "body": json.dumps(body)}}


def test_an_unanswered_output_makes_the_result_partial(build: Build) -> None:
    """An output that was asked for and is not spoken of is not there."""
    house = build(job=meshes("mandible", "airway"))
    missing = {"status": "Missing", "extension": ".stl", "structures": ["mandible"]}
    house.sandbox.set_faults([answer(missing)])
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.PARTIAL}
    assert house.result("scan")["status"] == "partial"


def test_an_output_of_unknown_status_makes_the_result_partial(build: Build) -> None:
    """Only Available and Missing are complete: a word that nobody knows is neither."""
    house = build(job=meshes("mandible"))
    queued = {"status": "Queued", "extension": ".stl", "structures": ["mandible"]}
    house.sandbox.set_faults([answer(queued)])
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.PARTIAL}


def test_an_available_output_without_a_url_has_no_file(build: Build) -> None:
    """The manifest says so with null, and the result is partial."""
    house = build(job=meshes("mandible"))
    bare = {"status": "Available", "size": 7, "extension": ".stl", "structures": ["mandible"]}
    house.sandbox.set_faults([answer(bare)])
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.PARTIAL}
    (output,) = house.result("scan")["outputs"]
    assert (output["status"], output["file"], output["sha256"]) == ("Available", None, None)
    assert house.files("outbox") == ["scan/result.json"]


def test_an_output_at_its_upload_url_is_complete(build: Build) -> None:
    """The Engine put it where the configuration asked for it."""
    job = meshes("mandible")
    job["outputFiles"]["meshes"][0]["uploadUrl"] = "https://bucket.test/mandible?sig=1"
    house = build(job=job)
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert house.result("scan")["outputs"][0]["file"] is None
    assert "sig=1" not in json.dumps(house.result("scan"))


def test_no_pre_signed_url_is_kept_in_a_result(house: House) -> None:
    """The manifest holds the Engine's answer without what would open the patient's data."""
    house.drop("scan.nii")
    house.live_until_rest()
    text = (house.root / "outbox" / "scan" / "result.json").read_text()
    assert house.result("scan")["engine_result"]["success"] is True
    assert "/_store/" not in text
    assert "X-Amz" not in text


def test_outputs_of_one_name_are_numbered(build: Build) -> None:
    """Two meshes of the same structures, and names that no file system likes, are all there."""
    house = build(job=meshes("mandible", "mandible", "../../etc/passwd", "tooth11"))
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    files = [output["file"] for output in house.result("scan")["outputs"]]
    assert files[:2] == ["mandible.stl", "mandible.2.stl"]
    assert all("/" not in name and name[0] != "." for name in files)
    assert len(set(files)) == 4
    assert house.files("outbox") == sorted(f"scan/{name}" for name in [*files, "result.json"])


def test_a_single_output_instead_of_a_list_is_walked_too(house: House) -> None:
    """Kinds beside meshes, single items and items in items: each with a status is an output."""
    body = {
        "success": True,
        "outputFiles": {
            "meshes": [{"status": "Missing", "extension": ".stl", "structures": ["mandible"]}],
            "report": {"status": "Missing", "extension": ".pdf", "pages": [{"status": "Failed"}]},
        },
    }
    house.sandbox.set_faults([{"on": "poll", "do": {"status": 200, "body": json.dumps(body)}}])
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.PARTIAL}
    kinds = [(output["kind"], output["status"]) for output in house.result("scan")["outputs"]]
    assert kinds == [("meshes", "Missing"), ("report", "Missing"), ("report", "Failed")]


def test_a_job_id_that_another_case_has_is_no_job(house: House) -> None:
    """An Engine, or a cache before it, that answers an old job: asked again, never mixed up."""
    house.drop("first.nii")
    house.live_until_rest()
    job = house.sandbox.ledger.job()
    links = {"presignedUploadUrl": "https://sandbox.test/a", "notifyFinishUploadUrl": "https://x/b"}
    body = json.dumps({"jobId": job.id, "presignedUploadUrl": {"cbct": links}})
    house.sandbox.set_faults([{"on": "submit", "times": 2, "do": {"status": 200, "body": body}}])
    house.drop("second.nii", nifti(seed=1))
    house.live(120)
    assert house.states() == {"first": State.DONE, "second": State.DONE}
    assert house.breakers() == set()
    assert house.case("second").job_id != job.id


# --- garbage -------------------------------------------------------------------------------------

GARBAGE = [
    {"garbage": True},
    {"status": 200, "body": "[]"},
    {"status": 200, "body": "{}"},
    {"status": 200, "body": '{"jobId": 7}'},
    {"status": 200, "body": ""},
]


@pytest.mark.parametrize("do", GARBAGE, ids=str)
@pytest.mark.parametrize("on", ["submit", "poll"])
def test_garbage_is_asked_again(house: House, on: str, do: dict[str, Any]) -> None:
    """A 200 with a wrong body is tried again, and nobody pays twice."""
    house.sandbox.set_faults([{"on": on, "times": 3, "do": do}])
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert starts(house) == 1
    assert house.case("scan").attempts == 1


@pytest.mark.parametrize(("on", "state"), [("submit", State.SUBMITTING), ("poll", State.WAITING)])
def test_garbage_for_ever_fails_as_transient(build: Build, on: str, state: State) -> None:
    """After `retry_for_h` the case fails and says what it got."""
    house = build(limits=GIVES_UP)
    house.sandbox.set_faults([{"on": on, "do": {"garbage": True}}])
    house.drop("scan.nii")
    house.live(900, step_s=10)
    assert house.states() == {"scan": state}
    house.live(HOUR, step_s=10)
    error = failed_as(house, "scan")
    assert (error["class"], error["code"]) == ("transient", "answer_garbled")
    assert "not JSON" in error["message"]
    assert house.breakers() == set()


def test_a_redirect_is_not_followed(house: House) -> None:
    """A poll that is redirected is any other wrong answer: the same step again."""
    house.sandbox.set_faults([{"on": "poll", "times": 3, "do": {"redirect": "https://evil.test/"}}])
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert house.sandbox.ledger.count("poll") == 4


@pytest.mark.parametrize("on", ["upload", "download"])
def test_a_redirect_of_a_pre_signed_url_is_not_followed(house: House, on: str) -> None:
    """Nobody's file goes to, or comes from, where an answer points."""
    house.sandbox.set_faults([{"on": on, "times": 2, "do": {"redirect": "https://evil.test/"}}])
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert house.sandbox.ledger.count(on) == 3


# --- pre-signed URLs -----------------------------------------------------------------------------


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
    assert error["job_id"] == house.sandbox.ledger.job().id


def test_what_was_fetched_is_delivered_when_fresh_urls_run_out(build: Build) -> None:
    """One output's URL never works: the other is delivered as partial."""
    house = build(job=meshes("mandible", "airway"))
    house.sandbox.set_faults([{"on": "download", "structure": "airway", "do": {"status": 403}}])
    house.drop("scan.nii")
    house.live_until_rest(at_most_s=HOUR)
    assert house.states() == {"scan": State.PARTIAL}
    assert [o["file"] for o in house.result("scan")["outputs"]] == ["mandible.stl", None]


# --- polls ---------------------------------------------------------------------------------------


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


# --- patience ------------------------------------------------------------------------------------


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
