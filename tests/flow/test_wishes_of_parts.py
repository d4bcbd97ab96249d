"""The wishes of a part of a folder: they lie with its first case, and outlast that."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flow.house import House
from tests.flow.lost_states import delete, mend
from tests.flow.parts import FEW, cancel, drop_two, now, rows_of
from tests.flow.series import write_series
from tests.flow.test_wishes import SMOOTH, requests
from vpe_watcher.core.model import Case, State

Build = Callable[..., House]
FINISH = {"finishWebhook": "https://clinic.test/done?key=secret"}


def options_sent(house: House) -> list[object]:
    """Return the options of each submit, oldest first."""
    return [job.get("options") for job in requests(house)]


def cancelled_early(house: House, *, wishes: dict[str, Any] = SMOOTH) -> tuple[Case, Case]:
    """Drop a folder with wishes; both cases are cancelled before they are taken, and at rest."""
    drop_two(house, wishes=json.dumps(wishes))
    cases = rows_of(house)
    cancel(house, *cases)
    house.live_until_rest()
    return cases


def lose_first(house: House, first: Case) -> None:
    """Clear away what is in failed of the folder's first case."""
    shutil.rmtree(house.root / "failed" / now(house, first).folder)


def without_memory(house: House, case: Case) -> None:
    """Make a case's row what versions before this one wrote: nothing of what was asked for."""
    names = tuple(one for one in case.job_json if one.lower().endswith("job.json"))
    house.parts.store.set_wishes(case.case_id, names)


@pytest.mark.parametrize("clears_away", [False, True])
def test_a_part_that_was_cancelled_early_is_sent_with_the_wishes(
    build: Build, *, clears_away: bool
) -> None:
    """A person retries it alone; the folder of the first, with the job.json, may be gone."""
    house = build(intake=FEW)
    first, part = cancelled_early(house)
    if clears_away:
        lose_first(house, first)
    house.say("retry", now(house, part))
    house.live_until_rest()
    assert options_sent(house) == [SMOOTH["options"]]


def test_a_part_is_sent_with_the_wishes_that_were_deleted_with_the_first(build: Build) -> None:
    """The first one is done and its input deleted, with the job.json, when the part is retried."""
    house = build(intake=FEW, retention={"on_success": "delete"})
    drop_two(house, wishes=json.dumps(SMOOTH))
    _, part = rows_of(house)
    cancel(house, part)
    house.live_until_rest()
    assert not [name for name in house.files("archive") if "job.json" in name]
    house.say("retry", now(house, part))
    house.live_until_rest()
    assert options_sent(house) == [SMOOTH["options"]] * 2


def test_what_a_person_corrects_beside_the_first_counts_for_the_part(build: Build) -> None:
    """The folder's job.json made no sense: corrected where it lies, both are sent with it."""
    house = build(intake=FEW)
    drop_two(house, wishes="{")
    first, part = rows_of(house)
    house.live_until_rest()
    assert set(house.states().values()) == {State.FAILED}
    rest = house.root / "failed" / now(house, first).folder
    (rest / "job.json").write_text(json.dumps(SMOOTH))
    for case in (part, first):
        house.say("retry", now(house, case))
    house.live_until_rest()
    assert options_sent(house) == [SMOOTH["options"]] * 2


def test_a_part_whose_wishes_nobody_knows_is_held_until_they_are_there(build: Build) -> None:
    """An earlier version recorded nothing: not sent without them, and told what to do."""
    house = build(intake=FEW)
    first, part = cancelled_early(house)
    lose_first(house, first)
    without_memory(house, now(house, part))
    house.say("retry", now(house, part))
    house.live(60)
    house.say("retry", now(house, part))
    house.live(60)
    held = now(house, part)
    assert (held.state, held.problem and held.problem.code) == (State.HELD, "wishes_gone")
    assert held.retries == 2
    assert requests(house) == []
    house.notes.keep()
    note = house.held_note(held.folder)
    claim = house.parts.ports.places.content(held)
    assert f"Claim folder: {claim}\n" in note
    assert "job.json" in note
    (claim / "job.json").write_text(json.dumps(SMOOTH))
    house.say("retry", now(house, part))
    house.live_until_rest()
    assert options_sent(house) == [SMOOTH["options"]]


def test_the_wishes_of_a_part_outlast_its_row(build: Build) -> None:
    """The state file is lost and rebuilt when the part was cancelled and the first cleared away."""
    house = build(intake=FEW)
    first, part = cancelled_early(house)
    lose_first(house, first)
    house.close()
    delete(house)
    mend(house)
    house.start()
    house.say("retry", now(house, part))
    house.live_until_rest()
    assert options_sent(house) == [SMOOTH["options"]]


def test_wishes_with_a_url_are_in_no_record_and_not_sent_without_it(build: Build) -> None:
    """A URL may be a secret; when only a record is left, a person is asked."""
    house = build(intake=FEW, recipes={"default": {"job_json_keys": ["finishWebhook"]}})
    first, part = cancelled_early(house, wishes=FINISH)
    assert "secret" not in house.record("failed", part.case_id).read_text()
    lose_first(house, first)
    house.close()
    delete(house)
    mend(house)
    house.start()
    house.say("retry", now(house, part))
    house.live(60)
    held = now(house, part)
    assert (held.state, held.problem and held.problem.code) == (State.HELD, "wishes_gone")
    assert requests(house) == []


@pytest.mark.parametrize("is_known", [False, True])
def test_wishes_that_went_out_of_an_export_are_kept_or_asked_for(
    build: Build, *, is_known: bool
) -> None:
    """The scan was cancelled before it was taken; its job.json is not there any more."""
    house = build(recipes={"pacs": {"inbox": "export", "leave_in_place": True, "existing": "take"}})
    export = house.root / "export"
    write_series(export / "Anna", range(1, 12))
    wishes = export / "Anna" / "job.json"
    wishes.write_text(json.dumps(SMOOTH))
    while not house.cases():
        house.look()
        house.time.advance(1.0)
    (case,) = house.cases()
    cancel(house, case)
    house.live_until_rest()
    wishes.unlink()
    if not is_known:
        without_memory(house, now(house, case))
    house.say("retry", now(house, case))
    house.live(200)
    assert options_sent(house) == ([SMOOTH["options"]] if is_known else [])
    assert now(house, case).state is (State.DONE if is_known else State.HELD)


def test_a_part_that_died_in_its_claim_reads_the_wishes_again(build: Build) -> None:
    """They are recorded before the claim is: with the claim on record the first may leave."""
    house = build(intake=FEW)
    drop_two(house, wishes=json.dumps(SMOOTH))
    rows_of(house)
    seen: list[tuple[str, ...]] = []
    record = house.parts.store.set_claimed

    def look(case_id: str, job: Any, *, engine_version: str) -> None:
        found = house.parts.store.load(case_id)
        seen.append(found.job_json if found and found.split_of else ())
        record(case_id, job, engine_version=engine_version)

    house.parts.store.set_claimed = look  # type: ignore[method-assign]
    house.live_until_rest()
    assert seen == [(), (str(Path("Anna") / "job.json"), json.dumps(SMOOTH))]
