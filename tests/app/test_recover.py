"""`recover` and `backup` as commands: what they print, refuse and leave behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.app.desk import Desk
from vpe_watcher.adapters.lock import DaemonLock, lock_holder
from vpe_watcher.adapters.store import Database, Store
from vpe_watcher.core.model import State

DELIVERED = {
    "schema": "vpe-watcher/result/1",
    "case_id": "c1",
    "case_name": "scan",
    "status": "complete",
    "attempts": 1,
}


def _lose(desk: Desk) -> None:
    desk.store.database.close()
    for path in desk.settings.state_file.parent.glob("state.sqlite3*"):
        path.unlink()


def _mark(desk: Desk, starts: int = 3, state_file: Path | None = None) -> None:
    """Leave the marker of a daemon in each folder, which may name its state file."""
    marker = {"daemon_id": "deadbeef", "starts": starts}
    if state_file is not None:
        marker["state_file"] = str(state_file)
    for name in ("inbox", "outbox", "archive", "failed", "inbox/teeth"):
        hidden = desk.home / name / ".vpe-watcher"
        hidden.mkdir()
        (hidden / "marker.json").write_text(json.dumps(marker))


def _copied(desk: Desk, tmp_path: Path) -> Path:
    """Rebuild the state file of folders whose markers name another; then lay a copy there."""
    other = tmp_path / "other" / "state.sqlite3"
    other.parent.mkdir()
    _mark(desk, state_file=other)
    _lose(desk)
    assert desk.run("recover").code == 0
    shutil.copy(desk.settings.state_file, other)
    return other


# --- recover -------------------------------------------------------------------------------------


def test_a_lost_state_file_is_built_anew(desk: Desk) -> None:
    """Under the id that the markers bear, above their count of starts, for its owner alone."""
    _mark(desk, starts=7)
    _lose(desk)
    ran = desk.run("recover")
    assert (ran.code, ran.err) == (0, "")
    assert "built anew: the state file is missing" in ran.out
    with closing(Database(desk.settings.state_file)) as database:
        assert Store(database, now=float).identity() == ("deadbeef", 8)
    assert desk.settings.state_file.stat().st_mode & 0o777 == 0o600
    again = desk.run("recover")
    assert (again.code, again.out) == (0, "The state file and the folders agree.\n")


def test_nothing_is_touched_beside_a_daemon(desk: Desk) -> None:
    """Exit 75, with its pid."""
    _mark(desk)
    desk.lock.acquire()
    ran = desk.run("recover")
    desk.lock.release()
    assert ran.code == 75
    assert "pid" in ran.err
    assert not list(desk.settings.state_file.parent.glob("*before-recover*"))


@pytest.mark.parametrize("command", ["recover", "run", "status", "check"])
@pytest.mark.parametrize("is_running", [True, False])
def test_folders_whose_state_file_lies_elsewhere_are_left_alone(
    desk: Desk, tmp_path: Path, command: str, *, is_running: bool
) -> None:
    """A second state file would take the scans out of the hands of a daemon that may be running."""
    other = tmp_path / "other" / "state.sqlite3"
    other.parent.mkdir()
    other.touch()
    _mark(desk, state_file=other)
    _lose(desk)
    lock = DaemonLock(other)
    if is_running:
        lock.acquire()
    try:
        ran = desk.run(command)
    finally:
        lock.release()
    assert ran.code == (1 if command == "check" else 78)
    said = " ".join((ran.out + ran.err).split())
    assert f"belongs to the daemon of the state file {other}" in said
    assert (f"(pid {os.getpid()}) uses now" in said) is is_running
    assert "Name that one as state_file" in said
    assert not desk.settings.state_file.exists()


def test_a_state_file_that_is_not_there_any_more_keeps_nobody(desk: Desk, tmp_path: Path) -> None:
    """It was moved, with its folder or without, or is this very file by another way."""
    _mark(desk, state_file=tmp_path / "gone" / "state.sqlite3")
    _lose(desk)
    assert desk.run("recover").code == 0
    link = tmp_path / "link"
    link.symlink_to(desk.settings.state_file.parent)
    for marker in desk.home.rglob("marker.json"):
        document = json.loads(marker.read_text())
        document["state_file"] = str(link / desk.settings.state_file.name)
        marker.write_text(json.dumps(document))
    again = desk.run("recover")
    assert (again.code, again.out) == (0, "The state file and the folders agree.\n")


def test_a_copy_of_a_state_file_in_use_is_refused(desk: Desk, tmp_path: Path) -> None:
    """Two daemons with one id would not know of each other's scans."""
    other = _copied(desk, tmp_path)
    lock = DaemonLock(other)
    lock.acquire()
    try:
        ran = desk.run("run", "--once")
    finally:
        lock.release()
    assert ran.code == 78
    assert f"the daemon of the state file {other}" in " ".join(ran.err.split())


