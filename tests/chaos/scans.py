"""What is dropped while everything goes wrong, and in which ways people and programs drop it.

Owns the bytes, their names (which are patients' names) and what must become of each. A writer that
finds the disk full waits and goes on, as a copier does whose user frees space.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from random import Random
from typing import TypeVar

from tests.flow.house import binary_stl, nifti
from tests.flow.series import slice_bytes
from vpe_watcher.core.series import series_name

PATIENT = "Gruber_Annemarie"
NEEDLES = (b"gruber", b"annemarie", b"p-4711")
SLICES = 12
SIDES = (6, 12, 24, 40, 64)  # up to half a mebibyte
DONE, DUPLICATE, FAILED = "done", "duplicate", "failed"
Made = TypeVar("Made")


@dataclass(frozen=True)
class Scan:
    """One thing that is dropped: its files by name below the inbox, and its case's name.

    `end` is the state in which it must come to rest.
    """

    way: str
    name: str
    files: dict[str, bytes]
    end: str = DONE

    @cached_property
    def digests(self) -> frozenset[str]:
        """Return the digests of its inputs: what the Engine is to compute, and once."""
        return frozenset(map(digest, self.files.values()))

    @property
    def kept(self) -> dict[str, str]:
        """Return what must lie in its folder of archive or failed: digests by name."""
        return {name.rpartition("/")[2]: digest(body) for name, body in self.files.items()}


def digest(content: bytes) -> str:
    """Return a content's digest as the Engine and the manifests write it."""
    return hashlib.sha256(content).hexdigest()


class Supply:
    """Makes scans that differ from one another, drawn from a seed."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._count = 0
        self._sent: list[Scan] = []

    def next(self) -> Scan:
        """Make one in a way that is drawn; one in ten is bad, one in ten was dropped before."""
        self._count += 1
        name = f"{PATIENT}_{self._count:05}"
        makers = [_volume, _volume, _slices_in_folder, _loose_slices, _three_inputs]
        drawn = self._chance.random()
        if drawn < 0.1:
            return self._chance.choice([_wrong, _cut, _unknown_mesh])(name, self._chance)
        if drawn < 0.2 and self._sent:
            (body,) = self._chance.choice(self._sent).files.values()
            return Scan("duplicate", name, {f"{name}.nii": body}, DUPLICATE)
        scan = self._chance.choice(makers)(name, self._chance)
        if len(scan.files) == 1:
            self._sent.append(scan)
        return scan


def _volume(name: str, chance: Random) -> Scan:
    way = chance.choice(["renamed in", "copied slowly"])
    return Scan(way, name, {f"{name}.nii": _voxels(chance)})


def _slices_in_folder(name: str, chance: Random) -> Scan:
    way = chance.choice(["folder renamed in", "folder copied slowly"])
    return Scan(way, name, {f"{name}/{file}": body for file, body in _series(name).items()})


def _loose_slices(name: str, chance: Random) -> Scan:
    files = {f"{name}-{file}": body for file, body in _series(name).items()}
    return Scan("loose slices", series_name("2", _uid(name)), files)


def _three_inputs(name: str, chance: Random) -> Scan:
    number = chance.getrandbits(20)
    files = {
        "scan.nii": _voxels(chance),
        "upper.stl": binary_stl(triangles=9, seed=2 * number),
        "lower.stl": binary_stl(triangles=9, seed=2 * number + 1),
    }
    return Scan("three inputs", name, {f"{name}/{file}": files[file] for file in files})


def _wrong(name: str, chance: Random) -> Scan:
    text = f"a letter about {name}, no scan\n".encode() * 20
    return Scan("bad: wrong content", name, {f"{name}.nii": text}, FAILED)


def _cut(name: str, chance: Random) -> Scan:
    return Scan("bad: cut", name, {f"{name}.nii": _voxels(chance)[:-100]}, FAILED)


def _unknown_mesh(name: str, chance: Random) -> Scan:
    mesh = binary_stl(triangles=9, seed=chance.getrandbits(20))
    return Scan("bad: which jaw?", name, {f"{name}.stl": mesh}, FAILED)


def _voxels(chance: Random) -> bytes:
    side = chance.choice(SIDES)
    return _nifti_head(side) + chance.randbytes(2 * side**3)


@cache
def _nifti_head(side: int) -> bytes:
    return nifti(side=side)[:352]


def _uid(name: str) -> str:
    return f"1.2.826.0.1.3680043.8.498.{int(name[-5:])}"


def _series(name: str) -> dict[str, bytes]:
    """Make slices that say how many they are: nobody can take half of them for all."""
    return {
        f"{number:03}.dcm": slice_bytes(
            number, series=_uid(name), seed=int(name[-5:]), ImagesInAcquisition=str(SLICES)
        )
        for number in range(1, SLICES + 1)
    }


# --- dropping ------------------------------------------------------------------------------------


def drop(scan: Scan, inbox: Path, chance: Random) -> None:
    """Put a scan into the inbox in its way; takes seconds for the slow ones."""
    if "slow" in scan.way or scan.way == "loose slices":
        for name, body in scan.files.items():
            _copy_slowly(inbox / name, body, chance, pieces=8 if len(scan.files) == 1 else 2)
        return
    top = next(iter(scan.files)).partition("/")[0]
    draft = inbox / f"{top}.part"
    for name, body in scan.files.items():
        _, _, below = name.partition("/")
        _copy(draft / below if below else draft, body)
    _patiently(lambda: draft.rename(inbox / top))


def _copy(path: Path, body: bytes) -> None:
    for _ in _pieces_written(path, body, 1):
        pass


def _copy_slowly(path: Path, body: bytes, chance: Random, *, pieces: int) -> None:
    for _ in _pieces_written(path, body, pieces):
        time.sleep(chance.uniform(0, 0.6) / pieces)


def _pieces_written(path: Path, body: bytes, pieces: int) -> Iterator[int]:
    """Write a file piece by piece; it stays open in between, also while its disk is full."""
    _patiently(lambda: path.parent.mkdir(exist_ok=True))
    file = _patiently(lambda: os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    try:
        size = -(-len(body) // pieces)
        for start in range(0, len(body), size):
            rest = memoryview(body)[start : start + size]
            while rest:
                rest = rest[_patiently(lambda left=rest: os.write(file, left)) :]  # type: ignore[misc]
            yield start
    finally:
        os.close(file)


def _patiently(work: Callable[[], Made]) -> Made:
    """Do it as soon as there is room for it and the disk may be written."""
    while True:
        try:
            return work()
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EROFS}:
                raise
            time.sleep(0.05)
