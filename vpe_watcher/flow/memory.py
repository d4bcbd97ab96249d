"""What was seen in an inbox where nothing is moved: by path, size and time of change.

Keeps a scan of many unchanged files cheap: they are compared with what is remembered and never
opened. Owned by the inbox's one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vpe_watcher.adapters.store import NewCase, Remembered
from vpe_watcher.core.grouping import Group, Rules, Seen, ignored_by
from vpe_watcher.core.model import Kind
from vpe_watcher.flow.places import root_key
from vpe_watcher.flow.ports import Ports

if TYPE_CHECKING:
    from vpe_watcher.flow.inbox import Options


class Memory:
    """The remembered files of one root. `unknown` is asked with what a look shows."""

    def __init__(self, options: Options, ports: Ports) -> None:
        self._options = options
        self._ports = ports
        self._key = root_key(options.recipe, options.folder)
        self._known: dict[str, tuple[int, int]] | None = None

    def reload(self) -> None:
        """Read anew what is remembered: rows were taken back."""
        self._known = None

    def unknown(self, seen: Sequence[Seen], rules: Rules, *, is_full: bool) -> list[Seen]:
        """Return what of a look was not seen before; remember all of it at the very first scan."""
        known = self._loaded()
        if is_full and not self._ports.store.is_scanned(self._key):
            self._record_first_scan(seen, rules)
            known = self._loaded()
        return [
            item
            for item in seen
            if item.kind is not Kind.FILE
            or known.get(item.path) != (item.mark.size, item.mark.mtime_ns)
        ]

    def taken(self, group: Group, cases: Sequence[NewCase]) -> list[Remembered]:
        """Return what is to be remembered of a group that is taken; each file by its case."""
        owner = {
            name: case.case_id for case in cases for entry in case.inputs for name, _ in entry.files
        }
        found = [
            Remembered(
                seen.path,
                seen.mark.size,
                seen.mark.mtime_ns,
                owner.get(seen.path, cases[0].case_id),
            )
            for seen in group.files
        ]
        self._loaded().update({one.path: (one.size, one.mtime_ns) for one in found})
        return found

    def _loaded(self) -> dict[str, tuple[int, int]]:
        if self._known is None:
            rows = self._ports.store.remembered(self._key)
            self._known = {path: (one.size, one.mtime_ns) for path, one in rows.items()}
        return self._known

    def _record_first_scan(self, seen: Sequence[Seen], rules: Rules) -> None:
        if not self._options.takes_existing:
            files = [
                Remembered(item.path, item.mark.size, item.mark.mtime_ns)
                for item in seen
                if item.kind is Kind.FILE and not ignored_by(item.path, item.kind, rules)
            ]
            self._ports.store.remember(self._key, files)
            self._known = None
        self._ports.store.record_first_scan(self._key, {})
