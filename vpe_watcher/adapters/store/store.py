"""The daemon's verbs on cases. Each method is one transaction, and none does anything else.

A method that changes a case names the state it expects and checks the row count: two of something
that must not exist twice fail in the database, not in a review.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vpe_watcher.adapters.store.daemon import DaemonVerbs, take_up_work
from vpe_watcher.adapters.store.database import mapped_errors
from vpe_watcher.adapters.store.memory import MemoryVerbs
from vpe_watcher.adapters.store.notices import NoticeVerbs, put_notice
from vpe_watcher.adapters.store.progress import ProgressVerbs, first_in_way
from vpe_watcher.adapters.store.rebuild import RebuildVerbs
from vpe_watcher.adapters.store.retention import STEP as PRUNING
from vpe_watcher.adapters.store.retention import RetentionVerbs
from vpe_watcher.adapters.store.rows import dump_problem, dump_tally, load_case
from vpe_watcher.adapters.store.statements import (
    WAITS_FOR_FAMILY,
    add_event,
    begin_event,
    event_name,
    first_submits,
    forget_digests,
    forget_links,
    is_cancelled_in_part,
    is_in_step,
    is_reserved,
    must_load,
    put_inputs,
    put_moves,
    remember,
    reserve,
    update_case,
    waits_for_family,
)
from vpe_watcher.adapters.store.values import Begun, Legacy, NewCase, Remembered, UnderWay
from vpe_watcher.core.keys import request_key, sizes_key
from vpe_watcher.core.machine import TABLE, Decision
from vpe_watcher.core.model import AT_REST, FAILING, Case, Label, Move, Outcome, State
from vpe_watcher.core.moments import iso
from vpe_watcher.core.names import folder_name, name_key, numbered
from vpe_watcher.core.notices import of_case


class Store(DaemonVerbs, MemoryVerbs, NoticeVerbs, ProgressVerbs, RebuildVerbs, RetentionVerbs):
    """The state file as the daemon uses it. `now` returns seconds since 1970."""

    def load(self, case_id: str) -> Case | None:
        """Read one case."""
        with self.database.reading() as connection:
            return load_case(connection, case_id)

    def knows(self, case_id: str) -> bool:
        """Tell whether a case has a row."""
        return bool(self.database.read("SELECT 1 FROM cases WHERE case_id = ?", (case_id,)))

    def counts_of_open(self) -> dict[State, int]:
        """Count what is under way or held, by state in the order of the steps."""
        asked = tuple(state for state in State if not state.is_at_rest or state is State.HELD)
        marks = ", ".join("?" * len(asked))
        rows = self.database.read(
            f"SELECT state, COUNT(*) AS n FROM cases WHERE state IN ({marks}) GROUP BY state",  # noqa: S608 - question marks
            tuple(map(str, asked)),
        )
        found = {row["state"]: row["n"] for row in rows}
        return {state: found[state] for state in asked if state in found}

    def due(self) -> list[UnderWay]:
        """Return all cases that are not at rest, oldest first."""
        rows = self.database.read(
            "SELECT case_id, recipe, state, first_submit_at, verdict, CASE state "  # noqa: S608 - ours
            "WHEN 'submitting' THEN (SELECT SUM(size) FROM inputs WHERE inputs.case_id = "
            "cases.case_id AND download_url IS NULL) END AS unsent FROM cases WHERE state IN "
            "('claiming', 'submitting', 'uploading', 'notifying', 'waiting', 'fetching', "
            "'delivering', 'archiving') "
            f"AND NOT {WAITS_FOR_FAMILY} "
            "ORDER BY seq"
        )
        return [
            UnderWay(
                row["case_id"],
                row["recipe"],
                State(row["state"]),
                row["first_submit_at"] is not None,
                row["state"] == State.ARCHIVING and row["verdict"] in FAILING,
                row["unsent"] or 0,
            )
            for row in rows
        ]

    def parts_of(self, case_id: str) -> list[str]:
        """Return the ids of the other cases that came of the same folder as this one, the first."""
        rows = self.database.read(
            "SELECT case_id FROM cases WHERE split_of = ? AND split_of <> ''", (case_id,)
        )
        return [row["case_id"] for row in rows]

    def is_waiting_for_family(self, case_id: str) -> bool:
        """Tell whether a case cannot go on before another case of the same folder has."""
        with self.database.reading() as connection:
            return waits_for_family(connection, case_id)

    def is_cancelled_in_part(self, case_id: str) -> bool:
        """Tell whether a person wants this case, or a part of its folder, cancelled."""
        with self.database.reading() as connection:
            return is_cancelled_in_part(connection, case_id)

    def borrower_of(self, case_id: str) -> str:
        """Name a case that a person sent again and that needs these files, unpaid as it is."""
        rows = self.database.read(
            "SELECT case_id FROM cases WHERE paid = 0 AND retries > 0 "
            "AND state IN ('claiming', 'submitting', 'uploading', 'notifying') "
            "AND (late_for = ? OR EXISTS (SELECT 1 FROM slices "
            "WHERE slices.case_id = cases.case_id AND owner = ?)) LIMIT 1",
            (case_id, case_id),
        )
        return rows[0]["case_id"] if rows else ""

    def claimed_sources(self) -> set[str]:
        """Return the inbox paths that a case is about to take; what it has taken is free again.

        A case may be on its way to the failed folder without ever having been in a claim.
        """
        rows = self.database.read(
            "SELECT source FROM moves JOIN cases USING (case_id) "
            "WHERE claimed IS NULL AND split_of = '' "
            "AND (state IN ('claiming', 'archiving') OR due_step IS NOT NULL)"
        )
        return {row["source"] for row in rows}

    def add_cases(
        self,
        cases: Sequence[NewCase],
        *,
        is_taken: Callable[[str], bool],
        remembered: tuple[str, Sequence[Remembered]] = ("", ()),
    ) -> tuple[str, ...]:
        """Write the rows of cases that are claimed together, all or none; return their folders.

        `is_taken` asks the folders, outside any transaction; the names of other cases are asked
        here, and the names are reserved with the rows. `remembered` is a root with the files in it
        that these cases leave in place.
        """
        root, files = remembered
        while True:
            folders: list[str] = []
            for new in cases:
                folders.append(self._free_name(new.case_name, is_taken, tuple(folders)))
            with self.database.transaction() as connection:
                if any(is_reserved(connection, folder) for folder in folders):
                    continue  # another case took it between the question and here
                for new, folder in zip(cases, folders, strict=True):
                    self._insert(connection, new, folder)
                remember(connection, root, files)
                return tuple(folders)

    def _free_name(
        self, case_name: str, is_taken: Callable[[str], bool], others: tuple[str, ...] = ()
    ) -> str:
        """Ask rows and folders for a free name, outside a transaction: folders may be slow."""
        connection = self.database.connection()
        keys = {name_key(name) for name in others}
        with mapped_errors():
            return numbered(
                folder_name(case_name),
                lambda name: (
                    name_key(name) in keys or is_reserved(connection, name) or is_taken(name)
                ),
            )

    def _insert(self, connection: sqlite3.Connection, new: NewCase, folder: str) -> None:
        now = iso(self._now())
        connection.execute(
            "INSERT INTO cases (case_id, case_name, recipe, state, folder, content, sight, "
            "job, job_json, engine_version, request_key, sizes_key, skipped, doom, hold, split_of, "
            "late_for, detected, updated) "
            "VALUES (?, ?, ?, 'claiming', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                new.case_id,
                new.case_name,
                new.recipe,
                folder,
                new.content,
                new.sight,
                json.dumps(new.job),
                json.dumps(new.job_json),
                new.engine_version,
                request_key(new.job, new.engine_version),
                sizes_key(new.inputs),
                json.dumps(new.skipped),
                dump_problem(new.doom),
                dump_problem(new.hold),
                new.split_of,
                new.late_for,
                iso(new.detected),
                now,
            ),
        )
        reserve(connection, folder, new.case_id)
        put_moves(connection, new.case_id, new.moves)
        put_inputs(connection, new.case_id, new.inputs)
        notes = "; ".join(new.notes) or None
        add_event(connection, new.case_id, now, "candidate.taken", reason=notes)

    def reserve_name(self, case_id: str, *, is_taken: Callable[[str], bool]) -> str:
        """Give a case the next free folder name and return it."""
        with self.database.reading() as connection:
            case_name = must_load(connection, case_id).case_name
        while True:
            folder = self._free_name(case_name, is_taken)
            with self.database.transaction() as connection:
                if is_reserved(connection, folder):
                    continue
                reserve(connection, folder, case_id)
                update_case(connection, case_id, folder=folder)
                return folder

    def begin(self, case_id: str, state: State, *, jobs_per_day: Mapping[str, int]) -> Begun | str:
        """Record the begin of an attempt at the effect that is due.

        `jobs_per_day` holds the limits by budget breaker (`budget`, `budget:<recipe>`); 0 = none.
        Returns the attempt; or the name of a budget that is used up; or "" when the case is not
        in this state any more.
        """
        now = self._now()
        with self.database.transaction() as connection:
            case = load_case(connection, case_id)
            if case is None or case.state is not state or waits_for_family(connection, case_id):
                return ""
            if state is State.SUBMITTING and case.job_id is None:
                spent = self._budget_used_up(connection, case, jobs_per_day, now)
                if spent:
                    return spent
                connection.execute(
                    "UPDATE cases SET first_submit_at = COALESCE(first_submit_at, ?), paid = ? "
                    "WHERE case_id = ?",
                    (iso(now), case.pays_at_submit, case_id),
                )
                case = must_load(connection, case_id)
            return Begun(case, *begin_event(connection, case, iso(now)))

    def _budget_used_up(
        self,
        connection: sqlite3.Connection,
        case: Case,
        limits: Mapping[str, int],
        now: float,
    ) -> str:
        already = connection.execute(
            "SELECT first_submit_at FROM cases WHERE case_id = ?", (case.case_id,)
        ).fetchone()
        if already["first_submit_at"]:
            return ""
        for name, limit in limits.items():
            recipe = name.partition(":")[2]
            if limit and first_submits(connection, recipe, now) >= limit:
                return name
        return ""

    def knows_payment(self, case_id: str, job_id: str | None) -> bool:
        """Tell whether what may have been paid for a job of this case is recorded as begun.

        Without a job id it is a submit that starts the Engine at once.
        """
        if job_id is not None:
            sql = "SELECT 1 FROM jobs WHERE case_id = ? AND job_id = ? AND may_be_paid = 1"
            return bool(self.database.read(sql, (case_id, job_id)))
        sql = "SELECT 1 FROM events WHERE case_id = ? AND step = 'submitting'"
        return bool(self.database.read(sql, (case_id,)))

    def finish(
        self, begun: Begun, decision: Decision, outcome: Outcome, *, if_first: bool = False
    ) -> str:
        """Record the end of an attempt and the case's next state, in one transaction.

        A poll that is still processing keeps one event row for all of them. `if_first`: nothing is
        recorded where a case that may have the same content is in its way; its id is returned.
        """
        with self.database.transaction() as connection:
            first = first_in_way(connection, begun.case.case_id) if if_first else ""
            if not first:
                self._finish(connection, begun, decision, outcome)
        return first

    def take_over(
        self, settle: Callable[[Begun, bool], tuple[Decision, Outcome]], *, is_again: bool = False
    ) -> Legacy:
        """Take up a daemon's work: settle all attempts that the last one left open, or none.

        `settle` is told whether the last daemon died and did nothing else meanwhile. One
        transaction, so that a death in the middle of it does not make the rest look lone.
        `is_again`: this daemon has taken up work already, so what is recorded as working is itself.
        """
        left = self.abandon_open_attempts()
        with self.database.transaction() as connection:
            has_died, deaths = take_up_work(connection, self._now(), is_again=is_again)
            is_lone = has_died and len(left) == 1
            settled = tuple((begun, *settle(begun, is_lone)) for begun in left)
            for begun, decision, outcome in settled:
                self._finish(connection, begun, decision, outcome)
        return Legacy(has_died, deaths, settled)

    def _finish(
        self, connection: sqlite3.Connection, begun: Begun, decision: Decision, outcome: Outcome
    ) -> None:
        count = connection.execute(
            "UPDATE events SET event = ?, outcome = ?, reason = ?, duration_s = ? "
            "WHERE id = ? AND outcome IS NULL",
            (
                event_name(begun.case, decision),
                str(decision.label),
                decision.problem.message if decision.problem else None,
                round(outcome.duration_s, 3),
                begun.event_id,
            ),
        ).rowcount
        if count != 1:
            raise AssertionError("an attempt was finished twice")
        self._move_on(connection, begun.case, decision)

    def apply_word(
        self,
        case_id: str,
        decision: Decision,
        *,
        moves: tuple[Move, ...] = (),
        if_first: bool = False,
    ) -> bool:
        """Act on a person's word; False when the case is in a step or has moved on meanwhile.

        `if_first`: also False when a case that may have the same content is in its way.
        """
        with self.database.transaction() as connection:
            case = must_load(connection, case_id)
            if if_first and first_in_way(connection, case_id):
                return False
            rows = TABLE.get((case.state, case.paid), {})
            if is_in_step(connection, case_id) or rows.get(decision.label) != decision.arrow:
                return False
            add_event(
                connection, case_id, iso(self._now()), "word.done", outcome=str(decision.label)
            )
            if decision.label is Label.RETRY_STEP:
                self._prepare_step(connection, case)
            elif decision.label is not Label.CANCEL:
                self._prepare_retry(connection, case, decision, moves)
            self._move_on(connection, must_load(connection, case_id), decision)
        return True

    @staticmethod
    def _prepare_step(connection: sqlite3.Connection, case: Case) -> None:
        """Let a poisoned case go on where it stood: the word is about nothing else."""
        hold_retries = case.hold_retries + int(case.is_held_back)
        update_case(connection, case.case_id, retries=case.retries + 1, hold_retries=hold_retries)

    def _prepare_retry(
        self,
        connection: sqlite3.Connection,
        case: Case,
        decision: Decision,
        moves: tuple[Move, ...],
    ) -> None:
        is_new_job = decision.label is Label.RETRY_NEW_JOB
        put_moves(connection, case.case_id, moves)
        update_case(
            connection,
            case.case_id,
            retries=case.retries + 1,
            generation=case.generation + (1 if is_new_job else 0),
            is_rerun=int(case.is_rerun or is_new_job),
            doom=None,
            verdict=None,
            is_settling=0,
            publishing=0,
            result_status="complete",
            duplicate_of=None,
            outbox=None,
            finished=None,
            delivered=None,
        )
        connection.execute("DELETE FROM outputs WHERE case_id = ?", (case.case_id,))

    def _move_on(self, connection: sqlite3.Connection, case: Case, decision: Decision) -> None:
        if decision.state is None:
            if is_cancelled_in_part(connection, case.case_id):
                return  # the word would be forgotten with the rows: the case is claimed once more
            connection.execute(
                "DELETE FROM cases WHERE case_id = ? AND state = ?", (case.case_id, case.state)
            )
            connection.execute(
                "DELETE FROM cases WHERE split_of = ? AND split_of <> ''", (case.case_id,)
            )
            connection.execute("DELETE FROM remembered WHERE case_id = ?", (case.case_id,))
            return
        changes: dict[str, Any] = {"tally": dump_tally(decision.tally), "wait_reason": None}
        if decision.arrow.drops_job:
            changes |= dict.fromkeys(("job_id", "engine_result", "submitted", "uploaded"))
            forget_links(connection, case.case_id)
        if decision.arrow.pays is not None:
            changes["paid"] = int(decision.arrow.pays)
        if decision.arrow.verdict is not None:
            changes["verdict"] = str(decision.arrow.verdict)
        if decision.label is Label.CHANGED and decision.state is State.CLAIMING:
            changes |= {"is_settling": 1, "content_key": None}
            forget_digests(connection, case.case_id)
        changes |= self._problem_columns(case, decision)
        changes |= _step_columns(case, decision)
        changes |= _note_columns(case, decision)
        count = connection.execute(
            f"UPDATE cases SET state = ?, updated = ?, {', '.join(f'{c} = ?' for c in changes)} "  # noqa: S608
            "WHERE case_id = ? AND state = ?",
            (decision.state, iso(self._now()), *changes.values(), case.case_id, case.state),
        ).rowcount
        if count != 1:
            raise AssertionError("a case left its state while its step ran")
        if decision.state in AT_REST:
            now = iso(self._now())
            add_event(connection, case.case_id, now, f"case.{decision.state}", reason=None)
            self._put_notice_on(connection, case, decision)

    def _put_notice_on(
        self, connection: sqlite3.Connection, case: Case, decision: Decision
    ) -> None:
        """Let people be told, by the transaction that makes it true."""
        policy, problem = self.notice_policy, decision.problem or case.problem
        if decision.state not in {State.FAILED, State.HELD} or not policy.targets:
            return
        draft = of_case(case, decision.state, problem, names=policy.names)
        put_notice(connection, policy, draft, iso(self._now()))

    def _problem_columns(self, case: Case, decision: Decision) -> dict[str, Any]:
        """Keep a problem while it explains why the case stands where it stands."""
        is_trouble = decision.label is not Label.PENDING  # that one only says what it waits for
        columns: dict[str, Any] = {
            "problem": dump_problem(decision.problem) if is_trouble else None
        }
        if decision.label is Label.RETRY_STEP:
            return {"problem": dump_problem(case.due_problem)}
        is_nobodys = decision.label in {Label.ENVIRONMENT, Label.STOPPED, Label.INTERRUPTED}
        # What failed a case is known before its input is put away, and stays to be read.
        is_ending = case.state is State.ARCHIVING and decision.label is not Label.POISONED
        if is_ending or (is_nobodys and decision.state is case.state):
            columns = {}
        if decision.label in {Label.PENDING, Label.TRANSIENT, Label.ENVIRONMENT}:
            reason = decision.problem.message if decision.problem else None
            columns["wait_reason"] = reason
        return columns

    def abandon_open_attempts(self) -> list[Begun]:
        """Return the attempts that were under way when the last daemon died, but removals."""
        rows = self.database.read(
            "SELECT id, case_id, attempt FROM events "
            "WHERE step IS NOT NULL AND outcome IS NULL AND step <> ? ORDER BY id",
            (PRUNING,),
        )
        found = []
        for row in rows:
            case = self.load(row["case_id"])
            if case is not None:
                found.append(Begun(case, row["id"], row["attempt"]))
        return found

    def held_notes(self) -> tuple[list[Case], list[Case]]:
        """Return the cases whose `.held.txt` is to be written, and those whose must go."""
        rows = self.database.read(
            "SELECT case_id FROM cases WHERE state = 'held' AND is_noted = 0 "
            "UNION SELECT case_id FROM cases WHERE is_noted = 1 AND state <> 'held'"
        )
        cases = [self.load(row["case_id"]) for row in rows]
        found = [case for case in cases if case is not None]
        wanted = [case for case in found if case.state is State.HELD]
        return wanted, [case for case in found if case.state is not State.HELD]

    def set_noted(self, case: Case) -> None:
        """Record that a case's `.held.txt` was written; not if the case is another by now."""
        with self.database.transaction() as connection:
            if load_case(connection, case.case_id) == case:
                update_case(connection, case.case_id, is_noted=1)

    def set_unnoted(self, case_id: str) -> None:
        """Record that a case's `.held.txt` was removed."""
        with self.database.transaction() as connection:
            update_case(connection, case_id, is_noted=0)


def _note_columns(case: Case, decision: Decision) -> dict[str, Any]:
    """Ask for a note on what is held from now on, and for none to be left behind it.

    One from before says other words, and may be gone: it is removed before its row knows.
    """
    is_held = decision.state is State.HELD
    return {} if is_held is (case.state is State.HELD) else {"is_noted": int(not is_held)}


def _step_columns(case: Case, decision: Decision) -> dict[str, Any]:
    """Keep where a poisoned case stood, and why, until a person's word on it."""
    if decision.label is Label.POISONED:
        return {"due_step": str(case.state), "due_problem": dump_problem(case.problem)}
    return {"due_step": None, "due_problem": None} if case.due_step is not None else {}
