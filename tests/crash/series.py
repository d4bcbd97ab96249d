"""Loose slices: gathered, held, late, known. Small series, as every file is a point."""

from __future__ import annotations

import json

from tests.crash.lives import Stage
from tests.crash.scenario import Scenario
from tests.crash.slices import (
    CANCELLED,
    DONE,
    DUPLICATE,
    FEW,
    HELD,
    NAME,
    WISHES,
    archived,
    axial,
    delivered,
    drop_slices,
    failed,
    is_in,
    late_case,
    named,
)
from tests.flow.house import binary_stl
from vpe_watcher.core.model import State

WHOLE = delivered(NAME, *named(1, 2, 3))
WHOLE_ARCHIVE = {NAME: named(1, 2, 3)}
UNION = (*WHOLE, *delivered(f"{NAME}.2", *named(4, 5)))
UNION_ARCHIVES = WHOLE_ARCHIVE | {f"{NAME}.2": named(1, 2, 3, 4, 5)}


def loose(stage: Stage) -> None:
    """Drop the slices of a series."""
    drop_slices(stage, 1, 2, 3)


def marked(stage: Stage) -> None:
    """Drop slices with wishes, and a marker for each."""
    stage.drop("001.dcm.job.json", json.dumps(WISHES).encode())
    drop_slices(stage, 1, 2)
    for name in named(1, 2):
        stage.drop(f"{name}.done", f"{name} is ready".encode())


def partners(stage: Stage) -> None:
    """Drop two jaws that wait for one another."""
    stage.drop("anna_upper.stl", binary_stl(seed=1))
    stage.drop("anna_lower.stl", binary_stl(seed=2))


def gap(stage: Stage) -> None:
    """Drop three of four slices."""
    for number in (1, 2, 3):
        stage.drop(f"{number:03d}.dcm", axial(number, (("ImagesInAcquisition", "4"),)))


def gap_retried(stage: Stage) -> None:
    """Let a person send what is here of a series that was held."""
    gap(stage)
    stage.live_once()
    stage.leave_word("retry", NAME)


def known(stage: Stage) -> None:
    """Drop again, under other names, what was delivered before."""
    loose(stage)
    stage.live_once()
    for number in (1, 2, 3):
        stage.drop(f"again{number}.dcm", axial(number))


def part_known(stage: Stage) -> None:
    """Drop some of what was delivered before."""
    loose(stage)
    stage.live_once()
    for number in (2, 3):
        stage.drop(f"again{number}.dcm", axial(number))


def late(stage: Stage) -> None:
    """Let two slices come after their series was delivered."""
    loose(stage)
    stage.live_once()
    drop_slices(stage, 4, 5)


def late_retried(stage: Stage) -> None:
    """Let a person send them with those of the first case."""
    late(stage)
    stage.live_once()
    stage.leave_word("retry", late_case(stage))


def late_meanwhile(stage: Stage) -> None:
    """Let slices come, and a person send them, while the Engine computes from the others."""
    stage.sandbox.set_options(processing_s=120)
    loose(stage)
    stage.live_partly(lambda: is_in(stage, State.WAITING))
    drop_slices(stage, 4, 5)
    stage.live_partly(lambda: is_in(stage, State.HELD))
    stage.leave_word("retry", late_case(stage))
    stage.sandbox.set_options(processing_s=20)


def late_of_cancelled(stage: Stage) -> None:
    """Let the person cancel the first case at the same time."""
    late_meanwhile(stage)
    stage.leave_word("cancel", stage.cases()[0].case_id)


LOOSE_SCENARIOS = (
    Scenario("series", loose, {NAME: DONE}, WHOLE, overrides=FEW, archives=WHOLE_ARCHIVE),
    Scenario(
        "series_marked",
        marked,
        {NAME: DONE},
        delivered(
            NAME,
            *(name + more for name in named(1, 2) for more in ("", ".done")),
            "001.dcm.job.json",
            mesh="maxilla",
        ),
        overrides=FEW | {"recipes": {"default": {"ready_marker": ".done"}}},
        archives={NAME: named(1, 2)},
    ),
    Scenario(
        "partners",
        partners,
        {"anna": DONE},
        delivered("anna", "anna_lower.stl", "anna_upper.stl"),
        overrides={"recipes": {"default": {"require": ["ios_upper", "ios_lower"]}}},
    ),
    Scenario("series_held", gap, {NAME: HELD}, (f"failed/{NAME}.held.txt",), 0, FEW),
    Scenario(
        "series_held_retry",
        gap_retried,
        {NAME: DONE},
        WHOLE,
        overrides=FEW,
        archives=WHOLE_ARCHIVE,
    ),
    Scenario(
        "series_known",
        known,
        {NAME: DONE},
        (
            *WHOLE,
            *archived(f"{NAME}.2", "again1.dcm", "again2.dcm", "again3.dcm"),
            f"outbox/{NAME}.2/result.json",
        ),
        overrides=FEW,
        more_cases=((NAME, DUPLICATE),),
        archives=WHOLE_ARCHIVE,
    ),
    Scenario(
        "series_part_known",
        part_known,
        {NAME: DONE},
        (
            *WHOLE,
            *archived(f"{NAME}.2", "again2.dcm", "again3.dcm"),
            f"outbox/{NAME}.2/result.json",
        ),
        overrides=FEW,
        more_cases=((NAME, DUPLICATE),),
        archives=WHOLE_ARCHIVE,
    ),
    Scenario(
        "late",
        late,
        {NAME: DONE},
        (*WHOLE, f"failed/{NAME}.2.held.txt"),
        overrides=FEW,
        more_cases=((NAME, HELD),),
        archives=WHOLE_ARCHIVE,
    ),
    Scenario(
        "late_retry",
        late_retried,
        {NAME: DONE},
        UNION,
        jobs=2,
        overrides=FEW,
        more_cases=((NAME, DONE),),
        archives=UNION_ARCHIVES,
    ),
    Scenario(
        "late_meanwhile",
        late_meanwhile,
        {NAME: DONE},
        UNION,
        jobs=2,
        overrides=FEW,
        more_cases=((NAME, DONE),),
        archives=UNION_ARCHIVES,
    ),
    Scenario(
        "late_of_cancelled",
        late_of_cancelled,
        {NAME: CANCELLED},
        (*failed(NAME, *named(1, 2, 3)), *delivered(f"{NAME}.2", *named(4, 5))),
        jobs=2,
        overrides=FEW,
        more_cases=((NAME, DONE),),
        archives=UNION_ARCHIVES,
    ),
    Scenario(
        "late_of_deleted",
        late_meanwhile,
        {NAME: DONE},
        tuple(path for path in UNION if not path.endswith(".dcm")),
        jobs=2,
        overrides=FEW | {"retention": {"on_success": "delete"}},
        more_cases=((NAME, DONE),),
        archives=UNION_ARCHIVES,
    ),
)
