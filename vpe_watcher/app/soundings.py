"""Which folders answer now, and how much is free there: one thread a folder asks again and again.

A share that hangs stops its own thread alone. Decides nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.mounts import Mount, MountTable
from vpe_watcher.app.assembly import Clock, Stopping

PERIOD_S = 5.0


@dataclass(slots=True)
class _Folder:
    """What is known of one folder; `asked_at` is monotonic, None while no question is open."""

    asked_at: float | None = None
    has_answered: bool = False
    free_bytes: int | None = None

    def is_late(self, now: float) -> bool:
        """Tell whether its last answer is too old to go by."""
        return self.asked_at is not None and now - self.asked_at > PERIOD_S


class Soundings:
    """Asks folders on threads of the caller, each of which runs `ask` of one folder."""

    def __init__(
        self,
        disk: Disk,
        folders: Iterable[Path],
        *,
        table: MountTable,
        clock: Clock,
        stopping: Stopping,
        on_first_answers: Callable[[], None],
    ) -> None:
        """Prepare; `on_first_answers` is called when every folder has answered once."""
        self._disk = disk
        self._folders = {folder: _Folder() for folder in folders}
        self._table = table
        self._monotonic = clock.monotonic
        self._stopping = stopping
        self._on_first_answers = on_first_answers
        self._lock = threading.Lock()

    @property
    def folders(self) -> tuple[Path, ...]:
        """Return the folders, each once."""
        return tuple(self._folders)

    def use(self, folders: Iterable[Path]) -> tuple[Path, ...]:
        """Ask these from now on; return the new ones, each of which needs a thread."""
        with self._lock:
            before = self._folders
            self._folders = {folder: before.get(folder) or _Folder() for folder in folders}
        return tuple(folder for folder in self._folders if folder not in before)

    def asking(self, folder: Path) -> Callable[[], None]:
        """Return what a thread does: ask one folder until it is not used, or the daemon stops."""
        return partial(self._keep_asking, folder, self._folders[folder])

    def _keep_asking(self, folder: Path, one: _Folder) -> None:
        while not self._stopping.event.is_set() and self._folders.get(folder) is one:
            self._ask(folder, one)
            self._stopping.event.wait(PERIOD_S)

    def has_looked(self) -> bool:
        """Tell whether every folder has answered once, be it with an error."""
        with self._lock:
            return all(one.has_answered for one in self._folders.values())

    def free_bytes(self, folders: Iterable[Path]) -> dict[Path, int]:
        """Return what is free in those of some folders that say so, and said so lately."""
        with self._lock:
            now = self._monotonic()
            asked = {one: self._folders[one] for one in folders if one in self._folders}
            found = {one: at.free_bytes for one, at in asked.items() if not at.is_late(now)}
        return {one: free for one, free in found.items() if free is not None}

    def silent_for_s(self, folder: Path) -> float:
        """Return the seconds for which a folder has owed an answer; 0 when it owes none."""
        with self._lock:
            asked_at = self._folders[folder].asked_at
        return 0.0 if asked_at is None else max(0.0, self._monotonic() - asked_at)

    def mount_of(self, folder: Path) -> Mount:
        """Say what a folder lies on, without asking it."""
        return self._table.at(folder)

    def _ask(self, folder: Path, one: _Folder) -> None:
        with self._lock:
            one.asked_at = self._monotonic()
        free: int | None = None
        try:
            self._disk.look(folder)
            free = self._disk.free_bytes(folder)
        except OSError:
            free = None  # an answer, too
        with self._lock:
            one.asked_at, one.free_bytes = None, free
            is_first, one.has_answered = not one.has_answered, True
        if is_first and self.has_looked():
            self._on_first_answers()
