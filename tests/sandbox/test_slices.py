"""Single-frame slices in a ZIP become one volume: their positions count, nothing else."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.sandbox import spheres
from vpe_watcher.sandbox.dicom_volumes import read_dicom_zip
from vpe_watcher.sandbox.meshing import write_surface
from vpe_watcher.sandbox.volumes import Volume
from vpe_watcher.sandbox.workshop import Source, Unreadable

VOXELS = spheres.ball()[4:]  # the ball is off the middle: a volume upside down is another one
Z_MM = spheres.SPACING[2]
TILT, TURN = math.radians(12), math.radians(-30)
ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "axial from above": (1, 0, 0, 0, -1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "tilted": (1, 0, 0, 0, math.cos(TILT), math.sin(TILT)),
    "turned": (math.cos(TURN), math.sin(TURN), 0, -math.sin(TURN), math.cos(TURN), 0),
}


def volume_of(folder: Path, *series: dict[str, bytes]) -> Volume:
    """Return what the sandbox reads from a ZIP of files."""
    path = folder / "series.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for files in series:
            for name, content in files.items():
                archive.writestr(name, content)
    return read_dicom_zip(path)


def assert_is(volume: Volume, voxels: spheres.Voxels, z_mm: float = Z_MM) -> None:
    """Check that a volume holds these values in this order, at the distances of the ball."""
    x_mm, y_mm, _ = spheres.SPACING
    assert volume.spacing == pytest.approx((z_mm, y_mm, x_mm))
    # the slices hold every second value only, as their rescale slope has it
    physical = volume.voxels * volume.slope + volume.intercept
    assert physical.shape == voxels.shape
    assert np.abs(physical - voxels).max() <= 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("axes", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_slices_lie_along_their_normal(tmp_path: Path, axes: tuple[float, ...], seed: int) -> None:
    """Whatever their names, order, numbers and thickness, and wherever the patient is turned."""
    assert_is(volume_of(tmp_path, spheres.scattered(VOXELS, seed=seed, axes=axes)), VOXELS)


def test_one_missing_slice_leaves_the_distance(tmp_path: Path) -> None:
    """The distance is that of most neighbours, not that of the ends."""
    files = spheres.scattered(VOXELS, seed=4)
    del files[next(name for name in files if name.endswith("1"))]  # neither the first nor the last
    volume = volume_of(tmp_path, files)
    assert volume.spacing[0] == pytest.approx(Z_MM)
    assert len(volume.voxels) == len(VOXELS) - 1


def test_without_positions_the_numbers_count(tmp_path: Path) -> None:
    """Then the distance is what the slices say of themselves."""
    files = spheres.scattered(VOXELS, seed=5, ImagePositionPatient=None)
    assert_is(volume_of(tmp_path, files), VOXELS[::-1], z_mm=7)


def test_the_largest_series_is_taken(tmp_path: Path) -> None:
    """A scout beside the volume and files of another kind do not disturb."""
    scout = spheres.scattered(VOXELS[:3] * 0, seed=6, SeriesInstanceUID="1.2.4")
    others = {"DICOMDIR": b"\0" * 128 + b"DICM", "report.pdf": b"%PDF-1.4", "empty": b""}
    assert_is(volume_of(tmp_path, scout, others, spheres.scattered(VOXELS, seed=7)), VOXELS)


def doubled(content: bytes) -> bytes:
    """Return the same slice with half the slope and all stored values twice as large."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.PixelData = (dataset.pixel_array * 2).astype("<u2").tobytes()
    dataset.RescaleSlope = 1
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def test_slices_may_rescale_each_in_its_own_way(tmp_path: Path) -> None:
    """What counts is what the values mean, not what is stored."""
    files = spheres.scattered(VOXELS, seed=8)
    mixed = {
        name: doubled(content) if name.endswith("1") else content for name, content in files.items()
    }
    assert_is(volume_of(tmp_path, mixed), VOXELS)


def test_an_empty_rescale_is_none(tmp_path: Path) -> None:
    """Then the stored values are the values."""
    files = spheres.scattered(VOXELS, seed=9, RescaleSlope=None, RescaleIntercept=None)
    assert_is(volume_of(tmp_path, files), (VOXELS + 1000) // 2)


def test_slices_of_different_size_are_no_volume(tmp_path: Path) -> None:
    """They cannot be stacked, and the job fails with a sentence."""
    small = spheres.scattered(VOXELS[:3, :10], seed=10)
    with pytest.raises(ValueError, match="same shape"):
        volume_of(tmp_path, small, spheres.scattered(VOXELS, seed=11))
    source = Source(tmp_path / "series.zip", ".zip", is_volume=True)
    with pytest.raises(Unreadable, match=r"\.zip input cannot be read"):
        write_surface(source, {".stl": tmp_path / "surface.stl"})
