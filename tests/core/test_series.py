"""Which headers make a series, in which order, and what is refused, skipped or named."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.slicing import (
    AXIAL,
    REPORT,
    SAGITTAL,
    SECONDARY_CAPTURE,
    a_header,
    a_slice,
    by_path,
    changed,
    slices,
    the_series,
)
from vpe_watcher.core.series import (
    SECOND_COPY,
    Series,
    SliceHeader,
    folder_case_name,
    gathered,
    series_name,
    zip_names,
)

SCOUT: dict[str, Any] = {"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER"), "rows": 700}

# Few values each, so that they meet: headers of any sense and nonsense.
HEADERS = st.builds(
    SliceHeader,
    series_uid=st.sampled_from(["", "1.2.3", "1.2.4"]),
    sop_instance_uid=st.sampled_from(["", "1", "2", "3", "4", "5", "6", "7"]),
    sop_class_uid=st.sampled_from(["", a_header().sop_class_uid, REPORT, SECONDARY_CAPTURE]),
    study_uid=st.sampled_from(["", "1.2"]),
    frame_of_reference_uid=st.sampled_from(["", "1.2.9", "1.2.8"]),
    series_number=st.sampled_from(["", "3", " 03", "x"]),
    series_description=st.sampled_from(["", "Jaw", "Skull"]),
    modality=st.sampled_from(["", "CT", "PX"]),
    image_type=st.sampled_from([(), ("ORIGINAL", "PRIMARY"), ("LOCALIZER",)]),
    rows=st.sampled_from([0, 400, 401]),
    columns=st.just(400),
    number_of_frames=st.sampled_from([0, 1, 1, 1, 200]),
    bits_allocated=st.sampled_from([8, 16]),
    instance_number=st.none() | st.integers(-3, 9) | st.integers(),
    acquisition_number=st.sampled_from(["", "1", "2", "²"]),
    images_in_acquisition=st.none() | st.integers(-1, 20),
    number_of_series_related_instances=st.none() | st.integers(-1, 20),
    orientation=st.sampled_from([AXIAL, SAGITTAL, (), (0.0,) * 6])
    | st.tuples(*[st.floats() for _ in range(6)]),
    position=st.just(())
    | st.tuples(*[st.floats() for _ in range(3)])
    | st.integers(0, 9).map(lambda place: (0.0, 0.0, float(place))),
    pixel_spacing=st.sampled_from([(), (0.3, 0.3), (0.4, 0.4), (0.3,), (math.nan, 0.3)]),
    transfer_syntax_uid=st.sampled_from(["1.2", "1.3"]),
)


def paths_of(series: Series) -> list[str]:
    """Return every path that a series accounts for."""
    return [*series.slices, *(path for path, _ in series.skipped)]


def order_of(headers: list[SliceHeader], *, min_slices: int = 3) -> list[list[str]]:
    """Return the SOP instance UIDs of each series, in order."""
    found = by_path(headers)
    return [
        [found[path].sop_instance_uid for path in series.slices]
        for series in gathered(found, min_slices=min_slices)
    ]


# --- for whatever headers ------------------------------------------------------------------------


@given(headers=st.lists(HEADERS, max_size=20), min_slices=st.integers(0, 5))
def test_every_path_is_accounted_for_once(headers: list[SliceHeader], min_slices: int) -> None:
    """As a slice or as skipped with a reason, in one series, whatever files say."""
    found = by_path(headers)
    result = gathered(found, min_slices=min_slices)
    assert Counter(path for one in result for path in paths_of(one)) == Counter(found.keys())
    assert all(reason for one in result for _, reason in one.skipped)
    assert not any(one.missing and one.refusal for one in result)
    assert all(one.slices for one in result)


@given(headers=st.lists(HEADERS, max_size=12), draw=st.data())
def test_paths_and_their_order_change_nothing(
    headers: list[SliceHeader], draw: st.DataObject
) -> None:
    """The same headers under other names, seen in another order, are the same series."""
    shuffled = draw.draw(st.permutations(headers))
    assert order_of(headers) == order_of(shuffled)

    def words(headers: list[SliceHeader]) -> list[tuple[object, ...]]:
        return [
            (one.uid, one.number, one.description, one.missing, one.refusal, one.notes)
            for one in gathered(by_path(headers), min_slices=3)
        ]

    assert words(headers) == words(shuffled)


@given(
    start=st.integers(-5, 600),
    step=st.integers(1, 4),
    count=st.integers(12, 40),
    spacing_mm=st.floats(0.08, 5),
    sign=st.sampled_from([-1, 1]),
    draw=st.data(),
)
def test_a_lost_inner_slice_is_always_noticed(
    start: int, step: int, count: int, spacing_mm: float, sign: int, draw: st.DataObject
) -> None:
    """Wherever numbers start and however they count; and without the loss nothing is missing."""
    whole = [
        a_slice(start + step * index, position=(0.0, 0.0, round(sign * spacing_mm * index, 4)))
        for index in range(count)
    ]
    assert the_series(whole).missing == ""
    lost = draw.draw(st.integers(1, count - 2))
    series = the_series(whole[:lost] + whole[lost + 1 :])
    assert f"slice {start + step * lost} is missing ({count - 1} here)" == series.missing
    assert series.refusal == ""


@given(count=st.integers(5, 40), draw=st.data())
def test_a_lost_inner_slice_is_noticed_without_numbers(count: int, draw: st.DataObject) -> None:
    """Positions alone show the hole; so they do where all numbers are the same."""
    lost = draw.draw(st.integers(1, count - 2))
    left = [number for number in range(count) if number != lost]
    for number in (None, 1):
        missing = the_series(slices(left, instance_number=number), min_slices=3).missing
        assert missing.startswith("by position about 1 slice is missing")


# --- order ---------------------------------------------------------------------------------------


def test_slices_go_by_instance_number_first() -> None:
    """Even where positions run the other way, and noise in them changes nothing."""
    upside_down = changed(
        slices(), lambda i, h: {"position": (0.0, 0.0, -0.4 * i + (-1) ** i * 1e-9)}
    )
    numbers = [f"1.2.3.{number}" for number in range(1, 13)]
    assert order_of(upside_down[::-1]) == [numbers]


def test_without_numbers_slices_go_along_the_normal() -> None:
    """The depth in the patient decides, not the name of a file."""
    unnumbered = slices([3, 1, 2, 5, 4], instance_number=None)
    assert order_of(unnumbered) == [[f"1.2.3.{number}" for number in range(1, 6)]]


def test_one_place_and_one_number_go_by_instance_uid() -> None:
    """Refused, and yet in an order that does not depend on paths."""
    same = slices([2, 3, 1], instance_number=None, position=(0.0, 0.0, 0.0))
    assert order_of(same) == [["1.2.3.1", "1.2.3.2", "1.2.3.3"]]


def test_slices_without_a_number_come_last() -> None:
    """They are counted, told of, and fill no gap."""
    headers = changed(slices(), lambda i, h: {"instance_number": None} if i == 4 else {})
    series = the_series(headers)
    assert order_of(headers)[0][-1] == "1.2.3.5"
    assert series.missing == "slice 5 is missing (12 here)"
    assert series.notes == ("1 without an instance number",)


# --- several series ------------------------------------------------------------------------------


def test_series_are_sorted_by_number_then_uid() -> None:
    """10 comes after 9, and series without a number come last."""
    headers = [
        a_slice(1, series_uid=uid, series_number=number)
        for uid, number in [("5", ""), ("4", "10"), ("3", "9"), ("2", "x"), ("1", "9")]
    ]
    found = gathered(by_path(headers), min_slices=1)
    assert [(one.uid, one.number) for one in found] == [
        ("1", "9"),
        ("3", "9"),
        ("4", "10"),
        ("2", ""),
        ("5", ""),
    ]


def test_number_and_description_are_what_most_slices_say() -> None:
    """One slice that says something else, or nothing, does not rename the case."""
    headers = slices()
    headers[0] = replace(headers[0], series_description=" ", series_number="")
    headers[1] = replace(headers[1], series_description="Else", series_number="9")
    series = the_series(headers)
    assert (series.number, series.description) == ("3", "Jaw")


def test_no_header_makes_no_series() -> None:
    """Nothing in, nothing out."""
    assert gathered({}, min_slices=10) == []


# --- copies, scouts and others -------------------------------------------------------------------


def test_copies_are_skipped_and_told() -> None:
    """A study exported twice into one folder is one volume, with another transfer syntax or not."""
    headers = slices()
    again = [replace(header, transfer_syntax_uid="1.2.840.10008.1.2") for header in headers]
    series = the_series(headers + again)
    assert len(series.slices) == 12
    assert [reason for _, reason in series.skipped] == [SECOND_COPY] * 12
    assert series.notes == ("12 duplicate instances left out",)
    assert series.missing == series.refusal == ""
    assert order_of(headers + again) == order_of(again[::-1] + headers)


def test_identical_copies_leave_the_first_path() -> None:
    """Only where headers say the same does the path decide which copy goes."""
    found = {"b": a_slice(1), "a": a_slice(1), "c": a_slice(1)}
    (series,) = gathered(found, min_slices=1)
    assert series.slices == ("a",)
    assert series.skipped == (("b", SECOND_COPY), ("c", SECOND_COPY))


def test_different_slices_under_one_instance_uid_are_refused() -> None:
    """They are no copies: leaving one out would be a hole in a jaw."""
    series = the_series(slices(sop_instance_uid="1.2.3.1"))
    assert series.refusal == "different slices bear the same SOP instance UID"
    assert len(series.slices) == 12


def test_scouts_and_reports_inside_a_series_are_skipped() -> None:
    """The volume goes; what shares its UID is listed with its reason."""
    others = [
        a_slice(101, **SCOUT),
        a_slice(102, sop_class_uid=REPORT, modality="SR", rows=0, columns=0, position=()),
    ]
    series = the_series(slices() + others)
    assert len(series.slices) == 12
    assert sorted(reason for _, reason in series.skipped) == [
        "a DICOM report",
        "a scout view (localizer)",
    ]
    assert series.missing == series.refusal == ""


def test_a_volume_by_itself_among_slices_is_skipped() -> None:
    """It is another case's business."""
    series = the_series([*slices(), a_slice(13, number_of_frames=300)])
    assert [reason for _, reason in series.skipped] == ["a volume by itself, not a slice"]


