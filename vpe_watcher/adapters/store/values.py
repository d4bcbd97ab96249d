"""What goes into and comes out of the state file beside cases. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vpe_watcher.core.machine import Decision
from vpe_watcher.core.model import FAILING, Case, Input, Move, Outcome, Problem, State


@dataclass(frozen=True, slots=True)
class NewCase:
    """What the intake knows of a candidate that it takes."""

    case_id: str
    case_name: str
    recipe: str
    job: Mapping[str, Any]
    engine_version: str
    moves: tuple[Move, ...]
    inputs: tuple[Input, ...]
    detected: float
    content: str = ""
    sight: str = ""
    job_json: tuple[str, ...] = ()
    skipped: tuple[dict[str, str], ...] = ()
    doom: Problem | None = None
    hold: Problem | None = None
    split_of: str = ""
    late_for: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What the schedule needs to know of a case that is not at rest.

    `is_counted`: the budgets have seen its first submit; `is_failing`: `failed` is where it ends;
    `unsent_bytes`: what is to be uploaded of a case that is not submitted yet.
    """

    case_id: str
    recipe: str
    state: State
    is_counted: bool
    is_failing: bool = False
    unsent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A case that is under way or held; `step` is where it goes on: of a poisoned one its own."""

    case_id: str
    recipe: str
    state: State
    step: State


@dataclass(frozen=True, slots=True)
class Remembered:
    """A file of a root where nothing is moved, as it was when it was seen; `case_id` "" if unsent.

    `path` is relative to the root, `size` in bytes, `mtime_ns` in ns since 1970; `content` is what
    tells it from other content, None until it was read.
    """

    path: str
    size: int
    mtime_ns: int
    case_id: str = ""
    content: str | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt under way: the case as it was, the event row, the attempt's number in its step."""

    case: Case
    event_id: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Legacy:
    """What a daemon takes over: how the last one ended, and the attempts that it left open.

    `deaths` are those found lately, in seconds since 1970, this one among them.
    """

    has_died: bool
    deaths: tuple[float, ...]
    settled: tuple[tuple[Begun, Decision, Outcome], ...]


@dataclass(frozen=True, slots=True)
class Word:
    """What a person asked for by a command. `may_cost`: a yes to paying again."""

    word_id: int
    word: str
    subject: str
    may_cost: bool


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier case that may hold the same scan. `paid`: any job of it may have been paid for."""

    case_id: str
    state: State
    paid: bool
    content_key: str | None
    verdict: State | None

    @property
    def has_result(self) -> bool:
        """Tell whether the same need not be sent again: at the latest when it is delivered.

        One whose input is still to be put away may wait for the same: that needs its slices.
        """
        has_ended = self.state is not State.ARCHIVING or self.content_key is None
        return (self.state if has_ended else self.verdict) in {State.DONE, State.PARTIAL}

    @property
    def is_under_way(self) -> bool:
        """Tell whether the same has to wait for what becomes of it: not for what is never sent."""
        is_over = self.state is State.ARCHIVING and self.verdict in FAILING and not self.paid
        return not self.state.is_at_rest and not self.has_result and not is_over

    @property
    def needs_person(self) -> bool:
        """Tell whether the same is sent only at a person's word."""
        return self.state is State.HELD or (self.paid and self.state in FAILING)


@dataclass(frozen=True, slots=True)
class Rest:
    """A case at rest, as retention sees it: since when (ISO 8601), in a folder of which name."""

    case_id: str
    case_name: str
    recipe: str
    state: State
    folder: str
    rested: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Since before when (ISO 8601) what rests has expired; "" = never."""

    archive_before: str = ""
    failed_before: str = ""


@dataclass(frozen=True, slots=True)
class Pruned:
    """When and why a case's files were removed."""

    time: str
    reason: str | None
