"""`retry` and `cancel`: a person's word, checked against the table and left for the daemon.

Checks all named cases before it says anything. Never changes a case: the daemon acts, and asks the
table again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.app.commands import opened, text
from vpe_watcher.app.result import ErrorEntry, Result, refused
from vpe_watcher.core.errors import Refusal, UsageError, WatcherError
from vpe_watcher.core.machine import TABLE, retry_label
from vpe_watcher.core.model import Case, Label, State
from vpe_watcher.core.retention import root_of

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings
    from vpe_watcher.adapters.store import Queries
    from vpe_watcher.app.listings import Listings
    from vpe_watcher.flow.places import Places

MEANING = {
    Label.RETRY_STEP: "it goes on where it stood; that costs nothing",
    Label.RETRY_UNPAID: "it is sent anew; nothing was paid for it",
    Label.RETRY_SAME_JOB: "the same job goes on; that costs nothing",
    Label.RETRY_NEW_JOB: "a new job, which may cost again",
}
PRUNED = "input_pruned"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which cases are meant: by name, or all of a state."""

    words: tuple[str, ...] = ()
    states: tuple[State, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """Where the files of cases may lie; `listings` ask folders that are configured no more."""

    queries: Queries
    places: Places
    listings: Listings


@dataclass(slots=True)
class Plan:
    """What a retry will do, and why not."""

    labels: dict[str, Label] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    errors: list[ErrorEntry] = field(default_factory=list)

    @property
    def costly(self) -> list[str]:
        """Return the cases that may cost money again."""
        return [case for case, label in self.labels.items() if label is Label.RETRY_NEW_JOB]


def retry(
    config: Path | None,
    wanted: Wanted,
    *,
    yes: bool,
    ask: Callable[[str], bool] | None,
) -> Result:
    """Leave the word `retry` for each case; `ask` is None where there is nobody to ask."""
    if not wanted.words and not wanted.states:
        raise UsageError(
            "Which cases?", code="usage", hint="Name at least one CASE, or --failed, or --held."
        )
    settings = opened.settings_of(config)
    with opened.acting(settings) as queries:
        plan = _plan(settings, queries, wanted)
        if plan.errors and (wanted.words or not plan.labels):
            return refused(*plan.errors)
        if plan.costly and not yes:
            _consent(plan.costly, ask)
        if queries and plan.labels:
            _say(queries, plan, yes=yes)
    messages = (*plan.skipped, *_told(settings, plan.labels, "retried"))
    lines = [f"{case_id}: {MEANING[label]}" for case_id, label in plan.labels.items()]
    return Result(
        lines=tuple(lines),
        messages=messages if plan.labels else (*plan.skipped, "There is nothing to retry."),
        errors=tuple(plan.errors),
        exit_code=1 if plan.errors else 0,
    )


def cancel(config: Path | None, words: tuple[str, ...]) -> Result:
    """Leave the word `cancel` for each case."""
    settings = opened.settings_of(config)
    errors: list[ErrorEntry] = []
    with opened.acting(settings) as queries:
        found = _named(queries, words, errors)
        errors += [entry for case in found if (entry := _why_not_cancelled(case))]
        if errors:
            return refused(*errors)
        case_ids = [case.case_id for case in found]
        if queries:
            queries.say("cancel", case_ids)
    lines = tuple(f"{case_id}: to be cancelled" for case_id in case_ids)
    return Result(lines=lines, messages=_told(settings, case_ids, "cancelled"))


def _plan(settings: Settings, queries: Queries | None, wanted: Wanted) -> Plan:
    plan = Plan()
    named = _named(queries, wanted.words, plan.errors)
    if queries is None:
        return plan
    known = _known(settings, queries)
    for case in named:
        label = retry_label(case)
        refusal = _nothing_to_retry(case) if label is None else _input_gone(case, known)
        if refusal:
            plan.errors.append(refusal)
        elif label is not None:
            plan.labels[case.case_id] = label
    for case in _all_of(queries, wanted.states):
        _plan_one_of_many(plan, case, known)
    return plan


def _known(settings: Settings, queries: Queries) -> Known:
    from vpe_watcher.adapters.files import Disk
    from vpe_watcher.app.listings import Listings

    places = opened.places_of(settings, queries)
    return Known(queries, places, Listings(Disk(), monotonic=time.monotonic))


def _plan_one_of_many(plan: Plan, case: Case, known: Known) -> None:
    label = retry_label(case)
    if label is None:
        plan.skipped.append(f"{case.case_id} left out: it is {case.state}")
        return
    gone = _input_gone(case, known)
    if gone is None:
        plan.labels[case.case_id] = label
    elif gone.code == PRUNED:
        plan.skipped.append(f"{case.case_id} left out: its input was removed by [retention]")
    else:
        plan.errors.append(gone)


def _named(queries: Queries | None, words: Iterable[str], errors: list[ErrorEntry]) -> list[Case]:
    """Find each named case once; what cannot be found is added to `errors`."""
    found: dict[str, Case] = {}
    for word in words:
        try:
            case = opened.case_of(queries, word)
        except WatcherError as error:
            errors.append(ErrorEntry(error.code, error.message, error.hint))
        else:
            found.setdefault(case.case_id, case)
    return list(found.values())


def _all_of(queries: Queries, states: Iterable[State]) -> list[Case]:
    rows = [row for state in states for row in queries.cases(state=state)]
    cases = (queries.case(row["case_id"]) for row in rows)
    return [case for case in cases if case is not None]


def _nothing_to_retry(case: Case) -> ErrorEntry:
    if not case.state.is_at_rest:
        return ErrorEntry(
            "under_way",
            f"Case {case.case_id} is under way ({case.state}): there is nothing to retry.",
            "The daemon tries again by itself; `vpe-watcher show` says what it waits for.",
        )
    return ErrorEntry(
        "nothing_to_retry",
        f"Case {case.case_id} is {case.state}: there is nothing to retry.",
        f"Its results are in {case.outbox}." if case.outbox else "",
    )


def _input_gone(case: Case, known: Known) -> ErrorEntry | None:
    """Say that a case's files are not there; of late slices also those of the first case."""
    first = known.queries.case(case.late_for) if case.late_for and case.hold else None
    gone = _files_gone(case, known)
    return gone or (_files_gone(first, known) if first else None)


def _files_gone(case: Case, known: Known) -> ErrorEntry | None:
    places, queries = known.places, known.queries
    if case.recipe not in places.inboxes:
        return ErrorEntry(
            "recipe_gone",
            f"Case {case.case_id} belongs to the recipe {case.recipe}, which is not configured.",
            "Put the recipe back into the configuration.",
        )
    pruned = queries.pruned(case.case_id)
    if pruned and not places.is_in_place(case.recipe):
        return ErrorEntry(
            PRUNED,
            f"The input of case {case.case_id} was removed on {text.moment(pruned.time)}"
            f"{f': {pruned.reason}' if pruned.reason else ''}.",
            "Drop the scan into the inbox once more: that makes a new case.",
        )
    is_put_away = root_of(case.state) and not places.is_in_place(case.recipe)
    if is_put_away and queries.is_in_step(case.case_id):  # at rest that is a removal
        return ErrorEntry(
            "input_going",
            f"The input of case {case.case_id} is just being removed by [retention].",
            "`vpe-watcher show` says when it is gone: then drop the scan once more.",
        )
    folder = places.input_folder(case)
    if _has_files(folder, case):
        return None
    if former := _former_root(case, known):
        return ErrorEntry(
            "input_elsewhere",
            f"The input of case {case.case_id} lies in {former}, which was configured before.",
            "Configure that folder again, until the case has been retried and is at rest.",
        )
    return ErrorEntry(
        "input_gone",
        f"The input of case {case.case_id} is not in {folder} any more.",
        "Put it back there, then retry: the same job goes on, which costs nothing. Do not drop it "
        "into the inbox once more: that may be paid for again."
        if retry_label(case) is Label.RETRY_SAME_JOB
        else "Put it back there, or drop the scan into the inbox once more: that makes a new case.",
    )


def _former_root(case: Case, known: Known) -> Path | None:
    """Return the inbox, archive or failed of an earlier configuration in which the files lie."""
    places = known.places
    is_held = case.state is State.HELD
    kind = f"inbox:{case.recipe}" if is_held else root_of(case.state)
    for root in map(Path, known.queries.roots_of(kind)):
        if not _answers(root, known.listings):
            continue
        inboxes = {case.recipe: root} if is_held else places.inboxes
        then = replace(places, inboxes=inboxes, archive=root, failed=root)
        if _has_files(then.input_folder(case), case):
            return root
    return None


def _answers(root: Path, listings: Listings) -> bool:
    """Tell whether a folder of before can be asked: a dead mount would hold up the command."""
    from vpe_watcher.flow.places import HIDDEN

    try:
        listings.names(root / HIDDEN)  # it holds few names, whatever its root does
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _has_files(folder: Path, case: Case) -> bool:
    names = [name for entry in case.inputs for name, _ in entry.files]
    return folder.is_dir() and all(_lies_in(folder, case, name) for name in names)


def _lies_in(folder: Path, case: Case, name: str) -> bool:
    return (folder / name).exists() or bool(
        case.content and (folder / case.content / name).exists()
    )


def _consent(costly: list[str], ask: Callable[[str], bool] | None) -> None:
    """Get a yes from a person. Raises `Refusal`."""
    what = f"{text.count(len(costly), 'case')} may cost again ({', '.join(costly)})"
    if ask is None:
        raise Refusal(
            f"A new job for {what}: that needs --yes. Nothing was done.",
            code="needs_yes",
            hint="`vpe-watcher show CASE` tells what is known. To pay again: retry … --yes",
        )
    if not ask(f"A new job for {what}. Go on?"):
        raise Refusal("Nothing was done.", code="not_confirmed")


def _say(queries: Queries, plan: Plan, *, yes: bool) -> None:
    costly = plan.costly
    free = [case_id for case_id in plan.labels if case_id not in costly]
    if yes or not free:
        queries.say("retry", list(plan.labels), may_cost=True)
        return
    queries.say("retry", free)
    if costly:
        queries.say("retry", costly, may_cost=True)


def _why_not_cancelled(case: Case) -> ErrorEntry | None:
    if Label.CANCEL in TABLE.get((case.state, case.paid), {}):
        return None
    if case.state.is_at_rest:
        return ErrorEntry(
            "at_rest",
            f"Case {case.case_id} is {case.state}: there is nothing to cancel.",
            "`vpe-watcher retry` takes it up again." if retry_label(case) else "",
        )
    if case.state is State.SUBMITTING:
        return ErrorEntry(
            "submit_under_way",
            f"Case {case.case_id} is just being sent, which may cost already.",
            "Try again in a moment.",
        )
    return ErrorEntry(
        "already_delivering",
        f"Case {case.case_id} is {case.state}: its results are already being delivered.",
        "It will be at rest in a moment.",
    )


def _told(settings: Settings, case_ids: Iterable[str], done: str) -> tuple[str, ...]:
    """Say when the daemon will act."""
    if not list(case_ids) or opened.daemon_pid(settings) is not None:
        return ()
    return (f"No daemon is running: they will be {done} at its next start.",)
