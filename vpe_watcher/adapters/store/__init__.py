"""The state file: the only place in the project that speaks SQL."""

from vpe_watcher.adapters.store.daemon import daemon_id_of
from vpe_watcher.adapters.store.database import Database
from vpe_watcher.adapters.store.queries import Queries
from vpe_watcher.adapters.store.rebuild import Rebuilt
from vpe_watcher.adapters.store.store import Store
from vpe_watcher.adapters.store.values import (
    Begun,
    Earlier,
    Legacy,
    Limits,
    NewCase,
    Pruned,
    Remembered,
    Rest,
    UnderWay,
    Word,
)

__all__ = [
    "Begun",
    "Database",
    "Earlier",
    "Legacy",
    "Limits",
    "NewCase",
    "Pruned",
    "Queries",
    "Rebuilt",
    "Remembered",
    "Rest",
    "Store",
    "UnderWay",
    "Word",
    "daemon_id_of",
]
