"""ZIP archives: end record, directory, bounds and checksums of all members.

Never extracts anything to disk. Members appear in reasons by number: their names may be patients'.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from vpe_watcher.core.model import Proof, Verdict
from vpe_watcher.formats.blocks import (
    Judged,
    blocks,
    cannot_tell,
    complete,
    incomplete,
    read_at,
    read_exactly,
    wrong,
)
from vpe_watcher.formats.compressed import inflate
from vpe_watcher.formats.names import MESH_EXTENSIONS
from vpe_watcher.formats.signature import FIRST_BYTES, not_a

KIND = "a ZIP archive"
MOST_MEMBERS = 100_000
LARGEST_DIRECTORY = 32 << 20
STORED, DEFLATED = 0, 8
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_LONGEST_COMMENT = 0xFFFF
_IS_ENCRYPTED = 0x1
_NAME_IS_UTF8 = 0x800


class Member(NamedTuple):
    """One entry of the directory; `offset` is that of its local header, sizes are in bytes."""

    name: str
    offset: int
    stored_size: int
    size: int
    crc: int
    method: int
    flags: int

    @property
    def is_readable(self) -> bool:
        """Tell whether the content can be decoded here: not encrypted, stored or deflated."""
        return not self.flags & _IS_ENCRYPTED and self.method in (STORED, DEFLATED)


class _Directory(NamedTuple):
    offset: int
    size: int
    entries: int


def prove(file: BinaryIO, size: int, *, check_crc: bool) -> Verdict:
    """Judge a `.zip` file of `size` bytes. Without `check_crc` the bounds are enough."""
    signature = judge_signature(read_at(file, 0, FIRST_BYTES))
    if signature.proof is Proof.WRONG:
        return signature
    try:
        directory = _find_directory(file, size)
        members = sorted(_members(file, directory), key=lambda member: member.offset)
        if not any(not member.name.endswith("/") for member in members):
            return wrong("archive holds no files")
        _check_bounds(file, members, end=directory.offset)
        return _check_contents(file, members) if check_crc else complete()
    except Judged as judged:
        return judged.verdict


def judge_signature(first_bytes: bytes) -> Verdict:
    """Judge the first bytes alone: wrong, or cannot tell."""
    if any(magic.startswith(first_bytes[:4]) for magic in (b"PK\x03\x04", b"PK\x05\x06")):
        return cannot_tell("starts like a ZIP archive")
    return not_a(KIND, first_bytes)


def prove_end(file: BinaryIO, size: int) -> Verdict:
    """Judge a `.zip` file of `size` bytes by its first bytes and its end record alone.

    For archives inside a stream whose checksum vouches for the rest, in one pass forward.
    """
    signature = judge_signature(read_at(file, 0, FIRST_BYTES))
    if signature.proof is Proof.WRONG:
        return signature
    try:
        _find_directory(file, size)
    except Judged as judged:
        return judged.verdict
    return complete()


def members_of(file: BinaryIO) -> list[Member]:
    """Return the files (not the folders) of an archive, in the directory's order; [] if broken."""
    try:
        directory = _find_directory(file, file.seek(0, 2))
        return [m for m in _members(file, directory) if not m.name.endswith("/")]
    except Judged:
        return []


def mesh_members(file: BinaryIO) -> list[str]:
    """Return the names of the meshes in an archive, as its directory lists them; [] if broken."""
    suffixes = tuple(e for e in MESH_EXTENSIONS if e != ".zip")
    names = [member.name for member in members_of(file)]
    return [n for n in names if n.lower().endswith(suffixes) and not _is_litter(n)]


def lists_mesh(file: BinaryIO) -> bool:
    """Tell whether the directory of an archive lists a mesh."""
    return bool(mesh_members(file))


