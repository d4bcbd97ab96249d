"""NRRD volumes: header fields, and whether the data after them are all there."""

from __future__ import annotations

import bz2
import math
import re
from typing import BinaryIO, NamedTuple

from vpe_watcher.core.model import Verdict
from vpe_watcher.formats.blocks import (
    BLOCK,
    Judged,
    cannot_tell,
    compare_sizes,
    complete,
    ends_in_zeros,
    incomplete,
    read_at,
    wrong,
)
from vpe_watcher.formats.compressed import PIECE, gunzip
from vpe_watcher.formats.signature import FIRST_BYTES, not_a

KIND = "an NRRD volume"
MAGIC = b"NRRD000"
LONGEST_HEADER = BLOCK
_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
_BYTES_OF_TYPE = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), 1),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int"), 2),
    **dict.fromkeys(("int16", "int16_t", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "float"), 4),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long"), 8),
    **dict.fromkeys(("signed long long int", "int64", "int64_t", "uint64", "uint64_t"), 8),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "double"), 8),
}


class _Data(NamedTuple):
    start: int
    size: int
    skip: int


def prove(file: BinaryIO, size: int) -> Verdict:
    """Judge a `.nrrd` file of `size` bytes: raw data by their length, packed ones by decoding."""
    head = read_at(file, 0, LONGEST_HEADER)
    if not head.startswith(MAGIC) and not MAGIC.startswith(head):
        return not_a(KIND, head[:FIRST_BYTES])
    end = _END_OF_HEADER.search(head)
    fields = _fields(head[: end.start()] if end else head)
    if _field(fields, "data file"):
        return wrong("header without its data: detached NRRD")
    if end is None:
        return _judge_endless(file, size)
    return _prove_data(file, size, fields=fields, start=end.end())


def _judge_endless(file: BinaryIO, size: int) -> Verdict:
    if size < LONGEST_HEADER or ends_in_zeros(file, size):
        return incomplete("ends inside its header")
    return cannot_tell("its header is too long to read")


def _fields(header: bytes) -> dict[str, str]:
    lines = header.decode("latin-1").splitlines()[1:]
    pairs = (line.split(": ", 1) for line in lines if not line.startswith("#"))
    return {pair[0].strip().lower(): pair[1].strip() for pair in pairs if len(pair) == 2}


def _field(fields: dict[str, str], name: str) -> str:
    return fields.get(name) or fields.get(name.replace(" ", ""), "")


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None


def _demanded(fields: dict[str, str]) -> int | None:
    kind = _field(fields, "type").lower()
    width = _BYTES_OF_TYPE.get(kind)
    if kind == "block":
        width = _number(_field(fields, "block size"))
    sizes = [_number(text) for text in _field(fields, "sizes").split()]
    numbers = [n for n in sizes if n is not None and n > 0]
    if width is None or not numbers or len(numbers) < len(sizes):
        return None
    return math.prod(numbers) * width


def _prove_data(file: BinaryIO, size: int, *, fields: dict[str, str], start: int) -> Verdict:
    demanded = _demanded(fields)
    lines = _number(_field(fields, "line skip") or "0")
    skip = _number(_field(fields, "byte skip") or "0")
    if demanded is None or lines != 0 or skip is None:
        return cannot_tell("its header does not say how long its data are")
    data = _Data(start, demanded, skip)
    match _field(fields, "encoding").lower():
        case "raw":
            return compare_sizes(demanded=start + max(skip, 0) + demanded, size=size)
        case "gzip" | "gz":
            return _prove_gzip(file, data)
        case "bzip2" | "bz2":
            return _prove_bzip2(file, data)
        case encoding:
            return cannot_tell(f"the encoding {encoding!r:.20} cannot prove itself")


def _prove_gzip(file: BinaryIO, data: _Data) -> Verdict:
    try:
        decoded = sum(len(block) for block in gunzip(file, start=data.start))
    except Judged as judged:
        return judged.verdict
    return _compare_decoded(decoded, data)


def _prove_bzip2(file: BinaryIO, data: _Data) -> Verdict:
    file.seek(data.start)
    decoder, decoded = bz2.BZ2Decompressor(), 0
    while piece := file.read(PIECE):
        try:
            while not decoder.eof and (piece or not decoder.needs_input):
                decoded += len(decoder.decompress(piece, BLOCK))
                piece = b""
        except OSError:  # what bz2 calls damage; no file is read here
            return incomplete("its compressed data is damaged")
        if decoder.eof:
            return _compare_decoded(decoded, data)
    return incomplete("ends before its compressed data does")


def _compare_decoded(decoded: int, data: _Data) -> Verdict:
    demanded = data.size + max(data.skip, 0)  # packed data are unpacked first, then skipped
    if decoded < demanded:
        return incomplete(f"{demanded} bytes of data demanded by its header, {decoded} here")
    return complete()
