"""What kind of DICOM object a header describes, and whether it can be a slice or a volume.

Judges one header at a time; what headers make together is for `core.series`. Never reads a file.
UIDs are those of DICOM PS3.4, annex B.5 (storage SOP classes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_SECONDARY_CAPTURE = _STORAGE + "7"
_GRAY_CAPTURES = frozenset({_STORAGE + "7.2", _STORAGE + "7.3"})
_CT_CLASSES = frozenset(
    {
        _STORAGE + "2",  # CT Image
        _STORAGE + "2.1",  # Enhanced CT
        _STORAGE + "2.2",  # Legacy Converted Enhanced CT
        _STORAGE + "13.1.1",  # X-Ray 3D Angiographic: cone beam
        _STORAGE + "13.1.2",  # X-Ray 3D Craniofacial: dental cone beam
    }
)
# The longest beginning that fits decides, so that families and their exceptions stand together.
_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "1.2.840.10008.1.3.10": "a DICOMDIR",
        _STORAGE + "1": "a plain X-ray",
        _STORAGE + "1.1.2": "a mammogram",
        _STORAGE + "1.1.3": "an intra-oral X-ray",
        _STORAGE + "3": "an ultrasound image",
        _STORAGE + "4": "an MR image",
        _STORAGE + "4.2": "MR spectra",
        _STORAGE + "5": "a nuclear medicine image",
        _STORAGE + "6": "an ultrasound image",
        _SECONDARY_CAPTURE: "a secondary capture",
        _STORAGE + "9": "a waveform",
        _STORAGE + "11": "a presentation state",
        _STORAGE + "12": "an X-ray film (angiography or fluoroscopy)",
        _STORAGE + "13.1.3": "a mammogram",
        _STORAGE + "13.1.4": "a mammogram",
        _STORAGE + "13.1.5": "a mammogram",
        _STORAGE + "14": "an optical coherence image",
        _STORAGE + "20": "a nuclear medicine image",
        _STORAGE + "30": "a parametric map",
        _STORAGE + "66": "raw data",
        _STORAGE + "66.1": "a spatial registration",
        _STORAGE + "66.2": "fiducials",
        _STORAGE + "66.3": "a spatial registration",
        _STORAGE + "66.4": "a segmentation",
        _STORAGE + "66.5": "a surface segmentation",
        _STORAGE + "66.7": "a segmentation",
        _STORAGE + "68": "a surface scan",
        _STORAGE + "77": "a photograph, film or microscope image",
        _STORAGE + "88": "a DICOM report",
        _STORAGE + "88.59": "a key object selection",
        _STORAGE + "104.1": "an encapsulated PDF",
        _STORAGE + "104.2": "an encapsulated document",
        _STORAGE + "104.3": "an encapsulated mesh",
        _STORAGE + "104.4": "an encapsulated mesh",
        _STORAGE + "104.5": "an encapsulated mesh",
        _STORAGE + "128": "a PET image",
        _STORAGE + "130": "a PET image",
        _STORAGE + "131": "a structured display",
        _STORAGE + "200": "a protocol",
        _STORAGE + "481": "an RT object",
        _STORAGE + "481.1": "an RT image",
        _STORAGE + "481.2": "an RT dose",
        _STORAGE + "481.3": "an RT structure set",
        _STORAGE + "481.5": "an RT plan",
        _STORAGE + "481.8": "an RT plan",
    }
)
# Classes of plain X-rays are shared by panoramics, skull films and bite-wings: Modality knows more.
_VAGUE = frozenset({"a plain X-ray", "a secondary capture"})
_MODALITIES: Mapping[str, str] = MappingProxyType(
    {
        "PX": "a panoramic X-ray",
        "IO": "an intra-oral X-ray",
        "DX": "a plain X-ray",
        "CR": "a plain X-ray",
        "RG": "a plain X-ray",
        "MG": "a mammogram",
        "XA": "an X-ray film (angiography or fluoroscopy)",
        "RF": "an X-ray film (angiography or fluoroscopy)",
        "US": "an ultrasound image",
        "IVUS": "an ultrasound image",
        "MR": "an MR image",
        "PT": "a PET image",
        "NM": "a nuclear medicine image",
        "ES": "an endoscopy",
        "XC": "a photograph",
        "GM": "a microscope image",
        "SM": "a microscope image",
        "OP": "an image of the eye",
        "OPT": "an image of the eye",
        "OCT": "an optical coherence image",
        "IVOCT": "an optical coherence image",
        "SR": "a DICOM report",
        "KO": "a key object selection",
        "PR": "a presentation state",
        "DOC": "an encapsulated document",
        "SEG": "a segmentation",
        "REG": "a spatial registration",
        "ECG": "a waveform",
        "RTSTRUCT": "an RT structure set",
        "RTPLAN": "an RT plan",
        "RTDOSE": "an RT dose",
        "RTIMAGE": "an RT image",
        "M3D": "an encapsulated mesh",
    }
)


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """What a DICOM header says that matters for a series.

    Texts and tuples are empty where it says nothing, numbers None (or 0 where not optional).
    `orientation` is six direction cosines, `position` three and `pixel_spacing` two values in mm.
    """

    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    study_uid: str
    frame_of_reference_uid: str
    series_number: str
    series_description: str
    modality: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    number_of_frames: int
    bits_allocated: int
    instance_number: int | None
    acquisition_number: str
    images_in_acquisition: int | None
    number_of_series_related_instances: int | None
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    pixel_spacing: tuple[float, ...]
    transfer_syntax_uid: str


def is_ct_like(header: SliceHeader) -> bool:
    """Tell whether an object is CT or cone beam CT, a slice or several, and no scout view."""
    return not why_not_a_volume(header)


def why_not_a_volume(header: SliceHeader) -> str:
    """Return in a few words what an object is that is not CT-like; "" when it is.

    The SOP class is asked first, then Modality. A secondary capture is CT-like only when it says
    Modality CT *and* lies somewhere in the patient: some cone beam machines export their slices so,
    a screen shot has no position.
    """
    if header.sop_class_uid in _CT_CLASSES:
        return _why_no_ct_image(header)
    kind = _kind_of(header.sop_class_uid)
    modality = header.modality.strip().upper()
    if kind and kind not in _VAGUE:
        return kind
    if modality == "CT" and (not kind or _is_placed_capture(header)):
        return _why_no_ct_image(header)
    if kind == "a secondary capture" and modality not in {"PX", "IO", "DX", "CR"}:
        return kind
    return _MODALITIES.get(modality) or kind or _unknown_kind(header)


def is_volume_by_itself(header: SliceHeader) -> bool:
    """Tell whether one file is a whole volume: several frames, CT-like or of a kind not known.

    Multi-frame gray secondary captures count as not known: cone beam volumes travel in them.
    """
    if header.number_of_frames <= 1 or _is_localizer(header):
        return False
    if is_ct_like(header):
        return True
    if not (header.rows and header.columns):
        return False
    modality = header.modality.strip().upper()
    kind = "" if header.sop_class_uid in _GRAY_CAPTURES else _kind_of(header.sop_class_uid)
    return not kind and modality not in _MODALITIES


def _why_no_ct_image(header: SliceHeader) -> str:
    if _is_localizer(header):
        return "a scout view (localizer)"
    if not (header.rows and header.columns):
        return "a CT object without an image"
    return ""


def _is_localizer(header: SliceHeader) -> bool:
    return any(value.strip().upper() == "LOCALIZER" for value in header.image_type)


def _is_placed_capture(header: SliceHeader) -> bool:
    is_capture = _kind_of(header.sop_class_uid) == "a secondary capture"
    return is_capture and bool(header.orientation and header.position)


def _kind_of(sop_class_uid: str) -> str:
    beginning = sop_class_uid
    while beginning:
        if beginning in _KINDS:
            return _KINDS[beginning]
        beginning = beginning.rpartition(".")[0]
    return ""


def _unknown_kind(header: SliceHeader) -> str:
    if header.rows and header.columns:
        return "an image of unknown kind"
    return "a DICOM object without an image"
