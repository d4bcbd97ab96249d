"""Volumes from VTK image data: appended (raw, base64) and inline (binary, ascii), also zlib.

Reads the first array of one component and nothing else of the file.
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from vpe_watcher.sandbox.volumes import Volume
from vpe_watcher.sandbox.workshop import Unreadable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TYPES = {
    "Int8": "i1",
    "UInt8": "u1",
    "Int16": "i2",
    "UInt16": "u2",
    "Int32": "i4",
    "UInt32": "u4",
    "Float32": "f4",
    "Float64": "f8",
}
COMPRESSOR = "vtkZLibDataCompressor"


def read_vti(path: Path) -> Volume:
    """Read a VTI file."""
    content = path.read_bytes()
    root, appended, is_base64 = _parsed(content)
    image = _child(root, "ImageData")
    array, is_cell = _first_array(image)
    if root.get("compressor", COMPRESSOR) != COMPRESSOR:
        raise Unreadable(f"VTI compressor {root.get('compressor')} is not read")
    ends = [int(value) for value in image.get("WholeExtent", "").split()]
    points = 0 if is_cell else 1
    shape = tuple(ends[axis + 1] - ends[axis] + points for axis in (4, 2, 0))
    x_mm, y_mm, z_mm = (float(value) for value in image.get("Spacing", "1 1 1").split())
    values = _values(root, array, appended, is_base64=is_base64)
    return Volume(values.reshape(shape), (z_mm, y_mm, x_mm))


def _parsed(content: bytes) -> tuple[ET.Element, bytes, bool]:
    """Return the XML without the appended data, that data, and whether it is base64."""
    match = re.search(rb"<AppendedData\b([^>]*)>\s*_", content)
    if match is None:
        return ET.fromstring(content), b"", False  # noqa: S314 - a test bench, own process
    head = content[: match.start()] + b"</VTKFile>"
    end = content.rfind(b"</AppendedData>")
    appended = content[match.end() : end if end >= 0 else len(content)]
    return ET.fromstring(head), appended, b"base64" in match.group(1)  # noqa: S314


def _child(element: ET.Element, name: str) -> ET.Element:
    child = element.find(name)
    if child is None:
        raise Unreadable(f"the VTI file has no {name}")
    return child


def _first_array(image: ET.Element) -> tuple[ET.Element, bool]:
    piece = _child(image, "Piece")
    for name in ("PointData", "CellData"):
        for array in piece.findall(f"{name}/DataArray"):
            if array.get("NumberOfComponents", "1") == "1":
                return array, name == "CellData"
    raise Unreadable("the VTI file holds no scalar array")


def _values(
    root: ET.Element, array: ET.Element, appended: bytes, *, is_base64: bool
) -> NDArray[Any]:
    import numpy as np

    order = ">" if root.get("byte_order") == "BigEndian" else "<"
    kind = np.dtype(order + TYPES[array.get("type", "")])
    if array.get("format") == "ascii":
        return np.array((array.text or "").split(), dtype=kind)
    data = (array.text or "").strip().encode()
    if array.get("format") == "appended":
        data = appended[int(array.get("offset", "0")) :]
    word = np.dtype(order + ("u8" if root.get("header_type") == "UInt64" else "u4"))
    if array.get("format") == "binary" or is_base64:
        data = _decoded(data, word.itemsize, is_packed="compressor" in root.attrib)
    if "compressor" in root.attrib:
        return np.frombuffer(_unpacked(data, word), kind)
    size = int(np.frombuffer(data, word, 1)[0])
    if len(data) < word.itemsize + size:
        raise Unreadable("the VTI data ends early")
    return np.frombuffer(data, kind, size // kind.itemsize, word.itemsize)


def _decoded(text: bytes, word_size: int, *, is_packed: bool) -> bytes:
    """Return one array's bytes of base64 text, in which more arrays may follow.

    The header is encoded on its own with a compressor, and by some writers without one.
    """
    text = b"".join(text.split())
    if is_packed:
        count = _word(text, word_size, 0)
        border = _encoded_size((3 + count) * word_size)
        size = sum(_word(text, word_size, 3 + block) for block in range(count))
    else:
        border = _encoded_size(word_size)
        size = _word(text, word_size, 0)
        if b"=" not in text[:border]:
            return base64.b64decode(text[: _encoded_size(word_size + size)])
    data = text[border : border + _encoded_size(size)]
    return base64.b64decode(text[:border]) + base64.b64decode(data)


def _encoded_size(size: int) -> int:
    return -(-size // 3) * 4


def _word(text: bytes, word_size: int, index: int) -> int:
    start, end = index * word_size, (index + 1) * word_size
    piece = base64.b64decode(text[start // 3 * 4 : _encoded_size(end)])
    return int.from_bytes(piece[start % 3 :][:word_size], "little")


def _unpacked(data: bytes, word: np.dtype[Any]) -> bytes:
    """Inflate blocks: their count, full size and last size come first, then each packed size."""
    order, letter = ">" if word.byteorder == ">" else "<", "Q" if word.itemsize == 8 else "I"
    count = struct.unpack_from(f"{order}{letter}", data)[0]
    sizes = struct.unpack_from(f"{order}{count}{letter}", data, 3 * word.itemsize)
    offset, blocks = (3 + count) * word.itemsize, []
    for size in sizes:
        blocks.append(zlib.decompress(data[offset : offset + size]))
        offset += size
    return b"".join(blocks)
