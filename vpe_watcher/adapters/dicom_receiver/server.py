"""The listening socket: how many may connect, and how much a connection may say at once."""

from __future__ import annotations

import errno
import os
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

from vpe_watcher.core.errors import ConfigError, TryAgainLater, WatcherError

STOP_CHECK_S = 0.1
LARGEST_READ_BYTES = 1024 * 1024  # a request with many contexts is longer than any PDU of data


class Connection(AssociationSocket):
    """A connection on which no stranger can have gigabytes gathered in memory."""

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes; nothing, as at the end, when that is more than any message has."""
        return super().recv(nr_bytes) if nr_bytes <= LARGEST_READ_BYTES else bytearray()

    def _shutdown_socket(self) -> None:
        """Close the socket also when its other end is gone already."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class Server(ThreadedAssociationServer):
    """A server that says nothing to stderr and does not take more than it can hold."""

    daemon_threads = True
    request_queue_size = 64
    most_connections = 0
    on_defect: Callable[[BaseException], None]

    def service_actions(self) -> None:
        """Leave garbage to Python: the library would stop all threads for it, twice a minute."""

    def verify_request(self, *_: object) -> bool:
        """Take a connection if there is room."""
        return len(self.active_associations) < self.most_connections

    def handle_error(self, *_: object) -> None:
        """Say where a thread met a defect."""
        error = sys.exception()
        if error is not None:
            self.on_defect(error)

    def end(self) -> None:
        """Stop listening; open associations go on."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()


def listen(
    entity: AE,
    address: tuple[str, int],
    handlers: Sequence[EventHandlerType],
    *,
    most_connections: int,
    on_defect: Callable[[BaseException], None],
) -> Server:
    """Listen in a thread of its own.

    Raises:
        TryAgainLater: the port is taken.
        ConfigError: this machine cannot listen there.
    """
    # The library's own handlers put what they see into texts; ours say what may be said.
    _config.LOG_HANDLER_LEVEL = "none"
    try:
        made: Any = entity.make_server(address, evt_handlers=list(handlers), server_class=Server)
    except OSError as error:
        raise _cannot_listen(error, *address) from error
    server: Server = made
    server.most_connections = most_connections
    server.on_defect = on_defect
    threading.Thread(
        target=server.serve_forever, args=(STOP_CHECK_S,), name="dicom-receiver", daemon=True
    ).start()
    return server


def check_address(address: tuple[str, int]) -> None:
    """Try an address for a moment. Raises `ConfigError`: this machine cannot listen there."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:  # that may be ourselves, and is tried again
            raise _cannot_listen(error, *address) from error


def tame(association: Association) -> None:
    """Give a new association's connection the manners of ours."""
    connection: Any = association.dul.socket
    connection.__class__ = Connection  # the library has no place to name a class for it


def _cannot_listen(error: OSError, host: str, port: int) -> WatcherError:
    why = os.strerror(error.errno).lower() if error.errno else "unknown error"
    shown = f"[{host}]" if ":" in host else host
    message = f"Nothing can be received at {shown}:{port}: {why}."
    if error.errno == errno.EADDRINUSE:
        hint = "Another program, or another receiver, has this port: choose another one."
        return TryAgainLater(message, code="port_taken", hint=hint)
    hint = "Use an address of this machine, and a port above 1023 (DICOM's own is 11112)."
    return ConfigError(message, code="cannot_listen", hint=hint)
