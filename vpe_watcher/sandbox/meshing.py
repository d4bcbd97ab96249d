"""From the file that was really uploaded to a mesh that is really its surface.

A volume becomes its iso-surface: at 300 HU where the values look like Hounsfield units, else midway
of their range. It runs half way between the voxels within and those without. Coordinates are mm
from the centre of the first voxel, along the volume's own axes; all structures of a volume get this
one surface. A mesh passes through as it is. Nothing here is a segmentation, and every file that is
written says so.
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
    import numpy as np
    from numpy.typing import NDArray

    from vpe_watcher.sandbox.meshes import Mesh
    from vpe_watcher.sandbox.volumes import Volume

BONE_HU = 300.0
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
    import zmesh

    from vpe_watcher.sandbox.meshes import Mesh

    mask = _mask(volume)
    if not mask.any():
        raise Unreadable("the volume has no surface")
    mesher = zmesh.Mesher(volume.spacing)
    mesher.mesh(mask)
    surface = mesher.get(1)
    points = surface.vertices - np.array(volume.spacing, np.float32)
    # From z, y, x to x, y, z: a mirror, so that the triangles turn to look outwards again.
    return Mesh(points[:, ::-1], surface.faces[:, ::-1].astype(np.int32))


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
    """Return the iso-value in stored units: a voxel of this value is within."""
    if volume.slope <= 0:
        raise Unreadable("the rescale slope is not positive")
    low, high = volume.physical(volume.voxels.min()), volume.physical(volume.voxels.max())
    looks_like_hu = low <= -200 and high >= 500
    wanted = BONE_HU if volume.is_hounsfield or looks_like_hu else (low + high) / 2
    if not low < wanted <= high:
        wanted = (low + high) / 2
    if low == high:
        raise Unreadable("every voxel has the same value")
    return (wanted - volume.intercept) / volume.slope


def _mask(volume: Volume) -> NDArray[np.bool_]:
    """Return which voxels are within, with a rim of air around: the surface closes."""
    import numpy as np

    level = _level(volume)
    mask = np.zeros([length + 2 for length in volume.voxels.shape], np.bool_)
    np.greater_equal(volume.voxels, level, out=mask[1:-1, 1:-1, 1:-1])
    return mask
