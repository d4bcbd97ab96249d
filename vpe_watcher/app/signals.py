"""Signals as notes: what was asked for, and a wait that ends. Acts on nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Signals:
    """What signals asked for.

    A handler runs in the main thread between any two of its steps: it may take no lock that the
    main thread takes, so it only sets plain values and calls `wake` (of `app.wake`).
    """

    def __init__(self) -> None:
        self.is_stopping = False
        self.hangups = 0
        self.wake: Callable[[], None] = lambda: None

    def take(self, number: int, _frame: FrameType | None) -> None:
        """Take note of a signal; a second one to stop ends the process at once."""
        if number == signal.SIGHUP:
            self.hangups += 1
        elif self.is_stopping:
            os._exit(128 + number)
        else:
            self.is_stopping = True
        self.wake()


@contextmanager
def taken_signals() -> Iterator[Signals]:
    """Take note of SIGTERM, SIGINT and SIGHUP until the block ends. For the main thread only."""
    signals = Signals()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, signals.take) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
