"""What series are gathered by: numbers and geometry of headers, however badly they are written."""

from __future__ import annotations

import io
import warnings
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.builders import dicom, dicoms
from tests.formats.test_dicom import BUNDLED, bundled
from vpe_watcher.formats import DicomFacts, is_dicomdir, read_facts
from vpe_watcher.formats.blocks import Judged
from vpe_watcher.formats.dicom_elements import Elements
from vpe_watcher.formats.dicom_header import WANTED_FOR_PROOF, Header, open_data_set, read_values
from vpe_watcher.formats.dicom_numbers import count_of, decimals_of, integer_of, values_of

LAST = 0x7FDFFFFF
GEOMETRY: dict[str, Any] = {
    "FrameOfReferenceUID": "1.2.3.9",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "InstanceNumber": 12,
    "AcquisitionNumber": 3,
    "ImagesInAcquisition": 512,
    "NumberOfSeriesRelatedInstances": 513,
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "ImagePositionPatient": [-12.5, 0, 1e-3],
    "PixelSpacing": [0.25, 0.3],
}


def text(value: object) -> str:
    """Spell a number as we do: nothing is empty."""
    return "" if value is None else str(value)


def facts_of(data: bytes) -> DicomFacts:
    """Read the header of a file that has one."""
    facts = read_facts(io.BytesIO(data))
    assert facts is not None
    return facts


@pytest.mark.parametrize("syntax", ["1.2.1", "1.2", "1.2.2", "1.2.1.99"])
def test_geometry_and_counts_in_every_transfer_syntax(syntax: str) -> None:
    """All that a series is gathered by is read, in all ways to write it."""
    syntax = f"1.2.840.10008.{syntax}"
    facts = facts_of(dicom(syntax, **GEOMETRY))
    assert facts.frame_of_reference_uid == "1.2.3.9"
    assert facts.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert (facts.instance_number, facts.acquisition_number) == (12, "3")
    assert facts.images_in_acquisition == 512
    assert facts.number_of_series_related_instances == 513
    assert list(facts.orientation) == [1, 0, 0, 0, 1, 0]
    assert list(facts.position) == [-12.5, 0, 0.001]
    assert facts.pixel_spacing == (0.25, 0.3)
    assert (facts.bits_allocated, facts.transfer_syntax_uid) == (16, syntax)


def test_image_types_are_upper_case() -> None:
    """Some writers spell them as they like."""
    data = dicom(**GEOMETRY).replace(b"ORIGINAL\\PRIMARY", b"Original\\primary")
    assert facts_of(data).image_type == ("ORIGINAL", "PRIMARY", "AXIAL")


def test_geometry_that_is_not_there_is_empty() -> None:
    """A secondary capture lies nowhere in space."""
    facts = facts_of(dicom())
    assert (facts.frame_of_reference_uid, facts.acquisition_number) == ("", "")
    geometry = (facts.image_type, facts.orientation, facts.position, facts.pixel_spacing)
    assert geometry == ((), (), (), ())
    counts = (facts.images_in_acquisition, facts.number_of_series_related_instances)
    assert (facts.instance_number, counts) == (None, (None, None))


def test_geometry_is_what_pydicom_reads() -> None:
    """On all files that pydicom brings along."""
    compared = 0
    for path in bundled():
        with path.open("rb") as file:
            facts = read_facts(file)
        if facts is None:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(path, stop_before_pixels=True)
        assert facts.instance_number == data.get("InstanceNumber"), path.name
        assert facts.frame_of_reference_uid == str(data.get("FrameOfReferenceUID", "")), path.name
        assert facts.acquisition_number == text(data.get("AcquisitionNumber")), path.name
        assert list(facts.orientation) == list(data.get("ImageOrientationPatient", [])), path.name
        assert list(facts.position) == list(data.get("ImagePositionPatient", [])), path.name
        assert list(facts.pixel_spacing) == list(data.get("PixelSpacing") or []), path.name
        assert facts.bits_allocated == data.get("BitsAllocated", 0), path.name
        compared += bool(facts.orientation)
    assert compared >= 20


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (b"12 ", 12),
        (b" 12\0", 12),
        (b"+7", 7),
        (b"-3", -3),
        (b"0012", 12),
        (b"2147483647", 2**31 - 1),
        (b"2147483648", None),
        (b"9" * 400, None),
        (b"", None),
        (b"1\\2", None),
        (b"1.5", None),
        (b"1_0", None),
        (b"NaN", None),
        ("٣".encode(), None),
        (b"\xff\xfe", None),
    ],
)
def test_whole_numbers(value: bytes, number: int | None) -> None:
    """Padding and signs are read, anything else is no number."""
    assert integer_of(value) == number
    assert count_of(value) == (None if number is not None and number < 0 else number)


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        (b"0.25\\0.3 ", (0.25, 0.3)),
        (b"-1.\\+.5e-3", (-1.0, 0.0005)),
        (b" 1 \\ 2 \0", (1.0, 2.0)),
        (b"1", ()),
        (b"1\\2\\3", ()),
        (b"1\\", ()),
        (b"1\\nan", ()),
        (b"1\\inf", ()),
        (b"1\\1e999", ()),
        (b"1\\1_0", ()),
        (b"1\\0x1p3", ()),
        (b"1\\0,5", ()),
        (b"1\\" + b"1" * 65, ()),
        (b"", ()),
    ],
)
def test_decimals(value: bytes, numbers: tuple[float, ...]) -> None:
    """As many finite numbers as there must be, or none."""
    assert decimals_of(value, count=2) == numbers


