"""What stands before a data set that comes over the network, so that it is a DICOM file.

Owns the preamble and the File Meta Information (DICOM PS3.10, 7.1). The same values always make
the same bytes: instances that are sent twice can be compared as files.
"""

from __future__ import annotations

import struct

from vpe_watcher.formats.signature import DICOM_MAGIC, DICOM_PREAMBLE

IMPLEMENTATION_UID = "2.25.90097446750692080003955087039300544468"
IMPLEMENTATION_NAME = "VPE-WATCHER"
_LONG_FORM = frozenset({b"OB"})


def file_meta(*, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return all that stands before the data set's first byte.

    Raises `ValueError` for a UID that is empty, too long or not of digits and dots.
    """
    elements = b"".join(
        (
            _element(0x0001, b"OB", b"\0\1"),
            _element(0x0002, b"UI", _uid(sop_class_uid)),
            _element(0x0003, b"UI", _uid(sop_instance_uid)),
            _element(0x0010, b"UI", _uid(transfer_syntax_uid)),
            _element(0x0012, b"UI", _uid(IMPLEMENTATION_UID)),
            _element(0x0013, b"SH", _padded(IMPLEMENTATION_NAME.encode(), b" ")),
        )
    )
    length = _element(0x0000, b"UL", struct.pack("<I", len(elements)))
    return bytes(DICOM_PREAMBLE) + DICOM_MAGIC + length + elements


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    """Return an element of group 0002, which is always explicit little endian."""
    form = "<HH2s2xI" if vr in _LONG_FORM else "<HH2sH"
    return struct.pack(form, 0x0002, number, vr, len(value)) + value


def _uid(text: str) -> bytes:
    if not 0 < len(text) <= 64 or set(text) - set("0123456789."):
        raise ValueError("not a UID of 1 to 64 digits and dots")
    return _padded(text.encode(), b"\0")


def _padded(value: bytes, filler: bytes) -> bytes:
    return value + filler * (len(value) % 2)
