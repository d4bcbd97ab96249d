"""Deaths of the process: which of them speak against a case, and after which steps run alone.

Times are seconds since 1970, as the daemons that found the deaths read them. Pure: the rows are the
store's, the running alone is the schedule's.
"""

from __future__ import annotations

from collections.abc import Sequence

from vpe_watcher.core.model import FailureClass, Problem, State

DEATHS_AT_MOST = 5
DEATHS_BEFORE_ALONE = 3
ALONE_WITHIN_S = 600.0
CODE = "poisoned_step"


def remembered(deaths: Sequence[float], now: float) -> tuple[float, ...]:
    """Return the deaths worth keeping after one more, the oldest first."""
    return (*deaths, now)[-DEATHS_BEFORE_ALONE:]


def is_one_at_a_time(deaths: Sequence[float], now: float) -> bool:
    """Tell whether the process died so often lately that interrupted steps run alone first.

    A death in the future was found by a clock that was set back since: it counts as a late one,
    for to be careful costs little. A clock that was set forward lets deaths look old.
    """
    return len(deaths) >= DEATHS_BEFORE_ALONE and now - min(deaths) <= ALONE_WITHIN_S


def problem_of(step: State) -> Problem:
    """Return why a case is held in whose step the process died again and again."""
    return Problem(
        FailureClass.UNKNOWN,
        CODE,
        f"The daemon died {DEATHS_AT_MOST} times while it did the step {step} of this case alone.",
        "See what ended it (memory? `journalctl -u vpe-watcher`, `dmesg`). "
        "`vpe-watcher retry CASE` goes on at this step and costs nothing.",
    )