@given(st.binary(max_size=40))
def test_no_value_makes_the_reader_fail(value: bytes) -> None:
    """Whatever stands where a number should."""
    assert integer_of(value) is None or isinstance(integer_of(value), int)
    assert len(decimals_of(value, count=3)) in (0, 3)
    assert all(isinstance(text, str) for text in values_of(value))


def test_half_a_value_is_no_value() -> None:
    """A header that ends inside a UID must not give the number of another series."""
    whole = dicom(SeriesInstanceUID="1.2.333333", StudyInstanceUID="1.2")
    end = whole.index(b"1.2.333333") + len(b"1.2.333333")
    assert facts_of(whole[:end]).series_uid == "1.2.333333"
    assert [read_facts(io.BytesIO(whole[: end - cut])) for cut in range(1, 11)] == [None] * 10


@pytest.mark.parametrize("name", sorted(dicoms()))
def test_cut_headers_give_nothing_or_what_is_there(name: str) -> None:
    """No value in a cut header differs from the one in the whole."""
    _, whole = dicoms()[name]
    entire = facts_of(whole)
    fields = DicomFacts.__dataclass_fields__
    for cut in range(len(whole)):
        facts = read_facts(io.BytesIO(whole[:cut]))
        for field in fields if facts else ():
            value = getattr(facts, field)
            assert value in ("", (), 0, 1, None) or value == getattr(entire, field), (cut, field)


class _CountedReads(io.BytesIO):
    """Remembers how far and how often it was read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[tuple[int, int]] = []

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads.append((self.tell(), -1 if size is None else size))
        return super().read(size)


def test_a_header_costs_one_read() -> None:
    """Of a slice with private elements and pixels after it nothing but the first 64 KiB is read."""
    data = dicom(**GEOMETRY, PixelData=bytes(80) + bytes(2 << 20))
    file = _CountedReads(data)
    assert read_facts(file) is not None
    assert file.reads == [(0, 1 << 16)]


def test_long_elements_are_stepped_over() -> None:
    """A megabyte of vendor data before the geometry is not read."""
    thumbnail = pydicom.Dataset()
    thumbnail.ICCProfile = b"\1" * (1 << 20)
    data = dicom(**GEOMETRY, IconImageSequence=[thumbnail])
    file = _CountedReads(data)
    facts = read_facts(file)
    assert facts is not None
    assert list(facts.position) == [-12.5, 0, 0.001]
    assert sum(size for _, size in file.reads) <= 4 << 16


def test_a_dicomdir_is_told_apart() -> None:
    """By the class in its file meta information."""
    assert not is_dicomdir(facts_of(dicom()))
    directory = BUNDLED / "test_files/dicomdirtests/DICOMDIR"
    assert is_dicomdir(facts_of(directory.read_bytes()))


def slowly_read(data: bytes) -> dict[int, bytes] | None:
    """Read what a proof needs with the general walker alone."""
    file = io.BytesIO(data)
    try:
        data_set = open_data_set(file, len(data))
        header = Header(data_set.encoding, {})
        elements = Elements(data_set.file, data_set.size, data_set.encoding)
        for element in elements.from_offset(data_set.start):
            if element.tag > LAST:
                break
            header.take(data_set.file, element, wanted=WANTED_FOR_PROOF)
    except Judged:
        return None
    return header.values


def quickly_read(data: bytes) -> dict[int, bytes] | None:
    """Read what a proof needs as proofs do."""
    try:
        data_set = open_data_set(io.BytesIO(data), len(data))
        return read_values(data_set, wanted=WANTED_FOR_PROOF, last=LAST)[0].values
    except Judged:
        return None


@given(
    sample=st.sampled_from(sorted(dicoms())),
    place=st.integers(132, 1200),
    piece=st.binary(max_size=6),
    cut=st.integers(0, 300),
)
@settings(max_examples=300, deadline=None)
def test_skimming_reads_what_walking_reads(sample: str, place: int, piece: bytes, cut: int) -> None:
    """The quick way over plain elements is no second opinion, in broken files neither."""
    whole = dicoms()[sample][1]
    data = whole[:place] + piece + whole[place + len(piece) : len(whole) - cut]
    assert quickly_read(data) == slowly_read(data)
