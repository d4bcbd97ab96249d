"""Order and fairness of the schedule: caps at every interleaving, and nobody waits for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpe_watcher.adapters.store import Store, UnderWay
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.machine import Patience
from vpe_watcher.core.model import State
from vpe_watcher.core.priorities import DAY_MINUTES, DayHours, Priority
from vpe_watcher.flow.agenda import Due, Line
from vpe_watcher.flow.breakers import Breakers
from vpe_watcher.flow.room import FOLDER_LANES, IN_FLIGHT, LANES, Limits, Share
from vpe_watcher.flow.schedule import Schedule

GIB = 1024**3
WAY = list(LANES)  # the states in the order in which a case comes to them
LIMITS = Limits(
    lanes={
        "uploads": 2,
        "downloads": 2,
        "submits": 4,
        "calls": 4,
        **dict.fromkeys(FOLDER_LANES, 4),
    },
    jobs_in_flight=6,
    budgets={},
    big_upload=GIB,
)
NIGHT = Share(Priority.OFF_PEAK, hours=DayHours(20 * 60, 6 * 60))
URGENT = Share(Priority.URGENT)


@dataclass
class Office:
    """A schedule without threads or rows: cases come, steps are taken, and end when told to."""

    limits: Limits = LIMITS
    now: float = 12 * 3600.0
    sizes: dict[str, int] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    in_hand: dict[str, State] = field(default_factory=dict)
    taken: list[tuple[str, State]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.breakers = Breakers(
            patience=Patience(),
            monotonic=lambda: self.now,
            now=lambda: self.now,
            chance=lambda: 0.5,
            log=lambda *_, **__: None,
        )
        self.schedule = Schedule(
            cast("Store", self),
            self.breakers,
            self.limits,
            monotonic=lambda: self.now,
            now=lambda: self.now,
            should_stop=lambda _: False,
            minute_of=lambda now: int(now // 60) % DAY_MINUTES,
        )

    def due(self) -> list[UnderWay]:
        """Return the cases that are under way, as the state file would."""
        return [
            UnderWay(
                case_id, _recipe(case_id), state, is_counted=False,
                unsent_bytes=self.sizes.get(case_id, 0),
            )
            for case_id, state in self.states.items()
        ]  # fmt: skip

    def load(self, _case_id: str) -> None:
        """Know no more of any case."""

    def add(
        self, recipe: str, state: State = State.SUBMITTING, *, count: int = 1, size: int = 0
    ) -> None:
        """Let cases of a recipe come."""
        for _ in range(count):
            case_id = f"{recipe}-{len(self.sizes)}"
            self.sizes[case_id] = size
            self.states[case_id] = state
        self.schedule.refresh()

    def take(self) -> list[str]:
        """Take what may begin; hold the caps."""
        now = self.schedule.take_ready()
        self.in_hand |= dict(now)
        self.taken += now
        self.check()
        return [case_id for case_id, _ in now]

    def end(self, case_id: str, *, retry_s: float | None = None) -> None:
        """End a step: the case goes on, or tries again later."""
        state = self.in_hand.pop(case_id)
        nearer = WAY.index(state) + 1
        if retry_s is None and nearer == len(WAY):
            del self.states[case_id]
            self.schedule.put(case_id, None)
        else:
            self.states[case_id] = state if retry_s is not None else WAY[nearer]
            is_big = self.states[case_id] in WAY[1:3] and self.sizes[case_id] > GIB
            line = Line(self.states[case_id], _recipe(case_id), is_counted=False, is_big=is_big)
            self.schedule.put(case_id, Due(self.now + (retry_s or 0), line, unsent_bytes=0))
        self.schedule.release(case_id)

    def check(self) -> None:
        """Hold every cap, whatever came before."""
        used = Counter(LANES[state] for state in self.in_hand.values())
        assert all(count <= self.limits.lanes[lane] for lane, count in used.items())
        flights = [one for one in self.states if self.is_in_flight(one)]
        assert len(flights) <= self.limits.jobs_in_flight
        for recipe, share in self.limits.shares.items():
            own = [LANES[state] for one, state in self.in_hand.items() if _recipe(one) == recipe]
            assert all(own.count(lane) <= cap for lane, cap in share.lanes.items() if cap)
            jobs = sum(_recipe(one) == recipe for one in flights)
            assert jobs <= (share.jobs_in_flight or self.limits.jobs_in_flight)
        urgent = {name for name, one in self.limits.shares.items() if one is URGENT}
        big = [
            one for one, state in self.in_hand.items()
            if state is State.UPLOADING and self.sizes[one] > GIB and _recipe(one) not in urgent
        ]  # fmt: skip
        assert len(big) <= max(1, self.limits.lanes["uploads"] - 1)

    def is_in_flight(self, case_id: str) -> bool:
        """Tell whether a job of the case may be submitted and is not finished."""
        is_submitted = self.in_hand.get(case_id) is State.SUBMITTING
        return is_submitted or self.states[case_id] in IN_FLIGHT

    def submits(self) -> list[str]:
        """Return the recipes in the order in which they submitted."""
        return [_recipe(one) for one, state in self.taken if state is State.SUBMITTING]


def _recipe(case_id: str) -> str:
    return case_id.rpartition("-")[0]


def _with(limits: Limits = LIMITS, **shares: Share) -> Limits:
    return replace(limits, shares=shares)


# --- who comes first ------------------------------------------------------------------------------


def test_a_backlog_of_one_recipe_is_one_who_waits() -> None:
    """Of a thousand cases and one, the one is submitted as soon as a job ends."""
    office = Office()
    office.add("bulk", count=1000)
    while taken := office.take():
        for case_id in taken:
            if office.in_hand[case_id] is State.SUBMITTING:
                office.end(case_id)
    assert office.submits() == ["bulk"] * LIMITS.jobs_in_flight
    office.now += 60
    office.add("default")
    assert office.take() == []
    while len(office.submits()) == LIMITS.jobs_in_flight:
        office.end(next(iter(office.in_hand)))
        office.take()
    assert office.submits()[LIMITS.jobs_in_flight :] == ["default"]


def test_two_backlogs_share_what_may_be_in_flight() -> None:
    """Half each, though one was there first."""
    office = Office()
    office.add("bulk", count=100)
    office.add("teeth", count=100)
    for _ in range(40):
        for case_id in office.take():
            office.end(case_id)
    submits = office.submits()
    assert abs(submits.count("bulk") - submits.count("teeth")) <= 1


def test_long_steps_of_one_recipe_do_not_take_all_places() -> None:
    """Two recipes with a backlog each: the one of short uploads always has a place."""
    office = Office(replace(LIMITS, jobs_in_flight=100))
    office.add("long", State.UPLOADING, count=20)
    office.add("short", State.UPLOADING, count=20)
    for _ in range(15):
        office.take()
        uploading = [one for one, state in office.in_hand.items() if state is State.UPLOADING]
        assert sorted(map(_recipe, uploading)) == ["long", "short"]
        for case_id in list(office.in_hand):
            if case_id not in uploading or _recipe(case_id) == "short":
                office.end(case_id)


def test_recipes_take_turns_in_a_lane_of_one_place() -> None:
    """However long the others' cases have waited."""
    lanes = {**LIMITS.lanes, "uploads": 1}
    office = Office(replace(LIMITS, lanes=lanes, jobs_in_flight=100))
    for recipe in ("bulk", "default", "teeth"):
        office.add(recipe, State.UPLOADING, count=20)
        office.now += 60
    for _ in range(15):
        for case_id in office.take():
            office.end(case_id)
    uploads = [_recipe(one) for one, state in office.taken if state is State.UPLOADING]
    assert uploads[:6] == ["bulk", "default", "teeth"] * 2


