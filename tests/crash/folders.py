"""Folders with slices: one series or two, which are split into a case each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.crash.lives import Stage
from tests.crash.scenario import Scenario
from tests.crash.slices import (
    BONE,
    CANCELLED,
    DONE,
    FAILED,
    FEW,
    WISHES,
    bone,
    delivered,
    drop_slices,
    failed,
    is_in,
    named,
)
from tests.flow.house import binary_stl
from tests.flow.series import SERIES, slice_bytes
from vpe_watcher.core.model import State

FIRST, SECOND = "anna--2-Jaw", "anna--5-Bone"
JAW_NAMES = (*named(1, 2, below="jaw/"), "job.json", "report.pdf", "upper.stl")
BONE_NAMES = named(1, 2, below="bone/")
SPLIT = (
    *delivered(FIRST, *JAW_NAMES, mesh="maxilla"),
    *delivered(SECOND, *BONE_NAMES, mesh="maxilla"),
)
SPLIT_ARCHIVES = {
    FIRST: named(1, 2, below="anna/jaw/"),
    SECOND: named(1, 2, below="anna/bone/"),
}


def one_in_a_folder(stage: Stage) -> None:
    """Drop a folder with a series, a mesh and a report."""
    drop_slices(stage, 1, 2, 3, below="anna/ct/")
    stage.drop("anna/upper.stl", binary_stl(seed=1))
    stage.drop("anna/report.pdf", b"%PDF-1.4 a report")


def two_in_a_folder(stage: Stage) -> None:
    """Drop a folder with two series, a mesh, a report and wishes that are meant for both."""
    drop_slices(stage, 1, 2, below="anna/jaw/")
    for number in (1, 2):
        stage.drop(f"anna/bone/{number:03d}.dcm", bone(number))
    stage.drop("anna/upper.stl", binary_stl(seed=1))
    stage.drop("anna/report.pdf", b"%PDF-1.4 a report")
    stage.drop("anna/job.json", json.dumps(WISHES).encode())


def second_fails(stage: Stage) -> None:
    """Let the Engine fail the job of the part."""
    two_in_a_folder(stage)
    stage.fails_for = BONE.encode()


def first_fails(stage: Stage) -> None:
    """Let the Engine fail the job of the first."""
    two_in_a_folder(stage)
    stage.fails_for = SERIES.encode()


def bad_wishes(stage: Stage) -> None:
    """Drop such a folder with wishes that make no sense."""
    two_in_a_folder(stage)
    stage.drop("anna/job.json", b"no wishes")


def _cancelled_early(*names: str) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        """Let a person cancel cases whose rows are there, and whose files are not yet taken."""
        two_in_a_folder(stage)
        stage.live_partly(lambda: is_in(stage, State.CLAIMING), only_look=True)
        for name in names:
            stage.leave_word("cancel", name)

    return prepare


def cancelled_then_retried(stage: Stage) -> None:
    """Let the person think better of it when both are at rest."""
    _cancelled_early(FIRST, SECOND)(stage)
    stage.live_once()
    for name in (SECOND, FIRST):
        stage.leave_word("retry", name)


def part_alone(stage: Stage) -> bool:
    """Take the wishes away when both are at rest, and let a person retry the part alone."""
    if {case.state for case in stage.cases()} != {CANCELLED}:
        return False
    (stage.root / "failed" / FIRST / "job.json").unlink()
    del stage.dropped["anna/job.json"]
    stage.leave_word("retry", SECOND)
    return True


def cancelled_and_written(stage: Stage) -> None:
    """Let a person cancel the part, and the folder grow when the daemon is about to take it."""
    _cancelled_early(SECOND)(stage)
    _write_again(stage, "anna/bone/002.dcm", at="anna")


def folder_written(stage: Stage) -> None:
    """Drop a folder with two series, one of which grows when the daemon is about to take it."""
    two_in_a_folder(stage)
    _write_again(stage, "anna/bone/002.dcm", at="anna")


def part_written(stage: Stage) -> None:
    """Drop such a folder; a slice changes when it is taken out of the claim of the other."""
    two_in_a_folder(stage)
    _write_again(stage, "anna/bone/002.dcm", at="002.dcm")


def _write_again(stage: Stage, name: str, *, at: str) -> None:
    """Let a file be written again just before the rename of `at`, the first time."""
    last = slice_bytes(
        2, series=BONE, seed=9, SeriesNumber="5", SeriesDescription="Bone", ImageComments="again"
    )
    stage.written_first[name] = stage.dropped[name]
    stage.dropped[name] = last
    first = stage.written_first[name]

    def write(path: Path) -> None:
        file = path if path.is_file() else path / Path(name).relative_to("anna")
        if path.name == at and file.is_file() and file.read_bytes() == first:
            file.write_bytes(last)

    stage.meddle = write


def _split(name: str, prepare: Callable[[Stage], None], **others: Any) -> Scenario:
    """Return a scenario of a folder with two series that are both delivered."""
    usual: dict[str, Any] = {
        "states": {FIRST: DONE, SECOND: DONE},
        "files": SPLIT,
        "jobs": 2,
        "overrides": FEW,
        "archives": SPLIT_ARCHIVES,
    }
    return Scenario(name, prepare, **(usual | others))


FOLDER_SCENARIOS = (
    Scenario(
        "folder_series",
        one_in_a_folder,
        {"anna": DONE},
        delivered("anna", *named(1, 2, 3, below="ct/"), "report.pdf", "upper.stl"),
        overrides=FEW,
        archives={"anna": named(1, 2, 3, below="anna/ct/")},
    ),
    _split("split", two_in_a_folder),
    _split("split_far", two_in_a_folder, far=("archive",)),
    _split(
        "split_second_fails",
        second_fails,
        states={FIRST: DONE, SECOND: FAILED},
        files=(*delivered(FIRST, *JAW_NAMES, mesh="maxilla"), *failed(SECOND, *BONE_NAMES)),
    ),
    _split(
        "split_first_fails",
        first_fails,
        states={FIRST: FAILED, SECOND: DONE},
        files=(*failed(FIRST, *JAW_NAMES), *delivered(SECOND, *BONE_NAMES, mesh="maxilla")),
    ),
    _split(
        "split_second_cancelled",
        _cancelled_early(SECOND),
        states={FIRST: DONE, SECOND: CANCELLED},
        files=(*delivered(FIRST, *JAW_NAMES, mesh="maxilla"), *failed(SECOND, *BONE_NAMES)),
        jobs=1,
        archives={FIRST: SPLIT_ARCHIVES[FIRST]},
    ),
    _split(
        "split_first_cancelled",
        _cancelled_early(FIRST),
        states={FIRST: CANCELLED, SECOND: DONE},
        files=(*failed(FIRST, *JAW_NAMES), *delivered(SECOND, *BONE_NAMES, mesh="maxilla")),
        jobs=1,
        archives={SECOND: SPLIT_ARCHIVES[SECOND]},
    ),
    _split(
        "split_both_cancelled",
        _cancelled_early(FIRST, SECOND),
        states={FIRST: CANCELLED, SECOND: CANCELLED},
        files=(*failed(FIRST, *JAW_NAMES), *failed(SECOND, *BONE_NAMES)),
        jobs=0,
        archives={},
    ),
    _split(
        "split_bad_wishes",
        bad_wishes,
        states={FIRST: FAILED, SECOND: FAILED},
        files=(*failed(FIRST, *JAW_NAMES), *failed(SECOND, *BONE_NAMES)),
        jobs=0,
        archives={},
    ),
    _split("split_retry", cancelled_then_retried),
    _split("split_retry_far", cancelled_then_retried, far=("failed",)),
    _split(
        "split_part_alone",
        _cancelled_early(FIRST, SECOND),
        states={FIRST: CANCELLED, SECOND: DONE},
        files=(
            *failed(FIRST, *(name for name in JAW_NAMES if name != "job.json")),
            *delivered(SECOND, *BONE_NAMES, mesh="maxilla"),
        ),
        follow=part_alone,
        jobs=1,
        archives={SECOND: SPLIT_ARCHIVES[SECOND]},
    ),
    _split(
        "split_cancelled_written",
        cancelled_and_written,
        states={FIRST: DONE, SECOND: CANCELLED},
        files=(*delivered(FIRST, *JAW_NAMES, mesh="maxilla"), *failed(SECOND, *BONE_NAMES)),
        jobs=1,
        archives={FIRST: SPLIT_ARCHIVES[FIRST]},
    ),
    _split("split_written", folder_written),
    _split("split_part_written", part_written),
)
