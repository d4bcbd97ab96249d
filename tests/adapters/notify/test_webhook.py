"""The webhook against a real server on this machine."""

from __future__ import annotations

import hashlib
import hmac
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.engine.servers import RawServer, head_without_end, read_head
from tests.receiver import Receiver
from vpe_watcher.adapters.notify import Prompt, Webhook
from vpe_watcher.core.errors import ConfigError
from vpe_watcher.core.notices import Answer, Notice, Receipt

NOTICE = Notice(
    3, "5f1c", "case.failed", "2026-11-23T07:00:00.000Z", {"case_id": "c1", "recipe": "default"}
)
SECRET = "s3cret"


def webhook(
    receiver: Receiver, secret: Callable[[], str] = lambda: SECRET, *, url: str = ""
) -> Webhook:
    """Return the webhook that leads there."""
    return Webhook(
        f"{url or receiver.url}/hook?key=t0ken",
        secret=secret,
        host="pc1",
        now=lambda: 1_790_000_000.5,
        user_agent="vpe-watcher/1",
        timeouts_s=(2.0, 0.3),
    )


def test_a_receiver_can_tell_that_it_is_ours(receiver: Receiver) -> None:
    """As the how-to says: HMAC-SHA256 over timestamp, dot and the bytes of the body."""
    assert webhook(receiver).tell(NOTICE) == Receipt(Answer.TOLD)
    (one,) = receiver.received
    timestamp = one.headers["X-VPE-Watcher-Timestamp"]
    expected = hmac.new(SECRET.encode(), timestamp.encode() + b"." + one.body, hashlib.sha256)
    assert one.headers["X-VPE-Watcher-Signature"] == f"sha256={expected.hexdigest()}"
    assert timestamp == "1790000000"
    assert one.headers["Idempotency-Key"] == one.headers["X-VPE-Watcher-Id"] == "5f1c"
    assert one.headers["Content-Type"] == "application/json"
    assert one.path == "/hook?key=t0ken"
    assert one.document["details"] == {"case_id": "c1", "recipe": "default"}


