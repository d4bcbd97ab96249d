"""Which inbox is watched by events, which by its own scan, and why. Never looks into an inbox."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vpe_watcher.adapters import mounts
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.watch import Watch
from vpe_watcher.core.model import Kind
from vpe_watcher.flow.breakers import Log
from vpe_watcher.flow.inbox import Inbox


class Watching:
    """The watches by recipe. `keep` is called by an inbox's own thread only.

    `wishes` are the configuration's `watch` by recipe; `modes` tell how an inbox is watched, and
    the reason in words.
    """

    def __init__(self, wishes: Mapping[str, str], disk: Disk, *, log: Log) -> None:
        self._wishes = wishes
        self._disk = disk
        self._log = log
        self._watches: dict[str, Watch] = {}
        self.modes: dict[str, tuple[str, str]] = {}

    def keep(self, inbox: Inbox) -> None:
        """Watch an inbox by events where that can work; else its own scan has to do."""
        try:
            self._keep(inbox)
        except Exception as error:  # noqa: BLE001 - events are only hints: no scan may wait for them
            self._log("thread.defect", recipe=inbox.options.recipe, error=error)
            self._take_note(inbox, "poll", "events could not be asked for")

    def _keep(self, inbox: Inbox) -> None:
        name, folder = inbox.options.recipe, inbox.options.folder
        if name in self._watches and self._watches[name].is_alive:
            return
        if name in self.modes and self.modes[name][0] == "poll":
            return
        mode, reason = _watch_mode(self._wishes[name], folder)
        if mode == "events":
            watch = self._watches.setdefault(name, Watch(folder, inbox.hint))
            if not self._is_there(folder) or not watch.start():
                return
            inbox.look_anew()  # what happened before the watch gave no hint
        self._take_note(inbox, mode, reason)

    def _is_there(self, folder: Path) -> bool:
        try:
            entry = self._disk.look(folder)
        except OSError:
            return False  # the inbox's own turn opens its breaker
        return entry is not None and entry.kind is not Kind.FILE

    def _take_note(self, inbox: Inbox, mode: str, reason: str) -> None:
        self.modes[inbox.options.recipe] = (mode, reason)
        self._log("watch.started", recipe=inbox.options.recipe, watch=mode, reason=reason)

    def stop(self) -> None:
        """Stop all watches."""
        for watch in list(self._watches.values()):
            watch.stop()


def _watch_mode(wish: str, folder: Path) -> tuple[str, str]:
    """Choose how an inbox is watched, with the reason in words."""
    if wish != "auto":
        return wish, "as configured"
    mount = mounts.filesystem_of(folder)
    if mount.is_network or mount.fs_type.startswith("fuse"):
        return "poll", f"{mount.fs_type} sends no events for what other machines write"
    return "events", f"{mount.fs_type} is a local file system"
