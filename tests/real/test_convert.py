"""The test scans are what they claim to be: a small volume, read back by other eyes."""

from __future__ import annotations

import gzip
import io
import plistlib
import struct
import tarfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pydicom
import pytest

from tests.real.convert import INTERCEPT, WRITERS, Scan, read_inv3


@pytest.fixture(name="scan")
def make_scan() -> Scan:
    """Make a volume whose three sides, spacings and voxels are all different."""
    voxels = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5) * 50 - 1000
    return Scan(voxels, (0.5, 0.75, 1.5))


def test_an_invesalius_project_is_read(scan: Scan, tmp_path: Path) -> None:
    """Shape and spacing come from the property list, voxels from the matrix beside it."""
    main = {
        "matrix": {"filename": "matrix.dat", "shape": [3, 4, 5], "dtype": "int16"},
        "spacing": list(scan.spacing),
    }
    path = tmp_path / "small.inv3"
    with tarfile.open(path, "w:gz") as project:
        for name, body in (
            ("main.plist", plistlib.dumps(main)),
            ("matrix.dat", scan.voxels.tobytes()),
        ):
            member = tarfile.TarInfo(f"folder/{name}")
            member.size = len(body)
            project.addfile(member, io.BytesIO(body))
    found = read_inv3(path)
    assert np.array_equal(found.voxels, scan.voxels)
    assert found.spacing == scan.spacing


def test_the_multiframe_object_holds_volume_and_geometry(scan: Scan, tmp_path: Path) -> None:
    """One file, one frame a slice, spacing and Hounsfield units where Enhanced CT keeps them."""
    path = tmp_path / "scan.dcm"
    WRITERS[".dcm"](scan, path)
    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    frames = dataset.PerFrameFunctionalGroupsSequence
    heights = [frame.PlanePositionSequence[0].ImagePositionPatient[2] for frame in frames]
    assert np.array_equal(dataset.pixel_array.astype(int) + INTERCEPT, scan.voxels)
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.75, 0.5]
    assert shared.PixelValueTransformationSequence[0].RescaleIntercept == INTERCEPT
    assert heights == [0, 1.5, 3]


def test_the_archive_holds_one_object_a_slice(scan: Scan, tmp_path: Path) -> None:
    """The slices are one series, each an instance of its own at its own height."""
    path = tmp_path / "scan.zip"
    WRITERS[".zip"](scan, path)
    with zipfile.ZipFile(path) as archive:
        slices = [pydicom.dcmread(archive.open(name)) for name in sorted(archive.namelist())]
    stack = np.stack([one.pixel_array for one in slices]).astype(int) + INTERCEPT
    assert np.array_equal(stack, scan.voxels)
    assert len({one.SOPInstanceUID for one in slices}) == len(scan.voxels)
    assert len({one.SeriesInstanceUID for one in slices}) == 1
    assert [one.ImagePositionPatient[2] for one in slices] == [0, 1.5, 3]


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_the_nifti_volume_has_its_sizes_and_voxels(
    extension: str, scan: Scan, tmp_path: Path
) -> None:
    """The header's sides and offset lead to exactly the voxels, compressed or not."""
    path = tmp_path / f"scan{extension}"
    WRITERS[extension](scan, path)
    body = path.read_bytes()
    body = gzip.decompress(body) if extension.endswith(".gz") else body
    assert struct.unpack_from("<4h", body, 40) == (3, 5, 4, 3)
    assert struct.unpack_from("<3f", body, 80) == scan.spacing
    assert body[344:348] == b"n+1\0"
    assert body[352:] == scan.voxels.tobytes()


def test_the_nrrd_volume_has_its_sizes_and_voxels(scan: Scan, tmp_path: Path) -> None:
    """An empty line parts the header from the voxels, fastest axis first."""
    path = tmp_path / "scan.nrrd"
    WRITERS[".nrrd"](scan, path)
    header, _, body = path.read_bytes().partition(b"\n\n")
    assert header.startswith(b"NRRD000")
    assert b"sizes: 5 4 3\nspace directions: (0.5,0,0) (0,0.75,0) (0,0,1.5)" in header
    assert body == scan.voxels.tobytes()


def test_the_vti_volume_has_its_sizes_and_voxels(scan: Scan, tmp_path: Path) -> None:
    """The root closes, and behind the underscore stands the length, then the voxels."""
    path = tmp_path / "scan.vti"
    WRITERS[".vti"](scan, path)
    header, _, appended = path.read_bytes().partition(b"\n_")
    (length,) = struct.unpack_from("<Q", appended)
    root = ET.fromstring(header + appended[8 + length :])  # noqa: S314 - made above
    image = root.find("ImageData")
    assert image is not None
    assert image.attrib["WholeExtent"] == "0 4 0 3 0 2"
    assert image.attrib["Spacing"] == "0.5 0.75 1.5"
    assert appended[8 : 8 + length] == scan.voxels.tobytes()
