"""Hours of the day: over midnight, over the days on which an hour is left out or comes twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpe_watcher.core.priorities import DAY_MINUTES, DayHours, opens_at

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = DayHours(20 * 60, 6 * 60)
MINUTES = st.integers(0, DAY_MINUTES - 1)


def wall(zone: ZoneInfo) -> Callable[[float], int]:
    """Return what tells the minute of the day in a zone."""

    def minute_of(now: float) -> int:
        local = datetime.fromtimestamp(now, zone)
        return local.hour * 60 + local.minute

    return minute_of


def moment(text: str) -> float:
    """Return a moment of Berlin in seconds since 1970."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("hours", "minute", "holds"),
    [
        (NIGHT, 19 * 60 + 59, False),
        (NIGHT, 20 * 60, True),
        (NIGHT, 0, True),
        (NIGHT, 5 * 60 + 59, True),
        (NIGHT, 6 * 60, False),
        (DayHours(12 * 60, 13 * 60), 12 * 60, True),
        (DayHours(12 * 60, 13 * 60), 13 * 60, False),
        (DayHours(0, 0), 0, False),
        (DayHours(60, 60), 60, False),
        (DayHours(0, DAY_MINUTES), 0, True),
        (DayHours(0, DAY_MINUTES), DAY_MINUTES - 1, True),
    ],
)
def test_hours_hold_from_their_begin_to_before_their_end(
    hours: DayHours, minute: int, *, holds: bool
) -> None:
    """Those that end before they begin go on past midnight; empty ones hold nothing."""
    assert hours.holds(minute) is holds


@pytest.mark.parametrize(
    ("hours", "now", "opens"),
    [
        (NIGHT, "2026-11-23T12:00:30", "2026-11-23T20:00"),
        (NIGHT, "2026-11-23T23:00", "2026-11-23T23:00"),
        # the night on which 02:00 to 03:00 is left out: the hours begin when the clock has jumped
        (DayHours(150, 240), "2026-03-29T00:00", "2026-03-29T03:00"),
        # … and hours that lie within what is left out come on the next day
        (DayHours(130, 170), "2026-03-29T00:00", "2026-03-30T02:10"),
        # the night on which 02:00 to 03:00 comes twice: the first of the two
        (DayHours(150, 240), "2026-10-25T00:00", "2026-10-25T02:30"),
    ],
)
def test_they_open_by_the_clock_on_the_wall(hours: DayHours, now: str, opens: str) -> None:
    """Whatever a day's clock is set to."""
    assert opens_at(hours, moment(now), wall(BERLIN)) == moment(opens)


def test_an_hour_that_comes_twice_is_within_both_times() -> None:
    """What the wall shows counts, not how often it was shown."""
    second = moment("2026-10-25T02:10") + 3600
    assert opens_at(DayHours(120, 180), second, wall(BERLIN)) == second


@given(MINUTES, MINUTES, st.integers(1_600_000_000, 1_900_000_000))
def test_the_first_moment_within_is_found(start: int, end: int, now: int) -> None:
    """It lies within, and none of the minutes before it does."""
    hours, minute_of = DayHours(start, end), wall(BERLIN)
    opens = opens_at(hours, now, minute_of)
    if start == end:
        assert opens == float("inf")
        return
    assert opens >= now
    assert hours.holds(minute_of(opens))
    before = range(int(now // 60), int(opens // 60))
    assert not any(hours.holds(minute_of(60 * one)) for one in before)
