"""What becomes of one case in trouble: its state, its folder, and what a person reads there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.flow.endings import GIVES_UP, HOUR, failed_as, meshes, starts
from tests.flow.house import House, nifti
from vpe_watcher.core.model import State
from vpe_watcher.sandbox.options import Options

Build = Callable[..., House]


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


@pytest.mark.parametrize(("on", "status"), [("submit", 422), ("poll", 418)])
def test_what_the_engine_said_is_not_logged(house: House, on: str, status: int) -> None:
    """It may name a patient, whatever it is about; error.txt and `show` have it."""
    body = json.dumps({"message": 'no volume in "Mueller^Anna", born "1970"'})
    house.sandbox.set_faults([{"on": on, "do": {"status": status, "body": body}}])
    house.drop("scan.nii")
    house.live(60)
    told = [fields["reason"] for _, fields in house.events if fields.get("reason")]
    assert any(str(status) in str(reason) for reason in told)
    assert "Mueller" not in repr(house.events)
    problems = [case.problem for case in house.cases() if case.problem]
    assert any("Mueller^Anna" in problem.message for problem in problems)


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


# --- garbage --------------------------------------------------------------------------------------

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
