"""Whose turn it is: the order of the recipes in each lane.

The more urgent class comes first, but passes over the others only so often. Within a class the
recipe that has least of what the lane gives out comes first, then the one that waits longest for
its turn: so a thousand cases of one recipe are one who waits. Never asks whether there is room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from vpe_watcher.core.priorities import Priority
from vpe_watcher.flow.agenda import Line
from vpe_watcher.flow.room import Room

# How often in a row a class that waits may be passed over by more urgent ones.
PASSED_OVER: Mapping[Priority, int] = {Priority.NORMAL: 4, Priority.OFF_PEAK: 16}


@dataclass(slots=True)
class Turns:
    """The turns that were taken, in memory: after a start everybody begins anew."""

    _last: dict[tuple[str, str], int] = field(default_factory=dict)  # by lane and recipe
    _passed: Counter[tuple[str, Priority]] = field(default_factory=Counter)
    _count: int = 0

    def first(self, lane: str, waiting: Mapping[Line, float], room: Room) -> Line:
        """Return the line that comes first of those that wait, each since a moment (monotonic)."""
        priority = self._class_of(lane, {_priority(line, room) for line in waiting})
        return min(
            (line for line in waiting if _priority(line, room) is priority),
            key=lambda line: (
                room.used_by(line),
                self._last.get((lane, line.recipe), 0),
                waiting[line],
            ),
        )

    def take(self, lane: str, line: Line, waiting: Mapping[Line, float], room: Room) -> None:
        """Take note that a line had its turn, while these waited."""
        self._count += 1
        self._last[lane, line.recipe] = self._count
        own = _priority(line, room)
        for other in {_priority(one, room) for one in waiting}:
            self._passed[lane, other] += other > own
        self._passed[lane, own] = 0

    def _class_of(self, lane: str, waiting: set[Priority]) -> Priority:
        for priority in sorted(waiting, reverse=True):
            if self._passed[lane, priority] >= PASSED_OVER.get(priority, float("inf")):
                return priority
        return min(waiting)


def _priority(line: Line, room: Room) -> Priority:
    return room.limits.share_of(line.recipe).priority
