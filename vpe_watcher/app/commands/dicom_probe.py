"""The part of `check` that is about receiving DICOM: what it needs, and whether the port is free.

Binds the address for a moment, and accepts nobody.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from vpe_watcher.app.commands.check import ERROR, OK, Finding

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings


def findings(settings: Settings) -> Iterator[Finding]:
    """Try `dicom.listen`; nothing when it is not set."""
    from vpe_watcher.adapters.lock import lock_holder
    from vpe_watcher.app.receiving import LOCK_NAME, not_installed

    address, listen = settings.dicom.address, settings.dicom.listen
    if address is None:
        return
    pid = lock_holder(settings.state_file.with_name(LOCK_NAME))
    if pid is not None:
        yield Finding(OK, f"DICOM is being received on {listen} (pid {pid})")
    elif find_spec("pynetdicom") is None:
        error = not_installed("pynetdicom")
        yield Finding(ERROR, error.message, error.hint)
    else:
        yield _bound(address, listen)


def _bound(address: tuple[str, int], listen: str) -> Finding:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(address)
            trial.listen(1)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            return Finding(
                ERROR,
                f"DICOM cannot be received on {listen}: {why}",
                "Set dicom.listen to an address of this machine and a free port; ports below 1024 "
                "need CAP_NET_BIND_SERVICE.",
            )
    return Finding(OK, f"DICOM can be received on {listen}")