def test_the_urgent_come_first_and_leave_one_of_five_to_others() -> None:
    """And of the others off-peak comes last, but comes."""
    hours = DayHours(0, DAY_MINUTES)
    office = Office(
        replace(
            _with(urgent=URGENT, night=Share(Priority.OFF_PEAK, hours=hours)),
            lanes={**LIMITS.lanes, "submits": 1},
            jobs_in_flight=1000,
        )
    )
    for recipe in ("night", "default", "urgent"):
        office.add(recipe, count=200)
    for _ in range(105):
        for case_id in office.take():
            if office.in_hand[case_id] is State.SUBMITTING:
                office.end(case_id)
    submits = office.submits()
    assert submits[:6] == ["urgent"] * 4 + ["default", "urgent"]
    counts = Counter(submits)
    assert counts["night"] == pytest.approx(105 / 17, abs=1)
    assert counts["default"] == pytest.approx(105 / 5, abs=2)


@pytest.mark.parametrize("state", [one for one in WAY if one is not State.SUBMITTING])
def test_the_urgent_come_first_in_every_lane(state: State) -> None:
    """To be submitted first helps little if the upload waits behind a backlog."""
    office = Office(replace(_with(urgent=URGENT), jobs_in_flight=100))
    office.add("bulk", state, count=50)
    office.take()
    office.now += 1
    office.add("urgent", state)
    office.end(next(iter(office.in_hand)))
    assert "urgent-50" in office.in_hand or "urgent-50" in office.take()


