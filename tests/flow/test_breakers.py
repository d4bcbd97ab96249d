"""Trouble that is nobody's fault: a breaker opens, no case loses anything, and all goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flow.endings import all_is_delivered
from tests.flow.house import House, nifti
from vpe_watcher.adapters.store import Store
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.model import Case, State
from vpe_watcher.flow.runner import Runner

Build = Callable[..., House]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A call that goes wrong for all, and what a person sees of it."""

    on: str
    do: dict[str, Any]
    breaker: str
    state: State
    says: str
    after_effect: bool = False

    def __str__(self) -> str:
        """Name the test."""
        late = "-after-effect" if self.after_effect else ""
        return f"{self.on}-{next(iter(self.do))}-{next(iter(self.do.values()))}{late}"


def _at(on: str, state: State, *, breaker: str = "engine") -> Iterator[Trouble]:
    """Every trouble that means the same in any call of the Engine."""
    for status in (500, 503, 429):
        yield Trouble(on, {"status": status}, breaker, state, str(status))
    yield Trouble(on, {"reset": True}, breaker, state, "no complete answer")
    yield Trouble(on, {"stall_s": 9999}, breaker, state, "no complete answer")
    yield Trouble(on, {"truncate": 1}, breaker, state, "no complete answer")


TROUBLES = [
    *_at("token", State.SUBMITTING, breaker="token"),
    Trouble("token", {"status": 401}, "token", State.SUBMITTING, "401"),
    Trouble("token", {"status": 403}, "token", State.SUBMITTING, "403"),
    Trouble("token", {"status": 404}, "token", State.SUBMITTING, "404"),
    Trouble("token", {"garbage": True}, "token", State.SUBMITTING, "not JSON"),
    Trouble("token", {"status": 200, "body": "{}"}, "token", State.SUBMITTING, "no token"),
    Trouble("token", {"redirect": "https://x.test/"}, "token", State.SUBMITTING, "302"),
    *_at("submit", State.SUBMITTING),
    Trouble(
        "submit", {"reset": True}, "engine", State.SUBMITTING, "no complete", after_effect=True
    ),
    *(
        Trouble("submit", {"status": status}, "engine", State.SUBMITTING, str(status))
        for status in (402, 403, 404, 405)
    ),
    Trouble("submit", {"status": 401}, "engine", State.SUBMITTING, "access token"),
    Trouble("submit", {"redirect": "https://x.test/"}, "engine", State.SUBMITTING, "302"),
    *_at("notify", State.NOTIFYING),
    Trouble("notify", {"reset": True}, "engine", State.NOTIFYING, "no complete", after_effect=True),
    Trouble("notify", {"status": 401}, "engine", State.NOTIFYING, "access token"),
    *_at("poll", State.WAITING),
    Trouble("poll", {"status": 401}, "engine", State.WAITING, "access token"),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_trouble_for_all_opens_a_breaker_and_blames_no_case(house: House, trouble: Trouble) -> None:
    """The case stays where it is for hours, a breaker says why, and recovery delivers it."""
    rule = {"on": trouble.on, "do": trouble.do, "after_effect": trouble.after_effect}
    house.sandbox.set_faults([rule])
    house.drop("scan.nii")
    house.live(3600, step_s=60)
    case = house.case("scan")
    assert (case.state, case.problem, case.attempts) == (trouble.state, None, 1)
    assert case.tally.retry_spent_s == 0
    assert house.breakers() == {trouble.breaker}
    assert trouble.says in house.breaker(trouble.breaker).reason
    assert house.breaker(trouble.breaker).hint
    assert house.files("outbox") + house.files("archive") + house.files("failed") == []
    house.sandbox.set_faults([])
    all_is_delivered(house)


def test_an_engine_that_is_down_lets_claiming_go_on(house: House) -> None:
    """While nobody answers, scans are claimed and wait; when it is back all are delivered."""
    house.adapter.down = True
    for number in range(3):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live(3600, step_s=60)
    assert set(house.states().values()) == {State.SUBMITTING}
    assert house.files("inbox") == []
    assert house.breakers() == {"token"}
    assert "no connection" in house.breaker("token").reason
    house.adapter.down = False
    all_is_delivered(house)
    assert house.sandbox.ledger.tokens_issued == 1


def test_an_engine_that_goes_down_under_way_blames_no_case(house: House) -> None:
    """A case that was waiting is waiting still when the Engine is back."""
    house.drop("scan.nii")
    house.live_until("scan", State.WAITING)
    house.adapter.down = True
    house.live(3600, step_s=60)
    assert house.states() == {"scan": State.WAITING}
    assert house.breakers() == {"engine"}
    house.adapter.down = False
    all_is_delivered(house)


def test_a_wrong_secret_says_so_and_submits_nothing(house: House) -> None:
    """Auth0's refusal is in the breaker, with the keys to check; a right secret goes on."""
    house.close()
    house.overrides["engine"] = {"auth": {"client_secret": "wrong"}}
    house.settings = house.read_settings()
    house.start()
    house.drop("scan.nii")
    house.live(600, step_s=5)
    assert house.states() == {"scan": State.SUBMITTING}
    assert "status 401" in house.breaker("token").reason
    assert "engine.auth" in house.breaker("token").hint
    assert "wrong" not in house.breaker("token").reason
    assert house.sandbox.ledger.count("submit") == 0
    assert house.files("failed") == []
    house.close()
    house.overrides["engine"] = {}
    house.settings = house.read_settings()
    house.start()
    all_is_delivered(house)


def test_a_wrong_ready_made_token_says_so(build: Build, tmp_path: Path) -> None:
    """A token that the Engine does not accept opens a breaker; the file's new content heals it."""
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text("stale")
    house = build(engine={"auth": {"access_token_file": str(file)}})
    house.drop("scan.nii")
    house.live(600, step_s=5)
    assert house.states() == {"scan": State.SUBMITTING}
    assert "does not accept the access token" in house.breaker("engine").reason
    assert "token" in house.breaker("engine").hint
    assert house.sandbox.ledger.count("token") == 0
    file.write_text(house.issue_token())
    all_is_delivered(house)


def test_a_token_that_is_revoked_under_way_is_replaced_once(house: House) -> None:
    """A 401 asks for one new token, and nobody notices."""
    house.drop("scan.nii")
    house.live_until("scan", State.WAITING)
    house.sandbox.revoke_tokens()
    all_is_delivered(house)
    assert house.sandbox.ledger.tokens_issued == 2


def test_500_for_a_while_is_probed_with_patience(house: House) -> None:
    """The probes of an hour are few, and no more often than the backoff allows."""
    house.sandbox.set_faults([{"on": "submit", "do": {"status": 500}}])
    house.drop("scan.nii")
    house.live(3600, step_s=1)
    assert 12 <= house.sandbox.ledger.count("submit") <= 40
    assert house.states() == {"scan": State.SUBMITTING}


@pytest.mark.parametrize("on", ["token", "submit", "notify", "poll"])
def test_retry_after_is_obeyed(house: House, on: str) -> None:
    """A 429 with Retry-After is not asked again before that time, and then it goes on."""
    do = {"status": 429, "headers": {"Retry-After": "700"}}
    house.sandbox.set_faults([{"on": on, "times": 1, "do": do}])
    house.drop("scan.nii")
    house.live_until_rest(at_most_s=900)
    first, second, *_ = [seen.time for seen in house.sandbox.ledger.requests if seen.kind == on]
    assert 700 <= second - first < 720
    assert house.states() == {"scan": State.DONE}


@pytest.mark.parametrize("on", ["upload", "download"])
def test_retry_after_of_a_pre_signed_host_is_obeyed(house: House, on: str) -> None:
    """The object store's wish to wait holds for the case that met it."""
    do = {"status": 503, "headers": {"Retry-After": "700"}}
    house.sandbox.set_faults([{"on": on, "times": 1, "do": do}])
    house.drop("scan.nii")
    house.live_until_rest(at_most_s=900)
    first, second, *_ = [seen.time for seen in house.sandbox.ledger.requests if seen.kind == on]
    assert 700 <= second - first < 720
    assert house.breakers() == set()


def test_a_breaker_does_not_outlive_the_case_that_opened_it(house: House) -> None:
    """The only case that could be the probe is cancelled: others are let through all the same."""
    house.sandbox.set_faults([{"on": "poll", "job": 0, "do": {"status": 500}}])
    house.drop("first.nii")
    house.live(60)
    assert house.breakers() == {"engine"}
    house.drop("second.nii", nifti(seed=1))
    house.live(10)
    house.say("cancel", house.case("first"))
    house.live_until_rest(at_most_s=1200)
    assert house.states() == {"first": State.CANCELLED, "second": State.DONE}


def test_a_state_file_that_fails_right_after_a_commit_records_nothing_twice(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read then only serves other cases; the attempt has ended."""
    met: list[State] = []

    def fail(_: Runner, case: Case) -> bool:
        met.append(case.state)
        raise EnvironmentFault("It fails.", code="state_unusable", breaker="state")

    monkeypatch.setattr(Runner, "_has_family", fail)
    house.drop("scan.nii")
    house.live_until_rest()
    assert met == [State.CLAIMING, State.ARCHIVING]
    assert house.states() == {"scan": State.DONE}
    assert [event for event, _ in house.events if event.endswith(".defect")] == []


def test_what_could_not_be_read_behind_a_word_is_read_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word is struck out by then: the case that it moved is found all the same."""
    house.drop("scan.nii")
    house.live_until("scan", State.SUBMITTING)
    house.say("cancel", house.case("scan"))
    house.live_until_rest()
    house.queries.say("retry", [house.case("scan").case_id])

    def fail(_: Store) -> None:
        raise EnvironmentFault("It fails.", code="state_unusable", breaker="state")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "due", fail)
        with pytest.raises(EnvironmentFault):
            house.parts.words.obey()
    assert house.parts.words.obey()
    house.live(60)
    assert house.states() == {"scan": State.DONE}
