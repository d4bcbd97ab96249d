"""Attempts that overlap: each stops at its calls, commits and renames, and chance says who goes on.

An attempt has a stack of its own, as in a thread of the daemon; but it goes on only when the script
lets it, so a seed tells the same each time. What an attempt has met is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random

from greenlet import greenlet

from vpe_watcher.core.model import State


class Death(BaseException):
    """The daemon is dead; what it had on the disk stays."""


class Attempt:
    """One attempt that has begun: where it stands, and which faults of calls and disks it met."""

    def __init__(self, run: Callable[[str, State], None], case_id: str, state: State) -> None:
        self.case_id = case_id
        self.state = state
        self.calls: list[tuple[str, str]] = []
        self.disks: list[tuple[str, int, bool]] = []
        self.is_judged = False  # its effect has ended; what follows only records the outcome
        self._stack = greenlet(run)

    def go_on(self) -> bool:
        """Run to the next stop; tell whether there was one."""
        self._stack.switch(*(() if self._stack else (self.case_id, self.state)))
        return bool(self._stack)

    def stop(self) -> None:
        """Stop here until the script lets it go on."""
        assert self._stack.parent is not None  # the script's
        self._stack.parent.switch()

    def kill(self) -> None:
        """Die where it stands."""
        with suppress(Death):
            self._stack.throw(Death)


class Attempts:
    """What was taken in hand, and what of it is under way. One runs at a time, to its next stop."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, State]] = []
        self.under_way: list[Attempt] = []
        self._running: Attempt | None = None

    def __bool__(self) -> bool:
        return bool(self.taken or self.under_way)

    def draw(self, run: Callable[[str, State], None], chance: Random) -> Attempt:
        """Choose who goes on, or begins."""
        number = chance.randrange(len(self.taken) + len(self.under_way))
        if number < len(self.under_way):
            return self.under_way[number]
        attempt = Attempt(run, *self.taken.pop(number - len(self.under_way)))
        self.under_way.append(attempt)
        return attempt

    def go_on(self, attempt: Attempt) -> bool:
        """Let one go on to its next stop, or its end; tell whether it has ended."""
        self._running, stops = attempt, False
        try:
            stops = attempt.go_on()
        finally:
            self._running = None
            if not stops:
                self.under_way.remove(attempt)
        return not stops

    def stop(self) -> None:
        """Let others go on, if it is an attempt that comes by."""
        if self._running is not None:
            self._running.stop()

    def die(self) -> None:
        """End all with their daemon."""
        self.taken.clear()
        while self.under_way:
            self.under_way.pop().kill()
