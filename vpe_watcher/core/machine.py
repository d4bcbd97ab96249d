"""The life of a case as one table, and the one function that reads it.

A state is the name of the effect that is due. A row of the table says: in this state, with or
without a payment possibly begun, this outcome leads there. What has no row cannot happen:
`decide` raises. The **paid edge** is the flag `paid`: it is set in the database before the first
notification of a job (or before a submit that starts the Engine), and from a paid row no path leads
to an unpaid `submitting` except a person's word or the certainty that nothing was sent. A test
walks the table for this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from vpe_watcher.core import poison
from vpe_watcher.core.model import (
    Case,
    FailureClass,
    Label,
    Outcome,
    Problem,
    State,
    Tally,
)

AT_MOST_NEW_JOBS = 5
AT_MOST_FRESH_POLLS = 5
REFUSED_AT_MOST_S = 600.0
LOOK_AGAIN_S = 0.5
LOOK_AGAIN_AT_MOST_S = 30.0
RETRY_AFTER_AT_MOST_S = 24 * 3600.0

S, L = State, Label
UNPAID, PAID = False, True
WORDS = frozenset({L.CANCEL, L.RETRY_STEP, L.RETRY_UNPAID, L.RETRY_SAME_JOB, L.RETRY_NEW_JOB})


@dataclass(frozen=True, slots=True)
class Arrow:
    """Where an outcome leads. `to` None: the row is forgotten; VERDICT: the verdict's state.

    `verdict` is the state in which the case will rest after `archiving`. `drops_job` forgets the
    job (its id stays in the trail), so that the next submit makes a new one; `pays` None leaves
    the flag `paid` as it is. `to_step`: back to the step in which a poisoned case was held.
    """

    to: State | None
    verdict: State | None = None
    drops_job: bool = False
    pays: bool | None = None
    to_verdict: bool = False
    to_step: bool = False


@dataclass(frozen=True, slots=True)
class Patience:
    """The limits of the configuration that the table needs. All in seconds."""

    retry_first_s: float = 2.0
    retry_at_most_s: float = 300.0
    retry_for_s: float = 48 * 3600.0
    processing_at_most_s: float = 24 * 3600.0
    poll_every_s: float = 10.0
    poll_at_most_s: float = 60.0
    settle_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows an attempt: the arrow, when the next step is due, and the case's new tally."""

    label: Label
    arrow: Arrow
    state: State | None
    delay_s: float
    tally: Tally
    problem: Problem | None


class ImpossibleOutcome(Exception):  # a defect of ours, not an error of theirs
    """A step reported what its row of the table does not know."""


def _stay(state: State) -> dict[Label, Arrow]:
    """Return the rows that every effect has: nothing happened, so the same effect is due.

    Unless the process dies in it again and again.
    """
    labels = (L.TRANSIENT, L.ENVIRONMENT, L.STOPPED, L.INTERRUPTED)
    return {label: Arrow(state) for label in labels} | {L.POISONED: Arrow(S.HELD)}


_FAILED = Arrow(S.ARCHIVING, verdict=S.FAILED)
_CANCELLED = Arrow(S.ARCHIVING, verdict=S.CANCELLED)
_HELD = Arrow(S.HELD)
_AGAIN = Arrow(S.CLAIMING, drops_job=True)
_NEW_JOB = Arrow(S.CLAIMING, drops_job=True, pays=False)
_STEP = Arrow(None, to_step=True)

