"""A power cut: what was not synced is gone, and the next daemon lives on what is left.

Watches what reaches `fsync`. The state file is SQLite's to keep; of the folders that people see
there stays what was durable: of a file its content at its last sync, of a folder its entries at
its last sync. A rename is one change of a journal: the first sync that makes it durable does so in
both folders. Renames that wait for one sync together may have become durable without it, each by
itself. People's own files are durable from the start.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import pytest

from tests.crash.laws import ROOTS, broken_at_death
from tests.crash.lives import BETWEEN_LIVES_S, Life, Stage
from tests.crash.points import MortalDisk, Points
from vpe_watcher.adapters.files import Entry
from vpe_watcher.core.model import FileMark
from vpe_watcher.flow.places import EVIDENCE, HIDDEN
from vpe_watcher.sandbox.messages import Request, Response

FEW = 3
Kept = tuple["Rename", ...]


class PowerCut(BaseException):
    """The machine is off: nothing but what is durable is left, and `kept` of what was under way."""

    def __init__(self, what: str, kept: Kept = ()) -> None:
        """Say what had just happened."""
        super().__init__(what)
        self.kept = kept


class Killed(BaseException):
    """The daemon is dead, and the machine goes on: what was not synced may be lost later."""


class Outage(Points):
    """Counts the moments at which something has become durable, or known to the Engine.

    Nothing that the next life could see differs between two of them. `is_due` makes any fatal.
    """

    def __init__(self, fatal: int, is_due: Callable[[], bool]) -> None:
        """Prepare."""
        super().__init__(fatal)
        self._is_due = is_due

    def reach(self, what: str, half: object = None) -> None:
        """Pass a moment, or be cut off there."""
        self._pass(what, ())

    def doubt(self, renames: Kept) -> None:
        """Pass the moments at which some of these renames have become durable, and others not."""
        for kept in _some_of(renames):
            self._pass(f"kept {len(kept)} of {len(renames)} renames", kept)

    def _pass(self, what: str, kept: Kept) -> None:
        self.passed += 1
        if self.passed == self.fatal or self._is_due():
            raise PowerCut(what, kept)


def _some_of(renames: Kept) -> Iterator[Kept]:
    """Return every choice of a few renames; of many each alone, all but each, and every other."""
    if len(renames) > FEW:
        yield from ((one,) for one in renames)
        yield from (tuple(one for one in renames if one is not other) for other in renames)
        yield renames[::2]
        return
    for count in range(1, len(renames)):
        yield from combinations(renames, count)


@dataclass(frozen=True, slots=True)
class Rename:
    """A rename that no sync has made durable: folders and what was renamed by their inodes."""

    source: int
    old_name: str
    target: int
    name: str
    inode: int


class Platter:
    """What is durable below some folders, by inode. Inodes stay pinned, so that none comes twice.

    `number_of` keeps a file the same one when a cut has it written anew.
    """

    def __init__(self, roots: tuple[Path, ...]) -> None:
        self._roots = roots
        self._files: dict[int, tuple[bytes, int]] = {}
        self._folders: dict[int, dict[str, int]] = {}
        self._pins: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self._renames: list[Rename] = []
        self._are_new = False

    def close(self) -> None:
        """Let go of all inodes."""
        for pin in self._pins.values():
            os.close(pin)
        self._pins.clear()

    def number_of(self, inode: int) -> int:
        """Return the number that a file has kept through all cuts."""
        return self._numbers.get(inode, inode)

    def settle(self) -> None:
        """Call all that is there durable."""
        for root in self._roots:
            for folder, _, names in os.walk(root):
                self._keep_folder(Path(folder))
                for name in names:
                    self._keep_file(Path(folder) / name)

    def synced(self, descriptor: int) -> bool:
        """Take note of a sync; false when it is none of these folders'."""
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not any(path.is_relative_to(root) for root in self._roots):
            return False
        opened = Path(f"/proc/self/fd/{descriptor}")
        if opened.is_dir():
            self._keep_folder(opened)
        else:
            self._keep_file(opened)
        return True

    def renamed(self, source: Path, target: Path) -> None:
        """Take note of a rename that may become durable before it is synced."""
        inode = target.lstat().st_ino
        self._pin(target, inode)
        folders = source.parent.stat().st_ino, target.parent.stat().st_ino
        self._renames.append(Rename(folders[0], source.name, folders[1], target.name, inode))
        self._are_new = True

    def doubtful(self) -> Kept:
        """Return the renames that wait for a sync, once for each that has come to them."""
        are_new, self._are_new = self._are_new, False
        return tuple(self._renames) if are_new else ()

    def _keep_file(self, path: Path) -> None:
        found = path.stat()
        self._pin(path, found.st_ino)
        self._files[found.st_ino] = (path.read_bytes(), found.st_mtime_ns)

    def _keep_folder(self, folder: Path) -> None:
        entries = {}
        for name in os.listdir(folder):  # noqa: PTH208 - by descriptor too
            entries[name] = (folder / name).lstat().st_ino
            self._pin(folder / name, entries[name])
        inode = folder.stat().st_ino
        arrived = set(entries.values()) - set(self._folders.get(inode, {}).values())
        for other, before in self._folders.items():
            self._folders[other] = {n: one for n, one in before.items() if one not in arrived}
        self._folders[inode] = entries
        self._renames = [one for one in self._renames if one.target != inode]

    def _pin(self, path: Path, inode: int) -> None:
        if inode not in self._pins:
            self._pins[inode] = os.open(path, os.O_PATH | os.O_NOFOLLOW)

    def durable(self, folder: Path) -> dict[str, bytes]:
        """Return the durable files below a folder, by their paths relative to it."""
        return dict(self._below(folder.stat().st_ino))

    def _below(self, inode: int, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        for name, one in self._folders.get(inode, {}).items():
            if self._is_folder(one):
                yield from self._below(one, f"{prefix}{name}/")
            else:
                yield f"{prefix}{name}", self._files.get(one, (b"", 0))[0]

    def _is_folder(self, inode: int) -> bool:
        return stat.S_ISDIR(os.fstat(self._pins[inode]).st_mode)

    def cut(self, kept: Kept = ()) -> None:
        """Leave on the disk what is durable, with some renames that were not synced."""
        for one in kept:
            if self._folders.get(one.source, {}).get(one.old_name) == one.inode:
                del self._folders[one.source][one.old_name]
                self._folders.setdefault(one.target, {})[one.name] = one.inode
        numbers: dict[int, int] = {}
        for root in self._roots:
            inode = root.stat().st_ino
            for entry in root.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            self._write(root, inode, numbers)
        self._numbers = numbers
        self._files.clear()
        self._folders.clear()
        self._renames.clear()
        self.close()
        self.settle()

    def _write(self, folder: Path, inode: int, numbers: dict[int, int]) -> None:
        for name, one in self._folders.get(inode, {}).items():
            if self._is_folder(one):
                (folder / name).mkdir()
                self._write(folder / name, one, numbers)
            else:
                content, mtime_ns = self._files.get(one, (b"", 0))
                (folder / name).write_bytes(content)
                os.utime(folder / name, ns=(mtime_ns, mtime_ns))
            numbers[(folder / name).stat().st_ino] = self.number_of(one)


class SteadyDisk(MortalDisk):
    """A disk whose files look the same after a cut has had them written anew."""

    def keep_to(self, platter: Platter, *, renames: int) -> SteadyDisk:
        """Ask a platter which file is which; let the daemon be killed after so many renames."""
        self._platter = platter
        self._renames = renames
        return self

    def rename_unsynced(self, source: Path, target: Path) -> None:
        """Rename, and let the platter know."""
        super().rename_unsynced(source, target)
        self._platter.renamed(source, target)
        self._renames -= 1
        if not self._renames:
            raise Killed

    def look(self, path: Path) -> Entry | None:
        """Return what lies at a path."""
        found = super().look(path)
        return found and self._steady(found)

    def listing(self, folder: Path) -> list[Entry]:
        """List a folder's entries."""
        return [self._steady(entry) for entry in super().listing(folder)]

    def _steady(self, entry: Entry) -> Entry:
        mark, number = entry.mark, self._platter.number_of(entry.mark.inode)
        return replace(entry, mark=FileMark(mark.size, mark.mtime_ns, mark.mtime_ns, number))


class PoweredStage(Stage):
    """A stage whose lives may end with a power cut, all in this process."""

    def __post_init__(self) -> None:
        """Make the folders, all durable."""
        super().__post_init__()
        self.platter = Platter(tuple(self.root / name for name in ROOTS))
        self.broken: list[str] = []
        self._renames = 0
        self._has_unsynced = False

    def _disk(self, points: Points) -> MortalDisk:
        disk = SteadyDisk(Points(), self._devices(), self.meddle)
        return disk.keep_to(self.platter, renames=self._renames)

    def live_and_be_killed(self, renames: int) -> None:
        """Live until the daemon is killed right after so many renames; nothing is lost yet."""
        self._renames = renames
        with pytest.raises(Killed):
            self.live_powered()
        self._renames, self._has_unsynced = 0, True

    def live_powered(self, fatal: int = 0, is_due: Callable[[], bool] = lambda: False) -> Life:
        """Live until all is quiet or the power is cut; look at what a cut has left.

        It is cut at the moment number `fatal`, or at the first at which it `is_due`.
        """
        self.lives += 1
        self.time.advance(BETWEEN_LIVES_S)
        self.events.clear()
        if not self._has_unsynced:
            self.platter.settle()
        self._has_unsynced = False
        points = Outage(fatal, is_due)
        try:
            with self._watched_syncs(points):
                return self._live(points, self._heard)
        except PowerCut as cut:
            self.platter.cut(cut.kept)
            self.broken += broken_at_death(self)
            return Life(has_died=True, points=points.passed, words=str(cut))

    def _heard(self, request: Request) -> Response:
        """Be the Engine; what may cost must be written down durably before it is heard."""
        before = self._notifications()
        response = self.answer(request)
        if self._notifications() > before and not self._has_evidence():
            self.broken.append("a job was started without durable evidence")
        return response

    def _notifications(self) -> int:
        jobs = self.sandbox.ledger.jobs.values()
        return sum(len(entry.notifications) for job in jobs for entry in job.inputs.values())

    def _has_evidence(self) -> bool:
        durable = self.platter.durable(self.root / "inbox")
        found = [
            json.loads(content)
            for path, content in durable.items()
            if path.startswith(HIDDEN) and path.endswith(f"/{EVIDENCE}") and content
        ]
        return any(one["may_be_paid"] and one["job_id"] for one in found)

    @contextmanager
    def _watched_syncs(self, points: Outage) -> Iterator[None]:
        fsync = os.fsync

        def watched(descriptor: int) -> None:
            points.doubt(self.platter.doubtful())
            fsync(descriptor)
            if self.platter.synced(descriptor):
                points.reach(f"synced {Path(f'/proc/self/fd/{descriptor}').readlink()}")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", watched)
            yield
