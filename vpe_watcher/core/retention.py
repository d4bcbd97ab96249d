"""How long what is at rest is kept, and how much disk must stay free: the rules, without a disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vpe_watcher.core.model import FAILING, State
from vpe_watcher.core.moments import iso

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
SILENCE_S = 366 * DAY_S
CLOCK_HINT = (
    "The daemon removes nothing for its age. Check the clock (`timedatectl`). If it is right: "
    "`vpe-watcher prune --dry-run`, then `vpe-watcher prune`."
)
ENDED_LATER = "begun before the last stop"  # the reason of a removal that ends in another life
RESTS: Mapping[str, frozenset[State]] = {
    "archive": frozenset({State.DONE, State.PARTIAL, State.DUPLICATE}),
    "failed": FAILING,
}


def week_before(now: float) -> str:
    """Return the moment (ISO 8601) before which what happened says something of the clock.

    What happened later does not: a clock that is wrong has dated that, too.
    """
    return iso(now - WEEK_S)


def clock_doubt(now: float, last: str) -> str:
    """Say why no age is to be believed, "" if it may be; `last` happened last, before this week.

    A clock that is years ahead makes everything old at once, and what is removed is gone.
    """
    if not last or last >= iso(now - SILENCE_S):
        return ""
    return (
        f"It is {iso(now)[:10]} by the clock of this machine, and between {last[:10]} and a week "
        "ago nothing came to rest or moved on: is the clock right?"
    )


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
