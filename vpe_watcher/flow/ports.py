"""What steps and intake may touch, handed to them as one value: so a test can hand them another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from vpe_watcher.adapters.engine import Download, Pace, Part, Poll, Sent, zip_size
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.leases import Openness
from vpe_watcher.adapters.store import Store
from vpe_watcher.core.model import Modality
from vpe_watcher.flow.places import Places


class Engine(Protocol):
    """The Engine's calls, as `adapters.engine.EngineClient` documents them."""

    def submit(self, body: dict[str, Any]) -> dict[str, Any]:
        """Submit a job."""

    def upload(
        self,
        url: str,
        source: Path | tuple[Part, ...],
        *,
        size: int,
        modality: str,
        on_progress: Callable[[int], None],
        should_stop: Callable[[], bool],
        pace: Pace | None = None,
    ) -> Sent:
        """PUT a file, or a series as one ZIP."""

    def notify(self, url: str) -> None:
        """Tell that an input was uploaded."""

    def poll(self, job_id: str) -> Poll:
        """Look at a job."""

    def check_reachable(self, job_id: str) -> None:
        """Ask whether the Engine is at work now, by a look at a job."""

    def download(
        self,
        url: str,
        target: BinaryIO,
        *,
        size: int | None,
        on_progress: Callable[[int], None],
        should_stop: Callable[[], bool],
    ) -> Download:
        """GET a file into `target`."""


@dataclass(frozen=True, slots=True)
class RecipeRules:
    """What steps need to know of a recipe."""

    job: Mapping[str, Any]
    job_json_keys: tuple[str, ...]
    skips_duplicates: bool
    settle_s: float
    incomplete_after_s: float
    patterns: Mapping[Modality, tuple[str, ...]]
    ignore: tuple[str, ...] = ()
    min_slices: int = 10


@dataclass(frozen=True, slots=True)
class Rules:
    """What steps need to know of the configuration."""

    engine_url: str
    engine_version: str
    software: str
    recipes: Mapping[str, RecipeRules]
    zip_size: Callable[[Iterable[tuple[str, int]]], int] = zip_size
    names_patients: bool = True
    keeps_inputs: bool = True


def _unknown(_recipe: str, _path: Path) -> Openness:
    return Openness.UNKNOWN


def _as_it_goes(_recipe: str) -> Pace:
    return Pace()


@dataclass(frozen=True, slots=True)
class Ports:
    """The world of a step.

    `guard` raises an EnvironmentFault when a root (by breaker name) is not the folder it was;
    `should_stop` tells for a case id whether its step is to be abandoned; `progress` takes case
    id, `upload` or `download`, bytes so far and bytes in all; `names_in` lists a folder that the
    step may do without, and raises an OSError when that hangs; `openness` asks by recipe and path
    whether somebody has a file open for writing; `pace_of` tells how fast one upload of a recipe
    may go.
    """

    store: Store
    disk: Disk
    engine: Engine
    places: Places
    rules: Rules
    now: Callable[[], float]
    guard: Callable[[str], None]
    should_stop: Callable[[str], bool]
    progress: Callable[[str, str, int, int | None], None]
    names_in: Callable[[Path], list[str]]
    openness: Callable[[str, Path], Openness] = _unknown
    pace_of: Callable[[str], Pace] = _as_it_goes
