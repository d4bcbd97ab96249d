"""The queue of what people are to be told, and who was told: each verb is one transaction.

A notice on a case is put down in the transaction that changes the case, so a crash neither loses
nor doubles it. From the first sending on (`is_begun`) a notice never changes.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from vpe_watcher.adapters.store.statements import Verbs
from vpe_watcher.core.moments import iso
from vpe_watcher.core.notices import KEPT_AT_MOST, QUEUE_AT_MOST, Draft, Notice, Policy

_OPEN = (
    "SELECT * FROM notices WHERE NOT EXISTS (SELECT 1 FROM notices_told AS told "
    "WHERE told.seq = notices.seq AND told.target = ?) AND is_urgent >= ? ORDER BY seq LIMIT 1"
)


def put_notice(connection: sqlite3.Connection, policy: Policy, draft: Draft, time: str) -> None:
    """Put a notice down if anybody is to be told; where too many wait, only count it."""
    if not policy.wants(draft.topic):
        return
    connection.execute("DELETE FROM notices WHERE key = ? AND is_begun = 0", (draft.key,))
    key, facts = draft.key, json.dumps(draft.facts)
    waiting = connection.execute("SELECT count(*) FROM notices WHERE is_begun = 0").fetchone()[0]
    if waiting >= QUEUE_AT_MOST and not draft.is_urgent:
        key, facts = f"more:{draft.kind}", "{}"
        counted = connection.execute(
            "UPDATE notices SET count = count + 1, time = ? WHERE key = ? AND is_begun = 0",
            (time, key),
        )
        if counted.rowcount:
            return
    connection.execute(
        "INSERT INTO notices (notice_id, key, kind, is_urgent, time, facts) "
        "VALUES (lower(hex(randomblob(12))), ?, ?, ?, ?, ?)",
        (key, draft.kind, int(draft.is_urgent), time, facts),
    )


class NoticeVerbs(Verbs):
    """The verbs on notices. `notice_policy` says what is put down; set it before the first case."""

    notice_policy: Policy = Policy()

    def put_notice(self, draft: Draft, *, key: str = "", value: str | None = None) -> None:
        """Put down a notice that is about no case, and what people were told last under a key.

        `value`: None forgets the key.
        """
        with self.database.transaction() as connection:
            put_notice(connection, self.notice_policy, draft, iso(self._now()))
            if key:
                self._set_told(connection, key, value)

    def set_told(self, key: str, value: str | None) -> None:
        """Record what people were told last under a key; None forgets it."""
        with self.database.transaction() as connection:
            self._set_told(connection, key, value)

    @staticmethod
    def _set_told(connection: sqlite3.Connection, key: str, value: str | None) -> None:
        connection.execute("DELETE FROM told WHERE key = ?", (key,))
        if value is not None:
            connection.execute("INSERT INTO told (key, value) VALUES (?, ?)", (key, value))

    def told(self) -> dict[str, str]:
        """Return what people were told last, by key."""
        return {row["key"]: row["value"] for row in self.database.read("SELECT * FROM told")}

    def has_notice(self, target: str, *, only_urgent: bool) -> bool:
        """Tell whether a target is still to be told of something."""
        return bool(self.database.read(_OPEN, (target, int(only_urgent))))

    def take_notice(self, target: str, *, only_urgent: bool) -> Notice | None:
        """Return the oldest notice that a target was not told of; from now on it never changes."""
        rows = self.database.read(_OPEN, (target, int(only_urgent)))
        if rows and not rows[0]["is_begun"]:
            with self.database.transaction() as connection:
                rows = connection.execute(_OPEN, (target, int(only_urgent))).fetchall()
                connection.executemany(
                    "UPDATE notices SET is_begun = 1 WHERE seq = ?", [(row["seq"],) for row in rows]
                )
        return _notice(rows[0]) if rows else None

    def settle_notice(self, seq: int, target: str) -> None:
        """Record that a target was told, or will not be; a notice goes when that holds for all."""
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO notices_told (seq, target) "
                "SELECT seq, ? FROM notices WHERE seq = ?",
                (target, seq),
            )
            self._drop_settled(connection, "AND seq = ?", (seq,))

    def drop_notices(self, *, older_than: float) -> int:
        """Drop what is too old (seconds since 1970) or too much; return how many events those were.

        What all present targets were told goes uncounted.
        """
        with self.database.transaction() as connection:
            self._drop_settled(connection, "", ())
            rows = connection.execute(
                "DELETE FROM notices WHERE time < ? OR seq NOT IN "
                "(SELECT seq FROM notices ORDER BY seq DESC LIMIT ?) RETURNING count",
                (iso(older_than), KEPT_AT_MOST),
            ).fetchall()
        return sum(row["count"] for row in rows)

    def _drop_settled(
        self, connection: sqlite3.Connection, where: str, parameters: tuple[object, ...]
    ) -> None:
        settled, targets = self._settled()
        connection.execute(f"DELETE FROM notices WHERE {settled} {where}", (*targets, *parameters))  # noqa: S608

    def _settled(self) -> tuple[str, tuple[object, ...]]:
        """Return the condition that all present targets were told of a notice."""
        targets = self.notice_policy.targets
        marks = ", ".join("?" * len(targets))
        condition = (
            "(SELECT count(*) FROM notices_told AS told "  # noqa: S608 - marks alone
            f"WHERE told.seq = notices.seq AND target IN ({marks})) = ?"
        )
        return condition, (*targets, len(targets))

    def has_stale_notices(self, *, older_than: float) -> bool:
        """Tell whether `drop_notices` would drop anything: an idle daemon writes nothing."""
        settled, targets = self._settled()
        row = self.database.read(
            "SELECT count(*) > ? OR coalesce(min(time) < ?, 0) OR "  # noqa: S608 - ours
            f"EXISTS (SELECT 1 FROM notices WHERE {settled}) FROM notices",
            (KEPT_AT_MOST, iso(older_than), *targets),
        )[0]
        return bool(row[0])

    def notices_waiting(self, targets: tuple[str, ...]) -> dict[str, int]:
        """Count by target the events that it is still to be told of."""
        return {
            target: self.database.read(
                "SELECT coalesce(sum(count), 0) FROM notices WHERE NOT EXISTS (SELECT 1 "
                "FROM notices_told AS told WHERE told.seq = notices.seq AND told.target = ?)",
                (target,),
            )[0][0]
            for target in targets
        }

    def digest(self, *, since: float) -> dict[str, Any]:
        """Count the cases that ended since a moment (seconds since 1970), and those there now."""
        with self.database.reading() as connection:
            ended = connection.execute(
                "SELECT state, count(*) AS n FROM cases WHERE updated >= ? AND state IN "
                "('done', 'partial', 'duplicate', 'failed', 'cancelled') GROUP BY state",
                (iso(since),),
            ).fetchall()
            now = connection.execute(
                "SELECT CASE state WHEN 'held' THEN 'held' ELSE 'under way' END AS state, "
                "count(*) AS n FROM cases WHERE state NOT IN "
                "('done', 'partial', 'duplicate', 'failed', 'cancelled') GROUP BY 1",
            ).fetchall()
        return {
            "ended": {row["state"]: row["n"] for row in ended},
            "now": {row["state"]: row["n"] for row in now},
        }


def _notice(row: sqlite3.Row) -> Notice:
    return Notice(
        row["seq"],
        row["notice_id"],
        row["kind"],
        row["time"],
        json.loads(row["facts"]),
        bool(row["is_urgent"]),
        row["count"],
    )
