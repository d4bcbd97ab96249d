"""The points at which a daemon can die, and death itself.

A point lies behind each effect that another process or the next life could see: a commit, a disk
verb, a call of the Engine; and inside those that are not atomic, where a half of them is left.
The moment before an effect is the point behind the one before it. Death is `os._exit`: no
`finally` runs, no file is flushed, SQLite is not closed.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import sqlite3
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import BinaryIO

from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.store import Database
from vpe_watcher.sandbox.messages import Request, Response

DIED = 137


def nothing() -> None:
    """Leave nothing behind."""


class Points:
    """Counts the points of one life and ends it at the `fatal` one, if there is one."""

    def __init__(
        self,
        fatal: int = 0,
        last_words: Callable[[int, str], None] = lambda _number, _place: None,
        *,
        is_fine: bool = False,
    ) -> None:
        """Prepare; `last_words` takes the number of the fatal point and where it lies.

        `is_fine` counts a transaction before its commit too, when the disk knows nothing of it.
        """
        self._last_words = last_words
        self.fatal = fatal
        self.is_fine = is_fine
        self.passed = 0

    def reach(self, what: str, half: Callable[[], None] = nothing) -> None:
        """Pass a point, or die there, with `half` done of what comes next."""
        self.passed += 1
        if self.passed != self.fatal:
            return
        half()
        self._last_words(self.passed, f"{what} in {_place()}")
        os._exit(DIED)


def _place() -> str:
    frames = [frame for frame in traceback.extract_stack() if "/vpe_watcher/" in frame.filename]
    return " > ".join(f"{Path(frame.filename).stem}.{frame.name}" for frame in frames[-4:])


class MortalDatabase(Database):
    """Points after each commit that changes something, and before it in a fine run."""

    def __init__(self, path: Path, points: Points) -> None:
        self._points = points
        super().__init__(path)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Open a write transaction as the real one does."""
        before = _fingerprint(self.connection())
        with super().transaction() as connection:
            yield connection
            has_changed = _fingerprint(connection) != before
            if has_changed and self._points.is_fine:
                self._points.reach("uncommitted")
        if has_changed:
            self._points.reach("committed")


def _fingerprint(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return what differs after any change of rows or tables, be it committed or not."""
    (version,) = connection.execute("PRAGMA schema_version").fetchone()
    return connection.total_changes, version


class MortalDisk(Disk):
    """Points after each verb that changes something, and inside those that are not atomic.

    `devices` says which folders are file systems of their own: a rename between two is refused.
    `meddle` is called with the source of a rename before it: somebody else who comes too.
    """

    def __init__(
        self, points: Points, devices: Mapping[Path, int], meddle: Callable[[Path], None]
    ) -> None:
        self._points = points
        self._devices = devices
        self._meddle = meddle

    def make_folder(self, folder: Path, *, mode: int = 0o777) -> None:
        """Make a folder; those above it come here too."""
        is_new = not folder.is_dir()
        super().make_folder(folder, mode=mode)
        if is_new:
            self._points.reach("folder made")

    def rename_unsynced(self, source: Path, target: Path) -> None:
        """Rename, but not from one file system to another; every rename comes here."""
        if self._device(source) != self._device(target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        self._meddle(source)
        super().rename_unsynced(source, target)
        self._points.reach("renamed")

    def _device(self, path: Path) -> int:
        return next((self._devices[one] for one in path.parents if one in self._devices), 0)

    def create(self, path: Path, content: bytes) -> None:
        """Write a temporary file."""
        self._points.reach("half written", partial(_write, path, content[: len(content) // 2]))
        super().create(path, content)
        self._points.reach("written")

    def replace(self, source: Path, target: Path) -> None:
        """Rename over a file of ours."""
        super().replace(source, target)
        self._points.reach("replaced")

    @contextmanager
    def writing(self, path: Path) -> Iterator[BinaryIO]:
        """Open a temporary file for a stream."""
        with super().writing(path) as file:
            self._points.reach("opened")
            yield file
            self._points.reach("half streamed", partial(_truncate, file))
        self._points.reach("streamed")

    def remove_file(self, path: Path) -> None:
        """Remove one file."""
        was_there = path.exists()
        super().remove_file(path)
        if was_there:
            self._points.reach("file removed")

    def remove_tree(self, folder: Path) -> None:
        """Remove a folder with all that is in it."""
        was_there = folder.is_dir()
        for count in range(1, len(_files(folder)) + 1):
            self._points.reach("half removed", partial(_remove_some, folder, count))
        super().remove_tree(folder)
        if was_there:
            self._points.reach("folder removed")

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file or a tree."""
        for count in range(len(_files(source)) or 1):
            self._points.reach("half copied", partial(_copy_some, source, target, count))
        super().copy(source, target)
        self._points.reach("copied")


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _truncate(file: BinaryIO) -> None:
    file.flush()
    file.truncate(file.tell() // 2)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def _remove_some(folder: Path, count: int) -> None:
    for path in _files(folder)[:count]:
        path.unlink()


def _copy_some(source: Path, target: Path, count: int) -> None:
    """Copy `count` files of a tree and half of the next one, over what an earlier copy left."""
    shutil.rmtree(target, ignore_errors=True)
    if not source.is_dir():
        _write_below(target, source.read_bytes()[: source.stat().st_size // 2])
        return
    files = _files(source)
    for path in files[:count]:
        _write_below(target / path.relative_to(source), path.read_bytes())
    for path in files[count : count + 1]:
        half = path.read_bytes()[: path.stat().st_size // 2]
        _write_below(target / path.relative_to(source), half)


def _write_below(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


class MortalCalls:
    """Points around each call of the simulated Engine, which itself survives.

    Behind a call the effect is done and the answer is here, but nobody has written it down.
    """

    def __init__(self, handle: Callable[[Request], Response], points: Points) -> None:
        """Prepare; `handle` is the Engine, or the way to it."""
        self._handle = handle
        self._points = points

    def handle(self, request: Request) -> Response:
        """Carry a request over, and its answer back."""
        self._points.reach(f"{request.method} not sent")
        response = self._handle(request)
        self._points.reach(f"{request.method} answered")
        return response


def sent_over(line: Connection, request: Request, now: float) -> Response:
    """Ask the Engine at the other end of a line, where time is then `now`."""
    body = b"".join(iter(lambda: request.body.read(1 << 20), b""))
    line.send((now, request.method, request.url, dict(request.headers), body))
    response: Response = line.recv()
    return response


def request_of(method: str, url: str, headers: dict[str, str], body: bytes) -> Request:
    """Return a request as it came over the line."""
    return Request(method, url, headers, io.BytesIO(body))
