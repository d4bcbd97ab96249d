"""What is missing in the slices of one series, and what is odd about them, in words.

Takes headers that are parallel slices with a position each; knows no paths and refuses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from vpe_watcher.core import geometry
from vpe_watcher.core.slices import SliceHeader

MOST_HOLES = 3  # named in one sentence
SHIFT_MM = 0.5  # beside the line of the others before anybody is told


def missing(slices: Sequence[SliceHeader], others: Sequence[SliceHeader], min_slices: int) -> str:
    """Say what is not here; "" when everything seems to be.

    `others` are further instances of the series, without copies: scouts, reports, misfits.
    """
    declared, here = declared_count(slices, others)
    parts = [f"{declared} declared, {here} here"] if declared > here else []
    gaps = _gaps(slices, others)
    if gaps and not parts:
        gaps[-1] += f" ({len(slices)} here)"
    parts += gaps
    if len(slices) < min_slices:
        parts.append(f"{len(slices)} here, at least {min_slices} are needed")
    return "; ".join(parts)


def remarks(slices: Sequence[SliceHeader], others: Sequence[SliceHeader]) -> list[str]:
    """Say what a person should know of slices that may be complete."""
    declared, here = declared_count(slices, others)
    unnumbered = sum(header.instance_number is None for header in slices)
    remarks = {
        f"{here} here, only {declared} declared": 0 < declared < here,
        f"{unnumbered} without an instance number": unnumbered > 0,
        "instance numbers come more than once": _repeats(slices),
        "mixed transfer syntaxes": _differ(h.transfer_syntax_uid for h in slices),
        "mixed bits allocated": _differ(h.bits_allocated for h in slices),
        "mixed image types": _differ(h.image_type for h in slices),
        "mixed series descriptions": _differ(h.series_description for h in slices),
        "no pixel spacing in some slices": not all(h.pixel_spacing for h in slices),
    }
    return [text for text, is_so in remarks.items() if is_so] + _remarks_on_places(slices)


def declared_count(slices: Sequence[SliceHeader], others: Sequence[SliceHeader]) -> tuple[int, int]:
    """Return how many instances are declared (0: nothing) and how many of those meant are here."""
    everything = [*slices, *others]
    related = max((h.number_of_series_related_instances or 0 for h in everything), default=0)
    if related > 0:
        return related, len(everything)
    acquisitions = {header.acquisition_number for header in slices}
    if len(acquisitions) > 1:
        return 0, len(slices)
    images = max((header.images_in_acquisition or 0 for header in slices), default=0)
    same = [h for h in others if h.acquisition_number in acquisitions and h.rows]
    return max(images, 0), len(slices) + len(same)


def _gaps(slices: Sequence[SliceHeader], others: Sequence[SliceHeader]) -> list[str]:
    """Say which numbers are not here, and which holes in the positions they do not explain."""
    texts: list[str] = []
    explained: list[tuple[int, int]] = []
    stride = _stride(slices)
    for acquisition in (None, *_repeating_acquisitions(slices)):
        gaps = geometry.number_gaps(_numbers(slices, others, acquisition, stride), stride)
        new = [gap for gap in gaps if gap not in explained]
        explained += new
        name = f"acquisition {acquisition}: " if _is_number(acquisition) else ""
        texts += [name + geometry.gaps_in_words(new)] if new else []
    return texts + _holes(slices, explained)


def _is_number(text: str | None) -> bool:
    return text is not None and text.isascii() and text.isdigit()


def _stride(slices: Sequence[SliceHeader]) -> int:
    """Return the constant step of all numbers, where even positions make it believable."""
    if not geometry.is_even(geometry.steps_of(depths_of(slices)), with_holes=True):
        return 1
    return geometry.stride_of(h.instance_number for h in slices if h.instance_number is not None)


def _repeating_acquisitions(slices: Sequence[SliceHeader]) -> list[str]:
    """Return the acquisitions to look at one by one: all when numbers repeat among several."""
    acquisitions = sorted({header.acquisition_number for header in slices})
    return acquisitions if len(acquisitions) > 1 and _repeats(slices) else []


def _repeats(slices: Sequence[SliceHeader]) -> bool:
    numbers = [header.instance_number for header in slices if header.instance_number is not None]
    return len(set(numbers)) < len(numbers)


def _numbers(
    slices: Sequence[SliceHeader],
    others: Sequence[SliceHeader],
    acquisition: str | None,
    stride: int,
) -> set[int]:
    """Return the numbers that are here, those between them that skipped instances bear included."""
    acquisitions = {h.acquisition_number for h in slices} if acquisition is None else {acquisition}
    numbers, skipped = (
        {
            header.instance_number
            for header in headers
            if header.instance_number is not None and header.acquisition_number in acquisitions
        }
        for headers in (slices, others)
    )
    if not numbers:
        return set()
    lowest, highest = min(numbers), max(numbers)
    return numbers | {n for n in skipped if lowest < n < highest and not (n - lowest) % stride}


def _holes(slices: Sequence[SliceHeader], explained: Sequence[tuple[int, int]]) -> list[str]:
    ordered = sorted(zip(depths_of(slices), range(len(slices)), strict=True))
    texts = []
    for hole in geometry.holes_in([after[0] - before[0] for before, after in pairwise(ordered)]):
        before, after = (slices[ordered[hole.index + side][1]] for side in (0, 1))
        if not _is_explained(before.instance_number, after.instance_number, explained):
            slices_are = "slice is" if hole.count == 1 else "slices are"
            after_which = f" after slice {before.instance_number}"
            where = "" if before.instance_number is None else after_which
            texts.append(f"by position about {hole.count} {slices_are} missing{where}")
    more = len(texts) - MOST_HOLES
    return texts if more <= 0 else [*texts[:MOST_HOLES], f"{more} more holes in the positions"]


def _is_explained(one: int | None, other: int | None, gaps: Sequence[tuple[int, int]]) -> bool:
    if one is None or other is None:
        return False
    lowest, highest = sorted((one, other))
    return any(lowest < first and last < highest for first, last in gaps)


def depths_of(slices: Sequence[SliceHeader]) -> list[float]:
    """Return how far each slice lies along the normal that they share, in mm."""
    normal = normal_of(slices)
    return [geometry.depth_of(header.position, normal) for header in slices]


def normal_of(slices: Sequence[SliceHeader]) -> geometry.Vector:
    """Return the direction in which these slices are stacked."""
    return geometry.normal_of(geometry.middle_of(header.orientation for header in slices))


def _remarks_on_places(slices: Sequence[SliceHeader]) -> list[str]:
    steps = geometry.steps_of(depths_of(slices))
    remarks = []
    if len(steps) > 1 and not geometry.is_even(steps, with_holes=True):
        remarks.append(f"uneven spacing: {min(steps):.2f} to {max(steps):.2f} mm")
    shift_mm = geometry.largest_shift([h.position for h in slices], normal_of(slices))
    spacings = [spacing for header in slices for spacing in header.pixel_spacing]
    if shift_mm > max([SHIFT_MM, *spacings]):
        remarks.append(f"slices are shifted sideways by up to {shift_mm:.1f} mm")
    return remarks


def _differ(values: Iterable[object]) -> bool:
    return len(set(values)) > 1
