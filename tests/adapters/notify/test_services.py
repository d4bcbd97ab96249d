"""Apprise, with addresses that lead to this machine alone."""

from __future__ import annotations

import importlib.util
import threading
import time

import pytest

from tests.adapters.engine.servers import RawServer, head_without_end
from tests.receiver import Receiver
from vpe_watcher.adapters.notify import Prompt
from vpe_watcher.adapters.notify.services import Service
from vpe_watcher.core.errors import ConfigError
from vpe_watcher.core.notices import Answer, Notice

NOTICE = Notice(
    3,
    "5f1c",
    "case.failed",
    "2026-11-23T07:00:00.000Z",
    {"case_id": "c1", "recipe": "default", "case_name": "M\udcfcller"},
)


def service(receiver: Receiver) -> Service:
    """Return apprise's plainest service, to this machine."""
    return Service(f"json://user:pw@127.0.0.1:{receiver.port}/t0ken", number=1, host="pc1")


def test_title_and_text_arrive(receiver: Receiver) -> None:
    """Also with a name that is no text."""
    assert service(receiver).tell(NOTICE).answer is Answer.TOLD
    (one,) = receiver.received
    assert one.document["title"] == "vpe-watcher on pc1: case c1 of recipe default failed"
    assert "notice 5f1c" in one.document["message"]


@pytest.mark.parametrize("status", [307, 404, 500])
def test_whatever_is_no_success_is_trouble(receiver: Receiver, status: int) -> None:
    """Apprise tells no more; and it follows no redirect."""
    receiver.status = lambda _: status
    receiver.headers = {"Location": f"{receiver.url}/elsewhere"}
    assert service(receiver).tell(NOTICE).answer is Answer.TROUBLE
    assert [one.path for one in receiver.received] == ["/t0ken"]


def test_nobody_there_is_trouble(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """And the library says nothing of the address."""
    receiver.down()
    assert service(receiver).tell(NOTICE).answer is Answer.TROUBLE
    assert caplog.records == []


def test_an_answer_that_trickles_holds_up_nobody_else(receiver: Receiver) -> None:
    """It hangs in our one thread, which no exit waits for, and in no pool that others need."""
    is_over = threading.Event()
    with RawServer(head_without_end(is_over)) as server:
        hung = Prompt(Service(f"json://127.0.0.1:{server.port}/", number=1, host="x"), within_s=0.5)
        before = set(threading.enumerate())
        assert hung.tell(NOTICE).reason == "no complete answer within 0.5 s"
        assert hung.tell(NOTICE).reason == "an earlier answer has not ended yet"
        begun = {one.name: one.daemon for one in set(threading.enumerate()) - before}
        assert begun["telling"] is True
        assert [name for name in begun if "Pool" in name] == []
        assert Prompt(service(receiver)).tell(NOTICE).answer is Answer.TOLD
        assert server.connections == 1
        is_over.set()
    while "ended yet" in (receipt := hung.tell(NOTICE)).reason:
        time.sleep(0.01)
    assert receipt.reason == "not taken, or no answer"


def test_what_is_shown_and_kept_holds_no_secret(receiver: Receiver) -> None:
    """The number and the kind; the name is the same for the same address."""
    one, again = service(receiver), service(receiver)
    assert one.shown == "address 1 (json)"
    assert one.name == again.name
    assert "pw" not in one.name + one.shown
    assert "t0ken" not in one.name + one.shown


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("json://10.1.2.3/t0ken", "in clear"),
        ("mailto://user:t0ken@example.org", "in clear"),
        ("nonsense://t0ken", "none that apprise knows"),
        ("t0ken", "none that apprise knows"),
    ],
)
def test_an_address_that_cannot_be_used(url: str, words: str) -> None:
    """Told by its number, for the address is a secret."""
    with pytest.raises(ConfigError) as caught:
        Service(url, number=2, host="pc1")
    assert words in caught.value.message
    assert "Address 2" in caught.value.message
    assert "t0ken" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "url", ["jsons://10.1.2.3/x", "slack://TAbcd1234/BAbcd1234/abcd1234abcd1234abcd1234/#all"]
)
def test_what_goes_encrypted_is_taken(url: str) -> None:
    """To any machine; nothing is sent here."""
    assert Service(url, number=1, host="pc1").shown.startswith("address 1 (")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="extra notify") as caught:
        Service("json://127.0.0.1/", number=1, host="pc1")
    assert caught.value.code == "notify_extra_missing"
