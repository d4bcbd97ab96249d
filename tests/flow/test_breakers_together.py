"""Several breakers at once: with the trouble gone, every one of them closes by itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.flow.house import House, nifti
from vpe_watcher.core.breakers import Witness
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.model import State
from vpe_watcher.sandbox.options import Options

NAMES = [
    "engine",
    "token",
    "outbox",
    "archive",
    "failed",
    "state",
    "disk",
    "inbox:default",
    "upload:sandbox.test",
    "download:sandbox.test",
    "recipe:default",
    "budget",
]
KINDS = [str(state) for state in State if not state.is_at_rest]
TROUBLES = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(KINDS)), max_size=6)


@pytest.mark.real
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(troubles=TROUBLES, lived_s=st.integers(0, 40))
def test_breakers_of_healthy_resources_close(
    build: Callable[..., House], troubles: list[tuple[str, str]], lived_s: int
) -> None:
    """Whatever is open, for whatever kinds of steps: all is delivered without a person."""
    house = build(options=Options(processing_s=20))
    for number in range(3):
        house.drop(f"{number}.nii", nifti(seed=number))
        house.live(5)
    house.live(lived_s)
    for name, kind in troubles:
        fault = EnvironmentFault("It was out of order.", code="made_up", breaker=name)
        house.parts.breakers.open(fault, kind=kind)
    house.drop("late.nii", nifti(seed=9))
    house.live(1800, step_s=5)
    assert set(house.states().values()) == {State.DONE}
    assert len(house.states()) == 4
    assert house.breakers() == set()


def test_two_breakers_of_different_steps_free_each_other(house: House) -> None:
    """Each has met another kind of call, and each stands in the way of both."""
    house.sandbox.set_faults([{"on": "notify", "do": {"status": 500}}])
    house.drop("first.nii", nifti(seed=1))
    house.live_until("first", State.NOTIFYING)
    house.live(5)
    token = EnvironmentFault("None.", code="made_up", breaker="token", retry_after_s=60)
    house.parts.breakers.open(token, kind="submitting")
    house.drop("second.nii", nifti(seed=2))
    house.live(5)
    assert house.states() == {"first": State.NOTIFYING, "second": State.SUBMITTING}
    assert house.breakers() == {"engine", "token"}
    house.sandbox.set_faults([])
    house.live(1800, step_s=5)
    assert set(house.states().values()) == {State.DONE}


def test_two_jobs_refused_for_good_stop_no_submit(build: Callable[..., House]) -> None:
    """Polls that are forbidden say nothing of a new scan."""
    house = build(options=Options(processing_s=60))
    refused = {"do": {"status": 403}}
    house.sandbox.set_faults([{"on": "poll", "job": job, **refused} for job in (0, 1)])
    house.drop("one.nii", nifti(seed=1))
    house.drop("two.nii", nifti(seed=2))
    house.live(300)
    house.drop("three.nii", nifti(seed=3))
    house.live(900)
    assert house.states()["three"] is State.DONE


def test_steps_are_taken_without_the_state_file(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each step needs is known since its case was put down: a turn costs no look at a row."""
    house.drop("scan.nii")
    house.live_until("scan", State.UPLOADING)
    fault = EnvironmentFault("Slow.", code="made_up", breaker="upload:sandbox.test")
    house.restart()  # it knows the hosts of cases that it finds, too
    house.parts.breakers.open(fault, kind="made up")
    broken = EnvironmentFault("The state file is gone.", code="made_up", breaker="state")

    def fail(_case_id: str) -> None:
        raise broken from sqlite3.OperationalError()

    with monkeypatch.context() as patched:
        patched.setattr(house.parts.store, "load", fail)
        assert house.parts.schedule.take_ready() == []
        assert house.parts.schedule.has_gated_work()
    house.parts.breakers.close("upload:sandbox.test", kind="made up")
    house.live_until_rest()
    assert set(house.states().values()) == {State.DONE}


def test_the_case_that_failed_last_is_the_next_probe_last(build: Callable[..., House]) -> None:
    """Of two cases behind one breaker the one that waited longer goes first."""
    house = build()
    busy = {"status": 503, "headers": {"Retry-After": "60"}}
    house.sandbox.set_faults([{"on": "submit", "nth": 1, "times": 1, "do": busy}])
    house.drop("first.nii", nifti(seed=1))
    house.live(4)
    house.drop("second.nii", nifti(seed=2))
    house.live(900, step_s=5)
    (engine_opened,) = [f for event, f in house.events if event == "breaker.opened"]
    submits = [
        fields["case_id"]
        for event, fields in house.events
        if event == "step.done" and fields["step"] == "submitting"
    ]
    assert engine_opened["breaker"] == "engine"
    assert submits == [house.case("second").case_id, house.case("first").case_id]


def test_once_ends_when_a_duplicate_waits_for_what_is_gated(house: House) -> None:
    """The later one is as idle as the case that it waits for."""
    house.drop("first.nii")
    house.live(4)
    house.adapter.down = True
    house.drop("again.nii")
    house.live(60)
    assert house.states()["again"] is State.CLAIMING
    assert house.parts.schedule.is_idle(within_s=300)
    assert house.parts.schedule.has_gated_work()


@pytest.mark.parametrize("count", [1, 2])
def test_jobs_that_the_engine_always_fails_to_tell_of_stop_no_submit(
    build: Callable[..., House], count: int
) -> None:
    """Two of them, the only ones that are polled, are no Engine that is away."""
    house = build(limits={"retry_at_most_s": 60})
    for number in range(count):
        house.drop(f"{number}.nii", nifti(seed=number))
    polls = [{"on": "poll", "job": job, "do": {"status": 500}} for job in range(count)]
    house.sandbox.set_faults(polls)
    house.live(600, step_s=5)
    for name in ("later", "last"):
        house.drop(f"{name}.nii", nifti(seed=9, side=5 + len(name)))
        house.live(1800, step_s=5)
        assert house.states()[name] is State.DONE
    assert house.states()["0"] is State.WAITING
    house.sandbox.set_faults([])
    house.live(600, step_s=5)
    assert set(house.states().values()) == {State.DONE}


def test_a_submit_that_fails_for_ever_lets_jobs_be_polled(build: Callable[..., House]) -> None:
    """Of the calls that may be the probe, the one that is due longest comes first."""
    house = build(limits={"retry_at_most_s": 60}, options=Options(processing_s=1200))
    house.drop("paid.nii")
    house.live_until("paid", State.WAITING)
    house.sandbox.set_faults([{"on": "submit", "do": {"status": 500}}])
    house.drop("scan.nii", nifti(seed=1))
    house.live(3600, step_s=5)
    assert house.states() == {"paid": State.DONE, "scan": State.SUBMITTING}


def test_a_transfer_that_asked_the_engine_leaves_the_answer_to_any_call(house: House) -> None:
    """However many cases asked: whether it works is for no transfer to say."""
    breakers, fault = (
        house.parts.breakers,
        EnvironmentFault("No.", code="made_up", breaker="engine"),
    )
    for number in range(3):
        breakers.open(fault, kind=State.UPLOADING, witness=Witness(f"case{number}", 1))
    needed = frozenset({"engine"})
    assert not breakers.may_pass("other", State.SUBMITTING, needed)
    house.time.advance(60)
    assert breakers.may_pass("other", State.SUBMITTING, needed)
    assert not breakers.may_pass("another", State.WAITING, needed)
