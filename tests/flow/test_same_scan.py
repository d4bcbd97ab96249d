"""The same scan twice where a person's words, deaths and late slices come between."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flow.house import House, nifti
from tests.flow.series import write_series
from tests.flow.test_poison import die_in
from tests.flow.test_series import NAME, QUICK
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.store import Begun, Store
from vpe_watcher.core.model import Case, State
from vpe_watcher.sandbox.options import Options

Build = Callable[..., House]
SENDING = [State.SUBMITTING, State.UPLOADING, State.NOTIFYING]


@pytest.fixture
def house(build: Build) -> House:
    """Return a house whose Engine takes some seconds for a job."""
    return build(options=Options(processing_s=5))


def _poison(house: House, name: str, state: State, *, content: bytes | None = None) -> Case:
    """Drop a scan and let the daemon die in a step of it until it is held."""
    house.drop(f"{name}.nii", content)
    house.live_until(name, state)
    for _ in range(5):
        die_in(house, name)
    case = house.case(name)
    assert (case.state, case.due_step, case.paid) == (State.HELD, state, False)
    return case


# --- poisoned on the way to the Engine -----------------------------------------------------------


@pytest.mark.parametrize("state", SENDING)
def test_what_comes_after_a_held_case_is_held(house: House, state: State) -> None:
    """Also where the content of the held one was not yet known: its free retry pays for both."""
    first = _poison(house, "scan", state)
    house.turn()
    house.drop("again.nii")
    house.live(30)
    again = house.case("again")
    assert (again.state, house.started()) == (State.HELD, 0)
    assert again.problem is not None
    assert (again.problem.code, first.case_id in again.problem.message) == (
        "duplicate_ambiguous",
        True,
    )
    house.say("retry", first)
    house.live(60)
    assert house.states() == {"scan": State.DONE, "again": State.HELD}
    assert house.started() == 1


def test_another_scan_of_that_size_is_sent(house: House) -> None:
    """What is held is read where its content is not known, and only the same waits for it."""
    _poison(house, "scan", State.SUBMITTING)
    house.drop("other.nii", nifti(seed=1))
    house.live(60)
    assert house.states() == {"scan": State.HELD, "other": State.DONE}


@pytest.mark.parametrize("state", SENDING)
def test_a_free_retry_does_not_pay_for_what_was_sent_at_its_price(
    house: House, state: State
) -> None:
    """The later one was sent with a yes: the held one is its duplicate, not a second job."""
    first = _poison(house, "scan", state)
    house.drop("again.nii")
    house.live(30)
    house.say("retry", house.case("again"), may_cost=True)
    house.live_until("again", State.WAITING)
    house.say("retry", first)
    house.live_until_rest()
    assert house.states() == {"scan": State.DUPLICATE, "again": State.DONE}
    assert house.started() == 1


@pytest.mark.parametrize("state", SENDING)
def test_a_free_retry_of_the_later_one_finds_the_earlier_one_done(
    house: House, state: State
) -> None:
    """The older was cancelled, and taken up again while the younger was held as poisoned."""
    house.drop("old.nii")
    old = house.live_until("old", State.SUBMITTING)
    _cancel(house, old)
    house.live_until_rest()
    first = _poison(house, "scan", state)
    house.say("retry", old)
    house.live(60)
    assert (house.case("old").state, house.started()) == (State.DONE, 1)
    house.say("retry", first)
    house.live(60)
    assert house.states() == {"old": State.DONE, "scan": State.DUPLICATE}
    assert house.started() == 1


# --- between the last question and the commit ----------------------------------------------------


def _cancel(house: House, case: Case) -> None:
    house.queries.say("cancel", [case.case_id])
    house.parts.words.obey()


def _run_alone(house: House, name: str, *, until: Callable[[State], bool]) -> None:
    """Let only the steps of one case run; what is taken beside it runs later."""
    schedule, case = house.parts.schedule, house.case(name)
    for _ in range(60):
        if until(house.case(name).state):
            return
        for case_id, state in schedule.take_ready():
            if case_id == case.case_id:
                house.parts.runner.run(case_id, state)
            else:
                schedule.release(case_id)
        house.time.advance(1.0)
    raise AssertionError(f"{name} is {house.case(name).state}")


@pytest.mark.parametrize(
    ("is_cancelled", "states"),
    [
        (False, {"scan": State.DONE, "again": State.DUPLICATE}),
        (True, {"scan": State.CANCELLED, "again": State.HELD}),
    ],
)
def test_an_earlier_case_that_ended_while_the_later_one_was_compared(
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    is_cancelled: bool,  # noqa: FBT001 - a parameter of pytest
    states: dict[str, State],
) -> None:
    """Taken up again and done, or paid and cancelled, before the claim is recorded: one job."""
    house.drop("scan.nii")
    first = house.live_until("scan", State.NOTIFYING)
    _cancel(house, first)
    house.live_until_rest()
    finish = Store.finish
    met: list[Begun] = []

    def late(store: Store, begun: Begun, *rest: Any, **named: Any) -> object:
        if begun.case.case_name == "again" and not met:
            met.append(begun)
            house.queries.say("retry", [first.case_id])
            house.parts.words.obey()
            if is_cancelled:
                _run_alone(house, "scan", until=lambda state: state is State.WAITING)
                _cancel(house, first)
            _run_alone(house, "scan", until=lambda state: state.is_at_rest)
        return finish(store, begun, *rest, **named)

    house.drop("again.nii")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "finish", late)
        house.live(30)
    assert len(met) == 1
    assert (house.states(), house.started()) == (states, 1)


# --- slices that are lent ------------------------------------------------------------------------


def _lends_to_a_part(build: Build) -> tuple[House, Case, Case]:
    """Let a series be cancelled unpaid, and a part of it that came again be held for it."""
    house = build(options=Options(processing_s=5), intake=QUICK, retention={"on_success": "delete"})
    write_series(house.root / "inbox", range(1, 21))
    first = house.live_until(NAME, State.SUBMITTING)
    write_series(house.root / "inbox", range(1, 13), name="again{}.dcm")
    for inbox in house.parts.inboxes.values():
        inbox.look_anew()
    for _ in range(2):
        house.time.advance(8)
        house.look()
    _cancel(house, first)
    house.live(30)
    first, part = house.cases()
    assert (first.state, part.state, part.late_for) == (
        State.CANCELLED,
        State.HELD,
        first.case_id,
    )
    return house, first, part


@pytest.mark.parametrize("is_first_first", [True, False])
def test_a_series_and_its_part_never_wait_for_one_another(
    build: Build,
    is_first_first: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    """The part needs the slices that are to be deleted, and is the same scan with them."""
    house, first, part = _lends_to_a_part(build)
    order = [first, part] if is_first_first else [part, first]
    house.queries.say("retry", [case.case_id for case in order])
    house.parts.words.obey()
    house.live_until_rest()
    assert [case.state for case in house.cases()] == [State.DONE, State.DUPLICATE]
    assert house.started() == 1


def test_what_lends_its_slices_says_to_whom(build: Build) -> None:
    """Until the part is sent with them, nothing is deleted, and `status` tells why."""
    house, first, part = _lends_to_a_part(build)
    house.queries.say("retry", [first.case_id])
    house.parts.words.obey()
    _run_alone(house, first.case_name, until=lambda state: state is State.ARCHIVING)
    house.queries.say("retry", [part.case_id])
    house.parts.words.obey()
    house.parts.runner.run(first.case_id, State.ARCHIVING)
    ((reason, waits, count),) = house.queries.wait_reasons(State.ARCHIVING)
    assert (part.case_id in reason, waits, count) == (True, first.case_id, 1)
    house.live_until_rest()
    assert house.queries.case_row(first.case_id)["wait_reason"] is None


def test_a_part_behind_a_held_first_case_says_what_it_waits_for(build: Build) -> None:
    """No attempt at it is made that would record a reason: also not after a cancel."""
    house = build(intake=QUICK | {"min_slices": 2})
    folder = house.root / "inbox" / "Anna"
    write_series(folder / "a", range(1, 3))
    write_series(folder / "b", range(1, 3), series="1.2.3", SeriesNumber="5")
    while not house.cases():
        house.look()
        house.time.advance(1)
    first, part = house.cases()
    for _ in range(5):
        die_in(house, first.case_name)
    house.live(5)
    for state in (State.CLAIMING, State.ARCHIVING):
        ((reason, waits, count),) = house.queries.wait_reasons(state)
        assert (first.case_id in reason, waits, count) == (True, part.case_id, 1)
        assert house.queries.case_row(part.case_id)["wait_reason"] == reason
        _cancel(house, part)
        house.live(5)
    house.say("retry", first)
    house.live_until_rest()
    assert house.queries.case_row(part.case_id)["wait_reason"] is None
    assert [case.state for case in house.cases()] == [State.DONE, State.CANCELLED]


# --- the wait ------------------------------------------------------------------------------------


def test_a_wait_for_the_same_scan_is_cheap_and_ends_with_the_other(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at it writes six times: few an hour, and one at once when the other has ended."""
    house = build(options=Options(processing_s=3600))
    house.drop("scan.nii")
    house.live_until("scan", State.WAITING)
    house.drop("again.nii")
    house.live(10)
    begun: list[State] = []
    begin = Store.begin

    def counted(store: Store, case_id: str, state: State, **limits: Any) -> Begun | str:
        begun.append(state)
        return begin(store, case_id, state, **limits)

    monkeypatch.setattr(Store, "begin", counted)
    house.live(1800)
    assert 1 <= begun.count(State.CLAIMING) <= 1800 / 20
    while house.case("scan").state is not State.DONE:
        house.time.advance(1)
        house.turn()
    house.turn()
    assert house.states() == {"scan": State.DONE, "again": State.DUPLICATE}


