"""DICOM files: whether all elements and all pixel data are there.

Walks over the elements in constant memory; never keeps or decodes pixel data.
"""

from __future__ import annotations

from typing import BinaryIO

from vpe_watcher.core.model import Proof, Verdict
from vpe_watcher.formats.blocks import Judged, cannot_tell, complete, incomplete, read_at
from vpe_watcher.formats.dicom_elements import (
    NOT_WRITTEN,
    PIXEL_DATA,
    UNDEFINED,
    Element,
    Elements,
    starts_without_preamble,
)
from vpe_watcher.formats.dicom_header import (
    WANTED_FOR_PROOF,
    DataSet,
    Header,
    open_data_set,
    read_values,
)
from vpe_watcher.formats.signature import (
    DICOM_MAGIC,
    DICOM_PREAMBLE,
    FIRST_BYTES,
    describe,
    looks_like_dicom,
    not_a,
)

KIND = "a DICOM file"
_LAST_BEFORE_PIXELS = min(PIXEL_DATA) - 1
_STORAGE_CLASSES = "1.2.840.10008.5.1.4.1.1."
# Their numbers below that root, a blank on each side.
_IMAGE_CLASSES = (
    " 1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3 3.1 4 4.1 4.3 4.4 5 6 6.1 6.3 "
    "7 7.1 7.2 7.3 7.4 12.1 12.1.1 12.2 12.2.1 12.3 13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 "
    "14.1 14.2 20 30 66.4 77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.3 77.1.4 77.1.4.1 77.1.5.1 77.1.5.2 "
    "77.1.5.4 77.1.5.5 77.1.5.6 77.1.5.7 77.1.6 77.1.7 77.1.8 77.1.9 128 128.1 130 "
    "481.1 481.23 481.24 "
)
_TIFF_MARKS = (b"II*\0", b"MM\0*")
_SIGNED_SIZE = DICOM_PREAMBLE + len(DICOM_MAGIC)


def prove(file: BinaryIO, size: int) -> Verdict:
    """Judge a DICOM file of `size` bytes by its elements and the length of its pixel data.

    Without the preamble it is never more than "cannot tell".
    """
    first = read_at(file, 0, FIRST_BYTES)
    if not looks_like_dicom(first) and not starts_without_preamble(first):
        return _judge_start(first)
    try:
        verdict = _prove_data_set(open_data_set(file, size))
    except Judged as judged:
        verdict = judged.verdict
    if verdict.proof is Proof.COMPLETE and not looks_like_dicom(first):
        return cannot_tell("has no DICOM preamble")
    return verdict


def _judge_start(first: bytes) -> Verdict:
    preamble, magic = first[:DICOM_PREAMBLE], first[DICOM_PREAMBLE:_SIGNED_SIZE]
    is_short = len(first) < _SIGNED_SIZE and DICOM_MAGIC.startswith(magic)
    if is_short and (not describe(preamble) or _may_be_tiff(preamble)):
        return incomplete("ends inside its preamble")
    return not_a(KIND, first)


def _may_be_tiff(preamble: bytes) -> bool:
    # A preamble may make the same file readable as TIFF (PS3.10 7.1).
    return any(mark.startswith(preamble[:4]) for mark in _TIFF_MARKS)


def _prove_data_set(data_set: DataSet) -> Verdict:
    """Walk over all elements. Raises `Judged` where one is cut or makes no sense."""
    if data_set.start >= data_set.size:
        return incomplete("ends before its first element")
    header, offset = read_values(data_set, wanted=WANTED_FOR_PROOF, last=_LAST_BEFORE_PIXELS)
    elements = Elements(data_set.file, data_set.size, data_set.encoding)
    pixels: Element | None = None
    while not (pixels and elements.is_unwritten_at(offset)):
        element = elements.element_at(offset)
        if element is None:
            return _judge_pixels(data_set, header, pixels)
        if element.tag in PIXEL_DATA:
            pixels = element
            # The length that the header demands is told before the element's own cut is.
            _compare(header, pixels, here=data_set.size - pixels.start)
        header.take(data_set.file, element, wanted=WANTED_FOR_PROOF)
        offset = elements.end_of(element)
    return _judge_padded(header, pixels)


def _compare(header: Header, pixels: Element, *, here: int) -> None:
    if pixels.length == UNDEFINED:
        return
    demanded = max(header.pixel_bytes, pixels.length)
    if here < demanded:
        raise Judged(incomplete(f"{demanded} bytes of pixel data demanded, {here} here"))


def _judge_pixels(data_set: DataSet, header: Header, pixels: Element | None) -> Verdict:
    """Judge a header whose elements were all walked over to a clean end."""
    if pixels is None:
        is_image = header.pixel_bytes or is_image_class(data_set.meta.sop_class or header.sop_class)
        if is_image and not header.has_pixels_elsewhere:
            return incomplete("ends before its pixel data")
        return cannot_tell("holds no pixel data")
    if pixels.length != UNDEFINED and pixels.length < header.pixel_bytes:
        return cannot_tell("its pixel data are declared shorter than its dimensions demand")
    return complete() if header.pixel_bytes else cannot_tell("has no dimensions")


def _judge_padded(header: Header, pixels: Element) -> Verdict:
    if pixels.length < header.pixel_bytes:
        return NOT_WRITTEN
    return cannot_tell("has zero bytes after its pixel data")


def is_image_class(sop_class_uid: str) -> bool:
    """Tell whether objects of this class are images, of which each has pixel data (PS3.4 B.5)."""
    number = sop_class_uid.removeprefix(_STORAGE_CLASSES)
    return number != sop_class_uid and f" {number} " in _IMAGE_CLASSES
