"""What an attempt that was cut short left undone, the next makes good: syncs, drafts, probes."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flow.house import House, nifti
from tests.flow.series import write_series
from vpe_watcher.adapters.files import Disk
from vpe_watcher.core.model import State

Build = Callable[..., House]
DEADLY = -1


class Died(BaseException):
    """The daemon is dead."""


class RefusingDisk(Disk):
    """A disk that refuses some verbs on some paths; it remembers what it has synced."""

    def __init__(self) -> None:
        self.refuses: Callable[[str, Path], int] = lambda _verb, _path: 0
        self.synced: list[Path] = []

    def _ask(self, verb: str, path: Path) -> None:
        number = self.refuses(verb, path)
        if number == DEADLY:
            raise Died
        if number:
            raise OSError(number, os.strerror(number))

    def sync_folder(self, folder: Path) -> None:
        """Sync a folder, or refuse."""
        self._ask("sync_folder", folder)
        super().sync_folder(folder)
        self.synced.append(folder)

    def create(self, path: Path, content: bytes) -> None:
        """Write a file, or refuse."""
        self._ask("create", path)
        super().create(path, content)

    def replace(self, source: Path, target: Path) -> None:
        """Rename over a file, or refuse."""
        self._ask("replace", source)
        super().replace(source, target)

    def remove_tree(self, folder: Path) -> None:
        """Remove a folder, or refuse."""
        self._ask("remove_tree", folder)
        super().remove_tree(folder)

    def refuse_once(self, verb: str, name: str, number: int = errno.EIO) -> None:
        """Refuse a verb on the first path of this name."""
        left = [number]

        def refuses(asked: str, path: Path) -> int:
            return left.pop() if left and (asked, path.name) == (verb, name) else 0

        self.refuses = refuses


@pytest.fixture
def disk() -> RefusingDisk:
    """Return a disk that refuses nothing yet."""
    return RefusingDisk()


def test_a_claim_folder_is_made_durable_by_whoever_goes_on(
    build: Build, disk: RefusingDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon died before its sync: without one a power cut takes it with the scan."""
    house = build(disk=disk)
    house.turn()
    claims = house.parts.places.claims("default")
    disk.refuse_once("sync_folder", claims.name, DEADLY)
    house.drop("scan.nii")
    house.parts.inboxes["default"].hint("scan.nii")
    with pytest.raises(Died):
        house.turn()
    house.restart()
    case = house.case("scan")
    assert case.state is State.CLAIMING
    assert house.claim_folder(case).is_dir()
    disk.synced.clear()
    rename, synced = disk.rename_unsynced, []

    def noted(source: Path, target: Path) -> None:
        synced.append(claims in disk.synced)
        rename(source, target)

    monkeypatch.setattr(disk, "rename_unsynced", noted)
    house.live(30)
    assert house.case("scan").state not in {State.CLAIMING, State.SUBMITTING}
    assert synced[0], "else a power cut between rename and sync would do it"


def test_the_hidden_folders_are_durable_before_the_marker_is_there(
    build: Build, disk: RefusingDisk
) -> None:
    """Made and not synced by one try, they are synced by the next, the one of claims too."""
    house = build(disk=disk)
    disk.refuse_once("sync_folder", "inbox")
    house.turn()
    assert not (house.root / "inbox" / ".vpe-watcher" / "marker.json").exists()
    disk.synced.clear()
    house.live(5)
    assert house.parts.places.claims("default").is_dir()
    assert house.root / "inbox" in disk.synced


def test_a_half_written_evidence_does_not_go_with_the_scan(house: House) -> None:
    """A daemon that died while it wrote it left a draft among the files of a single scan."""
    house.drop("scan.nii")
    case = house.live_until("scan", State.NOTIFYING)
    (house.claim_folder(case) / "..case.json.part").write_bytes(b'{"may_be_')
    house.say("cancel", case)
    house.live_until_rest()
    assert sorted(os.listdir(house.root / "failed" / "scan")) == [  # noqa: PTH208
        "error.json",
        "error.txt",
        "scan.nii",
    ]


