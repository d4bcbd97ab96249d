"""Notifications and polls."""

from __future__ import annotations

import pytest
from pytest_httpserver import HTTPServer

from tests.adapters.engine.conftest import NOW_S, Clock, MakeClient
from vpe_watcher.adapters.engine import EngineClient, Poll
from vpe_watcher.core.errors import (
    EnvironmentFault,
    JobRefused,
    NotificationRefused,
    TransientFault,
)


def methods(httpserver: HTTPServer) -> list[str]:
    """Return the methods that the server saw, in order."""
    return [request.method for request, _ in httpserver.log]


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_notification_is_an_empty_put_with_the_token(
    httpserver: HTTPServer, client: EngineClient, status: int
) -> None:
    """Any success will do; the empty body has a length of 0."""
    httpserver.expect_oneshot_request(
        "/notify", headers={"Authorization": "Bearer ready-token", "Content-Length": "0"}, data=b""
    ).respond_with_data(status=status)
    client.notify(httpserver.url_for("/notify?input=cbct"))
    assert methods(httpserver) == ["PUT"]


@pytest.mark.parametrize("status", [404, 405])
def test_where_put_is_not_known_post_is_tried_once(
    httpserver: HTTPServer, client: EngineClient, status: int
) -> None:
    """The documentation names both methods."""
    httpserver.expect_request("/notify", method="PUT").respond_with_data(status=status)
    httpserver.expect_request("/notify", method="POST").respond_with_data()
    client.notify(httpserver.url_for("/notify"))
    assert methods(httpserver) == ["PUT", "POST"]


@pytest.mark.parametrize(
    ("status", "seen"),
    [
        (400, ["PUT"]),
        (403, ["PUT"]),
        (404, ["PUT", "POST"]),
        (405, ["PUT", "POST"]),
        (409, ["PUT"]),
        (410, ["PUT"]),
    ],
)
def test_a_4xx_to_a_notification_is_no_verdict(
    httpserver: HTTPServer, client: EngineClient, status: int, seen: list[str]
) -> None:
    """The caller goes on and the poll decides."""
    httpserver.expect_request("/notify").respond_with_data(status=status)
    with pytest.raises(NotificationRefused) as caught:
        client.notify(httpserver.url_for("/notify"))
    assert caught.value.code == "notification_refused"
    assert methods(httpserver) == seen


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "token_not_accepted"), (429, "rate_limited"), (500, "server_error")],
)
def test_trouble_of_the_engine_is_not_the_notifications(
    httpserver: HTTPServer, client: EngineClient, status: int, code: str
) -> None:
    """401, 429 and 5xx mean what they mean in every call."""
    httpserver.expect_request("/notify").respond_with_data(status=status)
    with pytest.raises(EnvironmentFault) as caught:
        client.notify(httpserver.url_for("/notify"))
    assert (caught.value.code, caught.value.breaker) == (code, "engine")


def test_a_redirected_notification_is_tried_again(
    httpserver: HTTPServer, client: EngineClient
) -> None:
    """A redirect is not followed: it would turn the token over to somebody else."""
    httpserver.expect_request("/notify").respond_with_data(
        status=302, headers={"Location": httpserver.url_for("/other")}
    )
    with pytest.raises(TransientFault):
        client.notify(httpserver.url_for("/notify"))
    assert [request.path for request, _ in httpserver.log] == ["/notify"]


@pytest.mark.parametrize("url", ["", "ftp://x/y", "https://", "http://[::1", "/relative"])
def test_a_notification_url_that_is_none_is_the_cases_trouble(
    client: EngineClient, url: str
) -> None:
    """One garbled answer must not open the breaker of all."""
    with pytest.raises(TransientFault) as caught:
        client.notify(url)
    assert caught.value.code == "link_invalid"


def test_the_token_never_travels_in_the_clear(make_client: MakeClient) -> None:
    """An Engine behind TLS cannot send the token to a plain http address elsewhere."""
    client = make_client("https://eu.example.invalid")
    with pytest.raises(TransientFault) as caught:
        client.notify("http://eu.example.invalid/notify")
    assert caught.value.code == "link_invalid"


def test_a_job_under_way_answers_202(httpserver: HTTPServer, client: EngineClient) -> None:
    """The job id is quoted, the wait that is asked for is passed on."""
    httpserver.expect_request(
        "/24.06/pollJobResults", query_string={"jobId": "a b&c"}, method="GET"
    ).respond_with_data(status=202, headers={"Retry-After": "12"})
    assert client.poll("a b&c") == Poll(None, 12.0)


