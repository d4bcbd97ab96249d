"""The daemon's verbs on the state file. Each method is one transaction, and none does anything else.

A method that changes a case names the state it expects and checks the row count: two of something
that must not exist twice fail in the database, not in a review.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpe_watcher.adapters.store.database import Database
from vpe_watcher.adapters.store.rows import (
    dump_problem,
    dump_tally,
    load_case,
    mark_columns,
)
from vpe_watcher.core.machine import Decision
from vpe_watcher.core.model import (
    AT_REST,
    Case,
    FileMark,
    Input,
    Label,
    Move,
    Notified,
    Outcome,
    Output,
    Problem,
    State,
)
from vpe_watcher.core.moments import iso
from vpe_watcher.core.names import folder_name, name_key, numbered
from vpe_watcher.core.wire import Links, digest_of

DAY_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class NewCase:
    """What the intake knows of a candidate that it takes."""

    case_id: str
    case_name: str
    recipe: str
    job: Mapping[str, Any]
    engine_version: str
    moves: tuple[Move, ...]
    inputs: tuple[Input, ...]
    detected: float
    content: str = ""
    job_json: tuple[str, ...] = ()
    skipped: tuple[dict[str, str], ...] = ()
    doom: Problem | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt under way: the case as it was, the event row, the attempt's number in its step."""

    case: Case
    event_id: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Word:
    """What a person asked for by a command. `may_cost`: a yes to paying again."""

    word_id: int
    word: str
    subject: str
    may_cost: bool


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier case that may hold the same scan."""

    case_id: str
    state: State
    paid: bool
    content_key: str | None
    verdict: State | None


class Store:
    """The state file as the daemon uses it. `now` returns seconds since 1970."""

    def __init__(self, database: Database, *, now: Callable[[], float]) -> None:
        self.database = database
        self._now = now

    # --- the daemon itself -----------------------------------------------------------------------

    def identity(self) -> tuple[str, int]:
        """Return the daemon's id ("" before its first start) and how often it was started."""
        rows = self.database.read("SELECT daemon_id, starts FROM daemon")
        return (rows[0]["daemon_id"], rows[0]["starts"]) if rows else ("", 0)

    def record_start(self, *, fresh_id: str) -> tuple[str, int]:
        """Count one start; the first one takes `fresh_id` for good. Returns id and count."""
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT INTO daemon (id, daemon_id) VALUES (1, ?) ON CONFLICT DO NOTHING",
                (fresh_id,),
            )
            connection.execute("UPDATE daemon SET starts = starts + 1")
        return self.identity()

    def known_roots(self) -> dict[str, str]:
        """Return the path of each root that bears our marker, by its name."""
        rows = self.database.read("SELECT name, path FROM roots")
        return {row["name"]: row["path"] for row in rows}

    def add_root(self, name: str, path: str) -> None:
        """Record that a root bears our marker; again with another path replaces it."""
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT INTO roots (name, path, marked_at) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET path = excluded.path, first_scan_at = NULL",
                (name, path, iso(self._now())),
            )

    def is_scanned(self, name: str) -> bool:
        """Tell whether a root had its very first scan."""
        rows = self.database.read("SELECT first_scan_at FROM roots WHERE name = ?", (name,))
        return bool(rows and rows[0]["first_scan_at"])

    def record_first_scan(self, name: str, existing: Mapping[str, str]) -> None:
        """Record a root's very first scan and what in it is not wanted (path: fingerprint)."""
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE roots SET first_scan_at = ? WHERE name = ?", (iso(self._now()), name)
            )
            connection.executemany(
                "INSERT OR REPLACE INTO existing (root, path, fingerprint) VALUES (?, ?, ?)",
                [(name, path, mark) for path, mark in existing.items()],
            )

    def existing(self, name: str) -> dict[str, str]:
        """Return what was not wanted at a root's very first scan (path: fingerprint)."""
        rows = self.database.read("SELECT path, fingerprint FROM existing WHERE root = ?", (name,))
        return {row["path"]: row["fingerprint"] for row in rows}

    def put_snapshot(self, body: Mapping[str, Any]) -> None:
        """Replace what other processes may read of the daemon's memory."""
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT INTO snapshot (id, body, written_at) VALUES (1, ?, ?) ON CONFLICT (id) "
                "DO UPDATE SET body = excluded.body, written_at = excluded.written_at",
                (json.dumps(body), iso(self._now())),
            )

    def words(self) -> list[Word]:
        """Return what people have said and is not yet done, oldest first."""
        rows = self.database.read("SELECT id, word, subject, may_cost FROM words ORDER BY id")
        return [
            Word(row["id"], row["word"], row["subject"], bool(row["may_cost"])) for row in rows
        ]

    def forget_word(self, word_id: int) -> None:
        """Strike out a word that was acted on."""
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM words WHERE id = ?", (word_id,))

    # --- cases -----------------------------------------------------------------------------------

    def load(self, case_id: str) -> Case | None:
        """Read one case."""
        return load_case(self.database.connection(), case_id)

    def due(self) -> list[tuple[str, str, State]]:
        """Return (case id, recipe, state) of all cases that are not at rest, oldest first."""
        rows = self.database.read(
            "SELECT case_id, recipe, state FROM cases WHERE state NOT IN "
            "('done', 'partial', 'duplicate', 'failed', 'held', 'cancelled') ORDER BY seq"
        )
        return [(row["case_id"], row["recipe"], State(row["state"])) for row in rows]

    def claimed_sources(self) -> set[str]:
        """Return the inbox paths that a case in `claiming` is about to take."""
        rows = self.database.read(
            "SELECT source FROM moves JOIN cases USING (case_id) WHERE state = 'claiming'"
        )
        return {row["source"] for row in rows}

    def add_case(self, new: NewCase, *, is_taken: Callable[[str], bool]) -> str:
        """Write the row of a case that is about to be claimed; return its folder name.

        `is_taken` asks the folders; the names of other cases are asked here. The name is
        reserved in the same transaction.
        """
        now = iso(self._now())
        with self.database.transaction() as connection:
            folder = numbered(
                folder_name(new.case_name),
                lambda name: _is_reserved(connection, name) or is_taken(name),
            )
            connection.execute(
                "INSERT INTO cases (case_id, case_name, recipe, state, folder, content, job, "
                "job_json, engine_version, request_key, sizes_key, skipped, doom, detected, "
                "updated) VALUES (?, ?, ?, 'claiming', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    new.case_id,
                    new.case_name,
                    new.recipe,
                    folder,
                    new.content,
                    json.dumps(new.job),
                    json.dumps(new.job_json),
                    new.engine_version,
                    _request_key(new.job, new.engine_version),
                    _sizes_key(new.inputs),
                    json.dumps(new.skipped),
                    dump_problem(new.doom),
                    iso(new.detected),
                    now,
                ),
            )
            _reserve(connection, folder, new.case_id)
            _put_moves(connection, new.case_id, new.moves)
            _put_inputs(connection, new.case_id, new.inputs)
            _trail(connection, new.case_id, now, "candidate.taken")
        return folder

    def reserve_name(self, case_id: str, *, is_taken: Callable[[str], bool]) -> str:
        """Give a case the next free folder name and return it."""
        with self.database.transaction() as connection:
            case = _must_load(connection, case_id)
            folder = numbered(
                folder_name(case.case_name),
                lambda name: _is_reserved(connection, name) or is_taken(name),
            )
            _reserve(connection, folder, case_id)
            _update(connection, case_id, folder=folder)
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
            if case is None or case.state is not state:
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
            event_id, attempt = _begin_event(connection, case, iso(now))
            return Begun(_must_load(connection, case_id), event_id, attempt)

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
            if limit and _first_submits(connection, recipe, now) >= limit:
                return name
        return ""

    def budget_used_up(self, name: str, limit: int) -> bool:
        """Tell whether a budget (`budget`, `budget:<recipe>`) is used up now."""
        recipe = name.partition(":")[2]
        return bool(
            limit and _first_submits(self.database.connection(), recipe, self._now()) >= limit
        )

    def finish(self, begun: Begun, decision: Decision, outcome: Outcome) -> None:
        """Record the end of an attempt and the case's next state, in one transaction.

        A poll that is still processing keeps one event row for all of them.
        """
        case = begun.case
        with self.database.transaction() as connection:
            reason = decision.problem.message if decision.problem else None
            connection.execute(
                "UPDATE events SET event = ?, outcome = ?, reason = ?, duration_s = ? "
                "WHERE id = ? AND outcome IS NULL",
                (
                    _event_name(case, decision),
                    str(decision.label),
                    reason,
                    round(outcome.duration_s, 3),
                    begun.event_id,
                ),
            )
            self._move_on(connection, case, decision)

    def apply_word(self, case_id: str, decision: Decision, *, moves: tuple[Move, ...] = ()) -> bool:
        """Act on a person's word; False when the case is in a step or has moved on meanwhile."""
        with self.database.transaction() as connection:
            case = _must_load(connection, case_id)
            if _is_in_step(connection, case_id):
                return False
            _trail(connection, case_id, iso(self._now()), "word.done", outcome=str(decision.label))
            if decision.label is not Label.CANCEL:
                self._prepare_retry(connection, case, decision, moves)
            self._move_on(connection, _must_load(connection, case_id), decision)
        return True

    def _prepare_retry(
        self,
        connection: sqlite3.Connection,
        case: Case,
        decision: Decision,
        moves: tuple[Move, ...],
    ) -> None:
        is_new_job = decision.label is Label.RETRY_NEW_JOB
        _put_moves(connection, case.case_id, moves)
        _update(
            connection,
            case.case_id,
            retries=case.retries + 1,
            generation=case.generation + (1 if is_new_job else 0),
            is_rerun=int(case.is_rerun or is_new_job),
            doom=None,
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
            connection.execute(
                "DELETE FROM cases WHERE case_id = ? AND state = ?", (case.case_id, case.state)
            )
            return
        changes: dict[str, Any] = {"tally": dump_tally(decision.tally), "wait_reason": None}
        if decision.arrow.drops_job:
            changes |= dict.fromkeys(("job_id", "engine_result", "submitted", "uploaded"))
            _forget_links(connection, case.case_id)
        if decision.arrow.pays is not None:
            changes["paid"] = int(decision.arrow.pays)
        if decision.arrow.verdict is not None:
            changes["verdict"] = str(decision.arrow.verdict)
        if decision.label is Label.CHANGED and decision.state is State.CLAIMING:
            changes["is_settling"] = 1
        changes |= self._problem_columns(case, decision)
        count = connection.execute(
            f"UPDATE cases SET state = ?, updated = ?, {', '.join(f'{c} = ?' for c in changes)} "  # noqa: S608
            "WHERE case_id = ? AND state = ?",
            (decision.state, iso(self._now()), *changes.values(), case.case_id, case.state),
        ).rowcount
        if count != 1:
            raise AssertionError("a case left its state while its step ran")
        if decision.state in AT_REST:
            now = iso(self._now())
            _trail(connection, case.case_id, now, f"case.{decision.state}", reason=None)

    def _problem_columns(self, case: Case, decision: Decision) -> dict[str, Any]:
        """Keep a problem while it explains why the case stands where it stands."""
        if decision.problem is not None and decision.label not in {Label.ENVIRONMENT}:
            columns: dict[str, Any] = {"problem": dump_problem(decision.problem)}
        elif decision.state is case.state or decision.arrow.to_verdict:
            columns = {}
        else:
            columns = {"problem": None}
        if decision.label in {Label.PENDING, Label.TRANSIENT, Label.ENVIRONMENT}:
            reason = decision.problem.message if decision.problem else None
            columns["wait_reason"] = reason
        return columns

    def abandon_open_attempts(self) -> list[Begun]:
        """Return the attempts that were under way when the last daemon died."""
        rows = self.database.read(
            "SELECT id, case_id, attempt FROM events WHERE step IS NOT NULL AND outcome IS NULL"
        )
        found = []
        for row in rows:
            case = self.load(row["case_id"])
            if case is not None:
                found.append(Begun(case, row["id"], row["attempt"]))
        return found

    # --- progress inside a step --------------------------------------------------------------------

    def set_reference(self, case_id: str, marks: Mapping[str, FileMark]) -> None:
        """Record how claimed files look, by input name: what later looks are compared with."""
        with self.database.transaction() as connection:
            for name, mark in marks.items():
                connection.execute(
                    "UPDATE inputs SET size = ?, mtime_ns = ?, ctime_ns = ?, inode = ? "
                    "WHERE case_id = ? AND name = ?",
                    (*mark_columns(mark), case_id, name),
                )
            inputs = _must_load(connection, case_id).inputs
            _update(connection, case_id, sizes_key=_sizes_key(inputs))

    def set_claimed(self, case_id: str, job: Mapping[str, Any]) -> None:
        """Record that a case's files are in its claim folder, with the job that it asks for."""
        with self.database.transaction() as connection:
            case = _must_load(connection, case_id)
            _update(
                connection,
                case_id,
                job=json.dumps(job),
                request_key=_request_key(job, case.engine_version),
                claimed=case.times["claimed"] or iso(self._now()),
                is_settling=0,
            )
            if case.times["claimed"] is None:
                _trail(connection, case_id, iso(self._now()), "case.claimed")

    def earlier_alike(self, case_id: str) -> list[Earlier]:
        """Return the earlier cases that asked for the same of inputs of the same sizes."""
        rows = self.database.read(
            "SELECT e.case_id, e.state, e.paid, e.content_key, e.verdict FROM cases AS c "
            "JOIN cases AS e ON e.request_key = c.request_key AND e.sizes_key = c.sizes_key "
            "AND e.seq < c.seq WHERE c.case_id = ? AND e.doom IS NULL ORDER BY e.seq",
            (case_id,),
        )
        return [
            Earlier(
                row["case_id"],
                State(row["state"]),
                bool(row["paid"]),
                row["content_key"],
                State(row["verdict"]) if row["verdict"] else None,
            )
            for row in rows
        ]

    def set_digests(self, case_id: str, digests: Mapping[str, str]) -> str:
        """Record the SHA-256 of inputs by modality; return the case's content key."""
        with self.database.transaction() as connection:
            for modality, sha256 in digests.items():
                connection.execute(
                    "UPDATE inputs SET sha256 = ? WHERE case_id = ? AND modality = ?",
                    (sha256, case_id, modality),
                )
            return _set_content_key(connection, case_id)

    def set_duplicate(self, case_id: str, of: str) -> None:
        """Record which earlier case holds the result."""
        with self.database.transaction() as connection:
            _update(connection, case_id, duplicate_of=of, result_status="duplicate")

    def set_wait_reason(self, case_id: str, reason: str) -> None:
        """Record in words what a case waits for."""
        with self.database.transaction() as connection:
            _update(connection, case_id, wait_reason=reason)

    def set_job(self, case_id: str, job_id: str, links: Mapping[str, Links]) -> None:
        """Record the Engine's answer to a submit before anything is done with it."""
        now = iso(self._now())
        with self.database.transaction() as connection:
            case = _must_load(connection, case_id)
            connection.execute(
                "INSERT INTO jobs (job_id, case_id, generation, made_at, may_be_paid) "
                "VALUES (?, ?, ?, ?, ?)",
                (job_id, case_id, case.generation, now, int(case.paid)),
            )
            for modality, link in links.items():
                connection.execute(
                    "UPDATE inputs SET upload_url = ?, notify_url = ?, is_uploaded = 0, "
                    "notified = 'no' WHERE case_id = ? AND modality = ?",
                    (link.upload_url, link.notify_url, case_id, modality),
                )
            _update(connection, case_id, job_id=job_id, submitted=now)

    def set_uploaded(self, case_id: str, modality: str, sha256: str) -> None:
        """Record that an input is with the Engine, and the digest of the bytes that were sent."""
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE inputs SET is_uploaded = 1, sha256 = ?, upload_url = NULL "
                "WHERE case_id = ? AND modality = ?",
                (sha256, case_id, modality),
            )
            _set_content_key(connection, case_id)
            _update(connection, case_id, uploaded=iso(self._now()))

    def begin_notification(self, case_id: str, modality: str) -> None:
        """Record that a notification is about to be sent: from here on the job may be paid."""
        with self.database.transaction() as connection:
            case = _must_load(connection, case_id)
            connection.execute(
                "UPDATE jobs SET may_be_paid = 1 WHERE job_id = ? AND case_id = ?",
                (case.job_id, case_id),
            )
            _update(connection, case_id, paid=1)
            self._set_notified(connection, case_id, modality, Notified.BEGUN)

    def set_notified(self, case_id: str, modality: str, notified: Notified) -> None:
        """Record how a notification was answered."""
        with self.database.transaction() as connection:
            self._set_notified(connection, case_id, modality, notified)

    @staticmethod
    def _set_notified(
        connection: sqlite3.Connection, case_id: str, modality: str, notified: Notified
    ) -> None:
        connection.execute(
            "UPDATE inputs SET notified = ? WHERE case_id = ? AND modality = ?",
            (notified, case_id, modality),
        )

    def set_result(
        self,
        case_id: str,
        *,
        outputs: Iterable[Output],
        body: Mapping[str, Any],
        result_status: str,
    ) -> None:
        """Record a finished job's answer. Outputs that were fetched already stay fetched."""
        now = iso(self._now())
        with self.database.transaction() as connection:
            case = _must_load(connection, case_id)
            known = {_identity(output): output for output in case.outputs if output.file}
            connection.execute("DELETE FROM outputs WHERE case_id = ?", (case_id,))
            for output in outputs:
                _put_output(connection, case_id, output, known.get(_identity(output)))
            _update(
                connection,
                case_id,
                engine_result=json.dumps(body),
                result_status=result_status,
                finished=case.times["finished"] or now,
            )

    def set_result_status(self, case_id: str, result_status: str) -> None:
        """Record that a result is only `partial` after all."""
        with self.database.transaction() as connection:
            _update(connection, case_id, result_status=result_status)

    def set_fetched(
        self, case_id: str, position: int, *, file: str, size: int, sha256: str
    ) -> None:
        """Record that an output lies in the staging folder."""
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE outputs SET file = ?, size = ?, sha256 = ?, url = NULL "
                "WHERE case_id = ? AND position = ?",
                (file, size, sha256, case_id, position),
            )

    def forget_fetched(self, case_id: str) -> None:
        """Record that nothing is staged any more."""
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE outputs SET file = NULL, size = NULL, sha256 = NULL WHERE case_id = ?",
                (case_id,),
            )

    def begin_publishing(self, case_id: str) -> None:
        """Record that a case's staged folder is complete and about to be renamed."""
        with self.database.transaction() as connection:
            case = _must_load(connection, case_id)
            _update(
                connection,
                case_id,
                publishing=1,
                delivered=case.times["delivered"] or iso(self._now()),
            )

    def set_published(self, case_id: str, outbox: str, verdict: State) -> None:
        """Record where a case's results are, and the state in which it will rest."""
        with self.database.transaction() as connection:
            _update(connection, case_id, outbox=outbox, verdict=str(verdict))

    def held_notes(self) -> tuple[list[Case], list[Case]]:
        """Return the cases whose `.held.txt` is to be written, and those whose must go."""
        rows = self.database.read(
            "SELECT case_id, state FROM cases WHERE (state = 'held') <> is_noted"
        )
        cases = [self.load(row["case_id"]) for row in rows]
        found = [case for case in cases if case is not None]
        wanted = [case for case in found if case.state is State.HELD]
        return wanted, [case for case in found if case.state is not State.HELD]

    def set_noted(self, case_id: str, *, is_noted: bool) -> None:
        """Record that a case's `.held.txt` was written or removed."""
        with self.database.transaction() as connection:
            _update(connection, case_id, is_noted=int(is_noted))


