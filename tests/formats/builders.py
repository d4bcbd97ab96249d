"""Small valid files of every kind, written with nothing of the code under test."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import struct
import zipfile
import zlib
from functools import cache
from typing import Any
from unittest import mock

from vpe_watcher.core.model import Verdict
from vpe_watcher.formats import examine

SHAPE = (5, 4, 3)
VOXELS = bytes(range(1, 121))  # 5 x 4 x 3 voxels of 16 bits, none of them zero


def judge(data: bytes, extension: str, **options: Any) -> Verdict:
    """Examine bytes as a file of that extension."""
    return examine(io.BytesIO(data), extension=extension, size=len(data), **options)


def nifti_1(order: str = "<", magic: bytes = b"n+1\0", offset: float = 352.0) -> bytes:
    """Return a NIfTI-1 volume of 16-bit voxels."""
    head = bytearray(352)
    struct.pack_into(f"{order}i", head, 0, 348)
    struct.pack_into(f"{order}8h", head, 40, 3, *SHAPE, 1, 1, 1, 1)
    struct.pack_into(f"{order}2h", head, 70, 4, 16)
    struct.pack_into(f"{order}f", head, 108, offset)
    head[344:348] = magic
    return bytes(head) + VOXELS


def nifti_2(order: str = "<") -> bytes:
    """Return a NIfTI-2 volume of 16-bit voxels."""
    head = bytearray(544)
    struct.pack_into(
        f"{order}i8s2h8q", head, 0, 540, b"n+2\0\r\n\x1a\n", 4, 16, 3, *SHAPE, *[1] * 4
    )
    struct.pack_into(f"{order}q", head, 168, 544)
    return bytes(head) + VOXELS


def nrrd(encoding: str = "raw", data: bytes = VOXELS, extra: str = "") -> bytes:
    """Return an attached NRRD volume of 16-bit voxels; `data` as they are encoded."""
    sizes = " ".join(str(n) for n in SHAPE)
    head = f"NRRD0004\n# a comment\ntype: int16\ndimension: 3\nsizes: {sizes}\n"
    return f"{head}encoding: {encoding}\n{extra}\n".encode() + data


def vti(body: str = "", root: str = "", appended: bytes = b"", encoding: str = "raw") -> bytes:
    """Return VTK image data, with appended data if there are any."""
    head = f'<?xml version="1.0"?>\n<VTKFile type="ImageData" version="1.0" {root}>\n'
    head += '<ImageData WholeExtent="0 4 0 3 0 2"><Piece Extent="0 4 0 3 0 2"><PointData>\n'
    tail = b"</VTKFile>\n"
    if appended:
        tail = f'<AppendedData encoding="{encoding}">\n_'.encode() + appended
        tail += b"\n</AppendedData>\n</VTKFile>\n"
    return f"{head}{body}\n</PointData></Piece></ImageData>\n".encode() + tail


def vti_raw(length: int = len(VOXELS)) -> bytes:
    """Return VTK image data with one raw array, said to be `length` bytes long."""
    array = '<DataArray type="Int16" Name="a" format="appended" offset="0"/>'
    return vti(array, 'header_type="UInt64"', struct.pack("<Q", length) + VOXELS)


def vti_base64() -> bytes:
    """Return VTK image data with one array in base64."""
    array = '<DataArray type="Int16" Name="a" format="appended" offset="0"/>'
    text = base64.b64encode(struct.pack("<I", len(VOXELS)) + VOXELS)
    return vti(array, "", text, encoding="base64")


def vti_compressed(missing: int = 0) -> bytes:
    """Return VTK image data with one array in two compressed pieces, the last `missing` short."""
    array = '<DataArray type="Int16" Name="a" format="appended" offset="0"/>'
    pieces = [zlib.compress(VOXELS[:60]), zlib.compress(VOXELS[60:])]
    head = struct.pack("<5I", 2, 60, 60, *[len(piece) for piece in pieces])
    data = head + b"".join(pieces)
    return vti(array, 'compressor="vtkZLibDataCompressor"', data[: len(data) - missing])


_BASE64 = base64.b64encode(struct.pack("<I", len(VOXELS)) + VOXELS).decode()


def stl(triangles: int = 4, header: bytes = b"solid made by a scanner") -> bytes:
    """Return a binary STL mesh."""
    triangle = struct.pack("<12fH", *[float(n) for n in range(12)], 0)
    return header.ljust(80, b"\0") + struct.pack("<I", triangles) + triangle * triangles


STL_ASCII = b"solid a\nfacet normal 0 0 1\nouter loop\nendloop\nendfacet\nendsolid a\n"
OBJ = b"# a mesh\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
PLY_HEADER = (
    "ply\nformat {form} 1.0\ncomment jaw\nelement vertex 3\nproperty float x\nproperty float y\n"
    "property float z\nproperty uchar red\nelement face 2\n"
    "property list uchar int vertex_indices\nend_header\n"
)


def ply(order: str = "<") -> bytes:
    """Return a binary PLY mesh: three points, a triangle and a quad."""
    form = "binary_little_endian" if order == "<" else "binary_big_endian"
    points = struct.pack(f"{order}3fB", 1.0, 2.0, 3.0, 9) * 3
    faces = struct.pack(f"{order}B3iB4i", 3, 0, 1, 2, 4, 0, 1, 2, 1)
    return PLY_HEADER.format(form=form).encode() + points + faces


def ply_ascii() -> bytes:
    """Return the same mesh as text."""
    rows = "1 2 3 9\n4 5 6 9\n7 8 9 9\n3 0 1 2\n4 0 1 2 1\n"
    return (PLY_HEADER.format(form="ascii") + rows).encode()


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return buffer.getvalue()


class _Unseekable(io.RawIOBase):
    """Makes zipfile write data descriptors and Zip64 records where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += bytes(data)
        return len(data)