TABLE: dict[tuple[State, bool], dict[Label, Arrow]] = {
    (S.CLAIMING, UNPAID): _stay(S.CLAIMING)
    | {
        L.OK: Arrow(S.SUBMITTING),
        L.PENDING: Arrow(S.CLAIMING),
        L.CHANGED: Arrow(S.CLAIMING),
        L.DUPLICATE: Arrow(S.DELIVERING, verdict=S.DUPLICATE),
        L.AMBIGUOUS: _HELD,
        L.RETURNED: Arrow(None),
        L.GONE: _HELD,
        L.INPUT: _FAILED,
        L.EXHAUSTED: _FAILED,
        L.CANCEL: _CANCELLED,
    },
    (S.CLAIMING, PAID): _stay(S.CLAIMING)
    | {
        L.OK: Arrow(S.NOTIFYING),
        L.CHANGED: _HELD,
        L.GONE: _HELD,
        L.EXHAUSTED: _HELD,
        L.CANCEL: _CANCELLED,
    },
    (S.SUBMITTING, UNPAID): _stay(S.SUBMITTING)
    | {
        L.OK: Arrow(S.UPLOADING),
        L.CHANGED: _AGAIN,
        L.GONE: _HELD,
        L.INPUT: _FAILED,
        L.EXHAUSTED: _FAILED,
        L.CANCEL: _CANCELLED,
    },
    (S.SUBMITTING, PAID): {
        L.OK: Arrow(S.WAITING),
        L.NOT_SENT: Arrow(S.SUBMITTING, pays=False),
        L.INPUT: Arrow(S.ARCHIVING, verdict=S.FAILED, pays=False),
        L.UNKNOWN: _HELD,
        L.INTERRUPTED: _HELD,
    },
    (S.UPLOADING, UNPAID): _stay(S.UPLOADING)
    | {
        L.OK: Arrow(S.NOTIFYING),
        L.EXPIRED: Arrow(S.SUBMITTING, drops_job=True),
        L.CHANGED: _AGAIN,
        L.GONE: _HELD,
        L.EXHAUSTED: _FAILED,
        L.CANCEL: _CANCELLED,
    },
    (S.NOTIFYING, UNPAID): _stay(S.NOTIFYING)
    | {
        L.CHANGED: _AGAIN,
        L.GONE: _HELD,
        L.EXHAUSTED: _FAILED,
        L.CANCEL: _CANCELLED,
    },
    (S.NOTIFYING, PAID): _stay(S.NOTIFYING)
    | {
        L.OK: Arrow(S.WAITING),
        L.GONE: _HELD,
        L.EXHAUSTED: _FAILED,
        L.CANCEL: _CANCELLED,
    },
    (S.WAITING, PAID): _stay(S.WAITING)
    | {
        L.OK: Arrow(S.FETCHING),
        L.PENDING: Arrow(S.WAITING),
        L.REFUSED: Arrow(S.WAITING),
        L.REFUSED_AT_ONCE: _HELD,
        L.OVERDUE: _HELD,
        L.GONE: _HELD,
        L.ENGINE: _FAILED,
        L.EXHAUSTED: _FAILED,
        L.CANCEL: _CANCELLED,
    },
    (S.FETCHING, PAID): _stay(S.FETCHING)
    | {
        L.OK: Arrow(S.DELIVERING),
        L.EXPIRED: Arrow(S.WAITING),
        L.GONE: _HELD,
        L.SALVAGED: Arrow(S.DELIVERING),
        L.EXHAUSTED: _FAILED,
        L.CANCEL: _CANCELLED,
    },
    (S.DELIVERING, UNPAID): _stay(S.DELIVERING) | {L.OK: Arrow(S.ARCHIVING), L.GONE: _HELD},
    (S.DELIVERING, PAID): _stay(S.DELIVERING)
    | {
        L.OK: Arrow(S.ARCHIVING),
        L.CHANGED: _HELD,
        L.LOST: Arrow(S.WAITING),
        L.GONE: _HELD,
    },
    (S.ARCHIVING, UNPAID): _stay(S.ARCHIVING)
    | {L.OK: Arrow(None, to_verdict=True), L.PENDING: Arrow(S.ARCHIVING)},
    (S.ARCHIVING, PAID): _stay(S.ARCHIVING)
    | {L.OK: Arrow(None, to_verdict=True), L.PENDING: Arrow(S.ARCHIVING)},
    # At rest only a person's word moves a case.
    (S.FAILED, UNPAID): {L.RETRY_UNPAID: _AGAIN},
    (S.FAILED, PAID): {L.RETRY_SAME_JOB: Arrow(S.CLAIMING), L.RETRY_NEW_JOB: _NEW_JOB},
    (S.CANCELLED, UNPAID): {L.RETRY_UNPAID: _AGAIN},
    (S.CANCELLED, PAID): {L.RETRY_SAME_JOB: Arrow(S.CLAIMING)},
    (S.HELD, UNPAID): {
        L.RETRY_STEP: _STEP,
        L.RETRY_UNPAID: _AGAIN,
        L.RETRY_NEW_JOB: _NEW_JOB,
    },
    (S.HELD, PAID): {
        L.RETRY_STEP: _STEP,
        L.RETRY_SAME_JOB: Arrow(S.CLAIMING),
        L.RETRY_NEW_JOB: _NEW_JOB,
    },
    (S.PARTIAL, PAID): {L.RETRY_SAME_JOB: Arrow(S.CLAIMING), L.RETRY_NEW_JOB: _NEW_JOB},
    (S.DUPLICATE, UNPAID): {L.RETRY_NEW_JOB: _NEW_JOB},
}

