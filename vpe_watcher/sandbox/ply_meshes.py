"""PLY files: ASCII and both binary orders, with whatever properties stand beside the geometry.

Binary polygons must all have the same number of corners. Never writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}
CORNERS = ("vertex_indices", "vertex_index")


class PlyError(ValueError):
    """A PLY file that cannot be read. The text says why."""


@dataclass(slots=True)
class Element:
    """One element of the header: a property is (name, type, type of its count or nothing)."""

    name: str
    count: int
    properties: list[tuple[str, str, str]] = field(default_factory=list)


def read_ply(content: bytes) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return points (n, 3) and triangles (m, 3)."""
    import numpy as np

    form, elements, offset = _header(content)
    rows: dict[str, dict[str, Any]] = {}
    lines = iter(content[offset:].splitlines())
    for element in elements:
        if form == "ascii":
            rows[element.name] = _ascii_rows(element, lines)
            continue
        table = _table(element, content, offset, ORDERS[form])
        offset += table.nbytes
        rows[element.name] = {name: table[name] for name in table.dtype.names or ()}
    points = np.stack([rows["vertex"][axis] for axis in "xyz"], axis=1).astype(np.float32)
    polygons = next(rows["face"][name] for name in CORNERS if name in rows["face"])
    return points, _fans(np.asarray(polygons, dtype=np.int32))


def _header(content: bytes) -> tuple[str, list[Element], int]:
    end = content.find(b"end_header")
    if not content.startswith(b"ply") or end < 0:
        raise PlyError("this is not a PLY file")
    form, elements = "", list[Element]()
    for line in content[:end].decode("latin-1").splitlines():
        words = line.split()
        match words[:1]:
            case ["format"]:
                form = words[1]
            case ["element"]:
                elements.append(Element(words[1], int(words[2])))
            case ["property"]:
                count_type = TYPES[words[2]] if words[1] == "list" else ""
                elements[-1].properties.append((words[-1], TYPES[words[-2]], count_type))
    return form, elements, content.index(b"\n", end) + 1


def _ascii_rows(element: Element, lines: Any) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {name: [] for name, _, _ in element.properties}
    for _ in range(element.count):
        words = iter(next(lines).split())
        for name, _, count_type in element.properties:
            if count_type:
                rows[name].append([float(next(words)) for _ in range(int(next(words)))])
            else:
                rows[name].append(float(next(words)))
    return rows


def _table(element: Element, content: bytes, offset: int, order: str) -> np.ndarray[Any, Any]:
    """Return the rows of a binary element, its lists being as long as in the first row."""
    import numpy as np

    kind: list[tuple[str, str, tuple[int, ...]]] = []
    place = offset
    for name, value_type, count_type in element.properties:
        length = 1
        if count_type and element.count:
            length = int(np.frombuffer(content, order + count_type, 1, place)[0])
            kind.append((f"count of {name}", order + count_type, ()))
            place += np.dtype(count_type).itemsize
        kind.append((name, order + value_type, (length,) if count_type else ()))
        place += np.dtype(value_type).itemsize * length
    table = np.frombuffer(content, np.dtype(kind), element.count, offset)
    counts = [name for name, _, _ in kind if name.startswith("count of ")]
    if any((table[name] != table[name][0]).any() for name in counts):
        raise PlyError("the polygons of the PLY file differ in their number of corners")
    return table


def _fans(polygons: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    if polygons.ndim != 2 or polygons.shape[1] < 3:
        raise PlyError("the PLY file has no triangles")
    fans = [polygons[:, [0, corner, corner + 1]] for corner in range(1, polygons.shape[1] - 1)]
    return np.concatenate(fans)