def streamed_archive(method: int = zipfile.ZIP_DEFLATED, data: bytes = VOXELS) -> bytes:
    """Return a ZIP archive with data descriptors and Zip64 extra fields."""
    target = _Unseekable()
    with (
        zipfile.ZipFile(target, "w", method) as writer,
        writer.open("a.dcm", "w", force_zip64=True) as member,
    ):
        member.write(data)
    return target.data


def commented_archive(comment: bytes) -> bytes:
    """Return a ZIP archive that ends with a comment."""
    buffer = io.BytesIO(archive({"1.dcm": VOXELS}))
    with zipfile.ZipFile(buffer, "a") as target:
        target.comment = comment
    return buffer.getvalue()


def zip64_archive() -> bytes:
    """Return a ZIP archive whose directory can be found by its Zip64 end record only."""
    plain = archive({"a.dcm": VOXELS}, zipfile.ZIP_STORED)
    end = len(plain) - 22
    count, size, offset = struct.unpack_from("<H2L", plain, end + 10)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    short = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    return plain[:end] + record + locator + short


def dicom(syntax: str = "1.2.840.10008.1.2.1", **changes: Any) -> bytes:
    """Return a two-frame CT image of 4 x 5 pixels, written by pydicom."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2")
    meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    data = Dataset()
    data.file_meta = meta
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, UID("1.2.3.4")
    data.Modality, data.PatientName, data.PatientID = "CT", "Müller^Jürgen", "P-1"
    data.SeriesInstanceUID, data.SeriesNumber = UID("1.2.3"), "7"
    item = Dataset()
    item.PatientID = "not the patient"
    data.ReferencedStudySequence = [item]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns, data.NumberOfFrames = 4, 5, 2
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelData = VOXELS[:80]
    data["PixelData"].VR = "OW"
    for name, value in changes.items():
        setattr(data, name, value)
        if data[name].VR == "SQ":
            lengths = [item.is_undefined_length_sequence_item for item in value]
            data[name].is_undefined_length = any(lengths)
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def encapsulated_dicom() -> bytes:
    """Return a CT image whose two frames are fragments (they only pretend to be JPEG)."""
    from pydicom.encaps import encapsulate

    whole = dicom("1.2.840.10008.1.2.4.70", PixelData=encapsulate([b"\xff\xd8ab", b"\xff\xd8cd"]))
    assert whole.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
    return whole


def zip64_by_zipfile() -> bytes:
    """Return an archive for which zipfile itself writes Zip64 records, as if all were too large."""
    with (
        mock.patch.object(zipfile, "ZIP64_LIMIT", 1),
        mock.patch.object(zipfile, "ZIP_FILECOUNT_LIMIT", 1),
    ):
        return archive({"1.dcm": VOXELS, "2.dcm": VOXELS})


def enhanced_dicom(frames: int = 2) -> bytes:
    """Return an enhanced CT image: the place of each frame in nested sequences without lengths."""
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

    groups = []
    for number in range(frames):
        place, group = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, number]
        group.PlanePositionSequence = [place]
        group["PlanePositionSequence"].is_undefined_length = True
        group.is_undefined_length_sequence_item = True
        groups.append(group)
    return dicom(
        SOPClassUID=UID("1.2.840.10008.5.1.4.1.1.2.1"),
        NumberOfFrames=frames,
        PixelData=VOXELS[:40] * frames,
        PerFrameFunctionalGroupsSequence=groups,
    )


def gzip_member(data: bytes, *, flags: int) -> bytes:
    """Return GZIP data whose header has the optional fields of RFC 1952 that `flags` name."""
    head = b"\x1f\x8b\x08" + bytes([flags]) + struct.pack("<L2B", 0, 0, 255)
    head += struct.pack("<H", 6) + b"AB\x02\0xy" if flags & 4 else b""
    head += b"a scan.nii\0" if flags & 8 else b""
    head += b"a comment\0" if flags & 16 else b""
    head += struct.pack("<H", zlib.crc32(head) & 0xFFFF) if flags & 2 else b""
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(data) + packer.flush()
    return head + body + struct.pack("<2L", zlib.crc32(data), len(data))


@cache
def provable() -> dict[str, tuple[str, bytes]]:
    """Return files that prove themselves complete, and of which every cut is provably short."""
    return {
        "nifti-1": (".nii", nifti_1()),
        "nifti-1 big endian": (".nii", nifti_1(">")),
        "nifti-2": (".nii", nifti_2()),
        "nifti-2 big endian": (".nii", nifti_2(">")),
        "nrrd raw": (".nrrd", nrrd()),
        "nrrd gzip": (".nrrd", nrrd("gzip", gzip.compress(VOXELS))),
        "nrrd bzip2": (".nrrd", nrrd("bzip2", bz2.compress(VOXELS))),
        "vti inline": (".vti", vti('<DataArray format="ascii">1 2 3</DataArray>').rstrip()),
        "vti with a mark": (".vti", b"\xef\xbb\xbf" + vti_raw().rstrip()),
        "vti inline base64": (
            ".vti",
            vti(f'<DataArray format="binary">{_BASE64}</DataArray>').rstrip(),
        ),
        "vti inline compressed": (
            ".vti",
            vti(
                f'<DataArray format="binary">{_BASE64}</DataArray>',
                'compressor="vtkZLibDataCompressor"',
            ).rstrip(),
        ),
        "vti raw": (".vti", vti_raw().rstrip()),
        "vti base64": (".vti", vti_base64().rstrip()),
        "vti compressed": (".vti", vti_compressed().rstrip()),
        "stl": (".stl", stl(header=b"made by a scanner")),
        "ply little endian": (".ply", ply("<")),
        "ply big endian": (".ply", ply(">")),
        "ply with a blank": (".ply", ply("<").replace(b"ply\n", b"ply \t\r\n")),
        "zip": (".zip", archive({"a/": b"", "a/1.dcm": VOXELS, "a/2.dcm": VOXELS * 3})),
        "zip stored": (".zip", archive({"1.dcm": VOXELS}, zipfile.ZIP_STORED)),
        "zip streamed": (".zip", streamed_archive()),
        "zip streamed stored": (".zip", streamed_archive(zipfile.ZIP_STORED)),
        "zip with a comment": (".zip", commented_archive(b"from the scanner")),
        "zip64": (".zip", zip64_archive()),
        "zip64 by zipfile": (".zip", zip64_by_zipfile()),
        "zip in zip": (".zip", archive({"b.zip": zip64_archive()}, zipfile.ZIP_STORED)),
        "nii.gz": (".nii.gz", gzip.compress(nifti_1())),
        "nii.gz of nifti-2": (".nii.gz", gzip.compress(nifti_2())),
        "nii.gz with all fields": (".nii.gz", gzip_member(nifti_1(), flags=30)),
        "nrrd.gz of gzip": (".nrrd.gz", gzip.compress(nrrd("gzip", gzip.compress(VOXELS)))),
        "nrrd.gz": (".nrrd.gz", gzip.compress(nrrd())),
        "vti.gz": (".vti.gz", gzip.compress(vti_raw())),
        "zip.gz": (".zip.gz", gzip.compress(archive({"1.dcm": VOXELS}))),
        "dcm.gz": (".dcm.gz", gzip.compress(dicom())),
    }


@cache
def dicoms() -> dict[str, tuple[str, bytes]]:
    """Return DICOM files that prove themselves; cut between two elements they cannot tell."""
    return {
        "explicit": (".dcm", dicom()),
        "no extension": ("", dicom()),
        "implicit": (".dcm", dicom("1.2.840.10008.1.2")),
        "big endian": (".dcm", dicom("1.2.840.10008.1.2.2")),
        "deflated": (".dcm", dicom("1.2.840.10008.1.2.1.99")),
        "encapsulated": (".dcm", encapsulated_dicom()),
        "enhanced": (".dcm", enhanced_dicom()),
    }
