"""The fault script: each fault through both faces, as requests reports it."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.sandbox.client import STL, Client
from vpe_watcher.sandbox.faults import Action, Rule, Subject, parse_script
from vpe_watcher.sandbox.options import ScriptError


def script(client: Client, on: str, do: dict[str, Any], **more: Any) -> None:
    """Put one rule in force that fires once, unless told otherwise."""
    rule = {"on": on, "do": do, **more}
    if "nth" not in more:
        rule.setdefault("times", 1)
    client.sandbox.set_faults([rule])


def test_status_with_headers_and_body(client: Client) -> None:
    """A scripted answer has the status, headers and body of the script, once."""
    script(client, "submit", {"status": 503, "headers": {"Retry-After": "7"}, "body": "busy"})
    answer = client.submit()
    assert (answer.status_code, answer.headers["Retry-After"], answer.text) == (503, "7", "busy")
    assert client.submit().status_code == 200
    assert len(client.sandbox.ledger.jobs) == 1


def test_token_quota(client: Client) -> None:
    """A token call can answer 429; no token is counted."""
    script(client, "token", {"status": 429})
    assert [client.ask_token().status_code for _ in range(2)] == [429, 200]
    assert client.sandbox.ledger.tokens_issued == 1


def test_reset_before_effect(client: Client) -> None:
    """A reset connection raises ConnectionError, and nothing was done."""
    script(client, "submit", {"reset": True})
    with pytest.raises(requests.ConnectionError) as caught:
        client.submit()
    assert "reset" in str(caught.value).lower()
    assert client.sandbox.ledger.jobs == {}


def test_reset_after_effect(client: Client) -> None:
    """With after_effect the job is made and only its answer is lost."""
    script(client, "submit", {"reset": True}, after_effect=True)
    with pytest.raises(requests.ConnectionError):
        client.submit()
    assert len(client.sandbox.ledger.jobs) == 1


def test_lost_answer_of_a_notification(client: Client) -> None:
    """A notification whose answer is replaced has started the job all the same."""
    _, upload, notify = client.links()
    client.put(upload)
    script(client, "notify", {"status": 500}, after_effect=True)
    assert client.notify(notify).status_code == 500
    assert client.sandbox.ledger.job().started == 1


def test_upload_reset_halfway(client: Client) -> None:
    """An upload that is reset after so many bytes leaves nothing behind."""
    _, upload, _ = client.links()
    script(client, "upload", {"reset_after": 1000})
    with pytest.raises(requests.ConnectionError):
        client.put(upload, b"x" * 20_000_000)
    assert client.sandbox.ledger.job().inputs["cbct"].uploads == []


@pytest.mark.parametrize("client", ["server"], indirect=True)
def test_upload_that_nobody_reads(client: Client) -> None:
    """A server that stops reading makes a long upload time out while it is sent."""
    _, upload, _ = client.links()
    script(client, "upload", {"stall_s": 30, "reset": True})
    client.timeout = 0.2
    with pytest.raises((requests.ConnectionError, requests.Timeout), match="timed out"):
        client.put(upload, b"x" * 20_000_000)
    assert client.sandbox.ledger.job().inputs["cbct"].uploads == []


def test_truncated_download(client: Client) -> None:
    """An answer that ends early is an error while its body is read."""
    body = client.result(client.run())
    script(client, "download", {"truncate": 100})
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="100"):
        client.fetched(body)
    assert client.fetched(body).status_code == 200


def test_download_reset_halfway(client: Client) -> None:
    """An answer whose connection is reset is an error while its body is read."""
    body = client.result(client.run())
    script(client, "download", {"reset_after": 100})
    # A reset may overtake what was sent: then requests sees no answer at all.
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        client.fetched(body)


def test_stall_before_the_answer(client: Client) -> None:
    """A stall longer than the caller's patience is a read time-out."""
    script(client, "poll", {"stall_s": 5})
    client.timeout = 0.1
    with pytest.raises(requests.ReadTimeout):
        client.poll("x")


def test_short_stall_only_delays(client: Client) -> None:
    """A stall within the caller's patience gives the true answer."""
    script(client, "submit", {"stall_s": 0.02})
    assert client.submit().status_code == 200


def test_stall_within_the_body(client: Client) -> None:
    """A body that stops coming is a time-out while it is read."""
    body = client.result(client.run())
    script(client, "download", {"stall_s": 5, "stall_after": 50})
    client.timeout = 0.1
    with pytest.raises(requests.ConnectionError, match="timed out"):
        client.fetched(body)


def test_garbage(client: Client) -> None:
    """Garbage is a 200 that is not JSON."""
    script(client, "poll", {"garbage": True})
    answer = client.poll("x")
    assert answer.status_code == 200
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()


def test_redirect(client: Client) -> None:
    """A redirect names its target and does nothing else."""
    script(client, "submit", {"redirect": "https://elsewhere.test/"})
    request = requests.Request("POST", f"{client.url}/24.06/job", json={}).prepare()
    answer = client.session.send(request, allow_redirects=False, timeout=5)
    assert (answer.status_code, answer.headers["Location"]) == (302, "https://elsewhere.test/")


