"""Whose folders these are: markers, claims, missing folders, recipes beside one another."""

from __future__ import annotations

import errno
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.flow.house import House, nifti
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.store.database import APPLICATION_ID, SCHEMA_VERSION
from vpe_watcher.core.errors import ConfigError
from vpe_watcher.core.model import State

FOLDERS = ("inbox", "outbox", "archive", "failed")


class FullDisk(Disk):
    """A disk on which nothing more can be written in one folder."""

    full: Path | None = None

    def write(self, path: Path, content: bytes) -> None:
        """Write a file, if there is room."""
        if self.full is not None and path.is_relative_to(self.full):
            raise OSError(errno.ENOSPC, "full")
        super().write(path, content)


def _marker(house: House, folder: str) -> Path:
    return house.root / folder / ".vpe-watcher" / "marker.json"


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def _write(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(_read(path) | changes))


def _refused(house: House) -> ConfigError:
    """Start the daemon and return why it will not."""
    with pytest.raises(ConfigError) as caught:
        house.start()
    assert caught.value.exit_code == 78
    assert "recover" in caught.value.hint
    return caught.value


def _put_back(house: House, copy: str) -> None:
    """Put an older state file in the place of the one that is there."""
    path = house.settings.state_file
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(copy)
        application, version = APPLICATION_ID, SCHEMA_VERSION
        connection.execute(f"PRAGMA application_id = {application}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("PRAGMA journal_mode = WAL")


def _delivered(house: House) -> None:
    house.drop("scan.nii")
    house.live_until_rest()


# --- markers -------------------------------------------------------------------------------------


def test_every_folder_is_marked_when_it_is_used(house: House) -> None:
    """The marker names the daemon and its start; nothing else hidden stays behind."""
    _delivered(house)
    for folder in FOLDERS[:3]:
        assert _read(_marker(house, folder)) == {
            "daemon_id": "house",
            "starts": 1,
            "state_file": str(house.settings.state_file),
        }
    hidden = [path for path in house.root.rglob(".*") if path.name != ".vpe-watcher"]
    assert hidden == []


def test_each_start_is_counted_in_the_markers(house: House) -> None:
    """So that an old copy of the state file is noticed."""
    house.live(1)
    house.restart()
    house.live(1)
    assert _read(_marker(house, "inbox"))["starts"] == 2


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_marker_without_a_state_file_refuses(house: House, folder: str) -> None:
    """(a) The state file was lost: what is in the folders must not be bought again."""
    house.close()
    for one in FOLDERS:
        shutil.rmtree(house.root / one / ".vpe-watcher", ignore_errors=True)
    _marker(house, folder).parent.mkdir()
    _marker(house, folder).write_text('{"daemon_id": "house", "starts": 3}')
    for path in (house.root / "state").iterdir():
        path.unlink()
    _refused(house)


def test_a_state_file_that_is_taken_away_under_the_daemon_stops_all(house: House) -> None:
    """Nothing is sent that would be recorded nowhere; when it is back, so is the work."""
    aside = house.root / "aside"
    _delivered(house)
    house.drop("later.nii", nifti(seed=2))
    (house.root / "state").rename(aside)
    house.live(600)
    (breaker,) = [one for one in house.parts.breakers.all() if one.name == "state"]
    assert (breaker.code, house.started()) == ("state_gone", 1)
    assert house.files("inbox") == ["later.nii"]
    aside.rename(house.root / "state")
    house.live(600)
    house.live_until_rest()
    assert house.states()["later"] is State.DONE
    changes = [event for event, fields in house.events if fields.get("breaker") == "state"]
    assert changes == ["breaker.opened", "breaker.closed"]


def test_a_newer_marker_refuses(house: House) -> None:
    """(b) An old state file was put back: the folders know of later starts."""
    _delivered(house)
    house.close()
    _write(_marker(house, "archive"), starts=9)
    _refused(house)


def test_a_copy_of_the_state_file_from_the_same_start_refuses(house: House) -> None:
    """A snapshot of its disk comes back: the markers have counted on since."""
    _delivered(house)
    with house.parts.store.database.reading() as connection:
        copy = "\n".join(connection.iterdump())
    house.parts.roots.count_on()
    house.drop("later.nii", nifti(seed=2))
    house.live(30)
    assert _read(_marker(house, "archive"))["starts"] == 2
    house.close()
    _put_back(house, copy)
    assert "folder" in _refused(house).message


def test_an_inbox_that_cannot_be_written_keeps_back_no_result(build: Callable[..., House]) -> None:
    """The count in its marker waits; what is paid for is published."""
    disk = FullDisk()
    house = build(disk=disk)
    house.drop("scan.nii")
    house.live_until("scan", State.DELIVERING)
    house.parts.roots.count_on()
    disk.full = house.root / "inbox"
    house.turn()
    assert house.files("outbox") == ["scan/mandible.stl", "scan/result.json"]
    disk.full = None
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    house.turn()
    assert _read(_marker(house, "inbox"))["starts"] == 2


def test_an_equal_or_older_marker_is_fine(house: House) -> None:
    """A crash between counting a start and marking the folders leaves older markers."""
    _delivered(house)
    house.close()
    _write(_marker(house, "archive"), starts=0)
    house.start()
    house.drop("other.nii", nifti(seed=1))
    house.live_until("other", State.DONE)
    assert _read(_marker(house, "archive"))["starts"] == 2


def test_an_unknown_claim_refuses(house: House) -> None:
    """(c) A claim folder of ours that no row knows holds a scan, perhaps a paid one."""
    house.sandbox.set_options(processing_s=600.0)
    house.drop("scan.nii")
    case = house.live_until("scan", State.WAITING)
    claim = house.claim_folder(case)
    house.close()
    claim.rename(claim.with_name("ffffffffff"))
    _refused(house)


def test_an_outdated_row_of_a_paid_claim_refuses(house: House) -> None:
    """(c) The claim says that it may be paid, and the row knows of no notification."""
    house.drop("scan.nii")
    case = house.live_until("scan", State.UPLOADING)
    house.close()
    _write(house.claim_folder(case) / ".case.json", may_be_paid=True, job_id=case.job_id)
    assert case.case_id in _refused(house).message


def test_a_known_claim_is_taken_up_again(house: House) -> None:
    """The ordinary crash: rows and claims agree."""
    house.sandbox.set_options(processing_s=30.0)
    house.drop("scan.nii")
    assert house.evidence(house.live_until("scan", State.WAITING))["may_be_paid"] is True
    house.restart()
    house.live_until_rest()
    assert (house.states(), house.started()) == ({"scan": State.DONE}, 1)


def test_a_new_job_that_a_person_allowed_survives_a_crash(house: House) -> None:
    """The claim still says that the old job may be paid, and the state file knows that."""
    house.sandbox.set_options(processing_s=30.0)
    house.drop("scan.nii")
    case = house.live_until("scan", State.WAITING)
    house.claimed(case).write_bytes(nifti(seed=4))
    held = house.live_until("scan", State.HELD)
    assert held.paid
    house.queries.say("retry", [held.case_id], may_cost=True)
    house.parts.words.obey()
    house.restart()
    house.live_until_rest()
    assert (house.states(), house.started()) == ({"scan": State.DONE}, 2)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_marker_of_another_daemon_opens_the_breaker(house: House, folder: str) -> None:
    """Two daemons must not share a folder: this one keeps out, and goes on when it is cleared."""
    house.live(1)
    _marker(house, folder).parent.mkdir(exist_ok=True)
    _marker(house, folder).write_text('{"daemon_id": "somebody", "starts": 1}')
    house.drop("bad.nii" if folder == "failed" else "scan.nii")
    if folder == "failed":
        house.sandbox.set_faults([{"on": "submit", "times": 1, "do": {"status": 400}}])
    house.live(60)
    name = "inbox:default" if folder == "inbox" else folder
    assert house.breakers() == {name}
    assert "another daemon" in house.breaker(name).reason
    assert "If this state file is another daemon's" in house.breaker(name).hint
    assert house.files(folder) == (["scan.nii"] if folder == "inbox" else [])
    _write(_marker(house, folder), daemon_id="house")
    house.live_until_rest()
    assert house.breakers() == set()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"starts": 3}'])
