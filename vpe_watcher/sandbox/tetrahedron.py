"""A fixed small mesh for tests of the daemon that need no numpy. Knows nothing of scans."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

LABEL = "NOT A SEGMENTATION: sandbox iso-surface"
CORNERS = ((0.0, 0.0, 0.0), (10.0, 0.0, 0.0), (0.0, 10.0, 0.0), (0.0, 0.0, 10.0))
FACES = ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3))


def write_tetrahedra(targets: Mapping[str, Path]) -> None:
    """Write the tetrahedron to each target; the keys are `.stl`, `.ply` and `.obj`."""
    writers = {".stl": _stl, ".ply": _ply, ".obj": _obj}
    for extension, path in targets.items():
        path.write_bytes(writers[extension]())


def _stl() -> bytes:
    body = b"".join(
        struct.pack("<12fH", 0, 0, 0, *(value for corner in face for value in CORNERS[corner]), 0)
        for face in FACES
    )
    return LABEL.encode().ljust(80) + struct.pack("<I", len(FACES)) + body


def _ply() -> bytes:
    head = (
        f"ply\nformat binary_little_endian 1.0\ncomment {LABEL}\n"
        f"element vertex {len(CORNERS)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(FACES)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    points = b"".join(struct.pack("<3f", *corner) for corner in CORNERS)
    return head.encode() + points + b"".join(struct.pack("<B3i", 3, *face) for face in FACES)


def _obj() -> bytes:
    points = [f"v {x:g} {y:g} {z:g}" for x, y, z in CORNERS]
    faces = [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in FACES]
    return "\n".join([f"# {LABEL}", *points, *faces, ""]).encode()