VERDICTS = (S.DONE, S.PARTIAL, S.DUPLICATE, S.FAILED, S.CANCELLED)


def arrow_for(state: State, label: Label, *, paid: bool) -> Arrow:
    """Return the arrow of the table.

    Raises:
        ImpossibleOutcome: the table has no such row.
    """
    try:
        return TABLE[state, paid][label]
    except KeyError:
        raise ImpossibleOutcome(f"{state} ({'paid' if paid else 'unpaid'}): {label}") from None


def edges() -> Iterator[tuple[tuple[State, bool], Label, tuple[State | None, bool]]]:
    """Walk the graph: (state, paid), label, (next state, paid). Verdicts, steps are expanded."""
    for (state, paid), rows in TABLE.items():
        for label, arrow in rows.items():
            after = paid if arrow.pays is None else arrow.pays
            if arrow.to_verdict:
                yield from (((state, paid), label, (rest, after)) for rest in VERDICTS)
            elif arrow.to_step:
                yield from (((state, paid), label, (step, after)) for step in poisonable(paid=paid))
            else:
                yield (state, paid), label, (arrow.to, after)


def poisonable(*, paid: bool) -> list[State]:
    """Return the states in which a case can be held as poisoned."""
    return [s for (s, is_paid), rows in TABLE.items() if is_paid is paid and L.POISONED in rows]


def decide(
    case: Case, outcome: Outcome, patience: Patience, *, chance: Callable[[], float]
) -> Decision:
    """Ask the table what follows an attempt. `chance` returns a number in [0, 1).

    Raises:
        ImpossibleOutcome: the step reported what the table does not know for it.
    """
    tally = _spent(case, outcome)
    case = case if tally is case.tally else replace(case, tally=tally)
    label, problem = _relabelled(case, outcome, patience)
    arrow = arrow_for(case.state, label, paid=case.paid)
    state = arrow.to
    if arrow.to_verdict:
        state = case.verdict or S.DONE
    elif arrow.to_step:
        state = case.due_step or S.CLAIMING
    delay_s = _delay(case, label, outcome, patience, chance)
    return Decision(label, arrow, state, delay_s, _tallied(case, label, state), problem)


def _spent(case: Case, outcome: Outcome) -> Tally:
    """Add the time that an attempt took, and that it was put off, to what it was spent on.

    The wait before the first trouble was not spent on trouble.
    """
    tally, label = case.tally, outcome.label
    spent_s = outcome.duration_s + outcome.waited_s
    troubled_s = spent_s if tally.failures else outcome.duration_s
    if label is L.PENDING:
        return replace(tally, processing_s=tally.processing_s + spent_s)
    if label is L.TRANSIENT and outcome.is_forgiven:
        return replace(tally, retry_spent_s=0.0)
    if label is L.TRANSIENT:
        return replace(tally, retry_spent_s=tally.retry_spent_s + troubled_s)
    if label is L.REFUSED:
        return replace(tally, refused_s=tally.refused_s + troubled_s)
    if label is L.INTERRUPTED and outcome.is_lone:
        return replace(tally, deaths=tally.deaths + 1)
    return tally


def _relabelled(case: Case, outcome: Outcome, patience: Patience) -> tuple[Label, Problem | None]:
    """Turn an outcome into its final form where patience has run out."""
    tally, label, problem = case.tally, outcome.label, outcome.problem
    if label is L.PENDING and case.state is S.WAITING:
        if tally.processing_s >= patience.processing_at_most_s:
            return L.OVERDUE, _overdue(patience)
    elif label is L.INTERRUPTED and tally.deaths >= poison.DEATHS_AT_MOST:
        if L.POISONED in TABLE.get((case.state, case.paid), {}):
            return L.POISONED, poison.problem_of(case.state)
    elif label is L.REFUSED and tally.refused_s >= REFUSED_AT_MOST_S:
        return L.REFUSED_AT_ONCE, problem
    elif _has_run_out(case, label, patience):
        return _given_up(case), _final(problem)
    elif label is L.EXPIRED and _has_no_fresh_link(case):
        return _given_up(case), _links_expired(case, problem)
    return label, problem


