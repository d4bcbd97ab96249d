"""`submit --wait`: look into the state file until the submitted cases are at rest.

Owns the looking and what a person sees meanwhile. Never asks the daemon for anything.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpe_watcher.app import render
from vpe_watcher.app.commands import opened
from vpe_watcher.core.errors import TryAgainLater
from vpe_watcher.flow.places import root_key

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings
    from vpe_watcher.adapters.store import Queries
    from vpe_watcher.app.progress import TransferBars
    from vpe_watcher.core.model import Case

LOOK_EVERY_S = 0.3
# A service that restarts is back within seconds; a daemon that is away for longer was stopped.
AWAY_AT_MOST_S = 30.0


@dataclass(slots=True)
class Watched:
    """An inbox path, the case that had it before (if any), and the states that were told."""

    target: Path
    before: str | None
    case: Case | None = None
    told: set[str] = field(default_factory=set)
    export: Path | None = None  # the inbox, where nothing is moved
    recipe: str = ""

    @property
    def is_at_rest(self) -> bool:
        """Tell whether its case came to rest."""
        return self.case is not None and self.case.state.is_at_rest


def wait_until_rest(settings: Settings, queries: Queries, watched: list[Watched]) -> None:
    """Wait until each path's new case is at rest, and keep it in `watched`.

    Raises `TryAgainLater`: the daemon is gone.
    """
    pause, away_s = threading.Event(), 0.0
    with _bars() as bars:
        while True:
            snapshot = queries.snapshot()
            for one in watched:
                _look(queries, one, snapshot)
            if bars:
                bars.show(_own(snapshot, watched))
            if all(one.is_at_rest for one in watched):
                return
            is_away = opened.daemon_pid(settings) is None
            away_s = away_s + LOOK_EVERY_S if is_away else 0.0
            if away_s > AWAY_AT_MOST_S:
                raise _gone()
            pause.wait(LOOK_EVERY_S)


def _look(queries: Queries, one: Watched, snapshot: dict[str, Any]) -> None:
    if one.is_at_rest:
        return
    case_id = queries.case_by_source(str(one.target))
    one.case = queries.case(case_id) if case_id and case_id != one.before else None
    if one.case is None and one.export is not None:
        one.case = _known_before(queries, one, one.export)
    if one.case is None:
        for row in snapshot.get("candidates") or ():
            if row["path"] == str(one.target):
                _tell(one, row["state"], f" ({row['reason']})")
        return
    _tell(one, one.case.state, f" (case {one.case.case_id})")


def _known_before(queries: Queries, one: Watched, export: Path) -> Case | None:
    """Return the case that has the content of what is left in place: no other is made of it."""
    if queries.has_words():
        return None  # the daemon has not looked yet
    path = one.target.relative_to(export).as_posix()
    case_id = queries.case_of_remembered(root_key(one.recipe, export), path)
    return queries.case(case_id) if case_id else None


def _tell(one: Watched, state: str, more: str) -> None:
    """Say each state once: reasons count seconds."""
    if state not in one.told:
        one.told.add(state)
        render.say(f"{one.target.name}: {state}{more}")


def _own(snapshot: dict[str, Any], watched: list[Watched]) -> list[dict[str, Any]]:
    ours = {one.case.case_id for one in watched if one.case}
    return [row for row in snapshot.get("transfers") or () if row["case_id"] in ours]


@contextmanager
def _bars() -> Iterator[TransferBars | None]:
    """Show bars on stderr while a person looks."""
    if not render.is_watched():
        yield None
        return
    from rich.console import Console

    from vpe_watcher.app.progress import TransferBars

    bars = TransferBars(Console(stderr=True))
    with bars.progress:
        yield bars


def _gone() -> TryAgainLater:
    return TryAgainLater(
        "The daemon has stopped; what was submitted stays in its hands.",
        code="daemon_stopped",
        hint="Start it again; `vpe-watcher cases` shows what became of it.",
    )
