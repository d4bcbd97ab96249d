"""Threads at a piece of work that do not even compute: for how long. Judges nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vpe_watcher.adapters.threads import busy_ns

ALIVE_NS = 1_000_000  # of processor time: a call that hangs takes none, a slow share some


@dataclass(frozen=True, slots=True)
class Turn:
    """A piece of work under way: since when (monotonic), and on which thread."""

    began: float
    native_id: int


@dataclass(frozen=True, slots=True)
class _Sign:
    """The last sign of life of a turn."""

    turn: Turn
    at: float
    busy_ns: int | None


class Standstill:
    """The last signs of life, by the name of who works. Owned by one thread."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Prepare; nobody works."""
        self._monotonic = monotonic
        self._signs: dict[str, _Sign] = {}

    def seconds(self, name: str, turn: Turn) -> float:
        """Return for how long a turn has not computed: one that is only long is not still."""
        sign, busy, now = self._signs.get(name), busy_ns(turn.native_id), self._monotonic()
        if sign is None or sign.turn != turn:
            sign = self._signs[name] = _Sign(turn, turn.began, None)
        if busy is not None and (sign.busy_ns is None or busy - sign.busy_ns > ALIVE_NS):
            at = turn.began if sign.busy_ns is None else now
            sign = self._signs[name] = _Sign(turn, at, busy)
        return now - sign.at
