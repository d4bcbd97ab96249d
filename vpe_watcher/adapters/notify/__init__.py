"""Who is told: a webhook of our own form, and whatever apprise knows.

A target takes a notice and returns a receipt; none raises for trouble of the receiver, and none
ever puts an address or a secret into a text.
"""

from __future__ import annotations

from typing import Protocol

from vpe_watcher.adapters.notify.prompt import Prompt
from vpe_watcher.adapters.notify.webhook import Webhook, signature
from vpe_watcher.core.notices import Notice, Receipt

__all__ = ["Prompt", "Target", "Webhook", "signature"]


class Target(Protocol):
    """Where notices go. `name` is stable and secret-free, `shown` tells people which one it is."""

    @property
    def name(self) -> str:
        """Return the name under which the state file knows who was told."""

    @property
    def shown(self) -> str:
        """Return what people see of it."""

    def tell(self, notice: Notice) -> Receipt:
        """Send one notice, once; a receiver that trickles may hold it up: see `Prompt`."""
