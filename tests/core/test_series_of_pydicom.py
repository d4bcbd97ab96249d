"""Real headers: the test files of the pydicom wheel, read with pydicom."""

from __future__ import annotations

import warnings
from pathlib import Path

import pydicom
import pydicom.data
import pytest
from pydicom.dataset import FileDataset

from vpe_watcher.core.series import Series, SliceHeader, gathered, why_not_a_volume

FILES = Path(pydicom.data.__file__).parent / "test_files"
TREES = FILES / "dicomdirtests"


def texts(data: FileDataset, name: str) -> str:
    """Return a text, "" when there is none."""
    return str(data.get(name) or "")


def whole(data: FileDataset, name: str) -> int | None:
    """Return a whole number, None when there is none."""
    text = texts(data, name)
    return int(text) if text.isdigit() else 0 if data.get(name) == 0 else None


def floats(data: FileDataset, name: str) -> tuple[float, ...]:
    """Return decimal strings as numbers."""
    return tuple(float(value) for value in data.get(name) or ())


def header_of(path: Path) -> SliceHeader:
    """Read what a series needs, with another reader than our own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        meta = data.file_meta
        return SliceHeader(
            series_uid=texts(data, "SeriesInstanceUID"),
            sop_instance_uid=texts(data, "SOPInstanceUID"),
            sop_class_uid=texts(data, "SOPClassUID")
            or str(meta.get("MediaStorageSOPClassUID", "")),
            study_uid=texts(data, "StudyInstanceUID"),
            frame_of_reference_uid=texts(data, "FrameOfReferenceUID"),
            series_number=texts(data, "SeriesNumber"),
            series_description=texts(data, "SeriesDescription"),
            modality=texts(data, "Modality"),
            image_type=tuple(data.get("ImageType") or ()),
            rows=whole(data, "Rows") or 0,
            columns=whole(data, "Columns") or 0,
            number_of_frames=whole(data, "NumberOfFrames") or 1,
            bits_allocated=whole(data, "BitsAllocated") or 0,
            instance_number=whole(data, "InstanceNumber"),
            acquisition_number=texts(data, "AcquisitionNumber"),
            images_in_acquisition=whole(data, "ImagesInAcquisition"),
            number_of_series_related_instances=whole(data, "NumberOfSeriesRelatedInstances"),
            orientation=floats(data, "ImageOrientationPatient"),
            position=floats(data, "ImagePositionPatient"),
            pixel_spacing=floats(data, "PixelSpacing"),
            transfer_syntax_uid=str(meta.get("TransferSyntaxUID", "")),
        )


def series_below(folder: Path, *, min_slices: int) -> dict[str, Series]:
    """Gather the extensionless instances of a tree; series by "number description"."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name.isalnum()]
    instances = [path for path in files if path.name not in {"DICOMDIR", "README"}]
    headers = {path.relative_to(folder).as_posix(): header_of(path) for path in instances}
    found = gathered(headers, min_slices=min_slices)
    return {f"{one.number} {one.description}": one for one in found}


def test_a_heart_ct_is_a_volume_of_five() -> None:
    """Slices 6 to 10 of 2.5 mm over two acquisitions, its scouts apart in their own series."""
    series = series_below(TREES / "98892001", min_slices=5)
    assert set(series) == {"4 Scout", "5 SmartScore - Gated 0.5 sec"}
    scouts, heart = series["4 Scout"], series["5 SmartScore - Gated 0.5 sec"]
    assert scouts.refusal == "not a volume: a scout view (localizer)"
    assert (heart.missing, heart.refusal, heart.notes, heart.skipped) == ("", "", (), ())
    assert heart.slices == ("CT5N/2062", "CT5N/2392", "CT5N/2693", "CT5N/3023", "CT5N/3353")


def test_a_heart_ct_without_its_middle_is_not_whole() -> None:
    """The same real slices with one of them gone."""
    headers = {path.name: header_of(path) for path in (TREES / "98892001" / "CT5N").iterdir()}
    del headers["2693"]
    (heart,) = gathered(headers, min_slices=3)
    assert heart.missing == "slice 8 is missing (4 here)"


