"""A state file that was lost, cut or restored: nothing lost, nothing paid or delivered twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.flow.house import House
from tests.flow.lost_states import (
    LOSSES,
    backup,
    contents,
    go_on,
    live_on,
    mend,
    paid_contents,
    populate,
    refusal,
)
from vpe_watcher.core.model import State

NO_LIMIT = {"limits": {"jobs_per_day": 0}}


def _lost_and_recovered(house: House, loss: str, count: int) -> None:
    populate(house, count)
    assert set(house.states().values()) == set(State)
    backup(house)
    if loss == "restored":
        go_on(house, Random(count))
    scans, paid = contents(house), paid_contents(house)
    deliveries = set((house.root / "outbox").iterdir())
    known = {case.case_id: case for case in house.cases()}
    house.close()
    LOSSES[loss](house)
    assert refusal(house) in {"state_damaged", "state_outdated"}
    mend(house)
    again = mend(house)
    assert (again.why, again.recovery.rebuilt, again.left, again.still) == ("", [], 0, "")
    house.start()
    assert {case.case_id for case in house.cases()} >= {
        case_id for case_id, case in known.items() if case.times["claimed"]
    }
    live_on(house)
    assert contents(house) == scans
    _nothing_paid_twice(house, paid)
    _everything_delivered_once(house, deliveries)
    _duplicates_are_known(house)


def _nothing_paid_twice(house: House, before: Counter[str]) -> None:
    after = paid_contents(house)
    assert max(after.values()) == 1
    assert before <= after
    assert max(job.started for job in house.sandbox.ledger.jobs.values()) == 1


def _everything_delivered_once(house: House, before: set[Path]) -> None:
    folders = [path for path in (house.root / "outbox").iterdir() if path.name != ".vpe-watcher"]
    documents = [json.loads((path / "result.json").read_text()) for path in folders]
    assert max(Counter(one["case_id"] for one in documents).values()) == 1
    assert before - {house.root / "outbox" / ".vpe-watcher"} <= set(folders)
    ended = {one["case_id"] for one in documents}
    for case in house.cases():
        is_delivered = case.state in {State.DONE, State.PARTIAL, State.DUPLICATE}
        assert is_delivered == (case.case_id in ended), (case.case_name, case.state, case.problem)
    jobs = {job.id for job in house.sandbox.ledger.jobs.values() if job.started}
    assert jobs == {case.job_id for case in house.cases() if case.paid and case.job_id}


def _duplicates_are_known(house: House) -> None:
    started = house.started()
    (one, *_) = [case for case in house.cases() if case.state is State.DONE]
    archived = house.root / "archive" / one.folder / one.inputs[0].name
    house.drop("once more.nii", archived.read_bytes())
    house.live(20)
    again = house.case("once more")
    assert (again.state, again.duplicate_of) == (State.DUPLICATE, one.case_id)
    assert house.started() == started


@pytest.mark.parametrize("loss", LOSSES)
def test_cases_in_every_state(build: Callable[..., House], loss: str) -> None:
    """One in each: `run` refuses, `recover` and `run` end them all as if nothing had been."""
    _lost_and_recovered(build(**NO_LIMIT), loss, 1)


def test_a_sound_file_with_cases_in_every_state(build: Callable[..., House]) -> None:
    """Nothing in the folders contradicts it, so nothing in it is touched."""
    house = build(**NO_LIMIT)
    populate(house, 1)
    before = house.cases()
    house.close()
    recovered = mend(house)
    assert (recovered.why, recovered.recovery.rebuilt, recovered.kept) == ("", [], None)
    house.start()
    assert house.cases() == before


@pytest.mark.real
@pytest.mark.timeout(240)
@pytest.mark.parametrize("loss", LOSSES)
def test_ten_cases_in_every_state(build: Callable[..., House], loss: str) -> None:
    """The same with ten in each."""
    _lost_and_recovered(build(**NO_LIMIT), loss, 10)
