"""Slow and strange writers against the whole daemon: what is sent is whole, and sent once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from secrets import randbits

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.conftest import SCHEDULES
from tests.flow.schedules import KINDS, Schedule, drawn
from tests.flow.stage import SETTLE_S, play

SEED = 20_261_103
Record = Callable[[str, object], None]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", KINDS)
def test_a_writer_is_waited_for(
    kind: str, ground: Path, record_property: Record, schedules_wanted: int
) -> None:
    """Never one byte short, never twice, always in the end: however it writes."""
    played = play_many(kind, ground, examples=schedules_wanted, number=SEED)
    record_property(SCHEDULES, f"{kind}: {played}")
    assert played >= schedules_wanted


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_writers_are_waited_for(
    kind: str, ground: Path, record_property: Record, schedules_wanted: int
) -> None:
    """The same with fresh chance each time; its seed stands in the summary."""
    number = randbits(32)
    played = play_many(kind, ground, examples=schedules_wanted, number=number)
    record_property(SCHEDULES, f"{kind}: {played}, seed {number}")
    assert played >= schedules_wanted


def play_many(kind: str, ground: Path, *, examples: int, number: int) -> int:
    """Draw and play schedules of one kind; return how many were played to their end."""
    played = 0

    def draw(chance: Random) -> Schedule:
        return drawn(chance, kind, settle_s=SETTLE_S)

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(schedule=st.randoms(use_true_random=False).map(draw))
    def play_one(schedule: Schedule) -> None:
        nonlocal played
        play(schedule, ground)
        played += 1

    play_one()
    return played