def test_a_removal_that_was_not_synced_is_synced_by_the_next_attempt(
    build: Build, disk: RefusingDisk
) -> None:
    """Else a power cut brings back a claim, or what was staged, of a case at rest."""
    house = build(disk=disk, retention={"on_success": "delete"})
    house.drop("scan.nii")
    case = house.live_until("scan", State.ARCHIVING)
    claim = house.claim_folder(case)
    shutil.rmtree(claim)
    disk.synced.clear()
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert claim.parent in disk.synced


def test_what_is_staged_is_removed_when_the_outbox_is_back(house: House) -> None:
    """A cancelled case does not come to rest while it cannot be seen what it has staged."""
    house.sandbox.set_faults([{"on": "download", "do": {"truncate": 9}}])
    house.drop("scan.nii")
    case = house.live_until("scan", State.FETCHING)
    house.live(2)
    staging = house.parts.places.staging(case)
    assert staging.is_dir()
    outbox, away = house.root / "outbox", house.root / "away"
    outbox.rename(away)
    outbox.mkdir()
    house.say("cancel", case)
    house.live(5)
    assert house.case("scan").state is State.ARCHIVING
    assert house.breakers() == {"outbox"}
    outbox.rmdir()
    away.rename(outbox)
    house.live_until_rest()
    assert house.case("scan").state is State.CANCELLED
    assert not staging.exists()


def test_a_read_only_outbox_is_blamed_when_what_is_staged_cannot_go(
    build: Build, disk: RefusingDisk
) -> None:
    """Neither the archive, which is well, nor the case, whose patience is its own."""
    house = build(disk=disk)
    house.sandbox.set_faults([{"on": "download", "do": {"truncate": 9}}])
    house.drop("scan.nii")
    case = house.live_until("scan", State.FETCHING)
    house.live(2)
    outbox = house.root / "outbox"
    disk.refuses = lambda _verb, path: errno.EROFS if outbox in path.parents else 0
    house.say("cancel", case)
    house.live(5)
    assert house.breakers() == {"outbox"}
    assert house.case("scan").tally.retry_spent_s == 0.0
    disk.refuses = lambda _verb, _path: 0
    house.live_until_rest()
    assert house.case("scan").state is State.CANCELLED


@pytest.mark.parametrize("verb", ["replace", "sync_folder"])
def test_a_probe_that_is_refused_leaves_nothing(
    build: Build, disk: RefusingDisk, verb: str
) -> None:
    """Whether the daemon can write in a folder is asked there, and no file tells of it."""
    house = build(disk=disk)
    house.drop("scan.nii")
    house.live_until("scan", State.DELIVERING)
    outbox = house.root / "outbox"
    disk.refuses = lambda asked, path: (
        errno.EIO if asked in {verb, "replace"} and outbox in (path, *path.parents) else 0
    )
    house.live(2)
    assert house.breakers() == {"outbox"}
    left = [path for path in outbox.rglob("*") if "prob" in path.name]
    assert left == []


def test_a_probe_of_a_daemon_that_died_is_removed(house: House) -> None:
    """Nothing hidden but our one folder stays in the folders that people see."""
    probes = [
        house.root / "inbox" / ".vpe-watcher" / "house" / ".probe",
        house.root / "archive" / ".vpe-watcher.probed",
    ]
    house.drop("scan.nii")
    house.live_until_rest()
    for probe in probes:
        probe.write_bytes(b"probe")
    house.restart()
    house.drop("other.nii", nifti(seed=1))
    house.live_until_rest()
    assert [probe for probe in probes if probe.exists()] == []


def test_a_folder_in_the_middle_of_a_claim_is_made_durable_too(
    build: Build, disk: RefusingDisk
) -> None:
    """A part of a study lies some folders deep; the daemon died after it had made one of them."""
    house = build(disk=disk, intake={"series_settle_s": 3, "min_slices": 3})
    for number in (1, 2):
        folder = house.root / "inbox" / "study" / f"{number}"
        write_series(folder, range(1, 5), series=f"1.2.{number}")
    disk.refuse_once("sync_folder", "study", DEADLY)
    with pytest.raises(Died):
        house.live(60)
    made = house.parts.places.claims("default").glob("*/study/*")
    (middle,) = [path for path in made if not os.listdir(path)]  # noqa: PTH208
    house.restart()
    disk.synced.clear()
    house.live(60)
    assert set(house.states().values()) == {State.DONE}
    assert disk.synced.index(middle.parent) < disk.synced.index(middle)
