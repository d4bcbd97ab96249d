"""Thousands of files at once, whole trees, and a system that grants one watch in all."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.conftest import MEASURED
from tests.real.house import House, Plan, running_house
from tests.real.small import move_in, write_small_mesh, write_small_scan

pytestmark = [pytest.mark.real, pytest.mark.timeout(300), pytest.mark.usefixtures("parts")]

FILES, TREES, NOTES = 5000, 20, 3
SCAN_EVERY_S = 5.0
DUTY = 0.05
# What is found is claimed; one job is enough, the others wait for tomorrow's budget.
LIMITS = {"jobs_per_day": 1}
Record = Callable[[str, object], None]
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


@pytest.mark.parametrize("prefix", [(), STARVED], ids=["watched", "one watch"])
def test_a_burst_is_found_within_one_scan_period(
    prefix: tuple[str, ...], disk: Path, record_property: Record
) -> None:
    """Five thousand files and some trees are each seen once, within one period of their drop."""
    _make_inboxes(disk)
    count = _stage(disk / "staged", FILES, _mesh)
    intake = {"settle_s": 3600, "scan_every_s": SCAN_EVERY_S}
    with running_house(disk, Plan(intake=intake, recipes=RECIPES, prefix=prefix)) as house:
        dropped_at = _drop(house)
        house.wait_until(lambda: len(house.events("candidate.seen")) >= count, "not all is found")
        seen = house.events("candidate.seen")
        found_after_s = max(_moment(line["timestamp"]) for line in seen) - dropped_at
        record_property(MEASURED, f"{count} files found {found_after_s:.1f} s after the last came")
        assert found_after_s < _period_s(house)
        time.sleep(_period_s(house) + 1)
        assert len(house.events("candidate.seen")) == count
        assert house.cases() == []


def test_of_a_burst_nothing_is_claimed_twice(disk: Path, record_property: Record) -> None:
    """With one watch for three inboxes every file and every tree becomes one case."""
    _make_inboxes(disk)
    count = _stage(disk / "staged", FILES, write_small_scan)
    names = [path.name.removesuffix(".nii") for path in (disk / "staged").iterdir()]
    intake = {"settle_s": 1, "scan_every_s": SCAN_EVERY_S}
    plan = Plan(intake=intake, limits=LIMITS, recipes=RECIPES, prefix=STARVED)
    with running_house(disk, plan) as house:
        dropped_at = _drop(house)
        house.wait_until(lambda: _is_empty(house), "something is left", timeout_s=150)
        record_property(MEASURED, f"{count} files claimed after {time.time() - dropped_at:.0f} s")
        house.wait_until(lambda: len(house.cases()) >= count, "a case is missing")
        assert Counter(case["case_name"] for case in house.cases()) == Counter(names)


def _make_inboxes(disk: Path) -> None:
    for recipe in ("", "teeth", "jaws"):
        (disk / "inbox" / recipe).mkdir(parents=True, exist_ok=True)


def _mesh(path: Path, number: int) -> Path:
    """Write what no format can prove, so that it stays a candidate."""
    return write_small_mesh(path.with_name(f"upper-{number:04}.obj"), number)


def _stage(folder: Path, count: int, write: Callable[[Path, int], Path]) -> int:
    """Write files and trees beside the inbox; return how many candidates they make."""
    folder.mkdir()
    for number in range(count):
        write(folder / f"scan-{number:04}.nii", number)
    for tree in range(TREES):
        deep = folder / f"tree-{tree:02}" / "a" / "b"
        deep.mkdir(parents=True)
        write(deep / "scan.nii", count + tree)
        for note in range(NOTES):
            (deep / f"note-{note}.txt").write_text("not a scan")
    return count + TREES


def _drop(house: House) -> float:
    """Move everything in within two seconds, over three recipes; return when it was done."""
    targets = [house.inbox, house.inbox / "teeth", house.inbox / "jaws"]
    paths = sorted((house.root / "staged").iterdir())
    began = time.time()
    for index, path in enumerate(paths):
        move_in(path, targets[index % len(targets)])
    assert time.time() - began < 2, "the burst was too slow to be one"
    return time.time()


def _is_empty(house: House) -> bool:
    """Tell whether nothing but our own folders is left in the inboxes."""
    left = {path.name for path in house.inbox.iterdir()}
    return left <= {".vpe-watcher", "teeth", "jaws"} and not house.candidates()


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _period_s(house: House) -> float:
    """Return the longest scan period that the duty cap allows for what the scans took, in s."""
    longest = max((line["duration_s"] for line in house.events("scan.done")), default=0.0)
    return float(max(SCAN_EVERY_S, longest / DUTY)) + 1
