"""The breakers that are open now, and which step may pass as a probe."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Protocol

from vpe_watcher.core.breakers import (
    CALLED,
    LASTING,
    UNWRITTEN,
    Breaker,
    Span,
    Witness,
    covered_s,
    opened,
    put_off,
)
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.machine import Patience
from vpe_watcher.core.model import State
from vpe_watcher.core.moments import iso
from vpe_watcher.core.printable import unquoted

COMES_AGAIN = ("recipe:", "budget")
SPANS_KEPT = 256
Step = tuple[str, frozenset[str]]  # its kind, and what it needs


class Log(Protocol):
    """Takes a log event: its dotted name and fields of the contract's list."""

    def __call__(self, event: str, /, **fields: object) -> None:
        """Log one event."""


class Breakers:
    """A thread-safe set of open breakers. Times are monotonic seconds of `monotonic`."""

    def __init__(
        self,
        *,
        patience: Patience,
        monotonic: Callable[[], float],
        now: Callable[[], float],
        chance: Callable[[], float],
        log: Log,
    ) -> None:
        self._patience = patience
        self._monotonic = monotonic
        self._now = now
        self._chance = chance
        self._log = log
        self._open: dict[str, Breaker] = {}
        self._spans: deque[Span] = deque(maxlen=SPANS_KEPT)  # in which one was open
        self._lock = threading.Lock()

    def use(self, patience: Patience) -> None:
        """Go by other times from the next fault on."""
        self._patience = patience

    def hasten(self, names: AbstractSet[str]) -> bool:
        """Let the probes of these be due now; tell whether one is open."""
        with self._lock:
            found = names & self._open.keys()
            for name in found:
                self._open[name] = replace(self._open[name], retry_at=self._monotonic())
        return bool(found)

    def drop(self, names: AbstractSet[str]) -> None:
        """Close those of what is not there any more: nothing could ever probe them."""
        with self._lock:
            found = sorted(names & self._open.keys())
            for name in found:
                self._forget(name)
        for name in found:
            self._log("breaker.closed", breaker=name)

    def all(self) -> tuple[Breaker, ...]:
        """Return the open breakers, by name."""
        with self._lock:
            return tuple(breaker for _, breaker in sorted(self._open.items()))

    def is_open(self, *names: str) -> bool:
        """Tell whether one of these breakers is open."""
        with self._lock:
            return any(name in self._open for name in names)

    def failures(self, name: str) -> int:
        """Return how often in a row an open breaker's fault was met."""
        with self._lock:
            return self._open[name].failures if name in self._open else 0

    def retry_at(self, name: str) -> float:
        """Return the monotonic moment of an open breaker's next probe; 0: it is closed."""
        with self._lock:
            return self._open[name].retry_at if name in self._open else 0.0

    def open_s(self, names: AbstractSet[str], *, since: float, until: float) -> float:
        """Return for how much of a time, in monotonic seconds, one of these breakers was open."""
        with self._lock:
            spans = [span for span in self._spans if span.name in names]
            still = [self._open[name] for name in names & self._open.keys()]
        spans += [Span(breaker.name, breaker.opened_at, until) for breaker in still]
        return covered_s(spans, since=since, until=until)

    def was_met(self, name: str, kind: str) -> bool:
        """Tell whether a breaker is open because of a step of this kind."""
        with self._lock:
            return name in self._open and kind in self._open[name].kinds

    def open(self, fault: EnvironmentFault, *, kind: str, witness: Witness | None = None) -> float:
        """Open the fault's breaker, or put its next probe off; return when that is due."""
        with self._lock:
            before = self._open.get(fault.breaker)
            breaker = opened(
                before,
                fault,
                kind=kind,
                now=self._monotonic(),
                since=iso(self._now()),
                patience=self._patience,
                chance=self._chance,
                witness=witness,
            )
            self._open[fault.breaker] = breaker
        if before is None or fault.message not in before.told:
            self._log(
                "breaker.opened",
                breaker=fault.breaker,
                reason=unquoted(fault.message),
                hint=fault.hint,
                code=fault.code,
            )
        return breaker.retry_at

    def restate(self, fault: EnvironmentFault) -> None:
        """Let an open breaker show newer words for what it is open for; nothing is logged."""
        with self._lock:
            before = self._open.get(fault.breaker)
            if before is not None:
                now = replace(before, reason=fault.message, hint=fault.hint)
                self._open[fault.breaker] = now

    def close(self, name: str, *, kind: str) -> None:
        """Take a kind's fault back; the breaker closes when no kind has one left."""
        with self._lock:
            before = self._open.get(name)
            if before is None or kind not in before.kinds:
                return
            left = before.kinds - {kind}
            if left:
                self._open[name] = replace(before, kinds=left)
                return
            self._forget(name)
        self._log("breaker.closed", breaker=name)

    def written(self) -> None:
        """Take back that the state file could not be used: something was written into it."""
        with self._lock:
            before = self._open.get("state")
            if before is None or UNWRITTEN not in before.kinds:
                return
            left = before.kinds & (LASTING - {UNWRITTEN})
            if left:
                self._open["state"] = replace(before, kinds=left)
                return
            self._forget("state")
        self._log("breaker.closed", breaker="state")

    def close_orphans(self, kinds: frozenset[str]) -> None:
        """Close what no call could probe: `kinds` are those that may still come.

        If the fault is still there, the next call that needs the resource opens it again.
        """
        now = self._monotonic()
        with self._lock:
            orphans = [b.name for b in self._open.values() if b.retry_at <= now]
            orphans = [name for name in orphans if not self._is_met_by_new_cases(name)]
            orphans = [name for name in orphans if not self._open[name].kinds & kinds]
            for name in orphans:
                self._forget(name)
        for name in orphans:
            self._log("breaker.closed", breaker=name)

    def free_stuck(self, ready: Collection[Step], running: AbstractSet[str]) -> None:
        """Let any call be the probe of a call's breaker that is due, if none of its kinds can.

        `ready` are the steps that could begin but for breakers, `running` the kinds in hand: where
        all of its kind wait for a folder, an hour or room, the breaker would wait for that, too.
        """
        now = self._monotonic()
        with self._lock:
            able = {kind for kind, needed in ready if self._may_call(kind, needed)} | running
            for name in CALLED & self._open.keys():
                breaker = self._open[name]
                if breaker.retry_at <= now and not breaker.kinds & able:
                    self._open[name] = replace(breaker, is_doubtful=True)

    def _may_call(self, kind: str, needed: frozenset[str]) -> bool:
        """Tell whether nothing but the breakers of calls is in a step's way."""
        return CALLED.issuperset(b.name for b in self._open.values() if b.gates(kind, needed))

    def _is_met_by_new_cases(self, name: str) -> bool:
        """Tell whether the next new case is a fit probe, which nothing keeps away."""
        return name.startswith(COMES_AGAIN) and State.SUBMITTING in self._open[name].kinds

    def may_pass(self, case_id: str, kind: str, needed: frozenset[str]) -> bool:
        """Tell whether a step may run now; it becomes the probe of all that stands in its way.

        It must be a fit probe for one of them at least: where two breakers that met different
        kinds of calls gate all of these, nothing else could ever try them.
        """
        now = self._monotonic()
        with self._lock:
            gating = [b for b in self._open.values() if b.gates(kind, needed)]
            if gating and _earliest_probe(gating, kind, needed) > now:
                return False
            for breaker in gating:
                self._open[breaker.name] = replace(breaker, probe=case_id)
        return True

    def is_gated(self, kind: str, needed: frozenset[str]) -> bool:
        """Tell whether an open breaker stands in the way of a step, probe or not."""
        with self._lock:
            return any(b.gates(kind, needed) for b in self._open.values())

    def next_probe_at(self, kind: str, needed: frozenset[str]) -> float:
        """Return the monotonic moment from which a gated step may be the probe (inf: never)."""
        with self._lock:
            gating = [b for b in self._open.values() if b.gates(kind, needed)]
        return _earliest_probe(gating, kind, needed) if gating else 0.0

    def ended(
        self,
        case_id: str,
        *,
        proves_calls: bool,
        proves_roots: bool,
        puts_off: bool = False,
        spared: str = "",
    ) -> None:
        """Take note that a step has ended: a probe closes what it has shown to be well.

        `spared` names a breaker that this step says nothing good of, however it ended. `puts_off`:
        what it could not show well is not tried again at once.
        """
        closed = []
        with self._lock:
            for breaker in [b for b in self._open.values() if b.probe == case_id]:
                is_proven = proves_roots if breaker.is_root else proves_calls
                is_closed = is_proven and breaker.name != spared
                if is_closed and not breaker.kinds & LASTING:
                    self._forget(breaker.name)
                    closed.append(breaker.name)
                    continue
                kinds = breaker.kinds & LASTING if is_closed else breaker.kinds
                left = replace(breaker, probe=None, kinds=kinds)
                if puts_off and not is_closed:
                    left = put_off(
                        left, now=self._monotonic(), patience=self._patience, chance=self._chance
                    )
                self._open[breaker.name] = left
        for name in closed:
            self._log("breaker.closed", breaker=name)

    def _forget(self, name: str) -> None:
        breaker = self._open.pop(name)
        self._spans.append(Span(name, breaker.opened_at, self._monotonic()))


def _earliest_probe(gating: list[Breaker], kind: str, needed: frozenset[str]) -> float:
    """Return when a step may pass these breakers as their probe; inf: something else comes first.

    That is the step of another case, or a measurement.
    """
    is_fit = any(breaker.may_be_probed_by(kind) for breaker in gating)
    if not is_fit or any(b.probe is not None or b.bars(needed) for b in gating):
        return float("inf")
    return max(breaker.retry_at for breaker in gating)
