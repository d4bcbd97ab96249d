"""What the row of each case is to be, judged from an old state file (or none) and the folders.

Decides and changes nothing. The rules, in short: what was done last is the truth; what may have
been paid for is never submitted again; what is not known for certain is held for a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.store import Rebuilt
from vpe_watcher.core.keys import content_key, request_key
from vpe_watcher.core.model import (
    AT_REST,
    Case,
    Input,
    Move,
    Notified,
    Problem,
    State,
)
from vpe_watcher.core.records import PARTS, RECORD, TIMES, UNREADABLE, Recorded, claimed_case
from vpe_watcher.flow.places import Places
from vpe_watcher.flow.ports import Rules
from vpe_watcher.flow.rest import ERROR_FILES
from vpe_watcher.flow.survey import Claim, Ending, Survey, with_files, with_marks_of_now
from vpe_watcher.flow.verdicts import submit_unknown

ORDINARY = "n:"


class Way(StrEnum):
    """What becomes of a case that was rebuilt, in words for one and for many."""

    WAITS = "going on waiting for the job"
    HELD = "held, because nobody knows whether it was paid for"
    AGAIN = "begun again, nothing was paid"
    PUT_AWAY = "ended, and to be put away"
    HISTORY = "at rest"


@dataclass(slots=True)
class Recovery:
    """What is to be written, and what is to be done in the folders."""

    rebuilt: list[Rebuilt] = field(default_factory=list)
    ways: dict[str, Way] = field(default_factory=dict)
    put_back: list[Claim] = field(default_factory=list)
    empty: list[Claim] = field(default_factory=list)

    def count(self, way: Way) -> int:
        """Count the cases that went a way."""
        return sum(one is way for one in self.ways.values())


class Judge:
    """Compares rows with folders. `knows_payment` asks the old state file, as the start does.

    `is_outdated`: the folders know more than the rows.
    """

    def __init__(
        self,
        found: Survey,
        rows: Mapping[str, Case],
        *,
        disk: Disk,
        places: Places,
        rules: Rules,
        knows_payment: Callable[[str, str | None], bool],
        is_outdated: bool,
    ) -> None:
        self._found = found
        self._rows = rows
        self._disk = disk
        self._places = places
        self._rules = rules
        self._knows_payment = knows_payment
        self._is_outdated = is_outdated
        self._parts = dict(self._parts_named()) if is_outdated else {}
        self._recovery = Recovery()
        self._jobs = {row.job_id: row.case_id for row in rows.values() if row.job_id}

    def judged(self) -> Recovery:
        """Return what is to be done, cases in the order in which they were claimed."""
        for case_id in self._found.case_ids:
            claim = self._found.claims.get(case_id)
            if claim is not None and not claim.is_empty:
                self._judge_claim(claim)
            else:
                self._judge_rest(case_id)
                if claim is not None:
                    self._recovery.empty.append(claim)
        for case_id, part in self._parts.items():
            if not self._is_known(case_id):
                self._put(replace(part.case, is_settling=True), part, Way.AGAIN)
        return self._recovery

    # --- at rest ----------------------------------------------------------------------------------

    def _judge_rest(self, case_id: str) -> None:
        """Believe the documents of a case whose files are in no claim, unless its row is newer."""
        row = self._rows.get(case_id)
        rest, delivery = self._found.rests.get(case_id), self._found.deliveries.get(case_id)
        ending = rest or delivery
        if ending is None or (row is not None and not _is_older(row, ending)):
            return
        recorded = ending.recorded
        case = recorded.case
        if rest is not None:
            case = with_files(self._disk, case, rest.path)
        case = replace(case, recipe=case.recipe or self._recipe_of(case_id))
        case = replace(case, verdict=case.state, moves=self._moves_in_place(case, recorded.series))
        self._put(case, recorded, Way.HISTORY)

    def _recipe_of(self, case_id: str) -> str:
        """Return the recipe of a case whose document names none, by what else there is.

        A row of before, the result of an earlier ending; files that were moved come of no export.
        """
        row, delivery = self._rows.get(case_id), self._found.deliveries.get(case_id)
        told = (row and row.recipe) or (delivery and delivery.recorded.case.recipe)
        if told:
            return told
        rest = self._found.rests.get(case_id)
        if rest is not None and not ERROR_FILES.issuperset(self._disk.names(rest.path)):
            movers = [one for one in self._places.inboxes if not self._places.is_in_place(one)]
            if len(movers) == 1:
                return movers[0]
        return "default"

    def _moves_in_place(self, case: Case, series: frozenset[str]) -> tuple[Move, ...]:
        if not self._places.is_in_place(case.recipe):
            return ()
        inbox = self._places.inboxes[case.recipe]
        return tuple(
            Move(str(inbox / one.name), f"{case.case_id}/{one.name}")
            for one in case.inputs
            if str(one.modality) not in series
        )

    # --- claims -----------------------------------------------------------------------------------

    def _judge_claim(self, claim: Claim) -> None:
        row = self._rows.get(claim.case_id)
        recorded = _recorded(claim)
        retries = recorded.case.retries if recorded else row.retries if row else 0
        ending = self._ending_since(claim.case_id, retries)
        if ending is not None:
            if row is None or not _goes_on_by_itself(row, ending):
                self._put_away(claim, ending.recorded, recorded)
        elif row is None or self._is_behind(row, claim, recorded):
            self._rebuild(claim, recorded)
        elif row.state in AT_REST and row.state is not State.HELD:
            key = request_key(row.job, row.engine_version)
            case = replace(row, state=State.ARCHIVING, verdict=row.state)
            self._put(case, Recorded(case, key, content_key(row.inputs) or None), Way.PUT_AWAY)

    def _ending_since(self, case_id: str, retries: int) -> Ending | None:
        """Return the ending of a case that nobody has taken up again since."""
        for endings in (self._found.rests, self._found.deliveries):
            if case_id in endings and endings[case_id].retries >= retries:
                return endings[case_id]
        return None

    def _rebuild(self, claim: Claim, recorded: Recorded | None) -> None:
        """Make the row of a claim of what lies in it."""
        if claim.document is not None:
            self._put_away(claim, claim.document, recorded)
        elif claim.is_paid:
            self._paid(claim, recorded)
        elif recorded is not None:
            self._again(recorded)
        elif claim.case_id not in self._parts:
            self._recovery.put_back.append(claim)

    def _is_behind(self, row: Case, claim: Claim, recorded: Recorded | None) -> bool:
        """Tell whether the evidence is newer than a row."""
        if recorded is not None and recorded.case.retries != row.retries:
            return recorded.case.retries > row.retries
        if claim.is_damaged:
            return self._is_outdated and not row.paid
        return claim.is_paid and not self._knows_payment(row.case_id, claim.job_id)

    def _is_known(self, case_id: str) -> bool:
        known = (self._rows, self._recovery.ways, self._found.rests, self._found.deliveries)
        return any(case_id in one for one in known)

    def _parts_named(self) -> Iterator[tuple[str, Recorded]]:
        """Yield the cases that are yet to be taken out of the claim of their folder's first case.

        Some of their files may be in a claim of their own already. What is put back has no parts.
        """
        for claim in self._found.claims.values():
            parts = (claim.evidence or {}).get(PARTS)
            is_put_back = not claim.is_paid and _recorded(claim) is None
            if is_put_back or not isinstance(parts, dict):
                continue
            for case_id, record in parts.items():
                try:
                    part = claimed_case(case_id, claim.recipe, record)
                except UNREADABLE:
                    continue
                if self._is_there(part.case):
                    yield case_id, part

    def _is_there(self, part: Case) -> bool:
        claims = self._places.claims(part.recipe)
        return all(
            self._disk.exists(Path(move.source)) or self._disk.exists(claims / move.target)
            for move in part.moves
        )

    def _paid(self, claim: Claim, recorded: Recorded | None) -> None:
        """Go on waiting for the job of a claim that may be paid; without one a person decides."""
        known = recorded or self._bare(claim)
        here = with_marks_of_now(self._disk, known.case, claim.folder / known.case.content)
        inputs = tuple(
            replace(
                one,
                uploaded=True,
                notified=Notified.BEGUN if one.notified is Notified.NO else one.notified,
            )
            for one in here.inputs
        )
        case = replace(here, paid=True, is_counted=True)
        if claim.job_id is None:
            self._put(replace(case, state=State.HELD, problem=_unknown()), known, Way.HELD)
            return
        case = replace(case, state=State.WAITING, job_id=claim.job_id, inputs=inputs)
        self._put(case, known, Way.WAITS)

    def _again(self, recorded: Recorded) -> None:
        """Start a case again that was certainly not paid for."""
        inputs = tuple(
            replace(one, uploaded=False, notified=Notified.NO, notify_url=None)
            for one in recorded.case.inputs
        )
        times = {**recorded.case.times, "submitted": None, "uploaded": None}
        case = replace(recorded.case, inputs=inputs, times=times, is_settling=True)
        self._put(case, recorded, Way.AGAIN)

    def _put_away(self, claim: Claim, ended: Recorded, recorded: Recorded | None) -> None:
        """Let a case go on to its rest that was delivered, or failed, already."""
        case = ended.case
        if recorded is not None and recorded.case.retries == case.retries:
            case = replace(case, inputs=_with_slices(case, recorded.case))
        case = with_files(self._disk, case, claim.folder / case.content)
        case = replace(case, state=State.ARCHIVING, verdict=case.state, recipe=claim.recipe)
        self._put(case, ended, Way.PUT_AWAY)

    # --- what is written --------------------------------------------------------------------------

    def _put(self, case: Case, recorded: Recorded, way: Way) -> None:
        delivery = self._found.deliveries.get(case.case_id)
        is_ended = case.state is State.ARCHIVING or way is Way.HISTORY
        if is_ended and delivery is not None and delivery.retries == case.retries:
            case = replace(case, outbox=str(delivery.path))
        if case.job_id and self._jobs.setdefault(case.job_id, case.case_id) != case.case_id:
            case = _without_job(case)  # a copy that somebody made of another case's documents
            way = Way.HELD if case.state is State.HELD else way
        job, key = self._request(case, recorded)
        self._recovery.ways[case.case_id] = way
        self._recovery.rebuilt.append(
            Rebuilt(
                replace(case, job=job),
                request_key=key,
                content_key=recorded.content_key,
                reason=f"rebuilt from the folders: {way}",
                names=tuple(sorted(self._found.names.get(case.case_id, ()))),
            )
        )

    def _request(self, case: Case, recorded: Recorded) -> tuple[dict[str, object], str]:
        """Return what a case asked for, with the URLs of the configuration where it is the same."""
        recipe = self._rules.recipes.get(case.recipe)
        configured = dict(recipe.job) if recipe else {}
        key = request_key(configured, case.engine_version)
        if recorded.request_key in {key, ""}:
            return configured, key
        return case.job, recorded.request_key

    def _bare(self, claim: Claim) -> Recorded:
        """Return what is known of a case whose evidence has no record: its row, if there is one."""
        row = self._rows.get(claim.case_id)
        if row is not None:
            key = request_key(row.job, row.engine_version)
            return Recorded(_anew(row, claim.job_id), key, content_key(row.inputs) or None)
        recipe = self._rules.recipes.get(claim.recipe)
        names = [name for name in claim.entries if not name.endswith(".json")] or [claim.case_id]
        case = Case(
            case_id=claim.case_id,
            case_name=Path(names[0]).stem,
            recipe=claim.recipe,
            state=State.CLAIMING,
            folder="",
            content="",
            sight=ORDINARY,
            job=dict(recipe.job) if recipe else {},
            engine_version=self._rules.engine_version,
            inputs=(),
            moves=(),
            times=dict.fromkeys(TIMES),
        )
        return Recorded(case, "", None)


def _anew(row: Case, job_id: str | None) -> Case:
    """Return a row as its case is before anything is sent; another paid job is another's turn."""
    is_another = row.paid and row.job_id is not None and row.job_id != job_id
    return replace(
        row,
        state=State.CLAIMING,
        verdict=None,
        job_id=None,
        generation=row.generation + is_another,
        publishing=False,
        problem=None,
        due_step=None,
        due_problem=None,
        outputs=(),
    )


