"""How an inbox is watched, on real folders: what is lost comes back, and what changes is told once.

The clock for asking the system again is moved by hand. The inbox is a plain record of what it is
told: its own looks have their own tests.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.mounts import Mount, MountTable
from vpe_watcher.app.watching import Watching
from vpe_watcher.flow.inbox import Inbox
from vpe_watcher.flow.options import Options

AT_MOST_S = 5.0
LOCAL = Mount("ext4", Path("/"), "/dev/vda")
SHARE = Mount("cifs", Path("/srv"), "//nas/srv")
FUSE = Mount("fuse.sshfs", Path("/srv"), "me@host:/srv")
GONE = ("none", "the folder is missing or not mounted")
HEARD = ("events", "ext4 is a local file system")
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


class Table(MountTable):
    """A table of mounts that a test turns over."""

    def __init__(self) -> None:
        """Begin with a local disk."""
        super().__init__()
        self.mount = LOCAL

    def at(self, path: Path) -> Mount:
        """Say what any path lies on."""
        del path
        return self.mount


@dataclass(eq=False)
class Box:
    """What an inbox was told."""

    options: Options
    hints: list[str] = field(default_factory=list)
    looks: int = 0
    wake: threading.Event = field(default_factory=threading.Event)
    may_go_on: threading.Event = field(default_factory=threading.Event)
    is_deadly: bool = False

    def hint(self, name: str, *, moved_in: bool = False) -> None:
        """Take a hint, when it may go on."""
        del moved_in
        assert self.may_go_on.wait(30)
        if self.is_deadly:
            self.is_deadly = False
            raise SystemExit
        self.hints.append(name)

    def look_anew(self) -> None:
        """Take note of the wish."""
        self.looks += 1


class Stage:
    """A watching, its clock, its log, and one inbox."""

    def __init__(self, root: Path, *, wish: str = "auto", table: MountTable | None = None) -> None:
        """Build it; the folder is not made."""
        self.root = root
        self.now = 1000.0
        self.log: list[tuple[str, str]] = []
        self.table = Table()
        self.box = Box(Options("default", root, 30, takes_existing=True))
        self.box.may_go_on.set()
        self.watching = Watching(
            {"default": wish},
            Disk(),
            table=table or self.table,
            ignores={"default": lambda name: name.startswith(".")},
            monotonic=lambda: self.now,
            log=self._take,
        )

    def _take(self, event: str, /, **fields: Any) -> None:
        assert event == "watch.started", fields
        self.log.append((fields["watch"], fields["reason"]))

    def keep(self) -> tuple[str, str]:
        """Do what the inbox's thread does before each turn; return how it is watched."""
        self.watching.keep(cast("Inbox", self.box))
        return self.watching.modes["default"]

    def keep_until(self, mode: tuple[str, str]) -> None:
        """Keep until it is watched in a way."""
        _wait(lambda: self.keep() == mode)

    def hears(self) -> bool:
        """Tell whether a file that appears is told."""
        name = f"{time.monotonic_ns()}.dcm"
        (self.root / name).write_bytes(b"scan")
        end = time.monotonic() + 1.0
        while name not in self.box.hints and time.monotonic() < end:
            time.sleep(0.005)
        return name in self.box.hints


