"""NIfTI-1 and NIfTI-2 in one file: does the size fit the header? Reads the header only."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import BinaryIO

from vpe_watcher.core.model import Verdict
from vpe_watcher.formats.blocks import (
    cannot_tell,
    compare_sizes,
    ends_in_zeros,
    incomplete,
    read_at,
    wrong,
)
from vpe_watcher.formats.signature import FIRST_BYTES, not_a

KIND = "a NIfTI volume"
_STARTS = tuple(struct.pack(f"{order}i", size) for order in "<>" for size in (348, 540))


@dataclass(frozen=True, slots=True)
class _Layout:
    header_size: int
    least_offset: int
    magic: tuple[int, int]
    single: bytes
    pair: bytes
    dims: tuple[str, int]
    bitpix: int
    vox_offset: tuple[str, int]


_NIFTI_1 = _Layout(348, 352, (344, 348), b"n+1\0", b"ni1\0", ("8h", 40), 72, ("f", 108))
_NIFTI_2 = _Layout(540, 544, (4, 8), b"n+2\0", b"ni2\0", ("8q", 16), 14, ("q", 168))


def prove(file: BinaryIO, size: int) -> Verdict:
    """Judge a `.nii` file of `size` bytes by dimensions, bits per voxel and data offset."""
    head = read_at(file, 0, max(FIRST_BYTES, _NIFTI_2.header_size))
    order = _byte_order(head)
    if order is None:
        return not_a(KIND, head[:FIRST_BYTES])
    layout = _NIFTI_1 if 348 in struct.unpack(f"{order}i", head[:4].ljust(4, b"\0")) else _NIFTI_2
    if len(head) < 4:
        return incomplete("ends inside its header")
    return _prove_header(file, head, size, order=order, layout=layout)


def _byte_order(head: bytes) -> str | None:
    matching = [start for start in _STARTS if start.startswith(head[:4])]
    if not matching:
        return None
    return "<" if _STARTS.index(matching[0]) < 2 else ">"


def _prove_header(
    file: BinaryIO, head: bytes, size: int, *, order: str, layout: _Layout
) -> Verdict:
    magic = head[slice(*layout.magic)]
    if magic == layout.pair:
        return wrong("is the header of a NIfTI pair: the image is in another file")
    if len(head) < layout.header_size:
        return incomplete("ends inside its header")
    if magic != layout.single:
        return wrong("has the header size of NIfTI, but not its mark (an Analyze 7.5 header?)")
    demanded = _demanded(head, order=order, layout=layout)
    if demanded is not None:
        return compare_sizes(demanded=demanded, size=size)
    if ends_in_zeros(file, size):
        return incomplete("its header holds no usable dimensions, and its end no data")
    return cannot_tell("its header holds no usable dimensions")


def _demanded(head: bytes, *, order: str, layout: _Layout) -> int | None:
    dims = struct.unpack_from(order + layout.dims[0], head, layout.dims[1])
    (bits,) = struct.unpack_from(f"{order}h", head, layout.bitpix)
    (offset,) = struct.unpack_from(order + layout.vox_offset[0], head, layout.vox_offset[1])
    extents = dims[1 : dims[0] + 1] if 1 <= dims[0] <= 7 else ()
    if not extents or min(extents) < 1 or bits < 1 or not math.isfinite(offset) or offset < 0:
        return None
    voxels = (math.prod(extents) * bits + 7) // 8
    start = int(offset) if offset >= layout.header_size else layout.least_offset
    return int(start + voxels)
