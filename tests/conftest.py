"""What holds for every test: the summary says what was left out, and what was counted.

Owns no fixtures: they stand beside the tests that use them, or in a module that is named here.
Stands here, because with several workers the process that writes the summary reads no other one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

pytest_plugins = ("tests.receiver",)
DEATHS = "deaths of the daemon"
SCHEDULES = "schedules of writers"
MEASURED = "measured"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say at the end what was left out, and what was counted."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties:
                if name in (DEATHS, SCHEDULES, MEASURED):
                    terminalreporter.write_line(f"{name}: {value}")
    if "not real" in config.getoption("markexpr", default=""):
        terminalreporter.write_line("real-data suite left out: run make test-real", yellow=True)
