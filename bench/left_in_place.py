"""How long a rescan of an export of 100,000 unchanged files takes, beside `find`.

    python bench/left_in_place.py [FILES] [FOLDER]

Prints wall and CPU seconds of `find` (which looks at size and time of each file), of the first scan
(which remembers all) and of rescans, and the ratio of the medians.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.flow.house import FakeTime, House

ROUNDS = 5
A_STUDY = 20


def main() -> None:
    """Build the export, measure, print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        root = Path(folder)
        export = root / "export"
        build(export, count)
        report(root, export, count)


def build(export: Path, count: int) -> None:
    """Make studies of twenty small files, three folders deep."""
    for number in range(count // A_STUDY):
        folder = export / f"PAT{number:05d}" / "ST1" / "SE1"
        folder.mkdir(parents=True)
        for index in range(A_STUDY):
            (folder / f"IM{index:04d}").write_bytes(b"x" * 64)


def report(root: Path, export: Path, count: int) -> None:
    """Print what was measured."""
    found = [measured(lambda: find(export)) for _ in range(ROUNDS)]
    house = House(
        root / "house",
        {"recipes": {"pacs": {"inbox": str(export), "leave_in_place": True}}},
        time=RealTime(),
    )
    inbox = house.parts.inboxes["pacs"]
    first = measured(inbox.turn)

    def again() -> None:
        inbox.look_anew()
        inbox.turn()

    def read_all() -> None:
        while inbox.turn() < 1e6:
            time.sleep(0.01)

    inbox.options = replace(inbox.options, scan_every_s=1e9)
    reading = measured(read_all)
    rescans = [measured(again) for _ in range(ROUNDS)]
    assert house.cases() == []
    print(f"{count} files, median of {ROUNDS} (first scan: once); seconds")
    print(f"find         wall {middle(found, 0):7.3f}  cpu {middle(found, 1):7.3f}")
    print(f"first scan   wall {first[0]:7.3f}  cpu {first[1]:7.3f}")
    print(f"reading, 5 % wall {reading[0]:7.3f}  cpu {reading[1]:7.3f}")
    print(f"rescan       wall {middle(rescans, 0):7.3f}  cpu {middle(rescans, 1):7.3f}")
    print(
        f"ratio        wall {middle(rescans, 0) / middle(found, 0):7.2f}"
        f"  cpu {middle(rescans, 1) / middle(found, 1):7.2f}"
    )
    house.close()


class RealTime(FakeTime):
    """A clock that nobody moves."""

    def monotonic(self) -> float:
        """Return the clock that never jumps."""
        return time.monotonic()


def find(export: Path) -> None:
    """Look at size and time of every file as `find` does."""
    command = ["find", str(export), "-type", "f", "-printf", "%s %T@ %p\\n"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def measured(act: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of an act, children included."""
    started, before = time.monotonic(), cpu()
    act()
    return time.monotonic() - started, cpu() - before


def cpu() -> float:
    """Return the CPU seconds of this process and its ended children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def middle(values: list[tuple[float, float]], index: int) -> float:
    """Return the median of one column."""
    return statistics.median(value[index] for value in values)


if __name__ == "__main__":
    main()
