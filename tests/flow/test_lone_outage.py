"""One or two cases alone with a dead network: no third one blames the host, and nobody fails."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import requests
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NameResolutionError

from tests.flow.endings import GIVES_UP, HOUR, all_is_delivered, failed_as, meshes
from tests.flow.house import House, nifti
from vpe_watcher.core.model import State
from vpe_watcher.sandbox.adapter import SandboxAdapter
from vpe_watcher.sandbox.options import Options

Build = Callable[..., House]
LASTS = Options(url_expiry_s=1000 * HOUR, token_expiry_s=1000 * HOUR)
RESET: dict[str, Any] = {"reset": True}
STEP_S = 1200.0
TRANSFERS = {State.UPLOADING: "upload", State.FETCHING: "download"}
WORDS = {"refused": "no connection", "unresolved": "cannot be resolved"}


class Line(SandboxAdapter):
    """A way to the Engine that can be cut; notes the looks at jobs. Its base URL is no route."""

    is_unresolved = False
    is_bare = False
    poll_status = 0

    def __init__(self, house: House) -> None:
        super().__init__(house.sandbox)
        self.asked: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **more: Any) -> requests.Response:
        """Send one request, unless its name cannot be resolved."""
        is_poll = request.path_url.startswith("/24.06/pollJobResults?")
        if is_poll:
            self.asked.append(request)
        if self.is_unresolved:
            nobody = HTTPConnection("sandbox.test")
            cause = NameResolutionError("sandbox.test", nobody, socket.gaierror(-3, "later"))
            raise requests.ConnectionError(cause, request=request)
        response = super().send(request, *args, **more)
        if self.is_bare and request.path_url == "/24.06/":
            response.status_code = 503
        if is_poll and self.poll_status:
            response.status_code = self.poll_status
        return response


def lined(house: House) -> Line:
    """Let the house's daemon call over a line that can be cut."""
    house.close()
    house.adapter = line = Line(house)
    house.start()
    return line


def cut(line: Line, way: str, *, is_cut: bool = True) -> None:
    """Cut a line in one way, or mend it."""
    if way == "refused":
        line.down = is_cut
    else:
        line.is_unresolved = is_cut


def changes(house: House) -> list[tuple[str, object]]:
    """Return the log lines of breakers, in their order."""
    told = {"breaker.opened", "breaker.closed"}
    return [(event[8:], fields["breaker"]) for event, fields in house.events if event in told]


@pytest.mark.parametrize(
    ("state", "count", "way"),
    [
        (State.UPLOADING, 1, "refused"),
        (State.UPLOADING, 2, "unresolved"),
        (State.FETCHING, 1, "unresolved"),
        (State.FETCHING, 2, "refused"),
    ],
)
def test_lone_cases_outlive_three_days_without_a_network(
    build: Build, state: State, count: int, way: str
) -> None:
    """The Engine is blamed once patience is over, also by the next daemon; all is delivered."""
    house = build(limits={"retry_for_h": 6, "retry_at_most_s": 2400}, options=LASTS)
    line = lined(house)
    for number in range(count):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.sandbox.set_faults([{"on": TRANSFERS[state], "do": RESET}])
    house.live(30)
    house.sandbox.set_faults([])
    cut(line, way)
    house.live(12 * HOUR, step_s=STEP_S)
    assert house.breakers() == {"engine"}
    assert WORDS[way] in house.breaker("engine").reason
    house.events.clear()
    line.asked.clear()
    house.live(31 * HOUR, step_s=STEP_S)
    spent_s = [case.tally.retry_spent_s for case in house.cases()]
    assert changes(house) == []
    assert 31 < len(line.asked) < 3 * 31  # once in `retry_at_most_s`
    house.restart()
    house.live(29 * HOUR, step_s=STEP_S)
    assert changes(house) == [("opened", "engine")]
    assert [case.state for case in house.cases()] == [state] * count
    assert [case.tally.retry_spent_s for case in house.cases()] == pytest.approx(spent_s, abs=HOUR)
    house.drop("later.nii", nifti(seed=9))
    cut(line, way, is_cut=False)
    house.live(2400, step_s=60)
    all_is_delivered(house)
    assert changes(house) == [("opened", "engine"), ("closed", "engine")]


