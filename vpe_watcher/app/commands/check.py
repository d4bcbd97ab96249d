"""`check`: tries everything that the daemon will need, and says what to do about what fails.

Leaves nothing behind: probe files are removed, the fresh token is not kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.app.commands import opened, text
from vpe_watcher.app.result import EXIT_NO, Result

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings

SCHEMA = "vpe-watcher/check/1"
OK, WARNING, ERROR = "ok", "warning", "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried: `status` ok, warning or error, what, and what to do about it."""

    status: str
    what: str
    hint: str = ""


def check(config: Path | None) -> Result:
    """Try all that the configuration names. Raises `ConfigError` for mistakes in it."""
    settings = opened.settings_of(config, asks_engine=True)
    findings = tuple(_findings(settings))
    errors = sum(finding.status == ERROR for finding in findings)
    rows = [{"status": found.status, "what": found.what, "hint": found.hint} for found in findings]
    warned = any(finding.status == WARNING for finding in findings)
    well = "Nothing failed." if warned else "All is well."
    end = f"{text.count(errors, 'check')} failed." if errors else well
    return Result(
        data={"schema": SCHEMA, "findings": rows},
        lines=(*_lines(findings), end),
        exit_code=EXIT_NO if errors else 0,
    )


def _findings(settings: Settings) -> Iterator[Finding]:
    from vpe_watcher.adapters.settings import warnings
    from vpe_watcher.app.commands import (
        dicom_probe,
        engine_probe,
        folder_probes,
        identity_probe,
        notify_probe,
    )

    where = f"the configuration is in order ({settings.config_file or 'from the environment'})"
    yield Finding(OK, where)
    for mistake in warnings(settings):
        yield Finding(WARNING, mistake.message, mistake.hint)
    yield from folder_probes.findings(settings)
    yield from identity_probe.findings(settings)
    yield from dicom_probe.findings(settings)
    yield from notify_probe.findings(settings)
    yield from engine_probe.findings(settings)


def _lines(findings: tuple[Finding, ...]) -> Iterator[str]:
    for finding in findings:
        yield f"{finding.status}: {finding.what}"
        if finding.hint:
            yield f"  hint: {finding.hint}"
