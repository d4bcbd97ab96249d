"""A case folder with two series: its first case, and the part that is taken out of its claim."""

from __future__ import annotations

from pathlib import Path

from tests.flow.house import House
from tests.flow.series import write_series
from vpe_watcher.core.model import Case

FEW = {"settle_s": 0.2, "series_settle_s": 2, "min_slices": 2}


def drop_two(house: House, *, wishes: str = "") -> Path:
    """Drop such a folder; `wishes` are what its job.json says."""
    folder = house.root / "inbox" / "Anna"
    write_series(folder / "a", range(1, 3))
    write_series(folder / "b", range(1, 3), series="1.2.3", SeriesNumber="5")
    if wishes:
        (folder / "job.json").write_text(wishes)
    return folder


def rows_of(house: House) -> tuple[Case, Case]:
    """Look until both have a row, and nothing was taken yet."""
    while not house.cases():
        house.look()
        house.time.advance(1.0)
    first, part = house.cases()
    assert part.split_of == first.case_id
    return first, part


def cancel(house: House, *cases: Case) -> None:
    """Let a person cancel cases, and the daemon hear it."""
    for case in cases:
        house.queries.say("cancel", [case.case_id], may_cost=False)
    house.parts.words.obey()


def now(house: House, case: Case) -> Case:
    """Return a case as it is now."""
    found = house.parts.store.load(case.case_id)
    assert found is not None
    return found
