"""`notify`: who is told of what waits, or with `--test` one test notice to each, at once."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.app.commands import opened
from vpe_watcher.app.result import EXIT_NO, Result
from vpe_watcher.core.errors import Refusal

if TYPE_CHECKING:
    from vpe_watcher.adapters.notify import Target
    from vpe_watcher.adapters.settings import Settings

SCHEMA = "vpe-watcher/notify/1"


def notify(config: Path | None, *, test: bool) -> Result:
    """Show how many notices wait for whom; with `test` tell each something now.

    Raises:
        Refusal: nobody is to be told.
        ConfigError: an address cannot be used, or the extra is not installed.
    """
    from vpe_watcher.app.notifying import targets_of

    settings = opened.settings_of(config)
    targets = targets_of(settings)
    if not targets:
        raise Refusal(
            "Nobody is to be told: the configuration names no webhook and no address.",
            code="notify_nobody",
            hint="Set notify.webhook.url, notify.urls_file or notify.urls.",
        )
    return _tested(targets) if test else _waiting(settings, targets)


def _tested(targets: tuple[Target, ...]) -> Result:
    from vpe_watcher.core.moments import iso
    from vpe_watcher.core.notices import Answer, Notice

    rows, lines = [], []
    notice = Notice(0, os.urandom(12).hex(), "test", iso(time.time()), {})
    for target in targets:
        receipt = target.tell(notice)
        told = receipt.answer is Answer.TOLD
        rows.append({"target": target.shown, "told": told, "reason": receipt.reason})
        lines.append(f"ok: {target.shown}" if told else f"failed: {target.shown}: {receipt.reason}")
    code = 0 if all(row["told"] for row in rows) else EXIT_NO
    data = {"schema": SCHEMA, "targets": rows}
    return Result(data=data, lines=tuple(lines), exit_code=code)


def _waiting(settings: Settings, targets: tuple[Target, ...]) -> Result:
    from vpe_watcher.adapters.store import Store

    names = tuple(target.name for target in targets)
    counts: dict[str, int] = {}
    with opened.reading(settings) as queries:
        doubt = opened.doubt(settings, queries)
        if queries is not None:
            counts = Store(queries.database, now=time.time).notices_waiting(names)
    rows = [{"target": one.shown, "waiting": counts.get(one.name, 0)} for one in targets]
    lines = (f"{row['target']}: {row['waiting']} to be told of" for row in rows)
    data = {"schema": SCHEMA, "targets": rows}
    return Result(data=data, lines=tuple(lines), messages=doubt)
