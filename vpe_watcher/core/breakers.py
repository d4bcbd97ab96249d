"""Breakers: what pauses a resource for all, and how it is tried again.

A breaker opens on a fault of the environment, lets one call through when its time has come (the
probe), of the kind that failed where there is one, and only a probe's success closes it. Times are
the caller's monotonic seconds. Values only: the runner holds the current set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.machine import RETRY_AFTER_AT_MOST_S, Patience, backoff_s
from vpe_watcher.core.model import State

DOUBTFUL_FROM = 5
DOUBTFUL_BELOW = 3  # so many cases with one fault do not blame one of themselves any more
CALLED = frozenset({"engine", "token"})
ROOTS = frozenset({"inbox", "outbox", "archive", "failed", "disk", "state"})
MEASURED = "free space"  # what a measurement has found; only the next one takes it back
INTEGRITY = "integrity"  # the state file is damaged: a person ends that
UNWRITTEN = "writing"  # the state file could not be used; only a write into it takes that back
LASTING = frozenset({MEASURED, INTEGRITY, UNWRITTEN})  # what no step's success takes back
DAMAGED = "state_damaged"
TRANSFERS = frozenset({str(State.UPLOADING), str(State.FETCHING)})
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
    """An open breaker. `kinds` are the steps that met the fault; `since` is wall-clock text.

    `opened_at` and `retry_at` are monotonic seconds.
    """

    name: str
    since: str
    reason: str
    hint: str
    retry_at: float
    opened_at: float = 0.0
    failures: int = 1
    kinds: frozenset[str] = frozenset()
    probe: str | None = None  # the case whose step is the probe
    told: frozenset[str] = frozenset()  # every reason since it opened
    cases: frozenset[str] = frozenset()  # that met the fault; "" is whoever is no case
    code: str = ""
    is_doubtful: bool = False  # few meet the fault, time and again, or none of its kind can try it

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
        But where one or two cases meet the fault for ever, any call may show that they are alone;
        where none of the kind can begin, any call is all that is left; and a transfer had only
        asked the Engine for something, of which any call tells more.
        """
        if kind in self.kinds or self.is_doubtful:
            return True
        if self.name in CALLED and self.kinds <= TRANSFERS:
            return True
        return self.is_root and self.name != "disk"

    def bars(self, needed: frozenset[str]) -> bool:
        """Tell whether nothing that needs this resource may even try it.

        Of a state file that could not be written, nothing at all: every step writes into it.
        """
        if UNWRITTEN in self.kinds:
            return True
        return bool(self.kinds & LASTING) and self.name in needed

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


@dataclass(frozen=True, slots=True)
class Witness:
    """The case that met a fault, and how often in a row it has met faults of everybody's."""

    case_id: str = ""
    times: int = 0


def opened(
    before: Breaker | None,
    fault: EnvironmentFault,
    *,
    kind: str,
    now: float,
    since: str,
    patience: Patience,
    chance: Callable[[], float],
    witness: Witness | None = None,
) -> Breaker:
    """Return the breaker after one more fault: opened, or its next probe put off further."""
    failures = before.failures + 1 if before else 1
    wait_s = pause_s(failures - 1, patience, chance)
    wait_s = max(wait_s, min(fault.retry_after_s or 0.0, RETRY_AFTER_AT_MOST_S))
    witness = witness or Witness()
    cases = (before.cases if before else frozenset()) | {witness.case_id}
    fresh = Breaker(
        fault.breaker,
        since,
        fault.message,
        fault.hint,
        now + wait_s,
        opened_at=now,
        kinds=_kinds_of(fault, kind),
        cases=cases,
        code=fault.code,
        told=frozenset({fault.message}) | (before.told if before else frozenset()),
        is_doubtful=fault.breaker in CALLED
        and len(cases) < DOUBTFUL_BELOW
        and witness.times >= DOUBTFUL_FROM,
    )
    if before is None:
        return fresh
    if UNWRITTEN in before.kinds and now < before.retry_at:
        # Many use the state file at once: none of them was its probe, which puts the next one off.
        fresh, failures = replace(fresh, retry_at=before.retry_at), before.failures
    return replace(
        fresh,
        since=before.since,
        opened_at=before.opened_at,
        failures=failures,
        kinds=before.kinds | fresh.kinds,
        probe=before.probe,
    )


def _kinds_of(fault: EnvironmentFault, kind: str) -> frozenset[str]:
    """Return what has to be taken back before the breaker closes."""
    if fault.breaker != "state" or kind in LASTING:
        return frozenset({kind})
    return frozenset({kind, INTEGRITY if fault.code == DAMAGED else UNWRITTEN})


def put_off(
    breaker: Breaker, *, now: float, patience: Patience, chance: Callable[[], float]
) -> Breaker:
    """Return the breaker after a probe that showed neither the fault nor that it is gone."""
    wait_s = pause_s(breaker.failures, patience, chance)
    return replace(
        breaker, failures=breaker.failures + 1, retry_at=max(breaker.retry_at, now + wait_s)
    )


def pause_s(failures: int, patience: Patience, chance: Callable[[], float]) -> float:
    """Return the backoff between probes, in seconds, after `failures` earlier ones in a row.

    Half of it is fixed, so that a probe is never sent at once after a failed one.
    """
    return backoff_s(failures, patience, lambda: 0.5 + chance() / 2)


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which a breaker was open, in monotonic seconds."""

    name: str
    start: float
    end: float


def covered_s(spans: Iterable[Span], *, since: float, until: float) -> float:
    """Return how much of a time lies in at least one of these spans, in seconds."""
    total_s, reached = 0.0, since
    for span in sorted(spans, key=lambda one: one.start):
        start, end = max(span.start, reached), min(span.end, until)
        if end > start:
            total_s, reached = total_s + end - start, end
    return total_s
