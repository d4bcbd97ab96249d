"""A DICOM series as one stored ZIP that is never written to disk.

Owns what the ZIP looks like: the names that the caller gives, in the caller's order, one fixed date
and mode. The same parts give the same bytes, and how many is known before any part is opened. Reads
one part at a time and never follows a link.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from vpe_watcher.adapters.engine.sources import (
    SourceFailed,
    carried,
    changed,
    file_blocks,
    open_source,
)
from vpe_watcher.adapters.engine.transport import BLOCK_BYTES
from vpe_watcher.adapters.engine.values import Part

if TYPE_CHECKING:
    from zipstream import ZipStream

LOCAL_RECORD, LOCAL_DATE_AT = b"PK\x03\x04", 10
CENTRAL_RECORD, CENTRAL_DATE_AT = b"PK\x01\x02", 12
FIRST_DATE = b"\x00\x00\x21\x00"
"""Midnight of 1980-01-01 as a ZIP writes it: time, then date."""

PLAIN_END_BYTES = 22
LARGE_END_BYTES = 76
"""What the end of a ZIP takes, and what zip64 adds to it (APPNOTE 4.3.14 to 4.3.16)."""


def zip_size(names_and_sizes: Iterable[tuple[str, int]]) -> int:
    """Return how many bytes the stored ZIP of these parts has; touches no disk.

    Raises ValueError if there is no part, or a name that is unsafe or twice there.
    """
    return _size_of(_planned((name, size, ()) for name, size in names_and_sizes))


class ZippedParts:
    """The bytes of a series' ZIP, to be asked for once; `digests` grows as the parts are read."""

    def __init__(self, parts: tuple[Part, ...], *, modality: str) -> None:
        self.digests: list[str] = []
        self._modality = modality
        self._count = len(parts)
        self._stream = _planned((part.name, part.size, self._read(part)) for part in parts)
        self.size = _size_of(self._stream)

    def blocks(self) -> Generator[bytes, None, None]:
        """Yield the ZIP in blocks of about 1 MiB.

        Raises InputChanged before the last block if a part is not what it was, SourceFailed if it
        cannot be read.
        """
        return _joined(self._records())

    def _records(self) -> Iterator[bytes]:
        for _ in range(self._count):
            entry = self._stream.file()
            yield _dated(next(entry), kind=LOCAL_RECORD, at=LOCAL_DATE_AT)
            yield from entry
        for record in self._stream.footer():
            is_entry = record.startswith(CENTRAL_RECORD)
            yield _dated(record, kind=CENTRAL_RECORD, at=CENTRAL_DATE_AT) if is_entry else record

    def _read(self, part: Part) -> Iterator[bytes]:
        digest = hashlib.sha256()
        with self._opened(part) as file:
            was_linked = os.fstat(file.fileno()).st_nlink > 0
            for block in file_blocks(file, modality=self._modality, size=part.size):
                digest.update(block)
                yield block
            with carried():
                status = os.fstat(file.fileno())
            if status.st_size != part.size or (was_linked and not status.st_nlink):
                raise changed(self._modality)
        self.digests.append(digest.hexdigest())

    def _opened(self, part: Part) -> BinaryIO:
        try:
            return open_source(part.path, modality=self._modality, size=part.size)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise changed(self._modality) from error
        except OSError as error:
            raise SourceFailed(error) from error


def _planned(entries: Iterable[tuple[str, int, Iterable[bytes]]]) -> ZipStream:
    from zipstream import ZipStream

    stream = ZipStream(sized=True)
    names: set[str] = set()
    for name, size, blocks in entries:
        if name in names or not _is_safe(name) or size < 0:
            raise ValueError("a part of a series needs a safe name of its own and a size")
        names.add(name)
        stream.add(iter(blocks), name, size=size)
    if not names:
        raise ValueError("a series without a part is none")
    return stream


def _is_safe(name: str) -> bool:
    """Tell whether a name is kept as it is, and unpacked below the folder where one unpacks."""
    is_plain = "\0" not in name and "\\" not in name
    return is_plain and not {"", ".", ".."} & set(name.split("/"))


def _size_of(stream: ZipStream) -> int:
    size = len(stream)
    if stream.num_queued() != zipfile.ZIP_FILECOUNT_LIMIT:
        return size
    # zipstream-ng 1.9.3 writes the zip64 end from 65,535 files on and counts it from 65,536 on
    _, entries_bytes, directory_bytes = stream._size_prog  # noqa: SLF001
    is_uncounted = size == entries_bytes + directory_bytes + PLAIN_END_BYTES
    return size + LARGE_END_BYTES if is_uncounted else size


def _dated(record: bytes, *, kind: bytes, at: int) -> bytes:
    """Return a record with the one date; zipstream-ng gives what comes from blocks today's."""
    if not record.startswith(kind):
        raise ValueError("zipstream-ng does not give its records one by one")
    return record[:at] + FIRST_DATE + record[at + len(FIRST_DATE) :]


def _joined(records: Iterable[bytes]) -> Generator[bytes, None, None]:
    """Yield the same bytes in blocks of at least 1 MiB: small ones cost a system call each."""
    held: list[bytes] = []
    held_bytes = 0
    for record in records:
        held.append(record)
        held_bytes += len(record)
        if held_bytes >= BLOCK_BYTES:
            yield b"".join(held)
            held.clear()
            held_bytes = 0
    if held:
        yield b"".join(held)
