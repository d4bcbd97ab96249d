"""The part of `check` that tries folders: read, write, rename, space, watch mode, the state folder.

Every probe is removed again. Never opens the state file.
"""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.lock import lock_path
from vpe_watcher.adapters.mounts import filesystem_of
from vpe_watcher.app.commands import text
from vpe_watcher.app.commands.check import ERROR, OK, WARNING, Finding
from vpe_watcher.flow.places import HIDDEN

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Recipe, Settings

PRIVATE = 0o077
PROBE_BYTES = 64 * 1024
MAY = "Give the service's user read and write permission on this folder."


@dataclass(frozen=True, slots=True)
class Root:
    """A folder of the configuration by its breaker's name."""

    name: str
    path: Path
    is_written: bool = True


def findings(settings: Settings) -> Iterator[Finding]:
    """Try every folder of the configuration."""
    roots = _roots(settings)
    for root in roots:
        yield _try_root(root)
    yield from _other_file_system(settings)
    yield from _space(settings, roots)
    for recipe in settings.recipes.values():
        if recipe.inbox.is_dir():
            yield _watching(recipe)
    yield from _state_folder(settings)
    yield from _who(settings)


def _roots(settings: Settings) -> tuple[Root, ...]:
    recipes = settings.recipes.values()
    inboxes = [Root(f"inbox:{r.name}", r.inbox, not r.leave_in_place) for r in recipes]
    own_outboxes = {r.outbox: r.name for r in recipes if r.outbox != settings.outbox}
    outboxes = [Root(f"outbox of {name}", path) for path, name in own_outboxes.items()]
    shared = [Root(name, getattr(settings, name)) for name in ("outbox", "archive", "failed")]
    return (*inboxes, *shared, *outboxes)


def _try_root(root: Root) -> Finding:
    what = f"{root.name} ({root.path})"
    if not root.path.is_dir():
        path = shlex.quote(str(root.path))
        hint = f"Mount it, or: mkdir -p {path} (and chown it to the service's user)."
        return Finding(ERROR, f"{what} is not there", hint)
    try:
        Disk().listing(root.path)
        if root.is_written:
            _try_to_write(root.path)
    except OSError as error:
        return _refused(what, error)
    done = "read, write and rename work" if root.is_written else "can be read"
    return Finding(OK, f"{what}: {done}")


def _refused(what: str, error: OSError) -> Finding:
    hints = {
        errno.EXDEV: f"{HIDDEN} in it must be a plain folder on the same file system.",
        errno.ENOSPC: "The disk is full.",
        errno.EROFS: "It is mounted read-only.",
        errno.EDQUOT: "The quota is used up.",
        errno.EIO: "The disk fails: look at `dmesg`.",
    }
    return Finding(
        ERROR, f"{what} cannot be used: {error.strerror}", hints.get(error.errno or 0, MAY)
    )


def _try_to_write(folder: Path) -> None:
    """Write a file into the hidden folder and rename it out: that is how results are published."""
    disk, name = Disk(), f".check-{secrets.token_hex(4)}.tmp"
    with _hidden_folder(folder) as hidden:
        draft, target = hidden / name, folder / name
        try:
            disk.create(draft, b"vpe-watcher check\n")
            disk.rename(draft, target)
            disk.rename(target, draft)
        finally:
            for left in (draft, target):
                with suppress(OSError):
                    disk.remove_file(left)


@contextmanager
def _hidden_folder(folder: Path) -> Iterator[Path]:
    hidden = folder / HIDDEN
    is_new = not hidden.exists()
    if is_new:
        hidden.mkdir()
    try:
        yield hidden
    finally:
        if is_new:
            with suppress(OSError):
                hidden.rmdir()


def _other_file_system(settings: Settings) -> Iterator[Finding]:
    """Note where an input will be copied instead of renamed."""
    for recipe in settings.recipes.values():
        for name in ("archive", "failed"):
            target: Path = getattr(settings, name)
            if not (recipe.inbox.is_dir() and target.is_dir()):
                continue
            if recipe.inbox.stat().st_dev != target.stat().st_dev:
                note = "inputs are copied there, which takes longer than a rename"
                yield Finding(
                    OK, f"{name} is on another file system than inbox:{recipe.name}: {note}"
                )


def _space(settings: Settings, roots: tuple[Root, ...]) -> Iterator[Finding]:
    wanted = settings.retention.min_free
    places = [*((root.name, root.path) for root in roots if root.is_written)]
    places.append(("state_file", settings.state_file.parent))
    seen: set[int] = set()
    for name, path in places:
        with suppress(OSError):
            device = path.stat().st_dev
            if device in seen:
                continue
            seen.add(device)
            free = Disk().free_bytes(path)
            what = f"free space for {name} and what lies beside it: {text.size(free)}"
            if free >= wanted:
                yield Finding(OK, what)
            else:
                hint = "Free space, or lower retention.min_free: intake pauses below it."
                yield Finding(ERROR, f"{what}, less than {text.size(wanted)}", hint)


def _watching(recipe: Recipe) -> Finding:
    mount = filesystem_of(recipe.inbox)
    every = f"a look every {text.age(recipe.intake.scan_every_s)}"
    what = f"inbox:{recipe.name} is on {mount.fs_type}"
    wanted = recipe.intake.watch
    if wanted == "events" and mount.is_network:
        hint = 'Set watch = "auto": file events do not come from other machines.'
        return Finding(WARNING, f"{what}, a network file system, and watch is events", hint)
    if wanted == "poll" or mount.is_network:
        return Finding(OK, f"{what}: watched by {every}")
    return Finding(OK, f"{what}: watched by file events and {every}")


def _state_folder(settings: Settings) -> Iterator[Finding]:
    folder, file = settings.state_file.parent, settings.state_file
    mount = filesystem_of(folder)
    if mount.is_network:
        hint = "Put state_file on a local disk, for example below /var/lib/vpe-watcher."
        yield Finding(ERROR, f"the state folder is on a network file system ({mount})", hint)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & PRIVATE:
        what = f"the state folder {folder} is open to others (mode {mode:04o}, not 0700)"
        yield Finding(ERROR, what, f"chmod 0700 {folder}")
    else:
        yield Finding(OK, f"the state folder {folder} is private")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(ERROR, f"the state folder {folder} may not be written", MAY)
        return
    yield from _state_write(file)
    for path in (
        file,
        lock_path(file),
        *(file.with_name(f"{file.name}{s}") for s in ("-wal", "-shm")),
    ):
        yield from _private_file(path)


def _state_write(file: Path) -> Iterator[Finding]:
    """Write and sync a file beside the state file, of a name that nobody else uses."""
    probe = file.with_name(f"{file.name}.check-{secrets.token_hex(4)}")
    try:
        Disk().create(probe, bytes(PROBE_BYTES))
    except OSError as error:
        yield _refused(f"the state folder {file.parent}", error)
    finally:
        with suppress(OSError):
            Disk().remove_file(probe)


def _private_file(path: Path) -> Iterator[Finding]:
    with suppress(FileNotFoundError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & PRIVATE:
            what = f"{path} is open to others (mode {mode:04o}, not 0600)"
            yield Finding(ERROR, what, f"chmod 0600 {path}")


def _who(settings: Settings) -> Iterator[Finding]:
    """Root may do everything, so what root tries says little of what the service may do."""
    owner = settings.state_file.parent.stat().st_uid
    if os.geteuid() == 0 and owner != 0:
        hint = "Run the check as the service's user to try its permissions."
        yield Finding(WARNING, "this check runs as root, the service does not", hint)
