"""Positions, steps and numbers of slices, without any header."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vpe_watcher.core.geometry import (
    Hole,
    depth_of,
    gaps_in_words,
    holes_in,
    is_direction,
    is_even,
    is_place,
    largest_shift,
    middle_of,
    normal_of,
    number_gaps,
    shared_places,
    steps_of,
    stride_of,
    usual_step,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ANGLES = st.floats(-math.pi, math.pi)
SPACINGS_MM = st.floats(0.05, 10)


@given(turn=ANGLES, tilt=ANGLES)
def test_the_normal_is_perpendicular_and_of_length_one(turn: float, tilt: float) -> None:
    """However the slices are turned."""
    row = (math.cos(turn), math.sin(turn), 0.0)
    column = (
        -math.sin(turn) * math.cos(tilt),
        math.cos(turn) * math.cos(tilt),
        math.sin(tilt),
    )
    normal = normal_of(row + column)
    assert is_direction(row + column)
    assert math.hypot(*normal) == pytest.approx(1)
    assert depth_of(row, normal) == pytest.approx(0, abs=1e-9)
    assert depth_of(column, normal) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "orientation",
    [
        (),
        AXIAL[:5],
        (0.0,) * 6,
        (1.0, 0.0, 0.0, 1.0, 0.0, 0.0),
        (math.nan, *AXIAL[1:]),
        (math.inf, *AXIAL[1:]),
        (1e200,) * 6,
        (10.0, 0.0, 0.0, 0.0, 0.1, 0.0),
    ],
)
def test_cosines_that_span_no_plane(orientation: tuple[float, ...]) -> None:
    """Nothing is calculated with them."""
    assert not is_direction(orientation)


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ((1.0, 2.0, 3.0), True),
        ((), False),
        ((1.0, 2.0), False),
        ((1.0, 2.0, math.nan), False),
        ((1e300, 0.0, 0.0), False),
    ],
)
def test_what_a_place_is(position: tuple[float, ...], *, expected: bool) -> None:
    """Three finite numbers."""
    assert is_place(position) is expected


def test_the_middle_is_what_the_majority_says() -> None:
    """A scout among axial slices does not move it."""
    assert middle_of([AXIAL, (0.0, 1.0, 0.0, 0.0, 0.0, -1.0), AXIAL]) == AXIAL


@given(count=st.integers(2, 60), spacing_mm=SPACINGS_MM, start=st.floats(-2000, 2000))
def test_even_steps_are_even(count: int, spacing_mm: float, start: float) -> None:
    """Decimal strings of three places are no hole, no shared place and not uneven."""
    steps = steps_of(round(start + index * spacing_mm, 3) for index in range(count))
    assert is_even(steps)
    assert not holes_in(steps)
    assert not shared_places(steps)
    assert usual_step(steps) == pytest.approx(spacing_mm, abs=0.002)


@given(
    shakes=st.lists(st.floats(-0.04, 0.04), min_size=4, max_size=60),
    spacing_mm=SPACINGS_MM,
    draw=st.data(),
)
def test_one_lost_slice_is_one_hole(
    shakes: list[float], spacing_mm: float, draw: st.DataObject
) -> None:
    """From four slices on a hole is found where it is, even when places shake a little."""
    depths = [spacing_mm * (index + shake) for index, shake in enumerate(shakes)]
    lost = draw.draw(st.integers(1, len(depths) - 2))
    del depths[lost]
    assert holes_in(steps_of(depths)) == [Hole(lost - 1, 1)]


@pytest.mark.parametrize(
    ("depths", "holes"),
    [
        ([], []),
        ([1], []),
        ([1, 2], []),
        ([1, 1, 1], []),
        ([0, 1, 2, 5, 6], [Hole(2, 2)]),
        ([0, 1, 2.5, 3.5], []),
        ([0, 1, 3, 4, 5, 7, 8, 9], [Hole(1, 1), Hole(4, 1)]),
        ([0, 1, 2, 4.3, 5.3], [Hole(2, 1)]),
        ([5, 0, 1, 2, 6], [Hole(2, 2)]),
    ],
)
def test_holes_by_example(depths: list[float], holes: list[Hole]) -> None:
    """About two usual steps or more are a hole; half a step too much is only uneven."""
    assert holes_in(steps_of(depths)) == holes


@pytest.mark.parametrize(
    ("depths", "count"),
    [([0, 1, 2], 0), ([0, 0, 1, 2], 1), ([0, 0, 0], 2), ([0, 0.005, 1], 1), ([0, 0.05, 1, 2], 1)],
)
def test_shared_places(depths: list[float], count: int) -> None:
    """Rounding does not put two slices apart that lie at one place."""
    assert shared_places(steps_of(depths)) == count


@pytest.mark.parametrize(
    ("depths", "plain", "with_holes"),
    [
        ([0, 1, 2, 3], True, True),
        ([0, 1, 2, 4, 5], False, True),
        ([0, 1, 2, 3.5, 4.5], False, False),
        ([0, 1, 1.2, 2.2, 3.2], False, False),
        ([0], False, False),
    ],
)
def test_evenness(depths: list[float], *, plain: bool, with_holes: bool) -> None:
    """A hole is a whole multiple of the usual step, an uneven step is not."""
    assert is_even(steps_of(depths)) is plain
    assert is_even(steps_of(depths), with_holes=True) is with_holes


@given(tilt_mm=st.floats(-1, 1), count=st.integers(2, 50))
def test_a_tilted_gantry_shifts_nothing(tilt_mm: float, count: int) -> None:
    """Every slice moves by the same: they stay on one line."""
    positions = [(0.0, tilt_mm * index, 0.5 * index) for index in range(count)]
    assert largest_shift(positions, normal_of(AXIAL)) == pytest.approx(0, abs=1e-9)


def test_a_slice_beside_the_others_is_measured() -> None:
    """The largest distance from the line from the first to the last slice, in mm."""
    positions = [(3.0 if index == 4 else 0.0, 0.0, float(index)) for index in range(9)]
    assert largest_shift(positions, normal_of(AXIAL)) == pytest.approx(3)
    assert largest_shift(positions[:1], normal_of(AXIAL)) == 0


@given(numbers=st.sets(st.integers(-50, 50), max_size=40))
def test_gaps_are_what_is_not_here(numbers: set[int]) -> None:
    """Numbers and gaps together are everything from the lowest to the highest."""
    gaps = number_gaps(numbers)
    lost = {number for first, last in gaps for number in range(first, last + 1)}
    assert not lost & numbers
    whole = set(range(min(numbers), max(numbers) + 1)) if numbers else set()
    assert lost | numbers == whole


def test_a_gap_of_two_milliards_is_one_pair() -> None:
    """Numbers are read from files: nothing is counted out."""
    assert number_gaps([1, 2**31]) == [(2, 2**31 - 1)]


@given(start=st.integers(-99, 99), step=st.integers(1, 50), count=st.integers(5, 40))
def test_a_constant_step_has_no_gap(start: int, step: int, count: int) -> None:
    """1, 3, 5, …: the step is found, and with it nothing is missing."""
    numbers = range(start, start + step * count, step)
    assert stride_of(numbers) == step
    assert number_gaps(numbers, step) == []


@given(step=st.integers(2, 50), count=st.integers(7, 40), lost=st.integers(1, 38))
def test_a_lost_number_of_a_constant_step_is_named(step: int, count: int, lost: int) -> None:
    """Exactly the one that is not here."""
    assume(lost < count - 1)
    numbers = [step * index for index in range(count) if index != lost]
    assert number_gaps(numbers, stride_of(numbers)) == [(step * lost, step * lost)]


@pytest.mark.parametrize("numbers", [[], [1], [1, 3], [1, 3, 5, 7], [5, 5, 5, 5, 5]])
def test_a_few_numbers_are_no_constant_step(numbers: list[int]) -> None:
    """1 and 3 are two of three slices rather than two of a series that counts by two."""
    assert stride_of(numbers) == 1


@pytest.mark.parametrize(
    ("gaps", "words"),
    [
        ([], ""),
        ([(17, 17)], "slice 17 is missing"),
        ([(20, 25)], "slices 20-25 are missing"),
        ([(17, 17), (20, 25)], "slices 17, 20-25 are missing"),
        (
            [(number, number) for number in range(2, 30, 2)],
            "slices 2, 4, 6, 8, 10, 12, 14, 16 and 6 more ranges are missing",
        ),
    ],
)
def test_gaps_in_words(gaps: list[tuple[int, int]], words: str) -> None:
    """As a person would say them, and never a page full."""
    assert gaps_in_words(gaps) == words