def test_a_volume_by_itself_alone_is_a_series_of_one() -> None:
    """Nothing is asked of its geometry, which stands with its frames."""
    one = a_header(number_of_frames=300, orientation=(), sop_instance_uid="1")
    series = the_series([one])
    assert (len(series.slices), series.missing, series.refusal) == (1, "", "")
    two = the_series([one, replace(one, sop_instance_uid="2")])
    assert two.refusal == "several volumes by themselves under one series"


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"sop_class_uid": "", "modality": "PX"}, "not a volume: a panoramic X-ray"),
        (
            {"sop_class_uid": SECONDARY_CAPTURE, "modality": "OT"},
            "not a volume: a secondary capture",
        ),
        (SCOUT, "not a volume: a scout view (localizer)"),
        ({"rows": 0}, "not a volume: a CT object without an image"),
        ({"position": ()}, "slices without a position"),
        ({"position": (0.0, 1.0)}, "slices without a position"),
        ({"orientation": ()}, "slices without an orientation"),
        ({"orientation": (0.0,) * 6}, "slices without an orientation"),
        ({"series_uid": ""}, "the slices have no SeriesInstanceUID"),
        ({"position": (0.0, 0.0, 1.0)}, "two slices at one position, 11 times"),
    ],
)
def test_what_can_never_be_a_volume(changes: dict[str, Any], refusal: str) -> None:
    """In words, whatever else may be missing."""
    series = the_series(slices(**changes), min_slices=100)
    assert (series.refusal, series.missing) == (refusal, "")
    assert len(series.slices) == 12


