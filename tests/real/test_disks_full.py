"""Folders on small disks of their own that fill up under twenty cases, and get room again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.disks import (
    COUNT,
    MEBIBYTE,
    all_came_home,
    disks,
    drop,
    fill,
    leftovers,
    remount,
    script,
    wait_for_states,
)
from tests.real.house import House, Plan, running_house

pytestmark = [pytest.mark.real, pytest.mark.timeout(240), pytest.mark.usefixtures("parts")]

LIMITS = {"retry_at_most_s": 2, "jobs_in_flight": COUNT}
PLAN = Plan(limits=LIMITS)
FULL = "no space left on device (ENOSPC)."
RESERVE_BYTES = 8 * MEBIBYTE


def _told(house: House, name: str) -> dict[str, str]:
    """Return what `status` says of a breaker, once it is open."""
    house.wait_until(lambda: name in house.breakers(), f"{name} stays closed")
    return {key: house.breakers()[name][key] for key in ("reason", "hint")}


def _changes(house: House, name: str) -> list[str]:
    """Return what the log said of a breaker: the codes of its opening, and "closed"."""
    lines = house.events("breaker.opened") + house.events("breaker.closed")
    lines = [line for line in lines if line["breaker"] == name]
    return [line.get("code", "closed") for line in sorted(lines, key=lambda one: one["timestamp"])]


def _resting(house: House) -> int:
    """Count the cases that are done or not yet sent."""
    counts: dict[str, int] = house.ask("status")["cases"]
    return counts["done"] + counts["submitting"]


def test_a_full_inbox(tmp_path: Path) -> None:
    """No evidence fits into the claims: nothing is notified until there is room."""
    with disks(tmp_path, {"inbox": "16m"}), running_house(tmp_path, PLAN) as house:
        script(house, [{"on": "submit", "do": {"status": 503}}])
        drop(house, 0, COUNT)
        wait_for_states(house, "submitting", COUNT)
        filler = fill(house.inbox)
        script(house, [])
        told = _told(house, "disk")
        assert told["reason"] == f"The folder of inbox:default cannot be used: {FULL}"
        assert told["hint"] == "Free space on this file system; work goes on by itself."
        assert house.jobs() == []
        filler.unlink()
        all_came_home(house, COUNT)
        assert _changes(house, "disk") == ["folder_enospc", "closed"]


def test_a_full_outbox(tmp_path: Path) -> None:
    """Results wait at the Engine, new scans in the inbox, until there is room."""
    with disks(tmp_path, {"outbox": "4m"}), running_house(tmp_path, PLAN) as house:
        house.set_options(processing_s=3600)
        drop(house, 0, COUNT)
        wait_for_states(house, "waiting", COUNT)
        filler = fill(house.root / "outbox")
        house.set_options(processing_s=0)
        assert _told(house, "disk")["reason"] == f"The folder of outbox cannot be used: {FULL}"
        drop(house, COUNT, 1)
        wait_for_states(house, "fetching", COUNT)
        house.wait_until(house.candidates, "the new scan is not seen")
        assert [path.name for path in house.inbox.glob("*.nii")] == ["scan-20.nii"]
        assert list((house.root / "outbox").glob("[!.]*")) == []
        filler.unlink()
        all_came_home(house, COUNT + 1)
        assert _changes(house, "disk") == ["folder_enospc", "closed"]


def test_an_archive_on_another_disk_fills_up_in_the_middle_of_a_copy(tmp_path: Path) -> None:
    """What did not fit is no half case there; its scan stays claimed, and goes on with room."""
    with disks(tmp_path, {"archive": "8m"}), running_house(tmp_path, PLAN) as house:
        drop(house, 0, COUNT, rows=30_000)  # 14 MiB in all
        told = _told(house, "disk")
        assert told["reason"] == f"The folder of archive cannot be used: {FULL}"
        kept = list((house.root / "archive").glob("scan*"))
        assert 0 < len(kept) < COUNT
        assert all((path / "result.json").exists() for path in kept)
        house.wait_until(
            lambda: not [path for path in leftovers(house.root) if path.startswith("archive")],
            "a part of a copy keeps the archive full",
        )
        remount(house.root / "archive", "size=64m")
        all_came_home(house, COUNT)
        changes = _changes(house, "disk")  # a copy may yet fit where another has made room
        assert changes == ["folder_enospc", "closed"] * max(1, len(changes) // 2)


def test_a_full_state_disk_records_the_end_of_what_was_sent(tmp_path: Path) -> None:
    """The reserve is given up: what was sent comes home, `status` tells, and nothing new begins."""
    reserve = tmp_path / "state" / "state.sqlite3.reserve"
    with disks(tmp_path, {"state": "64m"}), running_house(tmp_path, PLAN) as house:
        house.wait_for(reserve, timeout_s=10)
        assert (reserve.stat().st_mode & 0o7777, reserve.stat().st_size) == (0o600, RESERVE_BYTES)
        house.set_options(processing_s=3600)
        drop(house, 0, COUNT + 5)
        wait_for_states(house, "waiting", COUNT)
        wait_for_states(house, "submitting", 5)
        filler = fill(house.root / "state")
        house.set_options(processing_s=0)
        told = _told(house, "state")
        assert "SQLITE_FULL" in told["reason"] or "in its reserve" in told["reason"]
        assert "Free space" in told["hint"] or "is it full" in told["hint"]
        drop(house, COUNT + 5, 1)
        house.wait_until(lambda: _resting(house) == COUNT + 5, "what was sent did not come home")
        assert not reserve.exists()
        assert house.ask("status")["cases"]["done"] == len(house.jobs()) >= COUNT
        assert [path.name for path in house.inbox.glob("*.nii")] == [f"scan-{COUNT + 5}.nii"]
        assert "state" in house.breakers()
        filler.unlink()
        all_came_home(house, COUNT + 6)
        assert reserve.stat().st_size == RESERVE_BYTES
        changes = _changes(house, "state")
        assert set(changes[:-1]) <= {"state_reserve_used", "state_full"}
        assert (changes[0], changes[-1]) == ("state_reserve_used", "closed")


def test_a_daemon_starts_on_a_full_disk(tmp_path: Path) -> None:
    """SQLite needs room to open its file: the reserve of the last life makes it."""
    reserve = tmp_path / "state" / "state.sqlite3.reserve"
    with disks(tmp_path, {"state": "64m"}):
        with running_house(tmp_path, PLAN) as house:
            house.wait_for(reserve, timeout_s=10)
        filler = fill(tmp_path / "state")
        with running_house(tmp_path, PLAN) as house:
            assert "reserve" in _told(house, "state")["reason"]
            drop(house, 0, COUNT)
            house.wait_until(lambda: len(house.candidates()) == COUNT, "they are not seen")
            assert house.cases() == []
            filler.unlink()
            all_came_home(house, COUNT)
            assert _changes(house, "state") == ["state_reserve_used", "closed"]
