"""Thousands of files at once, whole trees, and a system that grants one watch in all."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.real.house import House, Plan, running_house
from tests.real.small import move_in, write_small_scan

pytestmark = [pytest.mark.real, pytest.mark.timeout(300), pytest.mark.usefixtures("parts")]

TREES, NOTES = 20, 3
SCAN_EVERY_S = 5.0
DUTY = 0.05
# What is found is claimed; one job is enough, the others wait for tomorrow's budget.
LIMITS = {"jobs_per_day": 1}
INTAKE = {"settle_s": 1, "scan_every_s": SCAN_EVERY_S}
RECIPES = "[recipes.teeth]\n[recipes.jaws]\n"
ONE_WATCH = 'echo 1 > /proc/sys/user/max_inotify_watches && exec "$@"'
# The limit holds in a user namespace of the daemon's own: nothing to restore.
STARVED = ("unshare", "--user", "--map-root-user", "sh", "-c", ONE_WATCH, "starved")


@pytest.fixture(name="disk")
def mount_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk on which syncing costs nothing: ten thousand claims are not the point here."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


@pytest.mark.parametrize(
    ("prefix", "count"),
    [pytest.param((), 1000, id="watched"), pytest.param(STARVED, 5000, id="one watch")],
)
def test_a_burst_is_found_within_one_scan_period(
    prefix: tuple[str, ...], count: int, disk: Path
) -> None:
    """Every file and every tree becomes one case, first seen within one period of its drop."""
    for recipe in ("", "teeth", "jaws"):
        (disk / "inbox" / recipe).mkdir(parents=True, exist_ok=True)
    plan = Plan(intake=INTAKE, limits=LIMITS, recipes=RECIPES, prefix=prefix)
    names = _stage(disk / "staged", count)
    with running_house(disk, plan) as house:
        begun = time.time()
        _drop(house, names)
        dropped = time.time()
        cases = _claimed(house, len(names))
        print(f"{count} claimed after {time.time() - dropped:.0f} s")  # noqa: T201 - a figure
    assert dropped - begun < 2, "the burst was too slow to be one"
    assert Counter(case["case_name"] for case in cases) == Counter(names)
    last = max(datetime.fromisoformat(case["detected"]).timestamp() for case in cases)
    print(f"found after {last - dropped:.1f} s of {_period_s(house):.1f}")  # noqa: T201 - a figure
    assert last - dropped < _period_s(house)


def _stage(folder: Path, count: int) -> list[str]:
    """Write files and trees beside the inbox; return the names of the cases they make."""
    folder.mkdir()
    for number in range(count):
        write_small_scan(folder / f"scan-{number:04}.nii", number)
    for tree in range(TREES):
        deep = folder / f"tree-{tree:02}" / "a" / "b"
        deep.mkdir(parents=True)
        write_small_scan(deep / "scan.nii", count + tree)
        for other in range(NOTES):
            (deep / f"note-{other}.txt").write_text("not a scan")
    return [path.name.removesuffix(".nii") for path in folder.iterdir()]


def _drop(house: House, names: list[str]) -> None:
    """Move everything in, spread over three recipes."""
    targets = [house.inbox, house.inbox / "teeth", house.inbox / "jaws"]
    for index, path in enumerate(sorted((house.root / "staged").iterdir())):
        move_in(path, targets[index % len(targets)])


def _claimed(house: House, count: int) -> list[dict[str, Any]]:
    """Wait until nothing but our own folders is left in the inboxes; return the cases."""

    def is_empty() -> bool:
        left = [path.name for path in house.inbox.iterdir()]
        return set(left) <= {".vpe-watcher", "teeth", "jaws"} and not house.candidates()

    house.wait_until(is_empty, "something is left in the inbox", timeout_s=200)
    house.wait_until(lambda: len(house.cases()) >= count, "a case is missing", timeout_s=30)
    return house.cases()


def _period_s(house: House) -> float:
    """Return the longest scan period that the duty cap allows for what the scans took, in s."""
    longest = max(line["duration_s"] for line in house.events("scan.done"))
    return float(max(SCAN_EVERY_S, longest / DUTY)) + 1
