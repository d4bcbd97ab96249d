"""The main thread's wait, and signals that come in the midst of it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from vpe_watcher.app.wake import Wake

FLOOD = """
import signal, time
from vpe_watcher.app.signals import taken_signals
from vpe_watcher.app.wake import Wake

wake = Wake()
with taken_signals() as signals:
    signals.wake = wake.set
    signal.signal(signal.SIGALRM, lambda *_: signals.take(signal.SIGHUP, None))
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        wake.set()
        wake.wait(0.0001)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(signals.hangups > 100)
"""


def test_a_wait_ends_when_it_was_set_before() -> None:
    """What happened while the main thread was at work is not missed, and counts once."""
    wake = Wake()
    for _ in range(3):
        wake.set()
    started = time.monotonic()
    wake.wait(10.0)
    assert time.monotonic() - started < 5.0
    started = time.monotonic()
    wake.wait(0.05)
    assert time.monotonic() - started >= 0.04


def test_another_thread_ends_a_wait() -> None:
    """A worker that has ended lets the schedule go on at once."""
    wake = Wake()
    threading.Timer(0.05, wake.set).start()
    started = time.monotonic()
    wake.wait(10.0)
    assert time.monotonic() - started < 5.0


def test_a_flood_of_signals_locks_nothing() -> None:
    """Handlers that interrupt the wait anywhere, and their own like, never block it."""
    ran = subprocess.run(
        [sys.executable, "-c", FLOOD], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ran.stdout, ran.stderr) == ("True\n", "")
