"""Who is told when: a clerk puts down what is about no case, a sender for each target tells it.

Notices on cases are put down by the store, with the change itself. Nothing here is waited for by
anybody: a receiver that hangs delays its own sender alone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from secrets import token_hex
from typing import Protocol

from vpe_watcher.adapters.notify import Target
from vpe_watcher.adapters.store import Store
from vpe_watcher.core.breakers import Breaker
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.machine import Patience, backoff_s
from vpe_watcher.core.moments import iso
from vpe_watcher.core.notices import (
    Answer,
    Draft,
    Episode,
    Notice,
    Receipt,
    Topic,
    judge,
    of_breaker,
)
from vpe_watcher.core.priorities import DayHours
from vpe_watcher.flow.breakers import Breakers, Log
from vpe_watcher.flow.room import local_minute

CALM_S = 300.0  # a breaker that opens again within this is the same trouble
DAY_S = 24 * 3600.0
DROP_FIRST_S = 600.0  # a machine may wake up with a wrong clock, and tries to tell before it drops
DROP_EVERY_S = 60.0
STATE_AGAIN_S = 5.0
SPOKEN_AT_MOST = 8
PATIENCE = Patience(retry_first_s=2.0, retry_at_most_s=300.0)
NEVER = DayHours(0, 0)
_BREAKER = "breaker:"
_DIGEST = "digest"


class Clock(Protocol):
    """Seconds since 1970, and seconds that never jump."""

    @property
    def now(self) -> Callable[[], float]:
        """Return the wall clock."""

    @property
    def monotonic(self) -> Callable[[], float]:
        """Return the clock that never jumps."""


@dataclass(frozen=True, slots=True)
class Times:
    """When people are told. `digest_at` is a minute of the day; None: no digest."""

    quiet: DayHours = NEVER
    digest_at: int | None = None
    breaker_after_s: float = 60.0
    give_up_after_s: float = 48 * 3600.0


class Sender:
    """Tells one target, one notice at a time, in order; trouble makes it wait."""

    def __init__(
        self,
        target: Target,
        store: Store,
        *,
        quiet: DayHours,
        clock: Clock,
        chance: Callable[[], float],
        log: Log,
    ) -> None:
        self.name = target.name
        self.shown = target.shown
        self._target = target
        self._store = store
        self._quiet = quiet
        self._clock = clock
        self._chance = chance
        self._log = log
        self._spoken: deque[Notice] = deque(maxlen=SPOKEN_AT_MOST)
        self._unsettled: int | None = None
        self._failures = 0
        self._reason = ""
        self._again_at = 0.0
        self._gate = threading.Lock()
        self._is_over = False

    def say(self, notice: Notice) -> None:
        """Tell what could not be put down, before anything else."""
        self._spoken.append(notice)

    def end(self) -> None:
        """Touch the state file no more, whatever a receiver says; what it took is sent again."""
        with self._gate:
            self._is_over = True

    def is_idle(self) -> bool:
        """Tell whether nothing is to be told before a time that is not yet there."""
        if self._clock.monotonic() < self._again_at:
            return True
        return not self._spoken and not self._store.has_notice(
            self.name, only_urgent=self._is_quiet()
        )

    def turn(self) -> bool:
        """Tell one notice if it is time; true when there may be more at once."""
        if self._clock.monotonic() < self._again_at:
            return False
        try:
            notice = self._next()
        except EnvironmentFault:
            self._again_at = self._clock.monotonic() + STATE_AGAIN_S
            return False
        if notice is None:
            return False
        receipt = self._target.tell(notice)
        with self._gate:
            if self._is_over:
                return False
            return self._took(notice, receipt)

    def _next(self) -> Notice | None:
        with self._gate:
            if self._is_over:
                return None
            if self._unsettled is not None:
                self._settle(self._unsettled)
            if self._spoken:
                return self._spoken[0]
            return self._store.take_notice(self.name, only_urgent=self._is_quiet())

    def _took(self, notice: Notice, receipt: Receipt) -> bool:
        if receipt.answer is Answer.TROUBLE:
            self._put_off(notice, receipt)
            return False
        self._failures, self._reason = 0, ""
        if receipt.answer is Answer.TOLD:
            self._log("notice.sent", peer=self.shown, code=notice.kind, count=notice.count)
        else:
            self._log("notice.refused", peer=self.shown, code=notice.kind, reason=receipt.reason)
        if self._spoken and self._spoken[0] is notice:
            self._spoken.popleft()
            return True
        self._unsettled = notice.seq
        try:
            self._settle(notice.seq)
        except EnvironmentFault:  # it is known here that it was told, until it can be recorded
            self._again_at = self._clock.monotonic() + STATE_AGAIN_S
            return False
        return True

    def _settle(self, seq: int) -> None:
        self._store.settle_notice(seq, self.name)
        self._unsettled = None

    def _put_off(self, notice: Notice, receipt: Receipt) -> None:
        wait_s = backoff_s(self._failures, PATIENCE, lambda: 0.5 + self._chance() / 2)
        self._failures += 1
        self._again_at = self._clock.monotonic() + max(wait_s, receipt.retry_after_s or 0.0)
        if receipt.reason != self._reason:
            self._log("notice.waiting", peer=self.shown, code=notice.kind, reason=receipt.reason)
        self._reason = receipt.reason

    def _is_quiet(self) -> bool:
        return self._quiet.holds(local_minute(self._clock.now()))


class Clerk:
    """Puts down notices on breakers and the daily digest, and drops what is too old."""

    def __init__(
        self,
        store: Store,
        breakers: Breakers,
        senders: Sequence[Sender],
        *,
        times: Times,
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._breakers = breakers
        self._senders = senders
        self._times = times
        self._clock = clock
        self._log = log
        self._episodes: dict[str, Episode] | None = None
        self._told_aloud: dict[str, str | None] = {}  # what the state file could not take yet
        self._drop_at = clock.monotonic() + DROP_FIRST_S

    def turn(self) -> None:
        """Look once.

        Raises:
            EnvironmentFault: the state file cannot be used now; what is urgent was told even so.
        """
        open_now = {one.name: one for one in self._breakers.all()}
        before = self._known(frozenset(open_now))
        news = judge(
            before,
            frozenset(open_now),
            now=self._clock.monotonic(),
            after_s=self._times.breaker_after_s,
            calm_s=CALM_S,
        )
        self._episodes = episodes = dict(news.episodes)
        # What is not told, since the state file fails, stays to be told.
        episodes |= {name: replace(news.episodes[name], is_told=False) for name in news.opened}
        episodes |= {name: before[name] for name in news.closed}
        for name in news.opened:
            self._tell(name, open_now[name])
            episodes[name] = news.episodes[name]
        for name in news.closed:
            self._tell(name, None)
            del episodes[name]
        self._record()
        self._digest(sorted(open_now))
        self._drop()

    def _known(self, open_now: frozenset[str]) -> dict[str, Episode]:
        """Return the episodes; at first those of which people were told before the start."""
        if self._episodes is None:
            now = self._clock.monotonic()
            names = [key.removeprefix(_BREAKER) for key in self._told() if key.startswith(_BREAKER)]
            self._episodes = {
                name: Episode(now, None if name in open_now else now, is_told=True)
                for name in names
            }
        return self._episodes

    def _told(self) -> Mapping[str, str]:
        return self._store.told()

    def _tell(self, name: str, breaker: Breaker | None) -> None:
        key, value = f"{_BREAKER}{name}", breaker.since if breaker else None
        draft = (
            of_breaker(name, is_open=True, reason=breaker.reason, hint=breaker.hint)
            if breaker
            else of_breaker(name, is_open=False)
        )
        try:
            self._store.put_notice(draft, key=key, value=value)
        except EnvironmentFault:
            if not draft.is_urgent:
                raise
            self._say(draft)
            self._told_aloud[key] = value

    def _say(self, draft: Draft) -> None:
        """Tell without the state file: that it is out of order is what is to be told."""
        if not self._store.notice_policy.wants(draft.topic):
            return
        time = iso(self._clock.now())
        notice = Notice(0, token_hex(12), draft.kind, time, draft.facts, draft.is_urgent)
        for sender in self._senders:
            sender.say(notice)

    def _record(self) -> None:
        for key, value in list(self._told_aloud.items()):
            self._store.set_told(key, value)
            del self._told_aloud[key]

    def _digest(self, broken: Sequence[str]) -> None:
        at = self._times.digest_at
        if at is None or not self._store.notice_policy.wants(Topic.DIGEST):
            return
        now = self._clock.now()
        today, minute = _local_date(now), local_minute(now)
        last = self._told().get(_DIGEST)
        if last is None:  # the first start says nothing of a day that it has not seen
            self._store.set_told(_DIGEST, today if minute >= at else "")
        elif last < today and minute >= at:
            facts = self._store.digest(since=now - DAY_S)
            draft = Draft(_DIGEST, _DIGEST, Topic.DIGEST, {**facts, "breakers": list(broken)})
            self._store.put_notice(draft, key=_DIGEST, value=today)

    def _drop(self) -> None:
        now = self._clock.monotonic()
        if now < self._drop_at:
            return
        older_than = self._clock.now() - self._times.give_up_after_s
        if self._store.has_stale_notices(older_than=older_than):
            dropped = self._store.drop_notices(older_than=older_than)
            if dropped:
                self._log("notice.dropped", count=dropped)
        self._drop_at = now + DROP_EVERY_S


def _local_date(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).astimezone().date().isoformat()
