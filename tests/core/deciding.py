"""Decisions with a fixed chance, and the case as the next attempt finds it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.core.builders import TROUBLE
from vpe_watcher.core.machine import TABLE, Decision, Patience, decide
from vpe_watcher.core.model import Case, Label, Outcome

PATIENCE = Patience()
EFFECT_NODES = [node for node in TABLE if not node[0].is_at_rest]


def decided(
    case: Case, label: Label, *, chance: float = 0.5, patience: Patience = PATIENCE, **outcome: Any
) -> Decision:
    """Decide about an outcome with a fixed chance."""
    return decide(case, Outcome(label, TROUBLE, **outcome), patience, chance=lambda: chance)


def after(case: Case, decision: Decision) -> Case:
    """Return the case as the next attempt finds it."""
    assert decision.state is not None
    pays = decision.arrow.pays
    return replace(
        case,
        state=decision.state,
        tally=decision.tally,
        paid=case.paid if pays is None else pays,
        verdict=decision.arrow.verdict or case.verdict,
    )
