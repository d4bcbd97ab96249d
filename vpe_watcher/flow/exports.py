"""Inboxes where nothing is ever written: they bear no marker, so what they lie on tells them.

An unmounted export looks like an empty folder; the kind, the place and the source of its mount do
not. Device numbers change with each mount and are not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from vpe_watcher.adapters.files import Disk, blamed
from vpe_watcher.adapters.mounts import Mount
from vpe_watcher.adapters.store import Store
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.model import Kind
from vpe_watcher.flow.places import root_key


class Exports:
    """The inboxes by recipe. `mount_of` says what a folder lies on now."""

    def __init__(
        self,
        disk: Disk,
        store: Store,
        inboxes: Mapping[str, Path],
        *,
        mount_of: Callable[[Path], Mount],
    ) -> None:
        self._disk = disk
        self._store = store
        self._inboxes = {f"inbox:{recipe}": (recipe, path) for recipe, path in inboxes.items()}
        self._mount_of = mount_of

    def holds(self, name: str) -> bool:
        """Tell whether a root (by breaker name) is one of these."""
        return name in self._inboxes

    def guard(self, name: str) -> None:
        """Check that a root is there and lies on what it lay on when it was first seen.

        Raises:
            EnvironmentFault: it is missing, something else is mounted there, or what was known of
                it was lost with the state file and nobody has resumed it.
        """
        recipe, folder = self._inboxes[name]
        with blamed(name):
            entry = self._disk.look(folder)
        if entry is None or entry.kind is Kind.FILE:
            raise _missing(name)
        if self._store.is_paused(recipe):
            raise _paused(name, recipe)
        key, mount = root_key(recipe, folder), _identity(self._mount_of(folder))
        known = self._store.mount_of(key)
        if known is None:
            self._store.add_root(key, str(folder))
        if not known:
            self._store.set_mount(key, mount)
        elif known != mount:
            raise _other_mount(name)


def _identity(mount: Mount) -> str:
    """Return what stays the same from mount to mount; names of local devices may not."""
    source = mount.source if mount.is_network or mount.fs_type.startswith("fuse") else ""
    return f"{mount.fs_type} {mount.mount_point} {source}".strip()


def _missing(name: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"The folder of {name} is missing or not mounted.",
        code="folder_missing",
        hint="Mount it; work goes on by itself.",
        breaker=name,
    )


def _paused(name: str, recipe: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"Recipe {recipe} is paused: what was seen in its inbox may have been lost with the state "
        "file.",
        code="recipe_paused",
        hint=f"See in the archive and with the vendor what was sent last, then run "
        f"`vpe-watcher recover --resume {recipe}`. What is not known by its content then counts as "
        "new: a scan that still lies there and whose case was lost may be sent and paid for again. "
        'Or, if the whole state file was lost and existing = "ignore", it counts as there before: '
        "it is not sent, and a result that was paid for is not fetched.",
        breaker=name,
    )


def _other_mount(name: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"The folder of {name} lies on something else than before: it may be an empty mount point.",
        code="folder_on_other_mount",
        hint="Mount the export again; work goes on by itself. If it moved for good, give the "
        "recipe another name: what lies there then counts as seen.",
        breaker=name,
    )
