"""Volumes from DICOM: one multi-frame file, or single slices in a ZIP.

Knows where each generation of the standard keeps spacing and rescaling. Never changes a dataset.
"""

from __future__ import annotations

import io
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpe_watcher.sandbox.volumes import Volume
from vpe_watcher.sandbox.workshop import Unreadable

if TYPE_CHECKING:
    from pydicom import Dataset


def read_dicom(path: Path) -> Volume:
    """Read one file with all slices inside."""
    import pydicom

    return _multi_frame(pydicom.dcmread(path, force=True))


def read_dicom_zip(path: Path) -> Volume:
    """Read the largest series of slices in a ZIP; a multi-frame file in it wins."""
    series: dict[str, list[Dataset]] = defaultdict(list)
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            dataset = None if entry.is_dir() else _dataset(archive.read(entry))
            if dataset is None:
                continue
            if int(dataset.get("NumberOfFrames", 1) or 1) > 1:
                return _multi_frame(dataset)
            series[str(dataset.get("SeriesInstanceUID", ""))].append(dataset)
    if not series:
        raise Unreadable("the ZIP holds no DICOM slices")
    return _stacked(max(series.values(), key=len))


def _dataset(content: bytes) -> Dataset | None:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        dataset = pydicom.dcmread(io.BytesIO(content))
    except InvalidDicomError:
        return None
    return dataset if "PixelData" in dataset else None


def _multi_frame(dataset: Dataset) -> Volume:
    voxels = dataset.pixel_array
    if voxels.ndim == 2:
        voxels = voxels[None]
    groups = _frame_groups(dataset)
    rescale = _macro(groups, "PixelValueTransformationSequence") or dataset
    row_mm, column_mm = _in_plane(_macro(groups, "PixelMeasuresSequence") or dataset)
    return Volume(
        voxels,
        (_frame_distance(dataset, groups), row_mm, column_mm),
        float(rescale.get("RescaleSlope", 1) or 1),
        float(rescale.get("RescaleIntercept", 0) or 0),
        is_hounsfield=_is_hounsfield(dataset, rescale),
    )


def _stacked(slices: list[Dataset]) -> Volume:
    import numpy as np

    slices.sort(key=lambda dataset: (_height(dataset), int(dataset.get("InstanceNumber", 0) or 0)))
    first = slices[0]
    gaps = np.diff([_height(dataset) for dataset in slices])
    z_mm = float(np.median(gaps)) if len(gaps) and np.median(gaps) > 0 else _thickness(first)
    rescales = [
        (float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0))
        for dataset in slices
    ]
    images = [dataset.pixel_array for dataset in slices]
    row_mm, column_mm = _in_plane(first)
    is_hounsfield = _is_hounsfield(first, first)
    if len(set(rescales)) > 1:
        images = [
            image.astype(np.float32) * slope + intercept
            for image, (slope, intercept) in zip(images, rescales, strict=True)
        ]
        rescales = [(1.0, 0.0)]
    return Volume(
        np.stack(images), (z_mm, row_mm, column_mm), *rescales[0], is_hounsfield=is_hounsfield
    )


def _frame_groups(dataset: Dataset) -> list[Dataset]:
    """Return the groups that speak of the first frame, the shared ones last."""
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[:1]
    return groups + list(dataset.get("SharedFunctionalGroupsSequence") or [])


def _macro(groups: list[Dataset], keyword: str) -> Any:
    return next((group[keyword][0] for group in groups if group.get(keyword)), None)


def _in_plane(measures: Dataset) -> tuple[float, float]:
    rows, columns = measures.get("PixelSpacing") or (1.0, 1.0)
    return float(rows), float(columns)


def _frame_distance(dataset: Dataset, groups: list[Dataset]) -> float:
    import numpy as np

    frames = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[:2]
    places = [_macro([frame], "PlanePositionSequence") for frame in frames]
    if len(places) == 2 and all(places):
        first, second = (np.asarray(place.ImagePositionPatient, float) for place in places)
        distance = float(np.linalg.norm(second - first))
        if distance:
            return distance
    return _thickness(_macro(groups, "PixelMeasuresSequence") or dataset)


def _thickness(measures: Dataset) -> float:
    between = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness")
    return float(between or 1.0)


def _height(dataset: Dataset) -> float:
    """Return how far along its normal a slice lies, in mm."""
    import numpy as np

    place = dataset.get("ImagePositionPatient")
    axes = dataset.get("ImageOrientationPatient") or (1, 0, 0, 0, 1, 0)
    if not place:
        return 0.0
    normal = np.cross(np.asarray(axes[:3], float), np.asarray(axes[3:], float))
    return float(np.dot(normal, np.asarray(place, float)))


def _is_hounsfield(dataset: Dataset, rescale: Dataset) -> bool:
    return str(dataset.get("Modality")) == "CT" or str(rescale.get("RescaleType")) == "HU"
