"""What holds for every test: the summary says which suites were left out.

Owns no fixtures: they stand beside the tests that use them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end that the real-data suite was left out, if it was."""
    left_out = terminalreporter.getreports("deselected")
    count = sum(1 for item in left_out if item.get_closest_marker("real"))
    if count:
        terminalreporter.write_line(
            f"real-data suite left out ({count} tests): run make test-real", yellow=True
        )
