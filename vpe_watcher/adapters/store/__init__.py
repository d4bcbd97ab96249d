"""The state file: the only place in the project that speaks SQL."""

from vpe_watcher.adapters.store.database import Database
from vpe_watcher.adapters.store.queries import Queries
from vpe_watcher.adapters.store.store import Begun, NewCase, Store

__all__ = ["Begun", "Database", "NewCase", "Queries", "Store"]
