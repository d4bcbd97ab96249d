"""`explain`: why a path is (not) taken. Finds the inbox that is meant; the rules are `flow`'s."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.app.commands import opened
from vpe_watcher.app.result import Result
from vpe_watcher.core.errors import ConfigError, Refusal

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings
    from vpe_watcher.adapters.store import Queries
    from vpe_watcher.flow.explain import Place


# There was a state file by the markers: it is lost, or lies elsewhere.
NOT_HERE = frozenset({"state_outdated", "state_elsewhere"})


def explain(config: Path | None, path: Path) -> Result:
    """Answer in sentences, with or without a daemon. Raises `Refusal`: the disk gives no answer."""
    from vpe_watcher.app.terms import candidate_rules, folders_of
    from vpe_watcher.flow.explain import Place
    from vpe_watcher.flow.explain import explain as sentences

    settings = opened.settings_of(config)
    inboxes = [
        Place(
            recipe.name,
            recipe.inbox,
            candidate_rules(settings, recipe),
            takes_existing=recipe.intake.existing == "take",
        )
        for recipe in settings.recipes.values()
    ]
    folders = folders_of(settings)
    roots = {name: folders[name] for name in ("outbox", "archive", "failed")}
    with _reading_what_is_left(settings) as (queries, lost):
        doubt = opened.doubt(settings, queries)
        try:
            lines = sentences(
                as_configured(path, inboxes),
                inboxes=inboxes,
                queries=queries,
                is_lost=lost is not None,
                roots=roots,
            )
        except OSError as error:
            raise Refusal(
                f"{path} cannot be looked at: {error.strerror}.",
                code="cannot_read",
                hint="Look at the disk or the share that it lies on, then ask again.",
            ) from error
    messages = (lost.message, f"  hint: {lost.hint}") if lost else doubt
    return Result(lines=lines, messages=messages)


@contextmanager
def _reading_what_is_left(
    settings: Settings,
) -> Iterator[tuple[Queries | None, ConfigError | None]]:
    """Open the state file, or say where it went: the rules answer for a path without it."""
    queries, lost = None, None
    with ExitStack() as stack:
        try:
            queries = stack.enter_context(opened.reading(settings))
        except ConfigError as error:
            if error.code not in NOT_HERE:
                raise
            lost = error
        yield queries, lost


def as_configured(path: Path, inboxes: list[Place]) -> Path:
    """Return a path as the daemon spells it, which may be by another link to the same inbox.

    Links above the path's own name are followed; the path itself may be one.
    """
    plain = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow the path itself
    if any(plain.is_relative_to(inbox.folder) for inbox in inboxes):
        return plain
    real = Path(os.path.realpath(plain.parent)) / plain.name
    for inbox in inboxes:
        folder = os.path.realpath(inbox.folder)
        if real.is_relative_to(folder):
            return inbox.folder / real.relative_to(folder)
    return plain
