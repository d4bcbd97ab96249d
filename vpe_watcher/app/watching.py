"""Which inbox is watched by events, which by its own scan, and why. Never looks into an inbox.

The choice is made again whenever something else is mounted, and what could not be watched is tried
again: an inbox that comes back is heard again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.mounts import MountTable
from vpe_watcher.adapters.watch import Trouble, Watch
from vpe_watcher.app.terms import candidate_rules
from vpe_watcher.core.grouping import Rules, ignored_by
from vpe_watcher.core.model import Kind
from vpe_watcher.flow.breakers import Log
from vpe_watcher.flow.inbox import Inbox

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings

AGAIN_S = 30.0
EVENTS, POLL, NONE = "events", "poll", "none"
_USED_UP = "the system's inotify limit is used up"
_TROUBLE = {
    Trouble.NO_WATCHES: (_USED_UP, "; raise fs.inotify.max_user_watches"),
    Trouble.NO_INSTANCES: (_USED_UP, "; raise fs.inotify.max_user_instances"),
    Trouble.REFUSED: ("the system refuses to watch this folder", ""),
}
_GONE = "the folder is missing or not mounted"
_LOST = "the system dropped events (fs.inotify.max_queued_events): everything was looked at again"


class Watching:
    """The watches by recipe. `keep` is called by an inbox's own thread only.

    `wishes` are the configuration's `watch` by recipe, `ignores` tell which names in an inbox are
    never touched; `modes` tell how an inbox is watched (`events`, `poll`, `none`), and the reason
    in words.
    """

    def __init__(
        self,
        wishes: Mapping[str, str],
        disk: Disk,
        *,
        table: MountTable,
        ignores: Mapping[str, Callable[[str], bool]],
        monotonic: Callable[[], float],
        log: Log,
        again_s: float = AGAIN_S,
    ) -> None:
        """Prepare; what the system refuses is asked for again after `again_s`."""
        self._wishes = wishes
        self._disk = disk
        self._table = table
        self._ignores = ignores
        self._monotonic = monotonic
        self._log = log
        self._again_s = again_s
        self._watches: dict[Inbox, Watch] = {}
        self._again_at: dict[str, float] = {}
        self.modes: dict[str, tuple[str, str]] = {}

    def use(self, wishes: Mapping[str, str], ignores: Mapping[str, Callable[[str], bool]]) -> None:
        """Go by another configuration from each inbox's next turn on."""
        self._wishes, self._ignores = wishes, ignores
        for name in self.modes.keys() - wishes.keys():
            del self.modes[name]

    def drop(self, inbox: Inbox) -> None:
        """Stop to watch an inbox, whose thread ends."""
        watch = self._watches.pop(inbox, None)
        if watch is not None:
            watch.stop()

    def keep(self, inbox: Inbox) -> None:
        """Watch an inbox by events where that can work; else its own scan has to do."""
        try:
            self._keep(inbox)
        except Exception as error:  # noqa: BLE001 - events are only hints: no scan may wait for them
            self._log("thread.defect", recipe=inbox.options.recipe, error=error)
            self._take_note(inbox, POLL, "events could not be asked for")

    def _keep(self, inbox: Inbox) -> None:
        name = inbox.options.recipe
        if name not in self._wishes:
            return  # this is its last turn
        watch = self._watches.get(inbox) or self._watches.setdefault(inbox, self._watch(inbox))
        mode, reason = self._choice(name, inbox.options.folder)
        if mode == POLL:
            watch.stop()
            self._take_note(inbox, mode, f"{reason}: {_scanned(inbox)}")
        elif watch.is_alive:
            self._heed_losses(inbox, watch, reason)
        elif not self._is_there(inbox.options.folder):
            self._take_note(inbox, NONE, _GONE)  # the inbox's own turn opens its breaker
        elif self._monotonic() >= self._again_at.get(name, 0.0):
            self._start(inbox, watch, reason)

    def _start(self, inbox: Inbox, watch: Watch, reason: str) -> None:
        trouble = watch.start()
        if trouble is Trouble.NO_FOLDER:
            self._take_note(inbox, NONE, _GONE)
        elif trouble is not None:
            self._again_at[inbox.options.recipe] = self._monotonic() + self._again_s
            what, hint = _TROUBLE[trouble]
            self._take_note(inbox, POLL, f"{what}: {_scanned(inbox)}{hint}")
        else:
            self._again_at[inbox.options.recipe] = 0.0
            inbox.look_anew()  # what happened before the watch gave no hint
            self._take_note(inbox, EVENTS, reason)

    def _heed_losses(self, inbox: Inbox, watch: Watch, reason: str) -> None:
        name, now = inbox.options.recipe, self._monotonic()
        if watch.take_losses():
            inbox.look_anew()
            self._again_at[name] = now + self._again_s
            self._take_note(inbox, EVENTS, _LOST)
        elif now >= self._again_at.get(name, 0.0):
            self._take_note(inbox, EVENTS, reason)

    def _watch(self, inbox: Inbox) -> Watch:
        def hint(name: str, /, *, moved_in: bool) -> None:
            inbox.hint(name, moved_in=moved_in)

        return Watch(
            inbox.options.folder,
            hint,
            is_ignored=lambda name: self._is_ignored(inbox.options.recipe, name),
            on_trouble=inbox.wake.set,
        )

    def _is_ignored(self, recipe: str, name: str) -> bool:
        rule = self._ignores.get(recipe)
        return rule is None or rule(name)

    def _choice(self, name: str, folder: Path) -> tuple[str, str]:
        """Choose how an inbox is watched as things are mounted now, with the reason in words."""
        wish = self._wishes[name]
        if wish != "auto":
            return wish, "as configured"
        mount = self._table.at(folder)
        if mount.may_hang:
            return POLL, f"{mount.fs_type} sends no events for what other machines write"
        return EVENTS, f"{mount.fs_type} is a local file system"

    def _is_there(self, folder: Path) -> bool:
        try:
            entry = self._disk.look(folder)
        except OSError:
            return False
        return entry is not None and entry.kind is not Kind.FILE

    def _take_note(self, inbox: Inbox, mode: str, reason: str) -> None:
        name = inbox.options.recipe
        if self.modes.get(name) != (mode, reason):
            self.modes[name] = (mode, reason)
            self._log("watch.started", recipe=name, watch=mode, reason=reason)

    def stop(self) -> None:
        """Stop all watches."""
        for watch in list(self._watches.values()):
            watch.stop()


def _scanned(inbox: Inbox) -> str:
    return f"scanned every {inbox.options.scan_every_s:g} s"


def wishes_of(settings: Settings) -> dict[str, str]:
    """Return by recipe how its inbox is to be watched."""
    return {name: recipe.intake.watch for name, recipe in settings.recipes.items()}


def ignores_of(settings: Settings) -> dict[str, Callable[[str], bool]]:
    """Return by recipe whether a name directly in its inbox is never touched."""

    def of(rules: Rules) -> Callable[[str], bool]:
        return lambda name: bool(ignored_by(name, Kind.FOLDER, rules))

    return {name: of(candidate_rules(settings, one)) for name, one in settings.recipes.items()}