def test_a_recipe_that_may_not_go_on_stops_no_other() -> None:
    """Its breaker is open, its hours are closed, its own cap is reached: others use the places."""
    office = Office(_with(night=NIGHT, few=Share(jobs_in_flight=1), urgent=URGENT))
    fault = EnvironmentFault("refused", code="refused", breaker="recipe:urgent")
    office.breakers.open(fault, kind=State.SUBMITTING)
    for recipe in ("urgent", "night", "few", "default"):
        office.add(recipe, count=20)
    assert Counter(map(_recipe, office.take())) == {"few": 1, "default": 3}


# --- big and small --------------------------------------------------------------------------------


def test_a_small_case_is_not_stuck_behind_big_ones() -> None:
    """One place for uploads is kept, and big ones behind the first are not even submitted."""
    office = Office()
    office.add("default", count=20, size=5 * GIB)
    for _ in range(3):
        for case_id in office.take():
            if office.in_hand[case_id] is State.SUBMITTING:
                office.end(case_id)
    assert office.in_hand == {"default-0": State.UPLOADING}
    assert office.submits() == ["default"]
    office.add("default", size=GIB)
    assert office.take() == ["default-20"]
    office.end("default-20")
    assert office.take() == ["default-20"]
    assert office.in_hand["default-20"] is State.UPLOADING


def test_an_urgent_big_case_waits_for_no_other_than_urgent_ones() -> None:
    """The place that is kept is there for it, too."""
    office = Office(_with(urgent=URGENT))
    office.add("default", State.UPLOADING, count=2, size=5 * GIB)
    office.add("urgent", State.UPLOADING, count=2, size=5 * GIB)
    assert office.take() == ["urgent-2"]
    office.end("urgent-2", retry_s=60)
    office.add("default", State.UPLOADING)
    assert office.take() == ["urgent-3", "default-4"]


def test_a_big_case_in_trouble_keeps_no_other_from_being_submitted() -> None:
    """It is put off, its host is out of order, or its share is silent: the next one goes on."""
    for trouble in ("retry", "host", "silent"):
        office = Office()
        office.add("teeth", State.UPLOADING, size=5 * GIB)
        assert office.take() == ["teeth-0"]
        office.add("default", size=5 * GIB)
        assert office.take() == []
        if trouble == "silent":
            office.schedule.set_silent(frozenset({"inbox:teeth"}))
        else:
            office.end("teeth-0", retry_s=300 if trouble == "retry" else 0)
        if trouble == "host":
            fault = EnvironmentFault("down", code="down", breaker="inbox:teeth")
            office.breakers.open(fault, kind=State.UPLOADING)
        assert office.take() == ["default-1"], trouble


def test_with_a_single_place_a_big_case_is_uploaded_all_the_same() -> None:
    """There is nothing to keep."""
    office = Office(replace(LIMITS, lanes={**LIMITS.lanes, "uploads": 1}))
    office.add("default", size=5 * GIB)
    office.end(*office.take())
    assert office.take() == ["default-0"]


# --- hours ----------------------------------------------------------------------------------------


def test_off_peak_holds_back_the_submit_and_nothing_else() -> None:
    """Not the claim, where the scan is safe, nor what is paid for."""
    office = Office(_with(night=NIGHT))
    for state in WAY:
        office.add("night", state)
    taken = dict(office.schedule.take_ready())
    assert set(taken.values()) == set(WAY) - {State.SUBMITTING}
    (wait,) = office.schedule.waits()
    assert (wait.recipe, wait.state, wait.count) == ("night", State.SUBMITTING, 1)
    assert wait.reason == "submitted at 20:00-06:00 only (recipes.night.off_peak)"


def test_off_peak_opens_by_the_clock_on_the_wall() -> None:
    """The schedule says when, and a run of once goes home if that is late."""
    office = Office(_with(night=NIGHT))
    office.add("night")
    assert office.take() == []
    assert office.schedule.next_due_in_s() == 8 * 3600
    assert office.schedule.is_idle(within_s=300)
    assert not office.schedule.has_gated_work()
    office.now += 8 * 3600 - 60
    assert not office.schedule.is_idle(within_s=300)
    assert office.take() == []
    assert office.schedule.next_due_in_s() == 60
    office.now += 60
    assert office.take() == ["night-0"]
    assert office.schedule.waits() == []


