"""`backup`: a copy of the state file, made beside the running daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.app.commands import opened, text
from vpe_watcher.app.result import Result
from vpe_watcher.core.errors import Refusal

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings


def backup(config: Path | None, file: Path) -> Result:
    """Copy the state file to a new file, durably, and read the copy back.

    Raises:
        Refusal: something lies there, the folder refuses or is one where people and scans come, or
            the copy is not sound.
    """
    from vpe_watcher.adapters.store.copies import copy_state

    settings = opened.settings_of(config)
    target = file.absolute()
    _check_place(settings, target)
    with opened.reading(settings) as queries:
        if queries is None:
            raise Refusal(
                f"There is no state file {settings.state_file} yet.",
                code="no_state_file",
                hint="`vpe-watcher run` makes one. If it was lost, see `vpe-watcher recover`.",
            )
        cases = sum(queries.counts().values())
        doubt = opened.doubt(settings, queries)
    try:
        copy_state(settings.state_file, target, is_outdated=True)
    except FileExistsError as error:
        raise Refusal(
            f"{target} is there already, and a backup never overwrites.",
            code="file_exists",
            hint="Choose another name, or remove that file first.",
        ) from error
    except OSError as error:
        raise Refusal(
            f"{target} cannot be written: {error.strerror}.",
            code="cannot_write",
            hint="Choose a folder that this user may write to, with room for the state file.",
        ) from error
    how = (
        f"A copy of the state file with {text.count(cases, 'case')}. "
        "To use it: stop the daemon, put it in the place of the state file, "
        "run `vpe-watcher recover`."
    )
    return Result(lines=(str(target),), messages=(how, *doubt))


def _check_place(settings: Settings, target: Path) -> None:
    """Refuse a folder that people open and empty: a copy is full of patients' names."""
    from vpe_watcher.adapters.settings.rules import real

    place = real(target)
    for recipe in settings.recipes.values():
        for kind, folder in (("inbox", recipe.inbox), ("outbox", recipe.outbox)):
            if place.is_relative_to(real(folder)):
                raise Refusal(
                    f"{target} lies in the {kind} {folder}.",
                    code="backup_among_scans",
                    hint="A copy holds the names of all cases: put it where only the service "
                    "looks, for example beside the state file.",
                )
