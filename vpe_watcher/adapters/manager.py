"""The service manager, told how the daemon is: sd_notify, a datagram of `KEY=value` lines.

Owns the address and the period that systemd gave this process; never decides what is told. Whoever
does not listen, or cannot be reached now, stops nobody: systemd itself says what it waits for.
"""

from __future__ import annotations

import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

SOCKET = "NOTIFY_SOCKET"
WATCHDOG = "WATCHDOG_USEC"
WATCHDOG_OF = "WATCHDOG_PID"
PATIENCE_S = 1.0  # with a manager that is busy: its socket is full
MICRO = 1_000_000


class Manager:
    """Tells systemd; without an address silently nothing."""

    def __init__(self, address: str | None = None, *, watchdog_s: float | None = None) -> None:
        """Prepare; `watchdog_s`: a daemon that is not `alive` for as long is killed."""
        self._address = address
        self.watchdog_s = watchdog_s if address else None

    @classmethod
    def taken_from(cls, environment: MutableMapping[str, str], *, pid: int) -> Manager:
        """Take what systemd left for this process out of the environment, so no child speaks."""
        address = environment.pop(SOCKET, None)
        watchdog, whose = environment.pop(WATCHDOG, ""), environment.pop(WATCHDOG_OF, str(pid))
        is_watched = watchdog.isdecimal() and int(watchdog) > 0 and whose == str(pid)
        return cls(address, watchdog_s=int(watchdog) / MICRO if is_watched else None)

    @property
    def is_listening(self) -> bool:
        """Tell whether systemd wants to hear anything."""
        return bool(self._address)

    def ready(self) -> None:
        """Say that the start, or a reload, has come to its end."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Say that the configuration is read again: `ready` must follow."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now_us}")

    def stopping(self, *, within_s: float) -> None:
        """Say that the daemon stops, and that it may take so long, whatever the unit says."""
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(within_s * MICRO)}")

    def needs_longer(self, seconds: float) -> None:
        """Ask that a start, reload or stop under way may go on for as long from now."""
        self._tell(f"EXTEND_TIMEOUT_USEC={int(seconds * MICRO)}")

    def status(self, line: str) -> None:
        """Show one line of text in `systemctl status`."""
        self._tell("STATUS=" + " ".join(line.split()))

    def alive(self) -> None:
        """Feed the watchdog."""
        if self.watchdog_s is not None:
            self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the zero byte of an abstract name: sd_notify(3).
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(PATIENCE_S)
            sender.sendto("\n".join(lines).encode("utf-8", "replace"), address)
