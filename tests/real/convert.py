"""Turns a CT volume into every form in which a clinic may hand it over.

Owns the writers of test scans, built on the formats' own descriptions and on pydicom. Never used by
the daemon: what it reads, others wrote.
"""

from __future__ import annotations

import gzip
import plistlib
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

PATIENT = "Synthetic^Head"
INTERCEPT = -1024


@dataclass(frozen=True, slots=True)
class Scan:
    """A volume: `voxels[z, y, x]` as int16 in Hounsfield units, `spacing` (x, y, z) in mm."""

    voxels: npt.NDArray[np.int16]
    spacing: tuple[float, float, float]


def read_inv3(path: Path) -> Scan:
    """Read an InVesalius project: a tar.gz of property lists and one raw matrix."""
    with tarfile.open(path) as project:
        members = {Path(name).name: name for name in project.getnames()}
        main = plistlib.loads(_member(project, members["main.plist"]))
        matrix = main["matrix"]
        raw = _member(project, members[matrix["filename"]])
    voxels = np.frombuffer(raw, "<i2").reshape(matrix["shape"])
    x, y, z = main["spacing"]
    return Scan(voxels, (x, y, z))


def _member(project: tarfile.TarFile, name: str) -> bytes:
    file = project.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file.read()


def write_multiframe_dicom(scan: Scan, path: Path) -> None:
    """Write one Enhanced CT object with a frame for each slice: geometry, no acquisition macros."""
    dataset = dicom_head(scan, EnhancedCTImageStorage)
    dataset.NumberOfFrames = len(scan.voxels)
    dataset.SharedFunctionalGroupsSequence = [_shared_groups(scan)]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame_groups(scan, index) for index in range(len(scan.voxels))
    ]
    dataset.PixelData = stored_voxels(scan.voxels)
    dataset.save_as(path, enforce_file_format=True)


def write_slices_zip(scan: Scan, path: Path) -> None:
    """Write an archive with one single-frame CT object for each slice."""
    head = dicom_head(scan, CTImageStorage)
    head.PixelSpacing = [scan.spacing[1], scan.spacing[0]]
    head.SliceThickness = scan.spacing[2]
    head.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    head.RescaleIntercept, head.RescaleSlope = INTERCEPT, 1
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(len(scan.voxels)):
            archive.writestr(f"head/IM{index + 1:04d}.dcm", _slice(head, scan, index))


def _slice(head: pydicom.Dataset, scan: Scan, index: int) -> bytes:
    head.SOPInstanceUID = head.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    head.InstanceNumber = index + 1
    head.ImagePositionPatient = [0, 0, _height(scan, index)]
    head.PixelData = stored_voxels(scan.voxels[index])
    buffer = BytesIO()
    head.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dicom_head(scan: Scan, sop_class: UID) -> pydicom.Dataset:
    """Return what every DICOM object of the scan says: fresh UIDs, an invented patient."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.FrameOfReferenceUID = generate_uid()
    dataset.PatientName, dataset.PatientID = PATIENT, "SYN-0001"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "20120914", "151208", "A1"
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, 1
    dataset.AcquisitionNumber, dataset.PatientPosition = 1, "HFS"
    dataset.ReferringPhysicianName = dataset.Manufacturer = dataset.PositionReferenceIndicator = ""
    dataset.Modality, dataset.SeriesDescription = "CT", "head"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Rows, dataset.Columns = scan.voxels.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    return dataset


def _shared_groups(scan: Scan) -> pydicom.Dataset:
    measures, orientation = pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing = [scan.spacing[1], scan.spacing[0]]
    measures.SliceThickness = measures.SpacingBetweenSlices = scan.spacing[2]
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    rescale = pydicom.Dataset()
    rescale.RescaleIntercept, rescale.RescaleSlope, rescale.RescaleType = INTERCEPT, 1, "HU"
    groups = pydicom.Dataset()
    groups.PixelMeasuresSequence = [measures]
    groups.PlaneOrientationSequence = [orientation]
    groups.PixelValueTransformationSequence = [rescale]
    return groups


def _frame_groups(scan: Scan, index: int) -> pydicom.Dataset:
    content, position = pydicom.Dataset(), pydicom.Dataset()
    content.StackID, content.InStackPositionNumber = "1", index + 1
    position.ImagePositionPatient = [0, 0, _height(scan, index)]
    groups = pydicom.Dataset()
    groups.FrameContentSequence = [content]
    groups.PlanePositionSequence = [position]
    return groups


def _height(scan: Scan, index: int) -> float:
    return round(index * scan.spacing[2], 6)


def stored_voxels(voxels: npt.NDArray[np.int16]) -> bytes:
    """Return the voxels as scanners store them: unsigned, with the intercept taken off."""
    return (voxels.astype("<i4") - INTERCEPT).clip(0, 65535).astype("<u2").tobytes()


def write_nifti(scan: Scan, path: Path) -> None:
    """Write a single-file NIfTI-1 volume, gzip-compressed if the name ends in `.gz`."""
    depth, height, width = scan.voxels.shape
    x, y, z = scan.spacing
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, width, height, depth, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)  # int16
    struct.pack_into("<8f", header, 76, 1, x, y, z, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, 1, 0)  # data offset, slope, intercept
    header[123] = 2  # millimetres
    struct.pack_into("<2h", header, 252, 0, 1)  # sform: scanner coordinates
    # NIfTI counts to the right and to the front, DICOM to the left and to the back.
    struct.pack_into("<12f", header, 280, -x, 0, 0, 0, 0, -y, 0, 0, 0, 0, z, 0)
    header[344:348] = b"n+1\0"
    body = bytes(header) + scan.voxels.astype("<i2").tobytes()
    path.write_bytes(gzip.compress(body, 1) if path.suffix == ".gz" else body)


def write_nrrd(scan: Scan, path: Path) -> None:
    """Write an NRRD volume with attached raw data."""
    depth, height, width = scan.voxels.shape
    x, y, z = scan.spacing
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
        f"sizes: {width} {height} {depth}\nspace directions: ({x},0,0) (0,{y},0) (0,0,{z})\n"
        f"kinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
    )
    path.write_bytes(header.encode() + scan.voxels.astype("<i2").tobytes())


def write_vti(scan: Scan, path: Path) -> None:
    """Write VTK image data in XML with the voxels appended raw."""
    depth, height, width = scan.voxels.shape
    extent = f"0 {width - 1} 0 {height - 1} 0 {depth - 1}"
    spacing = " ".join(map(str, scan.spacing))
    raw = scan.voxels.astype("<i2").tobytes()
    header = (
        '<?xml version="1.0"?>\n<VTKFile type="ImageData" version="1.0" byte_order="LittleEndian"'
        f' header_type="UInt64">\n<ImageData WholeExtent="{extent}" Origin="0 0 0"'
        f' Spacing="{spacing}">\n<Piece Extent="{extent}">\n<PointData Scalars="hu">\n'
        '<DataArray type="Int16" Name="hu" format="appended" offset="0"/>\n'
        '</PointData>\n</Piece>\n</ImageData>\n<AppendedData encoding="raw">\n_'
    )
    tail = b"\n</AppendedData>\n</VTKFile>\n"
    path.write_bytes(header.encode() + struct.pack("<Q", len(raw)) + raw + tail)


WRITERS: dict[str, Callable[[Scan, Path], None]] = {
    ".dcm": write_multiframe_dicom,
    ".zip": write_slices_zip,
    ".nii": write_nifti,
    ".nii.gz": write_nifti,
    ".nrrd": write_nrrd,
    ".vti": write_vti,
}
