"""Folders that turn read-only under twenty cases, as after an error, and are remounted."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.real.disks import (
    COUNT,
    all_came_home,
    disks,
    drop,
    mounted,
    remount,
    script,
    wait_for_states,
)
from tests.real.house import House, Plan, running_house

pytestmark = [pytest.mark.real, pytest.mark.timeout(240), pytest.mark.usefixtures("parts")]

PLAN = Plan(limits={"retry_at_most_s": 2})
READ_ONLY = "The folder of {} cannot be used: read-only file system (EROFS)."


def _is_told(house: House, name: str) -> None:
    """Wait for the breaker in `status`, with what to do."""
    house.wait_until(lambda: name in house.breakers(), f"{name} stays closed")
    row = house.breakers()[name]
    assert row["reason"] == READ_ONLY.format(name)
    assert "remount" in row["hint"]


def _log_told(house: House, name: str) -> None:
    """Check that the log told once of the begin, once of the end, and blamed nothing else."""
    opened = [line for line in house.events("breaker.opened") if line["breaker"] != "engine"]
    closed = [line for line in house.events("breaker.closed") if line["breaker"] != "engine"]
    assert [(line["breaker"], line["code"]) for line in opened] == [(name, "folder_erofs")]
    assert [line["breaker"] for line in closed] == [name]


def test_the_inbox_turns_read_only(tmp_path: Path) -> None:
    """What is claimed stays claimed, and is not notified without its evidence."""
    with disks(tmp_path, {"inbox": "16m"}), running_house(tmp_path, PLAN) as house:
        script(house, [{"on": "submit", "do": {"status": 503}}])
        drop(house, 0, COUNT)
        wait_for_states(house, "submitting", COUNT)
        remount(house.inbox, "ro")
        script(house, [])
        _is_told(house, "inbox:default")
        assert house.jobs() == []
        remount(house.inbox, "rw")
        all_came_home(house, COUNT)
        _log_told(house, "inbox:default")


@pytest.mark.parametrize(("name", "state"), [("outbox", "fetching"), ("archive", "archiving")])
def test_where_results_and_inputs_go_turns_read_only(tmp_path: Path, name: str, state: str) -> None:
    """They wait where they are, and go on when it can be written to."""
    with disks(tmp_path, {name: "16m"}), running_house(tmp_path, PLAN) as house:
        house.set_options(processing_s=3600)
        drop(house, 0, COUNT)
        wait_for_states(house, "waiting", COUNT)
        remount(tmp_path / name, "ro")
        house.set_options(processing_s=0)
        _is_told(house, name)
        wait_for_states(house, state, COUNT)
        remount(tmp_path / name, "rw")
        all_came_home(house, COUNT)
        _log_told(house, name)


def test_the_folder_of_failed_cases_turns_read_only(tmp_path: Path) -> None:
    """Cases that the Engine failed keep their scans claimed until those can be put there."""
    with disks(tmp_path, {"failed": "16m"}), running_house(tmp_path, PLAN) as house:
        house.set_options(processing_s=3600)
        drop(house, 0, COUNT)
        wait_for_states(house, "waiting", COUNT)
        remount(tmp_path / "failed", "ro")
        house.set_options(success=False, processing_s=0)
        _is_told(house, "failed")
        wait_for_states(house, "archiving", COUNT)
        remount(tmp_path / "failed", "rw")
        assert {row["state"] for row in house.wait_for_rest(COUNT)} == {"failed"}
        assert len(house.jobs()) == COUNT
        assert len(list((tmp_path / "failed").glob("scan*/scan*.nii"))) == COUNT
        _log_told(house, "failed")


def _opened(house: House) -> list[str]:
    """Name the breakers that the log has seen open."""
    return [line["breaker"] for line in house.events("breaker.opened")]


@contextmanager
def _ext4(root: Path) -> Iterator[Path]:
    """Give the state folder an ext4 that turns read-only at an error."""
    image, folder = root / "image", root / "state"
    with image.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    folder.mkdir()
    _mount(image, folder)
    folder.chmod(0o700)
    try:
        yield image
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _mount(image: Path, folder: Path) -> None:
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, folder], check=True)


def test_the_state_disk_turns_read_only(tmp_path: Path) -> None:
    """As a kernel does that met an error: nothing is sent, and a check of the disk heals."""
    with _ext4(tmp_path) as image:
        with running_house(tmp_path, PLAN) as house:
            script(house, [{"on": "submit", "do": {"status": 503}}])
            drop(house, 0, COUNT)
            wait_for_states(house, "submitting", COUNT)
            remount(tmp_path / "state", "abort")
            script(house, [])
            house.wait_until(lambda: "state" in _opened(house), "the log says nothing")
            assert house.ask("status")["cases"]["submitting"] == COUNT
            assert house.ledger()["jobs"] == []
        subprocess.run(["umount", tmp_path / "state"], check=True)
        subprocess.run(["fsck.ext4", "-p", image], check=False, capture_output=True)
        _mount(image, tmp_path / "state")
        with running_house(tmp_path, PLAN) as house:
            all_came_home(house, COUNT)


def test_a_mount_within_the_outbox_is_named(tmp_path: Path) -> None:
    """Nothing can be published by a rename then: a person must know, and nothing half is seen."""
    hidden = tmp_path / "outbox" / ".vpe-watcher"
    hidden.mkdir(parents=True)
    with mounted(hidden, "4m"), running_house(tmp_path, PLAN) as house:
        drop(house, 0, 3)
        house.wait_until(lambda: "outbox" in house.breakers(), "outbox stays closed")
        assert "is mounted within this folder" in house.breakers()["outbox"]["hint"]
        wait_for_states(house, "delivering", 3)
        assert list((tmp_path / "outbox").glob("[!.]*")) == []
