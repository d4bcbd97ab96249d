"""Parts of a series: never sent alone, whatever becomes of the case that had the rest."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flow.house import House
from tests.flow.series import write_series
from tests.flow.test_series import NAME, QUICK, sent
from vpe_watcher.core.model import State

Build = Callable[..., House]


@pytest.fixture
def house(build: Build) -> House:
    """Return a house that waits six seconds for slices."""
    return build(intake=QUICK)


def counts(house: House) -> list[int]:
    """Return how many slices each job got."""
    return sorted(len(one.namelist()) for one in sent(house))


def test_a_part_of_a_cancelled_series_is_held(house: House) -> None:
    """It waited for the whole; the whole was cancelled unpaid: a part alone is no volume."""
    write_series(house.root / "inbox", range(1, 21))
    house.live_until(NAME, State.SUBMITTING)
    write_series(house.root / "inbox", range(1, 13), name="again{}.dcm")
    for inbox in house.parts.inboxes.values():
        inbox.look_anew()
    house.time.advance(4)
    house.look()
    house.time.advance(8)
    house.look()
    first, part = house.cases()
    house.queries.say("cancel", [first.case_id])
    house.parts.words.obey()
    house.live(60)
    assert house.parts.store.load(part.case_id).state is State.HELD  # type: ignore[union-attr]
    assert counts(house) == []
    house.say("retry", part)
    house.live(60)
    assert counts(house) == [20]


def test_ignored_late_slices_are_never_sent_alone(build: Build) -> None:
    """Their first case was cancelled before it cost anything: they are held."""
    house = build(intake={**QUICK, "late_slices": "ignore"})
    write_series(house.root / "inbox", range(1, 13))
    house.live(40)
    write_series(house.root / "inbox", [13, 14])
    house.live(40)
    late = house.cases()[1]
    assert late.state is State.DUPLICATE
    house.say("retry", late, may_cost=True)
    house.live(60)
    assert counts(house) == [12, 14]


def test_late_slices_of_late_slices_are_united(house: House) -> None:
    """The union holds what each earlier case holds, without a hole."""
    for numbers in (range(1, 13), [13, 14], [15, 16]):
        write_series(house.root / "inbox", numbers)
        house.live(40)
    newest = house.cases()[2]
    house.say("retry", newest)
    house.live(60)
    assert counts(house) == [12, 16]


def test_slices_of_another_case_that_cannot_be_read_are_waited_for(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk stumbles while the first slices are looked for: no defect, and it heals."""
    for numbers in (range(1, 13), [13, 14]):
        write_series(house.root / "inbox", numbers)
        house.live(40)
    exists = house.disk.exists

    def refuse(path: Path) -> bool:
        if "archive" in path.parts and path.suffix == ".dcm":
            raise OSError(errno.EIO, "bad sector")
        return exists(path)

    with monkeypatch.context() as sick:
        sick.setattr(type(house.disk), "exists", lambda _, path: refuse(path))
        house.say("retry", house.cases()[1])
        house.live(5)
        problem = house.cases()[1].problem
        assert problem is not None
        assert problem.code == "input_unreadable"
    house.live(120)
    assert counts(house) == [12, 14]


def test_slices_that_late_ones_are_sent_with_are_not_deleted_before(build: Build) -> None:
    """With `on_success = "delete"` the first case keeps them until the other has sent them."""
    house = build(intake=QUICK, retention={"on_success": "delete"})
    house.sandbox.set_options(processing_s=120)
    write_series(house.root / "inbox", range(1, 13))
    house.live_until(NAME, State.WAITING)
    write_series(house.root / "inbox", [13, 14])
    house.live(40)
    first, late = house.cases()
    house.sandbox.set_faults([{"on": "upload", "do": {"status": 500}}])
    house.say("retry", late)
    house.live(200)
    assert [case.state for case in house.cases()] == [State.ARCHIVING, State.UPLOADING]
    assert len(house.files("outbox")) == 2
    house.sandbox.set_faults([])
    house.live(600, step_s=5)
    assert [case.state for case in house.cases()] == [State.DONE, State.DONE]
    assert counts(house) == [12, 14]
    assert not house.parts.places.claim(first).exists()


def test_a_whole_series_after_a_part_that_was_held_is_sent(house: House) -> None:
    """Eleven of twelve were held and cost nothing; the whole series comes again."""
    write_series(house.root / "inbox", range(1, 12), ImagesInAcquisition="12")
    house.live(90)
    assert house.case(NAME).state is State.HELD
    write_series(house.root / "inbox", range(1, 13), name="b{}.dcm", ImagesInAcquisition="12")
    house.live(60)
    assert [case.state for case in house.cases()] == [State.HELD, State.DONE]
    assert counts(house) == [12]


def test_a_repaired_series_with_a_hole_is_held_again(house: House) -> None:
    """A person repairs the cut slice in `failed`; that slices are missing is told then."""
    numbers = [*range(1, 8), *range(14, 21)]
    write_series(house.root / "inbox", numbers)
    path = house.root / "inbox" / "001.dcm"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    house.live(800, step_s=10)
    (case,) = house.cases()
    assert case.state is State.FAILED
    (house.root / "failed" / NAME / "001.dcm").write_bytes(whole)
    house.say("retry", case)
    house.live(60)
    (case,) = house.cases()
    assert case.state is State.HELD
    assert counts(house) == []
    house.say("retry", case)
    house.live(60)
    assert counts(house) == [14]


def test_a_part_that_cannot_be_taken_is_tried_again(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder belongs to another: the first is delivered, and leaves it where it lies."""
    house = build(intake=QUICK)
    folder = house.root / "inbox" / "Anna"
    write_series(folder / "a")
    write_series(folder / "b", series="1.2.3", SeriesNumber="5", SeriesDescription="Bone")
    rename = house.disk.rename_unsynced

    def refuse(source: Path, target: Path) -> None:
        if source.parent.name == "b":
            raise PermissionError(13, "no")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(house.disk), "rename_unsynced", lambda _, a, b: refuse(a, b))
        house.live(200)
    assert house.states() == {"Anna--2-Jaw": State.ARCHIVING, "Anna--5-Bone": State.CLAIMING}
    assert house.result("Anna--2-Jaw")["status"] == "complete"
    ((reason, _, _),) = house.queries.wait_reasons(State.CLAIMING)
    assert "permission" in reason
    house.live(700)
    assert house.states() == {"Anna--2-Jaw": State.DONE, "Anna--5-Bone": State.DONE}


def test_where_duplicates_run_again_a_part_is_still_none(build: Build) -> None:
    """Twelve of twenty known slices are no scan to be sent once more."""
    house = build(intake={**QUICK, "duplicates": "rerun"})
    write_series(house.root / "inbox", range(1, 21))
    house.live(40)
    write_series(house.root / "inbox", range(1, 13), name="again{}.dcm")
    house.live(60)
    assert house.cases()[1].state is State.DUPLICATE
    assert counts(house) == [20]


def test_a_part_with_other_content_is_never_mixed_in(house: House) -> None:
    """Held, and held again by a retry: two versions of a series make no volume."""
    write_series(house.root / "inbox", range(1, 13))
    house.live(40)
    write_series(house.root / "inbox", [3, 4, 5], name="other{}.dcm", seed=7)
    house.live(60)
    part = house.cases()[1]
    assert part.problem is not None
    assert (part.state, part.problem.code) == (State.HELD, "series_differs")
    house.say("retry", part)
    house.live(60)
    again = house.cases()[1]
    assert again.problem is not None
    assert (again.state, again.problem.code) == (State.HELD, "series_differs")
    assert counts(house) == [12]
