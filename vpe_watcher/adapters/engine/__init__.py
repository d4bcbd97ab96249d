"""The Engine over HTTP. Owns its calls, the token and the mapping of every error at the edge.

Knows nothing of cases, rows or settings, logs nothing, and never repeats a call on its own account
(but for one new token after a 401 and one POST where a notification by PUT is not known).
"""

from vpe_watcher.adapters.engine.client import EngineClient
from vpe_watcher.adapters.engine.pace import Pace, Paces
from vpe_watcher.adapters.engine.values import (
    ClientCredentials,
    Download,
    Part,
    Poll,
    ReadyToken,
    Sent,
    Timeouts,
)
from vpe_watcher.adapters.engine.zipped import zip_size

__all__ = [
    "ClientCredentials",
    "Download",
    "EngineClient",
    "Pace",
    "Paces",
    "Part",
    "Poll",
    "ReadyToken",
    "Sent",
    "Timeouts",
    "zip_size",
]
