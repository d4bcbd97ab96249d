"""What a DICOMDIR lists, as pydicom reads it; nothing where it is cut."""

from __future__ import annotations

import io
import tracemalloc
import warnings
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from tests.formats.builders import dicom
from vpe_watcher.formats import Directory, read_dicomdir

BUNDLED = Path(pydicom.__file__).parent / "data/test_files/dicomdirtests"
DIRECTORIES = sorted([*BUNDLED.glob("DICOMDIR*"), *BUNDLED.glob("*/DICOMDIR*")])


def directory(
    records: list[Dataset], *, syntax: str = "1.2.840.10008.1.2.1", has_lengths: bool = True
) -> bytes:
    """Return a DICOMDIR of these records, with or without lengths of sequence and items."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.1.3.10")
    meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    data = Dataset()
    data.file_meta = meta
    data.FileSetID = "EXPORT"
    data.DirectoryRecordSequence = records
    data["DirectoryRecordSequence"].is_undefined_length = not has_lengths
    for record in records:
        record.is_undefined_length_sequence_item = not has_lengths
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def record(kind: str, *parts: str, in_use: int = 0xFFFF) -> Dataset:
    """Return one record, with an own nested sequence if it names a file."""
    data = Dataset()
    data.OffsetOfTheNextDirectoryRecord = 0
    data.RecordInUseFlag = in_use
    data.DirectoryRecordType = kind
    if parts:
        data.ReferencedFileID = list(parts)
        nested = Dataset()
        nested.ReferencedFileID = ["NOT", "THIS"]
        data.ReferencedImageSequence = [nested]
    return data


def listed(data: bytes) -> list[str] | None:
    """Return the files that a DICOMDIR lists."""
    found = read_dicomdir(io.BytesIO(data))
    return None if found is None else list(found.files)


@pytest.mark.parametrize("path", DIRECTORIES, ids=lambda path: str(path.relative_to(BUNDLED)))
def test_it_lists_what_pydicom_reads(path: Path) -> None:
    """In all ways to write it, with records in any order, of patients or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        records = pydicom.dcmread(path).get("DirectoryRecordSequence") or []
        expected = ["/".join(r.ReferencedFileID) for r in records if "ReferencedFileID" in r]
    assert listed(path.read_bytes()) == expected


def test_what_it_lists_is_there() -> None:
    """The names of a tree with three patients are those of its files."""
    found = listed((BUNDLED / "DICOMDIR").read_bytes())
    assert found is not None
    there = [path for patient in BUNDLED.glob("[79]*") for path in patient.rglob("*")]
    assert sorted(found) == sorted(
        path.relative_to(BUNDLED).as_posix() for path in there if path.is_file()
    )


@pytest.mark.parametrize("has_lengths", [True, False])
@pytest.mark.parametrize("syntax", ["1.2.1", "1.2", "1.2.2"])
def test_no_cut_lists_less(syntax: str, has_lengths: bool) -> None:  # noqa: FBT001
    """A DICOMDIR that is cut anywhere lists nothing: it would prove too few files."""
    records = [record("PATIENT"), record("IMAGE", "A", "I1"), record("SR DOCUMENT", "A", "I2")]
    whole = directory(records, syntax=f"1.2.840.10008.{syntax}", has_lengths=has_lengths)
    assert listed(whole) == ["A/I1", "A/I2"]
    assert [listed(whole[:cut]) for cut in range(len(whole))] == [None] * len(whole)


def test_no_cut_of_a_real_one_lists_less() -> None:
    """The same with one that a PACS wrote, at each of its bytes."""
    whole = (BUNDLED / "DICOMDIR-implicit").read_bytes()
    assert {listed(whole[:cut]) is None for cut in range(0, len(whole), 7)} == {True}
    assert listed(whole[:-1]) is None


def test_records_out_of_use_do_not_count() -> None:
    """Writers mark records instead of removing them."""
    records = [record("IMAGE", "GONE", in_use=0), record("IMAGE", "A", "", "B ")]
    assert listed(directory(records)) == ["A/B"]
    assert listed(directory([])) == []


def test_names_are_kept_as_written() -> None:
    """File systems differ in what case means: who compares decides."""
    whole = directory([record("IMAGE", "DIR", "IM1")])
    assert listed(whole.replace(b"DIR\\IM1", b"dir\\Im1")) == ["dir/Im1"]


@pytest.mark.parametrize("junk", [b"", b"text " * 50, bytes(900), dicom()])
def test_what_is_no_dicomdir_lists_nothing(junk: bytes) -> None:
    """An image, a text, nothing."""
    assert read_dicomdir(io.BytesIO(junk)) is None


def test_lengths_that_lie_list_nothing() -> None:
    """An element that reaches beyond its item is no element."""
    whole = bytearray(directory([record("IMAGE", "A"), record("IMAGE", "B")]))
    at = whole.index(b"\xfe\xff\x00\xe0")
    whole[at + 4 : at + 8] = (20).to_bytes(4, "little")
    assert listed(bytes(whole)) is None


def implicit_items(count: int) -> bytes:
    """Return an implicit DICOMDIR of so many short records, written by hand: pydicom is slow."""
    start = directory([], syntax="1.2.840.10008.1.2")
    start = start[: start.index(b"\x04\x00\x20\x12")]
    elements = b"\x04\x00\x10\x14\x02\0\0\0\xff\xff" + b"\x04\x00\x00\x15\x04\0\0\0A\\B "
    item = b"\xfe\xff\x00\xe0" + len(elements).to_bytes(4, "little") + elements
    return start + b"\x04\x00\x20\x12" + (count * len(item)).to_bytes(4, "little") + item * count


def test_records_are_read_one_by_one() -> None:
    """Many records cost no more memory than their names do, and too many are refused."""
    data = implicit_items(5_000)
    tracemalloc.start()
    found = read_dicomdir(io.BytesIO(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == Directory(("A/B",) * (5_000))
    assert peak <= 2 << 20
    assert read_dicomdir(io.BytesIO(data), most_records=4_999) is None


@given(
    changes=st.lists(st.tuples(st.integers(0, 11_000), st.binary(max_size=8)), max_size=5),
    cut=st.integers(0, 200),
    name=st.sampled_from([path.name for path in DIRECTORIES]),
)
@settings(max_examples=200, deadline=None)
def test_mutated_ones_never_raise(changes: list[tuple[int, bytes]], cut: int, name: str) -> None:
    """Overwritten and cut, it lists something or nothing."""
    data = bytearray((BUNDLED / name).read_bytes())
    for place, piece in changes:
        at = place % len(data)
        data[at : at + len(piece)] = piece
    found = read_dicomdir(io.BytesIO(bytes(data[: len(data) - cut])))
    assert found is None or all(isinstance(name, str) for name in found.files)
