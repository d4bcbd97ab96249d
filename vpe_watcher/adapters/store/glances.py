"""A glance at the cases for the completion of a shell: quick, or not at all.

Reads only: it migrates nothing, makes no file beside the state file, and waits for nobody.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

BUSY_S = 0.2
NEWEST = 100

_NEWEST = (
    "SELECT case_id, case_name, state, namesakes FROM (SELECT seq, case_id, case_name, state, "
    "COUNT(*) OVER (PARTITION BY case_name) AS namesakes FROM cases) "
    "WHERE state IN (SELECT value FROM json_each(?1)) AND (substr(case_id, 1, length(?2)) = ?2 "
    "OR substr(case_name, 1, length(?2)) = ?2) ORDER BY seq DESC LIMIT ?3"
)


@dataclass(frozen=True, slots=True)
class Glimpse:
    """A case as a person would tell it from others; `namesakes` counts it, too."""

    case_id: str
    case_name: str
    state: str
    namesakes: int


def glimpses(state_file: Path, begun: str, states: Iterable[str]) -> list[Glimpse]:
    """Return the newest cases in these states whose id or name begins so, newest first.

    None where there is no such file, or where it cannot be read now: nobody is told why.
    """
    # Without a WAL nobody has the file open: as immutable it is read without making one.
    is_idle = not _wal_of(state_file).exists()
    address = f"{state_file.absolute().as_uri()}?mode=ro&immutable={is_idle:d}"
    question = (json.dumps(sorted(states)), begun, NEWEST)
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=BUSY_S)) as connection:
            return [Glimpse(*row) for row in connection.execute(_NEWEST, question)]
    except sqlite3.Error:
        return []


def _wal_of(state_file: Path) -> Path:
    return state_file.with_name(f"{state_file.name}-wal")
