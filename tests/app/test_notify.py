"""`notify`, and what `check` says of those who are told."""

from __future__ import annotations

import json

import pytest

from tests.app.desk import Desk, problem
from tests.receiver import Receiver
from vpe_watcher.adapters.notify import Prompt
from vpe_watcher.core.model import Label
from vpe_watcher.core.notices import TOPICS, Policy


@pytest.fixture(name="told")
def configure(desk: Desk, receiver: Receiver) -> Desk:
    """Let a webhook and a service of apprise be told."""
    secret = desk.home / "secret"
    secret.touch(mode=0o600)
    secret.write_text("s3cret\n")
    urls = desk.home / "urls"
    urls.touch(mode=0o600)
    urls.write_text(f"# the ward\njson://127.0.0.1:{receiver.port}/t0ken\n")
    table = f"""
[notify]
urls_file = "urls"
[notify.webhook]
url = "{receiver.url}/hook?key=t0ken"
secret_file = "secret"
"""
    desk.config.write_text(desk.config.read_text() + table)
    return desk


def test_each_target_is_tried(told: Desk, receiver: Receiver) -> None:
    """One notice each; the answer says which worked, and shows no address."""
    ran = told.run("notify", "--test")
    assert (ran.code, ran.out.splitlines()) == (
        0,
        ["ok: webhook at 127.0.0.1", "ok: address 1 (json)"],
    )
    assert [one.path for one in receiver.received] == ["/hook?key=t0ken", "/t0ken"]
    assert receiver.received[0].document["event"] == "test"


def test_a_target_that_does_not_work_is_named(told: Desk, receiver: Receiver) -> None:
    """Exit 1, and why; the other is tried all the same."""
    receiver.status = lambda one: 403 if one.path.startswith("/hook") else 200
    ran = told.run("notify", "--test", "--json")
    assert ran.code == 1
    assert json.loads(ran.out)["targets"] == [
        {"target": "webhook at 127.0.0.1", "told": False, "reason": "status 403"},
        {"target": "address 1 (json)", "told": True, "reason": ""},
    ]
    assert "t0ken" not in ran.out + ran.err


def test_a_receiver_that_trickles_is_given_up(
    told: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is told has a time for the whole of the answer."""
    monkeypatch.setattr(Prompt.__init__, "__kwdefaults__", {"within_s": 0.3})
    receiver.status = lambda one: None if one.path.startswith("/hook") else 200
    ran = told.run("notify", "--test")
    assert ran.code == 1
    assert "failed: webhook at 127.0.0.1: no complete answer within 0.3 s" in ran.out


def test_what_waits_is_counted(told: Desk) -> None:
    """Without --test nobody is told anything."""
    told.store.notice_policy = Policy(frozenset(TOPICS), ("webhook",))
    told.end(told.add(), Label.INPUT, problem("bad"))
    assert told.run("notify").out.splitlines() == [
        "webhook at 127.0.0.1: 1 to be told of",
        "address 1 (json): 1 to be told of",
    ]


def test_nobody_to_be_told(desk: Desk) -> None:
    """A hint says how to change that."""
    ran = desk.run("notify", "--test")
    assert ran.code == 1
    assert "notify.webhook.url" in ran.err


def test_check_shows_who_is_told_and_no_secret(told: Desk, receiver: Receiver) -> None:
    """Nobody is told anything by it."""
    ran = told.run("check")
    assert "ok: notices go to webhook at 127.0.0.1" in ran.out
    assert "ok: notices go to address 1 (json)" in ran.out
    assert "t0ken" not in ran.out + ran.err
    assert "s3cret" not in ran.out + ran.err
    assert receiver.received == []


def test_check_finds_an_address_that_cannot_be_used(told: Desk) -> None:
    """By its number."""
    (told.home / "urls").write_text("jsons://127.0.0.1/\nnonsense://t0ken\n")
    ran = told.run("check")
    assert "error: Address 2 of notify.urls is none that apprise knows." in ran.out
    assert "t0ken" not in ran.out + ran.err
