"""The uploads and downloads under way: how far each is, and when it will be through."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

SLOWER = 1.25  # than so far, lest one is let run that does not end in time


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer: `done` of `total` bytes, and what was known at its first word (monotonic)."""

    case_id: str
    direction: str
    done: int
    total: int | None
    began: float
    done_at_first: int

    def left_s(self, now: float) -> float:
        """Estimate the seconds until its end, from the rate so far; inf: that cannot be told."""
        if self.total is None:
            return float("inf")
        if self.done >= self.total:
            return 0.0
        moved = self.done - self.done_at_first
        if moved <= 0:
            return float("inf")
        return SLOWER * (self.total - self.done) * (now - self.began) / moved


class Transfers:
    """What steps tell of their transfers. Its methods may be called from any thread."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Prepare; nothing is under way."""
        self._monotonic = monotonic
        self._known: dict[str, Transfer] = {}
        self._lock = threading.Lock()

    def note(self, case_id: str, direction: str, done: int, total: int | None) -> None:
        """Take note of how far a transfer is; one that goes back is another."""
        with self._lock:
            before = self._known.get(case_id)
            is_same = before is not None and (before.direction, before.total) == (direction, total)
            if before is not None and is_same and before.done <= done:
                self._known[case_id] = replace(before, done=done)
            else:
                now = self._monotonic()
                self._known[case_id] = Transfer(case_id, direction, done, total, now, done)

    def forget(self, case_id: str) -> None:
        """Take note that a case's step has ended."""
        with self._lock:
            self._known.pop(case_id, None)

    def all(self) -> list[Transfer]:
        """Return what is under way."""
        with self._lock:
            return list(self._known.values())

    def ends_by(self, case_id: str, moment: float) -> bool:
        """Tell whether a case's transfer will probably be through by a monotonic moment."""
        with self._lock:
            known = self._known.get(case_id)
        now = self._monotonic()
        return known is not None and now + known.left_s(now) < moment
