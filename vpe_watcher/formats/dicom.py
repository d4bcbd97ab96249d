"""DICOM files: whether all elements and all pixel data are there.

Walks over the elements in constant memory; never keeps or decodes pixel data.
"""

from __future__ import annotations

from typing import BinaryIO

from vpe_watcher.core.model import Proof, Verdict
from vpe_watcher.formats.blocks import Judged, cannot_tell, complete, incomplete, read_at
from vpe_watcher.formats.dicom_elements import (
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
    if len(first) < _SIGNED_SIZE and DICOM_MAGIC.startswith(magic) and not describe(preamble):
        return incomplete("ends inside its preamble")
    return not_a(KIND, first)


def _prove_data_set(data_set: DataSet) -> Verdict:
    """Walk over all elements. Raises `Judged` where one is cut or makes no sense."""
    header, offset = read_values(data_set, wanted=WANTED_FOR_PROOF, last=_LAST_BEFORE_PIXELS)
    elements = Elements(data_set.file, data_set.size, data_set.encoding)
    pixels: Element | None = None
    for element in elements.from_offset(offset):
        if element.tag in PIXEL_DATA:
            pixels = element
            # The length that the header demands is told before the element's own cut is.
            _compare(header, pixels, here=data_set.size - pixels.start)
        header.take(data_set.file, element, wanted=WANTED_FOR_PROOF)
    return _judge_pixels(header, pixels)


def _compare(header: Header, pixels: Element, *, here: int) -> None:
    if pixels.length == UNDEFINED:
        return
    demanded = max(header.pixel_bytes, pixels.length)
    if here < demanded:
        raise Judged(incomplete(f"{demanded} bytes of pixel data demanded, {here} here"))


def _judge_pixels(header: Header, pixels: Element | None) -> Verdict:
    """Judge a header whose elements were all walked over to a clean end."""
    if pixels is None:
        if header.pixel_bytes and not header.has_pixels_elsewhere:
            return incomplete("ends before its pixel data")
        return cannot_tell("holds no pixel data")
    if pixels.length != UNDEFINED and pixels.length < header.pixel_bytes:
        return cannot_tell("its pixel data are declared shorter than its dimensions demand")
    return complete() if header.pixel_bytes else cannot_tell("has no dimensions")