def test_a_refusal_names_each_kind_once() -> None:
    """Several kinds of objects that are no volume under one UID."""
    kinds = [a_slice(1, **SCOUT), a_slice(2, **SCOUT), a_slice(3, sop_class_uid=REPORT)]
    expected = "not a volume: a DICOM report, a scout view (localizer)"
    assert the_series(kinds).refusal == expected


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"study_uid": "9"}, "the slices belong to different studies"),
        ({"pixel_spacing": (0.35, 0.35)}, "the slices differ in pixel spacing"),
        ({"pixel_spacing": (0.3,)}, "the slices differ in pixel spacing"),
        ({"position": ()}, "slices without a position"),
        ({"position": (-60.0, -60.0, 0.4)}, "two slices at one position"),
        ({"position": (float("nan"), 0.0, 0.0)}, "slices without a position"),
    ],
)
def test_one_slice_that_contradicts_the_others(changes: dict[str, Any], refusal: str) -> None:
    """Leaving it out would be guessing."""
    headers = slices()
    headers[5] = replace(headers[5], **changes)
    assert the_series(headers).refusal == refusal


MISFITS = [
    ({"rows": 512}, "another size than the other slices", "the slices differ in rows and columns"),
    (
        {"frame_of_reference_uid": "1.2.8"},
        "another frame of reference than the other slices",
        "the slices lie in different frames of reference",
    ),
    (
        {"orientation": SAGITTAL},
        "another direction than the other slices",
        "the slices are not parallel",
    ),
]


