"""Nothing malformed raises, memory stays bounded, the pulse beats and may abort."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.formats import builders
from tests.formats.builders import judge
from vpe_watcher.core.model import Proof, Verdict
from vpe_watcher.formats import (
    KNOWN_EXTENSIONS,
    examine,
    identifiers,
    mesh_members,
    read_dicomdir,
    read_facts,
)

MIB = 1 << 20
SAMPLES = sorted(builders.provable().items()) + sorted(builders.dicoms().items())


class _AbortedError(Exception):
    """What a caller raises in its pulse."""


def look_at_everything(data: bytes, extension: str) -> None:
    """Call each public function on the bytes."""
    assert isinstance(judge(data, extension), Verdict)
    assert isinstance(judge(data, extension, closed=True), Verdict)
    identifiers(io.BytesIO(data), extension)
    read_facts(io.BytesIO(data))
    read_dicomdir(io.BytesIO(data))
    mesh_members(io.BytesIO(data))


@given(
    sample=st.sampled_from(SAMPLES),
    changes=st.lists(
        st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6
    ),
    cut=st.integers(0, 40),
)
@settings(max_examples=400, deadline=None)
def test_mutated_files_never_raise(
    sample: tuple[str, tuple[str, bytes]], changes: list[tuple[int, bytes]], cut: int
) -> None:
    """Overwritten and cut files of each kind get a verdict."""
    extension, whole = sample[1]
    data = bytearray(whole)
    for place, piece in changes:
        at = place % len(data)
        data[at : at + len(piece)] = piece
    look_at_everything(bytes(data[: len(data) - cut]), extension)


@given(
    sample=st.sampled_from(SAMPLES),
    place=st.integers(0, 4000),
    value=st.sampled_from([b"\0", b"\xff", b"\x7f"]),
    length=st.sampled_from([2, 4, 8]),
)
@settings(max_examples=400, deadline=None)
def test_extreme_numbers_never_raise(
    sample: tuple[str, tuple[str, bytes]], place: int, value: bytes, length: int
) -> None:
    """Lengths, counts and offsets at their limits get a verdict."""
    extension, whole = sample[1]
    at = place % len(whole)
    look_at_everything(whole[:at] + value * length + whole[at + length :], extension)


@given(st.binary(max_size=700), st.sampled_from(["", *KNOWN_EXTENSIONS]))
@example(b"NRRD0004\nsizes: 9" + b"9" * 40 + b"\ntype: int\nencoding: raw\n\n", ".nrrd")
@example(b"\x1f\x8b", ".nii.gz")
@settings(deadline=None)
def test_any_bytes_get_a_verdict(data: bytes, extension: str) -> None:
    """Whatever lies in an inbox."""
    look_at_everything(data, extension)


def sparse(path: Path, head: bytes, size: int) -> Path:
    """Write a file of `size` bytes that takes no room beyond its head."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    return path


def big_nifti_header(size: int) -> bytes:
    """Return the header of a NIfTI-2 volume of 8-bit voxels that is `size` bytes long."""
    head = bytearray(builders.nifti_2()[:544])
    struct.pack_into("<2h8q", head, 12, 2, 8, 1, size - 544, *[1] * 6)
    return bytes(head)


class _CountedReads(io.FileIO):
    """Counts the bytes that are really read."""

    total = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size)
        self.total += len(data)
        return data


def test_two_gibibytes_are_judged_by_their_header(tmp_path: Path) -> None:
    """A size proof reads the head only, in little memory."""
    size = 2048 * MIB
    path = sparse(tmp_path / "big.nii", big_nifti_header(size), size)
    tracemalloc.start()
    with _CountedReads(os.fspath(path)) as file:
        verdict = examine(file, extension=".nii", size=size)
        short = examine(file, extension=".nii", size=size - 1)
        read = file.total
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (verdict.proof, short.proof) == (Proof.COMPLETE, Proof.INCOMPLETE)
    assert read <= 2 * MIB
    assert peak <= 8 * MIB


@pytest.mark.parametrize("extension", KNOWN_EXTENSIONS)
def test_large_files_stay_in_bounded_memory(extension: str, tmp_path: Path) -> None:
    """A valid start followed by 128 MiB of zeros costs a few MiB, whatever its kind."""
    starts = dict(builders.provable().values()) | {".dcm": builders.dicom()}
    size = 128 * MIB
    start = starts.get(extension, builders.OBJ)
    path = sparse(tmp_path / "big", start, size)
    tracemalloc.start()
    with path.open("rb") as file:
        examine(file, extension=extension, size=size)
        identifiers(file, extension)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 16 * MIB