def test_what_ends_as_another_begins_to_wait_for_it_is_not_waited_for(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would wake it: it is asked once more whether the other is under way."""
    house.drop("scan.nii")
    house.live_until("scan", State.WAITING)
    house.drop("again.nii")
    house.live_until("again", State.CLAIMING)
    case = house.case("again")
    finish = Store.finish

    def late(store: Store, begun: Begun, *rest: Any, **named: Any) -> object:
        if begun.case.case_id == case.case_id:
            _run_alone(house, "scan", until=lambda state: state.is_at_rest)
        return finish(store, begun, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "finish", late)
        house.parts.runner.run(case.case_id, State.CLAIMING)
    assert house.case("again").state is State.CLAIMING
    house.turn()
    assert house.states() == {"scan": State.DONE, "again": State.DUPLICATE}


class Refusing(Disk):
    """A disk on which one file may not be renamed until `is_free`."""

    is_free = False

    def rename_unsynced(self, source: Path, target: Path) -> None:
        """Rename, unless it is the one."""
        if source.name == "mine.nii" and not self.is_free:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        super().rename_unsynced(source, target)


def test_a_cancelled_scan_that_may_not_be_renamed_stands_in_nobodys_way(build: Build) -> None:
    """It is never sent, whatever it holds: others of its size go on."""
    house = build(disk=Refusing())
    house.drop("mine.nii", nifti(seed=1))
    while not house.cases():
        house.look()
        house.time.advance(1.0)
    house.say("cancel", house.case("mine"))
    house.drop("other.nii", nifti(seed=2))
    house.drop("same.nii", nifti(seed=1))
    house.live(600)
    done = {"other": State.DONE, "same": State.DONE}
    assert house.states() == {"mine": State.ARCHIVING, **done}
    assert house.started() == 2


def test_a_part_that_may_not_be_renamed_is_waited_for_by_nobody(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same series goes first meanwhile, and the part finds that when it may be taken."""
    house = build(intake={"settle_s": 0.2, "series_settle_s": 2, "min_slices": 2})
    folder = house.root / "inbox" / "study"
    write_series(folder / "a", range(1, 4))
    write_series(folder / "b", range(1, 4), series="1.2.3", SeriesNumber="5")
    rename = Disk.rename_unsynced

    def refuse(disk: Disk, source: Path, target: Path) -> None:
        if source.parent.name == "b":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        rename(disk, source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "rename_unsynced", refuse)
        house.live(60)
        write_series(house.root / "inbox" / "same", range(1, 4), series="1.2.3", SeriesNumber="5")
        house.live(300)
        assert [case.state for case in house.cases()] == [
            *(State.ARCHIVING, State.CLAIMING, State.DONE)
        ]
    house.live(700)
    assert [case.state for case in house.cases()] == [State.DONE, State.DUPLICATE, State.DONE]
    assert house.started() == 2
