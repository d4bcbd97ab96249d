"""File events as hints: "something happened at this name". Never the truth, never a reason to act.

Owns the system's file events (inotify, read by watchdog). An inbox that cannot be watched is polled
by its own scan.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from watchdog.observers.inotify_c import InotifyEvent, InotifyFD, Mask, WatchDescriptor

JOIN_S = 2.0


class Trouble(StrEnum):
    """Why a root cannot be watched."""

    NO_WATCHES = "no_watches"  # fs.inotify.max_user_watches
    NO_INSTANCES = "no_instances"  # fs.inotify.max_user_instances, or our open files
    NO_FOLDER = "no_folder"
    REFUSED = "refused"


class OnHint(Protocol):
    """Takes the name in the root at which something happened, from another thread."""

    def __call__(self, name: str, /, *, moved_in: bool) -> None:
        """Take a hint; `moved_in`: it came whole, from outside or from a name that is ignored."""


class Watch:
    """Events directly in one root.

    Folders below are not watched: each would take one of the system's few watches, and a folder
    that was seen is looked at again until it is quiet. That something was moved out is not told:
    our own claims do that, and the next look shows it.
    """

    def __init__(
        self,
        root: Path,
        on_hint: OnHint,
        *,
        is_ignored: Callable[[str], bool] = lambda name: name.startswith("."),
        on_trouble: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare. `on_trouble` is called when events were lost or no more may come."""
        self._root = root
        self._on_hint = on_hint
        self._is_ignored = is_ignored
        self._on_trouble = on_trouble
        self._inotify: InotifyFD | None = None
        self._ear: _Ear | None = None
        self._identity: tuple[int, int] | None = None

    def start(self) -> Trouble | None:
        """Begin to watch; return what keeps us from it, or None."""
        self.stop()
        self._identity = _identity_of(self._root)
        if self._identity is None:
            return Trouble.NO_FOLDER
        ear = _Ear(self._on_hint, self._is_ignored, self._on_trouble)
        try:
            self._inotify = _listening(self._root, ear)
        except OSError as error:
            return _trouble_of(error)
        self._ear = ear
        return None

    @property
    def is_alive(self) -> bool:
        """Tell whether events may still come: not from a root that another took the place of.

        The system goes on watching a folder that was moved away or mounted over, in silence.
        """
        if self._inotify is None or self._ear is None or not self._inotify.is_alive():
            return False
        return not self._ear.is_deaf and _identity_of(self._root) == self._identity

    def take_losses(self) -> int:
        """Return how often the system has dropped events since the last question."""
        return 0 if self._ear is None else self._ear.take_losses()

    def stop(self) -> None:
        """Stop watching; the root is not asked."""
        inotify, self._inotify, self._ear = self._inotify, None, None
        if inotify is not None:
            _end(inotify)


class _Ear:
    """Hears the events of one folder, on watchdog's thread, in the order in which they happened.

    watchdog's own emitters are not used: they hold every event back for half a second when a name
    was moved out before it, to see whether it comes in again under another.
    """

    def __init__(
        self, on_hint: OnHint, is_ignored: Callable[[str], bool], on_trouble: Callable[[], None]
    ) -> None:
        self._on_hint = on_hint
        self._is_ignored = is_ignored
        self._on_trouble = on_trouble
        self._moved_out: tuple[int, str] | None = None  # its other half is the next rename here
        self._has_missed = False
        self._losses = 0
        self.is_deaf = False

    def on_event(self, event: InotifyEvent) -> None:
        """Take one event of the folder or of a name in it."""
        name = os.fsdecode(event.name)
        if not name:
            self._hear_of_root(event)
        elif event.is_moved_from:
            self._moved_out = (event.cookie, name)
        elif event.is_moved_to:
            self._hear_of_arrival(event.cookie, name)
        else:
            self._hint(name, moved_in=False)

    def on_watch_deleted(self, _wd: WatchDescriptor) -> None:
        """Take note that the folder is gone, or its file system unmounted."""
        self.is_deaf = True
        self._on_trouble()

    def on_queue_overflow(self) -> None:
        """Take note that events were dropped."""
        self._has_missed = True
        self._losses += 1
        self._on_trouble()

    def take_losses(self) -> int:
        """Return how often events were dropped since the last question."""
        losses, self._losses = self._losses, 0
        return losses

    def _hear_of_root(self, event: InotifyEvent) -> None:
        if event.is_delete_self or event.is_move_self:
            self._on_trouble()

    def _hear_of_arrival(self, cookie: int, name: str) -> None:
        moved_out, self._moved_out = self._moved_out, None
        has_missed, self._has_missed = self._has_missed, False
        if moved_out is None or moved_out[0] != cookie:
            # Where events were dropped, the name it had here before may be among them.
            self._hint(name, moved_in=not has_missed)
            return
        self._hint(moved_out[1], moved_in=False)
        self._hint(name, moved_in=self._is_ignored(moved_out[1]))

    def _hint(self, name: str, *, moved_in: bool) -> None:
        if not name.startswith("."):
            self._on_hint(name, moved_in=moved_in)


def _listening(root: Path, ear: _Ear) -> InotifyFD:
    """Return a running reader of a root's events.

    Raises:
        OSError: ENOSPC and EMFILE for the system's limits, and whatever the root says.
    """
    from watchdog.observers.inotify_c import CallbackId, InotifyFD

    inotify = InotifyFD()
    inotify.start()  # first: only its thread closes what it holds
    try:
        watch = inotify.add_callback(os.fsencode(root), _mask(), ear, CallbackId(id(ear)))
    except OSError:
        _end(inotify)
        raise
    if watch < 0:  # watchdog says nothing of a folder that may not be read
        _end(inotify)
        raise PermissionError(errno.EACCES, "the folder may not be watched")
    return inotify


def _mask() -> Mask:
    """Return the events that are asked for: not those of our own reading.

    Nor each single write: a file's end is told, and what still grows is looked at again anyway.
    """
    from watchdog.observers.inotify_c import InotifyConstants as Event
    from watchdog.observers.inotify_c import Mask

    of_names = Event.IN_CREATE | Event.IN_CLOSE_WRITE | Event.IN_ATTRIB | Event.IN_DELETE
    of_moves = Event.IN_MOVED_FROM | Event.IN_MOVED_TO
    of_root = Event.IN_DELETE_SELF | Event.IN_MOVE_SELF | Event.IN_ONLYDIR
    return Mask(of_names | of_moves | of_root)


def _end(inotify: InotifyFD) -> None:
    inotify.stop()
    with suppress(RuntimeError):
        inotify.join(timeout=JOIN_S)


def _trouble_of(error: OSError) -> Trouble:
    if error.errno == errno.ENOSPC:
        return Trouble.NO_WATCHES
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return Trouble.NO_INSTANCES
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return Trouble.NO_FOLDER
    return Trouble.REFUSED


def _identity_of(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
