"""Trouble that is nobody's fault: a breaker opens, no case loses anything, and all goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.flow.house import House, nifti, unprivileged
from vpe_watcher.adapters.files import Disk
from vpe_watcher.core.model import State

Build = Callable[..., House]
SLOW = {"retry_first_s": 120}
UPLOAD, DOWNLOAD = "upload:sandbox.test", "download:sandbox.test"


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
    _all_is_delivered(house)


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
    _all_is_delivered(house)
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
    _all_is_delivered(house)


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
    _all_is_delivered(house)


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
    _all_is_delivered(house)


def test_a_token_that_is_revoked_under_way_is_replaced_once(house: House) -> None:
    """A 401 asks for one new token, and nobody notices."""
    house.drop("scan.nii")
    house.live_until("scan", State.WAITING)
    house.sandbox.revoke_tokens()
    _all_is_delivered(house)
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


# --- pre-signed hosts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "breaker", "state"),
    [("upload", UPLOAD, State.UPLOADING), ("download", DOWNLOAD, State.FETCHING)],
)
@pytest.mark.parametrize("do", [{"status": 500}, {"reset": True}, {"stall_s": 9999}], ids=str)
def test_a_host_that_fails_for_three_cases_opens_its_breaker(
    house: House, on: str, breaker: str, state: State, do: dict[str, Any]
) -> None:
    """Two cases are their own trouble; the third makes it the host's, and nobody pays for it."""
    house.sandbox.set_faults([{"on": on, "do": do}])
    for number in range(2):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live(120, step_s=2)
    assert house.breakers() == set()
    assert set(house.states().values()) == {state}
    house.drop("2.nii", nifti(seed=2))
    house.live(1200, step_s=10)
    assert house.breakers() == {breaker}
    assert house.breaker(breaker).reason
    spent = [case.tally.retry_spent_s for case in house.cases()]
    house.live(3600 * 6, step_s=60)
    assert [case.tally.retry_spent_s for case in house.cases()] == spent
    house.sandbox.set_faults([])
    _all_is_delivered(house)


@pytest.mark.parametrize("on", ["upload", "download"])
def test_one_case_alone_never_opens_a_hosts_breaker(house: House, on: str) -> None:
    """However often one case fails at a host, others go through there meanwhile."""
    house.sandbox.set_faults([{"on": on, "job": 0, "do": {"status": 500}}])
    house.drop("bad.nii")
    house.live(600, step_s=2)
    assert house.breakers() == set()
    house.drop("good.nii", nifti(seed=1))
    house.live(120, step_s=2)
    assert house.states()["good"] is State.DONE
    assert not house.states()["bad"].is_at_rest
    house.sandbox.set_faults([])
    _all_is_delivered(house)


def test_a_success_between_keeps_a_hosts_breaker_closed(house: House) -> None:
    """Two cases fail, one goes through, two fail again: that is four cases' own trouble."""
    house.sandbox.set_faults([{"on": "download", "job": n, "do": {"status": 500}} for n in (0, 1)])
    for number in range(2):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live(30)
    house.drop("good.nii", nifti(seed=5))
    house.live(300)
    assert house.states()["good"] is State.DONE
    assert house.breakers() == set()
    assert [house.states()[name] for name in ("0", "1")] == [State.FETCHING] * 2


# --- a recipe that the Engine refuses ------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 422])
def test_three_refusals_in_a_row_open_the_recipes_breaker(build: Build, status: int) -> None:
    """Three scans of a recipe fail; the rest waits for a person instead of failing too."""
    house = build(limits=SLOW)
    do = {"status": status, "body": '{"message": "no such structure"}'}
    house.sandbox.set_faults([{"on": "submit", "do": do}])
    _drop_one_after_another(house, 6)
    states = list(house.states().values())
    assert states == [State.FAILED] * 3 + [State.SUBMITTING] * 3
    assert house.breakers() == {"recipe:default"}
    assert "three scans of recipe default" in house.breaker("recipe:default").reason
    assert "[job]" in house.breaker("recipe:default").hint
    assert house.error("0")["class"] == "input"
    assert f'status {status}: "no such structure"' in house.error("0")["message"]
    house.sandbox.set_faults([])
    house.live_until_rest()
    assert "recipe:default" not in house.breakers()
    assert list(house.states().values()).count(State.DONE) == 3
    assert house.breakers() == set()


