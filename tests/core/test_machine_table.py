"""The transition table against a second, independent writing of it, and the laws of its graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import product

import pytest

from vpe_watcher.core.machine import (
    TABLE,
    VERDICTS,
    WORDS,
    Arrow,
    ImpossibleOutcome,
    arrow_for,
    edges,
    mermaid,
    poisonable,
)
from vpe_watcher.core.model import AT_REST, Label, State

# Read: from `state` (`$` = paid), these outcomes lead there. `/x` = with the verdict x, `-job` =
# the job is forgotten, `-paid` = certainly not paid, `nowhere` = the row goes, `verdict` = where
# the verdict says, `step` = where the case was poisoned. Whatever is not written is impossible.
EXPECTED = """
claiming     pending changed transient environment stopped interrupted > claiming
claiming     ok > submitting
claiming     duplicate > delivering/duplicate
claiming     ambiguous gone poisoned > held
claiming     returned > nowhere
claiming     input exhausted > archiving/failed
claiming     cancel > archiving/cancelled
claiming$    transient environment stopped interrupted > claiming
claiming$    ok > notifying
claiming$    changed gone exhausted poisoned > held
claiming$    cancel > archiving/cancelled

submitting   transient environment stopped interrupted > submitting
submitting   ok > uploading
submitting   changed > claiming-job
submitting   gone poisoned > held
submitting   input exhausted > archiving/failed
submitting   cancel > archiving/cancelled
submitting$  ok > waiting
submitting$  not_sent > submitting-paid
submitting$  input > archiving/failed-paid
submitting$  unknown interrupted > held

uploading    transient environment stopped interrupted > uploading
uploading    ok > notifying
uploading    expired > submitting-job
uploading    changed > claiming-job
uploading    gone poisoned > held
uploading    exhausted > archiving/failed
uploading    cancel > archiving/cancelled

notifying    transient environment stopped interrupted > notifying
notifying    changed > claiming-job
notifying    gone poisoned > held
notifying    exhausted > archiving/failed
notifying    cancel > archiving/cancelled
notifying$   transient environment stopped interrupted > notifying
notifying$   ok > waiting
notifying$   gone poisoned > held
notifying$   exhausted > archiving/failed
notifying$   cancel > archiving/cancelled

waiting$     pending refused transient environment stopped interrupted > waiting
waiting$     ok > fetching
waiting$     refused_at_once overdue gone poisoned > held
waiting$     engine exhausted > archiving/failed
waiting$     cancel > archiving/cancelled

fetching$    transient environment stopped interrupted > fetching
fetching$    ok salvaged > delivering
fetching$    expired > waiting
fetching$    gone poisoned > held
fetching$    exhausted > archiving/failed
fetching$    cancel > archiving/cancelled

delivering   transient environment stopped interrupted > delivering
delivering   ok > archiving
delivering   gone poisoned > held
delivering$  transient environment stopped interrupted > delivering
delivering$  ok > archiving
delivering$  lost > waiting
delivering$  changed gone poisoned > held

archiving    pending transient environment stopped interrupted > archiving
archiving    ok > verdict
archiving    poisoned > held
archiving$   pending transient environment stopped interrupted > archiving
archiving$   ok > verdict
archiving$   poisoned > held

