"""Random walks through the table: nothing raises, nothing is paid twice, everything ends."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.builders import a_case, an_input
from tests.core.deciding import EFFECT_NODES, after, decided
from vpe_watcher.core.machine import (
    TABLE,
    WORDS,
    ImpossibleOutcome,
)
from vpe_watcher.core.model import (
    Case,
    Label,
    State,
    Tally,
)

S, L = State, Label

# What decides alone says, or what only a step can know that had progress before.
DERIVED = {L.EXHAUSTED, L.SALVAGED, L.OVERDUE, L.REFUSED_AT_ONCE, L.POISONED}


def outcomes_of(state: State, *, paid: bool) -> list[Label]:
    """Return what a step may report."""
    return [label for label in TABLE[state, paid] if label not in WORDS | DERIVED]


@pytest.mark.parametrize("node", EFFECT_NODES, ids=str)
@pytest.mark.parametrize("spent", [Tally(), Tally(9, 1e9, 1e9, 1e9, 5, 5)], ids=["fresh", "spent"])
def test_every_outcome_of_the_table_is_decided(node: tuple[State, bool], spent: Tally) -> None:
    """Nothing that a step may report raises, with all patience left or with none."""
    for label in outcomes_of(node[0], paid=node[1]):
        decision = decided(a_case(node[0], paid=node[1], tally=spent), label)
        assert decision.label in TABLE[node]


def test_what_the_table_does_not_know_is_a_defect() -> None:
    """An outcome without a row is not explained away."""
    with pytest.raises(ImpossibleOutcome):
        decided(a_case(S.UPLOADING), L.SALVAGED)


class Walk:
    """A case that is led through the table; keeps count of the jobs that may cost money."""

    def __init__(self, *, pays_at_submit: bool) -> None:
        url = "https://bucket.example/scan" if pays_at_submit else None
        self.case: Case | None = a_case(inputs=(an_input(download_url=url),))
        self.generation = 1
        self.paid_jobs = 0

    def take(self, label: Label, *, chance: float) -> None:
        """Run one attempt: the begin, the effect's outcome, the decision."""
        case = self.case
        assert case is not None
        decision = decided(case, label, chance=chance)
        pays = decision.arrow.pays
        self.case = None if decision.state is None else after(case, decision)
        if pays is False and case.state is S.SUBMITTING:
            self.paid_jobs -= 1
        if decision.label is L.RETRY_NEW_JOB:
            self.generation += 1

    def begin(self, *, notifies: bool) -> None:
        """Do what the database does before the effect: cross the paid edge, or not."""
        case = self.case
        assert case is not None
        crosses = (case.state is S.SUBMITTING and case.pays_at_submit) or (
            case.state is S.NOTIFYING and notifies
        )
        if crosses and not case.paid:
            self.paid_jobs += 1
            self.case = replace(case, paid=True)


@given(data=st.data(), pays_at_submit=st.booleans())
def test_no_walk_pays_more_jobs_than_persons_allowed(
    data: st.DataObject, *, pays_at_submit: bool
) -> None:
    """Through any outcomes and words, jobs that may cost money never exceed the generation."""
    walk = Walk(pays_at_submit=pays_at_submit)
    for _ in range(40):
        if walk.case is None:
            return
        walk.begin(notifies=data.draw(st.booleans()))
        rows = TABLE.get((walk.case.state, walk.case.paid))
        if rows is None:
            assert walk.case.state is S.DONE
            return
        choice = [label for label in rows if label not in DERIVED]
        walk.take(data.draw(st.sampled_from(choice)), chance=0.5)
        assert 0 <= walk.paid_jobs <= walk.generation


ENDLESS = {L.CHANGED, L.ENVIRONMENT, L.STOPPED, L.INTERRUPTED, L.LOST, L.NOT_SENT}


@given(seed=st.integers(0, 2**32), pays_at_submit=st.booleans())
def test_every_case_comes_to_rest(seed: int, *, pays_at_submit: bool) -> None:
    """Whatever trouble a case has by itself, it ends: at rest or forgotten."""
    random = Random(seed)
    walk = Walk(pays_at_submit=pays_at_submit)
    for _ in range(20_000):
        if walk.case is None or walk.case.state.is_at_rest:
            return
        walk.begin(notifies=random.random() < 0.5)
        state, paid = walk.case.state, walk.case.paid
        choice = [label for label in outcomes_of(state, paid=paid) if label not in ENDLESS]
        if state is S.NOTIFYING and not paid:
            choice = [L.TRANSIENT]
        walk.take(random.choice(choice), chance=random.random())
    pytest.fail("the case goes on for ever")
