"""How many jobs a day and at once, and what lay in an inbox before the daemon ever came."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.flow.house import House, nifti
from vpe_watcher.core.model import Case, State

DAY_S = 24 * 3600.0
IN_FLIGHT = {State.UPLOADING, State.NOTIFYING, State.WAITING, State.FETCHING}


def _drop_some(house: House, count: int, *, recipe: str = "") -> None:
    """Drop different scans, named after the recipe and a number."""
    for number in range(count):
        seed = number + 10 * len(recipe)
        house.drop(f"{recipe}{number}.nii", nifti(seed=seed), recipe=recipe)


def _count(house: House, state: State) -> int:
    return list(house.states().values()).count(state)


# --- jobs a day ----------------------------------------------------------------------------------


def test_jobs_per_day_stops_a_flood(build: Callable[..., House]) -> None:
    """Above the limit the rest waits in `submitting`, and the breaker says why."""
    house = build(limits={"jobs_per_day": 2})
    _drop_some(house, 5)
    house.live(60)
    assert (_count(house, State.DONE), _count(house, State.SUBMITTING)) == (2, 3)
    assert house.breakers() == {"budget"}
    breaker = house.breaker("budget")
    assert "jobs_per_day" in breaker.reason
    assert "jobs_per_day" in breaker.hint
    assert house.sandbox.ledger.count("submit") == 2
    assert house.files("failed") == []


def test_the_budget_heals_after_a_day(build: Callable[..., House]) -> None:
    """Not before 24 hours have passed, and then by itself, as many again."""
    house = build(limits={"jobs_per_day": 2})
    _drop_some(house, 3)
    house.live(60)
    house.time.advance(DAY_S - 180.0)
    house.live(30)
    assert _count(house, State.SUBMITTING) == 1
    house.time.advance(180.0)
    house.live_until_rest(at_most_s=400)
    assert _count(house, State.DONE) == 3
    assert house.breakers() == set()


def test_the_budget_is_remembered_over_a_restart(build: Callable[..., House]) -> None:
    """A daemon that is started again and again does not buy more."""
    house = build(limits={"jobs_per_day": 1})
    _drop_some(house, 2)
    house.live(30)
    house.restart()
    house.live(30)
    assert (_count(house, State.DONE), _count(house, State.SUBMITTING)) == (1, 1)
    assert house.breakers() == {"budget"}


def test_a_clock_that_ran_ahead_uses_up_no_budget(build: Callable[..., House]) -> None:
    """Submits that are dated into the next year do not count until then."""
    house = build(limits={"jobs_per_day": 2})
    house.time.wall += 365 * DAY_S
    _drop_some(house, 2)
    house.live_until_rest()
    house.time.wall -= 365 * DAY_S
    house.drop("later.nii", nifti(seed=5))
    house.live(60)
    assert house.case("later").state is State.DONE


def test_a_recipe_has_its_own_budget(build: Callable[..., House]) -> None:
    """One recipe waits; the others go on."""
    house = build(recipes={"teeth": {"jobs_per_day": 1}})
    _drop_some(house, 3, recipe="teeth")
    _drop_some(house, 3)
    house.live(60)
    assert (_count(house, State.DONE), _count(house, State.SUBMITTING)) == (4, 2)
    waiting = [case for case in house.cases() if case.state is State.SUBMITTING]
    assert {case.recipe for case in waiting} == {"teeth"}
    assert house.breakers() == {"budget:teeth"}


def test_the_total_holds_for_all_recipes_together(build: Callable[..., House]) -> None:
    """Cases of every recipe count."""
    house = build(limits={"jobs_per_day": 3}, recipes={"teeth": {}})
    _drop_some(house, 2, recipe="teeth")
    _drop_some(house, 2)
    house.live(60)
    assert (_count(house, State.DONE), _count(house, State.SUBMITTING)) == (3, 1)
    assert house.breakers() == {"budget"}


def test_no_budget_is_no_limit(build: Callable[..., House]) -> None:
    """0 means none."""
    house = build(limits={"jobs_per_day": 0})
    _drop_some(house, 6)
    house.live_until_rest()
    assert _count(house, State.DONE) == 6


def test_new_jobs_of_one_case_do_not_count(build: Callable[..., House]) -> None:
    """An upload URL that expired costs another submit, which the budget does not see."""
    house = build(limits={"jobs_per_day": 1})
    house.sandbox.set_faults([{"on": "upload", "times": 3, "do": {"status": 403}}])
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert house.sandbox.ledger.count("submit") == 4
    assert house.breakers() == set()


def test_a_case_that_counted_goes_on_while_others_wait(build: Callable[..., House]) -> None:
    """The open budget holds back first submits, not the second of a case that was counted."""
    house = build(limits={"jobs_per_day": 1})
    house.sandbox.set_faults([{"on": "upload", "do": {"status": 500}}])
    _drop_some(house, 2)
    house.live(30)
    assert house.breakers() == {"budget"}
    (counted,) = [case for case in house.cases() if case.state is State.UPLOADING]
    house.sandbox.set_faults([{"on": "upload", "times": 1, "do": {"status": 403}}])
    for _ in range(600):
        house.turn()
        if house.case(counted.case_name).state is State.SUBMITTING:
            break
        house.time.advance(1.0)
    house.live(60)
    assert house.case(counted.case_name).state is State.DONE
    assert _count(house, State.SUBMITTING) == 1


def test_a_persons_retry_is_not_counted_again(build: Callable[..., House]) -> None:
    """The case was counted at its first submit."""
    house = build(limits={"jobs_per_day": 1})
    house.sandbox.set_options(success=False)
    house.drop("scan.nii")
    house.live_until_rest()
    house.sandbox.set_options(success=True)
    house.say("retry", house.case("scan"), may_cost=True)
    house.live_until_rest()
    assert (house.states(), house.started()) == ({"scan": State.DONE}, 2)


def test_a_duplicate_is_not_counted(build: Callable[..., House]) -> None:
    """Nothing is sent for it."""
    house = build(limits={"jobs_per_day": 2})
    house.drop("scan.nii")
    house.drop("again.nii")
    house.drop("other.nii", nifti(seed=1))
    house.live_until_rest()
    assert _count(house, State.DUPLICATE) == 1
    assert house.breakers() == set()


def test_jobs_in_flight(build: Callable[..., House]) -> None:
    """No more jobs than allowed are submitted and not finished; the next follows at once."""
    house = build(limits={"jobs_in_flight": 2})
    house.sandbox.set_options(processing_s=15.0)
    _drop_some(house, 5)
    most = 0
    for _ in range(200):
        house.turn()
        most = max(most, sum(case.state in IN_FLIGHT for case in house.cases()))
        house.time.advance(1.0)
    assert (most, _count(house, State.DONE)) == (2, 5)
    assert house.breakers() == set()


# --- existing ------------------------------------------------------------------------------------


@pytest.fixture
def shy(build: Callable[..., House]) -> House:
    """Return a house that leaves alone what lay in its inbox at the very first scan."""
    house = build(intake={"existing": "ignore"})
    house.drop("old.nii")
    folder = house.root / "inbox" / "old folder"
    folder.mkdir()
    (folder / "scan.nii").write_bytes(nifti(seed=1))
    house.live(5)
    return house


def test_what_lay_there_is_left_alone_and_shown(shy: House) -> None:
    """It is a candidate in state `existing`, with the reason; what comes later is taken."""
    shy.live(60)
    assert shy.states() == {}
    for name in ("old.nii", "old folder"):
        assert shy.candidate(name)["state"] == "existing"
        assert "existing" in shy.candidate(name)["reason"]
    shy.drop("new.nii", nifti(seed=2))
    shy.live_until_rest()
    assert shy.states() == {"new": State.DONE}
    assert shy.files("inbox") == ["old folder/scan.nii", "old.nii"]


def test_the_very_first_scan_is_remembered(shy: House) -> None:
    """After a restart the old stays old, and what came while nobody watched is new."""
    shy.close()
    shy.drop("meanwhile.nii", nifti(seed=2))
    shy.start()
    shy.live(60)
    assert shy.states() == {"meanwhile": State.DONE}
    shy.restart()
    shy.live(60)
    assert shy.states() == {"meanwhile": State.DONE}
    assert shy.candidate("old.nii")["state"] == "existing"


def test_an_old_file_that_changes_is_new(shy: House) -> None:
    """Somebody wrote to it: it is wanted now."""
    shy.drop("old.nii", nifti(seed=3))
    (shy.root / "inbox" / "old folder" / "more.stl").write_bytes(b"")
    shy.live(60)
    assert shy.states() == {"old": State.DONE}
    assert shy.candidate("old folder")["state"] == "incomplete"


def test_what_a_person_submits_is_taken(shy: House) -> None:
    """`submit` overrides `existing`, before the first scan and after it."""
    shy.queries.say("take", [str(shy.root / "inbox" / "old.nii")])
    shy.parts.words.obey()
    shy.live_until("old", State.DONE)
    assert shy.candidate("old folder")["state"] == "existing"


def test_what_is_submitted_before_the_first_scan_is_taken(build: Callable[..., House]) -> None:
    """The word is heard before the daemon looks, and outlives a crash after the look."""
    house = build(intake={"existing": "ignore"})
    house.drop("old.nii", nifti(seed=1))
    house.queries.say("take", [str(house.drop("wanted.nii"))])
    house.restart()
    house.look()
    house.restart()
    house.live_until_rest()
    assert house.states() == {"wanted": State.DONE}
    assert house.candidate("old.nii")["state"] == "existing"


def test_a_wish_outlives_a_crash_before_the_first_scan(build: Callable[..., House]) -> None:
    """The word was heard, and the daemon died before it could look at anything."""
    house = build(intake={"existing": "ignore"})
    house.drop("old.nii", nifti(seed=1))
    house.queries.say("take", [str(house.drop("wanted.nii"))])
    house.restart()
    assert house.parts.store.words() == []
    house.restart()
    house.live_until_rest()
    assert house.states() == {"wanted": State.DONE}
    assert house.candidate("old.nii")["state"] == "existing"


def test_a_wish_outlives_a_crash_before_the_claim(shy: House) -> None:
    """The word was heard after the first scan, and the daemon died before it took the file."""
    shy.queries.say("take", [str(shy.root / "inbox" / "old.nii")])
    shy.parts.words.obey()
    assert shy.parts.store.words() == []
    shy.restart()
    shy.live_until("old", State.DONE)
    assert shy.candidate("old folder")["state"] == "existing"


def test_a_wanted_path_is_looked_at_at_once(build: Callable[..., House]) -> None:
    """Not only at the next scan, which may be an hour away."""
    house = build(intake={"existing": "ignore", "scan_every_s": 3600})
    house.drop("old.nii")
    house.live(5)
    house.queries.say("take", [str(house.root / "inbox" / "old.nii")])
    house.parts.words.obey()
    house.live_until("old", State.DONE)


def test_each_recipe_has_its_own_first_scan(build: Callable[..., House]) -> None:
    """A recipe that is added later ignores what lies in its inbox then."""
    house = build(intake={"existing": "ignore"})
    house.live(5)
    house.drop("early.nii", recipe="teeth")
    house.reconfigure(recipes={"teeth": {}})
    house.live(30)
    assert house.states() == {}
    house.drop("late.nii", nifti(seed=1), recipe="teeth")
    house.live_until_rest()
    assert house.states() == {"late": State.DONE}


def test_files_found_at_start_are_treated_like_others(build: Callable[..., House]) -> None:
    """By default what lies there is taken, after the same quiet time."""
    house = build(recipes={"default": {"exported_by_nfs": True}})
    house.close()
    house.drop("scan.nii")
    house.drop("half.nii", nifti()[:-7])
    house.start()
    house.turn()
    assert house.states() == {}
    assert house.candidate("scan.nii")["state"] == "settling"
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert house.candidate("half.nii")["state"] == "incomplete"


def test_existing_is_decided_once(build: Callable[..., House]) -> None:
    """A root that was scanned under `take` has no existing files any more."""
    house = build()
    house.live(5)
    house.close()
    house.drop("scan.nii")
    house.reconfigure(intake={"existing": "ignore"})
    done: Case = house.live_until("scan", State.DONE)
    assert done.outbox is not None
