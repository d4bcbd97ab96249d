"""No cut of a file passes as complete, no whole file as incomplete: every byte of every kind."""

from __future__ import annotations

import gzip

import pytest

from tests.formats import builders
from tests.formats.builders import judge
from vpe_watcher.core.model import Proof


@pytest.mark.parametrize("name", sorted(builders.provable()))
def test_every_cut_is_incomplete(name: str) -> None:
    """A file with a proof is complete when whole and incomplete when cut anywhere."""
    extension, whole = builders.provable()[name]
    assert judge(whole, extension).proof is Proof.COMPLETE, judge(whole, extension)
    verdicts = {cut: judge(whole[:cut], extension) for cut in range(len(whole))}
    assert {cut: v for cut, v in verdicts.items() if v.proof is not Proof.INCOMPLETE} == {}
    assert all(verdict.reason for verdict in verdicts.values())


@pytest.mark.parametrize("name", sorted(builders.dicoms()))
def test_no_cut_of_a_dicom_file_passes(name: str) -> None:
    """A DICOM file that is cut between two elements of its header cannot tell; never more."""
    extension, whole = builders.dicoms()[name]
    assert judge(whole, extension).proof is Proof.COMPLETE, judge(whole, extension)
    verdicts = [judge(whole[:cut], extension).proof for cut in range(len(whole))]
    assert set(verdicts) <= {Proof.INCOMPLETE, Proof.CANNOT_TELL}
    assert verdicts.count(Proof.CANNOT_TELL) < 30
    assert set(verdicts[-80:]) == {Proof.INCOMPLETE}


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


def test_cuts_that_are_whole_files_themselves() -> None:
    """What no format can see: a cut at the end of a GZIP member, of a last line, of an element."""
    first, second = gzip.compress(builders.nifti_1()), gzip.compress(b"more")
    assert judge(first + second, ".nii.gz").proof is Proof.COMPLETE
    assert judge(first, ".nii.gz").proof is Proof.COMPLETE
    assert judge(builders.vti_raw()[:-1], ".vti").proof is Proof.COMPLETE
    padded = builders.dicom(DataSetTrailingPadding=b"\0" * 8)
    assert judge(padded, ".dcm").proof is Proof.COMPLETE
    assert judge(padded[:-20], ".dcm").proof is Proof.COMPLETE
    assert {judge(padded[:-cut], ".dcm").proof for cut in range(1, 20)} == {Proof.INCOMPLETE}


def test_a_cut_between_gzip_members_shows_in_the_content() -> None:
    """A volume that was compressed in two members is short after the first."""
    volume = builders.nifti_1()
    first = gzip.compress(volume[:400])
    assert judge(first + gzip.compress(volume[400:]), ".nii.gz").proof is Proof.COMPLETE
    verdict = judge(first, ".nii.gz")
    assert verdict.proof is Proof.INCOMPLETE
    assert verdict.reason.startswith("its decompressed content")


@pytest.mark.parametrize(
    ("extension", "whole"),
    [(".stl", builders.STL_ASCII), (".obj", builders.OBJ), (".ply", builders.ply_ascii())],
)
def test_texts_never_pass_when_cut(extension: str, whole: bytes) -> None:
    """A text mesh cannot prove itself, or only when its last line is closed."""
    proofs = {judge(whole[:cut], extension).proof for cut in range(1, len(whole))}
    assert proofs <= {Proof.INCOMPLETE, Proof.CANNOT_TELL}
    assert judge(whole, extension).proof in {Proof.COMPLETE, Proof.CANNOT_TELL}
