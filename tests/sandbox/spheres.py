"""A ball in every format that a volume can come in, written without the sandbox's readers."""

from __future__ import annotations

import base64
import gzip
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
)

CENTRE = (18.0, 16.0, 20.0)  # mm, as x, y, z
RADIUS = 12.0
SPACING = (0.8, 1.0, 1.5)  # mm, as x, y, z

Voxels = NDArray[np.int16]


def ball() -> Voxels:
    """Return a ball of bone in air whose 300 HU surface has the radius above, as (z, y, x)."""
    z, y, x = np.ogrid[:28, :33, :46]
    squares = [
        (axis * step - middle) ** 2
        for axis, step, middle in zip((x, y, z), SPACING, CENTRE, strict=True)
    ]
    distance = np.sqrt(squares[0] + squares[1] + squares[2])
    return np.clip(300 + (RADIUS - distance) * 200, -1000, 1800).astype("<i2")


def _dataset(voxels: Voxels, **values: Any) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = values.pop("sop_class", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = values["SOPInstanceUID"]
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    common = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "Modality": "CT",
        "SeriesInstanceUID": "1.2.3",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": voxels.shape[-2],
        "Columns": voxels.shape[-1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelSpacing": [SPACING[1], SPACING[0]],
        "RescaleSlope": 2,
        "RescaleIntercept": -1000,
        "PixelData": ((voxels + 1000) // 2).astype("<u2").tobytes(),
    }
    for keyword, value in {**common, **values}.items():
        setattr(dataset, keyword, value)
    return dataset


def _saved(dataset: FileDataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def multi_frame(voxels: Voxels) -> bytes:
    """Return one DICOM file in the old manner: spacing and rescaling at the top."""
    values = {"SOPInstanceUID": "1.2.3.4", "NumberOfFrames": len(voxels)}
    sop_class = MultiFrameTrueColorSecondaryCaptureImageStorage
    return _saved(_dataset(voxels, **values, SpacingBetweenSlices=SPACING[2], sop_class=sop_class))


def slices(voxels: Voxels) -> bytes:
    """Return a ZIP of slices in a folder, in a wrong order, beside what is no DICOM."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("scan/README.txt", "nothing to see")
        for number in sorted(range(len(voxels)), key=lambda number: number * 7 % len(voxels)):
            values = {
                "SOPInstanceUID": f"1.2.3.4.{number + 1}",
                "ImagePositionPatient": [0, 0, -40 + SPACING[2] * number],
                "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
                "SliceThickness": 99,
            }
            archive.writestr(f"scan/{number:03}", _saved(_dataset(voxels[number], **values)))
    return file.getvalue()


def scattered(
    voxels: Voxels, *, seed: int, axes: tuple[float, ...] = (1, 0, 0, 0, 1, 0), **more: Any
) -> dict[str, bytes]:
    """Return slices by name: names and order by chance, numbers from the far end, sizes that lie.

    `axes` says where rows and columns go (ImageOrientationPatient); only positions tell the truth.
    """
    chance = random.Random(seed)
    normal = np.cross(axes[:3], axes[3:])
    found = {}
    for number, image in enumerate(voxels):
        place = np.array([-30.5, 12.25, -250]) + normal * SPACING[2] * number
        values = {
            "SOPInstanceUID": f"1.2.3.4.{chance.randrange(10**9)}",
            "ImagePositionPatient": [f"{value:.6f}" for value in place],
            "ImageOrientationPatient": [f"{value:.10f}" for value in axes],
            "InstanceNumber": len(voxels) - number,
            "SliceThickness": 99,
            "SpacingBetweenSlices": 7,
            **more,
        }
        found[f"{chance.randbytes(4).hex()}/{number % 3}"] = _saved(_dataset(image, **values))
    return dict(chance.sample(sorted(found.items()), len(found)))


def nifti(voxels: Voxels) -> bytes:
    """Return a NIfTI-1 file."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *reversed(voxels.shape), 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<4f", header, 76, 1, *SPACING)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    header[344:348] = b"n+1\0"
    return bytes(header) + voxels.tobytes()


def nrrd(voxels: Voxels, encoding: str = "raw") -> bytes:
    """Return an NRRD file."""
    x, y, z = SPACING
    head = (
        "NRRD0004\n# a comment\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
        f"sizes: {' '.join(map(str, reversed(voxels.shape)))}\n"
        f"space directions: ({x},0,0) (0,{y},0) (0,0,{z})\nendian: little\n"
        f"encoding: {encoding}\nspace origin: (0,0,0)\n\n"
    )
    data = voxels.tobytes()
    return head.encode() + (gzip.compress(data) if encoding == "gzip" else data)


def plain_nrrd(voxels: Voxels) -> bytes:
    """Return an NRRD file of the simplest kind: spacings and gzip."""
    sizes = " ".join(map(str, reversed(voxels.shape)))
    head = (
        f"NRRD0001\ntype: int16\ndimension: 3\nsizes: {sizes}\n"
        f"spacings: {' '.join(map(str, SPACING))}\nendian: little\nencoding: gzip\n\n"
    )
    return head.encode() + gzip.compress(voxels.tobytes())


def _vti(voxels: Voxels, array: str, *, tail: bytes = b"", compressor: str = "") -> bytes:
    extent = " ".join(f"0 {size - 1}" for size in reversed(voxels.shape))
    head = (
        '<?xml version="1.0"?>\n<VTKFile type="ImageData" version="1.0" byte_order="LittleEndian"'
        f' header_type="UInt32"{compressor}>\n<ImageData WholeExtent="{extent}" Origin="0 0 0"'
        f' Spacing="{" ".join(map(str, SPACING))}">\n<Piece Extent="{extent}">\n'
        f'<PointData Scalars="s">\n<DataArray type="Int16" Name="s" {array}</DataArray>\n'
        "</PointData>\n</Piece>\n</ImageData>\n"
    )
    return head.encode() + tail + b"</VTKFile>\n"


def vti_raw(voxels: Voxels) -> bytes:
    """Return a VTI file with appended raw data."""
    data = struct.pack("<I", voxels.nbytes) + voxels.tobytes()
    tail = b'<AppendedData encoding="raw">\n_' + data + b"\n</AppendedData>\n"
    return _vti(voxels, 'format="appended" offset="0">', tail=tail)


def vti_base64(voxels: Voxels) -> bytes:
    """Return a VTI file with appended base64 data, another array behind it."""
    data = base64.b64encode(struct.pack("<I", voxels.nbytes) + voxels.tobytes()) + b"AAAAAA=="
    tail = b'<AppendedData encoding="base64">_' + data + b"</AppendedData>\n"
    return _vti(voxels, 'format="appended" offset="0">', tail=tail)


def vti_inline(voxels: Voxels) -> bytes:
    """Return a VTI file with inline base64, its header encoded on its own."""
    data = base64.b64encode(struct.pack("<I", voxels.nbytes)) + base64.b64encode(voxels.tobytes())
    return _vti(voxels, f'format="binary">\n{data.decode()}\n')


def vti_ascii(voxels: Voxels) -> bytes:
    """Return a VTI file with numbers as text."""
    return _vti(voxels, f'format="ascii">{" ".join(map(str, voxels.ravel().tolist()))}')


def vti_packed(voxels: Voxels) -> bytes:
    """Return a VTI file with inline base64 of zlib blocks."""
    data = voxels.tobytes()
    blocks = [zlib.compress(data[start : start + 32768]) for start in range(0, len(data), 32768)]
    sizes = [len(block) for block in blocks]
    header = struct.pack(f"<{3 + len(sizes)}I", len(sizes), 32768, len(data) % 32768, *sizes)
    text = base64.b64encode(header) + base64.b64encode(b"".join(blocks))
    compressor = ' compressor="vtkZLibDataCompressor"'
    return _vti(voxels, f'format="binary">{text.decode()}', compressor=compressor)


def nrrd_gzip(voxels: Voxels) -> bytes:
    """Return an NRRD file with packed data."""
    return nrrd(voxels, "gzip")


FORMATS: dict[str, tuple[str, Callable[[Voxels], bytes]]] = {
    "multi-frame": (".dcm", multi_frame),
    "slices": (".zip", slices),
    "nifti": (".nii", nifti),
    "nrrd": (".nrrd", nrrd),
    "nrrd-gzip": (".nrrd", nrrd_gzip),
    "nrrd-spacings": (".nrrd", plain_nrrd),
    "vti-raw": (".vti", vti_raw),
    "vti-base64": (".vti", vti_base64),
    "vti-inline": (".vti", vti_inline),
    "vti-ascii": (".vti", vti_ascii),
    "vti-packed": (".vti", vti_packed),
}
