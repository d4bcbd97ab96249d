"""DICOM headers as pydicom reads them, and pixel data by their length."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import pydicom
import pytest

from tests.formats.builders import dicom, dicoms, encapsulated_dicom, judge
from vpe_watcher.core.model import Proof
from vpe_watcher.formats import identifiers, read_facts
from vpe_watcher.formats.dicom_text import codec_of, decode

BUNDLED = Path(pydicom.__file__).parent / "data"
KEYWORDS = {
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "birth_date": "PatientBirthDate",
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
    "accession_number": "AccessionNumber",
    "study_date": "StudyDate",
    "series_description": "SeriesDescription",
    "series_number": "SeriesNumber",
    "modality": "Modality",
    "sop_class_uid": "SOPClassUID",
    "sop_instance_uid": "SOPInstanceUID",
    "rows": "Rows",
    "columns": "Columns",
}
# Images without their pixel data, or with a part of them.
SHORT = {"chrJapMulti.dcm", "chrJapMultiExplicitIR6.dcm", "chrKoreanMulti.dcm"} | {
    "MR_truncated.dcm",
    "UN_sequence.dcm",
    "chrSQEncoding.dcm",
    "chrSQEncoding1.dcm",
    "no_meta_group_length.dcm",
    "priv_SQ.dcm",
    "rtplan_truncated.dcm",
}


def bundled() -> list[Path]:
    """Return pydicom's own test files that are DICOM by their mark, some of each kind."""
    files = sorted((BUNDLED / "test_files").glob("*.dcm"))
    files += sorted((BUNDLED / "charset_files").glob("*.dcm"))
    files += sorted((BUNDLED / "test_files/dicomdirtests/77654033").glob("*/*"))
    return [path for path in files if path.read_bytes()[128:132] == b"DICM"]


