"""A modality sends the head by C-STORE; dcmtk's storescp writes the slices into the inbox."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.real.house import House, Plan, running_house
from tests.real.series import SLICES, Series, instances_of, write_series
from tests.real.servers import Receiver, running_receiver

pytestmark = [pytest.mark.real, pytest.mark.timeout(240), pytest.mark.usefixtures("parts")]

SETTLE_S = 2.0
DRIP_S = 0.3
BROKEN_AT = int(SLICES * 0.6)
PLAN = Plan(intake={"settle_s": 0.5, "series_settle_s": SETTLE_S})


@dataclass(frozen=True, slots=True)
class Ward:
    """A house with a receiver that writes into its inbox."""

    house: House
    receiver: Receiver


@pytest.fixture(name="ward")
def run_ward(tmp_path: Path) -> Iterator[Ward]:
    """Run the daemon, and storescp into its inbox."""
    with (
        running_house(tmp_path, PLAN) as house,
        running_receiver(house.inbox, tmp_path / "storescp.log") as receiver,
    ):
        yield Ward(house, receiver)


@pytest.fixture(name="series")
def write_one(tmp_path: Path) -> Series:
    """Write the head as it lies in the modality."""
    return write_series(tmp_path / "modality")


def _assert_whole(house: House, *all_series: Series, sent_at: float) -> None:
    """One case and one paid job a series, exactly its slices, and none begun before `sent_at`."""
    cases = house.wait_for_rest(len(all_series))
    # Whatever was taken early would make a second case: give it the time to.
    time.sleep(SETTLE_S + 1.5)
    cases = house.cases()
    assert [case["state"] for case in cases] == ["done"] * len(all_series), cases
    jobs = house.jobs()
    assert len(jobs) == len(house.ledger()["jobs"]) == len(all_series)
    received = sorted(instances_of(house.unzipped(job)) for job in jobs)
    assert received == sorted(sorted(series.instances) for series in all_series)
    assert [job["started"] for job in jobs] == [1] * len(jobs)
    assert min(job["created"] for job in jobs) >= sent_at
    assert [path for path in house.inbox.iterdir() if path.name != ".vpe-watcher"] == []


def test_at_full_speed(ward: Ward, series: Series) -> None:
    """A hundred slices in a second are one case."""
    ward.receiver.send(series.files)
    _assert_whole(ward.house, series, sent_at=time.time())


def test_dripped(ward: Ward, series: Series) -> None:
    """A slice every 0.3 s: the series is quiet only after the last one."""
    ward.receiver.drip(series.files, every_s=DRIP_S)
    _assert_whole(ward.house, series, sent_at=time.time())


def test_two_series_interleaved(ward: Ward, series: Series, tmp_path: Path) -> None:
    """Slices of two series in turn become two cases."""
    other = write_series(tmp_path / "other modality", number=2)
    pairs = zip(series.files, other.files, strict=True)
    ward.receiver.send([path for pair in pairs for path in pair])
    _assert_whole(ward.house, series, other, sent_at=time.time())


def test_broken_off_and_repeated_at_once(ward: Ward, series: Series) -> None:
    """The sender comes back before the series is quiet: still one case, whole."""
    ward.receiver.send(series.files[:BROKEN_AT])
    time.sleep(SETTLE_S * 0.4)
    ward.receiver.send(series.files)
    _assert_whole(ward.house, series, sent_at=time.time())


@pytest.mark.parametrize("keyword", ["ImagesInAcquisition", "NumberOfSeriesRelatedInstances"])
def test_broken_off_and_repeated_later(keyword: str, ward: Ward, tmp_path: Path) -> None:
    """The headers tell 108: what there is of them is held back until the sender comes back."""
    series = write_series(tmp_path / "modality", declared_in=keyword)
    ward.receiver.send(series.files[:BROKEN_AT])
    ward.house.wait_until(
        lambda: [row for row in _rows(ward.house) if row["state"] == "held_back"],
        "the series is not held back",
    )
    reasons = {row["reason"] for row in _rows(ward.house) if row["state"] == "held_back"}
    assert all("108" in reason and str(BROKEN_AT) in reason for reason in reasons), reasons
    assert ward.house.cases() == []
    ward.receiver.send(series.files)
    _assert_whole(ward.house, series, sent_at=time.time())


def _rows(house: House) -> list[dict[str, Any]]:
    return list(house.candidates().values())


def test_copied_with_a_gap_in_the_middle(ward: Ward, series: Series) -> None:
    """Instance numbers tell what is missing, when no count is declared."""
    late = series.files[50]
    for path in series.files:
        if path != late:
            shutil.copyfile(path, ward.house.inbox / path.name)
    ward.house.wait_until(
        lambda: [row for row in _rows(ward.house) if row["state"] == "held_back"],
        "the series is not held back",
    )
    assert ward.house.cases() == []
    shutil.copyfile(late, ward.house.inbox / late.name)
    _assert_whole(ward.house, series, sent_at=time.time())


def test_broken_off_and_continued_too_late(ward: Ward, series: Series) -> None:
    """Nothing told that more would come: the rest is held, and a person's word sends all of it."""
    house = ward.house
    ward.receiver.send(series.files[:BROKEN_AT])
    house.wait_for_rest(1)
    ward.receiver.send(series.files[BROKEN_AT:])
    late, first = house.wait_for_rest(2)
    assert (late["state"], first["state"]) == ("held", "done")
    assert len(house.ledger()["jobs"]) == 1
    house.tell("retry", late["case_id"])
    house.wait_until(lambda: len(house.jobs()) == 2, "the retry made no job")
    house.wait_for_rest(2)
    sizes = [len(instances_of(house.unzipped(job))) for job in house.jobs()]
    assert sizes == [BROKEN_AT, SLICES]
    assert instances_of(house.unzipped(house.jobs()[1])) == sorted(series.instances)
