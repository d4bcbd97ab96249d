"""STL and OBJ meshes: the count of a binary STL against its size; the rest cannot tell."""

from __future__ import annotations

import struct
from typing import BinaryIO

from vpe_watcher.core.model import Verdict
from vpe_watcher.formats.blocks import cannot_tell, complete, ends_in_zeros, incomplete, read_at
from vpe_watcher.formats.signature import FIRST_BYTES, describe, looks_like_text, not_a

STL = "an STL mesh"
OBJ = "an OBJ mesh"
_HEADER_SIZE = 84
_TRIANGLE_SIZE = 50
_WORD = b"solid"


def prove_stl(file: BinaryIO, size: int) -> Verdict:
    """Judge an `.stl` file of `size` bytes.

    The count decides before the word `solid` does: many binary files begin with it too.
    """
    first = read_at(file, 0, FIRST_BYTES)
    count = struct.unpack_from("<I", first, 80)[0] if len(first) >= _HEADER_SIZE else 0
    if count and size == _HEADER_SIZE + _TRIANGLE_SIZE * count:
        return complete()
    is_ascii = _is_ascii(first)
    if (is_ascii or count == 0) and ends_in_zeros(file, size):
        return incomplete("ends with zero bytes")
    if is_ascii:
        return cannot_tell("an ASCII STL cannot prove itself")
    words = describe(first)
    # The header of a binary file is free text, so text is a stranger only where it goes on.
    if words and (words != "is text" or size >= _HEADER_SIZE):
        return not_a(STL, first)
    return _judge_binary(count, size)


def _is_ascii(first: bytes) -> bool:
    start = first.lstrip()[: len(_WORD)].lower()
    return looks_like_text(first) and _WORD.startswith(start)


def _judge_binary(count: int, size: int) -> Verdict:
    if size < _HEADER_SIZE:
        return incomplete("ends inside its header")
    if size < _HEADER_SIZE + _TRIANGLE_SIZE * count:
        here = (size - _HEADER_SIZE) // _TRIANGLE_SIZE
        return incomplete(f"{count} triangles declared, {here} here")
    if count == 0:
        # Writers that fill in the count at the end leave zero here until then.
        return cannot_tell("declares no triangles")
    return cannot_tell("is longer than its number of triangles says")


def prove_obj(file: BinaryIO, size: int) -> Verdict:
    """Judge an `.obj` file: text passes, and says nothing about its end but by zeros there."""
    first = read_at(file, 0, FIRST_BYTES)
    # Old exporters write comments in any 8-bit character set, so only control bytes count.
    if describe(first) not in ("is text", ""):
        return not_a(OBJ, first)
    if not looks_like_text(first):
        return not_a(OBJ, first)
    if ends_in_zeros(file, size):
        return incomplete("ends with zero bytes")
    return cannot_tell("an OBJ mesh cannot prove itself")
