"""Headers of slices as machines write them, for the tests of series."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from vpe_watcher.core.series import Series, SliceHeader, gathered

CT = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
REPORT = "1.2.840.10008.5.1.4.1.1.88.11"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)

_PLAIN = SliceHeader(
    series_uid="1.2.3",
    sop_instance_uid="",
    sop_class_uid=CT,
    study_uid="1.2",
    frame_of_reference_uid="1.2.9",
    series_number="3",
    series_description="Jaw",
    modality="CT",
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    rows=400,
    columns=400,
    number_of_frames=1,
    bits_allocated=16,
    instance_number=None,
    acquisition_number="1",
    images_in_acquisition=None,
    number_of_series_related_instances=None,
    orientation=AXIAL,
    position=(),
    pixel_spacing=(0.3, 0.3),
    transfer_syntax_uid="1.2.840.10008.1.2.1",
)


def a_header(**changes: Any) -> SliceHeader:
    """Return one CT slice; positions and numbers are the caller's."""
    return replace(_PLAIN, **changes)


def a_slice(number: int, **changes: Any) -> SliceHeader:
    """Return slice `number` of a series with 0.4 mm between slices."""
    values: dict[str, Any] = {
        "sop_instance_uid": f"1.2.3.{number}",
        "instance_number": number,
        "position": (-60.0, -60.0, 0.4 * number),
    }
    return a_header(**(values | changes))


def slices(numbers: Iterable[int] = range(1, 13), **changes: Any) -> list[SliceHeader]:
    """Return slices at the places of their numbers."""
    return [a_slice(number, **changes) for number in numbers]


def changed(
    headers: Iterable[SliceHeader], change: Callable[[int, SliceHeader], dict[str, Any]]
) -> list[SliceHeader]:
    """Return headers changed one by one; `change` gets index and header."""
    return [replace(header, **change(index, header)) for index, header in enumerate(headers)]


def by_path(headers: Iterable[SliceHeader]) -> dict[str, SliceHeader]:
    """Give each header a path that says nothing about its order."""
    return {f"{index * 7919 % 100003:06d}": header for index, header in enumerate(headers)}


def the_series(headers: Iterable[SliceHeader], *, min_slices: int = 10) -> Series:
    """Gather headers that make exactly one series."""
    (series,) = gathered(by_path(headers), min_slices=min_slices)
    return series
