"""What a power cut leaves of the simulated disk: what was synced, of the rest what chance has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.simulation.disk import File, MemoryDisk

BASE = Path("/simulated")
Acts = Callable[[MemoryDisk], None]


def outcomes(acts: Acts) -> set[tuple[tuple[str, bytes], ...]]:
    """Return what forty cuts after the same acts leave of two folders."""
    found = set()
    for seed in range(40):
        disk = MemoryDisk(BASE)
        for name in ("a", "b"):
            disk.put_folder(BASE / name)
        disk.put(BASE / "a" / "scan", b"people's")
        acts(disk)
        disk.cut(Random(seed))
        files = ((path, disk.find(BASE / path)) for path, _ in sorted(disk.tree(BASE), key=str))
        found.add(tuple((path, node.content) for path, node in files if isinstance(node, File)))
    return found


def test_what_people_wrote_stays() -> None:
    """Their files are durable at once."""
    assert outcomes(lambda _disk: None) == {(("a/scan", b"people's"),)}


def test_a_durable_write_stays() -> None:
    """Bytes and name were synced."""
    left = outcomes(lambda disk: disk.write(BASE / "b" / "marker", b"ours"))
    assert left == {(("a/scan", b"people's"), ("b/marker", b"ours"))}


def test_a_name_without_a_sync_may_be_there_or_not() -> None:
    """The bytes were synced, the folder was not."""
    left = outcomes(lambda disk: disk.create(BASE / "b" / "draft", b"ours"))
    assert left == {(("a/scan", b"people's"),), (("a/scan", b"people's"), ("b/draft", b"ours"))}


def test_bytes_without_a_sync_may_be_there_in_part() -> None:
    """None, half or all of them, under a name that is durable."""

    def stream(disk: MemoryDisk) -> None:
        with disk.writing(BASE / "b" / "mesh") as file:
            file.write(b"1234")
            disk.sync_folder(BASE / "b")
            disk.sync_file = lambda node: None  # type: ignore[method-assign]

    left = {dict(one)["b/mesh"] for one in outcomes(stream)}
    assert left == {b"", b"12", b"1234"}


def test_a_rename_without_a_sync_is_in_one_of_its_folders() -> None:
    """Never in both, and never in none."""
    left = outcomes(lambda disk: disk.rename_unsynced(BASE / "a" / "scan", BASE / "b" / "scan"))
    assert left == {(("a/scan", b"people's"),), (("b/scan", b"people's"),)}


@pytest.mark.parametrize("folder", ["a", "b"])
def test_the_first_sync_of_either_folder_makes_a_rename_durable(folder: str) -> None:
    """It is one change of a journal."""

    def rename(disk: MemoryDisk) -> None:
        disk.rename_unsynced(BASE / "a" / "scan", BASE / "b" / "scan")
        disk.sync_folder(BASE / folder)

    assert outcomes(rename) == {(("b/scan", b"people's"),)}


def test_what_was_made_and_renamed_is_in_one_place() -> None:
    """How it came to be does not come back when it is durable elsewhere."""

    def make(disk: MemoryDisk) -> None:
        disk.create(BASE / "b" / "draft", b"ours")
        disk.rename_unsynced(BASE / "b" / "draft", BASE / "a" / "final")
        disk.sync_folder(BASE / "a")

    assert outcomes(make) == {(("a/final", b"ours"), ("a/scan", b"people's"))}


def test_a_removal_without_a_sync_may_be_undone() -> None:
    """What was removed durably stays removed."""

    def remove(disk: MemoryDisk) -> None:
        disk.sync_folder = lambda folder: None  # type: ignore[method-assign]
        disk.remove_file(BASE / "a" / "scan")

    assert outcomes(remove) == {(), (("a/scan", b"people's"),)}
    assert outcomes(lambda disk: disk.remove_file(BASE / "a" / "scan")) == {()}


@pytest.mark.parametrize("folder", ["a", "b"])
def test_what_people_took_away_does_not_come_back(folder: str) -> None:
    """Neither where it lay nor where it was renamed from, whoever syncs there later."""

    def take(disk: MemoryDisk) -> None:
        disk.rename_unsynced(BASE / "a" / "scan", BASE / "b" / "scan")
        disk.take_away(BASE / "b" / "scan")
        disk.sync_folder(BASE / folder)

    assert outcomes(take) == {()}


def test_what_left_a_folder_before_people_took_it_away_stays() -> None:
    """Their removal is behind the rename in the journal."""

    def take(disk: MemoryDisk) -> None:
        disk.put(BASE / "b" / "case" / "slice", b"theirs")
        disk.rename_unsynced(BASE / "b" / "case" / "slice", BASE / "b" / "slice")
        disk.take_away(BASE / "b" / "case")

    assert outcomes(take) == {(("a/scan", b"people's"), ("b/slice", b"theirs"))}


def test_what_left_a_root_before_it_was_unmounted_stays() -> None:
    """An unmount syncs both folders of a rename."""

    def unmount(disk: MemoryDisk) -> None:
        disk.rename_unsynced(BASE / "a" / "scan", BASE / "b" / "scan")
        disk.sync_all(disk.folder(BASE / "a"))

    assert outcomes(unmount) == {(("b/scan", b"people's"),)}
