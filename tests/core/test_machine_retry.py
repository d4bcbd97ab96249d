"""What a person's `retry` means: each row of the contract's table."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.builders import a_case, a_problem, an_output
from vpe_watcher.core.machine import TABLE, retry_label
from vpe_watcher.core.model import FailureClass, Label, Problem, State

S, L, F = State, Label, FailureClass

UNFETCHED = an_output(status="Available")
FAILED_OUTPUT = an_output(position=1, status="Failed")
MISSING = an_output(position=2, status="Missing")


def case_with(problem: tuple[str, FailureClass] | None, **changes: Any) -> dict[str, Any]:
    """Return what a row below says about its case."""
    known: Problem | None = a_problem(*problem) if problem else None
    return {"problem": known, **changes}


ROWS: list[tuple[str, State, dict[str, Any], Label | None]] = [
    # no notification or paid submit begun
    ("bad scan", S.FAILED, case_with(("bad", F.INPUT)), L.RETRY_UNPAID),
    ("given up before", S.FAILED, case_with(("t", F.TRANSIENT)), L.RETRY_UNPAID),
    ("cancelled before", S.CANCELLED, case_with(("c", F.CANCELLED)), L.RETRY_UNPAID),
    ("claim gone before", S.HELD, case_with(("claim_gone", F.UNKNOWN)), L.RETRY_UNPAID),
    ("held-back series", S.HELD, case_with(("series_gaps", F.INPUT)), L.RETRY_UNPAID),
    ("late slices", S.HELD, case_with(("late_slices", F.INPUT)), L.RETRY_UNPAID),
    (
        "poisoned before",
        S.HELD,
        case_with(("poisoned_step", F.UNKNOWN), due_step=S.UPLOADING, job_id="j"),
        L.RETRY_STEP,
    ),
    # after one: the same job
    (
        "given up after",
        S.FAILED,
        case_with(("t", F.TRANSIENT), paid=True, job_id="j"),
        L.RETRY_SAME_JOB,
    ),
    (
        "cancelled after",
        S.CANCELLED,
        case_with(("c", F.CANCELLED), paid=True, job_id="j"),
        L.RETRY_SAME_JOB,
    ),
    (
        "overdue",
        S.HELD,
        case_with(("processing_overdue", F.UNKNOWN), paid=True, job_id="j"),
        L.RETRY_SAME_JOB,
    ),
    (
        "refused poll",
        S.HELD,
        case_with(("job_refused", F.UNKNOWN), paid=True, job_id="j"),
        L.RETRY_SAME_JOB,
    ),
    (
        "poisoned after",
        S.HELD,
        case_with(("poisoned_step", F.UNKNOWN), due_step=S.FETCHING, paid=True, job_id="j"),
        L.RETRY_STEP,
    ),
    (
        "partial, unfetched",
        S.PARTIAL,
        case_with(None, paid=True, job_id="j", outputs=(UNFETCHED, MISSING)),
        L.RETRY_SAME_JOB,
    ),
    # a new job, which may cost again
    (
        "unknown submit",
        S.HELD,
        case_with(("submit_unknown", F.UNKNOWN), paid=True),
        L.RETRY_NEW_JOB,
    ),
    (
        "unknown submit by any other name",
        S.HELD,
        case_with(("interrupted", F.UNKNOWN), paid=True),
        L.RETRY_NEW_JOB,
    ),
    (
        "the Engine failed",
        S.FAILED,
        case_with(("job_failed", F.ENGINE), paid=True, job_id="j"),
        L.RETRY_NEW_JOB,
    ),
    (
        "partial, failed",
        S.PARTIAL,
        case_with(None, paid=True, job_id="j", outputs=(UNFETCHED, FAILED_OUTPUT)),
        L.RETRY_NEW_JOB,
    ),
    ("duplicate", S.DUPLICATE, case_with(None), L.RETRY_NEW_JOB),
    (
        "held as one",
        S.HELD,
        case_with(("duplicate_ambiguous", F.UNKNOWN)),
        L.RETRY_NEW_JOB,
    ),
    (
        "changed after notification",
        S.HELD,
        case_with(("changed_after_notification", F.INPUT), paid=True, job_id="j"),
        L.RETRY_NEW_JOB,
    ),
    ("done", S.DONE, case_with(None, paid=True, job_id="j"), None),
]


@pytest.mark.parametrize(
    ("state", "changes", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_the_retry_table(state: State, changes: dict[str, Any], expected: Label | None) -> None:
    """Each row of the contract's table, and the machine has an arrow for it."""
    case = a_case(state, **changes)
    label = retry_label(case)
    assert label is expected
    assert label is None or label in TABLE[state, case.paid]


@pytest.mark.parametrize("state", [state for state in State if not state.is_at_rest])
@pytest.mark.parametrize("paid", [False, True])
def test_what_is_under_way_is_not_retried(state: State, *, paid: bool) -> None:
    """A retry of a case that is being worked on has nothing to do."""
    assert retry_label(a_case(state, paid=paid, job_id="j")) is None