def is_last_try(case: Case, outcome: Outcome, patience: Patience) -> bool:
    """Tell whether a case would be given up for this trouble, as it has spent its patience."""
    spent = replace(case, tally=_spent(case, outcome))
    return _has_run_out(spent, outcome.label, patience)


def _has_run_out(case: Case, label: Label, patience: Patience) -> bool:
    if label is not L.TRANSIENT or case.tally.retry_spent_s < patience.retry_for_s:
        return False
    # What is fetched is delivered and put away however long it takes: no such row there.
    return L.EXHAUSTED in TABLE.get((case.state, case.paid), {})


def _has_no_fresh_link(case: Case) -> bool:
    if case.state is S.UPLOADING:
        return case.tally.new_jobs >= AT_MOST_NEW_JOBS
    return case.tally.fresh_polls >= AT_MOST_FRESH_POLLS


def _final(problem: Problem | None) -> Problem | None:
    """Return a problem that is not tried again: its hint must not promise that it is."""
    hint = (
        "It was tried as long as the configuration allows. When the cause is gone, "
        "`vpe-watcher retry CASE` goes on."
    )
    return replace(problem, hint=hint) if problem else None


def _links_expired(case: Case, problem: Problem | None) -> Problem:
    """Return why a case is given up that got no good link: no time of the configuration was up."""
    what = problem.message if problem else "The link was no longer good."
    if case.state is S.UPLOADING:
        return Problem(
            FailureClass.TRANSIENT,
            "upload_link_expired",
            f"The Engine's upload links were expired {AT_MOST_NEW_JOBS + 1} times in a row. {what}",
            "Is the clock of this machine right (`timedatectl`)? Or does the upload take longer "
            "than a link lives (ask the vendor of the Engine; a smaller limits.uploads leaves each "
            "more of the line)? Then `vpe-watcher retry CASE`: nothing was paid for it yet.",
        )
    return Problem(
        FailureClass.TRANSIENT,
        "download_link_expired",
        f"The Engine's download links were expired {AT_MOST_FRESH_POLLS + 1} times in a row. "
        f"{what}",
        "Is the clock of this machine right (`timedatectl`)? Else tell the vendor of the Engine "
        "the job id. Then `vpe-watcher retry CASE`: the same job goes on, which costs nothing.",
    )


def _given_up(case: Case) -> Label:
    fetched = any(output.file for output in case.outputs)
    return L.SALVAGED if case.state is S.FETCHING and fetched else L.EXHAUSTED


def _overdue(patience: Patience) -> Problem:
    hours = patience.processing_at_most_s / 3600
    return Problem(
        FailureClass.UNKNOWN,
        "processing_overdue",
        f"The Engine has been processing this job for more than {hours:g} hours.",
        "Ask the vendor of the Engine about the job id. "
        "`vpe-watcher retry CASE` goes on waiting for the same job and costs nothing.",
    )


def _delay(
    case: Case,
    label: Label,
    outcome: Outcome,
    patience: Patience,
    chance: Callable[[], float],
) -> float:
    """Return the seconds until the next step: none after progress, backoff after trouble."""
    if label in {L.TRANSIENT, L.REFUSED}:
        delay_s = backoff_s(case.tally.failures, patience, chance)
    elif label is L.EXPIRED:
        is_upload = case.state is S.UPLOADING
        expired = case.tally.new_jobs if is_upload else case.tally.fresh_polls
        delay_s = backoff_s(expired, patience, chance)
    elif label is L.PENDING and case.state is S.WAITING:
        delay_s = poll_delay_s(case.tally.processing_s, patience, chance)
    elif label is L.OK and case.state is S.NOTIFYING:
        delay_s = patience.poll_every_s
    elif label is L.PENDING and outcome.waits_for:  # whose next move ends this sooner
        delay_s = min(LOOK_AGAIN_AT_MOST_S, max(LOOK_AGAIN_S, case.tally.processing_s))
    elif label is L.PENDING:
        delay_s = LOOK_AGAIN_S
    elif label is L.CHANGED:
        delay_s = patience.settle_s
    else:
        delay_s = 0.0
    return max(delay_s, min(outcome.retry_after_s or 0.0, RETRY_AFTER_AT_MOST_S))


