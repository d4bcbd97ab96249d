"""Disks that are full, read-only or sick under a daemon: who is blamed, who waits, what heals."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flow.endings import all_is_delivered
from tests.flow.house import House, nifti
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.reserve import Reserve
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.model import State
from vpe_watcher.flow.disk_guard import DiskGuard

Build = Callable[..., House]


class SickDisk(Disk):
    """A disk that answers with `number` to whatever is written below the folder named `where`."""

    where = ""
    number = errno.ENOSPC
    unsynced = 0  # how many syncs of folders are still to fail
    far = ""  # the folder that is a file system of its own

    def create(self, path: Path, content: bytes) -> None:
        """Write a file, or not."""
        self._refuse(path)
        super().create(path, content)

    def rename_unsynced(self, source: Path, target: Path) -> None:
        """Rename within one file system; a full one has room for that."""
        if self.far and (self.far in source.parts) != (self.far in target.parts):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        if self.number != errno.ENOSPC:
            self._refuse(source)
            self._refuse(target)
        super().rename_unsynced(source, target)

    def copy(self, source: Path, target: Path) -> None:
        """Copy, or not."""
        self._refuse(target)
        super().copy(source, target)

    def remove_tree(self, folder: Path) -> None:
        """Remove a folder, unless it cannot be written to."""
        if self.number != errno.ENOSPC and folder.exists():
            self._refuse(folder)
        super().remove_tree(folder)

    def sync_folder(self, folder: Path) -> None:
        """Sync a folder, or fail after all was done."""
        if self.unsynced:
            self.unsynced -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync_folder(folder)

    def _refuse(self, path: Path) -> None:
        if self.where and self.where in path.parts:
            raise OSError(self.number, os.strerror(self.number))


@pytest.fixture(name="disk")
def make_disk() -> SickDisk:
    """Return a disk that is well until told otherwise."""
    return SickDisk()


@pytest.fixture(name="sick")
def build_sick(build: Build, disk: SickDisk) -> House:
    """Return a house on that disk."""
    return build(disk=disk)


def _taken(house: House) -> None:
    """Write the row of what lies in the inbox: its claim is due, and not begun."""
    for _ in range(8):
        house.look()
        house.time.advance(1)


@pytest.mark.parametrize("where", ["inbox", "archive"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_archiving_names_the_folder_that_cannot_be_used(
    sick: House, disk: SickDisk, where: str, number: int
) -> None:
    """The claim and the archive lie on two disks; each is told from the other, and heals."""
    disk.far = "archive"
    sick.drop("scan.nii")
    sick.live_until("scan", State.ARCHIVING)
    disk.where, disk.number = where, number
    sick.live(60)
    assert sick.states() == {"scan": State.ARCHIVING}
    name = "inbox:default" if where == "inbox" else "archive"
    is_full = number in {errno.ENOSPC, errno.EDQUOT}
    (breaker,) = sick.breakers()
    assert breaker == ("disk" if is_full else name)
    assert f"The folder of {name} " in sick.breaker(breaker).reason
    assert errno.errorcode[number] in sick.breaker(breaker).reason
    assert sick.breaker(breaker).hint
    disk.where = ""
    all_is_delivered(sick)
    assert sick.files("archive") == ["scan/result.json", "scan/scan.nii"]


@pytest.mark.parametrize(
    ("state", "root"), [(State.DELIVERING, "outbox"), (State.ARCHIVING, "archive")]
)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_record_that_cannot_be_written_keeps_the_folder_back(
    sick: House, disk: SickDisk, state: State, root: str, number: int
) -> None:
    """As for the document itself: nothing is visible before, the root is blamed, and it heals."""
    sick.drop("scan.nii")
    sick.live_until("scan", state)
    disk.where, disk.number = "records", number
    sick.live(60)
    assert sick.states() == {"scan": state}
    assert sick.files(root) == []
    (breaker,) = sick.breakers()
    assert breaker == ("disk" if number == errno.ENOSPC else root)
    closed = f".vpe-watcher/records in that of {root} " if number == errno.EACCES else f"of {root} "
    assert f"The folder {closed}" in sick.breaker(breaker).reason
    disk.where = ""
    all_is_delivered(sick)
    assert (sick.files("archive"), sick.leftovers()) == (["scan/result.json", "scan/scan.nii"], [])


def test_a_result_that_its_folder_refuses_is_its_cases_own_trouble(
    sick: House, disk: SickDisk
) -> None:
    """The outbox takes the daemon's own file, so no breaker stops the others."""

    class FussyDisk(SickDisk):
        def replace(self, source: Path, target: Path) -> None:
            if target.name == "mandible.stl" and "scan-0" in held:
                raise OSError(errno.EINVAL, "no such name here")
            super().replace(source, target)

    held = {"scan-0"}
    sick.parts.ports.disk.__class__ = FussyDisk
    sick.drop("scan-0.nii")
    sick.live(60)
    assert sick.states() == {"scan-0": State.FETCHING}
    assert sick.breakers() == set()
    held.clear()
    sick.live(900)
    all_is_delivered(sick)


