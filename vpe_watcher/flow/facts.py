"""What a file's name and content say, read for the rules of `core.candidates`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from vpe_watcher import formats
from vpe_watcher.adapters.files import Disk
from vpe_watcher.core.candidates import MESH, VOLUME, ZIP, Facts
from vpe_watcher.core.model import Proof, Verdict

_FIRST_BYTES = 512


def no_pulse() -> None:
    """Do nothing: for callers whom nobody watches."""


def read_facts(disk: Disk, path: Path, *, pulse: Callable[[], None] = no_pulse) -> Facts | None:
    """Read what the rules need to know of a file; None when it is gone.

    A file that cannot be read gives facts that say so.
    """
    stem, extension = formats.split_name(path.name)
    try:
        with disk.open(path) as file:
            return _facts(file, stem, extension, pulse)
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


def _unreadable(stem: str, extension: str, reason: str) -> Facts:
    """Return facts of one file's own trouble: a folder's trouble shows when it is listed."""
    return Facts(stem, extension, VOLUME, Verdict(Proof.CANNOT_TELL), unreadable=reason)


def _facts(file: BinaryIO, stem: str, extension: str, pulse: Callable[[], None]) -> Facts:
    size = os.fstat(file.fileno()).st_size
    if not extension:
        if not formats.looks_like_dicom(file.read(_FIRST_BYTES)):
            return Facts(stem, "", "", Verdict(Proof.CANNOT_TELL))
        extension = ".dcm"
    file.seek(0)
    verdict = formats.examine(file, extension=extension, size=size, pulse=pulse)
    file.seek(0)
    lists_mesh = extension == ".zip" and verdict.proof is Proof.COMPLETE
    return Facts(
        stem=stem,
        extension=extension,
        family=_family(extension),
        verdict=verdict,
        lists_mesh=lists_mesh and formats.lists_mesh(file),
        is_slice=extension == ".dcm" and _is_slice(file),
    )


def _family(extension: str) -> str:
    if extension == ".zip":
        return ZIP
    return MESH if extension in formats.MESH_EXTENSIONS else VOLUME


def _is_slice(file: BinaryIO) -> bool:
    """Tell whether a DICOM file is one image of several: a slice, not a volume."""
    file.seek(0)
    facts = formats.read_facts(file)
    return facts is not None and facts.rows > 0 and facts.number_of_frames <= 1
