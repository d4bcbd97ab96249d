"""The notes on held cases: written and removed durably, and not tried without end."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from tests.flow.house import House
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.store.rows import dump_problem
from vpe_watcher.adapters.store.statements import update_case
from vpe_watcher.core.model import FailureClass, Problem, State

Build = Callable[..., House]
STRANGER = "a person's own words\n"


class NoteDisk(Disk):
    """Counts the notes tried; `is_full`: none can be written, `is_sick`: no folder be synced."""

    def __init__(self) -> None:
        self.is_full = False
        self.is_sick = False
        self.tried = 0
        self.meanwhile: Callable[[], None] | None = None

    def create(self, path: Path, content: bytes) -> None:
        """Write a file, but for a note on a full disk."""
        if ".held.txt" in path.name:
            self.tried += 1
            if self.is_full:
                raise OSError(errno.ENOSPC, "full")
            if self.meanwhile is not None:
                self.meanwhile()
        super().create(path, content)

    def sync_folder(self, folder: Path) -> None:
        """Sync a folder, unless the disk is sick."""
        if self.is_sick:
            raise OSError(errno.EIO, "sick")
        super().sync_folder(folder)


def _held(house: House) -> Path:
    """Get a case held, its note not yet written; return where that belongs."""
    house.sandbox.set_faults([{"on": "poll", "times": 1, "do": {"status": 403}}])
    house.drop("scan.nii")
    house.live_until("scan", State.HELD)
    return house.root / "failed" / "scan.held.txt"


def _retried(house: House) -> None:
    """Take the held case up again, its note not yet removed."""
    house.queries.say("retry", [house.case("scan").case_id], may_cost=False)
    house.parts.words.obey()
    assert house.case("scan").state is not State.HELD


def test_a_note_waits_for_its_breaker(build: Build) -> None:
    """On a full disk it is tried as the breaker says, not twice a second, and comes in the end."""
    disk = NoteDisk()
    disk.is_full = True
    house = build(disk=disk)
    note = _held(house)
    for _ in range(600):
        house.notes.keep()
        house.time.advance(0.5)
    assert 2 <= disk.tried <= 10
    disk.is_full = False
    house.live(house.settings.limits.retry_at_most_s + 1, step_s=10)
    assert note.exists()
    assert house.breakers() == set()


def test_a_note_under_an_old_name_goes_too(house: House) -> None:
    """A case that got another folder name leaves no note behind; other people's notes stay."""
    note = _held(house)
    house.notes.keep()
    assert note.exists()
    others = note.with_name("mine.held.txt"), note.with_name("folder.held.txt")
    others[0].write_text(STRANGER)
    others[1].mkdir()
    _retried(house)
    case = house.case("scan")
    assert house.parts.store.reserve_name(case.case_id, is_taken=lambda _: False) != case.folder
    house.notes.keep()
    assert not note.exists()
    assert others[0].read_text() == STRANGER
    assert others[1].is_dir()
    assert house.parts.store.held_notes() == ([], [])


def test_a_strangers_note_under_the_own_name_stays(house: House) -> None:
    """What a person put in the place of the note is not ours to remove."""
    note = _held(house)
    house.notes.keep()
    note.write_text(STRANGER)
    _retried(house)
    house.notes.keep()
    assert note.read_text() == STRANGER


def test_a_case_that_is_held_again_has_a_note_of_its_own(house: House) -> None:
    """The daemon died when the first note was removed, and before it had recorded that."""
    note = _held(house)
    house.notes.keep()
    words = note.read_text()
    _retried(house)
    note.unlink()
    house.restart()
    house.sandbox.set_faults([{"on": "poll", "times": 1, "do": {"status": 403}}])
    house.live_until("scan", State.HELD)
    house.notes.keep()
    assert note.read_text() == words


def test_a_note_that_took_long_says_the_last_reason(build: Build) -> None:
    """While a slow share took the first one the case was retried, and is held for another."""
    disk = NoteDisk()
    house = build(disk=disk)
    note = _held(house)

    def held_again() -> None:
        disk.meanwhile = None
        reason = dump_problem(Problem(FailureClass.UNKNOWN, "unknown", "Another reason."))
        case = house.case("scan")
        with house.parts.store.database.transaction() as connection:
            update_case(connection, case.case_id, problem=reason)

    disk.meanwhile = held_again
    for _ in range(2):
        house.notes.keep()
    assert "Another reason." in note.read_text()


def test_a_removal_is_recorded_only_when_it_stays(build: Build) -> None:
    """The folder is synced first: after a power cut the note may be back, and is removed again."""
    disk = NoteDisk()
    house = build(disk=disk)
    _held(house)
    house.notes.keep()
    _retried(house)
    disk.is_sick = True
    for _ in range(2):
        house.notes.keep()
        assert [case.case_name for case in house.parts.store.held_notes()[1]] == ["scan"]
        assert house.breakers() == {"failed"}
        house.time.advance(house.settings.limits.retry_at_most_s + 1)
    disk.is_sick = False
    house.time.advance(house.settings.limits.retry_at_most_s + 1)
    house.notes.keep()
    assert house.parts.store.held_notes() == ([], [])
    assert house.breakers() == set()