# --- statements that several verbs share -----------------------------------------------------------


def _must_load(connection: sqlite3.Connection, case_id: str) -> Case:
    case = load_case(connection, case_id)
    if case is None:
        raise AssertionError(f"case {case_id} has no row")
    return case


def _update(connection: sqlite3.Connection, case_id: str, **columns: object) -> None:
    names = ", ".join(f"{name} = ?" for name in columns)
    count = connection.execute(
        f"UPDATE cases SET {names} WHERE case_id = ?",  # noqa: S608 - column names are ours
        (*columns.values(), case_id),
    ).rowcount
    if count != 1:
        raise AssertionError(f"case {case_id} has no row")


def _trail(
    connection: sqlite3.Connection,
    case_id: str,
    time: str,
    event: str,
    *,
    outcome: str | None = None,
    reason: str | None = None,
) -> None:
    connection.execute(
        "INSERT INTO events (case_id, time, event, outcome, reason) VALUES (?, ?, ?, ?, ?)",
        (case_id, time, event, outcome, reason),
    )


def _is_in_step(connection: sqlite3.Connection, case_id: str) -> bool:
    row = connection.execute(
        "SELECT 1 FROM events WHERE case_id = ? AND step IS NOT NULL AND outcome IS NULL",
        (case_id,),
    ).fetchone()
    return row is not None


