"""`submit`: what gets into the inbox, how, and what `--wait` answers."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.app.desk import DAEMON_ID, Desk, problem
from vpe_watcher.adapters.store import Database, Store
from vpe_watcher.app.commands.parcels import deliver, parcel_of
from vpe_watcher.core.errors import Refusal
from vpe_watcher.core.model import FailureClass, Label, State

DICOM = b"\0" * 128 + b"DICM" + b"\0" * 400


@pytest.fixture(name="scan")
def make_scan(tmp_path: Path) -> Path:
    """Write something that could be a scan, outside the inbox."""
    scan = tmp_path / "source" / "scan.dcm"
    scan.parent.mkdir()
    scan.write_bytes(DICOM)
    return scan


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.name != "teeth")


@contextmanager
def _hands(desk: Desk, act: Callable[[str], object], name: str = "scan") -> Iterator[None]:
    """Be the daemon for one file: take it as soon as it is visible, then `act` on its case."""
    given_up = time.monotonic() + 20
    target = desk.settings.inbox / f"{name}.dcm"

    def work() -> None:
        while not target.exists() and time.monotonic() < given_up:
            time.sleep(0.02)
        act(desk.add(name))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_a_file_is_copied_and_the_source_stays(running: Desk, scan: Path) -> None:
    """The same bytes under the same name, nothing else, and the word `take` with the path."""
    ran = running.run("submit", str(scan))
    target = running.settings.inbox / "scan.dcm"
    assert (ran.code, ran.out) == (0, f"{target}\n")
    assert target.read_bytes() == scan.read_bytes()
    assert _names(running.settings.inbox) == ["scan.dcm"]
    assert running.words() == [("take", str(target), False)]


def test_the_word_is_said_before_the_file_is_visible(desk: Desk, scan: Path) -> None:
    """A daemon that sees the file knows already that it is wanted; the draft is hidden."""
    parcel = parcel_of(scan, "default", desk.settings)
    seen: list[list[str]] = []
    deliver(parcel, announce=lambda: seen.append(_names(desk.settings.inbox)))
    assert len(seen) == 1
    (draft,) = seen[0]
    assert draft.startswith(".scan.dcm.")
    assert draft.endswith(".part")
    assert _names(desk.settings.inbox) == ["scan.dcm"]


def test_a_recipe_has_its_own_inbox(desk: Desk, scan: Path) -> None:
    """--recipe picks the folder."""
    assert desk.run("submit", str(scan), "--recipe", "teeth").code == 0
    assert (desk.settings.inbox / "teeth" / "scan.dcm").exists()


def test_an_unknown_recipe_is_a_usage_error(desk: Desk, scan: Path) -> None:
    """The hint names those that there are."""
    ran = desk.run("submit", str(scan), "--recipe", "teet")
    assert ran.code == 2
    assert "default, teeth" in ran.err


def test_without_a_daemon_it_waits_for_the_next_start(desk: Desk, scan: Path) -> None:
    """The file lies there, and the person is told."""
    ran = desk.run("submit", str(scan))
    assert ran.code == 0
    assert "next start" in ran.err


def test_before_the_first_start_the_state_file_is_made_private(desk: Desk, scan: Path) -> None:
    """The word `take` counts also when no daemon has ever run."""
    desk.store.database.close()
    desk.settings.state_file.unlink()
    assert desk.run("submit", str(scan)).code == 0
    assert desk.settings.state_file.stat().st_mode & 0o777 == 0o600
    with closing(Database(desk.settings.state_file)) as database:
        assert [word.word for word in Store(database, now=time.time).words()] == ["take"]


def test_no_state_file_is_made_where_one_was_lost(desk: Desk, scan: Path) -> None:
    """An empty one in its place would hide that it is gone."""
    desk.store.database.close()
    desk.settings.state_file.unlink()
    hidden = desk.settings.archive / ".vpe-watcher"
    hidden.mkdir()
    (hidden / "marker.json").write_text('{"daemon_id": "deadbeef", "starts": 1}')
    ran = desk.run("submit", str(scan))
    assert ran.code == 78
    assert "recover" in ran.err
    assert not desk.settings.state_file.exists()


def test_sidecars_come_first(desk: Desk, scan: Path) -> None:
    """Both forms beside the scan are copied before the scan is visible."""
    scan.with_name("scan.job.json").write_text("{}")
    scan.with_name("scan.dcm.job.json").write_text('{"options": {}}')
    parcel = parcel_of(scan, "default", desk.settings)
    seen: list[list[str]] = []
    deliver(parcel, announce=lambda: seen.append(_names(desk.settings.inbox)[1:]))
    assert seen == [["scan.dcm.job.json", "scan.job.json"]]


def test_a_folder_is_copied_whole(desk: Desk, tmp_path: Path) -> None:
    """Sub-folders come along, links do not; a link is never followed."""
    folder = tmp_path / "patient"
    (folder / "DICOM").mkdir(parents=True)
    (folder / "DICOM" / "IM0").write_bytes(DICOM)
    (folder / "job.json").write_text("{}")
    (folder / "passwd").symlink_to("/etc/passwd")
    assert desk.run("submit", str(folder)).code == 0
    target = desk.settings.inbox / "patient"
    assert (target / "DICOM" / "IM0").read_bytes() == DICOM
    assert _names(target) == ["DICOM", "job.json"]


def test_an_existing_name_is_never_replaced(desk: Desk, scan: Path) -> None:
    """What lies in the inbox stays as it is."""
    target = desk.settings.inbox / "scan.dcm"
    target.write_bytes(b"somebody else's")
    ran = desk.run("submit", str(scan))
    assert ran.code == 1
    assert "already" in ran.err
    assert "hint:" in ran.err
    assert (target.read_bytes(), desk.words()) == (b"somebody else's", [])
    assert _names(desk.settings.inbox) == ["scan.dcm"]


def test_a_name_that_is_taken_meanwhile_is_not_replaced(desk: Desk, scan: Path) -> None:
    """The rename itself refuses, and nothing of ours stays behind."""

    def be_faster(target: Path) -> None:
        target.write_bytes(b"theirs")

    scan.with_name("scan.job.json").write_text("{}")
    parcel = parcel_of(scan, "default", desk.settings)
    with pytest.raises(Refusal, match="already"):
        deliver(parcel, announce=lambda: be_faster(parcel.target))
    assert _names(desk.settings.inbox) == ["scan.dcm"]
    assert parcel.target.read_bytes() == b"theirs"


@pytest.mark.parametrize(
    "name", [".hidden.dcm", "scan.dcm.part", "~$scan.dcm", "error.json", "scan.bak", "notes.txt"]
)
def test_what_the_intake_would_leave_alone_is_refused(desk: Desk, scan: Path, name: str) -> None:
    """It would lie in the inbox for ever."""
    other = scan.rename(scan.with_name(name))
    if name == "notes.txt":
        other.write_text("no scan")
    ran = desk.run("submit", str(other))
    assert ran.code == 1
    assert "Scans are .dcm" in ran.err
    assert _names(desk.settings.inbox) == []


def test_dicom_without_an_extension_is_a_scan(desk: Desk, scan: Path) -> None:
    """What counts is `DICM` at byte 128."""
    assert desk.run("submit", str(scan.rename(scan.with_name("IM0001")))).code == 0


def test_a_folder_without_a_scan_is_refused(desk: Desk, tmp_path: Path) -> None:
    """A candidate that can never become a case helps nobody."""
    (tmp_path / "empty").mkdir()
    assert desk.run("submit", str(tmp_path / "empty")).code == 1


def test_a_folder_in_the_making_is_refused(desk: Desk, scan: Path) -> None:
    """A temporary name inside would keep it incomplete for ever."""
    scan.with_name("next.dcm.part").touch()
    ran = desk.run("submit", str(scan.parent))
    assert ran.code == 1
    assert "still being written" in ran.err


def test_a_recipes_inbox_is_no_name_for_a_folder(desk: Desk, scan: Path) -> None:
    """A folder `teeth` in the inbox is a recipe, not a case."""
    folder = scan.parent.rename(scan.parent.with_name("teeth"))
    ran = desk.run("submit", str(folder))
    assert ran.code == 1
    assert "recipe" in ran.err


@pytest.mark.parametrize("kind", ["missing", "fifo", "loop"])
def test_what_cannot_be_read_is_told(desk: Desk, tmp_path: Path, kind: str) -> None:
    """No traceback, no waiting on a pipe."""
    path = tmp_path / "x.dcm"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    ran = desk.run("submit", str(path))
    assert (ran.code, ran.out) == (1, "")
    assert "hint:" in ran.err


def test_all_are_looked_at_before_one_is_copied(desk: Desk, scan: Path) -> None:
    """One bad path stops all of them, and each reason is told."""
    ran = desk.run("submit", str(scan), "nowhere.dcm", str(scan.parent / "neither.dcm"))
    assert ran.code == 1
    assert "nowhere.dcm" in ran.err
    assert "neither.dcm" in ran.err
    assert _names(desk.settings.inbox) == []


def test_two_of_one_name_are_refused(desk: Desk, scan: Path, tmp_path: Path) -> None:
    """They cannot both lie in the inbox."""
    twin = tmp_path / "scan.dcm"
    twin.write_bytes(DICOM)
    assert desk.run("submit", str(scan), str(twin)).code == 1
    assert _names(desk.settings.inbox) == []


def test_an_inbox_that_the_daemon_does_not_trust_gets_nothing(running: Desk, scan: Path) -> None:
    """An unmounted share looks like an empty folder."""
    breaker = {
        "name": "inbox:default",
        "open": True,
        "since": None,
        "reason": "Its marker is gone.",
        "hint": "Mount it.",
    }
    running.store.put_snapshot({"breakers": [breaker]})
    ran = running.run("submit", str(scan))
    assert ran.code == 75
    assert "Its marker is gone." in ran.err
    assert _names(running.settings.inbox) == []


def test_nothing_is_copied_into_an_empty_mount_point(desk: Desk, scan: Path) -> None:
    """Without a daemon too: hidden under the share that comes back, it would never be sent."""
    inbox = desk.home / "inbox"
    desk.store.add_root(f"inbox:default {inbox}", str(inbox))
    ran = desk.run("submit", str(scan))
    assert (ran.code, "not mounted" in ran.err) == (75, True)
    assert not (inbox / scan.name).exists()
    (inbox / ".vpe-watcher").mkdir()
    marker = {"daemon_id": DAEMON_ID, "starts": 1}
    (inbox / ".vpe-watcher" / "marker.json").write_text(json.dumps(marker))
    assert desk.run("submit", str(scan)).code == 0


def test_waiting_without_a_daemon_is_refused_before_copying(desk: Desk, scan: Path) -> None:
    """75: try again when one runs."""
    ran = desk.run("submit", "--wait", str(scan))
    assert (ran.code, ran.out) == (75, "")
    assert "No daemon is running" in ran.err
    assert _names(desk.settings.inbox) == []


def test_wait_ends_with_the_outbox_folder(running: Desk, scan: Path) -> None:
    """Done: exit 0, the folder on stdout, what happened on stderr without a progress bar."""
    with _hands(running, running.finish):
        ran = running.run("submit", "--wait", str(scan))
    assert (ran.code, ran.out) == (0, f"{running.settings.outbox / 'scan'}\n")
    assert "done (case case0001)" in ran.err
    assert "━" not in ran.err
    assert "\x1b" not in ran.err


@pytest.mark.parametrize(
    ("label", "state"), [(Label.INPUT, State.CLAIMING), (Label.OVERDUE, State.WAITING)]
)
def test_wait_ends_with_the_reason_of_a_bad_end(
    running: Desk, scan: Path, label: Label, state: State
) -> None:
    """Failed and held: exit 1 with message and hint."""
    why = problem("bad_luck", FailureClass.INPUT)

    def act(case_id: str) -> None:
        running.end(running.walk(case_id, state), label, why)

    with _hands(running, act):
        ran = running.run("submit", "--wait", str(scan))
    assert (ran.code, ran.out) == (1, "")
    assert "Because of bad_luck." in ran.err
    assert "hint: Do something." in ran.err


def test_wait_is_not_fooled_by_an_earlier_case_of_the_same_name(running: Desk, scan: Path) -> None:
    """The case that had this inbox name before is not the one that is waited for."""
    running.end(running.add(), Label.INPUT, problem("old", FailureClass.INPUT))
    with _hands(running, running.finish):
        ran = running.run("submit", "--wait", str(scan))
    assert (ran.code, ran.out) == (0, f"{running.settings.outbox / 'scan.2'}\n")