@pytest.mark.parametrize(
    ("on", "state"), [("upload", State.UPLOADING), ("download", State.FETCHING)]
)
def test_a_store_that_gives_no_answer_is_one_cases_trouble(
    build: Build, on: str, state: State
) -> None:
    """With an Engine that answers, the case fails when its time is over, after one question."""
    house = build(limits=GIVES_UP, options=LASTS)
    line = lined(house)
    house.drop("scan.nii")
    house.live_until("scan", state)
    line.asked.clear()
    house.sandbox.set_faults([{"on": on, "do": RESET}])
    house.live(0.4 * HOUR, step_s=10)
    assert (house.states(), line.asked) == ({"scan": state}, [])
    house.live(HOUR, step_s=10)
    error = failed_as(house, "scan")
    assert (error["class"], error["code"]) == ("transient", "connection_broken")
    (asked,) = line.asked
    job_id = house.case("scan").job_id
    assert (asked.method, asked.path_url) == ("GET", f"/24.06/pollJobResults?jobId={job_id}")
    assert changes(house) == []


def test_a_store_that_answers_asks_nobody(build: Build) -> None:
    """A status is the store's own word: the case fails without a question."""
    house = build(limits=GIVES_UP, options=LASTS)
    line = lined(house)
    house.sandbox.set_faults([{"on": "upload", "do": {"status": 503}}])
    house.drop("scan.nii")
    house.live(1.5 * HOUR, step_s=20)
    assert failed_as(house, "scan")["code"] == "upload_server_error"
    assert line.asked == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_engine_that_says_it_is_away_fails_nobody(build: Build, status: int) -> None:
    """It answers for somebody who is not there: the case waits for it."""
    house = build(limits=GIVES_UP, options=LASTS)
    line = lined(house)
    line.poll_status = status
    house.sandbox.set_faults([{"on": "upload", "do": RESET}])
    house.drop("scan.nii")
    house.live(2 * HOUR, step_s=60)
    assert house.states() == {"scan": State.UPLOADING}
    assert f"status {status}" in house.breaker("engine").reason
    house.sandbox.set_faults([])
    line.poll_status = 0
    all_is_delivered(house)


@pytest.mark.parametrize("status", [202, 302, 403, 404])
def test_any_other_answer_is_one(build: Build, status: int) -> None:
    """Whatever the Engine says of the job, it is at work."""
    house = build(limits=GIVES_UP, options=LASTS)
    line = lined(house)
    line.poll_status = status
    house.sandbox.set_faults([{"on": "upload", "do": RESET}])
    house.drop("scan.nii")
    house.live(1.5 * HOUR, step_s=20)
    assert failed_as(house, "scan")["class"] == "transient"
    assert (len(line.asked), changes(house)) == (1, [])


def test_an_engine_that_comes_back_first_gives_all_patience_again(build: Build) -> None:
    """The store follows later: nobody fails for the hours without a network, nor waits for ever."""
    house = build(limits=GIVES_UP, options=LASTS)
    line = lined(house)
    house.drop("scan.nii")
    house.live_until("scan", State.UPLOADING)
    line.down = True
    house.live(3 * HOUR, step_s=60)
    house.sandbox.set_faults([{"on": "upload", "do": RESET}])
    line.down = False
    house.live(0.3 * HOUR, step_s=10)
    assert house.states() == {"scan": State.UPLOADING}
    assert changes(house) == [("opened", "engine"), ("closed", "engine")]
    house.live(HOUR, step_s=10)
    assert failed_as(house, "scan")["class"] == "transient"
    assert len(changes(house)) == 2


@pytest.mark.parametrize("job", [0, 1])
def test_patience_comes_back_to_each_case_that_waited(build: Build, job: int) -> None:
    """The other one closes the breaker: a network that still stutters for this one fails nobody."""
    house = build(limits=GIVES_UP, options=LASTS)
    line = lined(house)
    for number in range(2):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.sandbox.set_faults([{"on": "upload", "do": RESET}])
    house.live(30)
    line.down = True
    house.live(3 * HOUR, step_s=60)
    assert house.breakers() == {"engine"}
    line.down = False
    house.sandbox.set_faults([{"on": "upload", "job": job, "times": 3, "do": RESET}])
    all_is_delivered(house)


def test_what_was_fetched_waits_with_the_rest(build: Build) -> None:
    """A dead network makes no part of a result of a whole one."""
    house = build(job=meshes("mandible", "airway"), limits=GIVES_UP, options=LASTS)
    line = lined(house)
    airway = {"on": "download", "structure": "airway", "times": 1, "do": RESET}
    house.sandbox.set_faults([airway])
    house.drop("scan.nii")
    house.live_until("scan", State.FETCHING)
    assert house.turn() == 1
    line.down = True
    house.live(3 * HOUR, step_s=60)
    assert house.states() == {"scan": State.FETCHING}
    line.down = False
    all_is_delivered(house)
    assert "airway.stl" in [path.rpartition("/")[2] for path in house.files("outbox")]


