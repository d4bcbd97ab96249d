"""What the daemon keeps of itself: its id, its roots, its snapshot, and the words that wait for it.

Nothing here touches a case.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from vpe_watcher.adapters.store.statements import Verbs, add_event
from vpe_watcher.adapters.store.values import Unsettled, Word
from vpe_watcher.core.model import State
from vpe_watcher.core.moments import iso
from vpe_watcher.core.poison import remembered

WAL = ("-wal", "-shm")


def daemon_id_of(state_file: Path) -> str | None:
    """Return whose state file this is, which may be in use; "" = nobody's yet, None = unclear.

    Leaves no file beside it that its daemon could not open: without a WAL it is read as it lies.
    """
    state_file = Path(os.path.realpath(state_file))  # where SQLite puts the WAL
    has_wal = all(state_file.with_name(f"{state_file.name}{end}").exists() for end in WAL)
    mode = "mode=ro" if has_wal else "immutable=1"
    try:
        uri = f"{state_file.as_uri()}?{mode}"
        with closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as connection:
            row = connection.execute("SELECT daemon_id FROM daemon").fetchone()
    except (sqlite3.Error, OSError):
        return None
    return str(row[0]) if row else ""


def take_up_work(
    connection: sqlite3.Connection, now: float, *, is_again: bool
) -> tuple[bool, tuple[float, ...]]:
    """Record that a daemon works from now on; tell whether the last one died, and all deaths."""
    row = connection.execute("SELECT is_working, deaths FROM daemon").fetchone()
    if row is None:
        return False, ()
    has_died = bool(row["is_working"]) and not is_again
    deaths = tuple(json.loads(row["deaths"]))
    if has_died:
        deaths = remembered(deaths, now)
    connection.execute("UPDATE daemon SET is_working = 1, deaths = ?", (json.dumps(deaths),))
    return has_died, deaths


class DaemonVerbs(Verbs):
    """The verbs on the daemon's own rows."""

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
            connection.execute("UPDATE daemon SET starts = starts + 1, is_clean = 0")
        return self.identity()

    def count_on(self) -> int:
        """Count as if this daemon had started once more; return the count."""
        with self.database.transaction() as connection:
            connection.execute("UPDATE daemon SET starts = starts + 1")
        return self.identity()[1]

    def was_stopped_cleanly(self) -> bool:
        """Tell whether the last daemon came to its end by itself, with a sound state file."""
        rows = self.database.read("SELECT is_clean FROM daemon")
        return not rows or bool(rows[0]["is_clean"])

    def record_clean_stop(self) -> None:
        """Record that this daemon came to its end by itself."""
        with self.database.transaction() as connection:
            connection.execute("UPDATE daemon SET is_clean = 1")

    def paused(self) -> list[str]:
        """Return the recipes of which nothing is taken before a person resumes them."""
        return [row["recipe"] for row in self.database.read("SELECT recipe FROM paused")]

    def is_paused(self, recipe: str) -> bool:
        """Tell whether a recipe waits for a person's `recover --resume`."""
        return bool(self.database.read("SELECT 1 FROM paused WHERE recipe = ?", (recipe,)))

    def resume(self, recipe: str) -> bool:
        """Take up a paused recipe; false when it was not paused."""
        with self.database.transaction() as connection:
            cursor = connection.execute("DELETE FROM paused WHERE recipe = ?", (recipe,))
        return cursor.rowcount == 1

    def record_stop(self) -> None:
        """Record that a daemon was told to stop: however it ends now is no death."""
        with self.database.transaction() as connection:
            connection.execute("UPDATE daemon SET is_working = 0")

    def unsettled(self) -> list[Unsettled]:
        """Return the cases that are under way or held: those that need folders, oldest first."""
        asked = [str(state) for state in State if not state.is_at_rest or state is State.HELD]
        rows = self.database.read(
            "SELECT case_id, recipe, state, COALESCE(due_step, state) AS step FROM cases "  # noqa: S608 - question marks
            f"WHERE state IN ({', '.join('?' * len(asked))}) ORDER BY seq",
            tuple(asked),
        )
        return [
            Unsettled(row["case_id"], row["recipe"], State(row["state"]), State(row["step"]))
            for row in rows
        ]

    def known_roots(self) -> dict[str, str]:
        """Return the path of each root that bears our marker, by its name: no export does."""
        rows = self.database.read("SELECT name, path FROM roots WHERE mount = ''")
        return {row["name"]: row["path"] for row in rows}

    def add_root(self, name: str, path: str) -> None:
        """Record that a root bears our marker; again with another path replaces it."""
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT INTO roots (name, path, marked_at) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET path = excluded.path, first_scan_at = NULL, "
                "mount = ''",
                (name, path, iso(self._now())),
            )

    def mount_of(self, name: str) -> str | None:
        """Return what a root lay on when it was first seen; None when it never was."""
        rows = self.database.read("SELECT mount FROM roots WHERE name = ?", (name,))
        return str(rows[0]["mount"]) if rows else None

    def set_mount(self, name: str, mount: str) -> None:
        """Record what a root lies on that bears no marker."""
        with self.database.transaction() as connection:
            connection.execute("UPDATE roots SET mount = ? WHERE name = ?", (mount, name))

    def is_scanned(self, name: str) -> bool:
        """Tell whether a root had its very first scan."""
        rows = self.database.read("SELECT first_scan_at FROM roots WHERE name = ?", (name,))
        return bool(rows and rows[0]["first_scan_at"])

    def record_first_scan(self, name: str, existing: Mapping[str, str]) -> None:
        """Record a root's very first scan and what in it is not wanted (path: sight).

        What a person has asked for before stays wanted.
        """
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE roots SET first_scan_at = ? WHERE name = ?", (iso(self._now()), name)
            )
            connection.executemany(
                "INSERT INTO existing (root, path, sight) VALUES (?, ?, ?) "
                "ON CONFLICT (root, path) DO UPDATE SET sight = excluded.sight WHERE sight <> ''",
                [(name, path, mark) for path, mark in existing.items()],
            )

    def learn_existing(self, name: str, path: str, sight: str | None) -> None:
        """Record how a path looks that could not be read at the first scan; None: forget it."""
        with self.database.transaction() as connection:
            if sight is None:
                sql, parameters = "DELETE FROM existing WHERE root = ? AND path = ?", (name, path)
                connection.execute(sql, parameters)
            else:
                connection.execute(
                    "UPDATE existing SET sight = ? WHERE root = ? AND path = ?", (sight, name, path)
                )

    def want(self, name: str, path: str) -> None:
        """Record that a path in a root is wanted, though it may lie there at the first scan."""
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM existing WHERE root = ? AND path = ?", (name, path))
            connection.execute(
                "INSERT INTO existing (root, path, sight) SELECT ?, ?, '' WHERE NOT EXISTS "
                "(SELECT 1 FROM roots WHERE name = ? AND first_scan_at IS NOT NULL)",
                (name, path, name),
            )

    def existing(self, name: str) -> dict[str, str]:
        """Return what was not wanted at a root's very first scan (path: sight; "": wanted)."""
        rows = self.database.read("SELECT path, sight FROM existing WHERE root = ?", (name,))
        return {row["path"]: row["sight"] for row in rows}

    def put_snapshot(self, body: Mapping[str, Any]) -> None:
        """Replace what other processes may read of the daemon's memory."""
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT INTO snapshot (id, body, written_at) VALUES (1, ?, ?) ON CONFLICT (id) "
                "DO UPDATE SET body = excluded.body, written_at = excluded.written_at",
                (json.dumps(body), iso(self._now())),
            )

    def try_write(self) -> None:
        """Write a few bytes that nobody misses: whether that succeeds is all."""
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT INTO snapshot (id, body, written_at) VALUES (1, '{}', ?) ON CONFLICT (id) "
                "DO UPDATE SET written_at = excluded.written_at",
                (iso(self._now()),),
            )

    def words(self) -> list[Word]:
        """Return what people have said and is not yet done, oldest first."""
        rows = self.database.read("SELECT id, word, subject, may_cost FROM words ORDER BY id")
        return [Word(row["id"], row["word"], row["subject"], bool(row["may_cost"])) for row in rows]

    def forget_word(self, word_id: int) -> None:
        """Strike out a word that was acted on."""
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM words WHERE id = ?", (word_id,))

    def refuse_word(self, word: Word, why: str) -> None:
        """Strike out a word that cannot be acted on, and say why in the trail of its case."""
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM words WHERE id = ?", (word.word_id,))
            sql = "SELECT 1 FROM cases WHERE case_id = ?"
            if connection.execute(sql, (word.subject,)).fetchone():
                now = iso(self._now())
                add_event(
                    connection, word.subject, now, "word.refused", outcome=word.word, reason=why
                )
