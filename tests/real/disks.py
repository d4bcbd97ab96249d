"""Disks for the daemon's folders that fill up, turn read-only, or fail by order of the test.

Owns tmpfs mounts below a test's folder, and libfiu's faults in a running daemon. They need the
world of `inside`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import requests

from tests.real.convert import Scan, write_nifti
from tests.real.house import House

MEBIBYTE = 1024 * 1024
COUNT = 20


@contextmanager
def mounted(folder: Path, size: str, *, mode: int = 0o755) -> Iterator[Path]:
    """Give a folder a file system of its own, of `size` (`16m`), until the block ends."""
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode={mode:o}", "tmpfs", folder], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def disks(root: Path, sizes: Mapping[str, str]) -> Iterator[None]:
    """Give each of these folders of a house a file system of its own."""
    with ExitStack() as stack:
        for name, size in sizes.items():
            mode = 0o700 if name == "state" else 0o755
            stack.enter_context(mounted(root / name, size, mode=mode))
        yield


def remount(folder: Path, options: str) -> None:
    """Change a mounted disk, as an administrator or a kernel that saw errors does."""
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def fill(folder: Path) -> Path:
    """Write somebody else's file until not a byte is free; return it."""
    path = folder / ".somebody's"
    with path.open("ab", buffering=0) as file:
        for size in (MEBIBYTE, 4096, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return path


def leave_free(folder: Path, size_bytes: int) -> Path:
    """Let somebody else's file grow until no more than this is free; return it."""
    path = folder / ".somebody's"
    with path.open("ab") as file:
        found = os.statvfs(folder)
        file.write(bytes(max(0, found.f_bavail * found.f_frsize - size_bytes)))
    return path


@dataclass(frozen=True, slots=True)
class Faults:
    """What libfiu lets fail in a daemon that was started with `words` before its command."""

    fifo: Path

    @property
    def words(self) -> Sequence[str]:
        """Return what stands before the daemon's command."""
        return ("fiu-run", "-x", "-f", str(self.fifo))

    def enable(self, pid: int, point: str, number: int) -> None:
        """Let every call of this kind in the process end with an error number."""
        self._order(pid, f"enable name={point},failinfo={number}")

    def disable(self, pid: int, point: str) -> None:
        """Let it work again."""
        self._order(pid, f"disable name={point}")

    def _order(self, pid: int, order: str) -> None:
        command = ["fiu-ctrl", "-f", str(self.fifo), "-c", order, str(pid)]
        subprocess.run(command, check=True, capture_output=True, timeout=30)


def drop(house: House, first: int, count: int, *, rows: int = 2) -> None:
    """Drop scans that differ from one another, by renames within the inbox."""
    for number in range(first, first + count):
        path = house.inbox / f".scan-{number:02}.nii"
        voxels = np.zeros((1, rows, 2 + number), dtype=np.int16)
        write_nifti(Scan(voxels, (1.0, 1.0, 1.0)), path)
        path.rename(path.with_name(path.name[1:]))


def wait_for_states(house: House, wanted: str, count: int) -> None:
    """Wait until this many cases are in a state."""
    house.wait_until(
        lambda: house.ask("status")["cases"][wanted] == count,
        f"there are not {count} cases {wanted}",
    )


def script(house: House, rules: Sequence[Mapping[str, Any]]) -> None:
    """Let the Engine answer by a script of faults from now on."""
    with requests.Session() as session:
        session.trust_env = False
        url = f"{house.engine_url}/_sandbox/faults"
        session.post(url, json=list(rules), timeout=10).raise_for_status()


def all_came_home(house: House, count: int) -> None:
    """Wait for the end: each scan was paid once, lies in one place, and its result is there."""
    rows = house.wait_for_rest(count, timeout_s=120)
    assert {row["state"] for row in rows} == {"done"}
    assert len(rows) == len(house.jobs()) == count
    results = sorted((house.root / "outbox").glob("scan*"))
    inputs = sorted((house.root / "archive").glob("scan*"))
    assert len(results) == len(inputs) == count
    for path in results:
        assert sorted(one.name for one in path.iterdir()) == ["mandible.stl", "result.json"]
        assert json.loads((path / "result.json").read_text())["attempts"] == 1
    for path in inputs:
        assert sorted(one.name for one in path.iterdir()) == ["result.json", f"{path.name}.nii"]
    house.wait_until(lambda: not house.breakers(), "a breaker stays open")
    assert leftovers(house.root) == []


def leftovers(root: Path) -> list[str]:
    """List what lies in hidden folders beyond markers, and records of what is at rest."""
    names = ("inbox", "outbox", "archive", "failed")
    found = [path for name in names for path in (root / name).rglob("*") if path.is_file()]
    return [
        str(path.relative_to(root))
        for path in found
        if ".vpe-watcher" in path.parts
        and path.name != "marker.json"
        and not path.is_relative_to(root / "archive/.vpe-watcher/records")
    ]
