"""Meshes as points and triangles: written as STL, PLY and OBJ, read from the same three.

Every file that is written says that it is no segmentation. Knows no volume.
"""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from vpe_watcher.sandbox.ply_meshes import PlyError, read_ply
from vpe_watcher.sandbox.tetrahedron import LABEL
from vpe_watcher.sandbox.workshop import Unreadable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Points = NDArray[np.floating[Any]]
    Faces = NDArray[np.integer[Any]]

LINES = 100_000  # lines of an OBJ that are formatted at once


@dataclass(frozen=True, slots=True)
class Mesh:
    """Points in mm (n, 3) and triangles of their numbers (m, 3)."""

    points: Points
    faces: Faces


def write_mesh(mesh: Mesh, extension: str, path: Path) -> None:
    """Write a mesh as `.stl` (binary), `.ply` (binary, little endian) or `.obj`."""
    writers = {".stl": _write_stl, ".ply": _write_ply, ".obj": _write_obj}
    with path.open("wb") as file:
        writers[extension](mesh, file)


def read_mesh(path: Path, extension: str) -> Mesh:
    """Read a mesh by its extension; a ZIP gives the first one in it."""
    if extension == ".zip":
        return _read_zip(path)
    return _read_content(path.read_bytes(), extension)


def stl_triangles(content: bytes) -> NDArray[np.float32]:
    """Return the corners (n, 3, 3) of a binary STL; raise Unreadable if it is cut or none."""
    import numpy as np

    count = int.from_bytes(content[80:84], "little")
    if len(content) < 84 or len(content) != 84 + 50 * count:
        raise Unreadable("this is not a complete binary STL")
    return np.frombuffer(content, _facet(), count, 84)["corners"]


def _facet() -> np.dtype[Any]:
    import numpy as np

    return np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("flags", "<u2")])


def _write_stl(mesh: Mesh, file: BinaryIO) -> None:
    import numpy as np

    facets = np.zeros(len(mesh.faces), _facet())
    corners = facets["corners"]
    corners[:] = mesh.points[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    facets["normal"] = normals / np.where(lengths == 0, 1, lengths)
    file.write(LABEL.encode().ljust(80) + len(facets).to_bytes(4, "little"))
    file.write(facets.tobytes())


def _write_ply(mesh: Mesh, file: BinaryIO) -> None:
    import numpy as np

    head = (
        f"ply\nformat binary_little_endian 1.0\ncomment {LABEL}\n"
        f"element vertex {len(mesh.points)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.zeros(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"] = 3
    faces["corners"] = mesh.faces
    file.write(head.encode())
    file.write(mesh.points.astype("<f4").tobytes())
    file.write(faces.tobytes())


def _write_obj(mesh: Mesh, file: BinaryIO) -> None:
    file.write(f"# {LABEL}\n".encode())
    file.writelines(_formatted(mesh.points, "v %.5f %.5f %.5f\n"))
    file.writelines(_formatted(mesh.faces + 1, "f %d %d %d\n"))


def _formatted(rows: NDArray[Any], line: str) -> Iterator[bytes]:
    for start in range(0, len(rows), LINES):
        part = rows[start : start + LINES]
        yield (line * len(part) % tuple(part.ravel().tolist())).encode()


def _read_zip(path: Path) -> Mesh:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            extension = Path(entry.filename).suffix.lower()
            if extension in (".stl", ".ply", ".obj"):
                return _read_content(archive.read(entry), extension)
    raise Unreadable("the ZIP holds no mesh")


def _read_content(content: bytes, extension: str) -> Mesh:
    try:
        mesh = {".stl": _read_stl, ".ply": _read_ply, ".obj": _read_obj}[extension](content)
    except PlyError as fault:
        raise Unreadable(str(fault)) from fault
    if not len(mesh.faces) or mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.points):
        raise Unreadable("the mesh has no triangles, or some with absent corners")
    return mesh


def _read_stl(content: bytes) -> Mesh:
    import numpy as np

    if content[:5] == b"solid" and b"facet" in content[:1000]:
        lines = [line.split()[1:4] for line in content.splitlines() if b"vertex" in line]
        corners = np.array(lines, dtype=np.float32).reshape(-1, 3)
    else:
        corners = stl_triangles(content).reshape(-1, 3)
    points, numbers = np.unique(corners, axis=0, return_inverse=True)
    return Mesh(points, numbers.reshape(-1, 3).astype(np.int32))


def _read_ply(content: bytes) -> Mesh:
    return Mesh(*read_ply(content))


def _read_obj(content: bytes) -> Mesh:
    import numpy as np

    points, faces = [], []
    for line in content.splitlines():
        if line.startswith(b"v "):
            points.append(line.split()[1:4])
        elif line.startswith(b"f "):
            corners = [_obj_index(word, len(points)) for word in line.split()[1:]]
            faces += [(corners[0], a, b) for a, b in itertools.pairwise(corners[1:])]
    return Mesh(
        np.array(points, dtype=np.float32).reshape(-1, 3),
        np.array(faces, dtype=np.int32).reshape(-1, 3),
    )


def _obj_index(word: bytes, count: int) -> int:
    number = int(word.split(b"/")[0])
    return number - 1 if number > 0 else count + number
