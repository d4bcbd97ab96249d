"""Steps in which the daemon dies: who is held for it, who is not, and how work goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.flow.house import House, nifti
from vpe_watcher.core.model import Case, State
from vpe_watcher.sandbox.options import Options

Build = Callable[..., House]
EFFECTS = [state for state in State if not state.is_at_rest]
PAUSE_S = 30.0


def begin(house: House, *names: str) -> None:
    """Begin the due steps of these cases, as workers do, and get no further."""
    for name in names:
        case = house.case(name)
        house.parts.store.begin(case.case_id, case.state, jobs_per_day={})


def die_in(house: House, *names: str, after_s: float = PAUSE_S) -> None:
    """Let the daemon die in the middle of these cases' steps; another one starts."""
    begin(house, *names)
    house.time.advance(after_s)
    house.restart()


def taken(house: House) -> list[str]:
    """Take in hand what may begin; return the names of the cases."""
    names = {case.case_id: case.case_name for case in house.cases()}
    return [names[case_id] for case_id, _ in house.parts.schedule.take_ready()]


def run(house: House, *names: str) -> None:
    """Run the due steps of these cases to their ends."""
    for case in [house.case(name) for name in names]:
        house.parts.runner.run(case.case_id, case.state)


def poisoned(house: House, name: str) -> Case:
    """Return a case that is held as poisoned, after a look at what a person reads of it."""
    case = house.case(name)
    assert case.state is State.HELD
    assert case.problem is not None
    assert case.problem.code == "poisoned_step"
    house.turn()
    assert case.problem.message in house.held_note(name)
    assert f"vpe-watcher retry {case.case_id}\n" in house.held_note(name)
    return case


@pytest.mark.parametrize("state", EFFECTS)
def test_five_deaths_in_a_step_hold_the_case_and_a_retry_goes_on_there(
    build: Build, state: State
) -> None:
    """Wherever it stood: nothing is sent or paid twice, nothing is lost, no yes is needed."""
    house = build(options=Options(processing_s=5))
    house.drop("scan.nii")
    house.live_until("scan", state)
    before = house.case("scan")
    for _ in range(4):
        die_in(house, "scan")
        assert house.case("scan").state is state
    die_in(house, "scan")
    case = poisoned(house, "scan")
    assert (case.due_step, case.job_id, case.paid) == (state, before.job_id, before.paid)
    house.live(120, step_s=5)
    assert house.states() == {"scan": State.HELD}
    house.queries.say("retry", [case.case_id], may_cost=False)
    house.parts.words.obey()
    resumed = house.case("scan")
    assert (resumed.state, resumed.problem, resumed.due_step) == (state, None, None)
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert house.case("scan").attempts == 2
    assert len(house.sandbox.ledger.jobs) == house.started() == 1
    assert house.files("failed") == house.files("inbox") == house.leftovers() == []


def test_a_failure_keeps_its_reason_through_poison(house: House) -> None:
    """The case died on the way to `failed`: after the retry error.txt says why it failed."""
    house.sandbox.set_faults([{"on": "submit", "do": {"status": 422}}])
    house.drop("scan.nii")
    house.live_until("scan", State.ARCHIVING)
    for _ in range(5):
        die_in(house, "scan")
    house.say("retry", poisoned(house, "scan"))
    house.live_until_rest()
    assert house.states() == {"scan": State.FAILED}
    assert house.error("scan")["code"] == "refused_by_engine"


def test_an_innocent_case_beside_a_poisoned_one_is_never_held(house: House) -> None:
    """Three deaths with both under way; then each runs alone, and only one of them dies on."""
    for number, name in enumerate(("bad", "good", "fine")):
        house.drop(f"{name}.nii", nifti(seed=number))
    house.live_until("bad", State.UPLOADING)
    lives = 0
    while house.case("bad").state is not State.HELD:
        lives += 1
        assert lives < 12
        while "bad" not in (names := taken(house)):
            assert names
            assert lives <= 3 or len(names) == 1
            run(house, *names)
        assert lives <= 3 or names == ["bad"]
        die_in(house, *names)
    assert lives == 3 + 5
    poisoned(house, "bad")
    house.live_until_rest()
    assert house.states() == {"bad": State.HELD, "good": State.DONE, "fine": State.DONE}
    assert [case.attempts for case in house.cases()] == [1, 1, 1]


