"""Small DICOM series as files, written by pydicom: what scanners and PACS drop into an inbox."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SERIES = "1.2.826.0.1.3680043.8.498.7"
PATIENT = "Gruber^Annemarie"
_SIDE = 8


def slice_bytes(number: int, *, series: str = SERIES, seed: int = 0, **tags: Any) -> bytes:
    """Return one CT slice, number `number` of its series, 0.5 mm apart. `tags` by keyword.

    A tag that is None is left out.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = Dataset()
    data.file_meta = meta
    values: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": f"{series}.{number}",
        "SeriesInstanceUID": series,
        "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.1",
        "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.2",
        "Modality": "CT",
        "PatientName": PATIENT,
        "PatientID": "P-4711",
        "SeriesNumber": "2",
        "SeriesDescription": "Jaw",
        "InstanceNumber": str(number),
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [0, 0, number * 0.5],
        "PixelSpacing": [0.5, 0.5],
        "SliceThickness": "0.5",
        "Rows": _SIDE,
        "Columns": _SIDE,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
    }
    for keyword, value in (values | tags).items():
        if value is not None:
            setattr(data, keyword, value)
    data.PixelData = pixels_of(number, seed)
    meta.MediaStorageSOPClassUID = data.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    target = io.BytesIO()
    data.save_as(target, enforce_file_format=True)
    return target.getvalue()


def pixels_of(number: int, seed: int) -> bytes:
    """Return the pixels of a slice, with which its bytes end."""
    return ((number * 37 + seed * 101) % 2000).to_bytes(2, "little") * _SIDE**2


def write_series(
    folder: Path, numbers: Any = range(1, 13), *, name: str = "{:03d}.dcm", **tags: Any
) -> list[Path]:
    """Write slices into a folder, which is made; `name` takes their number."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in numbers:
        path = folder / name.format(number)
        path.write_bytes(slice_bytes(number, **tags))
        paths.append(path)
    return paths
