"""`submit`: copy scans into a recipe's inbox the right way, and wait for what comes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.app.commands import opened, text
from vpe_watcher.app.result import EXIT_NO, ErrorEntry, Result, refused
from vpe_watcher.core.errors import Refusal, TryAgainLater, UsageError
from vpe_watcher.core.model import Case, State

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings
    from vpe_watcher.adapters.store import Queries
    from vpe_watcher.app.commands.parcels import Parcel
    from vpe_watcher.app.commands.waiting import Watched

GOOD = frozenset({State.DONE, State.PARTIAL, State.DUPLICATE})


def submit(config: Path | None, paths: tuple[Path, ...], *, recipe: str, wait: bool) -> Result:
    """Copy each path into the recipe's inbox; with `wait`, answer when its case is at rest."""
    settings = opened.settings_of(config)
    is_running = opened.daemon_pid(settings) is not None
    if recipe not in settings.recipes:
        known = ", ".join(settings.recipes)
        raise UsageError(
            f"There is no recipe {recipe!r}.", code="usage", hint=f"Configured: {known}."
        )
    if wait and not is_running:
        raise _not_running()
    parcels, errors = _parcels(paths, recipe, settings)
    if errors:
        return refused(*errors)
    with opened.writing(settings, create=True) as queries:
        inbox = settings.recipes[recipe].inbox
        _check_unpaused(queries, recipe, is_running=is_running)
        if not settings.recipes[recipe].leave_in_place:
            _check_mounted(queries, recipe, inbox)
        watched = [_deliver(queries, parcel, recipe, inbox) for parcel in parcels]
        if wait:
            return _wait(settings, queries, watched)
    lines = tuple(str(parcel.target) for parcel in parcels)
    done = "looked at again where it lies" if parcels[0].is_in_place else "copied into the inbox"
    told = f"{text.count(len(parcels), 'scan')} {done}."
    later = () if is_running else ("No daemon is running: they wait for its next start.",)
    return Result(lines=lines, messages=(told, *later))


def _parcels(
    paths: tuple[Path, ...], recipe: str, settings: Settings
) -> tuple[list[Parcel], list[ErrorEntry]]:
    """Look at everything before anything is copied."""
    from vpe_watcher.app.commands.parcels import parcel_of

    parcels, errors = [], []
    taken: set[Path] = set()
    for path in paths:
        try:
            parcel = parcel_of(path, recipe, settings)
        except Refusal as error:
            errors.append(ErrorEntry(error.code, error.message, error.hint))
            continue
        if taken.intersection(parcel.targets):
            errors.append(
                ErrorEntry(
                    "name_taken", f"{path.name} is named twice.", "Submit one after another."
                )
            )
        taken.update(parcel.targets)
        parcels.append(parcel)
    return parcels, errors


def _check_unpaused(queries: Queries, recipe: str, *, is_running: bool) -> None:
    """Refuse an inbox from which a running daemon takes nothing now."""
    for breaker in queries.snapshot().get("breakers") or ():
        if is_running and breaker["name"] == f"inbox:{recipe}" and breaker["open"]:
            raise TryAgainLater(
                f"The daemon takes nothing from this inbox now: {breaker['reason']}",
                code="inbox_paused",
                hint=breaker["hint"] or "",
            )


def _check_mounted(queries: Queries, recipe: str, inbox: Path) -> None:
    """Refuse an empty mount point: what is copied there is hidden once the share is back."""
    from vpe_watcher.adapters.files import Disk, blamed
    from vpe_watcher.flow.roots import read_marker

    root = f"inbox:{recipe}"
    with blamed(root):
        is_lost = str(inbox) in queries.roots_of(root) and read_marker(Disk(), inbox) is None
    if is_lost:
        raise TryAgainLater(
            f"There is no marker in {inbox}: it looks as if the disk or share were not mounted. "
            "Nothing was copied.",
            code="folder_without_marker",
            hint="Mount what should be there, and submit again.",
        )


def _deliver(queries: Queries, parcel: Parcel, recipe: str, inbox: Path) -> Watched:
    from vpe_watcher.app.commands.parcels import deliver
    from vpe_watcher.app.commands.waiting import Watched

    target = str(parcel.target)
    before = queries.case_by_source(target)
    deliver(parcel, announce=lambda: queries.say("take", [target]))
    export = inbox if parcel.is_in_place else None
    return Watched(parcel.target, before, export=export, recipe=recipe)


def _wait(settings: Settings, queries: Queries, watched: list[Watched]) -> Result:
    from vpe_watcher.app.commands.waiting import wait_until_rest

    wait_until_rest(settings, queries, watched)
    cases = [one.case for one in watched if one.case]
    lines = tuple(case.outbox for case in cases if case.state in GOOD and case.outbox)
    errors = tuple(_bad_end(case) for case in cases if case.state not in GOOD)
    return Result(lines=lines, errors=errors, exit_code=EXIT_NO if errors else 0)


def _bad_end(case: Case) -> ErrorEntry:
    problem = case.problem
    reason = f": {problem.message}" if problem else "."
    return ErrorEntry(
        problem.code if problem else str(case.state),
        f"{case.case_name} (case {case.case_id}) is {case.state}{reason}",
        (problem.hint if problem else "") or f"vpe-watcher show {case.case_id}",
    )


def _not_running() -> TryAgainLater:
    return TryAgainLater(
        "No daemon is running, so there is nothing to wait for. Nothing was copied.",
        code="daemon_not_running",
        hint="Start it with `vpe-watcher run`, or submit without --wait.",
    )
