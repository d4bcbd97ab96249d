"""ZIP archives: directory, bounds, checksums, and what they hold."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest

from tests.formats import builders
from tests.formats.builders import VOXELS, archive, judge
from vpe_watcher.core.model import Proof
from vpe_watcher.formats import identifiers, lists_mesh, mesh_members

STORED = zipfile.ZIP_STORED


def test_an_archive_without_files_is_wrong() -> None:
    """Neither an empty archive nor one of folders only can become a case."""
    for members in ({}, {"a/": b"", "a/b/": b""}):
        verdict = judge(archive(members), ".zip")
        assert (verdict.proof, verdict.reason) == (Proof.WRONG, "archive holds no files")


def test_a_damaged_member_is_found_by_its_checksum() -> None:
    """One flipped byte anywhere in the data fails, unless a lease makes checksums needless."""
    whole = bytearray(archive({"1.dcm": VOXELS, "2.dcm": VOXELS}, STORED))
    whole[35 + 60] ^= 1
    assert judge(bytes(whole), ".zip").reason == "member 1 of 2 is damaged or not all there"
    assert judge(bytes(whole), ".zip", closed=True).proof is Proof.COMPLETE


@pytest.mark.parametrize("closed", [True, False])
def test_cuts_are_found_without_checksums_too(closed: bool) -> None:  # noqa: FBT001
    """The directory stands at the end, so the bounds alone find every cut."""
    whole = builders.streamed_archive()
    assert judge(whole, ".zip", closed=closed).proof is Proof.COMPLETE
    proofs = {judge(whole[:cut], ".zip", closed=closed).proof for cut in range(len(whole))}
    assert proofs == {Proof.INCOMPLETE}


@pytest.mark.parametrize("lost", [1, 60, 119])
def test_bytes_missing_in_the_middle_are_found(lost: int) -> None:
    """A directory that came before all the data did points to the wrong places."""
    whole = archive({"1.dcm": VOXELS, "2.dcm": VOXELS}, STORED)
    broken = whole[:40] + whole[40 + lost :]
    assert judge(broken, ".zip", closed=True).proof is Proof.INCOMPLETE


def test_overlapping_members_do_not_pass() -> None:
    """Two entries on one place are a bomb or a broken archive."""
    whole = bytearray(archive({"1.dcm": VOXELS, "2.dcm": VOXELS}, STORED))
    second = whole.rindex(b"PK\x01\x02")
    whole[second + 42 : second + 46] = struct.pack("<L", 0)
    assert judge(bytes(whole), ".zip", closed=True).proof is Proof.INCOMPLETE


def test_encrypted_members_are_judged_by_their_bounds() -> None:
    """Without the password no checksum can be computed: whole it cannot tell, cut it is short."""
    whole = bytearray(archive({"1.dcm": VOXELS}, STORED))
    for at in (6, whole.index(b"PK\x01\x02") + 8):
        whole[at] |= 1
    assert judge(bytes(whole), ".zip").proof is Proof.CANNOT_TELL
    assert judge(bytes(whole), ".zip", closed=True).proof is Proof.COMPLETE
    assert judge(bytes(whole[:-1]), ".zip", closed=True).proof is Proof.INCOMPLETE


def test_unusual_packing_cannot_tell() -> None:
    """What we cannot unpack we cannot check."""
    verdict = judge(archive({"1.dcm": VOXELS * 20}, zipfile.ZIP_LZMA), ".zip")
    assert verdict.proof is Proof.CANNOT_TELL


def test_a_comment_belongs_to_the_archive() -> None:
    """The end record is found before a comment, even one that looks like an end record."""
    buffer = io.BytesIO(archive({"1.dcm": VOXELS}))
    with zipfile.ZipFile(buffer, "a") as target:
        target.comment = b"PK\x05\x06 is how it ends " * 20
    whole = buffer.getvalue()
    assert judge(whole, ".zip").proof is Proof.COMPLETE
    assert {judge(whole[:cut], ".zip").proof for cut in range(len(whole))} == {Proof.INCOMPLETE}


def test_part_of_a_split_archive_is_wrong() -> None:
    """A second volume would be needed."""
    whole = bytearray(archive({"1.dcm": VOXELS}))
    whole[-18:-14] = struct.pack("<2H", 1, 1)
    assert judge(bytes(whole), ".zip").reason == "is one part of a split archive"


def test_meshes_are_listed() -> None:
    """Meshes in folders count, litter of other systems does not."""
    names = ["a/Upper.STL", "b.ply", "c.txt", "__MACOSX/a/._Upper.STL", "a/.hidden.obj", "d.stl/x"]
    file = io.BytesIO(archive(dict.fromkeys(names, b"x")))
    assert mesh_members(file) == ["a/Upper.STL", "b.ply"]
    assert lists_mesh(file)
    assert not lists_mesh(io.BytesIO(archive({"1.dcm": VOXELS})))
    assert mesh_members(io.BytesIO(b"PK\x03\x04 and no more")) == []


def test_the_first_dicom_member_names_the_patient() -> None:
    """What is no DICOM is passed over, whatever it is called."""
    members = {"readme.dcm": b"text " * 100, "x/IM01": builders.dicom(), "z": builders.dicom()}
    facts = identifiers(io.BytesIO(archive(members)), ".zip")
    assert facts is not None
    assert facts.patient_name == "Müller^Jürgen"
    assert identifiers(io.BytesIO(archive({"a.txt": b"text"})), ".zip") is None
    assert identifiers(io.BytesIO(b"PK\x03\x04"), ".zip") is None


def test_a_gap_before_the_end_record_does_not_pass() -> None:
    """An end record that belongs to another directory than the one before it proves nothing."""
    whole = archive({"1.dcm": VOXELS})
    broken = whole[:-22] + b"\0\0\0\0" + whole[-22:]
    assert judge(broken, ".zip").proof is Proof.INCOMPLETE