@pytest.mark.parametrize("is_live", [True, False])
def test_the_state_file_of_a_stranger_keeps_nobody(
    desk: Desk, tmp_path: Path, *, is_live: bool
) -> None:
    """Another site came to where ours was, before we had started anew: it is not of these folders.

    It runs, and all it has written is in its WAL; or it has ended, and left none.
    """
    other = tmp_path / "other" / "state.sqlite3"
    other.parent.mkdir()
    stranger = Database(other)
    Store(stranger, now=float).record_start(fresh_id="stranger")
    if not is_live:
        stranger.close()
    _mark(desk, state_file=other)
    _lose(desk)
    lock = DaemonLock(other)
    lock.acquire()
    before = {path.name for path in other.parent.iterdir()}
    try:
        assert desk.run("recover").code == 0
        assert desk.run("run", "--once").code == 0
        assert {path.name for path in other.parent.iterdir()} == before
    finally:
        lock.release()
        stranger.close()


def test_the_marker_of_a_folder_that_is_read_in_place_sends_nobody_away(
    desk: Desk, tmp_path: Path
) -> None:
    """It may be another site's outbox: that site's state file is nothing to be named or moved."""
    other = tmp_path / "other" / "state.sqlite3"
    other.parent.mkdir()
    other.touch()
    _mark(desk, state_file=other)
    for name in ("inbox", "outbox", "archive", "failed"):
        shutil.rmtree(desk.home / name / ".vpe-watcher")
    config = desk.config.read_text()
    in_place = "[recipes.teeth]\nleave_in_place = true\n"
    desk.config.write_text(config.replace("[recipes.teeth]\n", in_place))
    _lose(desk)
    ran = desk.run("run", "--once")
    assert ran.code == 78
    assert str(other) not in ran.err
    assert desk.run("recover").code == 0


def test_an_old_copy_beside_a_sound_state_file_keeps_nobody(desk: Desk, tmp_path: Path) -> None:
    """It was copied to a new disk, and the old one was not cleared."""
    _copied(desk, tmp_path)
    again = desk.run("recover")
    assert (again.code, again.out) == (0, "The state file and the folders agree.\n")


def test_a_copy_that_knows_less_is_not_brought_up_to_date(desk: Desk, tmp_path: Path) -> None:
    """Where the right one is still there, what is told of it is all there is to do."""
    other = _copied(desk, tmp_path)
    claim = desk.home / "inbox" / ".vpe-watcher" / "deadbeef" / "c9"
    claim.mkdir(parents=True)
    (claim / "scan.nii").touch()
    (claim.parent.parent / "marker.json").unlink()  # the other folders still name it
    for words in (["run", "--once"], ["recover"]):
        ran = desk.run(*words)
        assert (ran.code, str(other) in ran.err) == (78, True)
    other.rename(tmp_path / "away")
    shutil.copy(desk.home / "archive/.vpe-watcher/marker.json", claim.parent.parent)
    ran = desk.run("recover")
    assert (ran.code, "put back into the inbox" in ran.out) == (0, True)