def expected(path: Path) -> dict[str, object]:
    """Return what pydicom reads, in our words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(path, stop_before_pixels=True)
        found = {name: data.get(keyword) for name, keyword in KEYWORDS.items()}
        meta_class = data.file_meta.get("MediaStorageSOPClassUID")
        found["sop_class_uid"] = found["sop_class_uid"] or meta_class
        texts = {n: "" if v is None else str(v).strip(" \0") for n, v in found.items()}
    return texts | {name: found[name] or 0 for name in ("rows", "columns")}


def test_facts_are_what_pydicom_reads() -> None:
    """All transfer syntaxes and character sets of the bundled files, and without a warning."""
    compared = 0
    for path in bundled():
        with path.open("rb") as file:
            facts = read_facts(file)
        if facts is not None:
            assert {name: getattr(facts, name) for name in KEYWORDS} == expected(path), path.name
            compared += 1
    assert compared >= 90


def test_whole_bundled_files_are_not_incomplete() -> None:
    """Only what is known to be cut, or to lack its pixels, is found incomplete."""
    short = {
        path.name for path in bundled() if judge(path.read_bytes(), "").proof is Proof.INCOMPLETE
    }
    assert short == SHORT


@pytest.mark.parametrize("name", sorted(dicoms()))
def test_facts_in_every_transfer_syntax(name: str) -> None:
    """The header reads the same however it is written, and does not mind missing pixel data."""
    _, whole = dicoms()[name]
    facts = read_facts(io.BytesIO(whole))
    assert facts is not None
    assert (facts.patient_name, facts.patient_id) == ("Müller^Jürgen", "P-1")
    assert (facts.rows, facts.columns, facts.number_of_frames) == (4, 5, 2)
    assert (facts.series_number, facts.study_date) == ("7", "")
    if name != "deflated":
        assert read_facts(io.BytesIO(whole[:-20])) == facts


def test_a_dicomdir_is_known_by_its_class() -> None:
    """A DICOMDIR says what it is in its file meta information only."""
    for path in (BUNDLED / "test_files/dicomdirtests").glob("DICOMDIR*"):
        facts = read_facts(io.BytesIO(path.read_bytes()))
        assert facts is not None
        assert (facts.sop_class_uid, facts.patient_id) == ("1.2.840.10008.1.3.10", "")


def test_facts_through_gzip() -> None:
    """A compressed file is read as a stream; a cut one gives nothing."""
    packed = gzip.compress(dicom())
    facts = identifiers(io.BytesIO(packed), ".dcm.gz")
    assert facts is not None
    assert facts.modality == "CT"
    assert identifiers(io.BytesIO(packed[:30]), ".dcm.gz") is None


@pytest.mark.parametrize("junk", [b"", b"text " * 50, bytes(128) + b"DICM", bytes(900)])
def test_no_facts_in_what_is_no_dicom(junk: bytes) -> None:
    """What cannot be parsed has no facts."""
    assert read_facts(io.BytesIO(junk)) is None
    assert identifiers(io.BytesIO(junk), ".nii") is None


def test_the_reason_counts_the_bytes() -> None:
    """A person is told how much is missing."""
    verdict = judge(dicom()[:-30], ".dcm")
    assert verdict.reason == "80 bytes of pixel data demanded, 50 here"


def test_dimensions_demand_their_pixels() -> None:
    """Pixel data shorter than rows, columns and frames demand are not all there."""
    assert judge(dicom(NumberOfFrames=3), ".dcm").proof is Proof.INCOMPLETE
    assert judge(dicom(NumberOfFrames=1), ".dcm").proof is Proof.COMPLETE


@pytest.mark.parametrize(
    ("space", "length"), [("RGB", 120), ("YBR_FULL_422", 80), ("YBR_PARTIAL_422", 80)]
)
def test_shared_colours_demand_less(space: str, length: int) -> None:
    """Where two pixels share their colour a third of the bytes is not there, and is not missed."""
    whole = dicom(
        SamplesPerPixel=3, BitsAllocated=8, PhotometricInterpretation=space, PixelData=bytes(length)
    )
    assert judge(whole, ".dcm").proof is Proof.COMPLETE
    assert judge(whole[:-1], ".dcm").proof is Proof.INCOMPLETE


def test_without_preamble_it_cannot_tell() -> None:
    """A bare data set is accepted by its first elements, and found short like any other."""
    bare = dicom("1.2.840.10008.1.2.1")[132:]
    assert judge(bare, ".dcm").proof is Proof.CANNOT_TELL
    assert judge(bare[:-1], ".dcm").proof is Proof.INCOMPLETE
    assert read_facts(io.BytesIO(bare)) is not None


def test_fragments_must_end_with_their_delimiter() -> None:
    """Encapsulated pixel data without the sequence delimiter are cut."""
    whole = encapsulated_dicom()
    assert judge(whole, ".dcm").proof is Proof.COMPLETE
    assert judge(whole[:-8], ".dcm").proof is Proof.INCOMPLETE


def test_absurd_nesting_and_lengths_end_early() -> None:
    """Made-up lengths and depths neither exhaust memory nor the stack."""
    start = dicom()[: dicom().index(b"\x08\x00\x05\x00CS")]
    deep = struct.pack("<2H2s2xI", 0x0008, 0x1110, b"SQ", 0xFFFFFFFF)
    item = struct.pack("<2HI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    assert judge(start + deep + (item + deep) * 1000, ".dcm").proof is Proof.CANNOT_TELL
    long = struct.pack("<2H2s2xI", 0x0008, 0x0005, b"OB", 0xFFFFFFFE)
    assert judge(start + long + b"abc", ".dcm").proof is Proof.INCOMPLETE


@pytest.mark.parametrize(
    ("character_set", "raw", "text"),
    [
        (b"", b"M\xfcller", "Müller"),
        (b"ISO_IR 100", b"M\xfcller ", "Müller"),
        (b"ISO-IR 100", b"M\xfcller", "Müller"),
        (b"ISO_IR 192", "Müller^小東".encode(), "Müller^小東"),
        (b"iso_ir 144", "Жук".encode("iso8859_5"), "Жук"),
        (b"ISO_IR 999", b"plain", "plain"),
        (b"GB18030", "王^小东".encode("gb18030"), "王^小东"),
        (b"\\ISO 2022 IR 149", b"\x1b$)C\xb1\xe8^B", "김^B"),
        (b"\\ISO 2022 IR 126\\ISO 2022 IR 144", b"\x1b-F\xc4^\x1b-L\xbb", "Δ^Л"),
        (b"ISO_IR 192", b"bro\xffken", "bro\N{REPLACEMENT CHARACTER}ken"),
        (b"\\ISO 2022 IR 87", b"\x1b$xjunk", "\x1b$xjunk"),
    ],
)
def test_names_in_their_character_set(character_set: bytes, raw: bytes, text: str) -> None:
    """Names are decoded as the file says, and never fail to be."""
    assert decode(raw, codec_of(character_set)) == text


def test_the_formats_do_without_pydicom() -> None:
    """A daemon that only proves files does not carry pydicom and numpy in its memory."""
    code = (
        "import io, sys; from vpe_watcher import formats; data = sys.stdin.buffer.read();"
        "facts = formats.read_facts(io.BytesIO(data)); print(facts.patient_id);"
        "sys.exit('pydicom' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=dicom(), capture_output=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (0, b"P-1\n")
