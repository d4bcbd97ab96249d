"""What the configuration says of one inbox."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vpe_watcher.core.grouping import Rules
from vpe_watcher.flow.places import root_key
from vpe_watcher.flow.ports import Ports

# The sight of what lay in a root at its very first scan and could not be read then.
UNREAD = "unread"


@dataclass(frozen=True, slots=True)
class Options:
    """What the configuration says of an inbox beyond the rules of candidates."""

    recipe: str
    folder: Path
    scan_every_s: float
    takes_existing: bool

    @property
    def name(self) -> str:
        """Return the name of the inbox's breaker."""
        return f"inbox:{self.recipe}"

    @property
    def key(self) -> str:
        """Return the name under which rows know this folder as this recipe's inbox."""
        return root_key(self.recipe, self.folder)


@dataclass(frozen=True, slots=True)
class Setup:
    """All that the configuration says of an inbox; `rules` is asked at each full scan."""

    options: Options
    rules: Callable[[], Rules]
    ports: Ports
