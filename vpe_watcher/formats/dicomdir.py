"""DICOMDIR: the list of files that a DICOM medium or export brings along.

Reads what the directory says, record by record; never looks whether the files are there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from vpe_watcher.formats.blocks import (
    Judged,
    cannot_tell,
    incomplete,
    no_pulse,
    read_at,
    with_pulse,
)
from vpe_watcher.formats.dicom_elements import Element, Elements, skim, value_of
from vpe_watcher.formats.dicom_header import MEDIA_STORAGE_DIRECTORY, DataSet, open_data_set
from vpe_watcher.formats.dicom_numbers import values_of
from vpe_watcher.formats.signature import DICOM_PREAMBLE, looks_like_dicom

MOST_RECORDS = 200_000
_RECORDS, _IN_USE, _FILE_ID = 0x00041220, 0x00041410, 0x00041500
_WANTED = (_IN_USE, _FILE_ID)
_NOT_IN_USE = b"\0\0"
_RECORD_WINDOW = 1 << 10


@dataclass(frozen=True, slots=True)
class Directory:
    """The files that a DICOMDIR lists, relative to its folder, with `/` between the parts."""

    files: tuple[str, ...]


def read_dicomdir(file: BinaryIO, *, most_records: int = MOST_RECORDS) -> Directory | None:
    """Return what a DICOMDIR lists, in its order and spelling; None where it is none or broken.

    None, too, where it is cut: a list that is not all there must not pass for a shorter one.
    Records that are marked as not in use count for nothing (PS3.3 F.3.2.2). Only OSError leaves.
    """
    size = file.seek(0, os.SEEK_END)
    file = with_pulse(file, no_pulse)
    try:
        if not looks_like_dicom(read_at(file, 0, DICOM_PREAMBLE + 4)):
            return None
        data_set = open_data_set(file, size)
        if data_set.meta.sop_class != MEDIA_STORAGE_DIRECTORY:
            return None
        return Directory(tuple(_file_ids(data_set, most_records)))
    except Judged:
        return None


def _file_ids(data_set: DataSet, most_records: int) -> Iterator[str]:
    """Yield the referenced file of each record that has one. Raises `Judged` where it is broken."""
    elements = Elements(data_set.file, data_set.size, data_set.encoding)
    for element in elements.from_offset(data_set.start):
        if element.tag == _RECORDS:
            break
    else:
        raise Judged(incomplete("ends before its records"))
    for number, record in enumerate(elements.inside(element)):
        if number == most_records:
            raise Judged(cannot_tell("has too many records"))
        yield from _file_id(data_set, elements, record)


def _file_id(data_set: DataSet, elements: Elements, record: Element) -> Iterator[str]:
    window = read_at(data_set.file, record.start, min(record.length, _RECORD_WINDOW))
    values, _ = skim(window, 0, data_set.encoding, wanted=_WANTED, last=_FILE_ID)
    if _FILE_ID not in values:
        inner = (element for element in elements.inside(record) if element.tag in _WANTED)
        values = {element.tag: value_of(data_set.file, element) for element in inner}
    parts = [part for part in values_of(values.get(_FILE_ID, b"")) if part]
    if parts and values.get(_IN_USE) != _NOT_IN_USE:
        yield "/".join(parts)
