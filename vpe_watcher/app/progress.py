"""Progress bars for a person who looks; nothing of this ever reaches a log or a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from rich.console import Console

Row = dict[str, Any]


class TransferBars:
    """A bar for each upload and download that the daemon shows. Not safe for threads."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            console=console,
            auto_refresh=False,
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def show(self, transfers: list[Row]) -> None:
        """Bring the bars up to date; what is not under way any more goes."""
        seen = {(str(row["case_id"]), str(row["direction"])): row for row in transfers}
        for key in self._tasks.keys() - seen.keys():
            self.progress.remove_task(self._tasks.pop(key))
        for key, row in seen.items():
            if key not in self._tasks:
                self._tasks[key] = self.progress.add_task(f"{key[1]} {key[0]}", total=None)
            self.progress.update(self._tasks[key], total=row["total"], completed=row["bytes"])
        self.progress.refresh()
