"""PLY meshes: the counts of the header against the rows that follow it."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from vpe_watcher.core.model import Verdict
from vpe_watcher.formats.blocks import (
    Judged,
    blocks,
    cannot_tell,
    complete,
    ends_in_zeros,
    incomplete,
    read_at,
    wrong,
)
from vpe_watcher.formats.signature import FIRST_BYTES, not_a

KIND = "a PLY mesh"
LONGEST_HEADER = 1 << 16
_START = re.compile(rb"ply[ \t]*[\r\n]|p(?:l(?:y[ \t]*)?)?\Z")
_END_OF_HEADER = re.compile(rb"(?:^|[\r\n])end_header[ \t]*(?:\r\n|\n|\r)")
_FORMATS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_SCALARS = {
    "char": "b",
    "uchar": "B",
    "short": "h",
    "ushort": "H",
    "int": "i",
    "uint": "I",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "float": "f",
    "double": "d",
    "float32": "f",
    "float64": "d",
}


@dataclass(frozen=True, slots=True)
class _List:
    """A list property: the letter of its count and the size of an item in bytes."""

    count: str
    item_size: int


@dataclass(frozen=True, slots=True)
class _Element:
    """So many rows; each a sequence of scalars (their size in bytes) and lists."""

    rows: int
    properties: tuple[int | _List, ...]

    @property
    def row_size(self) -> int | None:
        """Return the size of every row in bytes, or None where it varies."""
        if any(isinstance(p, _List) for p in self.properties):
            return None
        return sum(p for p in self.properties if isinstance(p, int))


def prove(file: BinaryIO, size: int) -> Verdict:
    """Judge a `.ply` file of `size` bytes."""
    head = read_at(file, 0, LONGEST_HEADER)
    if not _START.match(head):
        return not_a(KIND, head[:FIRST_BYTES])
    end = _END_OF_HEADER.search(head)
    if end is None:
        is_short = len(head) < LONGEST_HEADER or ends_in_zeros(file, size)
        return incomplete("ends inside its header") if is_short else wrong("its header has no end")
    try:
        order, elements = _parse(head[: end.end()].decode("latin-1"))
        if order is None:
            return cannot_tell("its header names no known format")
        return _prove_rows(file, size, order=order, elements=elements, start=end.end())
    except Judged as judged:
        return judged.verdict


def _parse(header: str) -> tuple[str | None, list[_Element]]:
    order: str | None = None
    elements: list[_Element] = []
    for line in header.splitlines():
        match line.split():
            case ["format", name, *_]:
                order = _FORMATS.get(name)
            case ["element", _, rows]:
                elements.append(_Element(_number(rows), ()))
            case ["property", *words] if elements:
                last = elements.pop()
                elements.append(_Element(last.rows, (*last.properties, _property(words))))
    return order, elements


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise Judged(cannot_tell("its header holds a count that is no number"))
    return int(text)


def _property(words: list[str]) -> int | _List:
    letters = [_SCALARS.get(word, "") for word in words]
    match words:
        case ["list", _, _, _] if letters[1] and letters[1] not in "fd" and letters[2]:
            return _List(letters[1], struct.calcsize(letters[2]))
        case [_, _] if letters[0]:
            return struct.calcsize(letters[0])
    raise Judged(cannot_tell("its header holds a property of an unknown type"))


def _prove_rows(
    file: BinaryIO, size: int, *, order: str, elements: list[_Element], start: int
) -> Verdict:
    file.seek(start)
    if not order:
        return _prove_lines(file, sum(element.rows for element in elements))
    at = start
    for element in elements:
        at += _length(file, element, order=order, at=at, size=size)
        if at > size:
            return incomplete(f"{at} bytes at least demanded by its counts, {size} here")
    # Lists that are zero bytes so far are empty lists: the file ends later than they do.
    return complete() if at == size else cannot_tell("is longer than its counts say")


def _length(file: BinaryIO, element: _Element, *, order: str, at: int, size: int) -> int:
    """Return the length in bytes of all rows, or something that ends beyond `size`."""
    if element.row_size is not None:
        return element.rows * element.row_size
    end = at
    for _ in range(element.rows):
        end = _end_of_row(file, element, order=order, at=end)
        if end > size:
            break
    return end - at


def _end_of_row(file: BinaryIO, element: _Element, *, order: str, at: int) -> int:
    for entry in element.properties:
        if isinstance(entry, int):
            at += entry
            continue
        width = struct.calcsize(entry.count)
        raw = read_at(file, at, width)
        if len(raw) < width:
            raise Judged(incomplete("ends before all its faces are there"))
        (count,) = struct.unpack(order + entry.count, raw)
        if count < 0:
            raise Judged(cannot_tell("a list has a negative length"))
        at += width + count * entry.item_size
    return at


def _prove_lines(file: BinaryIO, demanded: int) -> Verdict:
    """Judge rows of text, one a line; blank lines are none."""
    here, is_row_open = 0, False
    for block in blocks(file):
        for line in block.splitlines(keepends=True):
            is_row_open = is_row_open or bool(line.strip())
            if line.endswith((b"\n", b"\r")):
                here, is_row_open = here + is_row_open, False
    if here >= demanded:
        return complete()
    if here + is_row_open < demanded:
        return incomplete(f"{demanded} rows declared, {here} here")
    return cannot_tell("its last row may be cut")
