"""What a fault means in the light of other cases: one case's trouble, or everybody's.

In memory only: after a restart the same faults lead to the same verdicts again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from vpe_watcher.core.errors import (
    EnvironmentFault,
    HostFault,
    JobRefused,
    StepFault,
    TransientFault,
)
from vpe_watcher.core.model import Case, FailureClass, Label, Outcome, Problem, State

CASES_BEFORE_HOST_IS_BLAMED = 3
REFUSALS_BEFORE_RECIPE_IS_BLAMED = 3
REFUSED_CODE = "refused_by_engine"
HOST_PREFIXES: Mapping[State, str] = {State.UPLOADING: "upload:", State.FETCHING: "download:"}
CANCELLED = Problem(
    FailureClass.CANCELLED,
    "cancelled",
    "A person cancelled this case.",
    "`vpe-watcher retry CASE` takes it up again.",
)
HINT = (
    "It is tried again by itself. If it lasts, check the network and ask the vendor of the Engine; "
    "once it has failed, `vpe-watcher retry CASE` takes it up again."
)


def hosts_of(case: Case, prefix: str) -> frozenset[str]:
    """Name the breakers (`upload:` or `download:` and a host) of what is still to be transferred.

    The name of a URL's host that makes no sense is the one that the Engine's client gives it.
    """
    links = (
        [entry.upload_url for entry in case.inputs if not entry.uploaded]
        if prefix == "upload:"
        else [output.url for output in case.outputs if output.file is None]
    )
    return frozenset(f"{prefix}{_host_of(link)}" for link in links if link)


def _host_of(link: str) -> str:
    try:
        return urlsplit(link).hostname or "unknown"
    except ValueError:
        return "unknown"


def hinted(problem: Problem) -> Problem:
    """Give a problem that came without a hint one that fits all trouble on the way."""
    return problem if problem.hint else replace(problem, hint=HINT)


class Verdicts:
    """Counts faults by host and refusals by recipe and job. Thread-safe."""

    def __init__(self) -> None:
        self._host_faults: dict[str, set[str]] = {}
        self._refused_in_a_row: dict[str, int] = {}
        self._refused_polls: set[str] = set()
        self._bearing: dict[str, int] = {}  # first refused poll of a case: answered ones by then
        self._answered_polls = 0
        self._paused: dict[str, int] = {}
        self._lock = threading.Lock()

    def outcome_of(self, fault: StepFault, case: Case, *, others_wait: bool) -> Outcome:
        """Turn a fault into the outcome that the table knows.

        `others_wait` tells whether other jobs are being polled, so that they may tell more.
        """
        if isinstance(fault, HostFault):
            return self._host(fault, case)
        if isinstance(fault, JobRefused) and fault.label is Label.REFUSED_AT_ONCE:
            return self._forbidden(fault, case, others_wait=others_wait)
        retry_after_s, breaker = None, None
        if isinstance(fault, EnvironmentFault):
            retry_after_s, breaker = fault.retry_after_s, fault.breaker
        elif isinstance(fault, TransientFault):
            retry_after_s = fault.retry_after_s
        return Outcome(fault.label, hinted(fault.problem), breaker, retry_after_s)

    def _host(self, fault: HostFault, case: Case) -> Outcome:
        """Blame a pre-signed host only when three different cases met trouble there."""
        with self._lock:
            cases = self._host_faults.setdefault(fault.breaker, set())
            cases.add(case.case_id)
            is_everybodys = len(cases) >= CASES_BEFORE_HOST_IS_BLAMED
        label = Label.ENVIRONMENT if is_everybodys else Label.TRANSIENT
        breaker = fault.breaker if is_everybodys else None
        return Outcome(label, hinted(fault.problem), breaker, fault.retry_after_s)

    def _forbidden(self, fault: JobRefused, case: Case, *, others_wait: bool) -> Outcome:
        """Tell a 403 for this job from a 403 for all.

        Two jobs refused with no answered poll between are nobody's fault in particular: each is
        tried again for as long as other trouble, and stops no submit. A job is held when
        another's poll was answered meanwhile, or when there is no other that could tell.
        """
        with self._lock:
            others = self._refused_polls - {case.case_id}
            self._refused_polls.add(case.case_id)
            seen_at = self._bearing.setdefault(case.case_id, self._answered_polls)
            is_alone = self._answered_polls > seen_at or not others_wait
        if others:
            return Outcome(Label.TRANSIENT, fault.problem)
        return Outcome(Label.REFUSED_AT_ONCE if is_alone else Label.REFUSED, fault.problem)

    def transferred(self, before: Case, after: Case) -> None:
        """Take note of what a step has transferred, though it met trouble with the rest."""
        prefix = HOST_PREFIXES[before.state]
        with self._lock:
            for name in hosts_of(_what_went(before, after), prefix):
                self._host_faults.pop(name, None)

    def paused(self, case: Case) -> int:
        """Count the times in a row that a case met trouble of everybody's; return them."""
        with self._lock:
            times = self._paused[case.case_id] = self._paused.get(case.case_id, 0) + 1
        return times

    def worked(self, case: Case) -> None:
        """Take note that a case met no trouble of everybody's."""
        with self._lock:
            self._paused.pop(case.case_id, None)

    def succeeded(self, case: Case) -> None:
        """Take note of a step that went well: the hosts that it needed and its polls are fine."""
        prefix = HOST_PREFIXES.get(case.state)
        with self._lock:
            for name in hosts_of(case, prefix) if prefix else ():
                self._host_faults.pop(name, None)
            if case.state is State.WAITING:
                self._refused_polls.clear()
                self._bearing.pop(case.case_id, None)
                self._answered_polls += 1

    def refused_in_a_row(self, recipe: str, outcome: Outcome) -> bool:
        """Count the Engine's refusals of one recipe; true from the third in a row.

        Only an accepted submit ends the row: trouble of the Engine says nothing of the scans.
        """
        with self._lock:
            count = self._refused_in_a_row.get(recipe, 0) + is_refused(outcome)
            self._refused_in_a_row[recipe] = 0 if outcome.label is Label.OK else count
        return is_refused(outcome) and count >= REFUSALS_BEFORE_RECIPE_IS_BLAMED


def is_refused(outcome: Outcome) -> bool:
    """Tell whether it was the Engine that found a scan or its job wrong."""
    problem = outcome.problem
    return outcome.label is Label.INPUT and problem is not None and problem.code == REFUSED_CODE


def _what_went(before: Case, after: Case) -> Case:
    """Return a case as it was, with only what was transferred since still to be transferred."""
    sent = {entry.modality for entry in after.inputs if entry.uploaded}
    fetched = {output.position for output in after.outputs if output.file is not None}
    return replace(
        before,
        inputs=tuple(entry for entry in before.inputs if entry.modality in sent),
        outputs=tuple(output for output in before.outputs if output.position in fetched),
    )


def submit_unknown(what: str) -> Problem:
    """Return why a case is held whose submit may have been paid for; `what` says how that came."""
    return Problem(
        FailureClass.UNKNOWN,
        "submit_unknown",
        f"{what}: there may be a paid job.",
        "Ask the vendor of the Engine whether a job was made. "
        "`vpe-watcher retry --yes CASE` makes a new one, at its price.",
    )
