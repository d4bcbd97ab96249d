"""Token, submit, notify, poll: the Engine's own calls, through both faces."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.sandbox.client import STL, Client
from vpe_watcher.sandbox.messages import Request

VOLUME = {"cbct": {"extension": ".dcm"}}
MESHES = {"meshes": [STL]}


def test_token_lasts_a_day(client: Client) -> None:
    """A token opens the Engine until its 24 hours are over."""
    answer = client.ask_token().json()
    client.bearer = {"Authorization": f"Bearer {answer['access_token']}"}
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 86400)
    client.clock.now += 86399
    assert client.submit().status_code == 200
    client.clock.now += 1
    assert client.submit().status_code == 401
    assert client.sandbox.ledger.tokens_issued == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"client_secret": "wrong"}, 401),
        ({"client_id": "wrong"}, 401),
        ({"audience": "elsewhere"}, 403),
        ({"grant_type": "password"}, 403),
        ({"client_id": None}, 400),
    ],
)
def test_token_is_refused(client: Client, change: dict[str, Any], status: int) -> None:
    """Each wrong part of the form has its answer, and no token is counted."""
    answer = client.ask_token(**change)
    assert (answer.status_code, "error" in answer.json()) == (status, True)
    assert client.sandbox.ledger.tokens_issued == 0


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer nobody"}])
def test_every_engine_call_wants_a_known_token(client: Client, header: dict[str, str]) -> None:
    """Without a token that the sandbox knows submit, notify and poll answer 401."""
    job_id, upload, notify = client.links()
    client.put(upload)
    client.bearer = header
    answers = [client.submit(), client.notify(notify), client.poll(job_id)]
    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert client.sandbox.ledger.job().started == 0


def test_revoked_tokens_are_worthless(client: Client) -> None:
    """Revoking shuts out ready-made tokens too, a new one opens again."""
    client.sandbox.revoke_tokens()
    assert client.submit().status_code == 401
    token = client.ask_token().json()["access_token"]
    client.bearer = {"Authorization": f"Bearer {token}"}
    assert client.submit().status_code == 200


@pytest.mark.parametrize(
    ("version", "route", "status"),
    [
        ("24.06", "job", 200),
        ("24.06", "generic-job", 404),
        ("v2", "generic-job", 200),
        ("v2", "job", 404),
        ("v1", "generic-job", 200),
        ("v3", "job", 200),
    ],
)
def test_submit_route_depends_on_version(
    client: Client, version: str, route: str, status: int
) -> None:
    """Old versions know generic-job alone, all others job alone."""
    client.version = version
    body = {"inputFiles": VOLUME, "outputFiles": MESHES}
    assert client.post(route, body).status_code == status


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ([], "JSON object"),
        ({"outputFiles": MESHES}, "inputFiles"),
        ({"inputFiles": {}, "outputFiles": MESHES}, "inputFiles"),
        ({"inputFiles": VOLUME}, "outputFiles"),
        ({"inputFiles": {"mri": {"extension": ".dcm"}}, "outputFiles": MESHES}, "modality"),
        ({"inputFiles": {"cbct": {"extension": ".stl"}}, "outputFiles": MESHES}, "extension"),
        ({"inputFiles": {"facial": {"extension": ".dcm"}}, "outputFiles": MESHES}, "extension"),
        ({"inputFiles": {"cbct": ".dcm"}, "outputFiles": MESHES}, "extension"),
        ({"inputFiles": VOLUME, "outputFiles": {"meshes": []}}, "meshes"),
        ({"inputFiles": VOLUME, "outputFiles": {"meshes": [{"extension": ".stl"}]}}, "structures"),
        ({"inputFiles": VOLUME, "outputFiles": {"meshes": {"extension": ".x"}}}, "extension"),
        ({"inputFiles": VOLUME, "outputFiles": MESHES, "options": 1}, "options"),
    ],
)
def test_bad_body_is_refused(client: Client, body: object, word: str) -> None:
    """A body that the Engine could not take is a 400 with a sentence about the reason."""
    answer = client.post("job", body)
    assert answer.status_code == 400
    assert word in answer.json()["message"]
    assert client.sandbox.ledger.jobs == {}


def test_compressed_volumes_are_taken(client: Client) -> None:
    """Every kind of volume may have .gz added."""
    for extension in (".dcm.gz", ".zip.gz", ".nii.gz", ".nrrd.gz", ".vti.gz"):
        assert client.submit({"cbct": {"extension": extension}}).status_code == 200


def test_both_spellings_of_the_submit_answer(client: Client) -> None:
    """The option picks which pair of names the links have."""
    assert set(client.submit().json()["presignedUploadUrl"]["cbct"]) == {
        "presignedUploadUrl",
        "notifyFinishUploadUrl",
    }
    client.sandbox.set_options(spelling="plain")
    assert set(client.submit().json()["presignedUploadUrl"]["cbct"]) == {"uploadUrl", "notifyUrl"}


def test_job_starts_with_its_last_notification(client: Client) -> None:
    """With two inputs the job starts once, when both are notified."""
    inputs = {"ios_upper": {"extension": ".stl"}, "ios_lower": {"extension": ".ply"}}
    answer = client.submit(inputs).json()
    started = []
    for modality in inputs:
        links = answer["presignedUploadUrl"][modality]
        client.put(links["presignedUploadUrl"])
        assert client.poll(answer["jobId"]).status_code == 202
        client.notify(links["notifyFinishUploadUrl"])
        started.append(client.sandbox.ledger.job().started)
    assert started == [0, 1]
    assert client.result(answer["jobId"])["success"] is True


def test_repeated_notification_is_harmless(client: Client) -> None:
    """A second notification answers 200 and starts nothing."""
    _, upload, notify = client.links()
    client.put(upload)
    assert [client.notify(notify).status_code for _ in range(3)] == [200, 200, 200]
    assert client.sandbox.ledger.job().started == 1


def test_notification_needs_an_upload(client: Client) -> None:
    """Saying that nothing is finished is a 400 and starts nothing."""
    _, _, notify = client.links()
    assert client.notify(notify).status_code == 400
    assert client.sandbox.ledger.job().started == 0


@pytest.mark.parametrize(("accepted", "refused"), [("PUT", "POST"), ("POST", "PUT")])
def test_notification_method_is_an_option(client: Client, accepted: str, refused: str) -> None:
    """One method notifies, the other is a 405 that names the right one."""
    client.sandbox.set_options(notify_method=accepted)
    _, upload, notify = client.links()
    client.put(upload)
    answer = client.notify(notify, refused)
    assert (answer.status_code, answer.headers["Allow"]) == (405, accepted)
    assert client.notify(notify, accepted).status_code == 200


def test_processing_takes_its_time(client: Client) -> None:
    """A poll answers 202 until the time of processing is over, by the sandbox's clock."""
    client.sandbox.set_options(processing_s=60)
    job_id = client.run()
    client.clock.now += 59
    assert client.poll(job_id).status_code == 202
    client.clock.now += 1
    assert client.result(job_id)["success"] is True