@pytest.mark.parametrize(("changes", "reason", "refusal"), MISFITS)
@pytest.mark.parametrize("count", [1, 2, 5, 6, 12, 13])
def test_a_minority_of_misfits_is_skipped(
    changes: dict[str, Any], reason: str, refusal: str, count: int
) -> None:
    """Fewer than half as many as the others: unmarked scouts. More could be another volume."""
    series = the_series(slices() + slices(range(101, 101 + count), **changes))
    if count < 6:
        assert series.refusal == ""
        assert [why for _, why in series.skipped] == [reason] * count
        assert series.notes == (f"{count} left out: {reason}",)
        assert len(series.slices) == 12
    else:
        assert series.refusal == refusal
        assert len(series.slices) == 12 + count


@pytest.mark.parametrize(("changes", "reason", "refusal"), MISFITS)
def test_misfits_beside_too_few_slices_are_refused(
    changes: dict[str, Any], reason: str, refusal: str
) -> None:
    """A majority that could not go by itself decides nothing."""
    series = the_series([*slices(), a_slice(99, **changes)], min_slices=13)
    assert (series.refusal, series.skipped) == (refusal, ())


def test_a_frame_of_reference_that_is_not_said_contradicts_nothing() -> None:
    """Some exports lose it in a few slices."""
    headers = changed(slices(), lambda i, h: {"frame_of_reference_uid": ""} if i % 5 == 0 else {})
    series = the_series(headers)
    assert (len(series.slices), series.refusal, series.missing) == (12, "", "")


def test_rounding_is_no_contradiction() -> None:
    """Cosines and spacings differ in their last places when scanners print them."""
    headers = changed(
        slices(),
        lambda i, h: {
            "orientation": (1.0, 0.0, (-1) ** i * 4e-4, 0.0, 1.0, 0.0),
            "pixel_spacing": (0.3, 0.3 + i * 1e-4),
            "position": (0.0, 0.0, 0.4 * i + (-1) ** i * 0.004),
        },
    )
    series = the_series(headers)
    assert (series.refusal, series.missing, series.notes, series.skipped) == ("", "", (), ())


def test_a_tilted_gantry_is_a_volume() -> None:
    """The table moves along the body, the slices lean: 20 degrees."""
    tilted = (1.0, 0.0, 0.0, 0.0, 0.9397, -0.342)
    series = the_series(slices(orientation=tilted))
    assert (series.refusal, series.missing, series.notes) == ("", "", ())


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("3", "3"),
        (" 3 ", "3"),
        ("03", "3"),
        ("+3", "3"),
        ("-1", "-1"),
        ("0", "0"),
        ("", "x"),
        ("a/b", "x"),
        ("٣", "x"),
        ("--1", "x"),
        ("+-1", "x"),
        ("9" * 5000, "x"),
    ],
)
def test_a_loose_series_is_named_by_number_and_digest(number: str, shown: str) -> None:
    """An integer as it is; anything else could be anything and is an x."""
    digest = hashlib.sha256(b"1.2.3").hexdigest()[:8]
    assert series_name(number, "1.2.3") == f"series-{shown}-{digest}"


@pytest.mark.parametrize(
    ("number", "description", "name"),
    [
        ("3", "Jaw 0.3", "Meier--3-Jaw 0.3"),
        ("3", " ", "Meier--3"),
        ("", "Jaw", "Meier--Jaw"),
        ("", "", "Meier"),
    ],
)
def test_a_case_of_a_folder_is_named_after_both(number: str, description: str, name: str) -> None:
    """What is empty leaves no dash behind."""
    assert folder_case_name("Meier", number, description) == name


def test_members_of_the_zip_are_numbered() -> None:
    """In the order of the slices, with nothing of the patient."""
    names = zip_names(1001)
    assert names[:2] == ("000001.dcm", "000002.dcm")
    assert names[-1] == "001001.dcm"
    assert list(names) == sorted(names)
    assert zip_names(0) == ()