def test_two_poisoned_cases_are_both_found(house: House) -> None:
    """One after the other, and the third is delivered."""
    for number, name in enumerate(("bad", "worse", "good")):
        house.drop(f"{name}.nii", nifti(seed=number))
    house.live_until("bad", State.UPLOADING)
    bad = {"bad", "worse"}
    for _ in range(40):
        names = taken(house)
        if bad & set(names):
            die_in(house, *names)
            continue
        if not names:
            break
        run(house, *names)
    house.live_until_rest()
    assert house.states() == {"bad": State.HELD, "worse": State.HELD, "good": State.DONE}


def test_deaths_far_apart_let_steps_run_together(house: House) -> None:
    """Three power cuts in a month are no reason to be careful."""
    for number in range(2):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live_until("1", State.UPLOADING)
    for _ in range(6):
        die_in(house, "0", "1", after_s=601)
        assert sorted(taken(house)) == ["0", "1"]
    assert set(house.states().values()) == {State.UPLOADING}


def test_interrupted_steps_come_first_and_alone(house: House) -> None:
    """Nothing else begins before each has had its turn, and nothing beside one."""
    for number in range(4):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live_until("3", State.UPLOADING)
    for _ in range(3):
        die_in(house, "1", "2")
    assert taken(house) == ["1"]
    assert taken(house) == []
    run(house, "1")
    assert taken(house) == ["2"]
    run(house, "2")
    assert len(taken(house)) > 1
    reasons = [fields["reason"] for event, fields in house.events if event == "daemon.died"]
    assert len(reasons) == 3
    assert ["one at a time" in str(reason) for reason in reasons] == [False, False, True]


def test_what_has_to_run_alone_and_cannot_begin_holds_nobody_up(house: House) -> None:
    """Its breaker is open: the others go on, and it has its turn afterwards."""
    house.drop("bad.nii")
    house.live_until("bad", State.NOTIFYING)
    for _ in range(3):
        die_in(house, "bad", after_s=1)
    house.sandbox.set_faults([{"on": "notify", "do": {"status": 503}}])
    house.drop("done.nii", nifti(seed=1))
    house.live(20)
    assert house.states() == {"bad": State.NOTIFYING, "done": State.SUBMITTING}
    house.sandbox.set_faults([])
    house.live_until_rest()
    assert set(house.states().values()) == {State.DONE}


def test_a_stop_is_no_death(house: House) -> None:
    """Steps that a stopping daemon abandons are repeated, as often as it is stopped."""
    house.drop("scan.nii")
    house.live_until("scan", State.UPLOADING)
    for _ in range(8):
        begin(house, "scan")
        house.parts.store.record_stop()
        house.restart()
    assert house.case("scan").tally.deaths == 0
    assert "daemon.died" not in [event for event, _ in house.events]
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}


def test_a_crash_loop_before_any_step_counts_against_nobody(house: House) -> None:
    """The daemon dies at its start, again and again: the one step under way was one death."""
    house.drop("scan.nii")
    house.live_until("scan", State.UPLOADING)
    begin(house, "scan")
    for _ in range(9):
        house.restart()
    assert house.case("scan").tally.deaths == 1
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}


def test_to_resume_again_is_no_death(house: House) -> None:
    """The state file failed in the middle of a start: the same daemon goes on."""
    house.parts.runner.resume()
    house.parts.runner.resume()
    assert "daemon.died" not in [event for event, _ in house.events]


def test_a_death_while_deaths_are_settled_counts_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that was left open is settled at once or not at all: no second step looks lone."""
    for number in range(2):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live_until("1", State.UPLOADING)
    begin(house, "0", "1")
    finish, calls = type(house.parts.store)._finish, []  # noqa: SLF001

    def die_at_second(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        finish(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(type(house.parts.store), "_finish", die_at_second)
        with pytest.raises(KeyboardInterrupt):
            house.restart()
    house.restart()
    assert [case.tally.deaths for case in house.cases()] == [0, 0]
    assert [event for event, _ in house.events].count("step.interrupted") == 2


def test_a_poisoned_claim_is_not_taken_twice(house: House) -> None:
    """It was not yet renamed: the file in the inbox is that case's, and no new candidate."""
    house.drop("scan.nii")
    house.live_until("scan", State.CLAIMING)
    assert house.files("inbox") == ["scan.nii"]
    for _ in range(5):
        die_in(house, "scan")
    poisoned(house, "scan")
    house.live(60)
    assert house.states() == {"scan": State.HELD}
    house.drop("other.nii", nifti(seed=1))
    house.live(60)
    assert house.states() == {"scan": State.HELD, "other": State.DONE}
