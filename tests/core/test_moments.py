"""Wall-clock moments as text."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpe_watcher.core.moments import iso

SECONDS = st.floats(0, 4e9)


def test_the_form_of_a_moment() -> None:
    """ISO 8601 in UTC, with a Z and milliseconds always."""
    assert iso(0) == "1970-01-01T00:00:00.000Z"
    assert iso(1_795_000_000.25) == "2026-11-18T11:06:40.250Z"


@given(seconds=SECONDS)
def test_there_and_back(seconds: float) -> None:
    """Nothing is lost but what is below a millisecond."""
    assert datetime.fromisoformat(iso(seconds)).timestamp() == pytest.approx(seconds, abs=0.0011)


@given(first=SECONDS, second=SECONDS)
def test_texts_sort_like_moments(first: float, second: float) -> None:
    """The database compares them as text."""
    early, late = sorted((first, second))
    assert iso(early) <= iso(late)
