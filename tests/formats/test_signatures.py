"""Empty, zero, or something else than the name says."""

from __future__ import annotations

import gzip

import pytest

from tests.formats import builders
from tests.formats.builders import judge
from vpe_watcher.core.model import Proof
from vpe_watcher.formats import KNOWN_EXTENSIONS, looks_like_dicom

STRANGERS = {
    "starts like a PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(range(256)) * 4,
    "is a JPEG image": b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(range(256)) * 4,
    "is a PNG image": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4,
    "is a web page": b"<!DOCTYPE html><html>" + b"sign in " * 200,
    "does not start like": bytes(range(200, 0, -1)) * 10,
}


@pytest.mark.parametrize("extension", ["", *KNOWN_EXTENSIONS])
def test_empty_and_zero_files_are_incomplete(extension: str) -> None:
    """Nothing, and nothing but zero bytes so far, is a file that has not arrived yet."""
    assert judge(b"", extension).reason == "is empty"
    for size in (1, 511, 512, 5000):
        assert judge(bytes(size), extension).proof is Proof.INCOMPLETE
    assert judge(bytes(512) + b"x" * 512, extension).proof is Proof.INCOMPLETE


@pytest.mark.parametrize("words", sorted(STRANGERS))
@pytest.mark.parametrize("extension", ["", *KNOWN_EXTENSIONS])
def test_strangers_are_wrong(extension: str, words: str) -> None:
    """Another signature than the name says is wrong, and the reason says what it is."""
    content = STRANGERS[words]
    verdict = judge(content, extension)
    if words == "does not start like" and extension == ".stl":
        # 80 free bytes and a count: a binary STL may start like anything, and be short.
        assert verdict.proof is Proof.INCOMPLETE
        return
    assert verdict.proof is Proof.WRONG
    assert verdict.reason.startswith(words)


@pytest.mark.parametrize("extension", sorted({*KNOWN_EXTENSIONS} - {".obj"}))
def test_text_is_no_scan(extension: str) -> None:
    """A note that was named like a scan is told apart, long or short."""
    short = b"Dear colleague, please find the scan attached.\r\n"
    for note in (b"text " * 300, short * (2 if extension == ".stl" else 1)):
        verdict = judge(note, extension)
        assert verdict.proof is Proof.WRONG
        assert verdict.reason.startswith("is text, not a")


@pytest.mark.parametrize("extension", [e for e in KNOWN_EXTENSIONS if e.endswith(".gz")])
def test_compressed_strangers_are_wrong(extension: str) -> None:
    """The content of a compressed file is held to the inner extension."""
    verdict = judge(gzip.compress(STRANGERS["starts like a PDF"]), extension)
    assert verdict.proof is Proof.WRONG
    assert verdict.reason.startswith("its decompressed content starts like a PDF")


def test_kinds_are_told_from_one_another() -> None:
    """Each sample passes under its own name only."""
    for extension, whole in builders.provable().values():
        for other in set(KNOWN_EXTENSIONS) - {extension}:
            if not (other.endswith(".gz") and extension.endswith(".gz")):
                assert judge(whole, other).proof is not Proof.COMPLETE, (extension, other)


def test_dicom_is_seen_at_byte_128() -> None:
    """The mark counts at its place only."""
    assert looks_like_dicom(bytes(128) + b"DICM")
    assert not looks_like_dicom(bytes(127) + b"DICMDICM")
    assert not looks_like_dicom(b"DICM")