def test_unknown_job_and_route(client: Client) -> None:
    """A job that the Engine does not know, and a route that it does not have, are 404."""
    assert client.poll("no-such-job").status_code == 404
    assert client.get(f"{client.url}/").status_code == 404


def test_job_with_download_urls_starts_at_once(client: Client) -> None:
    """Where every input has a downloadUrl there is nothing to upload or to notify."""
    volume = {"extension": ".dcm", "downloadUrl": "http://127.0.0.1:9/scan.dcm"}
    answer = client.submit({"cbct": volume}).json()
    assert answer["presignedUploadUrl"] == {}
    assert client.sandbox.ledger.job().started == 1
    assert client.result(answer["jobId"])["success"] is True


def test_mixed_job_waits_for_the_upload(client: Client) -> None:
    """One downloadUrl does not start a job whose other input is not there."""
    inputs = {
        "cbct": {"extension": ".dcm", "downloadUrl": "http://127.0.0.1:9/x"},
        "facial": {"extension": ".stl"},
    }
    assert list(client.submit(inputs).json()["presignedUploadUrl"]) == ["facial"]
    assert client.sandbox.ledger.job().started == 0


def test_a_request_that_is_cut_gets_no_answer(client: Client) -> None:
    """A submit of which only the beginning came makes no job and is not refused: it never was."""
    headers = {**_lower(client.bearer), "content-length": "100"}
    request = Request("POST", f"/{client.version}/job", headers, io.BytesIO(b'{"inputFiles": '))
    assert client.sandbox.handle(request).breakage.reset
    assert client.sandbox.ledger.as_json()["jobs"] == []


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
