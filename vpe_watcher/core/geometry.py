"""Where slices lie, and what is missing between them: positions, steps, numbers.

Knows numbers only, no headers and no paths. Lengths are in mm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median_low

SAME_DIRECTION = 1e-3  # of a direction cosine
SAME_MM = 0.01  # decimal strings of 16 characters are rounded, and vendors round more
STEP_TOLERANCE = 0.1  # of the usual step
HOLE_FROM = 2 - 2 * STEP_TOLERANCE  # usual steps: from here on a slice is missing in between
FEWEST_STRIDED = 5  # slices before a constant step of numbers is believed
FARTHEST_MM = 1e6  # a kilometre is no place in a patient
MOST_NAMED = 8  # ranges of numbers in one sentence

Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Hole:
    """About `count` slices are missing after the slice at `index`, in order of depth."""

    index: int
    count: int


def is_place(position: Sequence[float]) -> bool:
    """Tell whether a position is three numbers that can be calculated with."""
    return len(position) == 3 and all(abs(value) <= FARTHEST_MM for value in position)


def is_direction(orientation: Sequence[float]) -> bool:
    """Tell whether six cosines span a plane: about unit length, about perpendicular."""
    if len(orientation) != 6 or not all(abs(cosine) <= 2 for cosine in orientation):
        return False
    return math.isclose(math.hypot(*normal_of(orientation)), 1, abs_tol=0.1)


def normal_of(orientation: Sequence[float]) -> Vector:
    """Return the direction in which slices of this orientation are stacked."""
    (ax, ay, az), (bx, by, bz) = orientation[:3], orientation[3:6]
    return (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)


def depth_of(position: Sequence[float], normal: Sequence[float]) -> float:
    """Return how far along the normal a slice lies."""
    return sum(a * b for a, b in zip(position, normal, strict=True))


def middle_of(vectors: Iterable[Vector]) -> Vector:
    """Return the median of each component: what the majority says, if there is one."""
    return tuple(median_low(component) for component in zip(*vectors, strict=True))


def is_close(one: Vector, other: Vector, tolerance: float) -> bool:
    """Tell whether no component differs by more than the tolerance."""
    return len(one) == len(other) and all(
        abs(a - b) <= tolerance for a, b in zip(one, other, strict=True)
    )


def steps_of(depths: Iterable[float]) -> list[float]:
    """Return the distances between neighbours, in order of depth."""
    return [after - before for before, after in pairwise(sorted(depths))]


def usual_step(steps: Sequence[float]) -> float:
    """Return the lower median of all steps between two places; 0.0 when all lie at one.

    The lower one, because a hole makes steps longer and never shorter.
    """
    real = [step for step in steps if step > SAME_MM]
    return median_low(real) if real else 0.0


def shared_places(steps: Sequence[float]) -> int:
    """Return how many slices lie where their neighbour lies."""
    least = max(SAME_MM, STEP_TOLERANCE * usual_step(steps))
    return sum(step <= least for step in steps)


def holes_in(steps: Sequence[float]) -> list[Hole]:
    """Return where a step is about two usual steps or more."""
    usual = usual_step(steps)
    if not usual:
        return []
    counts = (round(step / usual) - 1 if step >= HOLE_FROM * usual else 0 for step in steps)
    return [Hole(index, count) for index, count in enumerate(counts) if count]


def is_even(steps: Sequence[float], *, with_holes: bool = False) -> bool:
    """Tell whether all steps are the usual one, or (`with_holes`) whole multiples of it."""
    usual = usual_step(steps)
    if not usual:
        return False
    tolerance = max(SAME_MM, STEP_TOLERANCE * usual)
    for step in steps:
        times = max(1, round(step / usual)) if with_holes else 1
        if abs(step - times * usual) > times * tolerance:
            return False
    return True


def largest_shift(positions: Sequence[Vector], normal: Vector) -> float:
    """Return how far a slice lies beside the line from the first to the last slice, in mm.

    A tilted gantry moves every slice by the same and so stays on the line.
    """
    ordered = sorted((depth_of(position, normal), position) for position in positions)
    (start, first), (end, last) = ordered[0], ordered[-1]
    if end - start <= SAME_MM:
        return 0.0
    line = [b - a for a, b in zip(first, last, strict=True)]
    return max(
        math.hypot(
            *(
                value - origin - (depth - start) / (end - start) * length
                for value, origin, length in zip(position, first, line, strict=True)
            )
        )
        for depth, position in ordered
    )


def stride_of(numbers: Iterable[int]) -> int:
    """Return the step that numbers share (1, 3, 5, …: 2); 1 when too few to believe one."""
    every = list(numbers)
    if len(every) < FEWEST_STRIDED:
        return 1
    return math.gcd(*(after - before for before, after in pairwise(sorted(every)))) or 1


def number_gaps(numbers: Iterable[int], stride: int = 1) -> list[tuple[int, int]]:
    """Return the first and last number of each gap between the lowest and the highest."""
    return [
        (before + stride, after - stride)
        for before, after in pairwise(sorted(set(numbers)))
        if after - before > stride
    ]


def gaps_in_words(gaps: Sequence[tuple[int, int]]) -> str:
    """Say `slice 17 is missing` or `slices 17, 20-25 are missing`; "" without a gap."""
    if not gaps:
        return ""
    ranges = [str(first) if first == last else f"{first}-{last}" for first, last in gaps]
    named = ", ".join(ranges[:MOST_NAMED])
    if len(ranges) > MOST_NAMED:
        named += f" and {len(ranges) - MOST_NAMED} more ranges"
    is_one = len(gaps) == 1 and gaps[0][0] == gaps[0][1]
    return f"slice {named} is missing" if is_one else f"slices {named} are missing"