def test_a_full_outbox_is_tried_by_what_has_to_be_written_there(
    sick: House, disk: SickDisk
) -> None:
    """A claim needs no space there and proves nothing: one breaker opens, and closes once."""
    sick.drop("first.nii")
    sick.live_until("first", State.FETCHING)
    sick.drop("second.nii", nifti(seed=1))
    _taken(sick)
    disk.where = "outbox"

    def refuse(path: Path) -> None:
        raise OSError(errno.ENOSPC, f"full {path.suffix}")

    disk.writing = refuse  # type: ignore[assignment, method-assign]
    sick.parts.runner.run(sick.case("first").case_id, State.FETCHING)
    sick.live(600)
    assert sick.states() == {"first": State.FETCHING, "second": State.CLAIMING}
    assert [f["breaker"] for event, f in sick.events if event == "breaker.opened"] == ["disk"]
    disk.where = ""
    del disk.writing
    all_is_delivered(sick)
    assert [event for event, _ in sick.events if event == "breaker.closed"] == ["breaker.closed"]


@pytest.mark.parametrize("state", [State.CLAIMING, State.DELIVERING, State.ARCHIVING])
def test_what_was_renamed_but_not_synced_is_synced_before_its_row(
    sick: House, disk: SickDisk, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename whose sync failed is found done: it must be durable before anybody builds on it."""
    sick.drop("scan.nii")
    sick.live_until("scan", state)
    target = {State.DELIVERING: "outbox", State.ARCHIVING: "archive"}.get(state, "inbox")
    case = sick.case("scan")
    folder = sick.claim_folder(case) if target == "inbox" else sick.root / target
    synced: list[Path] = []
    _sync_fails_behind_the_rename_into(folder, disk, monkeypatch, sick.turn)
    assert sick.case("scan").state is state
    sync = disk.sync_folder

    def noted(path: Path) -> None:
        sync(path)
        synced.append(path)

    monkeypatch.setattr(disk, "sync_folder", noted)
    sick.live_until_rest()
    assert folder in synced
    all_is_delivered(sick)


def test_a_copy_that_was_not_synced_is_synced_before_its_source_goes(
    sick: House, disk: SickDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its arrival in an archive on another disk failed at the sync: a cut could still undo it."""
    disk.far = "archive"
    sick.drop("scan.nii")
    case = sick.live_until("scan", State.ARCHIVING)
    archive, claim = sick.root / "archive", sick.claim_folder(case)
    _sync_fails_behind_the_rename_into(archive, disk, monkeypatch, sick.turn)
    assert (archive / "scan").is_dir()
    assert (claim / "scan.nii").is_file()
    verbs: list[tuple[str, Path]] = []
    for verb in ("sync_folder", "remove_tree", "remove_file"):
        _note(disk, verb, verbs, monkeypatch)
    sick.live_until_rest()
    removed = [path for verb, path in verbs if verb != "sync_folder"]
    gone = next(path for path in removed if path == claim or claim in path.parents)
    before = verbs[: [path for _, path in verbs].index(gone)]
    assert ("sync_folder", archive) in before
    all_is_delivered(sick)


def _note(
    disk: SickDisk, verb: str, noted: list[tuple[str, Path]], patch: pytest.MonkeyPatch
) -> None:
    done = getattr(disk, verb)

    def note(path: Path) -> None:
        noted.append((verb, path))
        done(path)

    patch.setattr(disk, verb, note)


def _sync_fails_behind_the_rename_into(
    folder: Path, disk: SickDisk, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]
) -> None:
    """Let the first rename into a folder succeed, and the sync behind it fail."""
    rename = disk.rename_unsynced
    with monkeypatch.context() as patched:

        def once(source: Path, to: Path) -> None:
            rename(source, to)
            if to.parent == folder:
                disk.unsynced = 1
                patched.setattr(disk, "rename_unsynced", rename)

        patched.setattr(disk, "rename_unsynced", once)
        act()
    assert disk.unsynced == 0


# --- measured, not probed -------------------------------------------------------------------------


@pytest.fixture(name="guard")
def make_guard(house: House) -> DiskGuard:
    """Return what judges the free space of the house, which has to be 100 MiB."""
    reserve = Reserve(house.settings.state_file)
    return DiskGuard(house.parts.breakers, min_free=100 * 1024 * 1024, reserve=reserve)


