"""The real head as a scanner sends it: a series of single slices, each its own file.

Owns which UIDs and counts stand in them. Every call makes a series of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.uid import UID, CTImageStorage, generate_uid

from tests.real.convert import INTERCEPT, Scan, dicom_head, read_inv3, stored_voxels
from tests.real.fetch_head_ct import fetch_head_ct

SLICES = 108


@dataclass(frozen=True, slots=True)
class Series:
    """A series on disk: its UID and its files in the order of their instance numbers."""

    uid: str
    files: tuple[Path, ...]

    @property
    def instances(self) -> set[str]:
        """Return the SOP instance UIDs, which are the files' names without `.dcm`."""
        return {path.stem for path in self.files}

    def cut(self, start: int, stop: int) -> Series:
        """Return the part of it from slice `start` to before `stop`."""
        return replace(self, files=self.files[start:stop])


def instances_of(members: dict[str, bytes]) -> list[str]:
    """Return the SOP instance UIDs in an opened ZIP, sorted; what is no DICOM is refused."""
    heads = [
        pydicom.dcmread(BytesIO(body), stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
        for body in members.values()
    ]
    return sorted(str(head.SOPInstanceUID) for head in heads)


@cache
def head_ct() -> Scan:
    """Return the real head; read once."""
    return read_inv3(fetch_head_ct())


def write_series(
    folder: Path, *, number: int = 1, declared_in: str = "", study: UID | None = None
) -> Series:
    """Write the head as a fresh series into `folder`.

    `declared_in` is the keyword of an attribute that tells their number in every header.
    """
    scan = head_ct()
    folder.mkdir(parents=True, exist_ok=True)
    head = _series_head(scan, number=number, study=study or generate_uid())
    if declared_in:
        setattr(head, declared_in, SLICES)
    files = tuple(_write_slice(head, scan, index, folder) for index in range(len(scan.voxels)))
    return Series(str(head.SeriesInstanceUID), files)


def _series_head(scan: Scan, *, number: int, study: UID) -> pydicom.Dataset:
    head = dicom_head(scan, CTImageStorage)
    head.StudyInstanceUID, head.SeriesNumber = study, number
    head.SeriesDescription = f"head {number}"
    head.PixelSpacing = [scan.spacing[1], scan.spacing[0]]
    head.SliceThickness = scan.spacing[2]
    head.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    head.RescaleIntercept, head.RescaleSlope = INTERCEPT, 1
    return head


def _write_slice(head: pydicom.Dataset, scan: Scan, index: int, folder: Path) -> Path:
    head.SOPInstanceUID = head.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    head.InstanceNumber = index + 1
    head.ImagePositionPatient = [0, 0, round(index * scan.spacing[2], 6)]
    head.PixelData = stored_voxels(scan.voxels[index])
    path = folder / f"{head.SOPInstanceUID}.dcm"
    head.save_as(path, enforce_file_format=True)
    return path