def _without_job(case: Case) -> Case:
    """Return a case whose job is another's; without one it cannot go on by itself."""
    if case.state in AT_REST or case.state is State.ARCHIVING:
        return replace(case, job_id=None)
    return replace(case, job_id=None, state=State.HELD, problem=_unknown())


def _is_older(row: Case, ending: Ending) -> bool:
    """Tell whether a row knows less than the documents of its case, whose claim is empty."""
    if row.retries != ending.retries:
        return row.retries < ending.retries
    if row.state is State.ARCHIVING:
        return row.verdict is not ending.recorded.case.state
    return row.state not in AT_REST or row.state is State.HELD


def _goes_on_by_itself(row: Case, ending: Ending) -> bool:
    """Tell whether a row leads to an ending that is there already, without doing it twice."""
    if row.retries != ending.retries:
        return row.retries > ending.retries
    is_publishing = row.state is State.DELIVERING and row.publishing
    return (is_publishing and row.folder == ending.path.name) or (
        row.state is State.ARCHIVING and row.verdict is ending.recorded.case.state
    )


def _recorded(claim: Claim) -> Recorded | None:
    try:
        record = (claim.evidence or {})[RECORD]
        return claimed_case(claim.case_id, claim.recipe, record)
    except UNREADABLE:
        return None


def _with_slices(ended: Case, claimed: Case) -> tuple[Input, ...]:
    """Return the inputs of a document with the series and slices that the evidence names."""
    known = {one.modality: one for one in claimed.inputs if one.series_uid}
    return tuple(
        replace(one, series_uid=known[one.modality].series_uid, slices=known[one.modality].slices)
        if one.modality in known
        else one
        for one in ended.inputs
    )


def _unknown() -> Problem:
    return submit_unknown(
        "A submit that starts the Engine at once was begun, and the state file that knew its "
        "answer was lost"
    )