@pytest.mark.parametrize(
    ("min_free", "free", "told"),
    [
        (2 << 30, 5 << 20, "Only 5 MiB are free, less than min_free (2048 MiB), for outbox."),
        (1 << 20, 1048575, "Only 1023 KiB are free, less than min_free (1024 KiB), for outbox."),
        (1000, 0, "Only 0 bytes are free, less than min_free (1000 bytes), for outbox."),
    ],
)
def test_what_is_free_is_told_in_a_fitting_unit(
    house: House, min_free: int, free: int, told: str
) -> None:
    """Nobody reads that nothing is free, which is less than nothing."""
    reserve = Reserve(house.settings.state_file)
    DiskGuard(house.parts.breakers, min_free=min_free, reserve=reserve).judge({"outbox": free})
    assert house.breaker("disk").reason == told


def test_intake_pauses_until_the_space_was_measured(house: House, guard: DiskGuard) -> None:
    """A claim that is due does not pass as a probe: that it works says nothing of the space."""
    house.drop("scan.nii")
    _taken(house)
    guard.judge({"archive": 200 * 1024 * 1024, "outbox": 5 * 1024 * 1024})
    house.live(600)
    assert house.states() == {"scan": State.CLAIMING}
    assert house.breakers() == {"disk"}
    assert "5 MiB are free" in house.breaker("disk").reason
    guard.judge({"outbox": 200 * 1024 * 1024})
    all_is_delivered(house)


def test_what_needs_little_goes_on_below_min_free(house: House, guard: DiskGuard) -> None:
    """A fetch that met the full disk goes on with any room; intake waits for min_free."""
    house.drop("scan.nii")
    house.live_until("scan", State.FETCHING)
    guard.judge({"outbox": 0})
    fault = EnvironmentFault("Full.", code="folder_enospc", breaker="disk")
    house.parts.breakers.open(fault, kind=State.FETCHING)
    house.live_until_rest()
    house.drop("later.nii", nifti(seed=1))
    house.live(60)
    assert house.states() == {"scan": State.DONE}
    assert house.breakers() == {"disk"}
    guard.judge({"outbox": 200 * 1024 * 1024})
    house.live(60)
    all_is_delivered(house)


def test_what_is_low_now_is_shown_and_told_once(house: House, guard: DiskGuard) -> None:
    """The disk of the inbox is freed, that of the state file is not: a person must see which."""
    low, enough = 50 << 20, 200 << 20
    guard.judge({"inbox:default": low, "state": enough})
    assert house.breaker("disk").reason.endswith("for inbox:default.")
    guard.judge({"inbox:default": low, "state": low})
    assert house.breaker("disk").reason.endswith("for inbox:default, state.")
    guard.judge({"inbox:default": enough, "state": low})
    assert house.breaker("disk").reason.startswith("Only 50 MiB")
    assert house.breaker("disk").reason.endswith("for state.")
    for free in range(49 << 20, 9 << 20, -(1 << 20)):
        guard.judge({"inbox:default": enough, "state": free})
    assert house.breaker("disk").reason[:11] in {"Only 10 MiB", "Only 11 MiB"}
    told = [fields["reason"] for event, fields in house.events if event == "breaker.opened"]
    assert [reason.partition(" for ")[2] for reason in map(str, told)] == [
        "inbox:default.",
        "inbox:default, state.",
    ]
    guard.judge({"inbox:default": enough, "state": enough})
    assert house.breakers() == set()


class FullDisksReserve(Reserve):
    """The reserve on a disk that has no room for a new one."""

    def keep(self) -> None:
        """Find no room."""


def test_a_full_state_disk_pauses_new_work_and_ends_what_is_under_way(house: House) -> None:
    """While the reserve is used up nothing is taken nor submitted; what was sent comes home."""
    reserve = FullDisksReserve(house.settings.state_file)
    guard = DiskGuard(house.parts.breakers, min_free=0, reserve=reserve)
    for number, state in enumerate((State.WAITING, State.SUBMITTING)):
        house.drop(f"{number}.nii", nifti(seed=number))
        house.live_until(str(number), state)
    house.drop("later.nii", nifti(seed=9))
    reserve.release()
    assert house.breakers() == {"state"}  # without waiting for the next measurement
    house.live(300)
    guard.judge({})
    assert house.states() == {"0": State.DONE, "1": State.SUBMITTING}
    assert "reserve" in house.breaker("state").reason
    assert house.breaker("state").hint.startswith("Free space")
    reserve.is_spent = False
    guard.judge({})
    house.live(60)
    all_is_delivered(house)


def test_a_reason_that_comes_again_is_logged_once(house: House) -> None:
    """Two troubles of one resource take turns: the log tells each, `status` the latest."""
    for code in ("one", "two", "one", "two"):
        fault = EnvironmentFault(f"It is {code}.", code=code, breaker="state")
        house.parts.breakers.open(fault, kind="main")
    assert [f["code"] for event, f in house.events if event == "breaker.opened"] == ["one", "two"]
    assert house.breaker("state").reason == "It is two."
