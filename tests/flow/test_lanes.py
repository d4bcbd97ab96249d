"""How many steps run at once: places for other recipes, and roots that do not answer."""

from __future__ import annotations

from typing import cast

import pytest

from vpe_watcher.adapters.store import Store, UnderWay
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.machine import Patience
from vpe_watcher.core.model import FAILING, State
from vpe_watcher.flow.agenda import Due, Line
from vpe_watcher.flow.breakers import Breakers
from vpe_watcher.flow.room import FOLDER_LANES, LANES, Limits
from vpe_watcher.flow.schedule import SILENCE, USES, Schedule

LIMITS = Limits(
    lanes={
        "uploads": 2,
        "downloads": 4,
        "submits": 4,
        "calls": 4,
        **dict.fromkeys(FOLDER_LANES, 4),
    },
    jobs_in_flight=32,
    budgets={},
)


class Rows:
    """The rows of cases that are under way."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[str, State]] = {}
        self.verdicts: dict[str, State] = {}

    def due(self) -> list[UnderWay]:
        """Return what is not at rest."""
        return [
            UnderWay(
                case_id, *row, is_counted=True, is_failing=self.verdicts.get(case_id) in FAILING
            )
            for case_id, row in self.rows.items()
        ]

    def load(self, case_id: str) -> None:
        """Know nothing of any case."""


def _nobody(_event: str, /, **_fields: object) -> None:
    """Take a log event and forget it."""


class Desk:
    """A schedule with rows and breakers."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.now = 1000.0
        self.breakers = Breakers(
            patience=Patience(),
            monotonic=lambda: self.now,
            now=lambda: 0.0,
            chance=lambda: 0.5,
            log=_nobody,
        )
        self.schedule = Schedule(
            cast("Store", self.rows),
            self.breakers,
            LIMITS,
            monotonic=lambda: self.now,
            now=lambda: self.now,
            should_stop=lambda case_id: False,
        )

    def add(self, recipe: str, state: State, count: int) -> None:
        """Let cases of a recipe come to a state."""
        for _ in range(count):
            self.rows.rows[f"{recipe}-{len(self.rows.rows)}"] = (recipe, state)
        self.schedule.refresh()

    def take(self) -> dict[str, int]:
        """Take what may begin; count by recipe."""
        taken = [case_id.partition("-")[0] for case_id, _ in self.schedule.take_ready()]
        return {recipe: taken.count(recipe) for recipe in sorted(set(taken))}

    def silence(self, *roots: str) -> None:
        """Let roots be silent."""
        for root in roots:
            fault = EnvironmentFault("silent", code="folder_silent", breaker=root)
            self.breakers.open(fault, kind=SILENCE)
        self.schedule.set_silent(frozenset(roots))


@pytest.fixture
def desk() -> Desk:
    """Return an empty schedule."""
    return Desk()


@pytest.mark.parametrize("state", list(LANES))
def test_a_place_is_left_to_another_recipe_that_waits(desk: Desk, state: State) -> None:
    """However many cases of the first came before; of claims and the like a recipe has half."""
    desk.add("teeth", state, 9)
    desk.add("default", state, 1)
    places = LIMITS.lanes[LANES[state]]
    own = 2 if LANES[state] in FOLDER_LANES else places - 1
    assert desk.take() == {"default": 1, "teeth": own}


@pytest.mark.parametrize("state", list(LANES))
def test_without_another_recipe_all_places_are_used(desk: Desk, state: State) -> None:
    """No place lies idle for somebody who does not come."""
    desk.add("teeth", state, 9)
    places = LIMITS.lanes[LANES[state]]
    assert desk.take() == {"teeth": 2 if LANES[state] in FOLDER_LANES else places}
    assert desk.take() == {}


def test_a_recipe_behind_a_breaker_keeps_no_place_free(desk: Desk) -> None:
    """It could not use it."""
    desk.add("teeth", State.SUBMITTING, 9)
    desk.add("default", State.SUBMITTING, 1)
    fault = EnvironmentFault("refused", code="refused", breaker="recipe:default")
    desk.breakers.open(fault, kind=State.SUBMITTING)
    assert desk.take() == {"teeth": 4}


@pytest.mark.parametrize("state", [state for state in LANES if USES[state]])
def test_steps_that_hang_use_up_no_lane(desk: Desk, state: State) -> None:
    """When their root is known to be silent, others get as many places again; then no more."""
    root = USES[state][0].format(recipe="teeth")
    desk.add("teeth", state, 9)
    hanging = desk.take()["teeth"]
    assert desk.schedule.count_stuck() == 0
    desk.silence(root)
    assert desk.schedule.count_stuck() == hanging
    if root == "inbox:teeth":
        desk.add("default", state, 9)
        places = LIMITS.lanes[LANES[state]]
        assert desk.take() == {"default": 2 if LANES[state] in FOLDER_LANES else places}
    assert desk.take() == {}
    desk.silence()
    assert desk.schedule.count_stuck() == 0
    assert desk.take() == {}


