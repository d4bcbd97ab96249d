"""A synthetic jaw: a volume of real cone-beam size that is nobody's, and a look at its mesh.

Teeth, mandible with canals, upper jaw, soft tissue, air; the same bytes every time. Never random,
never a real person's.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpe_watcher.sandbox.meshes import stl_triangles
from vpe_watcher.sandbox.workshop import require_extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Field = NDArray[np.float32]

AIR, SOFT, CANAL, TRABECULAR, CORTICAL, TOOTH, ENAMEL = -1000, 40, 20, 500, 1300, 1500, 2400
BONE_HU = 300
SLICES_AT_ONCE = 10
NAME = "Phantom^Jaw"

Box = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class Phantom:
    """What was written. `shape` is (slices, rows, columns).

    `bone_box_mm` spans the centres of all voxels above 300 HU as (lowest, highest) corner in
    x, y, z; the surface lies less than one voxel outside of it.
    """

    path: Path
    shape: tuple[int, int, int]
    spacing_mm: float
    bone_box_mm: Box


@dataclass(frozen=True, slots=True)
class MeshFacts:
    """What a look at a mesh tells."""

    triangles: int
    bounding_box_mm: Box


@dataclass(frozen=True, slots=True)
class Plan:
    """The jaw seen from above: for each pixel the way along the arch and the distance to it (mm).

    `along` runs from one joint to the other with 0 at the chin, `reach` is where it ends.
    """

    x: Field
    y: Field
    along: Field
    away: Field
    reach: float


def make_phantom(
    path: Path,
    *,
    shape: tuple[int, int, int] = (250, 400, 400),
    spacing_mm: float = 0.4,
) -> Phantom:
    """Write the phantom as one multi-frame DICOM file (explicit little endian) and describe it.

    The head needs 100 mm of height and 160 x 160 mm in the plane: for a small file take a coarser
    spacing with a smaller shape, such as (50, 80, 80) at 2 mm.
    """
    require_extra(("numpy", "pydicom"))
    import numpy as np

    voxels = np.empty(shape, np.int16)
    plan = _plan(shape[1], shape[2], spacing_mm)
    noise = np.random.default_rng(20260101)
    for start in range(0, shape[0], SLICES_AT_ONCE):
        part = voxels[start : start + SLICES_AT_ONCE]
        heights = np.arange(start, start + len(part), dtype=np.float32) * np.float32(spacing_mm)
        for image, height in zip(part, heights, strict=True):
            image[:] = _slice(plan, float(height), spacing_mm)
        part += noise.integers(-15, 16, part.shape, np.int16)
    _write_dicom(path, voxels, spacing_mm)
    return Phantom(path, shape, spacing_mm, _bone_box(voxels, spacing_mm))


def check_mesh(path: Path) -> MeshFacts:
    """Return triangle count and bounding box of a binary STL; raise Unreadable if it is none."""
    corners = stl_triangles(path.read_bytes()).reshape(-1, 3)
    low, high = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return MeshFacts(len(corners) // 3, (tuple(low), tuple(high)))


def _plan(rows: int, columns: int, spacing_mm: float) -> Plan:
    """Measure every pixel against an arch like a horseshoe that opens to the back."""
    import numpy as np

    y, x = np.meshgrid(
        np.arange(rows, dtype=np.float32) * spacing_mm,
        (np.arange(columns, dtype=np.float32) - (columns - 1) / 2) * spacing_mm,
        indexing="ij",
    )
    across = np.linspace(-48, 48, 385)
    arch = np.stack([across, 25 + 78 * np.abs(across / 48) ** 2.3], axis=1)
    steps = np.linalg.norm(np.diff(arch, axis=0), axis=1)
    ways = np.concatenate([[0.0], np.cumsum(steps)])
    ways -= ways[-1] / 2
    away = np.full(x.shape, np.inf, np.float32)
    along = np.zeros(x.shape, np.float32)
    for (arch_x, arch_y), way in zip(arch.astype(np.float32), ways, strict=True):
        distance = (x - arch_x) ** 2 + (y - arch_y) ** 2
        nearer = distance < away
        along[nearer] = way
        np.minimum(away, distance, out=away)
    return Plan(x, y, along, np.sqrt(away), float(ways[-1]))


def _slice(plan: Plan, height: float, voxel: float) -> Field:
    """Return one slice in HU; edges are one voxel wide, as a scanner's are."""
    import numpy as np

    head = 1 - np.sqrt((plan.x / 72) ** 2 + ((plan.y - 80) / 76) ** 2)
    values = np.where(head > 0, np.float32(SOFT), np.float32(AIR))
    for depth, core, rind in _bones(plan, height):
        _lay(values, depth, rind, voxel)
        _lay(values, depth - 2.0, core, voxel)
    _lay(values, _canal(plan, height), CANAL, voxel)
    for depth, is_crown in _teeth(plan, height):
        _lay(values, depth, ENAMEL if is_crown else TOOTH, voxel)
    return values


def _lay(values: Field, depth: Field, hounsfield: int, voxel: float) -> None:
    """Put a material where its depth (mm inside of its surface) is positive, edges blended."""
    import numpy as np

    share = np.clip(depth / voxel + 0.5, 0, 1)
    values += share * (hounsfield - values)


def _bones(plan: Plan, height: float) -> list[tuple[Field, int, int]]:
    """Return depth, core and rind of the mandible (body and rami) and of the upper jaw."""
    import numpy as np

    way = np.abs(plan.along) / plan.reach
    # The body is a rounded bar; its last third rises into a ramus.
    body = 6.5 - np.hypot(plan.away, np.maximum(np.abs(height - 24) - 9, 0))
    ramus = 5.5 - np.hypot(
        plan.away, np.maximum(np.abs(height - 50) - 32, 0) + 60 * np.maximum(0.68 - way, 0)
    )
    upper = 6.0 - np.hypot(
        plan.away + 60 * np.maximum(way - 0.6, 0), np.maximum(np.abs(height - 72) - 7, 0)
    )
    mandible = np.maximum(body, ramus)
    return [(mandible, TRABECULAR, CORTICAL), (upper, TRABECULAR, CORTICAL)]


