"""What of a series is not here, and what is odd about it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.slicing import (
    REPORT,
    a_slice,
    changed,
    slices,
    the_series,
)
from vpe_watcher.core.series import SliceHeader

SCOUT: dict[str, Any] = {"image_type": ("LOCALIZER",)}


def missing_of(headers: list[SliceHeader], *, min_slices: int = 3) -> str:
    """Return what is missing in headers that make one series, none of it refused."""
    series = the_series(headers, min_slices=min_slices)
    assert series.refusal == ""
    return series.missing


# --- declared counts -----------------------------------------------------------------------------


def test_the_sentence_of_the_contract() -> None:
    """512 declared, 509 here."""
    assert missing_of(slices(range(509), images_in_acquisition=512)) == "512 declared, 509 here"


def test_a_count_and_a_gap_are_one_sentence() -> None:
    """The person reads how many and which."""
    left = [*range(1, 17), *range(20, 31)]
    headers = slices(left, number_of_series_related_instances=30)
    assert missing_of(headers) == "30 declared, 27 here; slices 17-19 are missing"


@pytest.mark.parametrize(
    ("related", "images", "missing"),
    [
        (None, None, ""),
        (12, None, ""),
        (13, None, "13 declared, 12 here"),
        (None, 13, "13 declared, 12 here"),
        (12, 99, ""),
        (13, 12, "13 declared, 12 here"),
        (0, 13, "13 declared, 12 here"),
        (-5, -5, ""),
        (11, None, ""),
    ],
)
def test_which_count_is_believed(related: int | None, images: int | None, missing: str) -> None:
    """(0020,1209) first, then (0020,1002); nothing and nonsense declare nothing."""
    headers = slices(number_of_series_related_instances=related, images_in_acquisition=images)
    assert missing_of(headers) == missing


def test_the_greatest_of_several_counts_is_believed() -> None:
    """A scanner that writes while it counts says less in the first slices."""
    headers = changed(slices(), lambda i, h: {"number_of_series_related_instances": i + 2})
    assert missing_of(headers) == "13 declared, 12 here"


def test_a_count_of_images_is_that_of_one_acquisition() -> None:
    """With several acquisitions nobody knows which one is meant; without any it is the series."""
    two = changed(slices(images_in_acquisition=13), lambda i, h: {"acquisition_number": str(i % 2)})
    assert missing_of(two) == ""
    none = slices(images_in_acquisition=13, acquisition_number="")
    assert missing_of(none) == "13 declared, 12 here"


def test_the_count_of_a_series_includes_its_scouts() -> None:
    """(0020,1209) counts instances: 12 slices, a scout and a report are 14."""
    others = [a_slice(101, **SCOUT), a_slice(102, sop_class_uid=REPORT)]
    assert missing_of(changed(slices() + others, lambda i, h: related(14))) == ""
    assert (
        missing_of(changed(slices() + others, lambda i, h: related(15))) == "15 declared, 14 here"
    )


def related(count: int) -> dict[str, Any]:
    """Return what a header says that declares so many instances of its series."""
    return {"number_of_series_related_instances": count}


def test_a_second_copy_does_not_fill_a_count() -> None:
    """Twelve slices and a copy are twelve."""
    headers = slices(**related(13))
    assert missing_of([*headers, headers[0]]) == "13 declared, 12 here"


def test_more_than_declared_is_told_and_nothing_is_missing() -> None:
    """Somebody added to the series later."""
    series = the_series(slices(**related(11)))
    assert (series.missing, series.notes) == ("", ("12 here, only 11 declared",))


def test_too_few_slices_are_a_gap() -> None:
    """The rest may still come."""
    series = the_series(slices(range(1, 8)))
    assert series.missing == "7 here, at least 10 are needed"
    assert series.refusal == ""


# --- numbers -------------------------------------------------------------------------------------


def test_a_series_may_start_anywhere() -> None:
    """0, 57 and below nothing: only what lies between counts."""
    for start in (0, 57, -3):
        assert missing_of(slices(range(start, start + 12))) == ""


def test_gaps_are_named_once_with_the_count() -> None:
    """Numbers and positions show the same holes; one sentence is enough."""
    left = [number for number in range(1, 31) if number not in {17, 20, 21, 22, 23, 24, 25}]
    assert missing_of(slices(left)) == "slices 17, 20-25 are missing (23 here)"


def test_a_constant_step_with_even_positions_is_no_gap() -> None:
    """1, 3, 5, …: so some stations number."""
    assert missing_of(slices(range(1, 40, 2))) == ""


def test_a_constant_step_of_a_few_is_a_gap() -> None:
    """Two of three slices look just so."""
    assert missing_of(slices([1, 3, 5, 7])) == "slices 2, 4, 6 are missing (4 here)"


def test_a_constant_step_with_uneven_positions_is_a_gap() -> None:
    """What is not even is not believed."""
    depths = [0, 1, 2, 2.6, 3.6, 4.6]
    headers = [a_slice(2 * index, position=(0.0, 0.0, depth)) for index, depth in enumerate(depths)]
    assert missing_of(headers) == "slices 1, 3, 5, 7, 9 are missing (6 here)"


def test_a_gap_in_the_numbers_counts_however_even_the_positions() -> None:
    """The contract's word; a person's retry sends it."""
    headers = [
        a_slice(number, position=(0.0, 0.0, 0.4 * index))
        for index, number in enumerate([1, 2, 3, 5, 6])
    ]
    assert missing_of(headers) == "slice 4 is missing (5 here)"


def test_the_number_of_a_skipped_scout_is_no_gap() -> None:
    """Slices 1 to 5 and 7 to 12 lie evenly, number 6 is the scout."""
    headers = [
        a_slice(number, position=(0.0, 0.0, 0.4 * index))
        for index, number in enumerate([1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12])
    ]
    assert missing_of([*headers, a_slice(6, **SCOUT)]) == ""
    of_another = a_slice(6, **SCOUT, acquisition_number="0")
    assert missing_of([*headers, of_another]) == "slice 6 is missing (11 here)"


def test_a_scout_does_not_hide_a_hole() -> None:
    """Where slice 6 should lie nothing lies, whoever bears its number."""
    left = [number for number in range(1, 13) if number != 6]
    missing = missing_of([*slices(left), a_slice(6, **SCOUT)])
    assert missing == "by position about 1 slice is missing after slice 5 (11 here)"


def restarting(*, without: tuple[int, int] = (0, 0)) -> list[SliceHeader]:
    """Return two acquisitions of 12 slices, one above the other, each numbered from 1."""
    return [
        a_slice(
            number,
            acquisition_number=str(acquisition),
            sop_instance_uid=f"{acquisition}.{number}",
            position=(0.0, 0.0, 0.4 * number + 4.8 * acquisition),
        )
        for acquisition in (1, 2)
        for number in range(1, 13)
        if (acquisition, number) != without
    ]


def test_acquisitions_that_restart_are_looked_at_one_by_one() -> None:
    """Number 5 of the first does not stand for number 5 of the second."""
    whole = the_series(restarting())
    assert (whole.missing, whole.refusal) == ("", "")
    assert whole.notes == ("instance numbers come more than once",)
    assert missing_of(restarting(without=(2, 5))) == ("acquisition 2: slice 5 is missing (23 here)")


def test_a_gap_over_all_acquisitions_is_found_when_numbers_repeat() -> None:
    """Four slices a turn, one number twice, and a whole turn lost."""
    headers = changed(slices(range(16)), lambda i, h: {"acquisition_number": str(i // 4)})
    twice = a_slice(15, sop_instance_uid="9", position=(-60.0, -60.0, 6.4), acquisition_number="3")
    missing = missing_of([h for h in headers if h.acquisition_number != "2"] + [twice])
    assert missing == "slices 8-11 are missing (13 here)"


# --- positions -----------------------------------------------------------------------------------


def test_a_hole_in_the_positions_counts_whatever_the_numbers_say() -> None:
    """An exporter that numbers what it sends hides what it lost."""
    left = [number for number in range(1, 31) if number not in {7, 8, 20}]
    headers = [
        a_slice(index, position=(0.0, 0.0, 0.4 * number)) for index, number in enumerate(left, 1)
    ]
    assert missing_of(headers) == (
        "by position about 2 slices are missing after slice 6; "
        "by position about 1 slice is missing after slice 17 (27 here)"
    )


def test_many_holes_are_counted() -> None:
    """Every third slice lost is no page of text."""
    left = [number for number in range(30) if number % 3]
    headers = [
        a_slice(index, position=(0.0, 0.0, 0.4 * number)) for index, number in enumerate(left)
    ]
    assert missing_of(headers).endswith("; 6 more holes in the positions (20 here)")


# --- remarks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"transfer_syntax_uid": "1.2.840.10008.1.2"}, "mixed transfer syntaxes"),
        ({"bits_allocated": 8}, "mixed bits allocated"),
        ({"image_type": ("DERIVED",)}, "mixed image types"),
        ({"series_description": "Else"}, "mixed series descriptions"),
        ({"pixel_spacing": ()}, "no pixel spacing in some slices"),
        ({"position": (-60.0, -60.0, 2.25)}, "uneven spacing: 0.25 to 0.55 mm"),
        ({"position": (-55.0, -60.0, 2.4)}, "slices are shifted sideways by up to 5.0 mm"),
    ],
)
def test_what_is_told_and_not_refused(changes: dict[str, Any], note: str) -> None:
    """One slice of twelve that differs."""
    series = the_series(changed(slices(), lambda i, h: changes if i == 5 else {}))
    assert series.notes == (note,)
    assert (series.missing, series.refusal) == ("", "")


def test_a_hole_is_no_uneven_spacing() -> None:
    """It is told as what is missing already."""
    assert the_series(slices([*range(1, 7), *range(9, 15)])).notes == ()
