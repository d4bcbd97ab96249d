"""What commands read: lists, counts, trails, and whom a person means."""

from __future__ import annotations

import pytest

from tests.adapters.store.builders import BAD_SCAN, START, House
from vpe_watcher.core.model import Label, Move, State
from vpe_watcher.core.moments import iso


def test_counts_name_every_state(house: House) -> None:
    """Also those without a case."""
    house.add("c1")
    house.add("c2")
    house.bring(State.WAITING, "c3")
    counts = house.queries.counts()
    assert set(counts) == {str(state) for state in State}
    assert {name: n for name, n in counts.items() if n} == {"claiming": 2, "waiting": 1}


def test_the_list_is_newest_first_and_filtered(house: House) -> None:
    """By state, recipe and moment, alone and together."""
    house.add("c1", recipe="teeth", detected=START - 1000)
    house.add("c2")
    house.bring(State.WAITING, "c3", recipe="teeth")

    def listed(**filters: str) -> list[str]:
        return [row["case_id"] for row in house.queries.cases(**filters)]

    assert listed() == ["c3", "c2", "c1"]
    assert listed(state="claiming") == ["c2", "c1"]
    assert listed(recipe="teeth") == ["c3", "c1"]
    assert listed(since=iso(START - 500)) == ["c3", "c2"]
    assert listed(recipe="teeth", state="claiming", since=iso(START)) == []


def test_a_row_is_the_contracts(house: House) -> None:
    """The keys of `cases --json`, and the error in its four words."""
    house.add()
    house.step(Label.GONE, BAD_SCAN)
    row = house.queries.case_row("c1")
    assert set(row) - {"wait_reason"} == {
        "case_id",
        "case_name",
        "recipe",
        "state",
        "job_id",
        "detected",
        "updated",
        "outbox",
        "error",
    }
    assert row["error"] == {
        "class": "input",
        "code": "bad_scan",
        "message": "The scan is bad.",
        "hint": "Scan again.",
    }
    assert (row["state"], row["detected"], row["outbox"]) == ("held", iso(START - 60), None)


def test_an_event_is_the_contracts(house: House) -> None:
    """The keys of `show --json`, oldest first, with the duration of each attempt."""
    house.add()
    house.step()
    events = house.queries.events("c1")
    keys = {"time", "event", "step", "attempt", "outcome", "reason", "duration_s"}
    assert {frozenset(event) for event in events} == {frozenset(keys)}
    assert [event["event"] for event in events] == ["candidate.taken", "step.done"]
    assert events[1]["duration_s"] == 1.0


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("c1", ["c1"]),
        ("c", ["c1", "c12", "c2"]),
        ("c2", ["c2"]),
        ("c12", ["c12"]),
        ("Müller", ["c1", "c12"]),
        ("Müller.2", ["c12"]),
        ("müller.2", ["c12"]),
        ("other", ["c2"]),
        ("oth", []),
        ("%", []),
        ("_1", []),
        ("", []),
        ("nobody", []),
    ],
)
def test_whom_a_person_means(house: House, word: str, found: list[str]) -> None:
    """An exact id wins; else a prefix of an id, a case's name, or a folder's."""
    house.add("c1", case_name="Müller")
    house.add("c12", case_name="Müller")
    house.add("c2", case_name="other")
    assert house.queries.find(word) == found


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("Rest1", ["c1"]),
        ("rest1", ["c2"]),
        ("REST1", ["c1"]),
        ("rest1.2", ["c2", "c3"]),
        ("Rest1.2", ["c2"]),
    ],
)
def test_the_name_as_it_is_written_wins(house: House, word: str, found: list[str]) -> None:
    """Over one that is spelled alike; of a folder and a name nobody knows which was meant."""
    house.add("c1", case_name="Rest1")
    house.add("c2", case_name="rest1")
    house.add("c3", case_name="rest1.2")
    assert house.queries.find(word) == found


def test_which_case_took_a_path(house: House) -> None:
    """The newest that moved it, a folder above or files below it; no mere beginning of a name."""
    house.add("c1", moves=(Move("/in/a", "c1/a"),))
    house.add("c2", moves=(Move("/in/folder", "c2/folder"),))
    house.add("c3", moves=(Move("/in/a", "c3/a"),))
    assert house.queries.case_by_source("/in/a") == "c3"
    assert house.queries.case_by_source("/in/folder/sub/x.dcm") == "c2"
    for path in ("/in/folder2", "/in/fold", "/i", "/other"):
        assert house.queries.case_by_source(path) is None
    house.add("c4", moves=(Move("/pacs/study/1", "c4/1"), Move("/pacs/study/2", "c4/2")))
    assert house.queries.case_by_source("/pacs/study") == "c4"


def test_a_whole_case_for_show(house: House) -> None:
    """The same case that the daemon sees."""
    case = house.bring(State.FETCHING)
    assert house.queries.case("c1") == case
    assert house.queries.case("c9") is None
