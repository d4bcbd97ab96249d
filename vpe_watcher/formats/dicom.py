"""DICOM files: who and what is in them, and whether the pixel data are all there.

Reads headers only, in constant memory; never keeps or decodes pixel data.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from vpe_watcher.core.model import Proof, Verdict
from vpe_watcher.formats.blocks import Judged, cannot_tell, complete, incomplete, read_at
from vpe_watcher.formats.compressed import inflate, opened_deflate
from vpe_watcher.formats.dicom_elements import (
    DEFLATED,
    PIXEL_DATA,
    UNDEFINED,
    Element,
    Elements,
    Encoding,
    Meta,
    encoding_of,
    read_meta,
    starts_without_preamble,
    value_of,
)
from vpe_watcher.formats.dicom_text import codec_of, decode
from vpe_watcher.formats.signature import (
    DICOM_MAGIC,
    DICOM_PREAMBLE,
    FIRST_BYTES,
    describe,
    looks_like_dicom,
    not_a,
)

KIND = "a DICOM file"
_UNKNOWN_SIZE = 1 << 62
_SIGNED_SIZE = DICOM_PREAMBLE + len(DICOM_MAGIC)
_CHARACTER_SET = 0x00080005
_SAMPLES, _PHOTOMETRIC, _FRAMES = 0x00280002, 0x00280004, 0x00280008
_ROWS, _COLUMNS, _BITS = 0x00280010, 0x00280011, 0x00280100
_PIXEL_DATA_URL = 0x00287FE0
_TEXTS = {
    "patient_id": 0x00100020,
    "patient_name": 0x00100010,
    "birth_date": 0x00100030,
    "study_uid": 0x0020000D,
    "series_uid": 0x0020000E,
    "accession_number": 0x00080050,
    "study_date": 0x00080020,
    "series_description": 0x0008103E,
    "series_number": 0x00200011,
    "modality": 0x00080060,
    "sop_class_uid": 0x00080016,
    "sop_instance_uid": 0x00080018,
}
_WANTED = frozenset(_TEXTS.values()) | {
    _CHARACTER_SET,
    _SAMPLES,
    _PHOTOMETRIC,
    _FRAMES,
    _ROWS,
    _COLUMNS,
    _BITS,
    _PIXEL_DATA_URL,
}


@dataclass(frozen=True, slots=True)
class DicomFacts:
    """What a header says. Texts are empty and numbers 0 where it says nothing; one frame is 1."""

    patient_id: str
    patient_name: str
    birth_date: str
    study_uid: str
    series_uid: str
    accession_number: str
    study_date: str
    series_description: str
    series_number: str
    modality: str
    sop_class_uid: str
    sop_instance_uid: str
    rows: int
    columns: int
    number_of_frames: int
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class _DataSet:
    """Where the elements are: in the file itself, or in its deflated part."""

    file: BinaryIO
    size: int
    start: int
    meta: Meta
    encoding: Encoding


@dataclass(slots=True)
class _Header:
    encoding: Encoding
    values: dict[int, bytes]
    pixels: Element | None = None

    def text(self, tag: int) -> str:
        codec = codec_of(self.values.get(_CHARACTER_SET, b""))
        return decode(self.values.get(tag, b""), codec)

    def short(self, tag: int) -> int:
        value = self.values.get(tag, b"")[:2]
        return int(struct.unpack(f"{self.encoding.order}H", value)[0]) if len(value) == 2 else 0

    @property
    def frames(self) -> int:
        text = self.values.get(_FRAMES, b"").decode("latin-1").strip(" \0")
        is_number = text.isascii() and text.isdigit() and len(text) <= 12
        return max(int(text), 1) if is_number else 1


def read_facts(file: BinaryIO) -> DicomFacts | None:
    """Return what the header says, up to the pixel data; None where it cannot be parsed.

    The file may be any seekable stream. Only OSError leaves.
    """
    try:
        first = read_at(file, 0, FIRST_BYTES)
        if not looks_like_dicom(first) and not starts_without_preamble(first):
            return None
        data_set = _open(file, _UNKNOWN_SIZE)
        return _facts(_read(data_set, is_whole=False), data_set.meta)
    except Judged:
        return None


def prove(file: BinaryIO, size: int) -> Verdict:
    """Judge a DICOM file of `size` bytes by its elements and the length of its pixel data.

    Without the preamble it is never more than "cannot tell".
    """
    first = read_at(file, 0, FIRST_BYTES)
    if not looks_like_dicom(first) and not starts_without_preamble(first):
        return _judge_start(first)
    try:
        data_set = _open(file, size)
        verdict = _prove_pixels(_read(data_set, is_whole=True), data_set.size)
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


def _open(file: BinaryIO, size: int) -> _DataSet:
    meta = read_meta(file, size)
    if meta.transfer_syntax == DEFLATED:
        inflated = opened_deflate(file, start=meta.end)
        if size != _UNKNOWN_SIZE:
            size = sum(len(block) for block in inflate(file, start=meta.end))
        return _DataSet(inflated, size, 0, meta, Encoding(is_implicit=False, is_little=True))
    encoding = encoding_of(meta.transfer_syntax, read_at(file, meta.end, 8))
    return _DataSet(file, size, meta.end, meta, encoding)


def _read(data_set: _DataSet, *, is_whole: bool) -> _Header:
    """Read the elements up to the pixel data, or all. Raises `Judged` where they make no sense."""
    header = _Header(data_set.encoding, {})
    elements = Elements(data_set.file, data_set.size, data_set.encoding)
    for element in elements.from_offset(data_set.start):
        if element.tag in PIXEL_DATA:
            if not is_whole:
                break
            header.pixels = element
            # The length that the header demands is told before the element's own cut is.
            _compare(header, data_set.size)
        elif element.tag in _WANTED and element.length != UNDEFINED:
            header.values[element.tag] = value_of(data_set.file, element)
    return header


def _facts(header: _Header, meta: Meta) -> DicomFacts | None:
    if not header.values and not meta.sop_class:
        return None
    texts = {name: header.text(tag) for name, tag in _TEXTS.items()}
    texts["patient_name"] = texts["patient_name"].rstrip("=")  # empty groups of components
    texts["sop_class_uid"] = texts["sop_class_uid"] or meta.sop_class  # a DICOMDIR's is there only
    return DicomFacts(
        **texts,
        rows=header.short(_ROWS),
        columns=header.short(_COLUMNS),
        number_of_frames=header.frames,
        transfer_syntax_uid=meta.transfer_syntax,
    )


def _demanded(header: _Header) -> int:
    samples = header.short(_SAMPLES) or 1
    values = header.short(_ROWS) * header.short(_COLUMNS) * header.frames * samples
    length = (values * header.short(_BITS) + 7) // 8
    is_subsampled = header.text(_PHOTOMETRIC) == "YBR_FULL_422"
    return length * 2 // 3 if is_subsampled else length


def _compare(header: _Header, size: int) -> None:
    pixels = header.pixels
    if pixels is None or pixels.length == UNDEFINED:
        return
    here = size - pixels.start
    demanded = max(_demanded(header), pixels.length)
    if here < demanded:
        raise Judged(incomplete(f"{demanded} bytes of pixel data demanded, {here} here"))


def _prove_pixels(header: _Header, size: int) -> Verdict:
    """Judge a header whose elements were all walked over to a clean end."""
    if header.pixels is None:
        if _demanded(header) and _PIXEL_DATA_URL not in header.values:
            return incomplete("ends before its pixel data")
        return cannot_tell("holds no pixel data")
    if header.pixels.length != UNDEFINED and header.pixels.length < _demanded(header):
        return cannot_tell("its pixel data are declared shorter than its dimensions demand")
    return complete() if size and _demanded(header) else cannot_tell("has no dimensions")