@pytest.mark.parametrize("folder", ["inbox", "outbox"])
def test_a_damaged_marker_opens_the_breaker_until_another_folders_is_copied(
    house: House, folder: str, content: str
) -> None:
    """It is said which file is damaged, and what helps does."""
    _delivered(house)
    _marker(house, folder).write_text(content)
    house.drop("other.nii", nifti(seed=1))
    house.restart()
    house.live(60)
    name = "inbox:default" if folder == "inbox" else folder
    assert house.breakers() == {name}
    assert "marker.json" in house.breaker(name).reason
    assert "Copy" in house.breaker(name).hint
    shutil.copy(_marker(house, "archive"), _marker(house, folder))
    house.live_until_rest()
    assert house.breakers() == set()
    assert set(house.states().values()) == {State.DONE}


@pytest.mark.parametrize("folder", ["inbox", "outbox", "archive"])
def test_a_lost_marker_opens_the_breaker(house: House, folder: str) -> None:
    """An empty mount point looks like an empty folder: nothing is written to it or read from it."""
    _delivered(house)
    hidden = house.root / folder / ".vpe-watcher"
    aside = house.root / "aside"
    hidden.rename(aside)
    house.drop("other.nii", nifti(seed=1))
    house.live(60)
    name = "inbox:default" if folder == "inbox" else folder
    assert house.breakers() == {name}
    assert "marker" in house.breaker(name).reason
    assert house.breaker(name).hint
    assert not hidden.exists()
    aside.rename(hidden)
    house.live_until("other", State.DONE, at_most_s=400)
    assert house.breakers() == set()