def _canal(plan: Plan, height: float) -> Field:
    """Return the depth in the canals, one through each half from the ramus to the chin's side."""
    import numpy as np

    way = np.abs(plan.along) / plan.reach
    centre = 19 + 45 * np.maximum(way - 0.6, 0)
    outside = 60 * (np.maximum(0.22 - way, 0) + np.maximum(way - 0.9, 0))
    return np.asarray(1.6 - np.hypot(plan.away, height - centre) - outside, np.float32)


def _teeth(plan: Plan, height: float) -> list[tuple[Field, bool]]:
    """Return the depth in the teeth of the row whose height this is, and whether it is a crown."""
    import numpy as np

    widths = np.array([5.5, 6.0, 7.0, 7.0, 7.0, 10.0, 10.0])
    centres = np.cumsum(widths) - widths / 2
    is_lower = height < 52
    tip, neck = (51.0, 43.0) if is_lower else (53.0, 61.0)
    root = neck - 15 if is_lower else neck + 15
    if not min(root, tip) <= height <= max(root, tip):
        return []
    way = np.abs(plan.along)
    nearest = np.argmin(np.abs(way[..., None] - centres), axis=-1)
    half = (widths * 0.46)[nearest]
    is_crown = (height > neck) == is_lower
    narrowing = 1.0 if is_crown else 1 - 0.7 * abs(height - neck) / 15
    end = tip if is_crown else root
    offset = np.hypot(way - centres[nearest], plan.away)
    depth = np.minimum(half * narrowing - offset, abs(end - height))
    return [(np.asarray(depth, np.float32), is_crown)]


def _bone_box(voxels: NDArray[np.int16], spacing_mm: float) -> Box:
    import numpy as np

    bone = voxels > BONE_HU
    low, high = [], []
    for others in ((0, 1), (0, 2), (1, 2)):
        places = np.flatnonzero(bone.any(axis=others))
        low.append(float(places[0]) * spacing_mm)
        high.append(float(places[-1]) * spacing_mm)
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def _write_dicom(path: Path, voxels: NDArray[np.int16], spacing_mm: float) -> None:
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = _dataset(voxels, spacing_mm)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)


def _dataset(voxels: NDArray[np.int16], spacing_mm: float) -> Any:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, EnhancedCTImageStorage

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(_uid("instance", voxels.shape))
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword, value in {**_identity(voxels), **_image(voxels)}.items():
        setattr(dataset, keyword, value)
    dataset.SharedFunctionalGroupsSequence = [_shared_groups(spacing_mm)]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame_groups(number, spacing_mm) for number in range(len(voxels))
    ]
    dataset.PixelData = voxels.astype("<i2", copy=False).tobytes()
    return dataset


def _uid(role: str, shape: tuple[int, ...]) -> str:
    name = f"vpe-watcher phantom {role} {shape}"
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"


def _identity(voxels: NDArray[np.int16]) -> dict[str, Any]:
    from pydicom.uid import EnhancedCTImageStorage

    return {
        "SOPClassUID": EnhancedCTImageStorage,
        "SOPInstanceUID": _uid("instance", voxels.shape),
        "StudyInstanceUID": _uid("study", voxels.shape),
        "SeriesInstanceUID": _uid("series", voxels.shape),
        "FrameOfReferenceUID": _uid("frame", voxels.shape),
        "PatientName": NAME,
        "PatientID": "PHANTOM",
        "PatientBirthDate": "",
        "PatientSex": "O",
        "StudyID": "1",
        "StudyDate": "20260101",
        "StudyTime": "120000",
        "ContentDate": "20260101",
        "ContentTime": "120000",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "Modality": "CT",
        "Manufacturer": "vpe-watcher",
        "ManufacturerModelName": "synthetic phantom",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "SeriesDescription": "Synthetic jaw phantom, nobody's scan",
        "PatientIdentityRemoved": "YES",
    }


def _image(voxels: NDArray[np.int16]) -> dict[str, Any]:
    frames, rows, columns = voxels.shape
    return {
        "ImageType": ["DERIVED", "PRIMARY", "VOLUME", "NONE"],
        "ContentQualification": "RESEARCH",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "NumberOfFrames": frames,
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
        "PresentationLUTShape": "IDENTITY",
    }


def _shared_groups(spacing_mm: float) -> Any:
    from pydicom import Dataset

    measures, orientation, values, groups = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [spacing_mm, spacing_mm]
    measures.SliceThickness = spacing_mm
    measures.SpacingBetweenSlices = spacing_mm
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    values.RescaleIntercept, values.RescaleSlope, values.RescaleType = 0, 1, "HU"
    groups.PixelMeasuresSequence = [measures]
    groups.PlaneOrientationSequence = [orientation]
    groups.PixelValueTransformationSequence = [values]
    return groups


def _frame_groups(number: int, spacing_mm: float) -> Any:
    from pydicom import Dataset

    place, content, groups = Dataset(), Dataset(), Dataset()
    place.ImagePositionPatient = [0, 0, round(number * spacing_mm, 4)]
    content.StackID = "1"
    content.InStackPositionNumber = number + 1
    content.DimensionIndexValues = [number + 1]
    groups.PlanePositionSequence = [place]
    groups.FrameContentSequence = [content]
    return groups
