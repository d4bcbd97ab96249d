"""Which DICOM slices make a volume series, in which order, and what is missing.

From headers alone, as values; never opens a file, never waits. Source of the rules: the contract's
"What becomes a case" and "When is it ready?". Where the contract is silent the answer that keeps a
volume with a hole away from the Engine is taken: a person's `retry` sends what was held in vain.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from vpe_watcher.core import completeness, geometry
from vpe_watcher.core.slices import (
    SliceHeader,
    is_ct_like,
    is_volume_by_itself,
    why_not_a_volume,
)

__all__ = [
    "Series",
    "SliceHeader",
    "folder_case_name",
    "gathered",
    "is_ct_like",
    "is_volume_by_itself",
    "series_name",
    "series_zip_name",
    "why_not_a_volume",
    "zip_names",
]

SECOND_COPY = "a second copy of an instance"
_Value = TypeVar("_Value", str, tuple[int, int])
_LONGEST_NUMBER = 12  # characters of a DICOM integer string


@dataclass(frozen=True, slots=True)
class Series:
    """Slices of one SeriesInstanceUID. Texts are empty where there is nothing to say.

    `slices` are paths in the order of the ZIP; it follows from the headers alone. `missing` says
    what is not here, `refusal` why these slices can never be a volume, `notes` what a person should
    know, `skipped` which paths are left out and why. `missing` is "" where `refusal` is not.
    """

    uid: str
    number: str
    description: str
    slices: tuple[str, ...]
    missing: str = ""
    refusal: str = ""
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    path: str
    header: SliceHeader


@dataclass(slots=True)
class _Draft:
    """One series while it is judged. `instances` are all that bear its UID, without copies."""

    instances: list[_Found]
    slices: list[_Found] = field(default_factory=list)
    refusal: str = ""
    missing: str = ""
    notes: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    @property
    def headers(self) -> list[SliceHeader]:
        return [found.header for found in self.slices]


def gathered(headers: Mapping[str, SliceHeader], *, min_slices: int) -> list[Series]:
    """Make series of the headers of files (by path), sorted by series number and UID.

    Every path is in exactly one series, as a slice or skipped. Volumes by themselves are expected
    elsewhere: among single-frame slices they are skipped, alone they are a series of one file.
    Headers without a SeriesInstanceUID are one refused series: nobody knows what belongs together.

    Copies of an instance are the same in all that makes a slice, whatever their transfer syntax.
    Different slices under one SOP instance UID, slices of several studies, and slices without a
    place are refused: to leave some out would be guessing.

    What is missing:
    - fewer instances than declared. (0020,1209) counts scouts and reports of the series, too;
      (0020,1002) those of the one acquisition that the slices share.
    - a gap in the instance numbers between the lowest and the highest. A number that a skipped
      instance of the same acquisition bears is no gap. Numbers that come twice are taken for each
      acquisition by itself. Slices without a number fill no gap. A constant step above 1 is no
      gap where there are at least five slices and their positions are even.
    - a step in the positions of about two usual steps or more, whatever the numbers say.
    - fewer than `min_slices`.
    """
    by_uid: dict[str, list[_Found]] = {}
    for path, header in headers.items():
        by_uid.setdefault(header.series_uid, []).append(_Found(path, header))
    series = [_series(uid, found, min_slices) for uid, found in by_uid.items()]
    return sorted(series, key=lambda one: (_sortable(one.number), one.uid))


def series_name(number: str, uid: str) -> str:
    """Name a loose series: `series-<SeriesNumber>-<8 hex digits of the UID's SHA-256>`.

    A series number that is empty or no integer is an `x`.
    """
    digest = hashlib.sha256(uid.encode("utf-8", "surrogateescape")).hexdigest()
    return f"series-{_integer_text(number) or 'x'}-{digest[:8]}"


def series_zip_name(series: Series) -> str:
    """Name the input that a series is sent as."""
    return f"{series_name(series.number, series.uid)}.zip"


def folder_case_name(folder: str, number: str, description: str) -> str:
    """Name one of several series of a folder: `<folder>--<SeriesNumber>-<description>`.

    What is empty is left out with its dash. May still need `names.folder_name`.
    """
    details = "-".join(part for part in (_integer_text(number), description.strip()) if part)
    return f"{folder}--{details}" if details else folder


def zip_names(count: int) -> tuple[str, ...]:
    """Name the members of a series' ZIP: their place in the order, and nothing about anybody."""
    return tuple(f"{place:06d}.dcm" for place in range(1, count + 1))