failed       retry_unpaid > claiming-job
failed$      retry_same_job > claiming
failed$      retry_new_job > claiming-job-paid
cancelled    retry_unpaid > claiming-job
cancelled$   retry_same_job > claiming
held         retry_step > step
held         retry_unpaid > claiming-job
held         retry_new_job > claiming-job-paid
held$        retry_step > step
held$        retry_same_job > claiming
held$        retry_new_job > claiming-job-paid
partial$     retry_same_job > claiming
partial$     retry_new_job > claiming-job-paid
duplicate    retry_new_job > claiming-job-paid
"""

Node = tuple[State | None, bool]
Edge = tuple[tuple[State, bool], Label, Node]
EFFECTS = [state for state in State if state not in AT_REST]


def read_target(text: str) -> Arrow:
    """Read what stands behind the `>` of a line above."""
    way, *flags = text.split("-")
    target, _, verdict = way.partition("/")
    return Arrow(
        to=None if target in {"nowhere", "verdict", "step"} else State(target),
        to_verdict=target == "verdict",
        to_step=target == "step",
        verdict=State(verdict) if verdict else None,
        drops_job="job" in flags,
        pays=False if "paid" in flags else None,
    )


def read_expected() -> dict[tuple[State, bool, Label], Arrow]:
    """Read the lines above."""
    rows = {}
    for line in filter(None, EXPECTED.splitlines()):
        left, _, target = line.partition(" > ")
        name, *labels = left.split()
        for label in labels:
            key = State(name.rstrip("$")), name.endswith("$"), Label(label)
            assert key not in rows
            rows[key] = read_target(target)
    return rows


@pytest.mark.parametrize("label", Label)
@pytest.mark.parametrize("paid", [False, True], ids=["unpaid", "paid"])
@pytest.mark.parametrize("state", State)
def test_the_full_matrix(state: State, label: Label, *, paid: bool) -> None:
    """Each state, paid or not, and each outcome: the expected arrow, or it cannot happen."""
    expected = read_expected().get((state, paid, label))
    if expected is None:
        with pytest.raises(ImpossibleOutcome, match=f"{state}.*{label}"):
            arrow_for(state, label, paid=paid)
    else:
        assert arrow_for(state, label, paid=paid) == expected


def reachable(start: Node, allowed: Callable[[Edge], bool]) -> set[Node]:
    """Return every node that a path of allowed edges leads to."""
    after = defaultdict(list)
    for edge in filter(allowed, edges()):
        after[edge[0]].append(edge[2])
    seen: set[Node] = set()
    open_nodes: list[Node] = [start]
    while open_nodes:
        state, paid = open_nodes.pop()
        for node in after[state, paid] if state is not None else ():
            if node not in seen:
                seen.add(node)
                open_nodes.append(node)
    return seen


def nodes(*, paid: bool) -> list[State]:
    """Return the states that the table knows with or without a possible payment."""
    return [state for state, is_paid in TABLE if is_paid is paid]


@pytest.mark.parametrize("state", nodes(paid=True))
def test_no_way_back_over_the_paid_edge(state: State) -> None:
    """From a paid row nothing but a word or a proof that nothing was paid leads to submitting."""

    def is_allowed(edge: Edge) -> bool:
        (origin, paid), label, _ = edge
        proves_unpaid = (origin, paid) == (State.SUBMITTING, True) and label in {
            Label.NOT_SENT,
            Label.INPUT,
        }
        return label not in WORDS and not proves_unpaid

    found = reachable((state, True), is_allowed)
    assert not [node for node in found if not node[1]]
    assert (State.SUBMITTING, True) not in found
    assert (State.UPLOADING, True) not in found


def test_only_three_edges_take_the_flag_away() -> None:
    """Paid becomes unpaid by a new job that a person wants, or by a submit without effect."""
    taken = {(edge[0][0], edge[1]) for edge in edges() if edge[0][1] and not edge[2][1]}
    assert taken == {
        (State.SUBMITTING, Label.NOT_SENT),
        (State.SUBMITTING, Label.INPUT),
        (State.FAILED, Label.RETRY_NEW_JOB),
        (State.HELD, Label.RETRY_NEW_JOB),
        (State.PARTIAL, Label.RETRY_NEW_JOB),
    }


def test_no_outcome_sets_the_flag() -> None:
    """Paid is set in the database before the call, never by what the call came to."""
    assert not [edge for edge in edges() if edge[2][1] and not edge[0][1]]


def test_a_job_is_forgotten_only_unpaid_or_by_a_word() -> None:
    """An outcome that drops the job of a paid case would lose what was paid for."""
    for (state, paid), rows in TABLE.items():
        dropping = {label for label, arrow in rows.items() if arrow.drops_job}
        assert not paid or dropping <= {Label.RETRY_NEW_JOB}, state


@pytest.mark.parametrize("node", [node for node in TABLE if node[0] in EFFECTS], ids=str)
def test_every_effect_reaches_rest(node: Node) -> None:
    """From each effect some outcomes lead to rest without any word."""
    found = reachable(node, lambda edge: edge[1] not in WORDS)
    assert [state for state, _ in found if state in AT_REST]


@pytest.mark.parametrize("node", [node for node in TABLE if node[0] in EFFECTS], ids=str)
def test_every_effect_can_be_interrupted(node: tuple[State, bool]) -> None:
    """An interrupted attempt is run again, except a submit that may have been paid for."""
    arrow = TABLE[node][Label.INTERRUPTED]
    held = node == (State.SUBMITTING, True)
    assert arrow.to is (State.HELD if held else node[0])


def test_rest_is_left_by_words_alone() -> None:
    """A person says so, and then it is claimed again first, or goes on where it was poisoned."""
    for (state, _), rows in TABLE.items():
        if state in AT_REST:
            assert set(rows) <= WORDS - {Label.CANCEL}
            others = {arrow.to for label, arrow in rows.items() if label is not Label.RETRY_STEP}
            assert others == {State.CLAIMING}


@pytest.mark.parametrize("paid", [False, True])
def test_a_poisoned_case_goes_on_where_it_stood(*, paid: bool) -> None:
    """Each effect can be poisoned, except a submit that may have been paid; each is resumed."""
    effects = {state for state, is_paid in TABLE if is_paid is paid and state in EFFECTS}
    poisoned = effects - ({State.SUBMITTING} if paid else set())
    found = {edge[2] for edge in edges() if edge[1] is Label.RETRY_STEP and edge[0][1] is paid}
    assert set(poisonable(paid=paid)) == poisoned
    assert found == {(state, paid) for state in poisoned}


def test_what_is_done_stays_done() -> None:
    """A complete result is never worked on again."""
    assert not [paid for paid in (False, True) if (State.DONE, paid) in TABLE]


@pytest.mark.parametrize("state", [State.DELIVERING, State.ARCHIVING])
def test_no_cancel_once_results_are_moving(state: State) -> None:
    """A cancel between staging and archive would tear a delivery apart."""
    cancellable = [paid for paid in (False, True) if Label.CANCEL in TABLE[state, paid]]
    assert not cancellable


def test_every_other_effect_can_be_cancelled() -> None:
    """A person may stop any case under way, but not in the middle of a paid submit."""
    stuck = {node for node in TABLE if node[0] in EFFECTS and Label.CANCEL not in TABLE[node]}
    moving = set(product((State.DELIVERING, State.ARCHIVING), (False, True)))
    assert stuck == moving | {(State.SUBMITTING, True)}


def test_failed_and_cancelled_go_by_archiving() -> None:
    """No effect ends a case beside its input: the input is put away first."""
    direct = {edge[2][0] for edge in edges() if edge[0][0] in set(EFFECTS) - {State.ARCHIVING}}
    assert direct & AT_REST == {State.HELD}


def test_the_verdict_rests() -> None:
    """Archiving ends in the verdict, and a held case never gets there."""
    assert set(VERDICTS) == AT_REST - {State.HELD}


def test_mermaid_shows_every_change_of_state() -> None:
    """Each edge between two states is in the diagram, and nothing else."""
    shown = set()
    for line in mermaid().splitlines()[2:-1]:
        left, _, labels = line.strip().partition(": ")
        source, _, target = left.partition(" --> ")
        shown |= {(source, name.split(" ")[0], target) for name in labels.split(", ")}
    real = {
        (str(state), str(label), "[*]" if target is None else str(target))
        for (state, _), label, (target, _) in edges()
        if target is not state
    }
    assert shown == real