def test_a_lost_marker_is_noticed_over_a_restart(house: House) -> None:
    """The state file knows that the folder had one: it is not adopted anew."""
    _delivered(house)
    shutil.rmtree(house.root / "inbox" / ".vpe-watcher")
    house.restart()
    house.drop("other.nii", nifti(seed=1))
    house.live(30)
    assert house.breakers() == {"inbox:default"}
    assert "other" not in house.states()


# --- missing folders -----------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["inbox", "outbox", "archive"])
def test_a_missing_folder_heals_when_it_comes(house: House, folder: str) -> None:
    """A share that is away pauses what needs it; no case fails; it goes on by itself."""
    house.live(1)
    aside = house.root / "aside"
    (house.root / folder).rename(aside)
    if folder != "inbox":
        house.drop("scan.nii")
    house.live(120)
    name = "inbox:default" if folder == "inbox" else folder
    assert house.breakers() == {name}
    assert "missing" in house.breaker(name).reason
    assert not (house.root / folder).exists()
    aside.rename(house.root / folder)
    if folder == "inbox":
        house.drop("scan.nii")
    house.live_until("scan", State.DONE, at_most_s=400)
    assert house.breakers() == set()
    assert house.case("scan").problem is None


def test_what_came_while_the_inbox_was_away_is_seen_at_once(build: Callable[..., House]) -> None:
    """The share comes back with new files on it: nobody waits for the next scan."""
    house = build(intake={"scan_every_s": 3600})
    house.live(3)
    aside = house.root / "aside"
    (house.root / "inbox").rename(aside)
    house.live(10)
    assert house.breakers() == {"inbox:default"}
    (aside / "scan.nii").write_bytes(nifti())
    aside.rename(house.root / "inbox")
    house.live_until("scan", State.DONE, at_most_s=400)


def test_a_missing_inbox_at_the_start(build: Callable[..., House]) -> None:
    """`run` makes no folder: it waits for it."""
    house = build(recipes={"far": {"inbox": "far"}})
    (house.root / "inbox" / "far").rmdir()
    _delivered(house)
    assert house.breakers() == {"inbox:far"}
    assert not (house.root / "far").exists()
    (house.root / "far").mkdir()
    (house.root / "far" / "late.nii").write_bytes(nifti(seed=1))
    house.live_until("late", State.DONE, at_most_s=400)


# --- recipes -------------------------------------------------------------------------------------


def test_a_sub_folder_is_its_recipes_inbox(build: Callable[..., House]) -> None:
    """What lies in it belongs to that recipe and is no case of the inbox around it."""
    house = build(recipes={"teeth": {"job": {"outputFiles": {"meshes": [_teeth()]}}}})
    house.drop("jaw.nii")
    house.drop("mouth.nii", nifti(seed=1), recipe="teeth")
    house.live_until_rest()
    assert {case.case_name: case.recipe for case in house.cases()} == {
        "jaw": "default",
        "mouth": "teeth",
    }
    assert house.files("outbox/mouth") == ["all_teeth.stl", "result.json"]
    assert house.files("outbox/jaw") == ["mandible.stl", "result.json"]
    assert house.result("mouth")["recipe"] == "teeth"
    assert (house.root / "inbox" / "teeth").is_dir()


def _teeth() -> dict[str, object]:
    return {"extension": ".stl", "structures": ["all_teeth"]}


def test_a_second_recipe_goes_on_meanwhile(build: Callable[..., House]) -> None:
    """A recipe whose inbox is away, or bears a foreign marker, stops no other."""
    house = build(recipes={"teeth": {"inbox": "teeth"}, "pacs": {"inbox": "pacs"}})
    for name in ("teeth", "pacs"):
        (house.root / name).mkdir()
    house.live(2)
    (house.root / "teeth").rename(house.root / "aside")
    _marker(house, "pacs").write_text('{"daemon_id": "somebody", "starts": 1}')
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.breakers() == {"inbox:teeth", "inbox:pacs"}
    assert house.states() == {"scan": State.DONE}


