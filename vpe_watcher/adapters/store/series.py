"""What was claimed of a series before: asked by the daemon and by `explain`."""

from __future__ import annotations

from collections.abc import Iterable

from vpe_watcher.adapters.store.database import Database
from vpe_watcher.core.content import KnownSeries

# Money may have gone into any job of a case, not only its last; a person allowed another only
# where it may have gone into one.
MAY_BE_PAID = (
    "(e.paid OR e.generation > 1 OR EXISTS "
    "(SELECT 1 FROM jobs WHERE jobs.case_id = e.case_id AND may_be_paid = 1))"
)


def known_series(
    database: Database, recipe: str, series_uids: Iterable[str]
) -> dict[str, KnownSeries]:
    """Return what of some series was claimed before, by series UID.

    A case that failed or was cancelled, and certainly cost nothing, counts as never claimed.
    """
    instances: dict[str, set[str]] = {}
    first: dict[str, str] = {}
    sent: set[str] = set()
    for uid in series_uids:
        rows = database.read(
            f"SELECT e.case_id, s.sop_instance_uid, e.state <> 'held' OR {MAY_BE_PAID} AS is_sent "  # noqa: S608 - ours
            "FROM inputs AS i "
            "JOIN cases AS e USING (case_id) JOIN slices AS s USING (case_id) "
            "WHERE i.series_uid = ? AND i.series_uid <> '' AND e.recipe = ? "
            f"AND NOT (e.state IN ('failed', 'cancelled') AND NOT {MAY_BE_PAID}) "
            "ORDER BY e.late_for <> '', e.seq",
            (uid, recipe),
        )
        for row in rows:
            first.setdefault(uid, row["case_id"])
            instances.setdefault(uid, set()).add(row["sop_instance_uid"])
            if row["is_sent"]:
                sent.add(uid)
    return {
        uid: KnownSeries(first[uid], frozenset(found), is_unsent=uid not in sent)
        for uid, found in instances.items()
    }
