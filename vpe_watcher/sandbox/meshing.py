"""From the file that was really uploaded to a mesh that is really its surface.

A volume becomes its iso-surface: at 300 HU where the values look like Hounsfield units, else midway
of their range. Coordinates are mm from the centre of the first voxel, along the volume's own axes;
all structures of a volume get this one surface. A mesh passes through as it is. Nothing here is a
segmentation, and every file that is written says so.
"""

from __future__ import annotations

import gzip
import shutil
import struct
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

from vpe_watcher.sandbox.workshop import Source, Unreadable

if TYPE_CHECKING:
    from vpe_watcher.sandbox.meshes import Faces, Mesh, Points
    from vpe_watcher.sandbox.volumes import Volume

BONE_HU = 300.0
SLAB = 16  # slices marched at once: bounds memory and how long other threads wait
READING_FAULTS = (
    ArithmeticError,
    AttributeError,
    BadZipFile,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    ParseError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def write_surface(source: Source, targets: dict[str, Path]) -> None:
    """Write the surface of a source to each target (extension to path); raise Unreadable.

    Foreign errors of any reader mean the same here: the file is not what it says.
    """
    from vpe_watcher.sandbox.meshes import write_mesh

    try:
        with tempfile.TemporaryDirectory(dir=source.path.parent) as folder:
            mesh = _mesh_of(source, Path(folder))
    except Unreadable:
        raise
    except READING_FAULTS as fault:
        raise Unreadable(f"the {source.extension} input cannot be read ({fault})") from fault
    for extension, path in targets.items():
        write_mesh(mesh, extension, path)


def extract_surface(volume: Volume) -> Mesh:
    """Return the closed iso-surface of a volume in mm; raise Unreadable if it has none."""
    import numpy as np

    from vpe_watcher.sandbox.meshes import Mesh

    level = _level(volume)
    parts = [_march(volume, level, start) for start in range(-1, len(volume.voxels), SLAB)]
    offsets = np.cumsum([0, *(len(points) for points, _ in parts)])
    points = np.concatenate([points for points, _ in parts])
    faces = np.concatenate(
        [faces + offset for (_, faces), offset in zip(parts, offsets[:-1], strict=True)]
    )
    if not len(faces):
        raise Unreadable("the volume has no surface")
    return Mesh(*_welded(points, faces, volume.spacing))


def _mesh_of(source: Source, folder: Path) -> Mesh:
    path, extension = source.path, source.extension
    if extension.endswith(".gz"):
        extension = extension.removesuffix(".gz")
        path = _gunzipped(path, folder / f"unpacked{extension}")
    if not source.is_volume:
        from vpe_watcher.sandbox.meshes import read_mesh

        return read_mesh(path, extension)
    from vpe_watcher.sandbox.volumes import read_volume

    return extract_surface(read_volume(path, extension))


def _gunzipped(path: Path, target: Path) -> Path:
    with gzip.open(path) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)
    return target


def _level(volume: Volume) -> float:
    """Return the iso-value in stored units, kept off whole numbers so that no voxel equals it."""
    import numpy as np

    if volume.slope <= 0:
        raise Unreadable("the rescale slope is not positive")
    low, high = volume.physical(volume.voxels.min()), volume.physical(volume.voxels.max())
    looks_like_hu = low <= -200 and high >= 500
    wanted = BONE_HU if volume.is_hounsfield or looks_like_hu else (low + high) / 2
    if not low < wanted <= high:
        wanted = (low + high) / 2
    if low == high:
        raise Unreadable("every voxel has the same value")
    stored = (wanted - volume.intercept) / volume.slope
    if np.issubdtype(volume.voxels.dtype, np.integer):
        return float(np.ceil(stored) - 0.5)
    return stored


def _march(volume: Volume, level: float, start: int) -> tuple[Points, Faces]:
    """Return points (z, y, x in voxels) and faces of the slices from `start` to the next slab's.

    Slice -1 and the one behind the last are air, and so is a rim around each: the surface closes.
    """
    import mcubes
    import numpy as np

    count, rows, columns = volume.voxels.shape
    end = min(start + SLAB, count)
    air = min(float(volume.voxels.min()), level - 1)
    block = np.full((end - start + 1, rows + 2, columns + 2), air, dtype=np.float32)
    first, last = max(start, 0), min(end + 1, count)
    block[first - start : last - start, 1:-1, 1:-1] = volume.voxels[first:last]
    points, faces = mcubes.marching_cubes(block, level)
    return points + np.array([start, -1, -1]), faces.astype(np.int64)


def _welded(
    points: Points, faces: Faces, spacing: tuple[float, float, float]
) -> tuple[Points, Faces]:
    """Return points in mm as x, y, z, one where slabs met, and faces that look outwards."""
    import numpy as np

    seams = np.flatnonzero(points[:, 0] == np.rint(points[:, 0]))
    _, firsts, twins = np.unique(
        points[seams].astype(np.float32), axis=0, return_index=True, return_inverse=True
    )
    names = np.arange(len(points))
    names[seams] = seams[firsts][twins.reshape(-1)]
    used, renumbered = np.unique(names[faces], return_inverse=True)
    millimetres = (points[used] * spacing)[:, ::-1]
    return millimetres.astype(np.float32), renumbered.reshape(-1, 3)[:, ::-1].astype(np.int32)
