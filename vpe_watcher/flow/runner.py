"""Begin, do, commit: one attempt at a time for each case.

An attempt is recorded before its effect runs; the table says what follows; one commit records it.
A crash anywhere is an attempt that did not finish.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from vpe_watcher.adapters.store import Begun, Legacy
from vpe_watcher.core.breakers import Witness, is_root, pause_s
from vpe_watcher.core.errors import EnvironmentFault, StepFault
from vpe_watcher.core.machine import Decision, ImpossibleOutcome, Patience, decide, is_last_try
from vpe_watcher.core.model import (
    FAILING,
    Case,
    FailureClass,
    Label,
    Outcome,
    Problem,
    State,
)
from vpe_watcher.core.poison import is_one_at_a_time
from vpe_watcher.core.printable import unquoted
from vpe_watcher.flow.agenda import Due, Line
from vpe_watcher.flow.breakers import Breakers, Log
from vpe_watcher.flow.duplicates import must_be_first, wait_for
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.reach import Reach
from vpe_watcher.flow.schedule import Schedule
from vpe_watcher.flow.steps import EFFECTS
from vpe_watcher.flow.verdicts import HOST_PREFIXES, Verdicts, is_refused, submit_unknown

DEFECT_AGAIN_S = 60.0
SICK = frozenset({Label.ENVIRONMENT, Label.TRANSIENT, Label.STOPPED, Label.NOT_SENT})
# No call was made, or none was answered.
UNCALLED = frozenset({Label.INTERRUPTED, Label.CHANGED, Label.GONE, Label.UNKNOWN})


class Runner:
    """The attempts. Its methods may be called from any thread."""

    def __init__(
        self,
        ports: Ports,
        *,
        patience: Mapping[str, Patience],
        schedule: Schedule,
        breakers: Breakers,
        monotonic: Callable[[], float],
        chance: Callable[[], float],
        pause: Callable[[float], bool],
        log: Log,
        on_returned: Callable[[Case, Problem | None], None],
    ) -> None:
        """Prepare. `patience` is by recipe; `pause` sleeps and tells whether we are to stop."""
        self.ports = ports
        self.breakers = breakers
        self._patience = patience
        self.schedule = schedule
        self._monotonic = monotonic
        self._chance = chance
        self._pause = pause
        self._log = log
        self._on_returned = on_returned
        self._verdicts = Verdicts()
        self._reach = Reach(breakers)
        self._has_taken_over = False

    def use(self, ports: Ports, patience: Mapping[str, Patience]) -> None:
        """Begin steps in another world from now on; a running one stays in its own."""
        self._patience = patience
        self.ports = ports

    def resume(self) -> None:
        """Settle the attempts that the last daemon left open, then put every case on the schedule.

        After an EnvironmentFault it is to be called again.
        """
        legacy = self.ports.store.take_over(self._settled, is_again=self._has_taken_over)
        self._has_taken_over = True
        self._heed(legacy)
        self.schedule.refresh()

    def _settled(self, begun: Begun, is_lone: bool) -> tuple[Decision, Outcome]:  # noqa: FBT001
        outcome = Outcome(Label.INTERRUPTED, _interrupted(begun.case), is_lone=is_lone)
        return self._decided(begun.case, outcome), outcome

    def _heed(self, legacy: Legacy) -> None:
        """Follow up how the last daemon ended; after several deaths be careful with its steps."""
        is_careful = is_one_at_a_time(legacy.deaths, self.ports.now())
        if legacy.has_died:
            alone = ", which run one at a time first" if is_careful and legacy.settled else ""
            self._log(
                "daemon.died", count=len(legacy.settled),
                reason=f"the last daemon ended in the middle of {len(legacy.settled)} steps{alone}",
            )  # fmt: skip
        for begun, decision, outcome in legacy.settled:
            case = begun.case
            self._log(
                "step.interrupted", case_id=case.case_id, step=case.state, attempt=begun.attempt
            )
            self._after(begun, case, decision, outcome)
        if is_careful and legacy.settled:
            self.schedule.run_alone(begun.case.case_id for begun, _, _ in legacy.settled)

    # --- an attempt ------------------------------------------------------------------------------

    def run(self, case_id: str, state: State) -> None:
        """Run one attempt that was taken in hand: begin, do, decide, commit.

        A defect around the effect leaves as it is; the case is tried again, but not at once.
        """
        try:
            begun = self._begin(case_id, state)
            if begun is not None:
                self._commit(begun, self._attempt(begun))
        except EnvironmentFault as fault:  # the state file itself
            self.schedule.put_off(case_id, self.breakers.open(fault, kind=state))
        except Exception:
            self.schedule.put_off(case_id, self._monotonic() + DEFECT_AGAIN_S)
            raise
        finally:
            self.schedule.release(case_id)
            self.breakers.ended(case_id, proves_calls=False, proves_roots=False)

    def _begin(self, case_id: str, state: State) -> Begun | None:
        budgets = self.schedule.budgets_of(case_id)
        begun = self.ports.store.begin(case_id, state, jobs_per_day=budgets)
        if isinstance(begun, Begun):
            return begun
        if begun:
            self.schedule.put_off(case_id, self.breakers.open(_budget_fault(begun), kind=state))
        else:
            self.schedule.refresh()
        return None

    def _attempt(self, begun: Begun) -> Outcome:
        started = self._monotonic()
        case = begun.case
        waited_s = self.schedule.waited_s(case)
        met: StepFault | None = None
        try:
            outcome = EFFECTS[case.state](case, self.ports)
        except StepFault as fault:
            met, outcome = fault, self._outcome_of(fault, case)
        except Exception as error:  # noqa: BLE001 - the top of an attempt: a defect stops no other
            self._log("step.defect", case_id=case.case_id, step=case.state, error=error)
            outcome = Outcome(_label_of_defect(case), _defect(error))
        outcome = replace(outcome, duration_s=self._monotonic() - started, waited_s=waited_s)
        patience = self._patience.get(case.recipe) or Patience()
        is_last = is_last_try(case, outcome, patience)
        return self._reach.judged(outcome, met, case, self.ports.engine, is_last_try=is_last)

    def _outcome_of(self, fault: StepFault, case: Case) -> Outcome:
        """Judge a fault, after what went well in the same step before it or behind it."""
        if case.state in HOST_PREFIXES:
            with suppress(EnvironmentFault):  # the state file: then it is not known
                self._verdicts.transferred(case, self.ports.store.load(case.case_id) or case)
        others_wait = self.schedule.is_another_waiting(case.case_id)
        outcome = self._verdicts.outcome_of(fault, case, others_wait=others_wait)
        if is_refused(outcome) and self.breakers.is_open(f"recipe:{case.recipe}"):
            blamed = _recipe_fault(case.recipe)  # it is not this scan's turn to fail
            label = Label.NOT_SENT if case.paid else Label.ENVIRONMENT
            return Outcome(label, blamed.problem, blamed.breaker)
        return outcome

    def _commit(self, begun: Begun, outcome: Outcome) -> None:
        """Record what follows, as often as it takes: an effect that is done must not be lost."""
        recorded = None
        while True:
            try:
                recorded = self._recorded(begun, outcome)
                break
            except EnvironmentFault as fault:
                self.breakers.open(fault, kind="state")
                if self._pause(1.0):
                    return  # the attempt stays open and is found at the next start
        self.breakers.written()
        if recorded is not None:
            self._after(begun, *recorded)

    def _recorded(self, begun: Begun, outcome: Outcome) -> tuple[Case, Decision, Outcome] | None:
        """Record the end of an attempt; return of which case, and what; None: it has no row."""
        store = self.ports.store
        case = store.load(begun.case.case_id)
        if case is None:
            return None
        if outcome.label in {Label.OK, Label.PENDING}:
            self._verdicts.succeeded(begun.case)  # as it began: with the URLs that it used
        decision = self._decided(case, outcome)
        begun_now = replace(begun, case=case)
        if_first = must_be_first(case, decision.state, self.ports)
        first = store.finish(begun_now, decision, outcome, if_first=if_first)
        if first:
            outcome = wait_for(first, outcome)
            decision = self._decided(case, outcome)
            store.finish(begun_now, decision, outcome)
        return case, decision, outcome

    def _decided(self, case: Case, outcome: Outcome) -> Decision:
        """Ask the table; an outcome that it does not know is a defect, tried again or held."""
        patience = self._patience.get(case.recipe) or Patience()
        try:
            return decide(case, outcome, patience, chance=self._chance)
        except ImpossibleOutcome as error:
            self._log("step.defect", case_id=case.case_id, step=case.state, error=error)
            label = _label_of_defect(case)
            return decide(case, Outcome(label, _defect(error)), patience, chance=self._chance)

    def _after(self, begun: Begun, case: Case, decision: Decision, outcome: Outcome) -> None:
        """Follow a commit up in memory: breakers, schedule, log. Losing this loses nothing."""
        due_at, wait_s = self._monotonic() + decision.delay_s, decision.delay_s
        if outcome.breaker and decision.label in {Label.ENVIRONMENT, Label.NOT_SENT}:
            due_at = max(due_at, self._pause_for(case, outcome))
            wait_s = 0.0  # that is no time of the case's
        else:
            self._verdicts.worked(case)
        self._refused_in_a_row(case, outcome)
        self._end_probes(case, outcome)
        due = _next_due(case, decision, due_at, wait_s)
        if due is not None and outcome.waits_for:
            due = replace(due, waits_for=outcome.waits_for)
        self.schedule.put(case.case_id, due, case)
        self._wake(case, decision, outcome)
        if outcome.label not in SICK:
            self.schedule.let_go(case.case_id)
        if case.state in {State.CLAIMING, State.ARCHIVING}:
            self._bring_family(case)
        self._report(case, begun, decision, outcome)
        if decision.label is Label.RETURNED:
            self._on_returned(case, decision.problem)

    def _wake(self, case: Case, decision: Decision, outcome: Outcome) -> None:
        """Let go on who waited for this case; itself, if what it waits for has ended meanwhile."""
        if decision.state is not case.state:
            self.schedule.wake(case.case_id)
        if not outcome.waits_for:
            return
        with suppress(EnvironmentFault):  # it looks again by itself
            first = self.ports.store.earlier(outcome.waits_for)
            if first is None or not first.is_under_way:
                self.schedule.wake(outcome.waits_for)

    def _pause_for(self, case: Case, outcome: Outcome) -> float:
        """Open a breaker; return when the case may try again.

        A case that meets trouble while others close the breaker time and again waits longer by
        itself: it would open and close for ever.
        """
        fault, times = _fault_of(outcome), self._verdicts.paused(case)
        witness = Witness(case.case_id, times)
        retry_at = self.breakers.open(fault, kind=case.state, witness=witness)
        if times <= self.breakers.failures(fault.breaker):
            return retry_at
        patience = self._patience.get(case.recipe) or Patience()
        return max(retry_at, self._monotonic() + pause_s(times - 1, patience, self._chance))

    def _bring_family(self, case: Case) -> None:
        """Let the other cases of the same folder begin that have waited for this one."""
        try:
            if self._has_family(case):
                self.schedule.refresh()
        except EnvironmentFault:
            self.schedule.refresh_later()

    def _has_family(self, case: Case) -> bool:
        return bool(case.split_of or self.ports.store.parts_of(case.case_id))

    def _end_probes(self, case: Case, outcome: Outcome) -> None:
        """Tell the breakers what this step has shown, if it was a probe.

        Folders come before calls in every step, so trouble with a call shows the folders well.
        """
        label = outcome.label  # not what patience made of it
        is_root_trouble = label is Label.ENVIRONMENT and is_root(outcome.breaker or "")
        self.breakers.ended(
            case.case_id,
            proves_calls=label not in SICK | UNCALLED,
            proves_roots=label not in {Label.STOPPED, Label.INTERRUPTED} and not is_root_trouble,
            puts_off=label in {Label.TRANSIENT, Label.UNKNOWN},
            spared=f"recipe:{case.recipe}" if label is Label.INPUT else "",
        )

    def _refused_in_a_row(self, case: Case, outcome: Outcome) -> None:
        """Open a recipe's breaker when the Engine refuses its scans one after another."""
        if case.state is not State.SUBMITTING:
            return
        if self._verdicts.refused_in_a_row(case.recipe, outcome):
            self.breakers.open(_recipe_fault(case.recipe), kind=case.state)
        elif outcome.label is Label.OK:
            self.breakers.close(f"recipe:{case.recipe}", kind=case.state)

    def _report(self, case: Case, begun: Begun, decision: Decision, outcome: Outcome) -> None:
        problem = decision.problem
        if decision.arrow.to_verdict:
            problem = case.problem  # the reason of a failure, now that it is final
        fields = {
            "case_id": case.case_id,
            "recipe": case.recipe,
            "job_id": case.job_id,
            "step": str(case.state),
            "attempt": begun.attempt,
            "outcome": str(decision.label),
            "duration_s": round(outcome.duration_s, 3),
            "bytes": outcome.bytes,
            "reason": unquoted(problem.message) if problem else None,
            "code": problem.code if problem else None,
        }
        moved_on = decision.state is not case.state
        if decision.label is not Label.PENDING:
            self._log("step.done" if moved_on else "step.retry", **fields)
        event = _case_event(case, decision)
        if event:
            self._log(event, **{**fields, "name": case.case_name, "hint": problem and problem.hint})


