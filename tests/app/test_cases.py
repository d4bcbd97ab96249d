"""`cases` and `show`: shapes, filters, and how a person names a case."""

from __future__ import annotations

import json

import pytest

from tests.app.desk import Desk, problem
from vpe_watcher.app.commands.cases import parse_since
from vpe_watcher.core.errors import UsageError
from vpe_watcher.core.model import FailureClass, Label, State

ROW = [
    "case_id",
    "case_name",
    "recipe",
    "state",
    "job_id",
    "detected",
    "updated",
    "outbox",
    "error",
]


def test_cases_without_a_state_file_is_an_empty_list(desk: Desk) -> None:
    """Before the first start there is an answer, too."""
    desk.store.database.close()
    desk.settings.state_file.unlink()
    ran = desk.run("cases", "--json")
    assert (ran.code, json.loads(ran.out)) == (
        0,
        {"schema": "vpe-watcher/cases/1", "cases": []},
    )
    assert not desk.settings.state_file.exists()


def test_cases_are_listed_newest_first_in_the_contracts_shape(desk: Desk) -> None:
    """Each row holds what the contract names, times in UTC, paths absolute."""
    desk.add("old")
    done = desk.finish(desk.add("new"))
    body = json.loads(desk.run("cases", "--json").out)
    assert body["schema"] == "vpe-watcher/cases/1"
    assert [row["case_name"] for row in body["cases"]] == ["new", "old"]
    row = body["cases"][0]
    assert list(row) == ROW
    assert (row["case_id"], row["state"], row["job_id"]) == (done, "done", f"job-{done}")
    assert row["outbox"] == str(desk.settings.outbox / "new")
    assert row["detected"].endswith("Z")
    assert (body["cases"][1]["outbox"], body["cases"][1]["error"]) == (None, None)


def test_an_error_has_class_code_message_and_hint(desk: Desk) -> None:
    """What went wrong is told in the list itself."""
    desk.end(desk.add(), Label.INPUT, problem("cut_short", FailureClass.INPUT))
    row = json.loads(desk.run("cases", "--json").out)["cases"][0]
    assert row["error"] == {
        "class": "input",
        "code": "cut_short",
        "message": "Because of cut_short.",
        "hint": "Do something.",
    }


def test_cases_can_be_narrowed(desk: Desk) -> None:
    """State, recipe and age narrow the list, alone and together."""
    desk.finish(desk.add("a"))
    desk.add("b", recipe="teeth")

    def names(*options: str) -> list[str]:
        rows = json.loads(desk.run("cases", "--json", *options).out)["cases"]
        return [row["case_name"] for row in rows]

    assert names("--state", "done") == ["a"]
    assert names("--recipe", "teeth") == ["b"]
    assert names("--since", "1h") == ["b", "a"]
    assert names("--since", "0s") == []
    assert names("--state", "done", "--recipe", "teeth") == []


@pytest.mark.parametrize("option", [("--state", "lost"), ("--since", "yesterday")])
def test_a_filter_that_makes_no_sense_is_a_usage_error(desk: Desk, option: tuple[str, str]) -> None:
    """A typing error must not look like an empty list."""
    ran = desk.run("cases", "--json", *option)
    assert ran.code == 2
    assert json.loads(ran.out)["errors"][0]["code"] == "usage"


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        ("2d", "2026-01-08T12:00:00.000Z"),
        ("3h", "2026-01-10T09:00:00.000Z"),
        ("90s", "2026-01-10T11:58:30.000Z"),
        ("1.5 h", "2026-01-10T10:30:00.000Z"),
        ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00.000Z"),
        ("2026-01-01T10:00:00+02:00", "2026-01-01T08:00:00.000Z"),
    ],
)
def test_since_takes_ages_and_moments(words: str, moment: str) -> None:
    """What people write becomes a moment in UTC."""
    assert parse_since(words, now=lambda: 1768046400.0) == moment


@pytest.mark.parametrize("words", ["", "2 moons", "2026-13-01", "99999999999999d", "-1d"])
def test_since_refuses_the_rest(words: str) -> None:
    """Neither an age nor a moment: said in words."""
    with pytest.raises(UsageError, match="--since"):
        parse_since(words, now=lambda: 0.0)


def test_show_holds_the_row_and_what_belongs_to_it(desk: Desk) -> None:
    """Inputs, outputs and every step, as one object."""
    case_id = desk.finish(desk.add(), outputs=("Available", "Missing"))
    body = json.loads(desk.run("show", case_id, "--json").out)
    assert body["schema"] == "vpe-watcher/case/1"
    assert list(body) == ["schema", *ROW, "inputs", "outputs", "events"]
    assert body["inputs"] == [
        {
            "modality": "cbct",
            "name": "scan.dcm",
            "extension": ".dcm",
            "size": 4,
            "sha256": "ab" * 32,
        }
    ]
    assert [output["status"] for output in body["outputs"]] == ["Available", "Missing"]
    steps = [event for event in body["events"] if event["step"]]
    assert [step["step"] for step in steps][:2] == ["claiming", "submitting"]
    assert set(steps[0]) == {
        "time",
        "event",
        "step",
        "attempt",
        "outcome",
        "reason",
        "duration_s",
    }


def test_show_for_people_fits_on_a_terminal(desk: Desk) -> None:
    """A person sees state, reason and hint in lines that are not too long."""
    case_id = desk.end(desk.add(), Label.INPUT, problem("cut_short", FailureClass.INPUT))
    ran = desk.run("show", case_id)
    assert ran.code == 0
    assert "state:" in ran.out
    assert "Because of cut_short. (input, cut_short)" in ran.out
    assert "hint:" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


def test_a_case_is_found_by_id_prefix_name_and_folder(desk: Desk) -> None:
    """All four ways to name a case lead to it."""
    desk.add("smith", case_id="aaa111")
    second = desk.add("smith", case_id="abb222")
    assert desk.case(second).folder == "smith.2"
    for word, found in (("aaa111", "aaa111"), ("aa", "aaa111"), ("smith.2", "abb222")):
        ran = desk.run("show", word, "--json")
        assert json.loads(ran.out)["case_id"] == found


@pytest.mark.parametrize("word", ["a", "smith"])
def test_several_matches_are_refused_with_their_ids(desk: Desk, word: str) -> None:
    """A person chooses; the program never guesses."""
    desk.add("smith", case_id="aaa111")
    desk.add("smith", case_id="abb222")
    ran = desk.run("show", word)
    assert (ran.code, ran.out) == (1, "")
    assert "aaa111" in ran.err
    assert "abb222" in ran.err


@pytest.mark.parametrize("word", ["nobody", ""])
def test_an_unknown_case_is_refused(desk: Desk, word: str) -> None:
    """With --json the errors object is all of stdout."""
    desk.add("smith")
    ran = desk.run("show", word, "--json")
    assert ran.code == 1
    body = json.loads(ran.out)
    assert body["schema"] == "vpe-watcher/errors/1"
    assert [sorted(error) for error in body["errors"]] == [["code", "hint", "message"]]
    assert body["errors"][0]["code"] == "no_such_case"


def test_a_case_under_way_is_shown_as_it_is(desk: Desk) -> None:
    """An attempt that is not over has no outcome yet."""
    case_id = desk.walk(desk.add(), State.UPLOADING)
    desk.store.begin(case_id, State.UPLOADING, jobs_per_day={})
    last = json.loads(desk.run("show", case_id, "--json").out)["events"][-1]
    assert (last["step"], last["attempt"], last["outcome"]) == ("uploading", 1, None)
