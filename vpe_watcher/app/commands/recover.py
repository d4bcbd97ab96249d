"""`recover`: says in words what was rebuilt, and what a person must look at."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.app.commands import opened, text
from vpe_watcher.app.result import EXIT_NO, Result
from vpe_watcher.core.errors import Refusal

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings
    from vpe_watcher.app.recovering import Recovered


def recover(config: Path | None, *, resume: str | None) -> Result:
    """Bring the state file in line with the folders; with `resume` go on with a paused recipe.

    Raises:
        TryAgainLater: a daemon runs, or a folder is not there, or looks unmounted.
        ConfigError: state file and folders belong to different daemons.
    """
    from vpe_watcher.adapters.lock import DaemonLock

    settings = opened.settings_of(config)
    if resume is not None:
        _check_recipe(settings, resume)
        if opened.daemon_pid(settings) is not None:
            return _resumed(settings, resume)
    lock = DaemonLock(settings.state_file)
    lock.acquire()
    try:
        done = _recovered(settings, resume or "")
        opened.give_to_owner(settings.state_file)
    finally:
        lock.release()
    problems = tuple(_to_look_at(settings, done))
    lines = (*_lines(settings, done, resume), *(f"look at: {one}" for one in problems))
    return Result(lines=lines, exit_code=EXIT_NO if done.left or done.still else 0)


def _recovered(settings: Settings, resume: str) -> Recovered:
    from vpe_watcher.adapters.files import Disk
    from vpe_watcher.app import recovering

    return recovering.recover(
        settings, disk=Disk(), now=time.time, fresh_id=os.urandom(6).hex(), resume=resume
    )


def _check_recipe(settings: Settings, name: str) -> None:
    recipe = settings.recipes.get(name)
    if recipe is not None and recipe.leave_in_place:
        return
    in_place = [one.name for one in settings.recipes.values() if one.leave_in_place]
    raise Refusal(
        f"There is no recipe {name!r} with leave_in_place = true.",
        code="no_such_recipe",
        hint=f"Recipes with it: {', '.join(in_place) or 'none'}.",
    )


def _resumed(settings: Settings, recipe: str) -> Result:
    """Resume a recipe beside a running daemon, which needs nothing else."""
    from vpe_watcher.adapters.store import Database, Store

    with closing(Database(settings.state_file, create=False, migrates=False)) as database:
        is_new = Store(database, now=time.time).resume(recipe)
    return Result(lines=tuple(_resume_lines(settings, recipe, is_new=is_new)))


def _resume_lines(settings: Settings, recipe: str, *, is_new: bool) -> Iterator[str]:
    yield f"resumed: {recipe}" if is_new else f"{recipe} was not paused: nothing to resume"
    if is_new:
        yield f"  {_meaning(settings, recipe)}"


def _meaning(settings: Settings, recipe: str) -> str:
    """Say what resuming may cost."""
    lost = "a scan that still lies there and whose case was lost may be sent and paid for again"
    if settings.recipes[recipe].intake.existing == "take":
        return lost
    return (
        'what lies there counts as there before (existing = "ignore") if the whole state file was '
        "lost: it is not sent, and a result that was paid for is not fetched; if the state file "
        f"was an old one, {lost}"
    )


def _lines(settings: Settings, done: Recovered, resume: str | None) -> Iterator[str]:
    from vpe_watcher.flow.recovery import Way

    yield _headline(done)
    if done.kept is not None:
        yield f"What it was before is kept: {done.kept}"
    for way in Way:
        if count := done.recovery.count(way):
            yield f"  {text.count(count, 'case')}: {way}"
    if count := len(done.recovery.put_back) - done.left:
        yield f"  {text.count(count, 'claim')} without a record: put back into the inbox"
    if done.dropped_words:
        yield f"  {text.count(done.dropped_words, 'word')} (retry, cancel) of before: dropped"
    if resume is not None and resume not in done.paused:
        yield from _resume_lines(settings, resume, is_new=done.resumed or bool(done.why))
    for recipe in done.paused:
        yield (
            f"paused: {recipe}, whose inbox is left as it is "
            f"(`vpe-watcher recover --resume {recipe}`)"
        )
        if recipe in settings.recipes:
            yield f"  resumed, {_meaning(settings, recipe)}"


def _headline(done: Recovered) -> str:
    if done.is_new and done.why:
        return f"The state file was built anew: {done.why.rstrip('.')}."
    if done.why or done.recovery.rebuilt:
        return f"The state file was brought up to date. {done.why}".strip()
    return "The state file and the folders agree."


def _to_look_at(settings: Settings, done: Recovered) -> Iterator[str]:
    """Name what a program cannot decide."""
    from vpe_watcher.flow.recovery import Way

    held = [case_id for case_id, way in done.recovery.ways.items() if way is Way.HELD]
    for case_id in held:
        yield f"case {case_id} is held: it may have been paid for (`vpe-watcher show {case_id}`)"
    if done.left:
        yield (
            f"{text.count(done.left, 'claim')} without a record cannot be put back, for their "
            "names are taken in the inbox: move those files away and run `vpe-watcher recover` "
            "again"
        )
    known = {*done.found.claims, *done.recovery.ways, *done.found.rests, *done.found.deliveries}
    for case_id in sorted(done.found.staged - known):
        yield f"results of the unknown case {case_id} lie in the hidden staging of the outbox"
    if done.still and not done.left:
        yield f"the daemon will not start yet: {done.still}"
    if done.found.unreadable:
        documents = text.count(done.found.unreadable, "document")
        yield f"{documents} in archive, failed or outbox cannot be read and were left out"
    for folder in done.unmarked:
        yield f"{folder} bears no marker: mount it before `run`, which takes it as it is then"
    for folder in done.foreign:
        yield f"{folder} holds claims of another daemon in its hidden folder"
    yield from _counted_as_seen(settings) if done.is_new else ()


def _counted_as_seen(settings: Settings) -> Iterator[str]:
    for recipe in settings.recipes.values():
        if recipe.intake.existing == "ignore" and not recipe.leave_in_place:
            yield (
                f'what lies in {recipe.inbox} now counts as there before (existing = "ignore"): '
                "`vpe-watcher submit` sends it"
            )