def _wait(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + AT_MOST_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Return a stage with an inbox that is there."""
    stage = Stage(tmp_path / "inbox")
    stage.root.mkdir()
    yield stage
    stage.watching.stop()


def test_a_root_that_comes_later_is_watched_then(stage: Stage) -> None:
    """Until then it is shown as missing; with the first event watch all is looked at."""
    stage.root.rmdir()
    assert stage.keep() == stage.keep() == GONE
    stage.root.mkdir()
    assert stage.keep() == stage.keep() == HEARD
    assert stage.box.looks == 1
    assert stage.hears()
    assert stage.log == [GONE, HEARD]


def test_a_root_that_is_made_again_is_watched_again(stage: Stage) -> None:
    """The inbox is woken when it goes; all is looked at when it is back."""
    stage.keep()
    shutil.rmtree(stage.root)
    assert stage.box.wake.wait(AT_MOST_S)
    assert stage.keep() == GONE
    stage.root.mkdir()
    stage.keep_until(HEARD)
    assert stage.box.looks == 2
    assert stage.hears()
    assert stage.log == [HEARD, GONE, HEARD]


def test_a_root_that_another_took_the_place_of_is_watched(stage: Stage) -> None:
    """Between two turns: nothing is noted but the new folder is heard."""
    stage.keep()
    (stage.root.parent / "other").mkdir()
    stage.root.rename(stage.root.parent / "aside")
    (stage.root.parent / "other").rename(stage.root)
    stage.keep()
    assert stage.box.looks == 2
    assert stage.hears()
    assert stage.log == [HEARD]


@pytest.mark.parametrize("mount", [SHARE, FUSE])
def test_what_is_mounted_now_decides(stage: Stage, mount: Mount) -> None:
    """A share over the folder is polled, with the reason; the disk below it is heard again."""
    polled = (
        "poll",
        f"{mount.fs_type} sends no events for what other machines write: scanned every 30 s",
    )
    assert stage.keep() == HEARD
    stage.table.mount = mount
    assert stage.keep() == stage.keep() == polled
    assert not stage.hears()
    stage.table.mount = LOCAL
    assert stage.keep() == HEARD
    assert stage.hears()
    assert stage.log == [HEARD, polled, HEARD]
    assert stage.box.looks == 2


@pytest.mark.parametrize("wish", ["events", "poll"])
def test_what_is_configured_is_done(tmp_path: Path, wish: str) -> None:
    """Whatever is mounted there."""
    stage = Stage(tmp_path, wish=wish)
    stage.table.mount = SHARE if wish == "events" else LOCAL
    mode, reason = stage.keep()
    assert mode == wish
    assert reason.startswith("as configured")
    assert stage.hears() == (wish == "events")
    stage.watching.stop()


def test_dropped_events_are_made_up_for(stage: Stage) -> None:
    """All is looked at, `status` says why for a while, then all is well."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip("the queue is too long to fill in a test")
    stage.keep()
    stage.box.may_go_on.clear()
    for number in range(limit // 2 + 4000):
        path = stage.root / f"{number % 2}.dcm"
        path.touch()
        path.unlink()
    stage.box.may_go_on.set()
    assert stage.box.wake.wait(AT_MOST_S)
    mode, reason = stage.keep()
    assert (mode, stage.box.looks) == ("events", 2)
    assert "the system dropped events" in reason
    stage.now += 31
    assert stage.keep() == HEARD
    assert len(stage.log) == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_observer_is_replaced(stage: Stage) -> None:
    """Whatever ended its thread; what it did not tell is looked at."""
    stage.keep()
    stage.box.is_deadly = True
    (stage.root / "scan.dcm").write_bytes(b"scan")
    _wait(lambda: stage.keep() == HEARD and stage.box.looks == 2)
    assert stage.hears()


LIMITED = """
import sys
from pathlib import Path
from tests.app.test_watching import Stage
stage, limit = Stage(Path(sys.argv[1])), Path("/proc/sys/user") / sys.argv[2]
limit.write_text("0")
print(*stage.keep())
stage.keep()
limit.write_text("100")
stage.now += 29
print(*stage.keep())
stage.now += 2
print(*stage.keep())
print(stage.hears(), len(stage.log), stage.box.looks)
stage.watching.stop()
"""


@pytest.mark.parametrize("kind", ["watches", "instances"])
def test_used_up_limits_are_told_and_tried_again(tmp_path: Path, kind: str) -> None:
    """With the key of the system to raise, and how often the inbox is scanned meanwhile."""
    lines = _in_namespace(LIMITED, str(tmp_path), f"max_inotify_{kind}")
    polled = (
        "poll the system's inotify limit is used up: scanned every 30 s; "
        f"raise fs.inotify.max_user_{kind}"
    )
    assert lines == [polled, polled, "events ext4 is a local file system", "True 2 1"]


MOUNTED = """
import subprocess, sys
from pathlib import Path
from tests.app.test_watching import Stage
from vpe_watcher.adapters.mounts import MountTable
root = Path(sys.argv[1])
stage = Stage(root, table=MountTable())
stage.keep()
for _ in range(2):
    subprocess.run(["mount", "-t", "tmpfs", "share", root], check=True)
    print(*stage.keep(), stage.hears())
    subprocess.run(["umount", root], check=True)
    print(stage.keep()[0], stage.hears(), stage.box.looks)
stage.watching.stop()
"""


def test_a_share_that_comes_and_goes_is_heard_each_time(tmp_path: Path) -> None:
    """Mounted over the watched folder and unmounted, twice, in a name space of its own."""
    assert _in_namespace(MOUNTED, str(tmp_path)) == [
        "events tmpfs is a local file system True",
        "events True 3",
        "events tmpfs is a local file system True",
        "events True 5",
    ]


def _in_namespace(code: str, *arguments: str) -> list[str]:
    if subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    command = [*NAMESPACE, sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
