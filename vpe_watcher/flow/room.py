"""What may be done at once: the caps of all and of each recipe, and what of them is used up.

Never knows which case is meant, only its line. Says in words what there is no room for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from vpe_watcher.core.model import State
from vpe_watcher.core.priorities import DayHours, Priority
from vpe_watcher.flow.agenda import Line

LANES: Mapping[State, str] = {
    State.CLAIMING: "claims",
    State.SUBMITTING: "submits",
    State.UPLOADING: "uploads",
    State.NOTIFYING: "calls",
    State.WAITING: "calls",
    State.FETCHING: "downloads",
    State.DELIVERING: "deliveries",
    State.ARCHIVING: "archivings",
}
# What only asks folders: half of the places for one recipe, whose share may hang.
FOLDER_LANES = frozenset({"claims", "deliveries", "archivings"})
SET = frozenset({"uploads", "downloads"})  # the lanes whose places a person sets
IN_FLIGHT = frozenset({State.UPLOADING, State.NOTIFYING, State.WAITING, State.FETCHING})


@dataclass(frozen=True, slots=True)
class Share:
    """What one recipe may take. `lanes` by name and `jobs_in_flight`: 0 = as much as all may.

    `hours`: when its cases may be submitted; None: at any time.
    """

    priority: Priority = Priority.NORMAL
    lanes: Mapping[str, int] = field(default_factory=dict)
    jobs_in_flight: int = 0
    hours: DayHours | None = None


NO_SHARE = Share()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once. `lanes` by name; `budgets` by breaker name, 0 = none.

    Uploads of more than `big_upload` bytes leave a place to smaller ones; None: they do not.
    """

    lanes: Mapping[str, int]
    jobs_in_flight: int
    budgets: Mapping[str, Mapping[str, int]]  # by recipe
    shares: Mapping[str, Share] = field(default_factory=dict)  # by recipe
    big_upload: int | None = None

    def share_of(self, recipe: str) -> Share:
        """Return what a recipe may take."""
        return self.shares.get(recipe, NO_SHARE)

    def is_big(self, size_bytes: int) -> bool:
        """Tell whether so much to upload takes up a place for long."""
        return self.big_upload is not None and size_bytes > self.big_upload


@dataclass(slots=True)
class Room:
    """What is free, while steps are taken in hand. `minute` is that of the day on the wall.

    `bigs`: big cases on their way to the Engine, by their due step and whether they are urgent;
    those submitted and not uploaded count as submits, those that are being uploaded as uploads.
    """

    limits: Limits
    minute: int
    used: Counter[str] = field(default_factory=Counter)
    by_recipe: Counter[tuple[str, str]] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)
    bigs: Counter[tuple[State, bool]] = field(default_factory=Counter)

    def shortage(self, line: Line) -> str:
        """Say what keeps a step of this line from beginning now; "" if there is room."""
        if line.state is State.SUBMITTING and (short := self._submit_shortage(line)):
            return short
        return self._lane_shortage(line) or self._big_shortage(line)

    def take(self, line: Line) -> None:
        """Count a step that begins."""
        self.count(line, line.state)
        if line.state is State.SUBMITTING:
            self.count_submitted(line, cases=1, bigs=1)

    def count(self, line: Line, state: State) -> None:
        """Count a step in hand of a line's case."""
        lane = LANES[state]
        self.used[lane] += 1
        self.by_recipe[lane, line.recipe] += 1
        if line.is_big and state is State.UPLOADING:
            self.bigs[state, self._is_urgent(line)] += 1

    def count_submitted(self, line: Line, *, cases: int, bigs: int) -> None:
        """Count cases of a line whose job is not finished, and those about to be uploaded."""
        self.in_flight[line.recipe] += cases
        if line.is_big:
            self.bigs[State.SUBMITTING, self._is_urgent(line)] += bigs

    def used_by(self, line: Line) -> int:
        """Return how much of what this line waits for its recipe has already."""
        if line.state is State.SUBMITTING:
            return self.in_flight[line.recipe]
        return self.by_recipe[LANES[line.state], line.recipe]

    def _submit_shortage(self, line: Line) -> str:
        share = self.limits.share_of(line.recipe)
        if short := closed(line.recipe, share.hours, self.minute):
            return short
        if self.in_flight.total() >= self.limits.jobs_in_flight:
            return f"limits.jobs_in_flight = {self.limits.jobs_in_flight} is reached"
        if 0 < share.jobs_in_flight <= self.in_flight[line.recipe]:
            return f"recipes.{line.recipe}.jobs_in_flight = {share.jobs_in_flight} is reached"
        return ""

    def _lane_shortage(self, line: Line) -> str:
        lane = LANES[line.state]
        limit, own = self.limits.lanes[lane], self.by_recipe[lane, line.recipe]
        if self.used[lane] >= limit:
            key = f"limits.{lane} = {limit} is" if lane in SET else f"{limit} {lane} at a time are"
            return f"{key} reached"
        cap = self.limits.share_of(line.recipe).lanes.get(lane, 0)
        if 0 < cap <= own:
            return f"recipes.{line.recipe}.{lane} = {cap} is reached"
        if lane in FOLDER_LANES and own >= limit // 2:
            return "a share that hangs must leave workers to the others"
        return ""

    def _big_shortage(self, line: Line) -> str:
        """Leave a place for uploads to small cases; an urgent one waits for urgent ones alone.

        So many are submitted at a time, too: those behind them would only wait, and use up
        `jobs_in_flight` meanwhile.
        """
        if not line.is_big or line.state not in {State.SUBMITTING, State.UPLOADING}:
            return ""
        others = self.bigs[line.state, True]
        if not self._is_urgent(line):
            others += self.bigs[line.state, False]
        if others < max(1, self.limits.lanes["uploads"] - 1):
            return ""
        return "larger than limits.big_upload: a place for uploads is kept for smaller cases"

    def _is_urgent(self, line: Line) -> bool:
        return self.limits.share_of(line.recipe).priority is Priority.URGENT


def closed(recipe: str, hours: DayHours | None, minute: int) -> str:
    """Say that a recipe's cases are not submitted at a minute of the day; "" if they are."""
    if hours is None or hours.holds(minute):
        return ""
    return f"submitted at {hours} only (recipes.{recipe}.off_peak)"


def local_minute(now: float) -> int:
    """Return the minute of the day on the wall at a moment in seconds since 1970."""
    local = datetime.fromtimestamp(now)  # noqa: DTZ006 - the clock on the wall is meant
    return local.hour * 60 + local.minute
