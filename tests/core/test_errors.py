"""The error tree: each error says what to do, and each fault has a label the table knows."""

from __future__ import annotations

import pytest

from vpe_watcher.core import errors
from vpe_watcher.core.machine import TABLE
from vpe_watcher.core.model import FailureClass, Label, Problem

FAULTS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, errors.StepFault)
    and kind is not errors.StepFault
]
BREAKERS = (errors.EnvironmentFault, errors.HostFault)


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        (errors.Refusal, 1),
        (errors.UsageError, 2),
        (errors.TryAgainLater, 75),
        (errors.ConfigError, 78),
    ],
)
def test_exit_codes(kind: type[errors.WatcherError], exit_code: int) -> None:
    """The contract's exit codes belong to the errors."""
    error = kind("It is so.", code="so", hint="Do this.")
    assert (error.exit_code, str(error), error.code, error.hint) == (
        exit_code,
        "It is so.",
        "so",
        "Do this.",
    )


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
def test_every_fault_has_a_row_and_a_problem(kind: type[errors.StepFault]) -> None:
    """A fault's label stands in the table, and its problem keeps all its words."""
    if issubclass(kind, BREAKERS):
        fault: errors.StepFault = kind("It is so.", code="so", hint="Do this.", breaker="engine")
    else:
        fault = kind("It is so.", code="so", hint="Do this.")
    assert any(fault.label in rows for rows in TABLE.values())
    assert fault.problem == Problem(fault.failure_class, "so", "It is so.", "Do this.")


def test_a_forbidden_poll_is_not_repeated() -> None:
    """403 for this job alone is held at once, 404 is borne for a while."""
    refused = errors.JobRefused("No.", code="c")
    at_once = errors.JobRefused("No.", code="c", at_once=True)
    assert (refused.label, at_once.label) == (Label.REFUSED, Label.REFUSED_AT_ONCE)


def test_a_lost_answer_is_an_environments_fault() -> None:
    """Whoever does not care whether a request took effect may treat it like any other."""
    lost = errors.AnswerLost("Gone.", code="c", breaker="engine", retry_after_s=3)
    assert (lost.failure_class, lost.breaker, lost.retry_after_s) == (
        FailureClass.ENVIRONMENT,
        "engine",
        3,
    )