def _begin_event(connection: sqlite3.Connection, case: Case, now: str) -> tuple[int, int]:
    last = connection.execute(
        "SELECT id, step, outcome, attempt FROM events WHERE case_id = ? AND step IS NOT NULL "
        "ORDER BY id DESC LIMIT 1",
        (case.case_id,),
    ).fetchone()
    attempt = last["attempt"] + 1 if last and last["step"] == case.state else 1
    if last and last["step"] == case.state and last["outcome"] == Label.PENDING:
        connection.execute(
            "UPDATE events SET event = 'step.begun', outcome = NULL, attempt = ? WHERE id = ?",
            (attempt, last["id"]),
        )
        return last["id"], attempt
    cursor = connection.execute(
        "INSERT INTO events (case_id, time, event, step, attempt) VALUES (?, ?, ?, ?, ?)",
        (case.case_id, now, "step.begun", str(case.state), attempt),
    )
    return cursor.lastrowid or 0, attempt


def _event_name(case: Case, decision: Decision) -> str:
    if decision.label is Label.PENDING:
        return "step.waiting"
    return "step.retry" if decision.state is case.state else "step.done"


def _is_reserved(connection: sqlite3.Connection, name: str) -> bool:
    row = connection.execute("SELECT 1 FROM names WHERE name_key = ?", (name_key(name),)).fetchone()
    return row is not None


