"""Small scans of every form that a writer may write: names, bytes, and what each form can prove.

The bytes of one form and seed are always the same, and another seed's are others.
"""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random

from tests.flow.house import binary_stl, nifti
from tests.flow.series import SERIES, pixels_of, slice_bytes
from tests.formats import builders


@dataclass(frozen=True, slots=True)
class Form:
    """A kind of file. `proves`: any cut shows; `sums`: any zeros in it show, too."""

    extension: str
    make: Callable[[int], bytes]
    modality: str = "cbct"
    proves: bool = True
    sums: bool = False


def content_of(form: str, seed: int) -> bytes:
    """Return a whole file's bytes."""
    return _content(form, seed)


def file_name(form: str, seed: int) -> str:
    """Return a file's name, which says what it is and is no other's."""
    kind = FORMS[form]
    stem = {"cbct": "scan", "ios_upper": "upper", "ios_lower": "lower", "facial": "face"}
    return f"{stem[kind.modality]}-{form.replace(' ', '-')}-{seed}{kind.extension}"


def series_uid(seed: int) -> str:
    """Return the UID of a series of slices."""
    return f"{SERIES}.{seed}"


@cache
def slice_of(seed: int, number: int, declared: int | None = None) -> bytes:
    """Return one CT slice of a series, which may declare how many there are.

    Its bytes are those that pydicom writes, put into a slice of its own, as it takes long.
    """
    series, template = series_uid(seed), written_slice(0, 0, None if declared is None else 0)
    content = _with_text(template, b"\x02\x00\x03\x00UI", f"{series}.{number}", b"\0")
    meta_bytes = int.from_bytes(content[140:144], "little") + len(content) - len(template)
    content = content[:140] + meta_bytes.to_bytes(4, "little") + content[144:]
    content = _with_text(content, b"\x08\x00\x18\x00UI", f"{series}.{number}", b"\0")
    content = _with_text(content, b"\x20\x00\x0e\x00UI", series, b"\0")
    content = _with_text(content, b"\x20\x00\x11\x00IS", str(seed))
    content = _with_text(content, b"\x20\x00\x13\x00IS", str(number))
    content = _with_text(content, b"\x20\x00\x32\x00DS", f"0.0\\0.0\\{number * 0.5}")
    if declared is not None:
        content = _with_text(content, b"\x20\x00\x02\x10IS", str(declared))
    pixels = pixels_of(number, seed)
    return content[: -len(pixels)] + pixels


def _with_text(content: bytes, element: bytes, text: str, padding: bytes = b" ") -> bytes:
    """Put another text into a data element, given by its tag and its kind of value."""
    start = content.index(element) + len(element)
    end = start + 2 + int.from_bytes(content[start : start + 2], "little")
    value = text.encode() + padding * (len(text) % 2)
    return content[:start] + len(value).to_bytes(2, "little") + value + content[end:]


@cache
def written_slice(seed: int, number: int, declared: int | None) -> bytes:
    """Return what `slice_of` returns, written by pydicom each time."""
    return slice_bytes(
        number,
        series=series_uid(seed),
        seed=seed,
        SeriesNumber=str(seed),
        ImagesInAcquisition=None if declared is None else str(declared),
    )


@cache
def _content(form: str, seed: int) -> bytes:
    return FORMS[form].make(seed)


def _noise(seed: int, size: int) -> bytes:
    return bytes(byte or 1 for byte in Random(seed).randbytes(size))


def _dicom(seed: int) -> bytes:
    return builders.dicom(PixelData=_noise(seed, 80))


def _big_dicom(seed: int) -> bytes:
    return builders.dicom(Rows=30, Columns=40, PixelData=_noise(seed, 4800))


def _big_nifti(seed: int) -> bytes:
    return nifti(side=13)[:352] + _noise(seed, 2 * 13**3)


def _zip(seed: int) -> bytes:
    return builders.archive({"a/1.dcm": _noise(seed, 300), "a/2.dcm": _noise(seed + 1, 500)})


def _stored_zip(seed: int) -> bytes:
    return builders.archive({"1.dcm": _noise(seed, 600)}, zipfile.ZIP_STORED)


def _nrrd(seed: int) -> bytes:
    return builders.nrrd(data=_noise(seed, 120))


def _ply(seed: int) -> bytes:
    return builders.ply().replace(b"comment jaw", f"comment {seed}".encode())


def _ascii_stl(seed: int) -> bytes:
    facet = "facet normal 0 0 1\nouter loop\nvertex 0 0 {}\nendloop\nendfacet\n"
    text = "".join(facet.format(seed + n) for n in range(6))
    return f"solid jaw\n{text}endsolid jaw\n".encode()


def _obj(seed: int) -> bytes:
    points = "".join(f"v {n} {seed} 0\n" for n in range(20))
    return f"# a mesh\n{points}f 1 2 3\n".encode()


FORMS = {
    "dicom": Form(".dcm", _dicom),
    "dicom big": Form(".dcm", _big_dicom),
    "zip": Form(".zip", _zip, sums=True),
    "zip stored": Form(".zip", _stored_zip, sums=True),
    "nifti": Form(".nii", lambda seed: nifti(seed=seed)),
    "nifti big": Form(".nii", _big_nifti),
    "nifti gz": Form(".nii.gz", lambda seed: gzip.compress(_big_nifti(seed), mtime=0), sums=True),
    "nrrd": Form(".nrrd", _nrrd),
    "stl": Form(".stl", lambda seed: binary_stl(triangles=9, seed=seed), "ios_upper"),
    "ply": Form(".ply", _ply, "ios_lower"),
    "obj": Form(".obj", _obj, "facial", proves=False),
    "stl ascii": Form(".stl", _ascii_stl, "ios_lower", proves=False),
}
