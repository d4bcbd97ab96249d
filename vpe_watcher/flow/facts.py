"""What a file's name and content say, read for the rules of `core`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from vpe_watcher import formats
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.leases import is_written_whole
from vpe_watcher.core.content import DIRECTORY, MESH, SLICE, VOLUME, ZIP, Facts
from vpe_watcher.core.grouping import JOB_JSON
from vpe_watcher.core.model import Proof, Verdict
from vpe_watcher.core.series import SliceHeader, is_volume_by_itself
from vpe_watcher.core.wire import JOB_JSON_AT_MOST_BYTES

_FIRST_BYTES = 512
# What a file can make a reader raise that was written with too much trust: it stops no other file.
UNFORESEEN = (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError)
WISHES = f".{JOB_JSON}"


def no_pulse() -> None:
    """Do nothing: for callers whom nobody watches."""


def read_facts(
    disk: Disk, path: Path, *, is_closed: bool = False, pulse: Callable[[], None] = no_pulse
) -> Facts | None:
    """Read what the rules need to know of a file; None when it is gone.

    A file that cannot be read gives facts that say so. `is_closed`: a trusted lease said that
    nobody has it open for writing; one with holes may be closed and still be written.
    """
    stem, extension = formats.split_name(path.name)
    if path.name.lower().endswith(JOB_JSON):
        extension = WISHES
    try:
        with disk.open(path) as file:
            is_closed = is_closed and is_written_whole(file.fileno())
            facts = _facts(file, stem, extension, is_closed=is_closed, pulse=pulse)
            return replace(facts, is_closed=is_closed)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        return _unreadable(
            stem, extension, "the service may not read this file: give its user read permission "
            f"(user id {os.geteuid()})",
        )  # fmt: skip
    except OSError as error:
        what = os.strerror(error.errno or 0).lower()
        return _unreadable(
            stem, extension, f"this file cannot be read ({what}): look at the disk it lies on"
        )
    except UNFORESEEN as error:
        return _unreadable(
            stem, extension, f"this file makes the program stumble ({type(error).__name__}): take "
            "it out of the inbox, and report it",
        )  # fmt: skip


def _unreadable(stem: str, extension: str, reason: str) -> Facts:
    """Return facts of one file's own trouble: a folder's trouble shows when it is listed."""
    return Facts(stem, extension, VOLUME, Verdict(Proof.CANNOT_TELL), unreadable=reason)


def _facts(
    file: BinaryIO, stem: str, extension: str, *, is_closed: bool, pulse: Callable[[], None]
) -> Facts:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if extension == WISHES:
        return Facts(stem, "", "", _wishes(file))
    if not extension:
        if not formats.looks_like_dicom(file.read(_FIRST_BYTES)):
            return Facts(stem, "", "", Verdict(Proof.CANNOT_TELL))
        extension = ".dcm"
    file.seek(0)
    verdict = formats.examine(file, extension=extension, size=size, pulse=pulse, closed=is_closed)
    file.seek(0)
    if extension == ".dcm":
        return _dicom(file, stem, verdict)
    lists_mesh = extension == ".zip" and verdict.proof is Proof.COMPLETE
    return Facts(
        stem=stem,
        extension=extension,
        family=_family(extension),
        verdict=verdict,
        lists_mesh=lists_mesh and formats.lists_mesh(file),
    )


def _wishes(file: BinaryIO) -> Verdict:
    """Tell whether a `job.json` is there to its closing brace."""
    try:
        is_whole = isinstance(json.loads(file.read(JOB_JSON_AT_MOST_BYTES)), dict)
    except (ValueError, RecursionError):
        is_whole = False
    return Verdict(Proof.COMPLETE if is_whole else Proof.CANNOT_TELL)


def _family(extension: str) -> str:
    if extension == ".zip":
        return ZIP
    return MESH if extension in formats.MESH_EXTENSIONS else VOLUME


def _dicom(file: BinaryIO, stem: str, verdict: Verdict) -> Facts:
    """Tell a volume in one file from a slice of a series and from a DICOMDIR."""
    found = formats.read_facts(file)
    if found is None or verdict.proof is Proof.WRONG:
        return Facts(stem, ".dcm", VOLUME, verdict)
    if formats.is_dicomdir(found):
        file.seek(0)
        directory = formats.read_dicomdir(file)
        listed = directory.files if directory else ()
        return Facts(stem, ".dcm", DIRECTORY, verdict, listed=listed)
    header = _header(found)
    if is_volume_by_itself(header):
        return Facts(stem, ".dcm", VOLUME, verdict, header=header)
    return Facts(stem, ".dcm", SLICE, verdict, header=header)


def _header(found: formats.DicomFacts) -> SliceHeader:
    return SliceHeader(**{name: getattr(found, name) for name in SliceHeader.__dataclass_fields__})
