"""What a step records while it runs, so that a crash repeats as little as possible.

None of these verbs changes a case's state: that is `Store.finish` alone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from vpe_watcher.adapters.store.rows import dump_problem, load_inputs, mark_columns
from vpe_watcher.adapters.store.series import MAY_BE_PAID, known_series
from vpe_watcher.adapters.store.statements import (
    Verbs,
    add_event,
    drop_inputs,
    must_load,
    output_identity,
    put_inputs,
    put_output,
    set_content_key,
    update_case,
)
from vpe_watcher.adapters.store.values import Earlier
from vpe_watcher.core.content import KnownSeries
from vpe_watcher.core.keys import content_of, request_key, sizes_key
from vpe_watcher.core.model import FileMark, Input, Notified, Output, Problem, State
from vpe_watcher.core.moments import iso
from vpe_watcher.core.wire import Links

_PAST_CLAIM = str(tuple(str(state) for state in State if state is not State.CLAIMING))

_IS_SENT_ANYHOW = "(e.state = 'claiming' AND e.is_rerun)"  # it waits for nobody

# It was tried and put off before its files were taken, so it may stay there: a later case goes
# before it. It will find that one as it leaves its own claim.
_IS_PUT_OFF = (
    "(e.state = 'claiming' AND e.claimed IS NULL AND e.wait_reason IS NOT NULL AND NOT e.is_rerun)"
)

# A file of a case: the case that holds it ("" for itself), and its name in that case's content.
FileKey = tuple[str, str]


def marks_of(inputs: Iterable[Input]) -> dict[FileKey, FileMark]:
    """Return the marks of all files of some inputs, by (owning case or "", name)."""
    marks: dict[FileKey, FileMark] = {}
    for entry in inputs:
        if not entry.slices:
            marks["", entry.name] = entry.mark
        for one in entry.slices:
            marks[one.owner, one.name] = one.mark
    return marks


def _earlier(row: sqlite3.Row) -> Earlier:
    return Earlier(
        row["case_id"],
        State(row["state"]),
        bool(row["paid"]),
        row["content_key"],
        State(row["verdict"]) if row["verdict"] else None,
    )


def _alike(
    connection: sqlite3.Connection, case_id: str, which: str, *parameters: object
) -> list[sqlite3.Row]:
    return connection.execute(
        f"SELECT e.seq, e.case_id, e.state, {MAY_BE_PAID} AS paid, e.content_key, e.verdict "  # noqa: S608 - ours
        "FROM cases AS c "
        "JOIN cases AS e ON e.request_key = c.request_key AND e.sizes_key = c.sizes_key "
        "AND e.seq <> c.seq AND (e.seq < c.seq OR e.state IN ('done', 'partial', "
        "'submitting', 'uploading', 'notifying', 'waiting', 'fetching', 'delivering', "
        f"'archiving') OR (e.state <> 'claiming' AND {MAY_BE_PAID}) OR {_IS_SENT_ANYHOW}) "
        f"WHERE c.case_id = ?1 AND e.doom IS NULL AND NOT {_IS_PUT_OFF} AND {which}",
        (case_id, *parameters),
    ).fetchall()


def _earlier_alike(
    connection: sqlite3.Connection, case_id: str, content_key: str | None
) -> list[Earlier]:
    if content_key is None:
        rows = _alike(connection, case_id, "TRUE")
    else:  # three questions of one moment, as one with OR walks all of a size
        unread = "e.content_key IS NULL AND"
        rows = [
            *_alike(connection, case_id, "e.content_key = ?2", content_key),
            *_alike(
                connection,
                case_id,
                f"{unread} e.state = 'claiming' AND (e.seq < c.seq OR {_IS_SENT_ANYHOW})",
            ),
            *_alike(connection, case_id, f"{unread} e.state IN {_PAST_CLAIM}"),
        ]
    return [_earlier(row) for row in sorted(rows, key=lambda row: int(row["seq"]))]


def first_in_way(connection: sqlite3.Connection, case_id: str) -> str:
    """Name a case for whose sake this one is not simply sent; "" if there is none.

    What rests without a known content says nothing: whoever compares has tried to read it.
    """
    row = connection.execute(
        "SELECT content_key FROM cases WHERE case_id = ?", (case_id,)
    ).fetchone()
    for one in _earlier_alike(connection, case_id, row["content_key"]):
        if one.is_under_way or (one.content_key and (one.has_result or one.needs_person)):
            return one.case_id
    return ""


def _set_mark(
    connection: sqlite3.Connection,
    case_id: str,
    key: FileKey,
    mark: FileMark,
    *,
    forget: bool = False,
) -> None:
    owner, name = key
    for table, where in (("inputs", "? = '' AND series_uid = ''"), ("slices", "owner = ?")):
        connection.execute(
            f"UPDATE {table} SET size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, "  # noqa: S608 - ours
            "sha256 = CASE WHEN ? THEN NULL ELSE sha256 END "
            f"WHERE case_id = ? AND name = ? AND {where}",
            (*mark_columns(mark), forget, case_id, name, owner),
        )


class ProgressVerbs(Verbs):
    """The verbs on a case whose step is under way."""

    def set_inputs(
        self,
        case_id: str,
        inputs: tuple[Input, ...],
        *,
        skipped: tuple[dict[str, str], ...],
        hold: Problem | None = None,
        late_for: str = "",
    ) -> None:
        """Replace what a case that never had a job consists of.

        `hold` and `late_for` are recorded if they are given.
        """
        with self.database.transaction() as connection:
            drop_inputs(connection, case_id)
            put_inputs(connection, case_id, inputs)
            update_case(
                connection, case_id, sizes_key=sizes_key(inputs), skipped=json.dumps(skipped)
            )
            if hold is not None:
                retries = must_load(connection, case_id).retries
                update_case(
                    connection,
                    case_id,
                    hold=dump_problem(hold),
                    hold_retries=retries,
                    late_for=late_for,
                )

    def keep_reference(self, case_id: str, marks: Mapping[FileKey, FileMark]) -> None:
        """Record how files look whose content was found to be the same: digests stay."""
        with self.database.transaction() as connection:
            for key, mark in marks.items():
                _set_mark(connection, case_id, key, mark)

    def set_reference(
        self,
        case_id: str,
        marks: Mapping[FileKey, FileMark],
        *,
        zip_sizes: Mapping[str, int],
    ) -> None:
        """Record how claimed files look: what later looks are compared with.

        `marks` by (owning case or "", name); `zip_sizes` in bytes by the names of the inputs that
        are series. The digest of what looks different now is forgotten.
        """
        with self.database.transaction() as connection:
            before = marks_of(load_inputs(connection, case_id))
            changed = {key: mark for key, mark in marks.items() if before[key] != mark}
            for key, mark in changed.items():
                _set_mark(connection, case_id, key, mark, forget=True)
            for name, size in zip_sizes.items():
                connection.execute(
                    "UPDATE inputs SET size = ?1, sha256 = CASE WHEN ?2 THEN NULL ELSE sha256 END "
                    "WHERE case_id = ?3 AND name = ?4",
                    (size, bool(changed), case_id, name),
                )
            inputs = load_inputs(connection, case_id)
            update_case(connection, case_id, sizes_key=sizes_key(inputs))
            if any(content_of(entry) is None for entry in inputs):
                update_case(connection, case_id, content_key=None)

    def set_claimed(self, case_id: str, job: Mapping[str, Any], *, engine_version: str) -> None:
        """Record that a case's files are in its claim folder, and the job that it asks for.

        The version of the Engine and the key by which duplicates are found change together, and
        only before a case is compared with earlier ones.
        """
        with self.database.transaction() as connection:
            case = must_load(connection, case_id)
            update_case(
                connection,
                case_id,
                job=json.dumps(job),
                engine_version=engine_version,
                request_key=request_key(job, engine_version),
                claimed=case.times["claimed"] or iso(self._now()),
                is_settling=0,
            )
            if case.times["claimed"] is None:
                add_event(connection, case_id, iso(self._now()), "case.claimed")

    def set_wishes(self, case_id: str, job_json: tuple[str, ...]) -> None:
        """Record the names of a case's `job.json` again, and behind them what it says."""
        with self.database.transaction() as connection:
            update_case(connection, case_id, job_json=json.dumps(job_json))

    def set_gathered(self, case_id: str) -> None:
        """Record that all that is to be had of a case's files is in its claim folder."""
        with self.database.transaction() as connection:
            case = must_load(connection, case_id)
            update_case(connection, case_id, claimed=case.times["claimed"] or iso(self._now()))

    def has_earlier_alike(self, case_id: str) -> bool:
        """Tell whether `earlier_alike` finds any case, without walking thousands of one size."""
        with self.database.reading() as connection:
            return bool(_alike(connection, case_id, "TRUE ORDER BY e.seq LIMIT 1"))

    def earlier_alike(self, case_id: str, *, content_key: str | None = None) -> list[Earlier]:
        """Return the cases that asked for the same of inputs of the same sizes, and came first.

        First came what was taken first, and whatever is past its claim by now or may have been
        paid for (a retry can bring back the older of two). A younger case in `claiming` does not
        count, so that no two wait for one another, unless a person wants it sent at its price.
        With a `content_key` only those that have it, or may have it, are returned.
        """
        with self.database.reading() as connection:
            return _earlier_alike(connection, case_id, content_key)

    def set_digests(self, case_id: str, digests: Mapping[FileKey, str]) -> str:
        """Record the SHA-256 of files by (owning case or "", name); return the content key."""
        with self.database.transaction() as connection:
            for (owner, name), sha256 in digests.items():
                connection.execute(
                    "UPDATE inputs SET sha256 = ? WHERE case_id = ? AND name = ? AND ? = '' "
                    "AND series_uid = ''",
                    (sha256, case_id, name, owner),
                )
                connection.execute(
                    "UPDATE slices SET sha256 = ? WHERE case_id = ? AND name = ? AND owner = ?",
                    (sha256, case_id, name, owner),
                )
            return set_content_key(connection, case_id)

    def known_series(self, recipe: str, series_uids: Iterable[str]) -> dict[str, KnownSeries]:
        """Return what of some series was claimed before, by series UID."""
        return known_series(self.database, recipe, series_uids)

    def cases_of_series(self, recipe: str, series_uids: Iterable[str]) -> list[str]:
        """Return the ids of the cases that hold slices of some series, oldest first."""
        found: list[str] = []
        for uid in series_uids:
            rows = self.database.read(
                "SELECT case_id FROM inputs JOIN cases USING (case_id) "
                "WHERE inputs.series_uid = ? AND inputs.series_uid <> '' AND recipe = ? "
                "ORDER BY seq",
                (uid, recipe),
            )
            found += [row["case_id"] for row in rows]
        return found

    def earlier(self, case_id: str) -> Earlier | None:
        """Return what a later case needs to know of an earlier one."""
        rows = self.database.read(
            f"SELECT e.case_id, e.state, {MAY_BE_PAID} AS paid, e.content_key, e.verdict "  # noqa: S608 - ours
            "FROM cases AS e WHERE e.case_id = ?",
            (case_id,),
        )
        return _earlier(rows[0]) if rows else None

    def set_duplicate(self, case_id: str, of: str) -> None:
        """Record which earlier case holds the result."""
        with self.database.transaction() as connection:
            update_case(connection, case_id, duplicate_of=of, result_status="duplicate")

    def set_job(self, case_id: str, job_id: str, links: Mapping[str, Links]) -> None:
        """Record the Engine's answer to a submit before anything is done with it."""
        now = iso(self._now())
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT INTO jobs (job_id, case_id, generation, made_at, may_be_paid) "
                "SELECT ?, case_id, generation, ?, paid FROM cases WHERE case_id = ?",
                (job_id, now, case_id),
            )
            for modality, link in links.items():
                connection.execute(
                    "UPDATE inputs SET upload_url = ?, notify_url = ?, is_uploaded = 0, "
                    "notified = 'no' WHERE case_id = ? AND modality = ?",
                    (link.upload_url, link.notify_url, case_id, modality),
                )
            update_case(connection, case_id, job_id=job_id, submitted=now)

    def set_uploaded(
        self, case_id: str, modality: str, sha256: str, *, slices: tuple[str, ...] = ()
    ) -> None:
        """Record that an input is with the Engine, and the digest of the bytes that were sent.

        `slices` are the digests of the files of a series, in their order.
        """
        with self.database.transaction() as connection:
            connection.executemany(
                "UPDATE slices SET sha256 = ? WHERE case_id = ? AND position = ?",
                [(digest, case_id, position) for position, digest in enumerate(slices)],
            )
            connection.execute(
                "UPDATE inputs SET is_uploaded = 1, sha256 = ?, upload_url = NULL "
                "WHERE case_id = ? AND modality = ?",
                (sha256, case_id, modality),
            )
            set_content_key(connection, case_id)
            update_case(connection, case_id, uploaded=iso(self._now()))

    def begin_notification(self, case_id: str, modality: str) -> None:
        """Record that a notification is about to be sent: from here on the job may be paid."""
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET may_be_paid = 1 WHERE case_id = ?1 "
                "AND job_id = (SELECT job_id FROM cases WHERE case_id = ?1)",
                (case_id,),
            )
            update_case(connection, case_id, paid=1)
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
            case = must_load(connection, case_id)
            known = {output_identity(output): output for output in case.outputs if output.file}
            connection.execute("DELETE FROM outputs WHERE case_id = ?", (case_id,))
            for output in outputs:
                put_output(connection, case_id, output, known.get(output_identity(output)))
            update_case(
                connection,
                case_id,
                engine_result=json.dumps(body),
                result_status=result_status,
                finished=case.times["finished"] or now,
            )

    def set_result_status(self, case_id: str, result_status: str) -> None:
        """Record that a result is only `partial` after all."""
        with self.database.transaction() as connection:
            update_case(connection, case_id, result_status=result_status)

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
            case = must_load(connection, case_id)
            update_case(
                connection,
                case_id,
                publishing=1,
                delivered=case.times["delivered"] or iso(self._now()),
            )

    def set_published(self, case_id: str, outbox: str, verdict: State) -> None:
        """Record where a case's results are, and the state in which it will rest."""
        with self.database.transaction() as connection:
            update_case(connection, case_id, outbox=outbox, verdict=str(verdict))