def _reserve(connection: sqlite3.Connection, name: str, case_id: str) -> None:
    connection.execute(
        "INSERT INTO names (name_key, case_id) VALUES (?, ?)", (name_key(name), case_id)
    )


def _put_moves(connection: sqlite3.Connection, case_id: str, moves: tuple[Move, ...]) -> None:
    connection.execute("DELETE FROM moves WHERE case_id = ?", (case_id,))
    connection.executemany(
        "INSERT INTO moves VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (case_id, position, move.source, move.target, *mark_columns(move.mark))
            for position, move in enumerate(moves)
        ],
    )


def _put_inputs(connection: sqlite3.Connection, case_id: str, inputs: tuple[Input, ...]) -> None:
    connection.executemany(
        "INSERT INTO inputs (case_id, modality, name, extension, size, mtime_ns, ctime_ns, inode, "
        "download_url) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                case_id,
                str(entry.modality),
                entry.name,
                entry.extension,
                *mark_columns(entry.mark),
                entry.download_url,
            )
            for entry in inputs
        ],
    )


def _identity(output: Output) -> tuple[object, ...]:
    return output.kind, output.structures, output.extension, output.announced_size


def _put_output(
    connection: sqlite3.Connection, case_id: str, output: Output, fetched: Output | None
) -> None:
    connection.execute(
        "INSERT INTO outputs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            case_id,
            output.position,
            output.kind,
            json.dumps(output.structures),
            output.extension,
            output.status,
            output.announced_size,
            output.url,
            fetched.file if fetched else None,
            fetched.size if fetched else None,
            fetched.sha256 if fetched else None,
        ),
    )


