"""Volumes as numpy arrays: NIfTI and NRRD here, DICOM and VTI next door.

Reads as little into memory as the format allows. Never decides what is bone.
"""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpe_watcher.sandbox.workshop import Unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

NIFTI_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
}
NRRD_TYPES = {
    "signed char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "unsigned char": "u1",
    "uint8": "u1",
    "short": "i2",
    "signed short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "unsigned short": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "unsigned int": "u4",
    "uint32": "u4",
    "float": "f4",
    "double": "f8",
}


@dataclass(frozen=True, slots=True)
class Volume:
    """Stored values as (z, y, x), the distance of voxels in mm in that order, and their meaning."""

    voxels: NDArray[Any]
    spacing: tuple[float, float, float]
    slope: float = 1.0
    intercept: float = 0.0
    is_hounsfield: bool = False

    def physical(self, stored: Any) -> float:
        """Return what a stored value means."""
        return float(stored) * self.slope + self.intercept


def read_volume(path: Path, extension: str) -> Volume:
    """Read a volume by its extension (without `.gz`). Many errors may leave: see meshing."""
    from vpe_watcher.sandbox.dicom_volumes import read_dicom, read_dicom_zip
    from vpe_watcher.sandbox.vti_volumes import read_vti

    readers = {
        ".dcm": read_dicom,
        ".zip": read_dicom_zip,
        ".nii": read_nifti,
        ".nrrd": read_nrrd,
        ".vti": read_vti,
    }
    return readers[extension](path)


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI-1 file; of several time points the first."""
    import numpy as np

    with path.open("rb") as file:
        header = file.read(348)
    order = "<" if header[:4] == struct.pack("<i", 348) else ">"
    if struct.unpack_from(f"{order}i", header)[0] != 348 or header[344:347] != b"n+1":
        raise Unreadable("this is not a NIfTI-1 file")
    columns, rows, slices = struct.unpack_from(f"{order}3h", header, 42)
    code = struct.unpack_from(f"{order}h", header, 70)[0]
    x_mm, y_mm, z_mm = struct.unpack_from(f"{order}3f", header, 80)
    offset, slope, intercept = struct.unpack_from(f"{order}3f", header, 108)
    voxels = np.memmap(
        path, f"{order}{NIFTI_TYPES[code]}", "r", int(offset), (slices, rows, columns)
    )
    if not slope:
        slope, intercept = 1.0, 0.0
    return Volume(voxels, (z_mm, y_mm, x_mm), slope, intercept)


def read_nrrd(path: Path) -> Volume:
    """Read an NRRD file with attached data, raw or gzip."""
    import numpy as np

    fields, offset = _nrrd_header(path)
    shape = tuple(int(size) for size in reversed(fields["sizes"].split()))
    order = ">" if fields.get("endian") == "big" else "<"
    kind = np.dtype(order + NRRD_TYPES[fields["type"]])
    spacing = _nrrd_spacing(fields)
    if len(shape) != 3 or "data file" in fields:
        raise Unreadable("only NRRD files of three dimensions with attached data are read")
    if fields["encoding"] == "raw":
        return Volume(np.memmap(path, kind, "r", offset, shape), spacing)
    if fields["encoding"] not in ("gzip", "gz"):
        raise Unreadable(f"NRRD encoding {fields['encoding']} is not read")
    with path.open("rb") as file:
        file.seek(offset)
        content = gzip.GzipFile(fileobj=file).read()
    return Volume(np.frombuffer(content, kind).reshape(shape), spacing)


def _nrrd_header(path: Path) -> tuple[dict[str, str], int]:
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        if not file.readline(200).startswith(b"NRRD"):
            raise Unreadable("this is not an NRRD file")
        while line := file.readline(65536).decode("utf-8", "replace").strip():
            name, colon, value = line.partition(":")
            if colon and not line.startswith("#"):
                fields[name.strip().lower()] = value.lstrip("=").strip()
        return fields, file.tell()


def _nrrd_spacing(fields: dict[str, str]) -> tuple[float, float, float]:
    if "spacings" in fields:
        x_mm, y_mm, z_mm = (float(value) for value in fields["spacings"].split())
        return z_mm, y_mm, x_mm
    vectors = fields["space directions"].replace(" ", "").strip("()").split(")(")
    x_mm, y_mm, z_mm = (
        sum(float(part) ** 2 for part in vector.split(",")) ** 0.5 for vector in vectors
    )
    return z_mm, y_mm, x_mm
