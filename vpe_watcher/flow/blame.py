"""Whose fault an `OSError` is: a folder's, which stops all, or one case's, which stops no other.

A folder is blamed only if the daemon cannot use a file of its own there either.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vpe_watcher.adapters.files import fault_of
from vpe_watcher.core.errors import StepFault, TransientFault
from vpe_watcher.core.model import Case
from vpe_watcher.flow.places import probes_in
from vpe_watcher.flow.ports import Ports

TRIES = 8
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def blamed_for(case: Case, ports: Ports, *roots: str) -> Iterator[None]:
    """Turn an `OSError` on a case's own files into the fault of a root, or of the case alone."""
    try:
        yield
    except OSError as error:
        raise whose_fault(error, case, ports, *roots) from error


def whose_fault(error: OSError, case: Case, ports: Ports, *roots: str) -> StepFault:
    """Return the fault: of the first of these roots that is of no use now, else of the case.

    A full disk is that of the first: a file as small as ours may well have room there.
    """
    if error.errno in _FULL:
        return fault_of(error, roots[0])
    for root in roots:
        if not can_use(root, case.recipe, ports):
            return fault_of(error, root)
    if error.errno == errno.EROFS:
        return fault_of(error, roots[0])
    what = os.strerror(error.errno).lower() if error.errno else "unknown error"
    return TransientFault(
        f"A file or folder of this case is refused, though others are not: {what}.",
        code="files_refused",
        hint="Look at its name, its permissions and its disk; the case goes on by itself.",
    )


def can_use(root: str, recipe: str, ports: Ports) -> bool:
    """Tell whether the daemon can write and rename a file of its own in a root.

    A root where nothing is moved can be used if it can be listed.
    """
    if root.startswith("inbox:") and ports.places.is_in_place(recipe):
        try:
            ports.disk.names(ports.places.inboxes[recipe])  # nothing of ours is written there
        except OSError:
            return False
        return True
    return _can_write(*_probes(root, recipe, ports), ports)


def _can_write(one: Path, other: Path, ports: Ports) -> bool:
    """Try it; again where another step has taken the file away, who tries the same."""
    for _ in range(TRIES):
        try:
            ports.disk.create(one, b"probe")
            ports.disk.replace(one, other)
            ports.disk.remove_file(other)
        except FileNotFoundError:
            continue
        except OSError:
            break
        return True
    for path in (one, other):
        with suppress(OSError):
            ports.disk.remove_file(path)
    return False


def _probes(root: str, recipe: str, ports: Ports) -> tuple[Path, Path]:
    """Name a file in our hidden folder, and where it is put to see whether it can be."""
    places = ports.places
    if root.startswith("inbox:"):
        return probes_in(places.inboxes[recipe], places.daemon_id)
    folders = {"outbox": places.outboxes[recipe], "archive": places.archive}
    return probes_in(folders.get(root, places.failed), "")
