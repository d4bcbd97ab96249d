"""No cut of a file passes as complete, no whole file as incomplete: every byte of every kind."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Collection

import pytest
from pydicom._uid_dict import UID_dictionary

from tests.formats import builders
from tests.formats.builders import judge
from tests.formats.test_dicom import bundled
from vpe_watcher.core.model import Proof
from vpe_watcher.formats.dicom import is_image_class
from vpe_watcher.formats.dicom_elements import Elements
from vpe_watcher.formats.dicom_header import open_data_set

MAPS = {"Segmentation Storage", "Parametric Map Storage"}


@pytest.mark.parametrize("name", sorted(builders.provable()))
def test_every_cut_is_incomplete(name: str) -> None:
    """A file with a proof is complete when whole and incomplete when cut anywhere."""
    extension, whole = builders.provable()[name]
    assert judge(whole, extension).proof is Proof.COMPLETE, judge(whole, extension)
    verdicts = {cut: judge(whole[:cut], extension) for cut in range(len(whole))}
    assert {cut: v for cut, v in verdicts.items() if v.proof is not Proof.INCOMPLETE} == {}
    assert all(verdict.reason for verdict in verdicts.values())


@pytest.mark.parametrize("name", sorted(builders.dicoms()))
def test_every_cut_of_a_dicom_image_is_incomplete(name: str) -> None:
    """Between two elements of its header, too: an image says in its first lines that it is one."""
    extension, whole = builders.dicoms()[name]
    assert judge(whole, extension).proof is Proof.COMPLETE, judge(whole, extension)
    verdicts = {cut: judge(whole[:cut], extension) for cut in range(len(whole))}
    assert {cut: v for cut, v in verdicts.items() if v.proof is not Proof.INCOMPLETE} == {}


def interesting_cuts(whole: bytes) -> set[int]:
    """Return the places around each element, the preamble and the end, and some in between."""
    cuts = {0, 1, 2, 127, 128, 129, 131, 132, 133, *range(len(whole) - 16, len(whole))}
    cuts |= set(range(0, len(whole), max(1, len(whole) // 20)))
    file = io.BytesIO(whole)
    data_set = open_data_set(file, len(whole))
    if data_set.file is file:
        for element in Elements(file, len(whole), data_set.encoding).from_offset(data_set.start):
            before = 12 if element.start >= 12 else 8
            around = (element.start - before, element.start - 8, element.start)
            cuts |= {place + step for place in around for step in (-1, 0, 1)}
    return {cut for cut in cuts if 0 <= cut < len(whole)}


# How much of their end may be cut, in bytes: a checksum behind the deflated data set, and the
# padding element of a data set.
WHOLE_CUTS: dict[str, Collection[int]] = {
    "image_dfl.dcm": range(1, 9),
    "examples_rgb_color.dcm": [150],
    "CT_small.dcm": [138],
    "MR_small.dcm": [138],
    "MR_small_RLE.dcm": [138],
    "MR_small_expb.dcm": [138],
    "MR_small_jp2klossless.dcm": [138],
    "MR_small_jpeg_ls_lossless.dcm": [138],
    "MR_small_padded.dcm": [138],
}
# No images by their class: with or without pixel data, cut between elements they cannot tell.
NO_IMAGES = {
    "badVR.dcm",
    "rtdose.dcm",
    "rtdose_1frame.dcm",
    "rtdose_expb.dcm",
    "rtdose_expb_1frame.dcm",
    "rtdose_rle.dcm",
    "rtdose_rle_1frame.dcm",
}


def test_no_cut_of_a_real_dicom_file_passes() -> None:
    """All transfer syntaxes that pydicom brings along, cut around each of their elements."""
    files = {path.name: path.read_bytes() for path in bundled()}
    whole_files = {n: w for n, w in files.items() if judge(w, "").proof is Proof.COMPLETE}
    assert len(whole_files) >= 70
    for name, whole in whole_files.items():
        proofs = {len(whole) - cut: judge(whole[:cut], "").proof for cut in interesting_cuts(whole)}
        allowed = {Proof.CANNOT_TELL} if name in NO_IMAGES else set()
        assert set(proofs.values()) - allowed - {Proof.COMPLETE} == {Proof.INCOMPLETE}, name
        passing = {rest for rest, proof in proofs.items() if proof is Proof.COMPLETE}
        assert passing == set(WHOLE_CUTS.get(name, ())), name


def test_image_classes_are_those_of_the_standard() -> None:
    """Every storage class that is called an image, and the two kinds of maps that are volumes."""
    named = {
        uid: name
        for uid, (name, *_) in UID_dictionary.items()
        if uid.startswith("1.2.840.10008.5.1.4.1.1.") and name[:5] not in ("DICOS", "Eddy ")
    }
    images = {uid for uid, name in named.items() if re.search("Image Storage( - For|$)", name)}
    images |= {uid for uid, name in named.items() if name in MAPS}
    assert {uid for uid in named if is_image_class(uid)} == images
    assert not is_image_class("")
    assert not is_image_class("2")


def checked_through() -> list[str]:
    """Return the samples whose proof looks at every byte, not at sizes alone."""
    by_size = {".nii", ".nrrd", ".stl", ".ply"}
    names = (
        name for name, (extension, _) in builders.provable().items() if extension not in by_size
    )
    return sorted([*names, "nrrd gzip", "nrrd bzip2"])


@pytest.mark.parametrize("name", checked_through())
def test_every_kind_filled_up_with_zeros_is_not_complete(name: str) -> None:
    """A file that got its full size first and its content later shows it where a checksum can."""
    extension, whole = builders.provable()[name]
    half = whole[: len(whole) // 2].ljust(len(whole), b"\0")
    assert judge(half, extension).proof is Proof.INCOMPLETE


def whole_cuts() -> dict[str, tuple[str, bytes, int]]:
    """Return extension, content and how much of its end may be cut: what no format can see."""
    volume = gzip.compress(builders.nifti_1())
    more = gzip.compress(b"more")
    padding = builders.dicom(DataSetTrailingPadding=b"\0" * 8)
    return {
        "gzip member of its own": (".nii.gz", volume + more, len(more)),
        "gzip zero padding": (".nii.gz", volume + bytes(600), 600),
        "line end after a root": (".vti", builders.vti_raw(), 1),
        "padding element": (".dcm", padding, 20),
        "bytes after a nifti volume": (".nii", builders.nifti_1() + b"more", 4),
        "bytes after an nrrd volume": (".nrrd", builders.nrrd() + b"more", 4),
        "byte after deflated elements": (
            ".dcm",
            builders.dicom("1.2.840.10008.1.2.1.99").rstrip(b"\0") + b"\0",
            1,
        ),
    }


@pytest.mark.parametrize("name", sorted(whole_cuts()))
def test_cuts_that_are_whole_files_themselves(name: str) -> None:
    """Whole, and cut where a whole file ends: both pass; one byte less does not."""
    extension, whole, rest = whole_cuts()[name]
    end = len(whole) - rest
    assert judge(whole, extension).proof is Proof.COMPLETE
    assert judge(whole[:end], extension).proof is Proof.COMPLETE
    assert judge(whole[: end - 1], extension).proof is Proof.INCOMPLETE


def test_a_cut_padding_element_is_no_whole_file() -> None:
    """Where an element has begun after the pixel data, it must end."""
    padded = builders.dicom(DataSetTrailingPadding=b"\0" * 8)
    assert {judge(padded[:-cut], ".dcm").proof for cut in range(1, 20)} == {Proof.INCOMPLETE}


def test_a_zip_in_several_gzip_members_shows_its_cut() -> None:
    """The checksums of the members that are there cannot tell that others are missing."""
    packed = builders.archive({"1.dcm": builders.VOXELS})
    first, second = gzip.compress(packed[:60]), gzip.compress(packed[60:])
    assert judge(first + second, ".zip.gz").proof is Proof.COMPLETE
    verdict = judge(first, ".zip.gz")
    assert verdict.proof is Proof.INCOMPLETE
    assert verdict.reason.startswith("its decompressed content")


def test_a_cut_between_gzip_members_shows_in_the_content() -> None:
    """A volume that was compressed in two members is short after the first."""
    volume = builders.nifti_1()
    first = gzip.compress(volume[:400])
    assert judge(first + gzip.compress(volume[400:]), ".nii.gz").proof is Proof.COMPLETE
    verdict = judge(first, ".nii.gz")
    assert verdict.proof is Proof.INCOMPLETE
    assert verdict.reason.startswith("its decompressed content")


def test_a_detached_header_never_passes_when_cut() -> None:
    """Before the line that names the data file it is short, behind it wrong."""
    whole = builders.nrrd(extra="data file: a.raw\n", data=b"")
    named = whole.index(b"data file: a") + len(b"data file: a")
    proofs = [judge(whole[:cut], ".nrrd").proof for cut in range(1, len(whole) + 1)]
    assert set(proofs[: named - 2]) == {Proof.INCOMPLETE}
    assert set(proofs[named - 1 :]) == {Proof.WRONG}


@pytest.mark.parametrize(
    ("extension", "whole"),
    [(".stl", builders.STL_ASCII), (".obj", builders.OBJ), (".ply", builders.ply_ascii())],
)
def test_texts_never_pass_when_cut(extension: str, whole: bytes) -> None:
    """A text mesh cannot prove itself, or only when its last line is closed."""
    proofs = {judge(whole[:cut], extension).proof for cut in range(1, len(whole))}
    assert proofs <= {Proof.INCOMPLETE, Proof.CANNOT_TELL}
    assert judge(whole, extension).proof in {Proof.COMPLETE, Proof.CANNOT_TELL}