def test_a_finished_job_answers_its_body(httpserver: HTTPServer, client: EngineClient) -> None:
    """The body comes as it is."""
    httpserver.expect_request("/24.06/pollJobResults").respond_with_json({"success": True})
    assert client.poll("j1") == Poll({"success": True}, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("1.5", 1.5),
        (" 3 ", 3.0),
        ("9" * 400, 86400.0),
        ("-3", None),
        ("soon", None),
        ("nan", None),
        ("Mon, 21 Sep 2026 14:13:50 GMT", 30.0),
        ("Mon, 21 Sep 2026 14:13:50 -0000", 30.0),
        ("Mon, 21 Sep 2020 14:13:50 GMT", 0.0),
        ("Mon, 21 Sep 2999 14:13:50 GMT", 86400.0),
        ("Mon, 41 Sep 2026 14:13:50 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(
    httpserver: HTTPServer, client: EngineClient, value: str, expected: float | None
) -> None:
    """What cannot be read is as good as nothing; nobody is made to wait for more than a day."""
    httpserver.expect_request("/24.06/pollJobResults").respond_with_data(
        status=202, headers={"Retry-After": value}
    )
    assert client.poll("j1").retry_after_s == expected


@pytest.mark.parametrize(
    ("status", "code", "label"),
    [
        (400, "job_unknown", "refused"),
        (404, "job_unknown", "refused"),
        (410, "job_unknown", "refused"),
        (403, "job_forbidden", "refused_at_once"),
    ],
)
def test_a_poll_may_be_refused(
    httpserver: HTTPServer, client: EngineClient, status: int, code: str, label: str
) -> None:
    """A 403 for this job needs no second look, the others are borne for a while."""
    httpserver.expect_request("/24.06/pollJobResults").respond_with_data(status=status)
    with pytest.raises(JobRefused) as caught:
        client.poll("j1")
    assert (caught.value.code, caught.value.label) == (code, label)


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "token_not_accepted"), (429, "rate_limited"), (502, "server_error")],
)
def test_a_poll_may_meet_trouble_of_the_engine(
    httpserver: HTTPServer, client: EngineClient, status: int, code: str
) -> None:
    """These open the breaker, with the wait that the Engine asks for."""
    httpserver.expect_request("/24.06/pollJobResults").respond_with_data(
        status=status, headers={"Retry-After": "5"}
    )
    with pytest.raises(EnvironmentFault) as caught:
        client.poll("j1")
    assert (caught.value.code, caught.value.retry_after_s) == (code, 5)


@pytest.mark.parametrize(
    ("wait", "told"), [("59", ""), ("7200", " It asks to wait until 2026-09-21T16:14:00.000Z.")]
)
def test_a_long_wait_is_told_with_its_end(
    httpserver: HTTPServer, client: EngineClient, wait: str, told: str
) -> None:
    """Nothing is sent meanwhile, and whoever reads `status` is to know how long."""
    httpserver.expect_request("/24.06/pollJobResults").respond_with_data(
        status=429, headers={"Retry-After": wait}
    )
    with pytest.raises(EnvironmentFault) as caught:
        client.poll("j1")
    assert caught.value.message.endswith(f"answered with status 429.{told}")


@pytest.mark.parametrize(("status", "code"), [(200, "answer_garbled"), (418, "unexpected_answer")])
def test_a_poll_may_be_answered_with_nonsense(
    httpserver: HTTPServer, client: EngineClient, status: int, code: str
) -> None:
    """Nonsense is tried again."""
    httpserver.expect_request("/24.06/pollJobResults").respond_with_data("[]", status=status)
    with pytest.raises(TransientFault) as caught:
        client.poll("j1")
    assert caught.value.code == code


def test_the_clock_of_a_date_is_the_given_one(
    httpserver: HTTPServer, client: EngineClient, clock: Clock
) -> None:
    """Retry-After as a date counts from the injected wall clock."""
    clock.now_s = NOW_S + 10
    httpserver.expect_request("/24.06/pollJobResults").respond_with_data(
        status=202, headers={"Retry-After": "Mon, 21 Sep 2026 14:13:50 GMT"}
    )
    assert client.poll("j1").retry_after_s == 20.0


def test_netrc_cannot_replace_the_token(
    httpserver: HTTPServer, client: EngineClient, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """A `~/.netrc` with an entry for the Engine's host is of no effect."""
    file = f"{tmp_path}/netrc"
    with open(file, "w", encoding="ascii") as stream:  # noqa: PTH123
        stream.write("default login somebody password else\n")
    monkeypatch.setenv("NETRC", file)
    httpserver.expect_request(
        "/24.06/pollJobResults", headers={"Authorization": "Bearer ready-token"}
    ).respond_with_json({})
    httpserver.expect_request("/file").respond_with_data("x")
    client.poll("j1")
    with open(f"{tmp_path}/out", "wb") as target:  # noqa: PTH123
        client.download(
            httpserver.url_for("/file"),
            target,
            size=1,
            on_progress=lambda _: None,
            should_stop=lambda: False,
        )
    assert "Authorization" not in httpserver.log[-1][0].headers
