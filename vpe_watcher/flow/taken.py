"""Which folder names are taken in the outboxes, the archive and failed.

Names of cases are asked of the state file; here only what others put there counts. The renames that
publish and archive never replace, so an answer may be a little old.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from vpe_watcher.core.names import name_key
from vpe_watcher.flow.places import HELD_NOTE
from vpe_watcher.flow.ports import Ports

GOOD_FOR_S = 1.0


def is_taken(name: str, ports: Ports) -> bool:
    """Tell whether a folder name, whatever its case, is taken in an outbox, archive or failed.

    A note on a held case in `failed` takes its name too. A folder that cannot be asked now has no
    say: the rename that publishes never replaces, and takes the next name when this one turns out
    to be taken.
    """
    return bool(keys_of(name) & _names_in(_folders(ports), ports))


class TakenNames:
    """The same for many names: a burst of cases lists the folders once a second, not each time.

    Owned by one thread.
    """

    def __init__(self, ports: Ports, *, monotonic: Callable[[], float]) -> None:
        self._ports = ports
        self._monotonic = monotonic
        self._known: frozenset[str] = frozenset()
        self._good_until = float("-inf")

    def use(self, ports: Ports) -> None:
        """Ask the folders of another configuration from now on."""
        self._ports = ports
        self._good_until = float("-inf")

    def holds(self, name: str) -> bool:
        """Tell whether a name was taken at most a second ago."""
        now = self._monotonic()
        if now >= self._good_until:
            self._known = _names_in(_folders(self._ports), self._ports)
            self._good_until = now + GOOD_FOR_S
        return bool(keys_of(name) & self._known)


def keys_of(name: str) -> frozenset[str]:
    """Return the keys of what may stand in the way of a name."""
    return frozenset({name_key(name), name_key(f"{name}{HELD_NOTE}")})


def _folders(ports: Ports) -> set[Path]:
    places = ports.places
    return {places.archive, places.failed, *places.outboxes.values()}


def _names_in(folders: set[Path], ports: Ports) -> frozenset[str]:
    found: set[str] = set()
    for folder in folders:
        with suppress(OSError):
            found.update(map(name_key, ports.names_in(folder)))
    return frozenset(found)
