"""Retention: what is at rest long enough, or in the way of the next scans, is removed for good.

Owns what may go, in which order, and the removal itself, which survives a crash at any point. It
never touches the outbox, an inbox, a case that is under way or held, nor a folder that does not
prove to be a case's own.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vpe_watcher.adapters.files import Disk, blamed
from vpe_watcher.adapters.store import Limits, Rest, Store
from vpe_watcher.core.machine import retry_label
from vpe_watcher.core.model import Kind, Label, State
from vpe_watcher.core.retention import (
    ENDED_LATER,
    RESTS,
    Retention,
    clock_doubt,
    root_of,
    week_before,
)
from vpe_watcher.flow.breakers import Log
from vpe_watcher.flow.places import HIDDEN, Places, record_in, records_in

ASIDE = ".pruned"
DOCUMENT_AT_MOST = 64 * 1024 * 1024  # bytes: it may hold a long answer of the Engine
# Trouble with one folder alone; all other is the disk's.
REFUSED = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV, errno.ENOTEMPTY, errno.EEXIST}


@dataclass(frozen=True, slots=True)
class Item:
    """A folder that goes, or would go and is kept: whose it is, how big (bytes), and why."""

    root: str
    rest: Rest
    path: Path
    why: str
    size: int = 0
    freed: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes from a root, oldest first, and what is due and kept all the same.

    `free` is what is free on its disk now, in bytes. `is_short`: that is too little, and what goes
    does not make it enough.
    """

    due: tuple[Item, ...] = ()
    kept: tuple[Item, ...] = ()
    free: int = 0
    is_short: bool = False


