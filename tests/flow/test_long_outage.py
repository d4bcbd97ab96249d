"""A night without the Engine, wrong credentials, a storm of 429: nobody loses anything by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests

from tests.flow.endings import HOUR
from tests.flow.house import House, nifti
from vpe_watcher.core.model import State
from vpe_watcher.sandbox.adapter import SandboxAdapter

Build = Callable[..., House]
CALLS = ("token", "submit", "notify", "poll", "upload", "download")
EFFECTS = [state for state in State if not state.is_at_rest]
CASES_A_STATE = 3
STEP_S = 120.0
UPLOAD, DOWNLOAD = "upload:sandbox.test", "download:sandbox.test"


class CountingAdapter(SandboxAdapter):
    """Counts the calls of a daemon, those that nobody answers too."""

    calls = 0

    def send(self, *arguments: Any, **more: Any) -> requests.Response:
        """Send one request, and count it."""
        self.calls += 1
        return super().send(*arguments, **more)


def counting(house: House) -> CountingAdapter:
    """Let the house's daemon call by an adapter that counts."""
    house.close()
    house.adapter = adapter = CountingAdapter(house.sandbox)
    house.start()
    return adapter


def spread(house: House, targets: Mapping[str, State]) -> None:
    """Drop scans, the farthest first, and bring each to a state, where its step is due."""
    to_drop, until = list(targets), house.time.steady + 200
    for second in range(100):
        if to_drop and second % 3 == 0:
            house.drop(f"{to_drop.pop()}.nii", nifti(seed=second))
        house.look()
        for case_id, state in house.parts.schedule.take_ready():
            case = house.parts.store.load(case_id)
            if case is not None and state is targets[case.case_name]:
                house.parts.schedule.release(case_id)
                house.parts.schedule.put_off(case_id, until)
            else:
                house.parts.runner.run(case_id, state)
        house.time.advance(1.0)
    house.time.advance(100.0)
    assert house.states() == targets


def went_wrong(house: House, do: dict[str, Any], *calls: str) -> None:
    """Let calls of these kinds go wrong, from now on, and no others."""
    house.sandbox.set_faults([{"on": call, "do": do} for call in calls])


def outage(house: House) -> Iterator[None]:
    """Make the Engine unreachable in one way after the other."""
    while True:
        house.adapter.down = True
        yield
        house.adapter.down = False
        went_wrong(house, {"reset": True}, *CALLS)
        yield
        went_wrong(house, {"status": 503}, *CALLS)
        yield


def changes(house: House) -> dict[str, str]:
    """Return how each breaker changed, `o` for opened and `c` for closed.

    Another reason while it is open is told once, and is no change.
    """
    found: dict[str, str] = {}
    told: set[tuple[str, str]] = set()
    for event, fields in house.events:
        if event not in {"breaker.opened", "breaker.closed"}:
            continue
        name, reason = str(fields["breaker"]), str(fields.get("reason"))
        if event == "breaker.closed":
            told = {one for one in told if one[0] != name}
        elif found.get(name, "").endswith("o"):
            assert (name, reason) not in told
            told.add((name, reason))
            continue
        told.add((name, reason))
        found[name] = found.get(name, "") + event.removeprefix("breaker.")[0]
    return found


@contextmanager
def nothing_lost(house: House) -> Iterator[None]:
    """Check that no case failed, was held, or used up anything of its patience."""
    before = len(house.cases())
    yield
    cases = house.cases()
    assert len(cases) >= before
    assert not {case.state for case in cases} & {State.FAILED, State.HELD, State.PARTIAL}
    assert {case.attempts for case in cases} == {1}
    assert {case.tally.retry_spent_s for case in cases} == {0}
    assert {(case.tally.new_jobs, case.tally.fresh_polls) for case in cases} == {(0, 0)}


def test_a_night_of_outage_costs_nobody_anything(build: Build) -> None:
    """8 hours down, 2 with wrong credentials, then 429: all is delivered without a person."""
    house = build(limits={"retry_for_h": 1})
    adapter = counting(house)
    house.sandbox.set_options(url_expiry_s=24 * HOUR)
    spread(house, {f"{state}{n}": state for state in EFFECTS for n in range(CASES_A_STATE)})
    house.events.clear()
    adapter.calls = 0

    with nothing_lost(house):
        ways = outage(house)
        for _ in range(24):
            next(ways)
            house.live(HOUR / 3, step_s=STEP_S)
    assert changes(house) == {"engine": "o", UPLOAD: "o", DOWNLOAD: "o"}
    assert house.breakers() == {"engine", UPLOAD, DOWNLOAD}
    assert 3 * 90 < adapter.calls < 3 * 250
    counts = Counter(state for state in house.states().values())
    assert counts[State.SUBMITTING] == 2 * CASES_A_STATE  # claiming went on
    assert counts[State.DONE] == 2 * CASES_A_STATE  # what was fetched is delivered

    adapter.down, adapter.calls = False, 0
    house.sandbox.revoke_tokens()
    with nothing_lost(house):
        for status in (401, 403):
            went_wrong(house, {"status": status, "body": '{"error": "access_denied"}'}, "token")
            house.live(HOUR, step_s=STEP_S)
            assert f"status {status}" in house.breaker("token").reason
    assert "token" in house.breakers()
    assert house.breakers() <= {"token", "engine"}
    assert changes(house) == {"engine": "o", UPLOAD: "oc", DOWNLOAD: "oc", "token": "o"}
    assert "engine.auth" in house.breaker("token").hint
    assert adapter.calls < 200

    adapter.calls = 0
    with nothing_lost(house):
        for round_ in range(12):
            busy = {"status": 429, "headers": {"Retry-After": str(20 + 40 * (round_ % 3))}}
            calls = ("token", "submit", "notify", "poll")
            house.sandbox.set_faults(
                [{"on": one, "nth": 2, "times": 9, "do": busy} for one in calls]
            )
            house.live(300, step_s=STEP_S / 8)
    assert adapter.calls < 600
    house.sandbox.set_faults([])
    house.live(900, step_s=15)
    assert set(house.states().values()) == {State.DONE}
    assert house.breakers() == set()
    assert house.leftovers() == house.files("failed") == house.files("inbox") == []
    assert house.started() == len(house.sandbox.ledger.jobs) == len(EFFECTS) * CASES_A_STATE
    assert all(
        len(way) <= 40 and "oo" not in way and "cc" not in way for way in changes(house).values()
    )
