"""File events as hints: "something happened at this name". Never the truth, never a reason to act.

Owns watchdog's observer. An inbox that cannot be watched is polled by its own scan.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from watchdog.events import (
    EVENT_TYPE_CLOSED_NO_WRITE,
    EVENT_TYPE_OPENED,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

_OURS = {EVENT_TYPE_OPENED, EVENT_TYPE_CLOSED_NO_WRITE}  # our own reading makes these


class Watch:
    """Events directly in one root. `on_hint` gets the name there, from another thread.

    Folders below are not watched: each would take one of the system's few watches, and a folder
    that was seen is looked at again until it is quiet.
    """

    def __init__(self, root: Path, on_hint: Callable[[str], None]) -> None:
        self._root = root
        self._on_hint = on_hint
        self._observer: BaseObserver | None = None
        self._inode: int | None = None

    def start(self) -> bool:
        """Begin to watch; false when the system refuses (inotify limits, no such folder)."""
        self.stop()
        self._inode = _inode_of(self._root)
        observer = Observer()
        try:
            observer.schedule(_Handler(self._root, self._on_hint), str(self._root), recursive=False)
            observer.start()
        except OSError:
            return False
        self._observer = observer
        return True

    @property
    def is_alive(self) -> bool:
        """Tell whether events may still come: not from a root that another took the place of.

        The system goes on watching a folder that was moved away or mounted over, in silence.
        """
        observer = self._observer
        if observer is None or not observer.is_alive():
            return False
        is_whole = all(emitter.is_alive() for emitter in observer.emitters)
        return is_whole and _inode_of(self._root) == self._inode

    def stop(self) -> None:
        """Stop watching."""
        observer, self._observer = self._observer, None
        if observer is None:
            return
        observer.stop()
        with suppress(RuntimeError):
            observer.join(timeout=2.0)


class _Handler(FileSystemEventHandler):
    def __init__(self, root: Path, on_hint: Callable[[str], None]) -> None:
        self._root = root
        self._on_hint = on_hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _OURS:
            return
        for path in (event.src_path, event.dest_path):
            if path:
                self._hint(Path(path if isinstance(path, str) else path.decode()))

    def _hint(self, path: Path) -> None:
        if not path.is_relative_to(self._root):
            return
        parts = path.relative_to(self._root).parts
        if parts and not parts[0].startswith("."):
            self._on_hint(parts[0])


def _inode_of(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except OSError:
        return None