def test_a_state_file_on_a_disk_that_is_gone_keeps_nobody(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is what `recover` is for."""
    other = tmp_path / "other" / "state.sqlite3"
    stat = Path.stat

    def sick(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path == other:
            raise OSError(errno.EIO, "sick")
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", sick)
    _mark(desk, state_file=other)
    _lose(desk)
    assert desk.run("recover").code == 0


def test_a_link_to_a_state_file_has_the_same_lock(desk: Desk, tmp_path: Path) -> None:
    """SQLite follows it, so two daemons would write one file."""
    link = tmp_path / "link.sqlite3"
    link.symlink_to(desk.settings.state_file)
    desk.lock.acquire()
    try:
        assert lock_holder(link) == os.getpid()
    finally:
        desk.lock.release()


def test_a_link_to_a_state_file_says_whose_it_is(desk: Desk, tmp_path: Path) -> None:
    """What its daemon wrote last is in the WAL, which lies beside the file and not beside the link.

    A second daemon of one id would take up the same cases, and pay for them again.
    """
    real, link = tmp_path / "real.sqlite3", tmp_path / "link.sqlite3"
    Database(real).close()
    link.symlink_to(real)
    with closing(Database(link)) as database:
        Store(database, now=float).record_start(fresh_id="deadbeef")
        _mark(desk, state_file=link)
        _lose(desk)
        ran = desk.run("recover")
    assert ran.code == 78
    assert str(link) in ran.err
    assert not desk.settings.state_file.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_what_root_makes_beside_a_linked_state_file_is_the_services(
    desk: Desk, tmp_path: Path
) -> None:
    """A lock file that is root's alone keeps the daemon from starting."""
    desk.store.database.close()
    own = tmp_path / "service"
    own.mkdir(mode=0o700)
    desk.settings.state_file.rename(own / "state.sqlite3")
    desk.settings.state_file.symlink_to(own / "state.sqlite3")
    os.chown(own, 65534, 65534)
    assert desk.run("recover").code == 0
    assert (own / "state.sqlite3.lock").stat().st_uid == 65534


@pytest.mark.parametrize("named", ["a\0b", "\ud800", "/dev/full", "/"])
def test_a_marker_that_names_no_possible_file_is_a_marker(desk: Desk, named: str) -> None:
    """Whatever was done to it: it refuses in words, and `recover` helps. No device is opened."""
    _mark(desk, state_file=Path(named))
    _lose(desk)
    ran = desk.run("run", "--once")
    assert (ran.code, "vpe-watcher recover" in ran.err) == (78, True)
    assert desk.run("recover").code == 0


def test_a_missing_folder_is_waited_for(desk: Desk) -> None:
    """Exit 75: what is in it counts."""
    (desk.home / "archive").rmdir()
    ran = desk.run("recover")
    assert (ran.code, "archive is missing" in ran.err) == (75, True)


def test_what_a_person_must_look_at(desk: Desk) -> None:
    """Staged results of nobody, documents that make no sense: a line each."""
    _mark(desk)
    (desk.home / "failed" / "scan.held.txt").write_text("Case id: c1")
    (desk.home / "outbox" / ".vpe-watcher" / "staging" / "c0ffee").mkdir(parents=True)
    broken = desk.home / "archive" / "scan" / "result.json"
    broken.parent.mkdir()
    broken.write_text('{"schema": "vpe-watcher/result/1", "case_id": "c1"}')
    _lose(desk)
    looks = [line for line in desk.run("recover").out.splitlines() if line.startswith("look at: ")]
    assert len(looks) == 2
    for words in ("c0ffee", "1 document "):
        assert any(words in line for line in looks), words


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_without_a_marker_looks_unmounted(desk: Desk, *, is_there: bool) -> None:
    """Exit 75, and nothing is built; what the hint says is the word of a person who knows better.

    The hidden folder may be there, and only the marker lost.
    """
    _mark(desk)
    for name in ("inbox/teeth", "archive"):
        shutil.rmtree(desk.home / name / ".vpe-watcher")
    if is_there:
        (desk.home / "archive" / ".vpe-watcher" / "records").mkdir(parents=True)
    _lose(desk)
    ran = desk.run("recover")
    assert (ran.code, ran.out, "folder_without_marker" in ran.err) == (75, "", False)
    said, words = ran.err.split("user:")
    assert f"no marker in {desk.home}/inbox/teeth, {desk.home}/archive: it" in " ".join(
        said.split()
    )
    assert not desk.settings.state_file.exists()
    subprocess.run(["sh", "-ec", words], check=True)
    assert desk.run("recover").code == 0
    assert desk.run("run", "--once").code == 0
    for name in ("inbox", "outbox", "archive", "failed", "inbox/teeth"):
        marker = json.loads((desk.home / name / ".vpe-watcher" / "marker.json").read_text())
        assert (marker["daemon_id"], marker["starts"] > 3) == ("deadbeef", True)


@pytest.mark.parametrize("is_damaged", [True, False])
def test_where_no_folder_is_mounted_nothing_is_built(desk: Desk, *, is_damaged: bool) -> None:
    """Nor is there anything to build of: where all is new, the daemon starts by itself."""
    _lose(desk)
    if is_damaged:
        desk.settings.state_file.write_bytes(b"no database")
    ran = desk.run("recover")
    assert (ran.code, "start the daemon" in " ".join(ran.err.split())) == (75, True)
    desk.settings.state_file.unlink(missing_ok=True)
    assert desk.run("run", "--once").code == 0


def test_folders_without_their_hidden_folders_are_built_of(desk: Desk) -> None:
    """They came back from a copy that left those out. No marker tells which of them is mounted."""
    document = desk.home / "outbox" / "scan" / "result.json"
    document.parent.mkdir()
    document.write_text(json.dumps(DELIVERED))
    _lose(desk)
    ran = desk.run("recover")
    assert (ran.code, "1 case: at rest" in ran.out) == (0, True)
    assert ran.out.count("bears no marker: mount it before `run`") == 5


def test_a_sound_state_file_knows_which_folders_are_new(desk: Desk) -> None:
    """One that it knows and that bears no marker is not mounted; a new one keeps nobody."""
    assert desk.run("run", "--once").code == 0
    shutil.rmtree(desk.home / "inbox" / "teeth")
    (desk.home / "inbox" / "teeth").mkdir()
    ran = desk.run("recover")
    assert (ran.code, "no marker in" in ran.err) == (75, True)
    (desk.home / "inbox" / "new").mkdir()
    desk.config.write_text(desk.config.read_text().replace("recipes.teeth", "recipes.new"))
    assert desk.run("recover").out == "The state file and the folders agree.\n"


def test_documents_are_no_word_against_a_state_file(desk: Desk) -> None:
    """It knows that the folders bore markers: that none does now is for a person to say."""
    assert desk.run("run", "--once").code == 0
    document = desk.home / "outbox" / "scan" / "result.json"
    document.parent.mkdir()
    document.write_text(json.dumps(DELIVERED))
    for marker in list(desk.home.rglob("marker.json")):
        shutil.rmtree(marker.parent)
    ran = desk.run("recover")
    assert (ran.code, "Mount all folders" in " ".join(ran.err.split())) == (75, True)


def test_each_sentence_ends_once(desk: Desk) -> None:
    """Also where it quotes another one, of a file that is not whole or no state file at all."""
    _mark(desk)
    for content in (b"no database", desk.settings.state_file.read_bytes()[:5000]):
        _lose(desk)
        desk.settings.state_file.write_bytes(content)
        said = desk.run("recover").out.splitlines()[0]
        assert said.startswith("The state file was built anew: ")
        assert said.endswith(".")
        assert ".." not in said
        assert said.lower().count("damaged") <= 1


def test_what_was_never_started_is_not_called_new(desk: Desk, tmp_path: Path) -> None:
    """A state file that `submit` made before the first start is in order."""
    _lose(desk)
    scan = tmp_path / "scan.dcm"
    scan.write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 400)
    assert desk.run("submit", str(scan)).code == 0
    ran = desk.run("recover")
    assert (ran.code, ran.out.splitlines()[0]) == (0, "The state file and the folders agree.")


