"""What the running daemon shows to other processes, written into the state file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vpe_watcher.app.assembly import Parts
from vpe_watcher.core.moments import iso

CANDIDATES_AT_MOST = 1000
PERIOD_S = 1.0
REFRESH_S = 10.0


class Snapshot:
    """Writes at most once a second, and only what has changed (ages at least every ten).

    A breaker that opens or closes is shown at once, and so is what became of a reload: people look
    when work stands still, or has changed.
    """

    def __init__(self, parts: Parts, *, since: float, version: str) -> None:
        self._parts = parts
        self._since = iso(since)
        self._version = version
        self._next_at = 0.0
        self._refresh_at = 0.0
        self._last: object = None
        self._urgent: object = None

    def show(
        self,
        now: float,
        watch_modes: Mapping[str, tuple[str, str]],
        receiver: Mapping[str, str] | None = None,
    ) -> None:
        """Write the snapshot if it is time to; `now` is monotonic."""
        urgent = (
            self._parts.config_error,
            {(one.name, one.reason) for one in self._parts.breakers.all()},
        )
        if urgent == self._urgent and now < self._next_at:
            return
        self._next_at = now + PERIOD_S
        self._urgent = urgent
        self._write(now, watch_modes, receiver)

    def _write(
        self,
        now: float,
        watch_modes: Mapping[str, tuple[str, str]],
        receiver: Mapping[str, str] | None,
    ) -> None:
        body = {**self._body(watch_modes), "receiver": receiver}
        shape = _without_ages(body)
        if shape == self._last and (now < self._refresh_at or not body["candidates"]):
            return
        self._parts.store.put_snapshot(body)
        self._last = shape  # only now: what could not be written is tried again
        self._refresh_at = now + REFRESH_S

    def show_last(
        self,
        now: float,
        watch_modes: Mapping[str, tuple[str, str]],
        receiver: Mapping[str, str] | None = None,
    ) -> None:
        """Write how things stand at the end."""
        self._last = None
        self._write(now, watch_modes, receiver)

    def _body(self, watch_modes: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
        candidates = [row for inbox in self._parts.inboxes.values() for row in inbox.candidates()]
        return {
            "since": self._since,
            "version": self._version,
            "config_error": self._parts.config_error,
            "candidates": candidates[:CANDIDATES_AT_MOST],
            "candidates_total": len(candidates),
            "breakers": [
                {
                    "name": breaker.name,
                    "open": True,
                    "since": breaker.since,
                    "reason": breaker.reason,
                    "hint": breaker.hint,
                }
                for breaker in self._parts.breakers.all()
            ],
            "waits": [asdict(wait) for wait in self._parts.schedule.waits()],
            "transfers": [
                {
                    "case_id": one.case_id,
                    "direction": one.direction,
                    "bytes": one.done,
                    "total": one.total,
                }
                for one in self._parts.transfers.all()
            ],
            "roots": [
                {
                    "name": inbox.name,
                    "path": str(inbox.options.folder),
                    "watch": watch_modes.get(name, ("none", ""))[0],
                    "reason": watch_modes.get(name, ("", "not there yet"))[1],
                }
                for name, inbox in self._parts.inboxes.items()
            ],
        }


def _without_ages(body: Mapping[str, Any]) -> dict[str, Any]:
    candidates = [{**row, "age_s": 0} for row in body["candidates"]]
    return {**body, "candidates": candidates}