def content(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """Yield the decoded content of a readable member. Raises `Judged` where it is broken."""
    start = _data_offset(file, member)
    if member.method == DEFLATED:
        yield from inflate(file, start=start)
        return
    file.seek(start)
    yield from blocks(file, member.stored_size)


def _is_litter(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith(".")


def _find_directory(file: BinaryIO, size: int) -> _Directory:
    start = max(0, size - _END.size - _LONGEST_COMMENT)
    tail = read_at(file, start, size - start)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if len(tail) - at >= _END.size:
            record = _END.unpack_from(tail, at)
            if at + _END.size + record[7] == len(tail):
                return _read_end(file, start + at, record)
        at = tail.rfind(b"PK\x05\x06", 0, at)
    raise Judged(incomplete("ends before its directory is complete"))


def _read_end(file: BinaryIO, offset: int, record: tuple[int, ...]) -> _Directory:
    _, disk, first_disk, _, entries, size, start, _ = record
    large = _read_end_64(file, offset)
    if large is not None:
        return large
    if disk or first_disk:
        raise Judged(wrong("is one part of a split archive"))
    return _within(_Directory(start, size, entries), end=offset)


def _read_end_64(file: BinaryIO, offset: int) -> _Directory | None:
    if offset < _LOCATOR_64.size:
        return None
    locator = read_at(file, offset - _LOCATOR_64.size, _LOCATOR_64.size)
    if len(locator) < _LOCATOR_64.size or not locator.startswith(b"PK\x06\x07"):
        return None
    _, _, at, _ = _LOCATOR_64.unpack(locator)
    if at > offset:
        raise Judged(incomplete("its directory lies beyond its end"))
    record = _END_64.unpack(_read_record(file, at, _END_64.size))
    if record[0] != b"PK\x06\x06":
        raise Judged(incomplete("its directory is damaged"))
    return _within(_Directory(record[9], record[8], record[7]), end=at)


def _within(directory: _Directory, *, end: int) -> _Directory:
    # Stricter than readers are: a cut archive that ends with a whole one inside it must not pass.
    if directory.offset + directory.size != end:
        raise Judged(incomplete("its directory does not end where its end record begins"))
    if directory.entries > MOST_MEMBERS or directory.size > LARGEST_DIRECTORY:
        raise Judged(cannot_tell("its directory is too large to check"))
    return directory


def _read_record(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return read_exactly(file, length, what="its directory")


def _members(file: BinaryIO, directory: _Directory) -> Iterator[Member]:
    at = directory.offset
    end = directory.offset + directory.size
    for _ in range(directory.entries):
        fields = _ENTRY.unpack(_read_record(file, at, _ENTRY.size))
        if fields[0] != b"PK\x01\x02":
            raise Judged(incomplete("its directory is damaged"))
        name_size, extra_size, comment_size = fields[10:13]
        texts = read_exactly(file, name_size + extra_size, what="its directory")
        yield _member(fields, texts[:name_size], texts[name_size:])
        at += _ENTRY.size + name_size + extra_size + comment_size
    if at != end:
        raise Judged(incomplete("its directory has another length than its end record says"))


def _member(fields: tuple[int, ...], name: bytes, extra: bytes) -> Member:
    flags, method, crc = fields[3], fields[4], fields[7]
    stored_size, size, offset = fields[8], fields[9], fields[16]
    wide = _wide_numbers(extra)
    size = next(wide, size) if size == 0xFFFFFFFF else size
    stored_size = next(wide, stored_size) if stored_size == 0xFFFFFFFF else stored_size
    offset = next(wide, offset) if offset == 0xFFFFFFFF else offset
    text = name.decode("utf-8" if flags & _NAME_IS_UTF8 else "cp437", errors="replace")
    return Member(text, offset, stored_size, size, crc, method, flags)


def _wide_numbers(extra: bytes) -> Iterator[int]:
    """Yield the 64-bit numbers of the Zip64 extra field: only those that do not fit 32 bits."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            body = extra[at + 4 : at + 4 + length]
            yield from (n for (n,) in struct.iter_unpack("<Q", body[: len(body) // 8 * 8]))
            return
        at += 4 + length


def _data_offset(file: BinaryIO, member: Member) -> int:
    file.seek(member.offset)
    fields = _LOCAL.unpack(read_exactly(file, _LOCAL.size, what="a member's header"))
    if fields[0] != b"PK\x03\x04":
        raise Judged(incomplete("a member's header is damaged"))
    return member.offset + _LOCAL.size + int(fields[9]) + int(fields[10])


def _check_bounds(file: BinaryIO, members: list[Member], *, end: int) -> None:
    """Judge members (sorted by offset) that overlap or run into the directory at `end`."""
    limits = [member.offset for member in members[1:]] + [end]
    for number, (member, limit) in enumerate(zip(members, limits, strict=True), start=1):
        if _data_offset(file, member) + member.stored_size > limit:
            raise Judged(incomplete(f"member {number} does not fit between its neighbours"))


def _check_contents(file: BinaryIO, members: list[Member]) -> Verdict:
    unread = 0
    for number, member in enumerate(members, start=1):
        if not member.is_readable:
            unread += 1
            continue
        if not _matches_checksum(file, member):
            return incomplete(f"member {number} of {len(members)} is damaged or not all there")
    if unread:
        return cannot_tell(f"{unread} of {len(members)} members are encrypted or packed unusually")
    return complete()


def _matches_checksum(file: BinaryIO, member: Member) -> bool:
    crc, size = 0, 0
    try:
        for block in content(file, member):
            crc, size = zlib.crc32(block, crc), size + len(block)
            if size > member.size:
                return False
    except Judged:
        return False
    return (crc, size) == (member.crc, member.size)