def test_only_a_recipe_that_leaves_in_place_is_resumed(desk: Desk) -> None:
    """Another name is refused before anything is done."""
    ran = desk.run("recover", "--resume", "teeth")
    assert (ran.code, "leave_in_place" in ran.err) == (1, True)


@pytest.mark.parametrize(
    ("existing", "words"),
    [("take", "  resumed, a scan"), ("ignore", "a result that was paid for is not fetched")],
)
def test_resuming_beside_a_daemon(desk: Desk, existing: str, words: str) -> None:
    """Needs no stop: the daemon looks for itself. What it may cost is said before and after."""
    export = desk.home / "export"
    export.mkdir()
    text = desk.config.read_text()
    desk.config.write_text(
        f'{text}\n[recipes.pacs]\ninbox = "{export}"\nleave_in_place = true\n'
        f'existing = "{existing}"\n'
    )
    _mark(desk, starts=9)
    paused = desk.run("recover")
    assert "paused: pacs" in paused.out
    assert words in paused.out
    assert "whose case was lost may be sent and paid for again" in paused.out
    desk.lock.acquire()
    try:
        resumed = desk.run("recover", "--resume", "pacs").out.splitlines()
        assert resumed[0] == "resumed: pacs"
        assert "paid for" in resumed[1]
        assert "was not paused" in desk.run("recover", "--resume", "pacs").out
    finally:
        desk.lock.release()
    assert desk.run("recover").out == "The state file and the folders agree.\n"


