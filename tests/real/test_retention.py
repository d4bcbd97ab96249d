"""Disks that fill up to each watermark: what is removed then, what is not, and how it goes on."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.real.disks import disks, drop, leave_free
from tests.real.house import House, Plan, running_house

pytestmark = [pytest.mark.real, pytest.mark.timeout(240), pytest.mark.usefixtures("parts")]

SPACE = {"min_free": "1500 KiB", "prune_below": "750 KiB"}
MIN_FREE = 1500 * 1024
PLAN = Plan(retention=SPACE)
COUNT = 6
ROWS = 32_000  # scans of 128, 192, 256, … 448 kB
LOOKED_S = 13.0  # by then the daemon has looked at the archive's disk at least once


def _archived(house: House) -> list[str]:
    return sorted(path.name for path in (house.root / "archive").glob("[!.]*"))


def _oldest_first(house: House) -> list[str]:
    rows = sorted(house.cases(), key=lambda row: str(row["updated"]))
    return [str(row["case_name"]) for row in rows if row["state"] == "done"]


def _files(folder: Path) -> dict[str, int]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_size for path in paths}


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def test_intake_pauses_at_the_first_mark_and_the_archive_gives_way_at_the_second(
    tmp_path: Path,
) -> None:
    """The oldest go until there is room for scans again; failed and outbox are as they were."""
    with disks(tmp_path, {"archive": "4m"}), running_house(tmp_path, PLAN) as house:
        drop(house, 0, COUNT, rows=ROWS)
        (house.inbox / "text.zip").write_bytes(b"this is no archive\n" * 10)
        house.wait_for_rest(COUNT + 1)
        archive, order = house.root / "archive", _oldest_first(house)
        before = {name: _files(house.root / name) for name in ("outbox", "failed")}

        filler = leave_free(archive, 1200 * 1024)
        house.wait_until(lambda: "disk" in house.breakers(), "intake goes on")
        drop(house, COUNT, 1)
        time.sleep(LOOKED_S)
        assert _archived(house) == sorted(order)
        assert [path.name for path in house.inbox.glob("*.nii")] == [f"scan-{COUNT:02}.nii"]

        leave_free(archive, 600 * 1024)
        house.wait_until(lambda: _free(archive) >= MIN_FREE, "no room is made")
        house.wait_for_rest(COUNT + 2)
        assert not house.breakers()
        left = [name for name in order if name in _archived(house)]
        assert 0 < len(left) < COUNT
        assert left == order[-len(left) :], "not the oldest have gone"
        pruned = [line["case_id"] for line in house.events("case.pruned")]
        ids = {row["case_name"]: row["case_id"] for row in house.cases()}
        assert pruned == [ids[name] for name in order[: COUNT - len(left)]]
        sizes = [line["bytes"] for line in house.events("case.pruned")]
        assert 600 * 1024 + sum(sizes[:-1]) < MIN_FREE, "more has gone than was needed"
        assert _files(house.root / "failed") == before["failed"]
        assert before["outbox"].items() <= _files(house.root / "outbox").items()
        assert [line["breaker"] for line in house.events("breaker.closed")] == ["disk"]
        assert not [name for name in order if name in house.log()]
        filler.unlink()


def test_an_archive_is_not_emptied_for_another_disk(tmp_path: Path) -> None:
    """The outbox's disk is low: nothing in the archive would help it."""
    with disks(tmp_path, {"outbox": "8m"}), running_house(tmp_path, PLAN) as house:
        drop(house, 0, 2)
        house.wait_for_rest(2)
        leave_free(house.root / "outbox", 500 * 1024)
        house.wait_until(lambda: "disk" in house.breakers(), "intake goes on")
        time.sleep(LOOKED_S)
        assert _archived(house) == ["scan-00", "scan-01"]
        assert house.ask("prune", "--dry-run")["removed"] == []
        assert house.events("prune.waiting") == []


def test_a_disk_without_anything_old_is_told_once(tmp_path: Path) -> None:
    """The archive is empty: one line in the log, and the breaker says what to do."""
    with disks(tmp_path, {"archive": "4m"}), running_house(tmp_path, PLAN) as house:
        house.wait_for(tmp_path / "archive/.vpe-watcher/marker.json", timeout_s=20)
        leave_free(house.root / "archive", 500 * 1024)
        house.wait_until(lambda: house.events("prune.waiting"), "nobody is told")
        time.sleep(LOOKED_S)
        assert [line["code"] for line in house.events("prune.waiting")] == ["archive_exhausted"]
        assert "disk" in house.breakers()


def test_what_is_mounted_in_an_old_folder_is_not_removed(tmp_path: Path) -> None:
    """Somebody has bound a folder of his own into a case's: all of that case stays."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "important").write_text("important")
    with running_house(tmp_path, Plan(retention={"archive_days": 0.00001})) as house:
        drop(house, 0, 2)
        house.wait_for_rest(2)
        bound = house.root / "archive/scan-00/bound"
        bound.mkdir()
        subprocess.run(["mount", "--bind", mine, bound], check=True)
        try:
            time.sleep(1)
            told = house.ask("prune")
            assert [Path(row["path"]).name for row in told["removed"]] == ["scan-01"]
            assert [row["reason"] for row in told["kept"]] == ["something is mounted in it"]
            assert (bound / "important").exists()
        finally:
            subprocess.run(["umount", bound], check=True)
        assert [Path(row["path"]).name for row in house.ask("prune")["removed"]] == ["scan-00"]
        assert (mine / "important").read_text() == "important"