def dead_from_upload(house: House, count: int) -> list[dict[str, Any]]:
    """Drop scans whose upload hosts give no answer for ever; return what befalls them."""
    faults = [{"on": "upload", "job": job, "do": RESET} for job in range(count)]
    house.sandbox.set_faults(faults)
    for number in range(count):
        house.drop(f"dead{number}.nii", nifti(seed=number))
    return faults


def delivered_in_s(house: House, name: str, seed: int, at_most_s: float = HOUR) -> float:
    """Drop one more scan; return the seconds until it is delivered."""
    since = house.time.steady
    house.drop(f"{name}.nii", nifti(seed=seed, side=5))
    while house.states().get(name) is not State.DONE:
        assert house.time.steady < since + at_most_s, house.states()
        house.live(10, step_s=10)
    return house.time.steady - since


@pytest.mark.parametrize("count", [1, 2])
def test_a_gateway_that_knows_no_base_url_stops_nobody(build: Build, count: int) -> None:
    """503 where no route is says nothing of the Engine: who has no store fails, and it alone."""
    house = build(limits=GIVES_UP, options=LASTS)
    line = lined(house)
    line.is_bare = True
    dead_from_upload(house, count)
    house.live(2 * HOUR, step_s=30)
    assert set(house.states().values()) == {State.FAILED}
    assert changes(house) == []
    assert delivered_in_s(house, "later", 9) < 120


@pytest.mark.parametrize("polled", [False, True])
def test_two_jobs_that_the_engine_says_503_of_stop_no_other(build: Build, *, polled: bool) -> None:
    """Their stores are dead, and looks at them too: other calls show that the Engine is at work."""
    house = build(limits=GIVES_UP, options=replace(LASTS, processing_s=2 * HOUR if polled else 60))
    faults = dead_from_upload(house, 2)
    house.live(60)
    if polled:
        house.drop("polled.nii", nifti(seed=8, side=6))
        house.live(60)
    polls = [{"on": "poll", "job": job, "do": {"status": 503}} for job in range(2)]
    house.sandbox.set_faults(faults + polls)
    house.live(3 * HOUR, step_s=30)
    assert house.states().get("polled", State.DONE) is State.DONE
    assert ("opened", "engine") in changes(house)
    house.sandbox.set_options(processing_s=60)
    for number in range(3):
        assert delivered_in_s(house, f"later{number}", 10 + number) < HOUR / 2
    assert house.states()["dead0"] is State.UPLOADING
    house.sandbox.set_faults([])
    all_is_delivered(house)


@pytest.mark.parametrize(
    ("state", "count"), [(State.UPLOADING, 2), (State.NOTIFYING, 3), (State.FETCHING, 2)]
)
@pytest.mark.parametrize("silent", [False, True])
def test_a_share_that_is_gone_holds_no_breaker_of_the_engine(
    build: Build, state: State, count: int, *, silent: bool
) -> None:
    """Both went at once and the Engine is back: the cases of that share wait, and no others."""
    house = build(recipes={"far": {}}, limits=GIVES_UP, options=LASTS)
    line = lined(house)
    for number in range(count):
        house.drop(f"far{number}.nii", nifti(seed=number), recipe="far")
    cut_off_in(house, line, state)
    house.live(2 * HOUR, step_s=30)
    assert house.breaker("engine").kinds == {state}
    give_back = gone_share(house, "outbox" if state is State.FETCHING else "inbox/far", silent)
    line.down = False
    house.drop("here.nii", nifti(seed=7, side=5))
    house.live(HOUR, step_s=30)
    assert "engine" not in house.breakers()
    here = house.states()["here"]
    assert here is (State.FETCHING if state is State.FETCHING else State.DONE)
    assert [house.states()[f"far{number}"] for number in range(count)] == [state] * count
    give_back()
    all_is_delivered(house)


def cut_off_in(house: House, line: Line, state: State) -> None:
    """Cut the line while all cases are in a state."""
    kind = TRANSFERS.get(state, "notify")
    house.sandbox.set_faults([{"on": kind, "times": 4, "do": {"status": 500}}])
    while set(house.states().values()) != {state}:
        house.live(1)
    line.down = True
    house.sandbox.set_faults([])


def gone_share(house: House, name: str, silent: bool) -> Callable[[], None]:  # noqa: FBT001
    """Take a folder away, or let it hang; return what gives it back."""
    if silent:
        root = name.replace("/", ":")
        house.parts.schedule.set_silent(frozenset({root}))
        return lambda: house.parts.schedule.set_silent(frozenset())
    folder, aside = house.root / name, house.root / "aside"
    folder.rename(aside)
    folder.mkdir()

    def give_back() -> None:
        folder.rmdir()
        aside.rename(folder)

    return give_back
