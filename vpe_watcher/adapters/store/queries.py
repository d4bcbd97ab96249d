"""What commands read from the state file, and the words that they leave in it.

Rows leave here in the shapes that the contract's `--json` prints. Nothing here changes a case.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from vpe_watcher.adapters.store.database import Database
from vpe_watcher.adapters.store.retention import pruned
from vpe_watcher.adapters.store.rows import load_case, load_problem, problem_row
from vpe_watcher.adapters.store.series import known_series
from vpe_watcher.adapters.store.statements import FAMILY_REASON, is_in_step
from vpe_watcher.adapters.store.values import Pruned, Remembered
from vpe_watcher.core.content import KnownSeries
from vpe_watcher.core.model import Case, State
from vpe_watcher.core.moments import iso
from vpe_watcher.core.names import name_key

_WAIT_REASON = f"COALESCE(wait_reason, {FAMILY_REASON})"
_ROW = (
    "SELECT case_id, case_name, recipe, state, job_id, detected, updated, outbox, problem, "  # noqa: S608
    f"{_WAIT_REASON} AS wait_reason FROM cases"
)


class Queries:
    """Read-only questions of other processes, and `words`. `now` returns seconds since 1970."""

    def __init__(self, database: Database, *, now: Callable[[], float]) -> None:
        self.database = database
        self._now = now

    def counts(self) -> dict[str, int]:
        """Count cases by state, with every state named."""
        rows = self.database.read("SELECT state, COUNT(*) AS n FROM cases GROUP BY state")
        found = {row["state"]: row["n"] for row in rows}
        return {str(state): found.get(str(state), 0) for state in State}

    def snapshot(self) -> dict[str, Any]:
        """Return what the daemon last showed of its memory ({} when it never ran)."""
        rows = self.database.read("SELECT body FROM snapshot")
        return dict(json.loads(rows[0]["body"])) if rows else {}

    def cases(
        self, *, state: str | None = None, recipe: str | None = None, since: str | None = None
    ) -> list[dict[str, Any]]:
        """List cases, newest first; `since` is an ISO 8601 moment."""
        rows = self.database.read(
            f"{_ROW} WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR recipe = ?2) "
            "AND (?3 IS NULL OR detected >= ?3) ORDER BY seq DESC",
            (state, recipe, since),
        )
        return [_case_row(row) for row in rows]

    def wait_reasons(self, state: str) -> list[tuple[str, str, int]]:
        """Return why cases in a state wait: reason, the oldest with it, how many; oldest first."""
        rows = self.database.read(
            f"SELECT {_WAIT_REASON} AS reason, case_id, COUNT(*) AS n, MIN(seq) AS first "  # noqa: S608
            "FROM cases WHERE state = ? GROUP BY reason HAVING reason IS NOT NULL ORDER BY first",
            (state,),
        )
        return [(row["reason"], row["case_id"], row["n"]) for row in rows]

    def find(self, word: str) -> list[str]:
        """Return the ids of the cases that a person may mean by an id, a prefix, or a name."""
        exact = self.database.read("SELECT case_id FROM cases WHERE case_id = ?", (word,))
        if exact:
            return [word]
        key = name_key(word)
        rows = self.database.read(
            "SELECT case_id, case_name FROM cases WHERE substr(case_id, 1, length(?1)) = ?1 "
            "OR case_name = ?1 OR case_id IN (SELECT case_id FROM names WHERE name_key = ?2) "
            "ORDER BY seq",
            (word, key),
        )
        names = {row["case_id"]: row["case_name"] for row in rows} if word else {}
        is_exact = word in names.values()
        # A name of another case that is only spelled alike was not meant; a folder may have been.
        return [
            case_id
            for case_id, name in names.items()
            if not is_exact or name == word or name_key(name) != key
        ]

    def case(self, case_id: str) -> Case | None:
        """Read one case with all that belongs to it."""
        with self.database.reading() as connection:
            return load_case(connection, case_id)

    def case_row(self, case_id: str) -> dict[str, Any]:
        """Return one case in the shape of the list of cases."""
        rows = self.database.read(f"{_ROW} WHERE case_id = ?", (case_id,))
        return _case_row(rows[0])

    def events(self, case_id: str) -> list[dict[str, Any]]:
        """Return a case's trail, oldest first."""
        rows = self.database.read(
            "SELECT time, event, step, attempt, outcome, reason, duration_s FROM events "
            "WHERE case_id = ? ORDER BY id",
            (case_id,),
        )
        return [dict(row) for row in rows]

    def pruned(self, case_id: str) -> Pruned | None:
        """Return when and why a case's files were removed; None while they were not."""
        return pruned(self.database, case_id)

    def is_in_step(self, case_id: str) -> bool:
        """Tell whether an attempt or a removal is under way, or was cut short."""
        with self.database.reading() as connection:
            return is_in_step(connection, case_id)

    def case_by_source(self, source: str) -> str | None:
        """Return the newest case that took this inbox path, a folder above it, or files below it.

        What is a part of a folder belongs to the folder's first case here.
        """
        rows = self.database.read(
            "SELECT case_id FROM moves JOIN cases USING (case_id) "
            "WHERE source = ?1 OR substr(?1, 1, length(source) + 1) = source || '/' "
            "OR substr(source, 1, length(?1) + 1) = ?1 || '/' "
            "ORDER BY seq DESC LIMIT 1",
            (source,),
        )
        return str(rows[0]["case_id"]) if rows else None

    def roots_of(self, kind: str) -> list[str]:
        """Return the paths of all roots of a kind (`inbox:<recipe>`, `archive`, …) ever used."""
        rows = self.database.read("SELECT path FROM roots WHERE name = ? || ' ' || path", (kind,))
        return [row["path"] for row in rows]

    def known_series(self, recipe: str, series_uids: Iterable[str]) -> dict[str, KnownSeries]:
        """Return what of some series was claimed before, by series UID."""
        return known_series(self.database, recipe, series_uids)

    def existing(self, root: str) -> dict[str, str]:
        """Return what was not wanted at a root's very first scan (path: sight; "": wanted)."""
        rows = self.database.read("SELECT path, sight FROM existing WHERE root = ?", (root,))
        return {row["path"]: row["sight"] for row in rows}

    def remembered(self, root: str, path: str) -> Remembered | None:
        """Return what is remembered of a file left in place; `path` is relative to its root."""
        rows = self.database.read(
            "SELECT path, size, mtime_ns, case_id, content FROM remembered "
            "WHERE root = ? AND path = ?",
            (root, path),
        )
        return Remembered(*rows[0]) if rows else None

    def parts_of(self, case_id: str) -> list[str]:
        """Return the ids of the other cases that came of the same folder, oldest first."""
        rows = self.database.read(
            "SELECT case_id FROM cases WHERE split_of = ? AND split_of <> '' ORDER BY seq",
            (case_id,),
        )
        return [row["case_id"] for row in rows]

    def has_words(self) -> bool:
        """Tell whether the daemon has not yet done all that people asked for."""
        return bool(self.database.read("SELECT 1 FROM words LIMIT 1"))

    def case_of_remembered(self, root: str, path: str) -> str | None:
        """Return the newest case that has what lies at a path, or below it, in place."""
        rows = self.database.read(
            "SELECT case_id FROM remembered JOIN cases USING (case_id) WHERE root = ?1 "
            "AND (path = ?2 OR substr(path, 1, length(?2) + 1) = ?2 || '/') "
            "ORDER BY seq DESC LIMIT 1",
            (root, path),
        )
        return str(rows[0]["case_id"]) if rows else None

    def say(self, word: str, subjects: list[str], *, may_cost: bool = False) -> None:
        """Leave words for the daemon, all or none of them.

        `word` is `retry` or `cancel` (subjects: case ids), or `take` (subjects: inbox paths that
        are wanted although they may lie there at a root's first scan). `may_cost` carries a
        person's yes to paying again.
        """
        with self.database.transaction() as connection:
            connection.executemany(
                "INSERT INTO words (word, subject, may_cost, said_at) VALUES (?, ?, ?, ?)",
                [(word, subject, int(may_cost), iso(self._now())) for subject in subjects],
            )


def _case_row(row: sqlite3.Row) -> dict[str, Any]:
    problem = load_problem(row["problem"])
    return {
        "case_id": row["case_id"],
        "case_name": row["case_name"],
        "recipe": row["recipe"],
        "state": row["state"],
        "job_id": row["job_id"],
        "detected": row["detected"],
        "updated": row["updated"],
        "outbox": row["outbox"],
        "error": problem_row(problem) if problem else None,
        "wait_reason": row["wait_reason"],
    }