def _next_due(case: Case, decision: Decision, due_at: float, wait_s: float) -> Due | None:
    """Return when and in which line a case is due after a decision; None: it rests, or is gone."""
    state = decision.state
    if state is None or state.is_at_rest:
        return None
    is_failing = (decision.arrow.verdict or case.verdict) in FAILING
    line = Line(state, case.recipe, case.is_counted, is_failing and state is State.ARCHIVING)
    return Due(due_at, line, wait_s=wait_s)


def _case_event(case: Case, decision: Decision) -> str:
    """Name the event in a case's life that a decision is, if it is one."""
    if case.state is State.CLAIMING and decision.state is State.SUBMITTING:
        return "case.claimed"
    if case.state is State.DELIVERING and decision.state is State.ARCHIVING:
        return "case.delivered"
    if decision.state is None:
        return "candidate.returned"
    return f"case.{decision.state}" if decision.state.is_at_rest else ""


def _recipe_fault(recipe: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"The Engine refused three scans of recipe {recipe} in a row.",
        code="recipe_refused",
        hint="Look at the [job] of this recipe and at the messages of the failed cases.",
        breaker=f"recipe:{recipe}",
    )


def _fault_of(outcome: Outcome) -> EnvironmentFault:
    problem = outcome.problem
    return EnvironmentFault(
        problem.message if problem else "",
        code=problem.code if problem else "environment",
        hint=problem.hint if problem else "",
        breaker=outcome.breaker or "",
        retry_after_s=outcome.retry_after_s,
    )


def _budget_fault(name: str) -> EnvironmentFault:
    recipe = name.partition(":")[2]
    whose = f"recipe {recipe}" if recipe else "all recipes"
    return EnvironmentFault(
        f"As many jobs as jobs_per_day allows for {whose} were submitted in the last 24 hours.",
        code="budget_used_up",
        hint="The rest goes on by itself when a day has passed. If this many scans are meant, "
        "raise jobs_per_day.",
        breaker=name,
    )


def _label_of_defect(case: Case) -> Label:
    """Try again after a defect of ours, but never a call that may have been paid for."""
    is_paid_submit = case.state is State.SUBMITTING and case.paid
    return Label.UNKNOWN if is_paid_submit else Label.TRANSIENT


def _defect(error: Exception) -> Problem:
    return Problem(
        FailureClass.TRANSIENT,
        "defect",
        f"The program met a defect of its own ({type(error).__name__}).",
        "It is tried again. Please report it with the log lines of this case.",
    )


def _interrupted(case: Case) -> Problem | None:
    if case.state is not State.SUBMITTING or not case.paid:
        return None
    return submit_unknown("The daemon died during a submit that starts the Engine at once")
