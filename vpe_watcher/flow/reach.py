"""Whether it is the Engine that cannot be reached, where a case's own URLs give no answer.

A lone case can open no host's breaker, and none of the Engine's calls is due that could open that
one: so the Engine is asked for the case's job before such a case is given up, and while it is out
of reach. A look at a job is a call of the documented ones: what answers it is the Engine at work.
Remembers in memory only which cases found it away: a restart leads there again.
"""

from __future__ import annotations

from dataclasses import replace

from vpe_watcher.core.breakers import CALLED
from vpe_watcher.core.errors import EnvironmentFault, HostFault, StepFault
from vpe_watcher.core.model import Case, Label, Outcome
from vpe_watcher.flow.breakers import Breakers
from vpe_watcher.flow.ports import Engine


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

        If it is at work, its breaker is closed, and who waited has all its patience again: it may
        have met the last of the outage, and what it has spent was likely spent on that.
        """
        if not isinstance(fault, HostFault) or case.job_id is None:
            self._cut_off.discard(case.case_id)
            return outcome
        was_met = any(self._breakers.was_met(name, case.state) for name in CALLED)
        was_cut_off = was_met or case.case_id in self._cut_off
        if not was_cut_off and not (is_last_try and fault.is_unanswered):
            return outcome
        try:
            engine.check_reachable(case.job_id)
        except EnvironmentFault as away:
            self._cut_off.add(case.case_id)
            return _environments(outcome, away)
        self._cut_off.discard(case.case_id)
        for name in sorted(CALLED):
            self._breakers.close(name, kind=case.state)
        return replace(outcome, is_forgiven=was_cut_off)


def _environments(outcome: Outcome, fault: EnvironmentFault) -> Outcome:
    return replace(
        outcome,
        label=Label.ENVIRONMENT,
        problem=fault.problem,
        breaker=fault.breaker,
        retry_after_s=fault.retry_after_s,
    )