def _forget_links(connection: sqlite3.Connection, case_id: str) -> None:
    """Forget what belongs to the current job; its row in `jobs` stays."""
    connection.execute(
        "UPDATE inputs SET upload_url = NULL, notify_url = NULL, is_uploaded = 0, "
        "notified = 'no' WHERE case_id = ?",
        (case_id,),
    )


def _first_submits(connection: sqlite3.Connection, recipe: str, now: float) -> int:
    row = connection.execute(
        "SELECT COUNT(*) FROM cases WHERE first_submit_at > ? AND (? = '' OR recipe = ?)",
        (iso(now - DAY_S), recipe, recipe),
    ).fetchone()
    return int(row[0])


def _request_key(job: Mapping[str, Any], engine_version: str) -> str:
    return digest_of([job.get("outputFiles"), job.get("options"), engine_version])


def _sizes_key(inputs: Iterable[Input]) -> str:
    return digest_of(sorted([str(entry.modality), entry.mark.size] for entry in inputs))


def _set_content_key(connection: sqlite3.Connection, case_id: str) -> str:
    inputs = _must_load(connection, case_id).inputs
    if not inputs or any(entry.sha256 is None for entry in inputs):
        return ""
    key = digest_of(sorted([str(entry.modality), entry.sha256] for entry in inputs))
    _update(connection, case_id, content_key=key)
    return key