def test_four_slices_of_a_brain_are_far_from_whole() -> None:
    """Number 18 and 180 to 182: the demonstration tree has no more of them."""
    series = series_below(TREES / "77654033", min_slices=10)
    brain = series.pop("2 Routine Brain")
    assert brain.missing == "slices 19-179 are missing (4 here); 4 here, at least 10 are needed"
    assert brain.refusal == ""
    assert {one.refusal for one in series.values()} == {"not a volume: a plain X-ray"}
    assert len(series) == 3


def test_magnetic_resonance_is_refused() -> None:
    """Pilots, projections and all."""
    series = series_below(TREES / "98892003", min_slices=3)
    assert {one.refusal for one in series.values()} == {"not a volume: an MR image"}
    assert all(not one.missing for one in series.values())


def test_ct_without_pixels_is_refused() -> None:
    """50 extensionless CT instances, none of which has rows and columns."""
    (tiny,) = series_below(TREES / "TINY_ALPHA", min_slices=10).values()
    assert tiny.refusal == "not a volume: a CT object without an image"
    assert [path[-2:] for path in tiny.slices[:3]] == ["00", "01", "02"]
    assert tiny.slices[-1].endswith("IM00001D")
    assert len(tiny.slices) == 50


def test_a_patients_trees_together_account_for_all() -> None:
    """31 instances of three patients: every file once."""
    headers = {
        path.relative_to(TREES).as_posix(): header_of(path)
        for patient in ("77654033", "98892001", "98892003")
        for path in (TREES / patient).rglob("*")
        if path.is_file()
    }
    found = gathered(headers, min_slices=3)
    listed = [path for one in found for path in (*one.slices, *(p for p, _ in one.skipped))]
    assert sorted(listed) == sorted(headers)
    assert len(listed) == 31


@pytest.mark.parametrize("name", ["CT_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_one_slice_waits_for_the_others(name: str) -> None:
    """Single CT images of three scanners; the last with a tilted gantry."""
    (series,) = gathered({name: header_of(FILES / name)}, min_slices=10)
    assert (series.refusal, series.missing) == ("", "1 here, at least 10 are needed")


def test_the_same_image_in_eight_encodings_is_one() -> None:
    """MR_small in eight transfer syntaxes and paddings bears one SOP instance UID."""
    headers = {path.name: header_of(path) for path in FILES.glob("MR_small*.dcm")}
    (series,) = gathered(headers, min_slices=10)
    assert len(headers) == 8
    assert (len(series.slices), len(series.skipped)) == (1, 7)
    assert series.refusal == "not a volume: an MR image"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MR_small.dcm", "an MR image"),
        ("rtplan.dcm", "an RT plan"),
        ("rtstruct.dcm", "an RT structure set"),
        ("rtdose.dcm", "an RT dose"),
        ("test-SR.dcm", "a DICOM report"),
        ("reportsi.dcm", "a DICOM report"),
        ("ExplVR_BigEnd.dcm", "an ultrasound image"),
        ("examples_ybr_color.dcm", "an ultrasound image"),
        ("SC_rgb_rle_2frame.dcm", "a secondary capture"),
        ("image_dfl.dcm", "a secondary capture"),
        ("JPEG2000.dcm", "a secondary capture"),
        ("liver_1frame.dcm", "a segmentation"),
        ("waveform_ecg.dcm", "a waveform"),
        ("dicomdirtests/DICOMDIR", "a DICOMDIR"),
        ("dicomdirtests/98892001/CT2N/6293", "a scout view (localizer)"),
        ("dicomdirtests/77654033/CR1/6154", "a plain X-ray"),
        ("meta_missing_tsyntax.dcm", "a DICOM object without an image"),
    ],
)
def test_what_real_files_are_called(name: str, reason: str) -> None:
    """As the manifest lists them."""
    assert why_not_a_volume(header_of(FILES / name)) == reason
