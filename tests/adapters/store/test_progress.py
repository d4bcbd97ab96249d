"""What steps record while they run."""

from __future__ import annotations

import pytest

from tests.adapters.store.builders import (
    BAD_SCAN,
    MANDIBLE,
    START,
    House,
)
from vpe_watcher.core.model import (
    Label,
    Output,
    State,
)
from vpe_watcher.core.moments import iso


def test_a_fresh_answer_keeps_what_was_fetched(house: House) -> None:
    """Polling again brings new URLs for the rest, and nothing is fetched twice."""
    skull = Output(1, "meshes", ("skull",), ".stl", "Available", 7, "https://b.example/s")
    house.bring(State.WAITING)
    house.store.set_result("c1", outputs=[MANDIBLE, skull], body={}, result_status="complete")
    house.store.set_fetched("c1", 0, file="mandible.stl", size=9, sha256="ab")
    house.store.set_result("c1", outputs=[MANDIBLE, skull], body={}, result_status="complete")
    first, second = house.case().outputs
    assert (first.file, first.size, first.sha256) == ("mandible.stl", 9, "ab")
    assert (second.file, second.url) == (None, "https://b.example/s")
    house.store.forget_fetched("c1")
    assert [output.file for output in house.case().outputs] == [None, None]


def test_outputs_that_look_alike_are_two(house: House) -> None:
    """One that was fetched does not stand for its twin."""
    twins = [
        Output(position, "meshes", (), ".stl", "Available", None, "https://b.example/x")
        for position in (0, 1)
    ]
    house.bring(State.WAITING)
    house.store.set_result("c1", outputs=twins, body={}, result_status="complete")
    house.store.set_fetched("c1", 0, file="meshes.stl", size=9, sha256="ab")
    house.store.set_result("c1", outputs=twins, body={}, result_status="complete")
    assert [output.file for output in house.case().outputs] == ["meshes.stl", None]


def test_the_first_times_are_kept(house: House) -> None:
    """Finished and delivered say when it first was so, through repeated steps."""
    house.bring(State.DELIVERING)
    house.store.begin_publishing("c1")
    house.now += 50
    house.store.begin_publishing("c1")
    house.store.set_result("c1", outputs=[], body={}, result_status="partial")
    case = house.case()
    assert (case.times["finished"], case.times["delivered"]) == (iso(START), iso(START))
    assert (case.publishing, case.result_status) == (True, "partial")


def test_held_notes_are_written_and_removed_once(house: House) -> None:
    """The note at the folder follows the state, through any crash in between."""
    house.add()
    assert house.store.held_notes() == ([], [])
    house.step(Label.GONE, BAD_SCAN)
    wanted, unwanted = house.store.held_notes()
    assert ([case.case_id for case in wanted], unwanted) == (["c1"], [])
    house.store.set_noted(wanted[0])
    assert house.store.held_notes() == ([], [])
    house.say(Label.RETRY_UNPAID)
    wanted, unwanted = house.store.held_notes()
    assert (wanted, [case.case_id for case in unwanted]) == ([], ["c1"])
    house.store.set_unnoted("c1")
    assert house.store.held_notes() == ([], [])


def test_a_note_of_before_does_not_count_for_a_case_that_is_held_again(house: House) -> None:
    """A retry and another hold came while it was written: its words are those of the first."""
    house.add()
    house.step(Label.GONE, BAD_SCAN)
    (before,) = house.store.held_notes()[0]
    house.say(Label.RETRY_UNPAID)
    house.step(Label.GONE, BAD_SCAN)
    house.store.set_noted(before)
    (now,) = house.store.held_notes()[0]
    assert now.retries == before.retries + 1
    house.store.set_noted(now)
    assert house.store.held_notes() == ([], [])


def test_progress_of_a_case_that_is_not_there_is_a_defect(house: House) -> None:
    """Nothing is written into the void."""
    with pytest.raises(AssertionError, match="no row"):
        house.store.set_job("c9", "j", {})
    with pytest.raises(AssertionError, match="no row"):
        house.store.begin_notification("c9", "cbct")
    with pytest.raises(AssertionError, match="no row"):
        house.store.set_published("c9", "/out", State.DONE)
