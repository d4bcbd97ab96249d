"""Whether it is the Engine that cannot be reached, where a case's own URLs give no answer.

A lone case can open no host's breaker, and none of the Engine's calls is due that could open that
one: so the Engine is asked before such a case is given up, and while it is out of reach. Owns no
memory: the breaker `engine`, met by a transfer, is what says that it was found so.
"""

from __future__ import annotations

from dataclasses import replace

from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.model import Case, Label, Outcome
from vpe_watcher.flow.breakers import Breakers
from vpe_watcher.flow.ports import Engine

ENGINE = "engine"


def is_doubted(breakers: Breakers, case: Case) -> bool:
    """Tell whether the Engine was out of reach when a transfer of this kind asked for it."""
    return breakers.was_met(ENGINE, case.state)


def blamed_on_reach(outcome: Outcome, case: Case, engine: Engine, breakers: Breakers) -> Outcome:
    """Ask the Engine; return trouble of the environment's if it cannot be reached.

    If it can, and could not before, its breaker is closed, and the case has all its patience again:
    it may have met the last of the outage, and what it has spent was likely spent on that.
    """
    try:
        engine.check_reachable()
    except EnvironmentFault as fault:
        return replace(
            outcome,
            label=Label.ENVIRONMENT,
            problem=fault.problem,
            breaker=fault.breaker,
            retry_after_s=fault.retry_after_s,
        )
    if not is_doubted(breakers, case):
        return outcome
    breakers.close(ENGINE, kind=case.state)
    return replace(outcome, is_forgiven=True)
