"""The part of `check` that is about notices: whether each address can be used. Tells nobody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vpe_watcher.app.commands.check import ERROR, OK, Finding
from vpe_watcher.core.errors import ConfigError

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings


def findings(settings: Settings) -> Iterator[Finding]:
    """Look at each target; its address is never shown."""
    from vpe_watcher.app.notifying import targets_of

    try:
        targets = targets_of(settings)
        settings.notify.webhook.read_secret()
    except ConfigError as error:
        yield Finding(ERROR, error.message, error.hint)
        return
    for target in targets:
        yield Finding(OK, f"notices go to {target.shown} (`vpe-watcher notify --test` tries it)")
