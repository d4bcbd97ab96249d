"""A folder that is not mounted when the state file is rebuilt: nothing is built, nothing paid."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.flow.house import House, nifti
from tests.flow.lost_states import (
    LOSSES,
    backup,
    bring,
    delete,
    live_on,
    mark,
    mend,
    take,
)
from vpe_watcher.core.errors import EnvironmentFault, TryAgainLater
from vpe_watcher.core.model import State

ROOTS = ("inbox", "outbox", "archive", "failed")


def _unmount(house: House, name: str) -> Callable[[], None]:
    """Leave an empty mount point; return what mounts the folder again."""
    folder, away = house.root / name, house.root / "away"
    folder.rename(away)
    folder.mkdir()

    def mount() -> None:
        folder.rmdir()
        away.rename(folder)

    return mount


def _filled(house: House) -> dict[str, bytes]:
    """Deliver a scan, let another fail after its payment; return them. People took the result."""
    scans = {"good": nifti(seed=1), "bad": nifti(seed=2)}
    for name, is_good in (("good", True), ("bad", False)):
        house.sandbox.set_options(success=is_good)
        house.drop(f"{name}.nii", scans[name])
        house.live(30)
    (house.root / "outbox" / "good").rename(house.root / "taken")
    house.sandbox.set_options(success=True)
    return scans


def _state_files(house: House) -> set[str]:
    """Name what lies where the state file does, without what SQLite makes to read one."""
    files = house.settings.state_file.parent.iterdir()
    return {path.name for path in files if not path.name.endswith(("-wal", "-shm"))}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("root", ROOTS)
def test_nothing_is_built_before_all_is_mounted(house: House, root: str, loss: str) -> None:
    """Nothing is changed; then all that was paid for is known, and the same scan is not sent."""
    backup(house)
    scans = _filled(house)
    house.drop("open.nii", nifti(seed=3))
    take(house)
    bring(house, "open", State.WAITING)
    house.close()
    LOSSES[loss](house)
    before = _state_files(house)
    mount = _unmount(house, root)
    with pytest.raises(TryAgainLater) as caught:
        mend(house)
    assert (caught.value.code, caught.value.exit_code) == ("folder_without_marker", 75)
    assert str(house.root / root) in caught.value.message
    assert _state_files(house) == before
    assert list((house.root / root).iterdir()) == []
    mount()
    mend(house)
    house.start()
    for name, scan in scans.items():
        house.drop(f"{name} again.nii", scan)
    live_on(house)
    assert house.case("open").state is State.DONE
    again = {name: house.case(f"{name} again") for name in scans}
    assert again["good"].duplicate_of == house.case("good").case_id
    assert house.started() == 3


@pytest.mark.parametrize("root", ROOTS)
def test_what_is_unmounted_after_it_was_rebuilt_stays_paused(house: House, root: str) -> None:
    """The new state file knows which folders bear a marker, before a daemon has used them."""
    house.drop("scan.nii")
    house.live_until_rest()
    house.close()
    delete(house)
    mend(house)
    mount = _unmount(house, root)
    house.start()
    house.drop("other.nii", nifti(seed=2))
    house.live(30)
    name = "inbox:default" if root == "inbox" else root
    assert list((house.root / root).glob(".vpe-watcher")) == []
    with pytest.raises(EnvironmentFault, match="has lost its marker"):
        house.parts.roots.guard(name)
    (house.root / "inbox" / "other.nii").unlink(missing_ok=True)
    mount()
    live_on(house)
    assert house.breakers() == set()


def test_a_folder_that_a_backup_does_not_know_is_not_taken_for_new(house: House) -> None:
    """The backup was made before the first case failed: the state file that was lost knew more."""
    house.look()
    backup(house)
    _filled(house)
    house.close()
    LOSSES["restored"](house)
    _unmount(house, "failed")
    with pytest.raises(TryAgainLater, match="failed"):
        mend(house)
    mark(house)  # a person's word
    mend(house)
    house.start()
    house.live(10)
    assert house.breakers() == set()
