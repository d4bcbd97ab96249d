"""`prune`: applies retention now, or says what it would remove.

Works beside a running daemon and without one. `--dry-run` changes nothing at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpe_watcher.app.commands import opened, text
from vpe_watcher.app.result import EXIT_NO, Result
from vpe_watcher.core.errors import ConfigError, EnvironmentFault, TryAgainLater
from vpe_watcher.core.retention import CLOCK_HINT, ENDED_LATER, RESTS

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings
    from vpe_watcher.adapters.store import Queries
    from vpe_watcher.flow.retention import Item, Pruner

SCHEMA = "vpe-watcher/prune/1"
NOTHING = "There is nothing to remove."
FOR_GOOD = frozenset({"state_outdated", "folder_of_another", "marker_unreadable"})
OFF = (
    "Nothing is ever removed: retention.archive_days and failed_days are 0 (for ever), and "
    "prune_below is not set."
)


@dataclass(slots=True)
class Done:
    """What was removed (or would be), what is due and kept, and what refused."""

    removed: list[Item] = field(default_factory=list)
    kept: list[Item] = field(default_factory=list)
    refused: list[Item] = field(default_factory=list)
    is_short: bool = False
    left: str = ""
    aside: list[Path] = field(default_factory=list)
    doubt: str = ""
    messages: list[str] = field(default_factory=list)

    def hear(self, event: str, /, **fields: object) -> None:
        """Take a log event of a removal that was begun earlier; the others stand in the lists."""
        removal = f"The removal of case {fields.get('case_id')}"
        if event == "prune.withdrawn":
            self.messages.append(f"{removal} is taken back: {fields['reason']}.")
        elif event == "case.pruned" and fields["reason"] == ENDED_LATER:
            self.messages.append(f"{removal} was begun earlier, and is done.")


def prune(config: Path | None, *, dry_run: bool) -> Result:
    """Remove what is due now from archive and failed; with `dry_run` only name it.

    A clock that seems to be years ahead is told by the dry run; a person's word is obeyed.

    Raises:
        TryAgainLater: a folder is not there, the state file cannot be used, or the daemon is at it.
        ConfigError: a folder is another daemon's, or ahead of the state file.
    """
    settings = opened.settings_of(config)
    done = Done()
    opens = opened.reading if dry_run else opened.acting
    with opens(settings) as queries, _later():
        done.messages += opened.doubt(settings, queries) if dry_run else ()
        if queries is not None:
            pruner = _pruner(settings, queries, done)
            for root in RESTS:
                _prune_root(root, pruner, settings, done, dry_run=dry_run)
    return Result(
        data=_data(done, dry_run=dry_run),
        lines=tuple(_lines(done, dry_run=dry_run)),
        messages=tuple(_messages(settings, done)),
        exit_code=EXIT_NO if done.refused or done.left else 0,
    )


def _pruner(settings: Settings, queries: Queries, done: Done) -> Pruner:
    from vpe_watcher.adapters.files import Disk
    from vpe_watcher.adapters.mounts import MountTable
    from vpe_watcher.adapters.store import Store
    from vpe_watcher.app.terms import retention_of
    from vpe_watcher.flow.retention import Pruner
    from vpe_watcher.flow.roots import inspect

    store, disk = Store(queries.database, now=time.time), Disk()
    places = opened.places_of(settings, queries)
    folders = {"archive": places.archive, "failed": places.failed}
    return Pruner(
        retention_of(settings),
        store,
        disk,
        places,
        now=time.time,
        guard=lambda root: inspect(disk, store, root, folders[root]),
        mounts_below=MountTable().below,
        log=done.hear,
    )


def _prune_root(
    root: str, pruner: Pruner, settings: Settings, done: Done, *, dry_run: bool
) -> None:
    from vpe_watcher.adapters.lock import removing

    is_on = pruner.retention.is_on(root)
    if not is_on and not pruner.has_begun(root):
        return
    if dry_run:
        done.aside += (pruner.aside(root, case_id) for case_id in pruner.left(root))
        done.doubt = pruner.doubt(root) or done.doubt
        plan = pruner.plan(root)
        done.removed += plan.due
    else:
        with removing(settings.state_file, root) as is_alone:
            opened.give_to_owner(settings.state_file)
            if not is_alone:
                raise _busy(root)
            done.left = pruner.clean_up(root) or done.left
            plan = pruner.plan(root)
            for item in plan.due:
                why_not = pruner.prune(item)
                (done.refused if why_not else done.removed).append(
                    replace(item, why=why_not or item.why)
                )
            if is_on:
                pruner.forget_emptied(root)
    done.kept += plan.kept
    done.is_short |= plan.is_short


@contextmanager
def _later() -> Iterator[None]:
    try:
        yield
    except EnvironmentFault as fault:
        error = ConfigError if fault.code in FOR_GOOD else TryAgainLater
        raise error(fault.message, code=fault.code, hint=fault.hint) from fault


def _busy(root: str) -> TryAgainLater:
    return TryAgainLater(
        f"Another process removes from {root} just now.",
        code="pruning_already",
        hint="The daemon applies retention by itself; try again when it is through.",
    )


def _messages(settings: Settings, done: Done) -> Iterator[str]:
    from vpe_watcher.app.terms import retention_of

    retention = retention_of(settings)
    yield from done.messages
    if done.doubt:
        yield f"{done.doubt} {CLOCK_HINT}"
    is_quiet = not any(
        (done.removed, done.kept, done.refused, done.left, done.aside, done.messages)
    )
    if is_quiet:
        yield NOTHING if any(map(retention.is_on, RESTS)) else OFF
    if done.left:
        yield f"What an earlier removal has set aside in .vpe-watcher stays: {done.left}."
    if done.is_short:
        yield "The disk of the archive stays below min_free: nothing more of it may go."


def _data(done: Done, *, dry_run: bool) -> dict[str, Any]:
    rows = {name: list(map(_row, getattr(done, name))) for name in ("removed", "kept", "refused")}
    return {"schema": SCHEMA, "dry_run": dry_run, **rows, "aside": list(map(str, done.aside))}


def _row(item: Item) -> dict[str, Any]:
    return {
        "case_id": item.rest.case_id,
        "case_name": item.rest.case_name,
        "recipe": item.rest.recipe,
        "state": str(item.rest.state),
        "path": str(item.path),
        "rested": item.rest.rested,
        "age_s": round(_age_s(item), 3),
        "size": item.size,
        "reason": item.why,
    }


def _age_s(item: Item) -> float:
    return max(0.0, time.time() - datetime.fromisoformat(item.rest.rested).timestamp())


def _lines(done: Done, *, dry_run: bool) -> Iterator[str]:
    if done.aside:
        what = text.count(len(done.aside), "folder")
        yield f"not yet removed, tried again by the daemon and by each `prune`, {what}:"
        yield from (f"  {path}" for path in done.aside)
    if done.removed:
        total = text.size(sum(item.size for item in done.removed))
        what = text.count(len(done.removed), "folder")
        yield f"{'would remove' if dry_run else 'removed'} {what}, {total}:"
        yield from text.table(map(_columns, done.removed))
    for word, items in (("due and kept", done.kept), ("could not be removed", done.refused)):
        if items:
            yield f"{word}:"
            yield from text.table(map(_columns, items))


def _columns(item: Item) -> tuple[str, ...]:
    name = f"{item.root}/{item.rest.folder}"
    return item.rest.case_id, text.size(item.size), text.age(_age_s(item)), item.why, name