def test_a_refused_recipe_leaves_the_others_alone(build: Build) -> None:
    """The breaker of one recipe stops no scan of another."""
    house = build(recipes={"teeth": {}}, limits=SLOW)
    house.sandbox.set_faults([{"on": "submit", "times": 3, "do": {"status": 422}}])
    _drop_one_after_another(house, 4, recipe="teeth")
    house.drop("other.nii", nifti(seed=9))
    house.live(10)
    assert house.breakers() == {"recipe:teeth"}
    assert house.states()["other"] is not State.FAILED
    house.live(30)
    assert house.states()["other"] is State.DONE
    assert house.states()["3"] is State.SUBMITTING


def test_a_success_between_refusals_keeps_the_recipes_breaker_closed(house: House) -> None:
    """Only refusals in a row say that the recipe is wrong."""
    house.sandbox.set_faults(
        [{"on": "submit", "nth": nth, "do": {"status": 422}} for nth in (1, 2, 4, 5)]
    )
    for number in range(6):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live(60)
    assert sorted(house.states().values()) == [State.DONE] * 2 + [State.FAILED] * 4
    assert not [event for event, _ in house.events if event == "breaker.opened"]


def test_trouble_of_the_engine_does_not_part_refusals_in_a_row(house: House) -> None:
    """A 500 in between is no success: the third refusal opens the breaker all the same."""
    house.sandbox.set_faults(
        [
            {"on": "submit", "nth": 3, "do": {"status": 500}},
            {"on": "submit", "do": {"status": 422}},
        ]
    )
    _drop_one_after_another(house, 3)
    assert "recipe:default" in house.breakers()


# --- a breaker whose own case goes away ----------------------------------------------------------


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


# --- folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["inbox", "outbox", "archive"])
def test_a_folder_that_goes_away_opens_its_breaker_and_heals(house: House, root: str) -> None:
    """An unmounted folder pauses what needs it; when it is back everything goes on."""
    house.drop("before.nii")
    house.live_until_rest()
    (house.root / root).rename(house.root / "elsewhere")
    if root != "inbox":
        house.drop("scan.nii", nifti(seed=1))
    house.live(300)
    name = "inbox:default" if root == "inbox" else root
    assert house.breakers() == {name}
    assert "missing" in house.breaker(name).reason
    assert "Mount it" in house.breaker(name).hint
    (house.root / "elsewhere").rename(house.root / root)
    if root == "inbox":
        house.drop("scan.nii", nifti(seed=1))
    house.live(600)
    _all_is_delivered(house)


def test_an_empty_mount_point_is_not_taken_for_the_folder(house: House) -> None:
    """A folder without its marker opens the breaker; nothing is written into it."""
    house.drop("before.nii")
    house.live_until_rest()
    (house.root / "outbox").rename(house.root / "elsewhere")
    (house.root / "outbox").mkdir()
    house.drop("scan.nii", nifti(seed=1))
    house.live(300)
    assert house.breakers() == {"outbox"}
    assert "marker" in house.breaker("outbox").reason
    assert list((house.root / "outbox").iterdir()) == []
    (house.root / "outbox").rmdir()
    (house.root / "elsewhere").rename(house.root / "outbox")
    house.live(600)
    _all_is_delivered(house)


