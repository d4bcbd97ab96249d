"""Whether it is the Engine that cannot be reached, where a case's own URLs give no answer.

A lone case can open no host's breaker, and none of the Engine's calls is due that could open that
one: so the Engine is asked before such a case is given up, and while it is out of reach. Remembers
in memory only which cases found it so: after a restart the same faults lead there again.
"""

from __future__ import annotations

from dataclasses import replace

from vpe_watcher.core.errors import EnvironmentFault, HostFault, StepFault
from vpe_watcher.core.model import Case, Label, Outcome
from vpe_watcher.flow.breakers import Breakers
from vpe_watcher.flow.ports import Engine

ENGINE = "engine"


class Reach:
    """Asks the Engine. Thread-safe, as no case is in two steps at once."""

    def __init__(self, breakers: Breakers) -> None:
        self._breakers = breakers
        self._cut_off: set[str] = set()

    def judged(
        self,
        outcome: Outcome,
        fault: StepFault | None,
        case: Case,
        engine: Engine,
        *,
        is_last_try: bool,
    ) -> Outcome:
        """Return the outcome of a step, or the environment's if nobody reaches the Engine either.

        If it is back, its breaker is closed, and the case has all its patience again: it may have
        met the last of the outage, and what it has spent was likely spent on that.
        """
        if not isinstance(fault, HostFault):
            self._cut_off.discard(case.case_id)
            return outcome
        was_met = self._breakers.was_met(ENGINE, case.state)
        was_cut_off = was_met or case.case_id in self._cut_off
        if not was_cut_off and not (is_last_try and fault.is_unanswered):
            return outcome
        try:
            engine.check_reachable()
        except EnvironmentFault as away:
            self._cut_off.add(case.case_id)
            return _environments(outcome, away)
        self._cut_off.discard(case.case_id)
        self._breakers.close(ENGINE, kind=case.state)
        return replace(outcome, is_forgiven=was_cut_off)


def _environments(outcome: Outcome, fault: EnvironmentFault) -> Outcome:
    return replace(
        outcome,
        label=Label.ENVIRONMENT,
        problem=fault.problem,
        breaker=fault.breaker,
        retry_after_s=fault.retry_after_s,
    )
