"""STL, PLY and OBJ beyond their cuts."""

from __future__ import annotations

import pytest

from tests.formats import builders
from tests.formats.builders import OBJ, STL_ASCII, judge, ply, ply_ascii, stl
from vpe_watcher.core.model import Proof


def test_a_binary_stl_may_begin_with_solid() -> None:
    """The count decides; a cut file shows its zero bytes."""
    assert judge(stl(), ".stl").proof is Proof.COMPLETE
    assert judge(stl()[:-1], ".stl").reason == "4 triangles declared, 3 here"
    assert judge(stl()[:100], ".stl").proof is Proof.INCOMPLETE


def test_an_ascii_stl_cannot_tell() -> None:
    """With or without its last word."""
    assert judge(STL_ASCII, ".stl").proof is Proof.CANNOT_TELL
    assert judge(STL_ASCII * 20, ".stl").proof is Proof.CANNOT_TELL
    assert judge(b"  " + STL_ASCII[:-15], ".stl").proof is Proof.CANNOT_TELL


def test_a_count_that_is_not_there_yet_cannot_tell() -> None:
    """Writers that fill the count in at the end leave zero until then."""
    unfinished = bytearray(stl())
    unfinished[80:84] = bytes(4)
    assert judge(bytes(unfinished), ".stl").proof is Proof.CANNOT_TELL
    assert judge(stl() + b"more", ".stl").proof is Proof.CANNOT_TELL


def test_rows_of_a_ply_are_walked() -> None:
    """Faces have different lengths: each count is read."""
    assert judge(ply(), ".ply").proof is Proof.COMPLETE
    assert judge(ply()[:-1], ".ply").proof is Proof.INCOMPLETE
    longer = ply().replace(b"element face 2", b"element face 3")
    assert judge(longer, ".ply").proof is Proof.INCOMPLETE


def test_rows_of_a_text_ply_are_counted() -> None:
    """Blank lines do not count, and a last line without its end may be cut."""
    whole = ply_ascii()
    assert judge(whole, ".ply").proof is Proof.COMPLETE
    assert judge(whole[:-1], ".ply").proof is Proof.CANNOT_TELL
    assert judge(whole[:-10] + b"\n\n\n\n", ".ply").reason == "5 rows declared, 4 here"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"element face 2", b"element face many"),
        (b"property uchar red", b"property colour red"),
        (b"binary_little_endian", b"morse"),
        (b"list uchar int", b"list float int"),
    ],
)
def test_a_ply_header_of_unknown_words_cannot_tell(old: bytes, new: bytes) -> None:
    """What we cannot read proves nothing."""
    assert judge(ply().replace(old, new), ".ply").proof is Proof.CANNOT_TELL


def test_an_obj_cannot_tell() -> None:
    """Text passes, in any 8-bit character set; binary does not."""
    assert judge(OBJ, ".obj").proof is Proof.CANNOT_TELL
    assert judge(b"# Gr\xf6\xdfe\n" + OBJ, ".obj").proof is Proof.CANNOT_TELL
    assert judge(b"v 0 0 0\0\0\0\0" + OBJ, ".obj").proof is Proof.WRONG
    assert judge(builders.stl(), ".obj").proof is Proof.WRONG
