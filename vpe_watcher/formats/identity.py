"""Whose scan it is: the DICOM header of a file, of a compressed file, or of one in an archive."""

from __future__ import annotations

import io
import itertools
from typing import BinaryIO

from vpe_watcher.formats import archive, compressed
from vpe_watcher.formats.blocks import BLOCK, Judged
from vpe_watcher.formats.dicom_header import DicomFacts, read_facts

MOST_TRIED = 64
LONGEST_HEADER = 8 * BLOCK


def identifiers(file: BinaryIO, extension: str) -> DicomFacts | None:
    """Return the DICOM header of a scan: of the first DICOM member for a `.zip`, else None.

    Only OSError leaves.
    """
    match extension:
        case ".dcm.gz":
            return read_facts(compressed.opened(file, start=0))
        case ".zip":
            return _first_in_archive(file)
        case ".dcm" | "":
            return read_facts(file)
        case _:
            return None


def _first_in_archive(file: BinaryIO) -> DicomFacts | None:
    readable = (m for m in archive.members_of(file) if m.is_readable and m.size)
    for member in itertools.islice(readable, MOST_TRIED):
        facts = _facts_of(file, member)
        if facts is not None and facts.sop_instance_uid:
            return facts
    return None


def _facts_of(file: BinaryIO, member: archive.Member) -> DicomFacts | None:
    """Read at most the first 8 MiB of a member: headers are shorter, and archives may lie."""
    head = io.BytesIO()
    try:
        for block in archive.content(file, member):
            head.write(block[: LONGEST_HEADER - head.tell()])
            if head.tell() >= LONGEST_HEADER:
                break
    except Judged:
        return None
    return read_facts(head)
