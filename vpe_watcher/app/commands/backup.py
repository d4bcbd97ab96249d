"""`backup`: a copy of the state file, made beside the running daemon."""

from __future__ import annotations

from pathlib import Path

from vpe_watcher.app.commands import opened, text
from vpe_watcher.app.result import Result
from vpe_watcher.core.errors import Refusal


def backup(config: Path | None, file: Path) -> Result:
    """Copy the state file to a new file, durably, and read the copy back.

    Raises:
        Refusal: something lies there, the folder refuses, or the copy is not sound.
    """
    from vpe_watcher.adapters.store.copies import copy_state

    settings = opened.settings_of(config)
    target = file.absolute()
    with opened.reading(settings) as queries:
        if queries is None:
            raise Refusal(
                f"There is no state file {settings.state_file} yet.",
                code="no_state_file",
                hint="`vpe-watcher run` makes one. If it was lost, see `vpe-watcher recover`.",
            )
        cases = sum(queries.counts().values())
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
    return Result(lines=(str(target),), messages=(how,))
