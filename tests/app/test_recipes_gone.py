"""What commands say of the cases of a recipe that was taken out of the configuration."""

from __future__ import annotations

import json

import pytest

from tests.app.desk import Desk, problem
from vpe_watcher.core.model import FailureClass, Label, State

WAYS = {
    "failed unpaid": (State.SUBMITTING, Label.INPUT, problem("x", FailureClass.INPUT)),
    "failed paid": (State.WAITING, Label.EXHAUSTED, problem("x", FailureClass.TRANSIENT)),
    "held": (State.WAITING, Label.REFUSED_AT_ONCE, problem("job_forbidden")),
}


def _take_out(desk: Desk) -> None:
    """Take the recipe `teeth` out of the configuration."""
    desk.config.write_text(desk.config.read_text().replace("[recipes.teeth]\n", ""))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_its_cases_at_rest_are_shown_and_not_retried(
    desk: Desk, way: tuple[State, Label, object]
) -> None:
    """All that is known of them stays; `retry` says what is missing and leaves no word."""
    state, label, why = way
    case_id = desk.walk(desk.add(recipe="teeth"), state)
    desk.lay_input(desk.end(case_id, label, why))  # type: ignore[arg-type]
    _take_out(desk)
    shown = desk.run("show", case_id, "--json")
    assert (shown.code, json.loads(shown.out)["recipe"]) == (0, "teeth")
    for command in (("status",), ("cases", "--recipe", "teeth")):
        assert desk.run(*command).code == 0
    for words in ((case_id, "--yes"), ("--failed", "--held", "--yes")):
        ran = desk.run("retry", *words)
        assert (ran.code, desk.words()) == (1, [])
        assert "teeth" in ran.err


def test_the_daemon_does_not_start_without_it(desk: Desk) -> None:
    """A case under way needs its recipe: a configuration error, with the way out."""
    desk.walk(desk.add(recipe="teeth"), State.WAITING)
    _take_out(desk)
    ran = desk.run("run", "--once")
    assert ran.code == 78
    assert "teeth (1)" in ran.err
    assert "cases --recipe" in ran.err
