"""The ZIP of a series as bytes: its size before, its records, its sameness. Nothing is sent."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpe_watcher.adapters.engine import Part, zip_size
from vpe_watcher.adapters.engine.pace import Pace
from vpe_watcher.adapters.engine.transfer import Body
from vpe_watcher.adapters.engine.zipped import ZippedParts

GIB = 1024**3
NAMES = st.text(st.characters(exclude_characters="\0/\\", exclude_categories=["Cs"]), min_size=1)
MakeParts = Callable[..., tuple[Part, ...]]
MANY = pytest.mark.real  # ten seconds each


@pytest.fixture
def make_parts(tmp_path: Path) -> MakeParts:
    """Make a series of files of random bytes, named for their place in it."""

    def make(*sizes: int) -> tuple[Part, ...]:
        parts = []
        for number, size in enumerate(sizes):
            path = tmp_path / f"Doe^Jane.{number}"
            path.write_bytes(os.urandom(size))
            parts.append(Part(path, f"series/{number + 1:06d}.dcm", size))
        return tuple(parts)

    return make


def zipped(parts: tuple[Part, ...]) -> bytes:
    """Return all bytes of the ZIP, after a look at what was said of them before."""
    series = ZippedParts(parts, modality="cbct")
    content = b"".join(series.blocks())
    assert len(content) == series.size == size_of(parts)
    return content


def size_of(parts: tuple[Part, ...]) -> int:
    """Return what is said of a ZIP before it is made."""
    return zip_size((part.name, part.size) for part in parts)


def test_python_reads_what_was_put_in(make_parts: MakeParts) -> None:
    """Every slice as it lies, stored, in the given order, under the given name."""
    parts = make_parts(0, 1, 132_000, 2_500_000)
    with zipfile.ZipFile(io.BytesIO(zipped(parts))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [part.name for part in parts]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert all(archive.read(part.name) == part.path.read_bytes() for part in parts)


def test_each_part_is_digested(make_parts: MakeParts) -> None:
    """In their order, whatever they are named."""
    parts = make_parts(7, 0, 132_000, 1_500_000)[::-1]
    series = ZippedParts(parts, modality="cbct")
    assert sum(len(block) for block in series.blocks()) == series.size
    expected = [hashlib.sha256(part.path.read_bytes()).hexdigest() for part in parts]
    assert series.digests == expected


@pytest.mark.skipif(not shutil.which("unzip"), reason="needs Info-ZIP")
def test_info_zip_reads_it_too(make_parts: MakeParts, tmp_path: Path) -> None:
    """Another reader than Python's finds nothing wrong."""
    (tmp_path / "series.zip").write_bytes(zipped(make_parts(*[500] * 300)))
    command = ["unzip", "-tqq", str(tmp_path / "series.zip")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_nothing_of_the_files_but_their_bytes(
    make_parts: MakeParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the clock nor the time, mode, name or place of a file changes a byte."""
    parts = make_parts(10, 200_000)
    first = zipped(parts)
    moved = tuple(
        Part(part.path.rename(part.path.with_name(part.name[-5:])), part.name, part.size)
        for part in parts
    )
    for part in moved:
        os.utime(part.path, (2e9, 2e9))
        part.path.chmod(0o400)
    monkeypatch.setattr(time, "localtime", lambda _=None: time.gmtime(1.9e9))
    assert zipped(moved) == first
    assert b"Doe^Jane" not in first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o600}


def test_the_date_is_the_same_wherever_it_stands(make_parts: MakeParts) -> None:
    """Readers of streams take the date before each file, others that of the directory."""
    (part,) = make_parts(3)
    content = zipped((part,))
    assert content[10:14] == b"\x00\x00\x21\x00"
    directory = content.index(b"PK\x01\x02")
    assert content[directory + 12 : directory + 16] == b"\x00\x00\x21\x00"


@pytest.mark.slow
@pytest.mark.parametrize(
    "count", [1, 300, pytest.param(65_535, marks=MANY), pytest.param(65_536, marks=MANY)]
)
def test_the_size_is_known_for_any_number(make_parts: MakeParts, count: int) -> None:
    """More files than a plain ZIP can count need another end, from exactly 65,535 on."""
    (part,) = make_parts(3)
    parts = tuple(Part(part.path, f"{number:06d}", part.size) for number in range(count))
    with zipfile.ZipFile(io.BytesIO(zipped(parts))) as archive:
        assert len(archive.infolist()) == count


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for all examples of a property."""
    return tmp_path_factory.mktemp("parts")


@settings(max_examples=100, deadline=None)
@given(data=st.dictionaries(NAMES.filter(lambda n: n not in {".", ".."}), st.binary(), min_size=1))
def test_the_size_is_known_for_any_names(room: Path, data: dict[str, bytes]) -> None:
    """Whatever the names are written in, they come back, and every byte was counted."""
    parts = []
    for number, (name, content) in enumerate(data.items()):
        path = room / str(number)
        path.write_bytes(content)
        parts.append(Part(path, name, len(content)))
    with zipfile.ZipFile(io.BytesIO(zipped(tuple(parts)))) as archive:
        assert {entry.orig_filename: archive.read(entry) for entry in archive.infolist()} == data


def plain_size(*sizes: int) -> int:
    """Return the size with names of one letter and no zip64 anywhere."""
    return sum(30 + 1 + size + 16 + 46 + 1 for size in sizes) + 22


@pytest.mark.parametrize(
    ("sizes", "more"),
    [
        ((GIB, GIB - 200), 0),
        # beyond 2 GiB: the end; and the place of the third file in its entry
        ((GIB, GIB, GIB), 76 + 12),
        ((GIB, GIB, GIB, GIB, GIB), 76 + 3 * 12),
        # one file of 5 GiB: sizes before it, behind it and in its entry; the place of the next
        ((5 * GIB,), 76 + 20 + 8 + 20),
        ((5 * GIB, 1), 76 + 20 + 8 + 20 + 12),
    ],
)
def test_the_size_is_known_beyond_4_gib(sizes: tuple[int, ...], more: int) -> None:
    """What zip64 adds, as APPNOTE 4.3 and 4.5.3 have it."""
    named = [("abcde"[number], size) for number, size in enumerate(sizes)]
    assert zip_size(named) == plain_size(*sizes) + more


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sizes", [(5 * GIB, 1), (GIB, GIB, 7, GIB, GIB, GIB, 7)], ids=str)
def test_five_gib_really_made(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    """The size is exact with zip64, and another reader finds every file whole."""
    parts = []
    for number, size in enumerate(sizes):
        path = tmp_path / str(number)
        path.touch()
        os.truncate(path, size)
        parts.append(Part(path, f"{number}.dcm", size))
    series = ZippedParts(tuple(parts), modality="cbct")
    target = tmp_path / "series.zip"
    with target.open("wb") as file:
        for block in series.blocks():
            file.write(block)
    assert target.stat().st_size == series.size == size_of(tuple(parts))
    with zipfile.ZipFile(target) as archive:
        assert [entry.file_size for entry in archive.infolist()] == list(sizes)
        assert archive.testzip() is None
    subprocess.run(["unzip", "-tqq", str(target)], check=True)
    target.unlink()


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".", "a\\..\\b", "a\0b", "\ud800"],
)
def test_names_that_are_refused(name: str) -> None:
    """Names that would be changed on the way, or lead out of the folder where one unpacks."""
    with pytest.raises(ValueError, match=r"safe name|surrogates"):
        zip_size([(name, 1)])


def test_what_is_no_series() -> None:
    """Nothing, one name twice, a size below zero."""
    for parts in ([], [("a", 1), ("a", 2)], [("a", -1)]):
        with pytest.raises(ValueError, match=r"part of a series|without a part"):
            zip_size(parts)


def test_blocks_are_large_and_bounded(make_parts: MakeParts) -> None:
    """Neither a system call for each small record nor a series in memory."""
    mib = 1024 * 1024
    series = ZippedParts(make_parts(*[132_000] * 40, 5 * mib, 3), modality="cbct")
    sizes = [len(block) for block in series.blocks()]
    assert all(mib <= size < 2 * mib for size in sizes[:-1])


def test_a_body_is_never_other_than_announced() -> None:
    """Should the library ever miscount, no byte more is given than was announced."""

    def given_out(blocks: Iterator[bytes]) -> int:
        body = Body(
            blocks, size=5, on_progress=lambda _: None, should_stop=lambda: False, pace=Pace()
        )
        with pytest.raises(RuntimeError, match="than announced"):
            list(body)
        return body.given

    assert given_out(iter([b"abc", b"de", b"f"])) == 5
    assert given_out(iter([b"abc", b"def"])) == 3
    assert given_out(iter([b"abc"])) == 3
