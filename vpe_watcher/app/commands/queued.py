"""Why cases wait although nothing is wrong: hours, caps, places. Words for `status` and `show`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from vpe_watcher.core.model import Case, State
from vpe_watcher.flow.room import closed, local_minute

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings


def told(snapshot: dict[str, Any]) -> list[tuple[str, str]]:
    """Tell how many cases of which recipe wait, and for what, as the daemon last showed it."""
    return [
        (f"waiting: {wait['count']} {wait['state']}, recipe {wait['recipe']}", str(wait["reason"]))
        for wait in snapshot.get("waits") or ()
    ]


def reason_of(case: Case, snapshot: dict[str, Any], settings: Settings, *, is_running: bool) -> str:
    """Say what a case waits for that has nothing wrong with it; "" if for nothing."""
    recipe = settings.recipes.get(case.recipe)
    if case.state is State.SUBMITTING and recipe is not None:
        reason = closed(case.recipe, recipe.off_peak, local_minute(time.time()))
        if reason:
            return reason
    if not is_running or any(
        one["case_id"] == case.case_id for one in snapshot.get("transfers") or ()
    ):
        return ""
    limit = settings.limits.big_upload
    own = (case.recipe, str(case.state), limit is not None and case.unsent_bytes > limit)
    waits = snapshot.get("waits") or ()
    fitting = (one for one in waits if (one["recipe"], one["state"], one["is_big"]) == own)
    return next((str(one["reason"]) for one in fitting), "")