# --- backup --------------------------------------------------------------------------------------


def test_a_backup_beside_a_daemon(desk: Desk) -> None:
    """Whole, sound, for its owner's eyes, and its name on stdout; the state file goes on."""
    desk.lock.acquire()
    case_id = desk.finish(desk.add())
    target = desk.home / "copy.sqlite3"
    ran = desk.run("backup", str(target))
    desk.lock.release()
    assert (ran.code, ran.out) == (0, f"{target}\n")
    assert "with 1 case." in ran.err
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in desk.home.glob("*copy*")] + list(desk.home.glob(".*copy*")) == [
        "copy.sqlite3"
    ]
    with closing(Database(target)) as database:
        case = Store(database, now=float).load(case_id)
        assert case is not None
        assert case.state is State.DONE
    desk.add()


def test_a_backup_overwrites_nothing(desk: Desk) -> None:
    """What lies there stays as it is, and the command says so."""
    target = desk.home / "copy.sqlite3"
    target.write_text("mine")
    ran = desk.run("backup", str(target))
    assert (ran.code, target.read_text()) == (1, "mine")
    assert "never overwrites" in ran.err


@pytest.mark.parametrize("where", ["inbox", "inbox/teeth", "outbox", "outbox/.vpe-watcher", "link"])
def test_a_backup_lies_where_no_scans_come(desk: Desk, where: str) -> None:
    """It is full of patients' names; a link to such a folder is that folder."""
    (desk.home / "link").symlink_to(desk.home / "outbox")
    (desk.home / where).mkdir(exist_ok=True)
    target = desk.home / where / "bk.sqlite3"
    ran = desk.run("backup", str(target))
    assert ran.code == 1
    assert "where only the service looks" in ran.err
    assert not target.exists()


def test_a_backup_where_nothing_can_be_written(desk: Desk) -> None:
    """The reason in a sentence, and nothing left behind."""
    ran = desk.run("backup", str(desk.home / "nowhere" / "copy.sqlite3"))
    assert (ran.code, "cannot be written" in ran.err) == (1, True)


def test_a_damaged_state_file_is_not_copied(desk: Desk) -> None:
    """A copy that is not sound never gets a name."""
    desk.store.database.close()
    path = desk.settings.state_file
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    ran = desk.run("backup", str(desk.home / "copy.sqlite3"))
    assert ran.code != 0
    assert list(desk.home.glob("*copy*")) == []


def test_backups_while_somebody_writes(desk: Desk) -> None:
    """Each is one moment of the file: a case and its name come together or not at all."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            desk.add()

    writer = threading.Thread(target=write)
    writer.start()
    counts = []
    try:
        for number in range(4):
            target = desk.home / f"copy{number}.sqlite3"
            assert desk.run("backup", str(target)).code == 0
            counts.append(_counts(target))
    finally:
        stop.set()
        writer.join(30)
    assert all(len(set(found)) == 1 for found in counts)
    assert counts[0] < counts[-1]


def _counts(path: Path) -> tuple[int, ...]:
    with closing(sqlite3.connect(path)) as connection:
        tables = ("cases", "names", "moves", "inputs", "events")
        return tuple(
            connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]  # noqa: S608
            for table in tables
        )


def test_a_backup_that_is_put_back_wants_to_be_recovered(desk: Desk) -> None:
    """Even when nothing has happened since: `run` refuses, and says what to do."""
    desk.store.record_start(fresh_id="deadbeef")
    _, starts = desk.store.identity()
    _mark(desk, starts=starts)
    target = desk.home / "copy.sqlite3"
    desk.run("backup", str(target))
    _lose(desk)
    shutil.copy(target, desk.settings.state_file)
    refused = desk.run("run", "--once")
    assert (refused.code, "recover" in refused.err) == (78, True)
    assert "brought up to date" in desk.run("recover").out
    with closing(Database(desk.settings.state_file)) as database:
        assert Store(database, now=float).identity() == ("deadbeef", starts + 1)