def test_a_recipe_with_an_outbox_of_its_own(build: Callable[..., House]) -> None:
    """Its results go there; archive and failed are shared, and so are names."""
    house = build(recipes={"teeth": {"outbox": "mine"}})
    (house.root / "mine").mkdir()
    house.drop("scan.nii")
    house.live_until_rest()
    house.drop("scan.nii", nifti(seed=1), recipe="teeth")
    house.live(40)
    assert house.files("outbox") == ["scan/mandible.stl", "scan/result.json"]
    assert house.files("mine") == ["scan.2/mandible.stl", "scan.2/result.json"]
    assert "scan.2/scan.nii" in house.files("archive")
    assert _read(_marker(house, "mine"))["daemon_id"] == "house"


def test_a_name_that_somebody_has_is_not_taken(house: House) -> None:
    """What people put into outbox, archive or failed is never touched."""
    for folder in FOLDERS[1:]:
        (house.root / folder / f"in {folder}").mkdir()
        house.drop(f"in {folder}.nii", nifti(seed=FOLDERS.index(folder)))
    house.live_until_rest()
    assert sorted(case.folder for case in house.cases()) == [
        "in archive.2",
        "in failed.2",
        "in outbox.2",
    ]
    assert not list((house.root / "outbox" / "in outbox").iterdir())


# --- what cannot be taken ------------------------------------------------------------------------


class StubbornDisk(Disk):
    """Refuses to rename a path of the inbox out of it, as the system does with others' folders."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number
        self.refusals = 0

    def rename_unsynced(self, source: Path, target: Path) -> None:
        """Rename, but for the one name."""
        if source.name == self.name:
            self.refusals += 1
            raise OSError(self.number, "refused")
        super().rename_unsynced(source, target)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY])
def test_what_cannot_be_renamed_is_blocked(build: Callable[..., House], number: int) -> None:
    """One candidate stays where it is, with a hint; others are taken, no breaker opens."""
    disk = StubbornDisk("stuck.nii", number)
    house = build(disk=disk)
    house.drop("stuck.nii")
    house.drop("free.nii", nifti(seed=1))
    house.live(40)
    assert house.states() == {"free": State.DONE}
    assert house.breakers() == set()
    shown = house.candidate("stuck.nii")
    assert shown["state"] == "blocked"
    assert "permission" in str(shown["reason"])
    assert house.files("inbox") == ["stuck.nii"]
    assert disk.refusals == 1
    disk.name = ""
    house.live_until("stuck", State.DONE, at_most_s=120)


def test_a_blocked_candidate_that_changes_is_tried_at_once(build: Callable[..., House]) -> None:
    """Somebody did something about it."""
    disk = StubbornDisk("stuck.nii", errno.EACCES)
    house = build(disk=disk)
    path = house.drop("stuck.nii")
    house.live(10)
    assert house.candidate("stuck.nii")["state"] == "blocked"
    disk.name = ""
    path.chmod(0o600)
    house.live_until("stuck", State.DONE, at_most_s=25)


def test_a_blocked_scan_keeps_its_sidecar(build: Callable[..., House]) -> None:
    """What was renamed before the refusal goes back, and both are taken when they can be."""
    disk = StubbornDisk("stuck.job.json", errno.EACCES)
    house = build(disk=disk)
    (house.root / "inbox" / "stuck.job.json").write_text('{"options": {"smooth": true}}')
    house.drop("stuck.nii")
    house.live(40)
    assert house.candidate("stuck.nii")["state"] == "blocked"
    assert house.files("inbox") == ["stuck.job.json", "stuck.nii"]
    assert house.leftovers() == []
    disk.name = ""
    house.live_until("stuck", State.DONE, at_most_s=120)
    assert house.sandbox.ledger.job().request["options"] == {"smooth": True}


class LockedDisk(Disk):
    """Refuses every rename, also of the daemon's own probe."""

    def rename_unsynced(self, source: Path, target: Path) -> None:
        """Refuse."""
        raise OSError(errno.EACCES, "refused")

    def replace(self, source: Path, target: Path) -> None:
        """Refuse the probe; markers are written as ever."""
        if source.name == ".probe":
            raise OSError(errno.EACCES, "refused")
        super().replace(source, target)


def test_a_folder_in_which_nothing_can_be_renamed_opens_its_breaker(
    build: Callable[..., House],
) -> None:
    """Not the candidate's fault: the inbox as a whole is out of order."""
    house = build(disk=LockedDisk())
    house.drop("scan.nii")
    house.live(10)
    assert house.breakers() == {"inbox:default"}
    assert house.case("scan").state is State.CLAIMING
    assert house.files("inbox") == ["scan.nii"]


def test_a_restored_state_file_is_closed_to_others(house: House) -> None:
    """A backup may come back with any mode; the daemon does not leave it so."""
    state_file = house.root / "state" / "state.sqlite3"
    house.close()
    state_file.chmod(0o644)
    house.start()
    modes = {path.name: path.stat().st_mode & 0o777 for path in state_file.parent.glob("state*")}
    assert set(modes.values()) == {0o600}
