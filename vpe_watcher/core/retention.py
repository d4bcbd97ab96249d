"""How long what is at rest is kept, and how much disk must stay free: the rules, without a disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vpe_watcher.core.model import FAILING, State
from vpe_watcher.core.moments import iso

DAY_S = 86_400.0
RESTS: Mapping[str, frozenset[State]] = {
    "archive": frozenset({State.DONE, State.PARTIAL, State.DUPLICATE}),
    "failed": FAILING,
}


def root_of(state: State) -> str:
    """Return the root in which cases of a state of rest lie; "" for all other states."""
    return next((root for root, states in RESTS.items() if state in states), "")


@dataclass(frozen=True, slots=True)
class Retention:
    """The keys of `[retention]`. Days of 0 are for ever, sizes are bytes, `prune_below` 0 never."""

    archive_days: float = 0.0
    failed_days: float = 0.0
    min_free: int = 0
    prune_below: int = 0

    def days(self, root: str) -> float:
        """Return the days for which a root keeps its cases."""
        return self.archive_days if root == "archive" else self.failed_days

    def is_on(self, root: str) -> bool:
        """Tell whether anything is ever removed from a root."""
        return bool(self.days(root)) or self.frees(root)

    def frees(self, root: str) -> bool:
        """Tell whether a root gives way when its disk runs full: the archive alone ever does."""
        return root == "archive" and bool(self.prune_below)

    def expired_before(self, root: str, now: float) -> str:
        """Return the moment (ISO 8601): what rests since before it has expired; "" for nothing."""
        days = self.days(root)
        return iso(now - days * DAY_S) if days else ""

    def why(self, root: str) -> str:
        """Say in words why what has expired goes."""
        return f"older than {root}_days ({self.days(root):g})"