def test_expired_links(client: Client) -> None:
    """Links can be handed out expired, be found expired, and a token can be born so."""
    script(client, "submit", {"expire": True})
    assert client.put(client.links()[1]).status_code == 403
    _, upload, notify = client.links()
    script(client, "upload", {"expire": True})
    assert [client.put(upload).status_code for _ in range(2)] == [403, 200]
    script(client, "notify", {"expire": True})
    assert [client.notify(notify).status_code for _ in range(2)] == [401, 200]
    script(client, "token", {"expire": True})
    client.bearer = {"Authorization": f"Bearer {client.ask_token().json()['access_token']}"}
    assert client.submit().status_code == 401


def test_wrong_sizes(client: Client) -> None:
    """A poll can announce a wrong size, a download can be complete and yet too short."""
    job_id = client.run()
    body = client.result(job_id)
    size = body["outputFiles"]["meshes"][0]["size"]
    script(client, "poll", {"wrong_size": True})
    assert client.result(job_id)["outputFiles"]["meshes"][0]["size"] == size + 1
    script(client, "download", {"wrong_size": True})
    assert [len(client.fetched(body).content) for _ in range(2)] == [size - 1, size]


def test_poll_answers_told_by_the_script(client: Client) -> None:
    """One poll can say Missing, Failed or no success, the next one the truth."""
    job_id = client.run()
    for do, status in (
        ({"missing": ["mandible"]}, "Missing"),
        ({"failed": ["mandible"]}, "Failed"),
    ):
        client.result(job_id)
        script(client, "poll", do)
        assert client.result(job_id)["outputFiles"]["meshes"][0]["status"] == status
    script(client, "poll", {"success": False})
    assert [client.result(job_id)["success"] for _ in range(2)] == [False, True]


def test_rule_for_one_structure(client: Client) -> None:
    """A download rule can mean the file of one structure alone."""
    tooth = {"extension": ".stl", "structures": ["tooth11"]}
    first, second = client.result(client.run({"meshes": [STL, tooth]}))["outputFiles"]["meshes"]
    client.sandbox.set_faults([{"on": "download", "structure": "tooth11", "do": {"status": 404}}])
    assert client.get(first["url"]).status_code == 200
    assert client.get(second["url"]).status_code == 404


def test_rule_for_one_job_and_modality(client: Client) -> None:
    """A rule can mean one input of one job."""
    client.sandbox.set_faults(
        [{"on": "upload", "job": 1, "modality": "cbct", "do": {"status": 403}}]
    )
    uploads = [client.links()[1] for _ in range(2)]
    assert [client.put(upload).status_code for upload in uploads] == [200, 403]


@pytest.mark.parametrize(
    ("nth", "times", "hits"),
    [(None, None, [1, 2, 3, 4]), (2, None, [2]), (None, 2, [1, 2]), (2, 2, [2, 3])],
)
def test_which_requests_a_rule_hits(nth: int | None, times: int | None, hits: list[int]) -> None:
    """Nth picks one request, times the first ones or so many from the n-th on."""
    rule = Rule("poll", Action(reset=True), nth=nth, times=times)
    assert [count for count in range(1, 5) if rule.fires(count)] == hits


def test_rule_fits_only_what_it_names() -> None:
    """A rule that names job, modality or structure asks for all of them."""
    rule = Rule("upload", Action(reset=True), job=0, modality="cbct")
    subjects = [("upload", 0, "cbct"), ("upload", 1, "cbct"), ("upload", 0, "facial")]
    assert [rule.fits(Subject(*subject)) for subject in subjects] == [True, False, False]
    assert not rule.fits(Subject("poll", 0, "cbct"))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        [1],
        [{"on": "poll"}],
        [{"on": "lunch", "do": {"reset": True}}],
        [{"on": "poll", "do": {}}],
        [{"on": "poll", "do": {"explode": True}}],
        [{"on": "poll", "when": 1, "do": {"reset": True}}],
        [{"on": "poll", "nth": "two", "do": {"reset": True}}],
        [{"on": "poll", "do": {"truncate": -1}}],
        [{"on": "poll", "do": {"missing": "mandible"}}],
    ],
)
def test_wrong_script_is_refused(wrong: object) -> None:
    """A script with anything unknown in it is refused with a reason."""
    with pytest.raises(ScriptError, match=r"fault|list|whole number"):
        parse_script(wrong)


def test_first_rule_that_fires_wins(client: Client) -> None:
    """Later rules count while earlier ones fire, and the first that fires wins."""
    client.sandbox.set_faults(
        [
            {"on": "poll", "nth": 1, "do": {"status": 500}},
            {"on": "poll", "nth": 2, "do": {"status": 502}},
        ]
    )
    assert [client.poll("x").status_code for _ in range(3)] == [500, 502, 404]
