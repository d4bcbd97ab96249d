"""Wall-clock moments as text: ISO 8601 in UTC with a `Z`, to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=16)  # a step asks many times for the same moment
def iso(epoch_s: float) -> str:
    """Return seconds since 1970 as `2026-11-22T10:00:00.000Z`."""
    moment = datetime.fromtimestamp(epoch_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
