"""Which recipe comes first, and at which hours of the day one may begin. Values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

DAY_MINUTES = 24 * 60
MINUTE_S = 60


class Priority(IntEnum):
    """How soon the cases of a recipe come; the least number comes first."""

    URGENT = 0
    NORMAL = 1
    OFF_PEAK = 2


PRIORITIES: Mapping[str, Priority] = {
    "urgent": Priority.URGENT,
    "normal": Priority.NORMAL,
    "off-peak": Priority.OFF_PEAK,
}


@dataclass(frozen=True, slots=True)
class DayHours:
    """A span of every day, in minutes since midnight by the clock on the wall.

    One that ends before it begins goes on past midnight. `end` itself is outside, so one that ends
    when it begins holds nothing.
    """

    start: int
    end: int

    def __str__(self) -> str:
        """Write it as the configuration does."""
        return f"{_clock(self.start)}-{_clock(self.end)}"

    def holds(self, minute: int) -> bool:
        """Tell whether a minute of the day lies within."""
        if self.start <= self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def opens_at(hours: DayHours, now: float, minute_of: Callable[[float], int]) -> float:
    """Return the first moment, in seconds since 1970, from `now` on that lies within the hours.

    `minute_of` returns the minute of the day on the wall. It is asked minute by minute, so that a
    day on which an hour is left out or comes twice needs no rule of its own.
    """
    if hours.holds(minute_of(now)):
        return now
    first = now // MINUTE_S * MINUTE_S
    moments = (first + MINUTE_S * ahead for ahead in range(1, 3 * DAY_MINUTES))
    return next((one for one in moments if hours.holds(minute_of(one))), float("inf"))


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
