"""What a running daemon tells of its state file without writing into it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from vpe_watcher.core.moments import iso

START_AT_MOST_S = 5.0  # between the lock and what a daemon calls its start
WHAT = {
    "state_unusable": "The daemon cannot use its state file now.",
    "state_full": "The state file takes no write: its disk or quota is full, or the disk fails.",
    "state_cannot_open": "The daemon cannot open its state file.",
    "state_damaged": "The state file is damaged.",
    "state_gone": "The state file is gone, or another lies in its place.",
    "state_reserve_used": "The disk of the state file took no write; its reserve is in use.",
}


def state_breaker(state_file: Path) -> dict[str, Any] | None:
    """Return the breaker `state` as the daemon tells it beside the state file; None: closed."""
    from vpe_watcher.adapters.lock import told_by
    from vpe_watcher.adapters.store.database import hint_of

    told = told_by(state_file)
    if told is None:
        return None
    code, since = told
    return {
        "name": "state",
        "open": True,
        "since": iso(since),
        "reason": WHAT[code],
        "hint": hint_of(code),
    }


def own_snapshot(snapshot: dict[str, Any], state_file: Path) -> dict[str, Any]:
    """Return what the running daemon has shown, or only its start if that is an earlier one's."""
    from vpe_watcher.adapters.lock import lock_path

    started_at = lock_path(state_file).stat().st_mtime
    since = snapshot.get("since")
    if since and datetime.fromisoformat(since).timestamp() > started_at - START_AT_MOST_S:
        return snapshot
    return {"since": iso(started_at)}
