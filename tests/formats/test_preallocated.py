"""Files that have their full size before their content: zero bytes where more is to come.

Which formats notice, and from which byte on the others cannot: there a lease or quiet time decides.
"""

from __future__ import annotations

import bz2
import gzip
import random
import struct
import zipfile

import pytest

from tests.formats import builders
from tests.formats.builders import judge
from vpe_watcher.core.model import Proof

SIDE = 40
# Without zeros, so that zeros are what is missing; not so random that deflate would store it as it
# is: stored, a deflated DICOM file has no more of a checksum than a plain one.
NOISE = bytes(random.Random(7).choices(range(1, 40), k=SIDE**3 * 2))
SLACK = 1024
ARRAY = '<DataArray type="Int16" Name="a" format="appended" offset="0"/>'


def volume_header(whole: bytes, dims_at: int, dims: str) -> bytes:
    """Return the header of a sample for a volume of our size."""
    head = bytearray(whole[: len(whole) - len(builders.VOXELS)])
    struct.pack_into(dims, head, dims_at, 3, SIDE, SIDE, SIDE)
    return bytes(head)


def dicom(syntax: str = "1.2.840.10008.1.2.1") -> bytes:
    """Return a multi-frame image of our size."""
    return builders.dicom(
        syntax, Rows=SIDE, Columns=SIDE, NumberOfFrames=SIDE, PixelData=NOISE, StudyID="S"
    )


def encapsulated() -> bytes:
    """Return an image in two fragments."""
    from pydicom.encaps import encapsulate

    return builders.dicom("1.2.840.10008.1.2.4.70", PixelData=encapsulate([NOISE, NOISE]))


def nrrd(encoding: str, data: bytes) -> bytes:
    """Return an attached NRRD volume of our size."""
    sizes = f"sizes: {SIDE} {SIDE} {SIDE}\n".encode()
    return builders.nrrd(encoding, data).replace(b"sizes: 5 4 3\n", sizes)


def ply() -> bytes:
    """Return a binary mesh with as many points as it has faces."""
    rows = 5000
    head = builders.PLY_HEADER.format(form="binary_little_endian").replace(
        "vertex 3", f"vertex {rows}"
    )
    head = head.replace("face 2", f"face {rows}")
    face = struct.pack("<B3i", 3, 257, 258, 259)
    return head.encode() + NOISE[: rows * 13] + face * rows


VOLUME = volume_header(builders.nifti_1(), 40, "<4h") + NOISE
NOTICING = {
    "dicom deflated": (".dcm", dicom("1.2.840.10008.1.2.1.99")),
    "dicom encapsulated": (".dcm", encapsulated()),
    "zip": (".zip", builders.archive({"1.dcm": NOISE, "2.dcm": NOISE})),
    "zip stored": (".zip", builders.archive({"1.dcm": NOISE}, zipfile.ZIP_STORED)),
    "zip streamed": (".zip", builders.streamed_archive(data=NOISE)),
    "nii.gz": (".nii.gz", gzip.compress(VOLUME)),
    "dcm.gz": (".dcm.gz", gzip.compress(dicom())),
    "zip.gz": (".zip.gz", gzip.compress(builders.archive({"1.dcm": NOISE}))),
    "nrrd gzip": (".nrrd", nrrd("gzip", gzip.compress(NOISE))),
    "nrrd bzip2": (".nrrd", nrrd("bzip2", bz2.compress(NOISE))),
    "vti": (".vti", builders.vti(ARRAY, "", struct.pack("<I", len(NOISE)) + NOISE)),
    "stl ascii": (".stl", builders.STL_ASCII * 500),
    "obj": (".obj", builders.OBJ * 500),
    "ply ascii": (
        ".ply",
        builders.ply_ascii().replace(b"vertex 3", b"vertex 9003") + b"1 2 3 9\n" * 9000,
    ),
}
BY_SIZE = {
    "dicom": (".dcm", dicom(), -len(NOISE)),
    "dicom implicit": (".dcm", dicom("1.2.840.10008.1.2"), -len(NOISE)),
    "dicom big endian": (".dcm", dicom("1.2.840.10008.1.2.2"), -len(NOISE)),
    "nifti-1": (".nii", VOLUME, 348),
    "nifti-2": (".nii", volume_header(builders.nifti_2(), 16, "<4q") + NOISE, 41),
    "nrrd": (".nrrd", nrrd("raw", NOISE), -len(NOISE)),
    "stl": (".stl", builders.stl(5000, header=b"made by a scanner"), 84),
}


def preallocated(whole: bytes, written: int) -> bytes:
    """Return a file of the full size of which the first bytes are written."""
    return whole[:written].ljust(len(whole), b"\0")


@pytest.mark.parametrize("name", sorted(NOTICING))
def test_formats_that_notice_zeros(name: str) -> None:
    """Checksums, delimiters, closing words: what is written last tells, wherever zeros begin."""
    extension, whole = NOTICING[name]
    assert judge(whole, extension).proof is not Proof.INCOMPLETE
    places = {*range(1, 700, 3), *range(700, len(whole) - SLACK, max(1, len(whole) // 50))}
    verdicts = {n: judge(preallocated(whole, n), extension) for n in sorted(places)}
    assert {n: v for n, v in verdicts.items() if v.proof is not Proof.INCOMPLETE} == {}


@pytest.mark.parametrize("name", sorted(BY_SIZE))
def test_formats_that_cannot_notice_zeros(name: str) -> None:
    """Where the header alone says how long the data are, it passes once it is there; not before."""
    extension, whole, place = BY_SIZE[name]
    start = place % len(whole)
    assert judge(whole, extension).proof is Proof.COMPLETE
    before = {n: judge(preallocated(whole, n), extension) for n in range(1, start - 8)}
    assert {n: v for n, v in before.items() if v.proof is not Proof.INCOMPLETE} == {}
    for written in (start, start + 1, len(whole) // 2, len(whole) - 1):
        assert judge(preallocated(whole, written), extension).proof is Proof.COMPLETE


def test_faces_of_a_mesh_show_zeros() -> None:
    """Empty faces are short: points and faces that are not there yet end before the file does."""
    whole = ply()
    assert judge(whole, ".ply").proof is Proof.COMPLETE
    points = len(whole) - 2 * 5000 * 13
    for written in range(points, len(whole) - 13, 997):
        assert judge(preallocated(whole, written), ".ply").proof is Proof.CANNOT_TELL, written


def test_padding_behind_whole_data_is_no_proof() -> None:
    """Some writers fill up blocks: a whole file with zeros behind it is never called incomplete."""
    for extension, whole, _ in BY_SIZE.values():
        assert judge(whole + bytes(5000), extension).proof is not Proof.INCOMPLETE
    assert judge(ply() + bytes(5000), ".ply").proof is Proof.CANNOT_TELL
    assert judge(dicom() + bytes(3), ".dcm").reason == "has zero bytes after its pixel data"
