"""The verbs of retention: what is at rest, who still needs it, and the trail of its removal.

A removal is an attempt like any other (step `pruning`), begun before the first rename: so no
person's word and no second removal comes in between, and what a crash leaves is found by it.
"""

from __future__ import annotations

import sqlite3

from vpe_watcher.adapters.store.database import Database
from vpe_watcher.adapters.store.statements import Verbs, add_event, is_in_step
from vpe_watcher.adapters.store.values import Limits, Pruned, Rest
from vpe_watcher.core.model import AT_REST, State
from vpe_watcher.core.moments import iso
from vpe_watcher.core.names import name_key

STEP = "pruning"
PRUNED = "case.pruned"
_REST = "SELECT case_id, case_name, recipe, state, folder, updated FROM cases "
_LAST_STEP = (
    "(SELECT e.event FROM events AS e WHERE e.case_id = other.case_id "
    "AND e.step IS NOT NULL ORDER BY e.id DESC LIMIT 1)"
)


class RetentionVerbs(Verbs):
    """The verbs on cases at rest whose files may go."""

    def rest_in(self, folder: str) -> Rest | None:
        """Return the case at rest whose folder in archive or failed has this very name."""
        rows = self.database.read(
            f"{_REST} JOIN names USING (case_id) WHERE name_key = ? AND folder = ?",
            (name_key(folder), folder),
        )
        found = [_rest(row) for row in rows]
        return next((one for one in found if one.state in AT_REST), None)

    def rest_of(self, case_id: str) -> Rest | None:
        """Return a case if it is at rest."""
        found = [_rest(row) for row in self.database.read(f"{_REST} WHERE case_id = ?", (case_id,))]
        return next((one for one in found if one.state in AT_REST), None)

    def last_change(self, *, before: str) -> str:
        """Return when a case last changed its state before a moment; "" if none did."""
        rows = self.database.read(
            "SELECT MAX(updated) AS at FROM cases WHERE updated < ?", (before,)
        )
        return str(rows[0]["at"] or "")

    def needed_by(self, case_id: str, limits: Limits) -> str:
        """Return a case that may yet be sent with the slices of this one; "" when there is none.

        Those are the late slices of its series, until they are done, or go by their own age.
        """
        with self.database.reading() as connection:
            return _needed_by(connection, case_id, limits)

    def begin_pruning(self, rest: Rest, why: str, limits: Limits) -> bool:
        """Record that a case's files are about to go; False when they are not to go any more.

        It moved on, a person has asked for it, a step or another removal is under way, or late
        slices need it.
        """
        now = iso(self._now())
        with self.database.transaction() as connection:
            row = connection.execute(
                "SELECT 1 FROM cases WHERE case_id = ? AND state = ? AND folder = ? AND updated = ?"
                " AND NOT EXISTS (SELECT 1 FROM words WHERE subject = case_id)",
                (rest.case_id, rest.state, rest.folder, rest.rested),
            ).fetchone()
            if row is None or is_in_step(connection, rest.case_id):
                return False
            if _needed_by(connection, rest.case_id, limits):
                return False
            connection.execute(
                "INSERT INTO events (case_id, time, event, step, attempt, reason) "
                "VALUES (?, ?, 'step.begun', ?, 1, ?)",
                (rest.case_id, now, STEP, why),
            )
        return True

    def end_pruning(self, case_id: str) -> None:
        """Record that a case's files are gone."""
        with self.database.transaction() as connection:
            count = connection.execute(
                f"UPDATE events SET event = '{PRUNED}', outcome = 'ok' "  # noqa: S608 - ours
                f"WHERE case_id = ? AND step = '{STEP}' AND outcome IS NULL",
                (case_id,),
            ).rowcount
            if not count:  # begun under a state file that was lost since
                _add_lost(connection, case_id, iso(self._now()))

    def take_back_pruning(self, case_id: str) -> None:
        """Forget a removal that was begun and has touched nothing."""
        with self.database.transaction() as connection:
            connection.execute(
                f"DELETE FROM events WHERE case_id = ? AND step = '{STEP}' AND outcome IS NULL",  # noqa: S608
                (case_id,),
            )

    def open_prunings(self) -> list[Rest]:
        """Return the cases whose removal was begun and has not ended."""
        rows = self.database.read(
            f"{_REST} JOIN events USING (case_id) WHERE step = '{STEP}' AND step IS NOT NULL "
            "AND outcome IS NULL"
        )
        return [_rest(row) for row in rows]

    def pruned(self, case_id: str) -> Pruned | None:
        """Return when and why a case's files were removed; None while they were not."""
        return pruned(self.database, case_id)


def pruned(database: Database, case_id: str) -> Pruned | None:
    """Return when and why a case's files were removed; None while they were not."""
    rows = database.read(
        "SELECT event, time, reason FROM events WHERE case_id = ? AND step IS NOT NULL "
        "ORDER BY id DESC LIMIT 1",
        (case_id,),
    )
    last = rows[0] if rows else None
    return Pruned(last["time"], last["reason"]) if last and last["event"] == PRUNED else None


def _rest(row: sqlite3.Row) -> Rest:
    state = State(row["state"])
    head = (row["case_id"], row["case_name"], row["recipe"])
    return Rest(*head, state, row["folder"], row["updated"])


def _needed_by(connection: sqlite3.Connection, case_id: str, limits: Limits) -> str:
    row = connection.execute(
        "SELECT other.case_id FROM inputs AS mine "  # noqa: S608 - ours
        "JOIN cases AS me ON me.case_id = mine.case_id "
        "JOIN inputs AS theirs ON theirs.series_uid = mine.series_uid "
        "JOIN cases AS other ON other.case_id = theirs.case_id "
        "WHERE mine.case_id = ?1 AND mine.series_uid <> '' AND other.case_id <> ?1 "
        "AND other.recipe = me.recipe AND other.late_for <> '' AND other.state <> 'done' "
        "AND NOT (other.state IN ('failed', 'cancelled') AND other.updated < ?2) "
        "AND NOT (other.state IN ('partial', 'duplicate') AND other.updated < ?3) "
        f"AND COALESCE({_LAST_STEP}, '') <> '{PRUNED}' ORDER BY other.seq LIMIT 1",
        (case_id, limits.failed_before, limits.archive_before),
    ).fetchone()
    return str(row["case_id"]) if row else ""


def _add_lost(connection: sqlite3.Connection, case_id: str, now: str) -> None:
    """Add the end of a removal to the trail of a case that is at rest here, too."""
    row = connection.execute("SELECT state FROM cases WHERE case_id = ?", (case_id,)).fetchone()
    if row is None or row["state"] not in AT_REST or is_in_step(connection, case_id):
        return
    add_event(connection, case_id, now, PRUNED, outcome="ok")
    connection.execute(
        "UPDATE events SET step = ?, attempt = 1 WHERE id = last_insert_rowid()", (STEP,)
    )
