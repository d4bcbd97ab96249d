"""Breakers: what pauses a resource for all, and how it is tried again.

A breaker opens on a fault of the environment, lets one call of the kind that failed through when
its time has come (the probe), and only such a call's success closes it. Times are the caller's
monotonic seconds. Values only: the runner holds the current set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from vpe_watcher.core.machine import RETRY_AFTER_AT_MOST_S, Patience, backoff_s
from vpe_watcher.core.model import State

ROOTS = frozenset({"inbox", "outbox", "archive", "failed", "disk", "state"})
MEASURED = "free space"  # what a measurement has found; only the next one takes it back
_NEEDS: dict[State, tuple[str, ...]] = {
    State.CLAIMING: ("inbox:{recipe}", "state", "disk"),
    State.SUBMITTING: ("engine", "token", "budget", "budget:{recipe}", "recipe:{recipe}", "state"),
    State.UPLOADING: (),
    State.NOTIFYING: ("engine", "token"),
    State.WAITING: ("engine", "token"),
    State.FETCHING: ("outbox",),
    State.DELIVERING: ("outbox",),
    State.ARCHIVING: ("archive", "failed"),
}


@dataclass(frozen=True, slots=True)
class Breaker:
    """An open breaker. `kinds` are the steps that met the fault; `since` is wall-clock text."""

    name: str
    since: str
    reason: str
    hint: str
    retry_at: float
    failures: int = 1
    kinds: frozenset[str] = frozenset()
    probe: str | None = None  # the case whose step is the probe
    told: frozenset[str] = frozenset()  # every reason since it opened

    def gates(self, kind: str, needed: frozenset[str]) -> bool:
        """Tell whether a step of this kind has to wait for this breaker.

        Where the needs of a kind name the resource, they say whose it is (one recipe's, one
        host's); any other resource stops every step of the kind that met the fault.
        """
        return self.name in needed or (kind in self.kinds and not self._is_somebodys(kind))

    @property
    def is_root(self) -> bool:
        """Tell whether the resource is a folder or a disk, which any step that uses it can try."""
        return is_root(self.name)

    def may_be_probed_by(self, kind: str) -> bool:
        """Tell whether a step of this kind shows that the resource is well again.

        A call is tried by a call of the kind that failed: that one works says little of another.
        So is a full disk: which of several it is, and how much was to be written, depends on it.
        """
        return kind in self.kinds or (self.is_root and self.name != "disk")

    def bars(self, needed: frozenset[str]) -> bool:
        """Tell whether nothing that needs this resource may even try it."""
        return MEASURED in self.kinds and self.name in needed

    def _is_somebodys(self, kind: str) -> bool:
        named = {name.partition(":")[0] for name in _needs_of(kind)}
        return ":" in self.name or self.name in named


def is_root(name: str) -> bool:
    """Tell whether a breaker's name is that of a folder or a disk."""
    return name.partition(":")[0] in ROOTS


def _needs_of(kind: str) -> tuple[str, ...]:
    return next((needs for state, needs in _NEEDS.items() if state == kind), ())


def needed_by(state: State, recipe: str, hosts: frozenset[str] = frozenset()) -> frozenset[str]:
    """Name the breakers that must be closed for a step; `hosts` are host breakers by full name."""
    return frozenset(name.format(recipe=recipe) for name in _NEEDS[state]) | hosts


def opened(
    before: Breaker | None,
    *,
    name: str,
    kind: str,
    reason: str,
    hint: str,
    now: float,
    since: str,
    patience: Patience,
    chance: Callable[[], float],
    retry_after_s: float | None = None,
) -> Breaker:
    """Return the breaker after one more fault: opened, or its next probe put off further."""
    failures = before.failures + 1 if before else 1
    # Half of the backoff is fixed, so that a probe is never sent at once after a failed one.
    wait_s = backoff_s(failures - 1, patience, lambda: 0.5 + chance() / 2)
    wait_s = max(wait_s, min(retry_after_s or 0.0, RETRY_AFTER_AT_MOST_S))
    told = frozenset({reason}) | (before.told if before else frozenset())
    fresh = Breaker(name, since, reason, hint, now + wait_s, kinds=frozenset({kind}), told=told)
    if before is None:
        return fresh
    return replace(
        fresh,
        since=before.since,
        failures=failures,
        kinds=before.kinds | fresh.kinds,
        probe=before.probe,
    )
