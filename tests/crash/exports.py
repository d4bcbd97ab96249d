"""Exports that are left in place: nothing is moved, and no study is sent twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.crash.lives import Stage
from tests.crash.scenario import Scenario
from tests.crash.slices import DONE, FAILED, FEW, HELD, axial, bone, delivered, failed, late_case
from tests.flow.series import SERIES

IN_PLACE = FEW | {
    "recipes": {"pacs": {"inbox": "export", "leave_in_place": True, "existing": "take"}}
}
STUDY = tuple(f"PAT/ST/{number:03d}" for number in (1, 2, 3))
LATE = tuple(f"PAT/ST/{number:03d}" for number in (4, 5))
COPY = tuple(f"COPY/{number:03d}" for number in (1, 2, 3))
TWO = tuple(f"PAT/ST/{series}/{number:03d}" for series in "AB" for number in (1, 2))


def exported(stage: Stage) -> None:
    """Let a PACS export a study."""
    for number in (1, 2, 3):
        stage.export(f"PAT/ST/{number:03d}", axial(number))


def exported_two(stage: Stage) -> None:
    """Let a PACS export a study of two series."""
    for number in (1, 2):
        stage.export(f"PAT/ST/A/{number:03d}", axial(number))
        stage.export(f"PAT/ST/B/{number:03d}", bone(number))


def exported_again(stage: Stage) -> None:
    """Let it export a study again, elsewhere, when it was delivered."""
    exported(stage)
    stage.live_once()
    for number in (1, 2, 3):
        stage.export(f"COPY/{number:03d}", axial(number))


def exported_while_it_lies_there(stage: Stage) -> None:
    """Let it export a study that lies in another folder too, at once."""
    exported(stage)
    for number in (1, 2, 3):
        stage.export(f"COPY/{number:03d}", axial(number))


def exported_late(stage: Stage) -> None:
    """Let slices come after their series was delivered."""
    exported(stage)
    stage.live_once()
    for number in (4, 5):
        stage.export(f"PAT/ST/{number:03d}", axial(number))


def exported_late_retried(stage: Stage) -> None:
    """Let a person send them with the others."""
    exported_late(stage)
    stage.live_once()
    stage.leave_word("retry", late_case(stage))


def export_fails(stage: Stage) -> None:
    """Let the Engine fail the job of a study."""
    exported(stage)
    stage.fails_for = SERIES.encode()


def export_refused_then_retried(stage: Stage) -> None:
    """Let the Engine refuse a study that it would take now, and ask for a retry."""
    stage.sandbox.set_faults([{"on": "submit", "do": {"status": 422}}])
    exported(stage)
    stage.live_once()
    stage.sandbox.set_faults([])
    stage.leave_word("retry", "PAT")


def _left(*names: str) -> tuple[str, ...]:
    return tuple(f"export/{name}" for name in names)


def _in_place(name: str, prepare: Callable[[Stage], None], **others: Any) -> Scenario:
    """Return a scenario of a study that is sent from where it lies."""
    usual: dict[str, Any] = {
        "states": {"PAT": DONE},
        "files": (*_left(*STUDY), *delivered("PAT")),
        "overrides": IN_PLACE,
        "archives": {"PAT": STUDY},
    }
    return Scenario(name, prepare, **(usual | others))


IN_PLACE_SCENARIOS = (
    _in_place("place", exported),
    _in_place(
        "place_two",
        exported_two,
        states={"PAT--2-Jaw": DONE, "PAT--5-Bone": DONE},
        files=(*_left(*TWO), *delivered("PAT--2-Jaw"), *delivered("PAT--5-Bone")),
        jobs=2,
        archives={"PAT--2-Jaw": TWO[:2], "PAT--5-Bone": TWO[2:]},
    ),
    _in_place(
        "place_again",
        exported_again,
        files=(*_left(*STUDY, *COPY), *delivered("PAT")),
    ),
    _in_place(
        "place_twice",
        exported_while_it_lies_there,
        states={"COPY": DONE},
        files=(*_left(*STUDY, *COPY), *delivered("COPY")),
        archives={"COPY": STUDY},
    ),
    _in_place(
        "place_late",
        exported_late,
        files=(*_left(*STUDY, *LATE), *delivered("PAT"), "failed/PAT.2.held.txt"),
        more_cases=(("PAT", HELD),),
    ),
    _in_place(
        "place_late_retry",
        exported_late_retried,
        files=(*_left(*STUDY, *LATE), *delivered("PAT"), *delivered("PAT.2")),
        jobs=2,
        more_cases=(("PAT", DONE),),
        archives={"PAT": STUDY, "PAT.2": (*STUDY, *LATE)},
    ),
    _in_place("place_retry", export_refused_then_retried),
    _in_place(
        "place_failed",
        export_fails,
        states={"PAT": FAILED},
        files=(*_left(*STUDY), *failed("PAT")),
    ),
)