def backoff_s(failures: int, patience: Patience, chance: Callable[[], float]) -> float:
    """Return an exponential backoff with full jitter after `failures` earlier ones in a row."""
    ceiling = min(patience.retry_at_most_s, patience.retry_first_s * 2.0 ** min(failures, 30))
    return ceiling * chance()


def poll_delay_s(processing_s: float, patience: Patience, chance: Callable[[], float]) -> float:
    """Return when to look again: a quarter of the time so far, between the limits, ±10 %."""
    wished = max(patience.poll_every_s, min(patience.poll_at_most_s, processing_s / 4))
    return wished * (0.9 + 0.2 * chance())


def _tallied(case: Case, label: Label, state: State | None) -> Tally:
    """Return what is used up after an attempt; what is nobody's fault uses up nothing."""
    tally = case.tally
    if label in WORDS:
        return Tally()
    if label is L.PENDING and case.state is S.WAITING:
        return Tally(
            processing_s=tally.processing_s,
            new_jobs=tally.new_jobs,
            fresh_polls=tally.fresh_polls,
        )
    if label is L.PENDING:
        return replace(tally, deaths=0)
    if label in {L.TRANSIENT, L.REFUSED}:
        return replace(tally, failures=tally.failures + 1)
    if label is L.EXPIRED and case.state is S.UPLOADING:
        return Tally(failures=tally.failures + 1, new_jobs=tally.new_jobs + 1)
    if label is L.EXPIRED:
        return Tally(failures=tally.failures + 1, fresh_polls=tally.fresh_polls + 1)
    if state is case.state:
        return tally
    return Tally(
        failures=tally.failures if state in {S.UPLOADING, S.FETCHING} else 0,
        new_jobs=tally.new_jobs,
        fresh_polls=tally.fresh_polls,
    )


# --- a person's retry ----------------------------------------------------------------------------

COSTS_AGAIN = frozenset({"submit_unknown", "duplicate_ambiguous", "changed_after_notification"})


def retry_label(case: Case) -> Label | None:
    """Tell what a person's `retry` means for this case; None: there is nothing to retry.

    `RETRY_NEW_JOB` may cost money again and needs a `--yes`. Source: the contract's table.
    """
    if case.state is S.DUPLICATE:
        return L.RETRY_NEW_JOB
    if case.state is S.PARTIAL:
        has_failed = any(output.status == "Failed" for output in case.outputs)
        return L.RETRY_NEW_JOB if has_failed else L.RETRY_SAME_JOB
    if case.state not in {S.FAILED, S.CANCELLED, S.HELD}:
        return None
    problem = case.problem
    if case.paid and case.job_id is None:
        return L.RETRY_NEW_JOB  # a submit that may have started a job nobody knows
    if case.state is S.HELD and case.due_step is not None:
        return L.RETRY_STEP
    if problem and (problem.code in COSTS_AGAIN or problem.failure_class is FailureClass.ENGINE):
        return L.RETRY_NEW_JOB
    return L.RETRY_SAME_JOB if case.paid else L.RETRY_UNPAID


# --- for the docs --------------------------------------------------------------------------------


def mermaid() -> str:
    """Print the table as a Mermaid state diagram; arrows back to the same state are left out."""
    lines = ["stateDiagram-v2", "    [*] --> claiming"]
    merged: dict[tuple[str, str], list[str]] = {}
    for (state, paid), label, (target, _) in edges():
        if target is state:
            continue
        name = f"{label} (paid)" if paid and (state, UNPAID) in TABLE else str(label)
        names = merged.setdefault((str(state), "[*]" if target is None else str(target)), [])
        if name not in names:
            names.append(name)
    for (state_name, target_name), names in merged.items():
        lines.append(f"    {state_name} --> {target_name}: {', '.join(names)}")
    lines.append("    done --> [*]")
    return "\n".join(lines) + "\n"
