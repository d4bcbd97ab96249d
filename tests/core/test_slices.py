"""Which DICOM objects are slices or volumes, and what the others are called."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.slicing import CT, SECONDARY_CAPTURE, a_header
from vpe_watcher.core.series import is_ct_like, is_volume_by_itself, why_not_a_volume

STORAGE = "1.2.840.10008.5.1.4.1.1."
NO_IMAGE: dict[str, Any] = {"rows": 0, "columns": 0}
PLACED: dict[str, Any] = {"position": (0.0, 0.0, 0.0)}


@pytest.mark.parametrize(
    ("sop_class_uid", "modality"),
    [
        (CT, "CT"),
        (CT, ""),
        (STORAGE + "2.1", "CT"),
        (STORAGE + "2.2", "CT"),
        (STORAGE + "13.1.1", "XA"),
        (STORAGE + "13.1.2", "DX"),
        ("", "CT"),
        ("", " ct "),
        ("1.3.46.670589.2.5.1.1", "CT"),
    ],
)
def test_ct_and_cone_beam_are_ct_like(sop_class_uid: str, modality: str) -> None:
    """By SOP class whatever Modality says, and by Modality where the class is unknown."""
    header = a_header(sop_class_uid=sop_class_uid, modality=modality)
    assert is_ct_like(header)
    assert why_not_a_volume(header) == ""


@pytest.mark.parametrize(
    ("sop_class_uid", "modality", "reason"),
    [
        ("1.2.840.10008.1.3.10", "", "a DICOMDIR"),
        (STORAGE + "88.11", "SR", "a DICOM report"),
        (STORAGE + "88.59", "KO", "a key object selection"),
        (STORAGE + "88.67", "CT", "a DICOM report"),
        (STORAGE + "104.1", "DOC", "an encapsulated PDF"),
        (STORAGE + "104.3", "M3D", "an encapsulated mesh"),
        (STORAGE + "11.1", "PR", "a presentation state"),
        (STORAGE + "481.3", "RTSTRUCT", "an RT structure set"),
        (STORAGE + "481.5", "RTPLAN", "an RT plan"),
        (STORAGE + "481.2", "RTDOSE", "an RT dose"),
        (STORAGE + "481.4", "RTRECORD", "an RT object"),
        (STORAGE + "66", "CT", "raw data"),
        (STORAGE + "66.4", "SEG", "a segmentation"),
        (STORAGE + "4", "MR", "an MR image"),
        (STORAGE + "4.1", "MR", "an MR image"),
        (STORAGE + "1", "CR", "a plain X-ray"),
        (STORAGE + "1.1", "DX", "a plain X-ray"),
        (STORAGE + "1.1", "PX", "a panoramic X-ray"),
        (STORAGE + "1", "PX", "a panoramic X-ray"),
        (STORAGE + "1.1.3", "IO", "an intra-oral X-ray"),
        (STORAGE + "1.1.2", "MG", "a mammogram"),
        (SECONDARY_CAPTURE, "OT", "a secondary capture"),
        (SECONDARY_CAPTURE, "CT", "a secondary capture"),
        (SECONDARY_CAPTURE, "PX", "a panoramic X-ray"),
        (STORAGE + "7.4", "ES", "a secondary capture"),
        (STORAGE + "77.1.4", "XC", "a photograph, film or microscope image"),
        (STORAGE + "20", "NM", "a nuclear medicine image"),
        (STORAGE + "128", "PT", "a PET image"),
        ("", "PX", "a panoramic X-ray"),
        ("", "US", "an ultrasound image"),
        ("", "", "an image of unknown kind"),
        ("9.9", "ZZ", "an image of unknown kind"),
    ],
)
def test_what_is_no_volume_is_named(sop_class_uid: str, modality: str, reason: str) -> None:
    """The SOP class first, then Modality, in words for the manifest."""
    header = a_header(sop_class_uid=sop_class_uid, modality=modality)
    assert why_not_a_volume(header) == reason
    assert not is_ct_like(header)
    assert not is_volume_by_itself(header)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "a scout view (localizer)"),
        ({"image_type": ("ORIGINAL", "PRIMARY", " localizer ")}, "a scout view (localizer)"),
        ({"image_type": ("LOCALIZER",), "sop_class_uid": ""}, "a scout view (localizer)"),
        (NO_IMAGE, "a CT object without an image"),
        ({"rows": 0}, "a CT object without an image"),
        (NO_IMAGE | {"sop_class_uid": "", "modality": ""}, "a DICOM object without an image"),
    ],
)
def test_ct_that_is_no_slice(changes: dict[str, Any], reason: str) -> None:
    """Scouts and CT objects without pixels say so."""
    assert why_not_a_volume(a_header(**changes)) == reason
    assert not is_volume_by_itself(a_header(number_of_frames=9, **changes))


def test_a_secondary_capture_with_a_place_in_the_patient_is_a_slice() -> None:
    """Some cone beam machines export their slices so; a screen shot has no position."""
    placed = a_header(sop_class_uid=SECONDARY_CAPTURE, **PLACED)
    assert is_ct_like(placed)
    assert not is_ct_like(a_header(sop_class_uid=SECONDARY_CAPTURE, modality="OT", **PLACED))
    assert not is_ct_like(a_header(sop_class_uid=SECONDARY_CAPTURE, orientation=(), **PLACED))


@pytest.mark.parametrize(
    ("sop_class_uid", "modality", "expected"),
    [
        (CT, "CT", True),
        (STORAGE + "2.1", "CT", True),
        (STORAGE + "13.1.1", "XA", True),
        (STORAGE + "13.1.2", "DX", True),
        ("", "", True),
        ("", "OT", True),
        ("9.9", "", True),
        (STORAGE + "7.2", "OT", True),
        (STORAGE + "7.3", "OT", True),
        (STORAGE + "7.3", "CT", True),
        (STORAGE + "7.3", "ES", False),
        (STORAGE + "7.4", "OT", False),
        (STORAGE + "7.1", "OT", False),
        (STORAGE + "3.1", "US", False),
        (STORAGE + "12.1", "XA", False),
        (STORAGE + "12.2", "RF", False),
        (STORAGE + "13.1.3", "MG", False),
        (STORAGE + "77.1.1.1", "ES", False),
        (STORAGE + "77.1.4.1", "XC", False),
        (STORAGE + "77.1.5.4", "OPT", False),
        (STORAGE + "4.1", "MR", False),
        (STORAGE + "20", "NM", False),
        (STORAGE + "66.4", "SEG", False),
        (STORAGE + "481.2", "RTDOSE", False),
        ("", "US", False),
        ("", "PX", False),
    ],
)
def test_which_multi_frame_files_are_volumes(
    sop_class_uid: str, modality: str, *, expected: bool
) -> None:
    """CT-like or unknown is a volume; films, photographs and other modalities are not."""
    header = a_header(sop_class_uid=sop_class_uid, modality=modality, number_of_frames=200)
    assert is_volume_by_itself(header) is expected


@pytest.mark.parametrize("frames", [0, 1])
def test_one_frame_is_no_volume(frames: int) -> None:
    """A single slice waits for the others."""
    assert not is_volume_by_itself(a_header(number_of_frames=frames))


def test_frames_of_unknown_kind_without_an_image_are_no_volume() -> None:
    """A count of frames alone does not make pixels."""
    nothing = a_header(sop_class_uid="", modality="", number_of_frames=9, **NO_IMAGE)
    assert not is_volume_by_itself(nothing)
