"""The header of a DICOM file: who and what is in it, and how its images lie in space.

Reads up to the pixel data only, in constant memory and in pieces of 64 KiB; never judges.
"""

from __future__ import annotations

import struct
from collections.abc import Container
from dataclasses import dataclass
from typing import BinaryIO

from vpe_watcher.formats.blocks import HEADER_BUFFER, Judged, no_pulse, read_at, with_pulse
from vpe_watcher.formats.compressed import inflate, opened_deflate
from vpe_watcher.formats.dicom_elements import (
    DEFLATED,
    UNDEFINED,
    Element,
    Elements,
    Encoding,
    Meta,
    encoding_of,
    read_meta,
    skim,
    starts_without_preamble,
    value_of,
)
from vpe_watcher.formats.dicom_numbers import count_of, decimals_of, integer_of, values_of
from vpe_watcher.formats.dicom_text import codec_of, decode
from vpe_watcher.formats.signature import FIRST_BYTES, looks_like_dicom

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
UNKNOWN_SIZE = 1 << 62
_CHARACTER_SET = 0x00080005
_IMAGE_TYPE, _SOP_CLASS = 0x00080008, 0x00080016
_INSTANCE_NUMBER, _IN_ACQUISITION, _IN_SERIES = 0x00200013, 0x00201002, 0x00201209
_POSITION, _ORIENTATION, _PIXEL_SPACING = 0x00200032, 0x00200037, 0x00280030
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
    "sop_class_uid": _SOP_CLASS,
    "sop_instance_uid": 0x00080018,
    "frame_of_reference_uid": 0x00200052,
    "acquisition_number": 0x00200012,
}
_FOR_FACTS = frozenset(_TEXTS.values()) | {
    _CHARACTER_SET,
    _IMAGE_TYPE,
    _INSTANCE_NUMBER,
    _IN_ACQUISITION,
    _IN_SERIES,
    _POSITION,
    _ORIENTATION,
    _PIXEL_SPACING,
    _FRAMES,
    _ROWS,
    _COLUMNS,
    _BITS,
}
# Two pixels share their colour (PS3.3 C.7.6.3.1.2).
_SUBSAMPLED = (("YBR_FULL_422",), ("YBR_PARTIAL_422",))
WANTED_FOR_PROOF = frozenset(
    {_SOP_CLASS, _SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _BITS, _PIXEL_DATA_URL}
)
_LAST_FOR_FACTS = max(_FOR_FACTS)


@dataclass(frozen=True, slots=True)
class DicomFacts:
    """What a header says. Texts are empty and numbers 0 where it says nothing; one frame is 1.

    Values that are missing or badly formed are None, or no values at all. Positions and spacings
    are in mm; those of enhanced images stand with their frames and are none here.
    """

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
    frame_of_reference_uid: str = ""
    image_type: tuple[str, ...] = ()  # upper case
    instance_number: int | None = None
    acquisition_number: str = ""
    images_in_acquisition: int | None = None
    number_of_series_related_instances: int | None = None
    orientation: tuple[float, ...] = ()  # six: the directions of a row and of a column
    position: tuple[float, ...] = ()  # three
    pixel_spacing: tuple[float, ...] = ()  # two: between rows, between columns
    bits_allocated: int = 0


@dataclass(frozen=True, slots=True)
class DataSet:
    """Where the elements are: in the file itself, or in its deflated part."""

    file: BinaryIO
    size: int
    start: int
    meta: Meta
    encoding: Encoding


@dataclass(slots=True)
class Header:
    """The values that were asked for, by tag."""

    encoding: Encoding
    values: dict[int, bytes]

    def take(self, file: BinaryIO, element: Element, *, wanted: Container[int]) -> None:
        """Read the value of an element if it is wanted. Raises `Judged` where it is cut."""
        if element.tag in wanted and element.length != UNDEFINED:
            self.values[element.tag] = value_of(file, element)

    def short(self, tag: int) -> int:
        """Return a number of 16 bits, 0 where there is none."""
        value = self.values.get(tag, b"")[:2]
        return int(struct.unpack(f"{self.encoding.order}H", value)[0]) if len(value) == 2 else 0

    @property
    def sop_class(self) -> str:
        """Return what kind of object it is, empty where the data set does not say."""
        return "".join(values_of(self.values.get(_SOP_CLASS, b""))[:1])

    @property
    def frames(self) -> int:
        """Return the number of frames, at least 1."""
        return max(count_of(self.values.get(_FRAMES, b"")) or 1, 1)

    @property
    def pixel_bytes(self) -> int:
        """Return the length in bytes that the dimensions demand of pixel data as they are."""
        samples = self.short(_SAMPLES) or 1
        values = self.short(_ROWS) * self.short(_COLUMNS) * self.frames * samples
        length = (values * self.short(_BITS) + 7) // 8
        is_subsampled = values_of(self.values.get(_PHOTOMETRIC, b"")) in _SUBSAMPLED
        return length * 2 // 3 if is_subsampled else length

    @property
    def has_pixels_elsewhere(self) -> bool:
        """Tell whether the pixel data are to be fetched by a URL."""
        return _PIXEL_DATA_URL in self.values


