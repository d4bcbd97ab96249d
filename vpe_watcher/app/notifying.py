"""The notices of a running daemon: a thread for the clerk and one for each target.

Whoever is told may hang: nobody waits for a sender, and none touches the state file after `stop`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from vpe_watcher import __version__
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.notices import Policy, Topic
from vpe_watcher.flow.notices import NEVER, Clerk, Clock, Sender, Times

if TYPE_CHECKING:
    from vpe_watcher.adapters.notify import Target
    from vpe_watcher.adapters.settings import Settings
    from vpe_watcher.app.assembly import Parts, Stopping
    from vpe_watcher.flow.breakers import Log

SENDER = "notices-"  # a thread whose name begins so may hang with its receiver
PERIOD_S = 1.0
DEFECT_S = 30.0


def targets_of(settings: Settings, *, now: Callable[[], float] = time.time) -> tuple[Target, ...]:
    """Build the targets of a configuration: the webhook first, then each address.

    Raises:
        ConfigError: an address cannot be used, or the extra is not installed.
    """
    from vpe_watcher.adapters.notify import Prompt, Webhook

    notify, host = settings.notify, socket.gethostname()
    found: list[Target] = []
    if address := notify.webhook.url.get_secret_value():
        found.append(
            Webhook(
                address,
                secret=notify.webhook.read_secret,
                host=host,
                now=now,
                user_agent=f"vpe-watcher/{__version__}",
            )
        )
    if urls := notify.read_urls():
        from vpe_watcher.adapters.notify.services import Service

        found += [Service(url, number=number, host=host) for number, url in enumerate(urls, 1)]
    return tuple({target.name: Prompt(target) for target in found}.values())


def policy_of(settings: Settings, targets: tuple[Target, ...]) -> Policy:
    """Return what is put down for these targets."""
    return Policy(
        topics=frozenset(Topic(word) for word in settings.notify.on),
        targets=tuple(target.name for target in targets),
        names=settings.notify.names,
    )


def times_of(settings: Settings) -> Times:
    """Return when people are told."""
    notify = settings.notify
    return Times(
        quiet=notify.quiet_hours or NEVER,
        digest_at=notify.digest_minute,
        breaker_after_s=notify.breaker_after_s,
        give_up_after_s=notify.give_up_after_h * 3600.0,
    )


class Notifying:
    """The clerk and the senders of a daemon, and their threads' work. Without a target: nothing."""

    def __init__(
        self,
        settings: Settings,
        parts: Parts,
        *,
        clock: Clock,
        stopping: Stopping,
        chance: Callable[[], float],
        log: Log,
    ) -> None:
        times = times_of(settings)
        self._stopping = stopping
        self._is_over = False  # another has taken its place
        self._log = log
        self.senders = tuple(
            Sender(target, parts.store, quiet=times.quiet, clock=clock, chance=chance, log=log)
            for target in parts.targets
        )
        self.clerk = Clerk(
            parts.store, parts.breakers, self.senders, times=times, clock=clock, log=log
        )

    def threads(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield name and work of each thread."""
        if self.senders:
            yield "clerk", self._keep
        for sender in self.senders:
            yield f"{SENDER}{sender.name}", partial(self._send, sender)

    def turn(self) -> None:
        """Do once what the threads do again and again."""
        if self.senders:
            self.clerk.turn()
        for sender in self.senders:
            while sender.turn():
                pass

    def is_idle(self) -> bool:
        """Tell whether nobody is to be told of anything now."""
        return all(sender.is_idle() for sender in self.senders)

    def stop(self) -> None:
        """Let no sender touch the state file any more; returns at once."""
        self._is_over = True
        for sender in self.senders:
            sender.end()

    def _keep(self) -> None:
        while not self._stopping.event.wait(PERIOD_S) and not self._is_over:
            try:
                self.clerk.turn()
            except EnvironmentFault:
                continue  # the breaker `state` tells of it
            except Exception as error:  # noqa: BLE001 - the top of a thread: it must not die
                self._log("thread.defect", error=error)
                self._stopping.event.wait(DEFECT_S)

    def _send(self, sender: Sender) -> None:
        while not self._stopping.event.is_set() and not self._is_over:
            try:
                has_more = sender.turn()
            except EnvironmentFault:
                has_more = False
            except Exception as error:  # noqa: BLE001 - the top of a thread: it must not die
                self._log("thread.defect", error=error)
                has_more = self._stopping.event.wait(DEFECT_S)
            if not has_more:
                self._stopping.event.wait(PERIOD_S)
