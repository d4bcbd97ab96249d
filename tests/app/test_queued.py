"""`status` and `show` say why a case waits although nothing is wrong."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import pytest

from tests.app.desk import Desk
from vpe_watcher.app.commands import queued
from vpe_watcher.app.commands.live import fitted, sections_of
from vpe_watcher.app.commands.status import look
from vpe_watcher.core.model import State
from vpe_watcher.flow.room import local_minute
from vpe_watcher.flow.schedule import Wait

FULL = Wait(
    "default",
    State.SUBMITTING,
    is_big=False,
    reason="limits.jobs_in_flight = 32 is reached",
    count=968,
)
BIG = Wait(
    "default", State.SUBMITTING, is_big=True, reason="larger than limits.big_upload", count=2
)


def _show(desk: Desk, *waits: Wait, transfers: tuple[str, ...] = ()) -> None:
    moving = [{"case_id": one, "direction": "upload", "bytes": 0, "total": 4} for one in transfers]
    desk.store.put_snapshot({"waits": [asdict(one) for one in waits], "transfers": moving})


def _hours(minutes_ahead: int) -> str:
    start = (local_minute(time.time()) + minutes_ahead) % (24 * 60)
    end = (start + 60) % (24 * 60)
    return f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"


def test_status_counts_those_that_wait_for_a_cap(running: Desk) -> None:
    """By recipe, with the key that holds them up; the contract's object has no more keys."""
    _show(running, FULL)
    ran = running.run("status")
    assert "waiting: 968 submitting, recipe default\n  limits.jobs_in_flight = 32" in ran.out
    assert set(json.loads(running.run("status", "--json").out)) == {
        *("schema", "daemon", "cases", "candidates", "breakers")
    }


def test_the_live_view_counts_them_too(running: Desk) -> None:
    """What `status` tells once stands on its screen as well."""
    _show(running, FULL, BIG)
    sections = sections_of(look(running.settings), 80, speeds={}, clock="14:02:33")
    lines = [line for line, _ in fitted(list(sections), 80, 24)]
    start = lines.index("waiting: 968 submitting, recipe default")
    assert lines[start : start + 4] == [
        "waiting: 968 submitting, recipe default",
        "  limits.jobs_in_flight = 32 is reached",
        "waiting: 2 submitting, recipe default",
        "  larger than limits.big_upload",
    ]


def test_status_tells_nothing_of_a_daemon_that_is_gone(desk: Desk) -> None:
    """What it last waited for is over."""
    _show(desk, FULL)
    assert "waiting:" not in desk.run("status").out


def test_show_says_what_this_case_waits_for(running: Desk) -> None:
    """Its recipe, step and size decide; one that is being sent waits for nothing."""
    case_id = running.walk(running.add(), State.SUBMITTING)
    _show(running, BIG, FULL)
    assert "waits:     limits.jobs_in_flight = 32 is reached" in running.run("show", case_id).out
    _show(running, BIG)
    assert "waits:" not in running.run("show", case_id).out
    _show(running, BIG, FULL, transfers=(case_id,))
    assert "waits:" not in running.run("show", case_id).out


@pytest.mark.parametrize(("ahead", "waits"), [(60, True), (-30, False)])
def test_show_knows_the_hours_without_a_daemon(desk: Desk, ahead: int, *, waits: bool) -> None:
    """They stand in the configuration."""
    case_id = desk.walk(desk.add(recipe="teeth"), State.SUBMITTING)
    hours = _hours(ahead)
    own = f'[recipes.teeth]\npriority = "off-peak"\noff_peak = "{hours}"'
    desk.config.write_text(desk.config.read_text().replace("[recipes.teeth]", own))
    told = f"submitted at {hours} only (recipes.teeth.off_peak)"
    assert (told in desk.run("show", case_id).out) is waits


def test_a_case_of_a_recipe_that_is_gone_has_no_hours(desk: Desk) -> None:
    """Nor has one that was submitted in time."""
    case_id = desk.walk(desk.add(), State.WAITING)
    case = desk.case(case_id)
    assert queued.reason_of(case, {}, desk.settings, is_running=False) == ""
