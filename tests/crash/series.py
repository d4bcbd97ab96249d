"""Series of slices: gathered, split, held, late, known. Small ones, as every file is a point."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tests.crash.lives import Stage
from tests.crash.scenario import Scenario
from tests.flow.house import binary_stl
from tests.flow.series import SERIES, slice_bytes
from vpe_watcher.core.model import State
from vpe_watcher.core.series import series_name

FEW = {"intake": {"min_slices": 2, "series_settle_s": 2, "series_max_wait_s": 4}}
NAME = series_name("2", SERIES)
BONE = "1.2.3.4"
FIRST, SECOND = "anna--2-Jaw", "anna--5-Bone"
WISHES = {"outputFiles": {"meshes": [{"extension": ".stl", "structures": ["maxilla"]}]}}
DONE, FAILED, HELD = State.DONE, State.FAILED, State.HELD
CANCELLED, DUPLICATE = State.CANCELLED, State.DUPLICATE


@cache
def _slice(number: int, tags: tuple[tuple[str, Any], ...] = ()) -> bytes:
    return slice_bytes(number, **dict(tags))


def _bone(number: int) -> bytes:
    tags = {"series": BONE, "SeriesNumber": "5", "SeriesDescription": "Bone"}
    return _slice(number, tuple(tags.items()))


def _drop_slices(stage: Stage, *numbers: int, below: str = "") -> None:
    for number in numbers:
        stage.drop(f"{below}{number:03d}.dcm", _slice(number))


def _named(*numbers: int, below: str = "") -> tuple[str, ...]:
    return tuple(f"{below}{number:03d}.dcm" for number in numbers)


def _archived(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"archive/{folder}/{name}" for name in (*names, "result.json"))


def _failed(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"failed/{folder}/{name}" for name in (*names, "error.json", "error.txt"))


def _delivered(folder: str, *names: str, mesh: str = "mandible") -> tuple[str, ...]:
    published = (f"outbox/{folder}/{mesh}.stl", f"outbox/{folder}/result.json")
    return (*_archived(folder, *names), *published)


# --- loose ---------------------------------------------------------------------------------------


def loose(stage: Stage) -> None:
    """Drop the slices of a series."""
    _drop_slices(stage, 1, 2, 3)


def marked(stage: Stage) -> None:
    """Drop slices with wishes, and a marker for each."""
    stage.drop("001.dcm.job.json", json.dumps(WISHES).encode())
    _drop_slices(stage, 1, 2)
    for name in _named(1, 2):
        stage.drop(f"{name}.done", f"{name} is ready".encode())


def gap(stage: Stage) -> None:
    """Drop three of four slices."""
    for number in (1, 2, 3):
        stage.drop(f"{number:03d}.dcm", _slice(number, (("ImagesInAcquisition", "4"),)))


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
        stage.drop(f"again{number}.dcm", _slice(number))


def part_known(stage: Stage) -> None:
    """Drop some of what was delivered before."""
    loose(stage)
    stage.live_once()
    for number in (2, 3):
        stage.drop(f"again{number}.dcm", _slice(number))


def late(stage: Stage) -> None:
    """Let two slices come after their series was delivered."""
    loose(stage)
    stage.live_once()
    _drop_slices(stage, 4, 5)


def late_retried(stage: Stage) -> None:
    """Let a person send them with those of the first case."""
    late(stage)
    stage.live_once()
    stage.leave_word("retry", _late_case(stage))


def late_meanwhile(stage: Stage) -> None:
    """Let slices come, and a person send them, while the Engine computes from the others."""
    stage.sandbox.set_options(processing_s=120)
    loose(stage)
    stage.live_partly(lambda: _is_in(stage, State.WAITING))
    _drop_slices(stage, 4, 5)
    stage.live_partly(lambda: _is_in(stage, State.HELD))
    stage.leave_word("retry", _late_case(stage))
    stage.sandbox.set_options(processing_s=20)


def _late_case(stage: Stage) -> str:
    (found,) = [case for case in stage.cases() if case.late_for]
    return found.case_id


def _is_in(stage: Stage, state: State) -> bool:
    return any(case.state is state for case in stage.cases())


# --- folders -------------------------------------------------------------------------------------


def one_in_a_folder(stage: Stage) -> None:
    """Drop a folder with a series, a mesh and a report."""
    _drop_slices(stage, 1, 2, 3, below="anna/ct/")
    stage.drop("anna/upper.stl", binary_stl(seed=1))
    stage.drop("anna/report.pdf", b"%PDF-1.4 a report")


def two_in_a_folder(stage: Stage) -> None:
    """Drop a folder with two series, a mesh, a report and wishes that are meant for both."""
    _drop_slices(stage, 1, 2, below="anna/jaw/")
    for number in (1, 2):
        stage.drop(f"anna/bone/{number:03d}.dcm", _bone(number))
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
        stage.live_partly(lambda: _is_in(stage, State.CLAIMING), only_look=True)
        for name in names:
            stage.leave_word("cancel", name)

    return prepare


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


JAW_NAMES = (*_named(1, 2, below="jaw/"), "job.json", "report.pdf", "upper.stl")
BONE_NAMES = _named(1, 2, below="bone/")
SPLIT = (
    *_delivered(FIRST, *JAW_NAMES, mesh="maxilla"),
    *_delivered(SECOND, *BONE_NAMES, mesh="maxilla"),
)
SPLIT_ARCHIVES = {
    FIRST: _named(1, 2, below="anna/jaw/"),
    SECOND: _named(1, 2, below="anna/bone/"),
}
WHOLE = _delivered(NAME, *_named(1, 2, 3))
WHOLE_ARCHIVE = {NAME: _named(1, 2, 3)}
UNION = (*WHOLE, *_delivered(f"{NAME}.2", *_named(4, 5)))
UNION_ARCHIVES = WHOLE_ARCHIVE | {f"{NAME}.2": _named(1, 2, 3, 4, 5)}


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


SERIES_SCENARIOS = (
    Scenario("series", loose, {NAME: DONE}, WHOLE, overrides=FEW, archives=WHOLE_ARCHIVE),
    Scenario(
        "series_marked",
        marked,
        {NAME: DONE},
        _delivered(
            NAME,
            *(name + more for name in _named(1, 2) for more in ("", ".done")),
            "001.dcm.job.json",
            mesh="maxilla",
        ),
        overrides=FEW | {"recipes": {"default": {"ready_marker": ".done"}}},
        archives={NAME: _named(1, 2)},
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
            *_archived(f"{NAME}.2", "again1.dcm", "again2.dcm", "again3.dcm"),
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
            *_archived(f"{NAME}.2", "again2.dcm", "again3.dcm"),
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
        "folder_series",
        one_in_a_folder,
        {"anna": DONE},
        _delivered("anna", *_named(1, 2, 3, below="ct/"), "report.pdf", "upper.stl"),
        overrides=FEW,
        archives={"anna": _named(1, 2, 3, below="anna/ct/")},
    ),
    _split("split", two_in_a_folder),
    _split("split_far", two_in_a_folder, far=("archive",)),
    _split(
        "split_second_fails",
        second_fails,
        states={FIRST: DONE, SECOND: FAILED},
        files=(*_delivered(FIRST, *JAW_NAMES, mesh="maxilla"), *_failed(SECOND, *BONE_NAMES)),
    ),
    _split(
        "split_first_fails",
        first_fails,
        states={FIRST: FAILED, SECOND: DONE},
        files=(*_failed(FIRST, *JAW_NAMES), *_delivered(SECOND, *BONE_NAMES, mesh="maxilla")),
    ),
    _split(
        "split_second_cancelled",
        _cancelled_early(SECOND),
        states={FIRST: DONE, SECOND: CANCELLED},
        files=(*_delivered(FIRST, *JAW_NAMES, mesh="maxilla"), *_failed(SECOND, *BONE_NAMES)),
        jobs=1,
        archives={FIRST: SPLIT_ARCHIVES[FIRST]},
    ),
    _split(
        "split_first_cancelled",
        _cancelled_early(FIRST),
        states={FIRST: CANCELLED, SECOND: DONE},
        files=(*_failed(FIRST, *JAW_NAMES), *_delivered(SECOND, *BONE_NAMES, mesh="maxilla")),
        jobs=1,
        archives={SECOND: SPLIT_ARCHIVES[SECOND]},
    ),
    _split(
        "split_both_cancelled",
        _cancelled_early(FIRST, SECOND),
        states={FIRST: CANCELLED, SECOND: CANCELLED},
        files=(*_failed(FIRST, *JAW_NAMES), *_failed(SECOND, *BONE_NAMES)),
        jobs=0,
        archives={},
    ),
    _split(
        "split_bad_wishes",
        bad_wishes,
        states={FIRST: FAILED, SECOND: FAILED},
        files=(*_failed(FIRST, *JAW_NAMES), *_failed(SECOND, *BONE_NAMES)),
        jobs=0,
        archives={},
    ),
    _split("split_written", folder_written),
    _split("split_part_written", part_written),
)
