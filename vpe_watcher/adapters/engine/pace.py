"""How fast uploads go: rates that several share. Owns the booking of time; sends nothing.

A rate gives its time out in equal lots to whoever asks first. Each upload asks for one lot at a
time, so those that run at once get equal shares, and what one does not use is the others'.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

LOT_BYTES = 256 * 1024
LOTS_A_SECOND = 10  # of a slow rate: a server must not take an upload that trickles for dead
CATCH_UP_S = 0.5  # of a machine that was busy; more would flood the line after a pause
LOOK_EVERY_S = 0.1


class Rate:
    """Bytes a second, shared by all who book; 0 = no limit. Thread-safe."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        """Let everything pass until `set` says otherwise."""
        self._monotonic = monotonic
        self._bytes_s = 0
        self._free_at = float("-inf")
        self._lock = threading.Lock()

    def set(self, bytes_s: int) -> None:
        """Let another rate hold from now on, for running uploads, too."""
        with self._lock:
            self._bytes_s = bytes_s
            self._free_at = max(self._free_at, self._monotonic())

    @property
    def lot_bytes(self) -> int:
        """Return how much is booked at a time, in bytes."""
        return (
            min(LOT_BYTES, max(1, self._bytes_s // LOTS_A_SECOND)) if self._bytes_s else LOT_BYTES
        )

    def book(self) -> tuple[int, float]:
        """Book one lot; return its bytes and the monotonic moment from which they may go."""
        with self._lock:
            lot = self.lot_bytes
            if not self._bytes_s:
                return lot, float("-inf")
            start = max(self._free_at, self._monotonic() - CATCH_UP_S)
            self._free_at = start + lot / self._bytes_s
            return lot, start


class Pace:
    """The rates that one upload keeps, with what it has booked of each and not yet sent."""

    def __init__(
        self,
        rates: tuple[Rate, ...] = (),
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Keep these rates, the narrowest first; none: as fast as it goes."""
        self._booked = dict.fromkeys(rates, 0)
        self._monotonic = monotonic
        self._sleep = sleep

    @property
    def piece_bytes(self) -> int:
        """Return how much to send at a time, in bytes."""
        return min((rate.lot_bytes for rate in self._booked), default=LOT_BYTES)

    def wait(self, size: int, *, should_stop: Callable[[], bool]) -> None:
        """Wait until so many bytes may go, or until `should_stop`: within a tenth of a second."""
        for rate in self._booked:
            while self._booked[rate] < size:
                lot, start = rate.book()
                self._wait_until(start, should_stop)
                self._booked[rate] += lot
            self._booked[rate] -= size

    def _wait_until(self, moment: float, should_stop: Callable[[], bool]) -> None:
        while (left_s := moment - self._monotonic()) > 0 and not should_stop():
            self._sleep(min(left_s, LOOK_EVERY_S))


class Paces:
    """The rate of all uploads together and those of recipes, which may change at any time."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Let everything pass until `set` says otherwise."""
        self._monotonic = monotonic
        self._sleep = sleep
        self._all = Rate(monotonic=monotonic)
        self._recipes: dict[str, Rate] = {}

    def set(self, bytes_s: int, recipes: Mapping[str, int]) -> None:
        """Let other rates hold, in bytes a second (0 = none), for running uploads, too."""
        self._all.set(bytes_s)
        for name in {*recipes, *self._recipes}:
            self._rate_of(name).set(recipes.get(name, 0))

    def of(self, recipe: str) -> Pace:
        """Return the pace of one upload of a recipe."""
        rates = (self._rate_of(recipe), self._all)
        return Pace(rates, monotonic=self._monotonic, sleep=self._sleep)

    def _rate_of(self, recipe: str) -> Rate:
        return self._recipes.setdefault(recipe, Rate(monotonic=self._monotonic))
