"""The phantom is a valid scan of the promised size, the same every time, and its box is right."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from vpe_watcher.sandbox.meshing import write_surface
from vpe_watcher.sandbox.phantom import Phantom, check_mesh, make_phantom
from vpe_watcher.sandbox.workshop import Source, Unreadable

SMALL = (50, 80, 80)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    """Return a coarse phantom: the whole head in few voxels."""
    path = tmp_path_factory.mktemp("phantom") / "phantom.dcm"
    return make_phantom(path, shape=SMALL, spacing_mm=2.0)


def test_phantom_is_a_complete_dicom_file(phantom: Phantom) -> None:
    """Pixel data is exactly as long as the header demands, and the name is nobody's."""
    dataset = pydicom.dcmread(phantom.path)
    assert str(dataset.PatientName) == "Phantom^Jaw"
    assert dataset.pixel_array.shape == phantom.shape == SMALL
    assert len(dataset.PixelData) == 50 * 80 * 80 * 2
    assert dataset.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert len(dataset.PerFrameFunctionalGroupsSequence) == 50


def test_phantom_holds_what_a_jaw_holds(phantom: Phantom) -> None:
    """Air, soft tissue, bone and enamel are all there, and only a part of it is bone."""
    voxels = pydicom.dcmread(phantom.path).pixel_array
    for hounsfield in (-1000, 40, 500, 2400):
        assert (abs(voxels - hounsfield) < 20).sum() > 20
    assert 0.02 < (voxels > 300).mean() < 0.2


def test_phantom_is_the_same_every_time(phantom: Phantom, tmp_path: Path) -> None:
    """Two phantoms are equal to the byte, their UIDs included."""
    again = make_phantom(tmp_path / "again.dcm", shape=SMALL, spacing_mm=2.0)
    assert again.path.read_bytes() == phantom.path.read_bytes()
    assert again.bone_box_mm == phantom.bone_box_mm


def test_surface_of_the_phantom_fits_its_box(phantom: Phantom, tmp_path: Path) -> None:
    """The mesh's bounding box is the described one, less than a voxel wider on each side."""
    write_surface(Source(phantom.path, ".dcm", is_volume=True), {".stl": tmp_path / "jaw.stl"})
    facts = check_mesh(tmp_path / "jaw.stl")
    assert facts.triangles > 5000
    for corner, expected, sign in zip(
        facts.bounding_box_mm, phantom.bone_box_mm, (-1, 1), strict=True
    ):
        gaps = [(ours - theirs) * sign for ours, theirs in zip(corner, expected, strict=True)]
        assert all(0 <= gap < phantom.spacing_mm for gap in gaps)


def test_check_mesh_refuses_what_is_none(tmp_path: Path) -> None:
    """A file that is no complete binary STL is refused."""
    (tmp_path / "x.stl").write_bytes(b"solid nothing")
    with pytest.raises(Unreadable, match="STL"):
        check_mesh(tmp_path / "x.stl")