def _integer_text(number: str) -> str:
    text = number.strip()
    digits = text.removeprefix("-").removeprefix("+")
    is_integer = digits.isascii() and digits.isdigit() and len(text) <= _LONGEST_NUMBER
    return str(int(text)) if is_integer and text.count("-") + text.count("+") <= 1 else ""


def _sortable(number: str) -> tuple[bool, int]:
    text = _integer_text(number)
    return (not text, int(text or 0))


# --- which of them are slices --------------------------------------------------------------------


def _series(uid: str, found: Sequence[_Found], min_slices: int) -> Series:
    draft = _without_copies(found)
    _sort_out_kinds(draft)
    if not draft.refusal:
        _sort_out_misfits(draft, min_slices)
    if not draft.refusal:
        draft.refusal = _refusal(uid, draft.headers)
    draft.slices = _ordered(draft.slices)
    if not draft.refusal:
        _look_for_the_missing(draft, min_slices)
    return Series(
        uid=uid,
        number=_integer_text(_usual_text(h.series_number for h in draft.headers)),
        description=_usual_text(h.series_description for h in draft.headers),
        slices=tuple(found.path for found in draft.slices),
        missing=draft.missing,
        refusal=draft.refusal,
        notes=tuple(draft.notes),
        skipped=tuple(sorted(draft.skipped)),
    )


def _look_for_the_missing(draft: _Draft, min_slices: int) -> None:
    slices = draft.headers
    if any(header.number_of_frames > 1 for header in slices):
        return
    here = {one.path for one in draft.slices}
    others = [one.header for one in draft.instances if one.path not in here]
    draft.missing = completeness.missing(slices, others, min_slices)
    draft.notes += completeness.remarks(slices, others)


def _without_copies(found: Iterable[_Found]) -> _Draft:
    """Keep one of each instance. Different slices under one UID all stay, to be refused."""
    draft = _Draft([])
    seen: set[tuple[object, ...]] = set()
    for one in sorted(found, key=lambda one: (_header_key(one.header), one.path)):
        identity = _identity(one.header)
        if one.header.sop_instance_uid and identity in seen:
            draft.skipped.append((one.path, SECOND_COPY))
            continue
        seen.add(identity)
        draft.instances.append(one)
    if draft.skipped:
        draft.notes.append(f"{len(draft.skipped)} duplicate instances left out")
    return draft


def _identity(header: SliceHeader) -> tuple[object, ...]:
    return (
        header.sop_instance_uid,
        header.sop_class_uid,
        header.rows,
        header.columns,
        header.number_of_frames,
        header.instance_number,
        header.position,
        header.orientation,
    )


def _header_key(header: SliceHeader) -> tuple[str, str]:
    return (header.sop_instance_uid, repr(header))


def _sort_out_kinds(draft: _Draft) -> None:
    """Leave the slices; a single file with all its frames when there are none."""
    volumes = [one for one in draft.instances if is_volume_by_itself(one.header)]
    others = [one for one in draft.instances if not is_volume_by_itself(one.header)]
    draft.slices = [one for one in others if is_ct_like(one.header)]
    reasons = [(one, why_not_a_volume(one.header)) for one in others]
    if not draft.slices and not volumes:
        draft.slices = others
        draft.refusal = "not a volume: " + ", ".join(sorted({reason for _, reason in reasons}))
        return
    draft.skipped += [(one.path, reason) for one, reason in reasons if reason]
    if draft.slices:
        draft.skipped += [(one.path, "a volume by itself, not a slice") for one in volumes]
        return
    draft.slices = volumes
    if len(volumes) > 1:
        draft.refusal = "several volumes by themselves under one series"