def test_an_archive_beyond_four_gibibytes(tmp_path: Path) -> None:
    """Members behind 4 GiB are found by 64-bit numbers, and only what is looked at is read."""
    path = tmp_path / "big.zip"
    with path.open("w+b") as file, zipfile.ZipFile(file, "w") as target:
        target.writestr("1.dcm", builders.VOXELS)
        file.seek(5 << 30)
        target.start_dir = file.tell()
        target.writestr("2.dcm", builders.VOXELS)
    size = path.stat().st_size
    assert size > 5 << 30
    with _CountedReads(os.fspath(path)) as raw:
        assert examine(raw, extension=".zip", size=size).proof is Proof.COMPLETE
        assert raw.total <= 2 * MIB
    with path.open("r+b") as file:
        file.truncate(size - 1)
        assert examine(file, extension=".zip", size=size - 1).proof is Proof.INCOMPLETE


def test_fragments_of_a_gibibyte_are_stepped_over(tmp_path: Path) -> None:
    """Of encapsulated frames the lengths are read, a buffer for each, and nothing is kept."""
    whole, frames = builders.encapsulated_dicom(), 16
    start = whole.index(b"\xe0\x7f\x10\0") + 12
    path = sparse(tmp_path / "big.dcm", whole[:start], start)
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        for _ in range(frames):
            file.write(struct.pack("<2HI", 0xFFFE, 0xE000, 64 * MIB))
            file.seek(64 * MIB, os.SEEK_CUR)
        file.write(b"\xfe\xff\xdd\xe0\0\0\0\0")
    size = path.stat().st_size
    tracemalloc.start()
    with _CountedReads(os.fspath(path)) as raw:
        verdict = examine(raw, extension=".dcm", size=size)
        cut = examine(raw, extension=".dcm", size=size - 1)
        read = raw.total
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 1024 * MIB
    assert (verdict.proof, cut.proof) == (Proof.COMPLETE, Proof.INCOMPLETE)
    assert read <= 4 * (frames + 4) << 16
    assert peak <= MIB


def test_deflated_pixels_are_not_kept() -> None:
    """Sixty-four MiB of pixels in a deflated file are counted piece by piece."""
    pixels = {"Rows": 4096, "Columns": 4096, "NumberOfFrames": 2, "PixelData": bytes(64 * MIB)}
    whole = builders.dicom("1.2.840.10008.1.2.1.99", **pixels)
    tracemalloc.start()
    verdict = judge(whole, ".dcm")
    facts = read_facts(io.BytesIO(whole))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert verdict.proof is Proof.COMPLETE
    assert facts is not None
    assert facts.number_of_frames == 2
    assert peak <= 8 * MIB


def test_a_header_of_many_frames_is_not_kept() -> None:
    """An enhanced image describes each frame: what is nested is walked over, or not read at all."""
    whole = builders.enhanced_dicom(frames=5000)
    tracemalloc.start()
    verdict = judge(whole, ".dcm")
    facts = read_facts(io.BytesIO(whole))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert verdict.proof is Proof.COMPLETE
    assert facts is not None
    assert peak <= len(whole) + MIB


def test_a_packed_bomb_stays_in_bounded_memory() -> None:
    """Sixty-four MiB of zeros in 64 kB are decoded piece by piece, with a pulse in between."""
    head = big_nifti_header(64 * MIB)
    bomb = gzip.compress(head + bytes(64 * MIB - len(head)))
    beats = []
    tracemalloc.start()
    verdict = judge(bomb, ".nii.gz", pulse=lambda: beats.append(1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert verdict.proof is Proof.COMPLETE
    assert peak <= 16 * MIB
    assert len(beats) >= 2


@pytest.mark.parametrize("name", [name for name, _ in SAMPLES])
def test_what_the_pulse_raises_passes_through(name: str) -> None:
    """An abort leaves every proof, at whichever beat it comes."""
    extension, whole = dict(SAMPLES)[name]
    for allowed in range(2):
        beats = iter([None] * allowed)

        def pulse(beats: Iterator[None] = beats) -> None:
            if next(beats, _AbortedError) is not None:
                raise _AbortedError

        with pytest.raises(_AbortedError):
            judge(whole, extension, pulse=pulse)


def test_the_pulse_beats_once_a_block() -> None:
    """Eight MiB of poorly packed content are read with at least eight beats."""
    noise = os.urandom(8 * MIB)
    beats = []
    packed = builders.archive({"a.dcm": noise})
    assert judge(packed, ".zip", pulse=lambda: beats.append(1)).proof is Proof.COMPLETE
    assert len(beats) >= 8


class _FailingFile(io.BytesIO):
    """A share that breaks away after the first read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 0:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_a_failing_disk_is_the_callers_business() -> None:
    """An OSError while reading is no verdict."""
    data = builders.archive({"a.dcm": os.urandom(300_000)})
    with pytest.raises(OSError, match="Input/output"):
        examine(_FailingFile(data), extension=".zip", size=len(data))


def test_the_file_stays_open() -> None:
    """Who opened a file closes it."""
    file = io.BytesIO(builders.nifti_1())
    examine(file, extension=".nii", size=len(builders.nifti_1()))
    assert not file.closed
