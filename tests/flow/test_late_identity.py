"""Roots that do not answer at the start: what they know is asked before they are used."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flow.house import House, nifti
from vpe_watcher.adapters.files import Disk, Entry
from vpe_watcher.app.terms import folders_of
from vpe_watcher.core.errors import ConfigError, EnvironmentFault
from vpe_watcher.core.model import State
from vpe_watcher.flow.roots import check_identity, check_unmarked

Build = Callable[..., House]


class SlowDisk(Disk):
    """A disk of which one root does not answer until it is released."""

    def __init__(self) -> None:
        self.root: Path | None = None
        self.is_released = threading.Event()

    def look(self, path: Path) -> Entry | None:
        """Look, when the root answers."""
        self._wait(path)
        return super().look(path)

    def listing(self, folder: Path) -> list[Entry]:
        """List, when the root answers."""
        self._wait(folder)
        return super().listing(folder)

    def _wait(self, path: Path) -> None:
        if self.root is not None and (path == self.root or self.root in path.parents):
            self.is_released.wait(30)


def _marker(house: House, folder: str) -> Path:
    return house.root / folder / ".vpe-watcher" / "marker.json"


def _write(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _check(house: House, disk: Disk, *, within_s: float = 10.0) -> frozenset[Path]:
    inboxes = {name: recipe.inbox for name, recipe in house.settings.recipes.items()}
    folders = folders_of(house.settings)
    return check_identity(disk, house.parts.store, folders, inboxes, within_s=within_s)


def _start_again(house: House, doubted: str) -> None:
    """Start as when a root said nothing; then it is there again."""
    away = house.root / f"{doubted} away"
    (house.root / doubted).rename(away)
    (house.root / doubted).mkdir()
    house.start()
    house.parts.roots.doubt([house.root / doubted])
    (house.root / doubted).rmdir()
    away.rename(house.root / doubted)


def _refused(house: House, root: str) -> EnvironmentFault:
    with pytest.raises(EnvironmentFault) as caught:
        house.parts.roots.guard(root)
    assert caught.value.breaker == root
    assert caught.value.code == "state_outdated"
    assert "recover" in caught.value.hint
    return caught.value


def test_a_root_that_hangs_costs_the_start_little_time(build: Build) -> None:
    """It is named as unchecked, like those without a marker; the others are checked."""
    house = build()
    house.live(1)
    disk = SlowDisk()
    disk.root = house.root / "inbox"
    began = time.monotonic()
    unchecked = _check(house, disk, within_s=0.2)
    assert time.monotonic() - began < 2
    disk.is_released.set()
    assert unchecked == {house.root / name for name in ("inbox", "outbox", "archive", "failed")}
    assert _check(house, Disk()) == unchecked - {house.root / "inbox"}


def test_a_root_that_hangs_hides_no_other_contradiction(build: Build) -> None:
    """The archive knows of later starts: that refuses the start, whatever the inbox says."""
    house = build()
    house.drop("scan.nii")
    house.live_until_rest()
    _write(_marker(house, "archive"), starts=9)
    disk = SlowDisk()
    disk.root = house.root / "inbox"
    with pytest.raises(ConfigError, match="newer state file"):
        _check(house, disk, within_s=0.2)
    disk.is_released.set()


def test_a_state_file_elsewhere_on_a_disk_that_hangs_hides_no_marker(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders have answered: no second state file is made for them."""
    house.live(1)
    other, is_released, stat = house.root / "dead" / "state.sqlite3", threading.Event(), Path.stat

    def hangs(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path == other:
            is_released.wait(30)
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", hangs)
    _write(_marker(house, "inbox"), state_file=str(other))
    try:
        with pytest.raises(ConfigError, match="with another state") as caught:
            check_unmarked(Disk(), [house.root / "inbox"], house.root / "new", within_s=0.3)
    finally:
        is_released.set()
    assert caught.value.code == "state_outdated"


def test_a_daemon_on_a_copy_that_started_at_the_same_time_is_noticed(house: House) -> None:
    """Neither found the other when it asked the folders; who marked them last goes on alone."""
    house.drop("scan.nii")
    house.live_until("scan", State.UPLOADING)
    own = json.loads(_marker(house, "inbox").read_text())
    _write(_marker(house, "inbox"), state_file=str(house.root / "copy" / "state.sqlite3"))
    house.live(120)
    assert house.breakers() == {"inbox:default"}
    house.parts.roots.count_on()  # as each minute: nobody takes the folder back by that
    with pytest.raises(EnvironmentFault, match="on a copy of this state file") as caught:
        house.parts.roots.guard("inbox:default")
    assert (caught.value.code, caught.value.breaker) == ("state_elsewhere", "inbox:default")
    assert (house.started(), house.states()) == (0, {"scan": State.UPLOADING})
    _write(_marker(house, "inbox"), **own)
    house.live_until_rest(at_most_s=900)
    assert house.states() == {"scan": State.DONE}


@pytest.mark.parametrize("starts", [2, 9])
def test_a_later_start_is_found_before_the_root_is_used(build: Build, starts: int) -> None:
    """As many starts as now are counted is one too many: the marker was written by another."""
    house = build()
    house.live(1)
    house.close()
    _write(_marker(house, "inbox"), starts=starts)
    _start_again(house, "inbox")
    assert "newer state file" in _refused(house, "inbox:default").message
    house.drop("scan.nii")
    house.live(20)
    assert house.states() == {}
    assert house.breakers() == {"inbox:default"}
    assert json.loads(_marker(house, "inbox").read_text())["starts"] == starts
    _write(_marker(house, "inbox"), starts=1)  # the person has found out what was wrong
    house.live_until_rest(at_most_s=900)
    assert house.states() == {"scan": State.DONE}
    assert json.loads(_marker(house, "inbox").read_text())["starts"] == 2


def test_a_paid_case_that_the_state_file_does_not_know_of_is_not_paid_again(build: Build) -> None:
    """Its claim comes late and says that it may be paid: nothing is sent before a person came."""
    house = build()
    house.drop("scan.nii")
    case = house.live_until("scan", State.UPLOADING)
    _write(house.claim_folder(case) / ".case.json", may_be_paid=True, job_id=case.job_id)
    house.close()
    _start_again(house, "inbox")
    house.live(30)
    assert house.started() == 0
    assert house.states() == {"scan": State.UPLOADING}
    assert case.case_id in _refused(house, "inbox:default").message


def test_a_marker_without_a_state_file_is_found_late(build: Build) -> None:
    """The state file is new, and the folder bears a marker."""
    house = build()
    house.live(1)
    house.close()
    for path in (house.root / "state").iterdir():
        path.unlink()
    for folder in ("outbox", "archive", "failed"):
        shutil.rmtree(house.root / folder / ".vpe-watcher", ignore_errors=True)
    _start_again(house, "inbox")
    assert "another state" in _refused(house, "inbox:default").message


@pytest.mark.parametrize("folder", ["inbox", "outbox", "archive"])
def test_a_root_that_is_well_is_used_when_it_comes(build: Build, folder: str) -> None:
    """And marked with this start; the check is made once."""
    house = build()
    house.drop("scan.nii")
    house.live_until_rest()
    house.close()
    _start_again(house, folder)
    house.drop("other.nii", nifti(seed=1))
    house.live_until("other", State.DONE)
    assert json.loads(_marker(house, folder).read_text())["starts"] == 2


def test_a_marker_from_the_future_is_refused_at_any_time(build: Build) -> None:
    """Another copy of the share is mounted while the daemon runs."""
    house = build()
    house.live(1)
    _write(_marker(house, "inbox"), starts=2)
    _refused(house, "inbox:default")