def test_nothing_is_begun_on_a_silent_root(desk: Desk) -> None:
    """Not even as a probe: its own answer tells when it is well. Polls ask no folder."""
    desk.silence("inbox:teeth")
    for state in LANES:
        desk.add("teeth", state, 1)
    assert {state for _, state in desk.schedule.take_ready()} == {State.WAITING, State.FETCHING}
    assert desk.schedule.next_due_in_s() is None
    assert desk.schedule.has_gated_work()
    desk.silence()
    desk.breakers.close("inbox:teeth", kind=SILENCE)
    assert {state for _, state in desk.schedule.take_ready()} == set(LANES) - {
        State.WAITING,
        State.FETCHING,
    }


@pytest.mark.parametrize(("verdict", "may"), [(State.DONE, 1), (State.FAILED, 0)])
def test_only_its_own_place_of_rest_holds_a_case_up(desk: Desk, verdict: State, may: int) -> None:
    """`failed` is silent: what goes to the archive goes there."""
    desk.silence("failed")
    desk.rows.verdicts = {"teeth-0": verdict}
    desk.add("teeth", State.ARCHIVING, 1)
    assert desk.take() == ({"teeth": 1} if may else {})


def test_a_run_once_does_not_wait_for_steps_that_hang(desk: Desk) -> None:
    """What hangs in hand is as idle as what is gated."""
    desk.add("teeth", State.UPLOADING, 1)
    assert desk.take() == {"teeth": 1}
    assert not desk.schedule.is_idle(within_s=300)
    desk.silence("inbox:teeth")
    assert desk.schedule.is_idle(within_s=300)


def test_archivings_that_hang_keep_nothing_else_waiting(desk: Desk) -> None:
    """Before anybody knows that the archive is silent, scans are claimed and results delivered."""
    desk.add("teeth", State.ARCHIVING, 9)
    desk.take()
    desk.add("teeth", State.CLAIMING, 1)
    desk.add("teeth", State.DELIVERING, 1)
    assert desk.take() == {"teeth": 2}


def test_a_step_that_runs_alone_and_hangs_holds_nobody_up(desk: Desk) -> None:
    """Once its share is known to be silent, the other recipes go on."""
    desk.add("teeth", State.UPLOADING, 1)
    desk.add("default", State.UPLOADING, 1)
    desk.schedule.run_alone(["teeth-0"])
    assert desk.take() == {"teeth": 1}
    assert desk.take() == {}
    desk.silence("inbox:teeth")
    assert desk.take() == {"default": 1}


def test_a_step_that_runs_alone_for_long_holds_nobody_up_after_ten_minutes(desk: Desk) -> None:
    """A long upload is no reason to stop for hours."""
    desk.add("teeth", State.UPLOADING, 1)
    desk.add("default", State.UPLOADING, 1)
    desk.schedule.run_alone(["teeth-0"])
    assert desk.take() == {"teeth": 1}
    desk.now += 599
    assert desk.take() == {}
    desk.now += 2
    assert desk.take() == {"default": 1}


def test_a_probe_that_hangs_leaves_the_breaker_to_others(desk: Desk) -> None:
    """The call of a recipe whose share is silent can show nothing."""
    fault = EnvironmentFault("down", code="down", breaker="engine")
    desk.breakers.open(fault, kind=State.SUBMITTING)
    desk.now += 600
    desk.add("teeth", State.SUBMITTING, 1)
    assert desk.take() == {"teeth": 1}
    desk.add("default", State.SUBMITTING, 1)
    assert desk.take() == {}
    desk.silence("inbox:teeth")
    assert desk.take() == {"default": 1}


def test_what_waits_for_another_of_its_kind_is_looked_at_again_by_a_run_once(desk: Desk) -> None:
    """However short the longest backoff is: the other may have turned out to be another scan."""
    line = Line(State.CLAIMING, "teeth", is_counted=False)
    desk.schedule.put("teeth-0", Due(desk.now + 0.5, line, waits_for="other"))
    assert not desk.schedule.is_idle(within_s=0.1)
    desk.schedule.put("teeth-0", Due(desk.now + 0.5, line))
    assert desk.schedule.is_idle(within_s=0.1)