def test_the_example_for_receivers_works(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the how-to prints takes our notices, and nothing that was changed on the way."""
    page = Path(__file__).parents[3] / "docs" / "how-to" / "notices.md"
    example = page.read_text().partition("```python\n")[2].partition("```")[0]
    shelf: dict[str, Any] = {}
    exec(example, shelf)  # noqa: S102 - it is ours
    monkeypatch.setattr(shelf["time"], "time", lambda: 1_790_000_100.0)
    webhook(receiver).tell(NOTICE)
    (one,) = receiver.received
    assert shelf["is_ours"](SECRET, one.headers, one.body)
    assert not shelf["is_ours"](SECRET, one.headers, one.body + b" ")
    assert not shelf["is_ours"]("another", one.headers, one.body)
    later = one.headers | {"X-VPE-Watcher-Timestamp": "1790000001"}
    assert not shelf["is_ours"](SECRET, later, one.body)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, Answer.TOLD),
        (202, Answer.TOLD),
        (302, Answer.TROUBLE),
        (400, Answer.REFUSED),
        (401, Answer.REFUSED),
        (404, Answer.REFUSED),
        (408, Answer.TROUBLE),
        (410, Answer.REFUSED),
        (429, Answer.TROUBLE),
        (500, Answer.TROUBLE),
        (503, Answer.TROUBLE),
    ],
)
def test_what_an_answer_means(receiver: Receiver, status: int, answer: Answer) -> None:
    """Only a 4xx that no time will change is the last word."""
    receiver.status = lambda _: status
    assert webhook(receiver).tell(NOTICE).answer is answer
    assert len(receiver.received) == 1


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    """Whoever can answer once must not send our notices elsewhere."""
    receiver.status = lambda _: 307
    receiver.headers = {"Location": f"{receiver.url}/elsewhere"}
    assert webhook(receiver).tell(NOTICE) == Receipt(Answer.TROUBLE, "status 307")
    assert [one.path for one in receiver.received] == ["/hook?key=t0ken"]


@pytest.mark.parametrize(
    ("said", "seconds"), [("120", 120.0), ("999999", 3600.0), ("soon", None), ("-1", None)]
)
def test_a_receiver_may_ask_for_time(receiver: Receiver, said: str, seconds: float | None) -> None:
    """`Retry-After` is obeyed up to an hour."""
    receiver.status = lambda _: 429
    receiver.headers = {"Retry-After": said}
    assert webhook(receiver).tell(NOTICE).retry_after_s == seconds


def test_a_receiver_that_never_answers_is_given_up(receiver: Receiver) -> None:
    """After a time, with words that hold neither address nor token."""
    receiver.status = lambda _: None
    started = time.monotonic()
    receipt = webhook(receiver).tell(NOTICE)
    assert time.monotonic() - started < 5
    assert receipt == Receipt(Answer.TROUBLE, "no complete answer (ReadTimeout)")


HEAD = b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 99999999999\r\n\r\n"


def test_a_header_that_trickles_is_given_up(receiver: Receiver) -> None:
    """Each byte comes in time, the answer never; and nobody is told twice meanwhile."""
    is_over = threading.Event()
    with RawServer(head_without_end(is_over)) as server:
        hook = Prompt(webhook(receiver, url=server.url), within_s=0.5)
        started = time.monotonic()
        assert hook.tell(NOTICE).reason == "no complete answer within 0.5 s"
        assert hook.tell(NOTICE).reason == "an earlier answer has not ended yet"
        assert time.monotonic() - started < 3
        assert server.connections == 1
        is_over.set()
    while "ended yet" in (receipt := hook.tell(NOTICE)).reason:
        time.sleep(0.01)
    assert receipt.reason == "no complete answer (ConnectionError)"


def test_the_body_of_an_answer_is_not_waited_for(receiver: Receiver) -> None:
    """Only the status counts, also of a redirect: a body may trickle, or never end."""
    is_over = threading.Event()

    def trickle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(HEAD)
        while not is_over.wait(0.05):
            connection.sendall(b"x" * 1000)

    with RawServer(trickle) as server:
        started = time.monotonic()
        receipt = Prompt(webhook(receiver, url=server.url), within_s=5).tell(NOTICE)
        is_over.set()
    assert receipt == Receipt(Answer.TROUBLE, "status 307")
    assert time.monotonic() - started < 2


def test_a_defect_of_a_target_is_not_hidden(receiver: Receiver) -> None:
    """It comes out where it was asked, as without a thread in between."""

    def broken() -> str:
        raise LookupError

    with pytest.raises(LookupError):
        Prompt(webhook(receiver, broken)).tell(NOTICE)


def test_without_a_thread_to_tell_it_is_trouble(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again like all trouble, as soon as the machine lets threads start."""

    def fails(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    hook = Prompt(webhook(receiver))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fails)
        assert hook.tell(NOTICE).answer is Answer.TROUBLE
    assert hook.tell(NOTICE).answer is Answer.TOLD


def test_nobody_there_is_trouble(receiver: Receiver) -> None:
    """It may come back."""
    receiver.down()
    assert webhook(receiver).tell(NOTICE).answer is Answer.TROUBLE


def test_a_netrc_adds_no_password(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a home folder says of this host is for somebody else."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password pw\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    webhook(receiver).tell(NOTICE)
    assert "Authorization" not in receiver.received[0].headers


def test_a_secret_that_cannot_be_read_is_waited_for(receiver: Receiver) -> None:
    """Nothing is sent unsigned."""

    def gone() -> str:
        raise ConfigError("the file is gone", code="secret_file")

    receipt = webhook(receiver, gone).tell(NOTICE)
    assert receipt == Receipt(Answer.TROUBLE, "the secret cannot be read (secret_file)")
    assert receiver.received == []


def test_what_people_see_of_it_holds_no_token(receiver: Receiver) -> None:
    """The host alone."""
    assert webhook(receiver).shown == "webhook at 127.0.0.1"
