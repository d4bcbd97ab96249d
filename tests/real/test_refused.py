"""What the daemon may not take stays where it is, with a hint, and stops nothing else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.real.house import House, Plan, running_house
from tests.real.small import move_in, write_small_scan

pytestmark = [pytest.mark.real, pytest.mark.timeout(120), pytest.mark.usefixtures("parts")]

STRANGER = 12345
# Root without any capability is a user like others: the tests' own folders belong to root.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
PLAN = Plan(intake={"settle_s": 0.5}, prefix=UNPRIVILEGED)


@pytest.fixture(name="house")
def run_house(tmp_path: Path) -> Iterator[House]:
    """Run a daemon without any privilege."""
    with running_house(tmp_path, PLAN) as house:
        yield house


def _own_folder(house: House) -> Path:
    """Put a folder of a stranger's into the inbox, readable for all."""
    folder = house.root / "strangers folder"
    folder.mkdir(mode=0o755)
    write_small_scan(folder / "scan.nii", 1)
    for path in (folder / "scan.nii", folder):
        os.chown(path, STRANGER, STRANGER)
    return move_in(folder, house.inbox)


def _closed_file(house: House) -> Path:
    """Put a file of a stranger's into the inbox that nobody else may read."""
    path = write_small_scan(house.root / "closed.nii", 2)
    path.chmod(0o600)
    os.chown(path, STRANGER, STRANGER)
    return move_in(path, house.inbox)


@contextmanager
def _mounted(house: House) -> Iterator[Path]:
    """Mount another file system within the inbox, with a scan on it."""
    folder = house.inbox / "nested mount"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    try:
        write_small_scan(folder / "scan.nii", 3)
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_what_may_not_be_taken_is_blocked_with_a_hint(house: House) -> None:
    """A stranger's folder, a closed file and a nested mount wait; a plain scan goes its way."""
    with _mounted(house) as mount:
        blocked = {path.name for path in (_own_folder(house), _closed_file(house), mount)}

        def are_blocked() -> bool:
            rows = house.candidates()
            return {name for name in rows if rows[name]["state"] == "blocked"} >= blocked

        house.wait_until(are_blocked, "not all of them are blocked", timeout_s=30)
        rows = house.candidates()
        assert set(rows) == blocked
        assert all(_has_hint(rows[name]["reason"]) for name in blocked), rows
        move_in(write_small_scan(house.root / "plain.nii", 4), house.inbox)
        house.wait_for(house.root / "archive" / "plain", timeout_s=20)
        assert house.breakers() == {}
        assert [case["case_name"] for case in house.cases()] == ["plain"]


def _has_hint(reason: str) -> bool:
    """Tell whether a reason says in words what somebody can do."""
    return any(
        word in reason for word in ("permission", "owner", "chown", "chmod", "mount", "move")
    )


def test_a_blocked_file_is_taken_as_soon_as_it_may_be(house: House) -> None:
    """Nobody has to restart anything after setting permissions right."""
    path = _closed_file(house)
    house.wait_until(
        lambda: house.candidates().get(path.name, {}).get("state") == "blocked", "not blocked"
    )
    os.chown(path, os.getuid(), os.getgid())
    house.wait_for(house.root / "archive" / "closed", timeout_s=30)
    assert len(house.jobs()) == 1