def read_facts(file: BinaryIO) -> DicomFacts | None:
    """Return what the header says, up to the pixel data; None where it cannot be parsed.

    None, too, where it ends inside a value that is asked for. The file may be any seekable stream.
    Only OSError leaves.
    """
    file = with_pulse(file, no_pulse)
    try:
        first = read_at(file, 0, FIRST_BYTES)
        if not looks_like_dicom(first) and not starts_without_preamble(first):
            return None
        data_set = open_data_set(file, UNKNOWN_SIZE)
        header, _ = read_values(data_set, wanted=_FOR_FACTS, last=_LAST_FOR_FACTS)
        return _facts(header, data_set.meta)
    except Judged:
        return None


def is_dicomdir(facts: DicomFacts) -> bool:
    """Tell whether a header is that of a DICOMDIR: a list of files, no image."""
    return facts.sop_class_uid == MEDIA_STORAGE_DIRECTORY


def open_data_set(file: BinaryIO, size: int) -> DataSet:
    """Find the data set of a file of `size` bytes. Raises `Judged` where there is none."""
    meta = read_meta(file, size)
    if meta.transfer_syntax == DEFLATED:
        inflated = opened_deflate(file, start=meta.end)
        if size != UNKNOWN_SIZE:
            size = sum(len(block) for block in inflate(file, start=meta.end))
        return DataSet(inflated, size, 0, meta, Encoding(is_implicit=False, is_little=True))
    encoding = encoding_of(meta.transfer_syntax, read_at(file, meta.end, 8))
    return DataSet(file, size, meta.end, meta, encoding)


def read_values(data_set: DataSet, *, wanted: Container[int], last: int) -> tuple[Header, int]:
    """Read the wanted values up to the tag `last`; return them and where that ended.

    Raises `Judged` where an element is cut or makes no sense.
    """
    header = Header(data_set.encoding, {})
    file, encoding, offset = data_set.file, data_set.encoding, data_set.start
    # Half of it: a buffer that was read to its end is read again after a step back.
    window = read_at(file, 0, min(HEADER_BUFFER // 2, data_set.size))
    elements = Elements(file, data_set.size, encoding)
    while True:
        plain, offset = skim(window, offset, encoding, wanted=wanted, last=last)
        header.values |= plain
        element = elements.element_at(offset)
        if element is None or element.tag > last:
            return header, offset
        header.take(file, element, wanted=wanted)
        offset = elements.end_of(element)


def _facts(header: Header, meta: Meta) -> DicomFacts | None:
    if not header.values and not meta.sop_class:
        return None
    values, codec = header.values, codec_of(header.values.get(_CHARACTER_SET, b""))
    texts = {name: decode(values.get(tag, b""), codec) for name, tag in _TEXTS.items()}
    texts["patient_name"] = texts["patient_name"].rstrip("=")  # empty groups of components
    texts["sop_class_uid"] = texts["sop_class_uid"] or meta.sop_class  # a DICOMDIR's is there only
    return DicomFacts(
        **texts,
        rows=header.short(_ROWS),
        columns=header.short(_COLUMNS),
        number_of_frames=header.frames,
        transfer_syntax_uid=meta.transfer_syntax,
        image_type=values_of(values.get(_IMAGE_TYPE, b"").upper()),
        instance_number=integer_of(values.get(_INSTANCE_NUMBER, b"")),
        images_in_acquisition=count_of(values.get(_IN_ACQUISITION, b"")),
        number_of_series_related_instances=count_of(values.get(_IN_SERIES, b"")),
        orientation=decimals_of(values.get(_ORIENTATION, b""), count=6),
        position=decimals_of(values.get(_POSITION, b""), count=3),
        pixel_spacing=decimals_of(values.get(_PIXEL_SPACING, b""), count=2),
        bits_allocated=header.short(_BITS),
    )