def test_a_missing_folder_of_failed_cases_keeps_them_until_it_comes(house: House) -> None:
    """A case that failed and one that is held wait for the folder that is to tell of them."""
    house.live(1)
    (house.root / "failed").rename(house.root / "elsewhere")
    house.sandbox.set_faults([{"on": "poll", "job": 0, "do": {"status": 403}}])
    house.drop("held.nii")
    house.live(30)
    house.drop("text.nii", b"no scan at all " * 99)
    house.drop("good.nii", nifti(seed=1))
    house.live(120)
    assert house.states() == {"held": State.HELD, "text": State.ARCHIVING, "good": State.DONE}
    assert house.breakers() == {"failed"}
    (house.root / "elsewhere").rename(house.root / "failed")
    house.live(900, step_s=5)
    assert house.files("failed") == [
        "held.held.txt",
        "text/error.json",
        "text/error.txt",
        "text/text.nii",
    ]
    assert house.breakers() == set()


def test_a_missing_inbox_of_one_recipe_stops_no_other(build: Build) -> None:
    """Its claimed cases wait with it; those of the others are uploaded and delivered."""
    house = build(recipes={"teeth": {}})
    house.sandbox.set_faults([{"on": "upload", "job": 0, "times": 3, "do": {"status": 500}}])
    house.drop("theirs.nii", recipe="teeth")
    house.live_until("theirs", State.UPLOADING)
    (house.root / "inbox" / "teeth").rename(house.root / "elsewhere")
    house.drop("ours.nii", nifti(side=5))
    house.live(120)
    assert house.breakers() == {"inbox:teeth"}
    assert house.states() == {"theirs": State.UPLOADING, "ours": State.DONE}
    (house.root / "elsewhere").rename(house.root / "inbox" / "teeth")
    house.live(600, step_s=5)
    _all_is_delivered(house)


def test_an_outbox_that_may_not_be_written_opens_its_breaker(house: House) -> None:
    """The hint says whose permission is missing; with it the result is delivered."""
    house.drop("before.nii")
    house.live_until_rest()
    with unprivileged(house):
        (house.root / "outbox").chmod(0o555)
        (house.root / "outbox" / ".vpe-watcher").chmod(0o555)
        house.drop("scan.nii", nifti(seed=1))
        house.live(120)
        assert house.states()["scan"] is State.DELIVERING
        assert house.breakers() == {"outbox"}
        assert "permission" in house.breaker("outbox").hint
        (house.root / "outbox" / ".vpe-watcher").chmod(0o755)
        (house.root / "outbox").chmod(0o755)
        house.live(600, step_s=5)
        _all_is_delivered(house)


class FullDisk(Disk):
    """A disk that is full for what is streamed to it while `full` is set."""

    full = True

    @contextmanager
    def writing(self, path: Path) -> Iterator[BinaryIO]:
        """Open a file, or have no room for it."""
        if self.full:
            raise OSError(28, "No space left on device")
        with super().writing(path) as file:
            yield file


def test_a_full_disk_pauses_and_goes_on_by_itself(build: Build) -> None:
    """No case loses an attempt while there is no room for its result."""
    disk = FullDisk()
    house = build(disk=disk)
    house.drop("scan.nii")
    house.live(3600, step_s=60)
    assert house.states() == {"scan": State.FETCHING}
    assert house.breakers() == {"disk"}
    assert "Free space" in house.breaker("disk").hint
    house.drop("later.nii", nifti(seed=1))
    house.live(300)
    assert "later" not in house.states()
    disk.full = False
    house.live(900)
    _all_is_delivered(house)


def _drop_one_after_another(house: House, count: int, *, recipe: str = "") -> None:
    for number in range(count):
        house.drop(f"{number}.nii", nifti(seed=number), recipe=recipe)
        house.live(8)


def _all_is_delivered(house: House) -> None:
    """Live until all is delivered: one job started a case, nothing left over, breakers closed."""
    house.live_until_rest(at_most_s=1200)
    assert set(house.states().values()) == {State.DONE}
    assert [case.attempts for case in house.cases()] == [1] * len(house.cases())
    assert house.breakers() == set()
    assert house.leftovers() == []
    assert sum(job.started for job in house.sandbox.ledger.jobs.values()) == len(house.cases())