@dataclass(frozen=True, slots=True)
class Pruner:
    """Applies retention to a root (`archive` or `failed`); one at a time a root.

    `guard` raises an EnvironmentFault when a root is not the folder it was; `mounts_below` names
    the mount points at or below a folder.
    """

    retention: Retention
    store: Store
    disk: Disk
    places: Places
    now: Callable[[], float]
    guard: Callable[[str], None]
    mounts_below: Callable[[Path], Iterable[Path]]
    log: Log

    def plan(self, root: str, *, by_age: bool = True, by_space: bool | None = None) -> Plan:
        """Say what goes now, changing nothing: what is too old, and what makes room.

        With `by_space` room is made until `min_free` is reached, without never; else (None) if
        less than `prune_below` is free.

        Raises:
            EnvironmentFault: the root is not there, not ours, or cannot be read now.
        """
        self.guard(root)
        with blamed(root):
            rests = self._rests(root)
            free = self.disk.free_bytes(self._folder(root))
            due, kept = self._expired(root, rests) if by_age else ([], [])
            expected = free + sum(item.freed for item in due)
            if by_space is None:
                by_space = self.is_low(root, expected)
            known = {*due, *kept}
            more, is_short = (
                self._in_the_way(root, rests, expected, known) if by_space else ([], False)
            )
        return Plan((*due, *more), tuple(kept), free, is_short)

    def doubt(self, root: str) -> str:
        """Say why ages are not to be judged in a root without a person's word; "" if they are."""
        if not self.retention.days(root):
            return ""
        now = self.now()
        return clock_doubt(now, self.store.last_change(before=week_before(now)))

    def is_low(self, root: str, free: int, *, goes_on: bool = False) -> bool:
        """Tell whether a root has to give way where so many bytes are free on its disk."""
        mark = self.retention.min_free if goes_on else self.retention.prune_below
        return self.retention.frees(root) and free < mark

    def free_bytes(self, root: str) -> int:
        """Return what is free on a root's disk, in bytes. Raises EnvironmentFault."""
        self.guard(root)
        with blamed(root):
            return self.disk.free_bytes(self._folder(root))

    def prune(self, item: Item) -> str:
        """Remove a case's folder for good; return why not, "" when it is gone.

        Raises:
            EnvironmentFault: the disk or the state file refuses.
        """
        path, aside = item.path, self.aside(item.root, item.rest.case_id)
        kept_for = self._kept_for(item.rest, path)
        if kept_for:
            return kept_for
        if not self.store.begin_pruning(item.rest, item.why, self._limits()):
            return "somebody needs it now"
        with blamed(item.root):
            try:
                self.disk.rename(path, aside)
            except OSError as error:
                if error.errno not in REFUSED:
                    raise
                self.store.take_back_pruning(item.rest.case_id)
                return f"it cannot be moved: {os.strerror(error.errno).lower()}"
        return self._remove(item.root, item.rest.case_id, item.why, size=item.size)

    def clean_up(self, root: str) -> str:
        """End the removals that a crash, or a folder that refused, has left; return why not.

        What was not yet renamed is not removed: it is judged anew. Neither is what may lie in a
        folder that was configured before, where nobody looks now.
        """
        self.guard(root)
        folder = self._folder(root)
        for rest in self.store.open_prunings():
            if root_of(rest.state) != root:
                continue
            with blamed(root):
                if self.disk.exists(self.aside(root, rest.case_id)):
                    continue
                if self.disk.exists(folder / rest.folder):
                    self._take_back(root, rest, "nothing was removed yet")
                    continue
                if self._may_lie_elsewhere(root, rest):
                    self._take_back(root, rest, f"{root} was another folder when it was begun")
                    continue
                self.disk.sync_folder(folder)
            self._end(root, rest.case_id, "", size=0)
        refusals = [self._remove(root, case_id, "") for case_id in self.left(root)]
        return next(filter(None, refusals), "")

    def aside(self, root: str, case_id: str) -> Path:
        """Return where a case's folder lies while it is being removed."""
        return self._folder(root) / HIDDEN / f"{case_id}{ASIDE}"

    def has_begun(self, root: str) -> bool:
        """Tell whether a removal from a root was begun and has not ended; asks no folder."""
        return any(root_of(rest.state) == root for rest in self.store.open_prunings())

    def left(self, root: str) -> list[str]:
        """Return the cases of which something is set aside and not removed yet.

        Raises `EnvironmentFault`.
        """
        self.guard(root)
        with blamed(root):
            names = self.disk.names(self._folder(root) / HIDDEN)
        return sorted(name.removesuffix(ASIDE) for name in names if name.endswith(ASIDE))

    def forget_emptied(self, root: str) -> None:
        """Remove the records of cases at rest whose folder people have taken away."""
        folder = self._folder(root)
        with blamed(root):
            if not self.disk.exists(records_in(folder)):
                return
            names = set(self.disk.names(folder))
            gone = []
            for name in self.disk.names(records_in(folder)):
                rest = self.store.rest_of(name.removesuffix(".json"))
                if rest and root_of(rest.state) == root and rest.folder not in names:
                    gone.append(rest)
            if not gone:
                return
            moved = self._cases_in_strange_folders(folder, names)
            for rest in gone:
                if rest.case_id not in moved and self._is_still_gone(rest, folder):
                    self.disk.remove_file(record_in(folder, rest.case_id))

    def _folder(self, root: str) -> Path:
        return self.places.archive if root == "archive" else self.places.failed

    # --- what may go ------------------------------------------------------------------------------

    def _rests(self, root: str) -> list[Rest]:
        """Return the cases whose folders lie in a root, longest at rest first."""
        folder = self._folder(root)
        names = [name for name in self.disk.names(folder) if not name.startswith(".")]
        found = filter(None, map(self.store.rest_in, names))
        return sorted(
            (rest for rest in found if rest.state in RESTS[root]),
            key=lambda rest: (rest.rested, rest.case_id),
        )

    def _expired(self, root: str, rests: list[Rest]) -> tuple[list[Item], list[Item]]:
        before = self.retention.expired_before(root, self.now())
        due: list[Item] = []
        kept: list[Item] = []
        for rest in rests:
            if not before or rest.rested >= before:
                break
            item, kept_for = self._item(root, rest, self.retention.why(root))
            (kept if kept_for else due).append(item)
        return due, kept

    def _in_the_way(
        self, root: str, rests: list[Rest], free: int, known: set[Item]
    ) -> tuple[list[Item], bool]:
        """Return what makes room until `min_free` is reached, and whether that is too little."""
        found: list[Item] = []
        seen = {item.rest.case_id for item in known}
        for rest in rests:
            if free >= self.retention.min_free:
                return found, False
            if rest.case_id in seen or self.places.is_in_place(rest.recipe):
                continue  # of what was left in place only documents lie here
            if self._may_be_fetched(rest):
                continue
            item, kept_for = self._item(root, rest, "less is free than prune_below")
            if not kept_for and item.freed:
                found.append(item)
                free += item.freed
        return found, free < self.retention.min_free

    def _item(self, root: str, rest: Rest, why: str) -> tuple[Item, str]:
        path = self._folder(root) / rest.folder
        kept_for = self._kept_for(rest, path)
        if kept_for:
            return Item(root, rest, path, kept_for), kept_for
        footprint = self.disk.footprint(path)
        return Item(root, rest, path, why, footprint.size, footprint.freed), ""

    def _kept_for(self, rest: Rest, path: Path) -> str:
        """Say why a folder is not to go; "" when nothing speaks for it."""
        entry = self.disk.look(path)
        if entry is None or entry.kind is not Kind.FOLDER:
            return "it is no folder"
        try:
            is_proven = rest.case_id in set(self._case_ids_in(path))
        except PermissionError:
            return "it cannot be read"
        if not is_proven:
            return "it holds no document of its case"
        if any(self.mounts_below(path)):
            return "something is mounted in it"
        other = self.store.needed_by(rest.case_id, self._limits())
        return f"case {other} may yet be sent with its slices" if other else ""

    def _case_ids_in(self, folder: Path) -> Iterator[str]:
        """Yield the cases whose documents lie in a folder."""
        for name in self.disk.names(folder):
            if not name.endswith(".json") or not name.startswith(("result.", "error.")):
                continue
            entry = self.disk.look(folder / name)
            if entry is None or entry.kind is not Kind.FILE:
                continue
            try:
                text = self.disk.read(folder / name, at_most=DOCUMENT_AT_MOST)
                document = json.loads(text)
            except (ValueError, RecursionError):
                continue
            is_ours = isinstance(document, dict) and isinstance(document.get("schema"), str)
            if is_ours and document["schema"].startswith("vpe-watcher/"):
                yield str(document.get("case_id"))

    def _may_be_fetched(self, rest: Rest) -> bool:
        """Tell whether a `retry` may still fetch what was paid for and could not be delivered."""
        if rest.state is not State.PARTIAL:
            return False
        case = self.store.load(rest.case_id)
        return case is not None and retry_label(case) is Label.RETRY_SAME_JOB

    def _limits(self) -> Limits:
        before = self.retention.expired_before
        return Limits(before("archive", self.now()), before("failed", self.now()))

    # --- removing ---------------------------------------------------------------------------------

    def _remove(self, root: str, case_id: str, why: str, *, size: int | None = None) -> str:
        """Remove what was renamed aside, and the record of its case; return why not."""
        aside = self.aside(root, case_id)
        with blamed(root):
            if any(self.mounts_below(aside)):
                return "something is mounted in it"
            if size is None:
                size = self.disk.footprint(aside).size
            try:
                self.disk.remove_tree(aside)
            except OSError as error:
                if error.errno not in REFUSED:
                    raise
                return f"it cannot be removed: {os.strerror(error.errno).lower()}"
        self._end(root, case_id, why, size=size)
        return ""

    def _may_lie_elsewhere(self, root: str, rest: Rest) -> bool:
        """Tell whether a removal may have begun in another folder; its record shows where."""
        folder = self._folder(root)
        if self.disk.exists(record_in(folder, rest.case_id)):
            return False
        known = self.store.known_roots().items()
        return any(name == f"{root} {path}" and Path(path) != folder for name, path in known)

    def _take_back(self, root: str, rest: Rest, reason: str) -> None:
        self.store.take_back_pruning(rest.case_id)
        self.log(
            "prune.withdrawn",
            case_id=rest.case_id,
            recipe=rest.recipe,
            root=root,
            reason=reason,
        )

    def _end(self, root: str, case_id: str, why: str, *, size: int) -> None:
        """Record the end of a removal; the record in the root goes last, as it says that it is one.

        One that a death leaves there is that of a folder which people have taken away.
        """
        self.store.end_pruning(case_id)
        with blamed(root):
            record = record_in(self._folder(root), case_id)
            if self.disk.exists(record):
                self.disk.remove_file(record)
        rest = self.store.rest_of(case_id)
        self.log(
            "case.pruned",
            case_id=case_id,
            recipe=rest.recipe if rest else None,
            root=root,
            bytes=size,
            reason=why or ENDED_LATER,
        )

    def _cases_in_strange_folders(self, folder: Path, names: set[str]) -> set[str]:
        """Return the cases whose folders people have given other names."""
        found: set[str] = set()
        for name in names:
            entry = self.disk.look(folder / name)
            is_folder = entry is not None and entry.kind is Kind.FOLDER
            if is_folder and not name.startswith(".") and self.store.rest_in(name) is None:
                with suppress(PermissionError):
                    found |= set(self._case_ids_in(folder / name))
        return found

    def _is_still_gone(self, rest: Rest, folder: Path) -> bool:
        """Ask again, the row last: a case that just came to rest, or went, is none of these."""
        is_gone = not self.disk.exists(folder / rest.folder)
        return is_gone and self.store.rest_of(rest.case_id) == rest
