"""NIfTI, NRRD, VTI and GZIP beyond their cuts."""

from __future__ import annotations

import gzip
import struct

import pytest

from tests.formats import builders
from tests.formats.builders import VOXELS, judge, nifti_1, nrrd, vti, vti_compressed, vti_raw
from vpe_watcher.core.model import Proof


def test_half_a_nifti_pair_is_wrong() -> None:
    """The header of an .hdr/.img pair has no voxels, an Analyze header no mark."""
    assert "pair" in judge(nifti_1(magic=b"ni1\0"), ".nii").reason
    assert judge(nifti_1(magic=b"ni1\0"), ".nii").proof is Proof.WRONG
    assert judge(nifti_1(magic=b"\0\0\0\0"), ".nii").proof is Proof.WRONG


@pytest.mark.parametrize("offset", [float("nan"), float("inf"), -1.0])
def test_nonsense_in_a_nifti_header_cannot_tell(offset: float) -> None:
    """A data offset that is no number proves nothing."""
    assert judge(nifti_1(offset=offset), ".nii").proof is Proof.CANNOT_TELL


def test_a_nifti_offset_of_zero_means_after_the_header() -> None:
    """Some writers leave the data offset out."""
    assert judge(nifti_1(offset=0.0), ".nii").proof is Proof.COMPLETE
    assert judge(nifti_1(offset=0.0)[:-1], ".nii").proof is Proof.INCOMPLETE


def test_the_reason_of_a_short_volume_counts() -> None:
    """A person is told how much is missing."""
    verdict = judge(nifti_1()[:-1], ".nii")
    assert verdict.reason == "472 bytes demanded by its header, 471 here"


@pytest.mark.parametrize(
    "field", ["data file: a.raw", "datafile: LIST", "data file: s%d.raw 1 9 1"]
)
def test_a_detached_nrrd_is_wrong(field: str) -> None:
    """The data are elsewhere and would not be sent."""
    verdict = judge(nrrd(extra=f"{field}\n", data=b""), ".nrrd")
    expected = "header without its data: detached NRRD"
    assert (verdict.proof, verdict.reason) == (Proof.WRONG, expected)


@pytest.mark.parametrize("encoding", ["ascii", "hex", "zrl"])
def test_nrrd_texts_cannot_tell(encoding: str) -> None:
    """Encodings without a length or a checksum prove nothing."""
    assert judge(nrrd(encoding, b"1 2 3\n"), ".nrrd").proof is Proof.CANNOT_TELL


def test_nrrd_skips_are_counted() -> None:
    """Bytes to skip are demanded on top; -1 means that the data end the file."""
    assert judge(nrrd(extra="byte skip: 4\n"), ".nrrd").proof is Proof.INCOMPLETE
    assert (
        judge(nrrd(extra="byteskip: 4\n", data=b"abcd" + VOXELS), ".nrrd").proof is Proof.COMPLETE
    )
    assert judge(nrrd(extra="byte skip: -1\n"), ".nrrd").proof is Proof.COMPLETE
    assert judge(nrrd(extra="line skip: 1\n"), ".nrrd").proof is Proof.CANNOT_TELL


def test_packed_nrrd_data_must_be_long_enough() -> None:
    """A whole GZIP stream with too few voxels is short all the same."""
    verdict = judge(nrrd("gzip", gzip.compress(VOXELS[:-1])), ".nrrd")
    assert verdict.reason == "120 bytes of data demanded by its header, 119 here"


def test_windows_line_ends_in_an_nrrd_header() -> None:
    """The blank line that ends the header may have carriage returns."""
    header = nrrd(data=b"").replace(b"\n", b"\r\n")
    assert judge(header + VOXELS, ".nrrd").proof is Proof.COMPLETE
    assert judge(header + VOXELS[:-1], ".nrrd").proof is Proof.INCOMPLETE


def test_other_xml_is_wrong() -> None:
    """A VTK file of another type, and XML that is not VTK."""
    poly = vti().replace(b"ImageData", b"PolyData")
    assert "'PolyData'" in judge(poly, ".vti").reason
    assert judge(poly, ".vti").proof is Proof.WRONG
    assert judge(b"<?xml version='1.0'?><note>x</note>", ".vti").proof is Proof.WRONG


def test_appended_data_must_reach_as_far_as_they_say() -> None:
    """A closed root does not excuse arrays that are too short."""
    assert judge(vti_raw(), ".vti").proof is Proof.COMPLETE
    assert judge(vti_raw(len(VOXELS) + 2), ".vti").proof is Proof.INCOMPLETE
    assert judge(vti_raw(1 << 60), ".vti").proof is Proof.INCOMPLETE
    assert judge(vti_compressed(missing=3), ".vti").proof is Proof.INCOMPLETE


def test_a_byte_order_mark_before_xml() -> None:
    """Some editors write one."""
    assert judge(b"\xef\xbb\xbf" + vti(), ".vti").proof is Proof.COMPLETE


def test_what_follows_a_gzip_stream() -> None:
    """Zero padding is allowed, garbage is wrong, a begun member is incomplete."""
    whole = gzip.compress(nifti_1())
    assert judge(whole + bytes(600), ".nii.gz").proof is Proof.COMPLETE
    assert judge(whole + b"garbage", ".nii.gz").proof is Proof.WRONG
    assert judge(whole + bytes(70_000) + b"x", ".nii.gz").proof is Proof.WRONG
    assert judge(whole + b"\x1f", ".nii.gz").proof is Proof.INCOMPLETE


@pytest.mark.parametrize("place", [-1, -5, 40])
def test_a_damaged_gzip_stream_is_not_complete(place: int) -> None:
    """Length, checksum and data are all looked at."""
    whole = bytearray(gzip.compress(nifti_1()))
    whole[place] ^= 0x55
    assert judge(bytes(whole), ".nii.gz").proof is Proof.INCOMPLETE


def test_a_gzip_file_of_nothing_is_incomplete() -> None:
    """A compressor that was given an empty file."""
    assert judge(gzip.compress(b""), ".nii.gz").proof is Proof.INCOMPLETE


def test_a_whole_gzip_of_a_short_volume_is_incomplete() -> None:
    """The content is measured, not only unpacked."""
    verdict = judge(gzip.compress(nifti_1()[:-8]), ".nii.gz")
    assert verdict.proof is Proof.INCOMPLETE
    assert verdict.reason == "its decompressed content 472 bytes demanded by its header, 464 here"


def test_huge_dimensions_are_only_numbers() -> None:
    """Products beyond 64 bits are compared, not allocated."""
    head = bytearray(builders.nifti_2())
    struct.pack_into("<8q", head, 16, 7, *[2**62] * 7)
    assert judge(bytes(head), ".nii").proof is Proof.INCOMPLETE
