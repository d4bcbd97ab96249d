"""What a file starts like, in words. Looks at its first bytes only, never at its name."""

from __future__ import annotations

from vpe_watcher.core.model import Verdict
from vpe_watcher.formats.blocks import wrong

FIRST_BYTES = 512
DICOM_MAGIC = b"DICM"
DICOM_PREAMBLE = 128

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "starts like a PDF"),
    (b"\xff\xd8\xff", "is a JPEG image"),
    (b"\x89PNG\r\n\x1a\n", "is a PNG image"),
    (b"GIF8", "is a GIF image"),
    (b"II*\x00", "is a TIFF image"),
    (b"MM\x00*", "is a TIFF image"),
    (b"PK\x03\x04", "is a ZIP archive"),
    (b"PK\x05\x06", "is an empty ZIP archive"),
    (b"\x1f\x8b", "is GZIP-compressed"),
    (b"BZh", "is BZIP2-compressed"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive"),
    (b"Rar!\x1a\x07", "is a RAR archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an Office document"),
    (b"\x7fELF", "is a program"),
    (b"MZ\x90\x00", "is a program"),
    (b"SQLite format 3\x00", "is a database"),
    (b"NRRD000", "is an NRRD volume"),
    (b"ply\n", "is a PLY mesh"),
    (b"ply\r\n", "is a PLY mesh"),
)
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\x1b")


def looks_like_dicom(first_bytes: bytes) -> bool:
    """Tell whether `DICM` stands at byte 128."""
    return first_bytes[DICOM_PREAMBLE:].startswith(DICOM_MAGIC)


def looks_like_text(first_bytes: bytes) -> bool:
    """Tell whether these bytes hold no control character that text has no use for."""
    return bool(first_bytes) and all(b >= 0x20 or b in _TEXT_CONTROLS for b in first_bytes)


def describe(first_bytes: bytes) -> str:
    """Say what these first bytes are like; empty where they are like nothing that we know."""
    if looks_like_dicom(first_bytes):
        return "is a DICOM file"
    if first_bytes[344:348] in (b"n+1\0", b"ni1\0") or first_bytes[4:8] in (b"n+2\0", b"ni2\0"):
        return "is a NIfTI file"
    for start, words in _STARTS:
        if first_bytes.startswith(start):
            return words
    return _describe_text(first_bytes)


def is_stranger(first_bytes: bytes) -> bool:
    """Tell whether these bytes alone show what the file is: more than that it is some text."""
    return describe(first_bytes) not in ("", "is text", "is an XML text")


def _describe_text(first_bytes: bytes) -> str:
    if not looks_like_text(first_bytes):
        return ""
    start = first_bytes.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "is a web page"
    if start.startswith(b"<"):
        return "is an XML text"
    return "is text"


def not_a(kind: str, first_bytes: bytes) -> Verdict:
    """Return the verdict "wrong": these bytes are no `kind` (with its article: "a ZIP archive")."""
    words = describe(first_bytes)
    return wrong(f"{words}, not {kind}" if words else f"does not start like {kind}")