# --- other limits at run time ---------------------------------------------------------------------


def test_other_limits_hold_at_once() -> None:
    """Caps, hours and what counts as big: for what is on the schedule already, too."""
    office = Office(replace(LIMITS, jobs_in_flight=1))
    office.add("default", count=4, size=2 * GIB)
    assert len(office.take()) == 1
    office.limits = replace(LIMITS, jobs_in_flight=3, big_upload=None)
    office.schedule.use(office.limits)
    assert len(office.take()) == 2
    office.limits = replace(office.limits, jobs_in_flight=99, shares={"default": NIGHT})
    office.schedule.use(office.limits)
    assert office.take() == []


# --- whatever happens -----------------------------------------------------------------------------

SHARES = st.fixed_dictionaries(
    {
        "urgent": st.just(URGENT),
        "night": st.sampled_from((NIGHT, replace(NIGHT, hours=DayHours(0, DAY_MINUTES)))),
        "few": st.builds(
            Share,
            lanes=st.fixed_dictionaries({"uploads": st.integers(0, 2), "downloads": st.just(1)}),
            jobs_in_flight=st.integers(0, 2),
        ),
    },
)
BOUNDS = st.builds(
    lambda uploads, flights, shares: replace(
        LIMITS,
        lanes={**LIMITS.lanes, "uploads": uploads},
        jobs_in_flight=flights,
        shares=shares,
    ),
    st.integers(1, 3),
    st.integers(1, 6),
    SHARES,
)
RECIPES = ("default", "teeth", "urgent", "night", "few")
SEEDS = st.integers(0, 1_000_000)
SOME_SIZES = (0, GIB, 5 * GIB)


def _turn(office: Office, chance: Random, *, fails: float = 0.1, ends: float = 0.5) -> None:
    """Take what may begin; end some steps, some of them badly; let time pass."""
    office.take()
    for case_id in list(office.in_hand):
        if chance.random() < ends:
            office.end(
                case_id, retry_s=chance.choice((5, 900)) if chance.random() < fails else None
            )
    office.now += chance.choice((1, 60, 1800))


@settings(deadline=None, max_examples=12)
@given(BOUNDS, SEEDS)
def test_no_cap_is_ever_exceeded(limits: Limits, seed: int) -> None:
    """Whatever comes, ends, fails and waits; and in the end everything is at rest."""
    office, chance = Office(limits), Random(seed)
    for _ in range(60):
        if chance.random() < 0.6:
            office.add(
                chance.choice(RECIPES), chance.choice(WAY[:2]),
                count=chance.randint(1, 5), size=chance.choice(SOME_SIZES),
            )  # fmt: skip
        _turn(office, chance)
    for _ in range(4000):
        if not office.states:
            break
        _turn(office, chance)
    assert office.states == {}


@settings(deadline=None, max_examples=25)
@given(
    BOUNDS,
    st.sampled_from(RECIPES),
    st.sampled_from(SOME_SIZES),
    SEEDS,
)
def test_nobody_waits_for_ever(limits: Limits, recipe: str, size: int, seed: int) -> None:
    """Others come without end, of every recipe, urgent and big ones among them: it is done."""
    office, chance = Office(limits), Random(seed)
    office.add("default", count=10)
    office.add(recipe, State.CLAIMING, size=size)
    victim = f"{recipe}-{len(office.sizes) - 1}"
    turns = 0
    while victim in office.states:
        turns += 1
        assert turns < 3000, (victim, office.states[victim], office.schedule.waits())
        waiting = Counter(map(_recipe, office.states))
        for other in RECIPES:
            if waiting[other] < 6:
                office.add(other, chance.choice(WAY[:2]), size=chance.choice(SOME_SIZES))
        _turn(office, chance, fails=0.05)


@pytest.mark.parametrize("state", WAY)
def test_a_taking_asks_few_however_many_wait(state: State) -> None:
    """Ten thousand in any state, most of them behind a cap or a closed hour."""
    asked: list[str] = []

    def should_stop(case_id: str) -> bool:
        asked.append(case_id)
        return False

    office = Office(replace(_with(night=NIGHT), jobs_in_flight=20_000))
    office.schedule._should_stop = cast("Callable[[str], bool]", should_stop)  # noqa: SLF001
    office.add("default", state, count=5000)
    office.add("night", state, count=5000)
    office.schedule.take_ready()
    asked.clear()
    office.schedule.take_ready()
    office.schedule.next_due_in_s()
    office.schedule.waits()
    assert len(asked) < 50