def _sort_out_misfits(draft: _Draft, min_slices: int) -> None:
    """Skip a few of another size, frame of reference or direction, such as unmarked scouts.

    Refuse where they are half as many as the others: that could be another volume.
    """
    kept = draft.slices
    misfits: list[tuple[str, str]] = []
    refusals: list[str] = []
    for fitting, reason, refusal in _FITS:
        fits = fitting([one.header for one in kept])
        strangers = [(one.path, reason) for one in kept if not fits(one.header)]
        kept = [one for one in kept if fits(one.header)]
        misfits += strangers
        refusals += [refusal] if strangers else []
    if misfits and (len(kept) < min_slices or 2 * len(misfits) >= len(kept)):
        draft.refusal = refusals[0]
        return
    draft.slices = kept
    draft.skipped += misfits
    reasons = Counter(reason for _, reason in misfits)
    draft.notes += [f"{count} left out: {reason}" for reason, count in sorted(reasons.items())]


_Fits = Callable[[SliceHeader], bool]


def _of_usual_size(headers: Sequence[SliceHeader]) -> _Fits:
    usual = _usual((header.rows, header.columns) for header in headers)
    return lambda header: (header.rows, header.columns) == usual


def _of_usual_frame(headers: Sequence[SliceHeader]) -> _Fits:
    """Compare frames of reference; an empty one contradicts nothing."""
    known = [h.frame_of_reference_uid for h in headers if h.frame_of_reference_uid]
    usual = _usual(known) if known else ""
    return lambda header: header.frame_of_reference_uid in {"", usual}


def _of_usual_direction(headers: Sequence[SliceHeader]) -> _Fits:
    known = [h.orientation for h in headers if geometry.is_direction(h.orientation)]
    middle = geometry.middle_of(known)
    return lambda header: (
        not geometry.is_direction(header.orientation)
        or geometry.is_close(header.orientation, middle, geometry.SAME_DIRECTION)
    )


_FITS: tuple[tuple[Callable[[Sequence[SliceHeader]], _Fits], str, str], ...] = (
    (_of_usual_size, "another size than the other slices", "the slices differ in rows and columns"),
    (
        _of_usual_frame,
        "another frame of reference than the other slices",
        "the slices lie in different frames of reference",
    ),
    (
        _of_usual_direction,
        "another direction than the other slices",
        "the slices are not parallel",
    ),
)


def _refusal(uid: str, slices: Sequence[SliceHeader]) -> str:
    """Say why slices of one size, frame and direction can still be no volume."""
    if not uid:
        return "the slices have no SeriesInstanceUID"
    if len({header.study_uid for header in slices if header.study_uid}) > 1:
        return "the slices belong to different studies"
    instances = [header.sop_instance_uid for header in slices if header.sop_instance_uid]
    if len(set(instances)) < len(instances):
        return "different slices bear the same SOP instance UID"
    if any(header.number_of_frames > 1 for header in slices):
        return ""
    if not all(geometry.is_place(header.position) for header in slices):
        return "slices without a position"
    if not all(geometry.is_direction(header.orientation) for header in slices):
        return "slices without an orientation"
    spacings = [header.pixel_spacing for header in slices if header.pixel_spacing]
    if not _are_close(spacings):
        return "the slices differ in pixel spacing"
    shared = geometry.shared_places(geometry.steps_of(completeness.depths_of(slices)))
    if shared:
        return "two slices at one position" + (f", {shared} times" if shared > 1 else "")
    return ""


def _are_close(spacings: Sequence[geometry.Vector]) -> bool:
    if len({len(spacing) for spacing in spacings}) > 1:
        return False
    if not all(math.isfinite(value) for spacing in spacings for value in spacing):
        return False
    middle = geometry.middle_of(spacings)
    return all(geometry.is_close(spacing, middle, geometry.SAME_MM) for spacing in spacings)


def _ordered(slices: Sequence[_Found]) -> list[_Found]:
    """Sort by instance number, then along the normal, then by SOP instance UID; paths come last."""
    known = [o.header for o in slices if geometry.is_direction(o.header.orientation)]
    normal = completeness.normal_of(known) if known else (0.0, 0.0, 1.0)

    def key(one: _Found) -> tuple[object, ...]:
        header = one.header
        is_placed = geometry.is_place(header.position)
        depth = round(geometry.depth_of(header.position, normal), 3) if is_placed else 0.0
        number = header.instance_number
        return (number is None, number or 0, depth, *_header_key(header), one.path)

    return sorted(slices, key=key)


def _usual(values: Iterable[_Value]) -> _Value:
    """Return what comes most often, the least of several."""
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))


def _usual_text(values: Iterable[str]) -> str:
    known = [value.strip() for value in values if value.strip()]
    return _usual(known) if known else ""
