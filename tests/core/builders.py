"""Cases for the tests of the core, with everything that a test does not care about filled in."""

from __future__ import annotations

from typing import Any

from vpe_watcher.core.model import (
    Case,
    FailureClass,
    FileMark,
    Input,
    Modality,
    Output,
    Problem,
    State,
)

MARK = FileMark(size=1000, mtime_ns=1, ctime_ns=2, inode=3)
TROUBLE = Problem(FailureClass.TRANSIENT, "some_trouble", "Something did not work.", "Wait.")


def an_input(modality: Modality = Modality.CBCT, **changes: Any) -> Input:
    """Return one input of a case."""
    values: dict[str, Any] = {"name": f"{modality}.dcm", "extension": ".dcm", "mark": MARK}
    return Input(modality=modality, **(values | changes))


def an_output(**changes: Any) -> Output:
    """Return one output of a finished job."""
    values: dict[str, Any] = {
        "position": 0,
        "kind": "meshes",
        "structures": ("mandible",),
        "extension": ".stl",
        "status": "Available",
    }
    return Output(**(values | changes))


def a_case(state: State = State.CLAIMING, **changes: Any) -> Case:
    """Return a case in a state."""
    values: dict[str, Any] = {
        "case_id": "c1",
        "case_name": "scan",
        "recipe": "default",
        "folder": "scan",
        "content": "",
        "sight": "",
        "job": {},
        "engine_version": "24.06",
        "inputs": (an_input(),),
        "moves": (),
    }
    return Case(state=state, **(values | changes))


def a_problem(code: str, failure_class: FailureClass = FailureClass.UNKNOWN) -> Problem:
    """Return a problem by its code."""
    return Problem(failure_class, code, "Something happened.", "Do something.")
