"""Slices of two series, as they are dropped, and where they come to lie."""

from __future__ import annotations

from functools import cache
from typing import Any

from tests.crash.lives import Stage
from tests.flow.series import SERIES, slice_bytes
from vpe_watcher.core.model import State
from vpe_watcher.core.series import series_name

FEW = {"intake": {"min_slices": 2, "series_settle_s": 2, "series_max_wait_s": 4}}
NAME = series_name("2", SERIES)
BONE = "1.2.3.4"
WISHES = {"outputFiles": {"meshes": [{"extension": ".stl", "structures": ["maxilla"]}]}}
DONE, FAILED, HELD = State.DONE, State.FAILED, State.HELD
CANCELLED, DUPLICATE = State.CANCELLED, State.DUPLICATE


@cache
def axial(number: int, tags: tuple[tuple[str, Any], ...] = ()) -> bytes:
    """Return a slice of the first series; a tag is (keyword, value)."""
    return slice_bytes(number, **dict(tags))


def bone(number: int) -> bytes:
    """Return a slice of the second series."""
    tags = {"series": BONE, "SeriesNumber": "5", "SeriesDescription": "Bone"}
    return axial(number, tuple(tags.items()))


def drop_slices(stage: Stage, *numbers: int, below: str = "") -> None:
    """Drop slices of the first series into the inbox, or into a folder in it."""
    for number in numbers:
        stage.drop(f"{below}{number:03d}.dcm", axial(number))


def named(*numbers: int, below: str = "") -> tuple[str, ...]:
    """Return the names under which slices are dropped."""
    return tuple(f"{below}{number:03d}.dcm" for number in numbers)


def archived(folder: str, *names: str) -> tuple[str, ...]:
    """Return what lies in the archive of a case with these inputs."""
    return tuple(f"archive/{folder}/{name}" for name in (*names, "result.json"))


def failed(folder: str, *names: str) -> tuple[str, ...]:
    """Return what lies in `failed` of a case with these inputs."""
    return tuple(f"failed/{folder}/{name}" for name in (*names, "error.json", "error.txt"))


def delivered(folder: str, *names: str, mesh: str = "mandible") -> tuple[str, ...]:
    """Return what lies in the archive and in the outbox of a case that is done."""
    published = (f"outbox/{folder}/{mesh}.stl", f"outbox/{folder}/result.json")
    return (*archived(folder, *names), *published)


def late_case(stage: Stage) -> str:
    """Return the id of the one case of late slices."""
    (found,) = [case for case in stage.cases() if case.late_for]
    return found.case_id


def is_in(stage: Stage, state: State) -> bool:
    """Tell whether any case is in a state."""
    return any(case.state is state for case in stage.cases())
