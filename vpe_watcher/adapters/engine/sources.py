"""Local files as blocks of bytes. Owns how an input is opened and read; never sends.

A file that is not what it was raises InputChanged. An `OSError` while blocks are asked for leaves
as SourceFailed, because the libraries that ask would take it for the network's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from vpe_watcher.adapters.engine.transport import BLOCK_BYTES
from vpe_watcher.core.errors import InputChanged


class SourceFailed(Exception):
    """Carries an OSError of the file past the libraries, who would take it for the network's."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error


@contextmanager
def carried() -> Iterator[None]:
    """Turn an OSError of the body into SourceFailed."""
    try:
        yield
    except OSError as error:
        raise SourceFailed(error) from error


def open_source(path: Path, *, modality: str, size: int) -> BinaryIO:
    """Open a regular file of exactly this size; raise InputChanged if it is something else."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size == size:
        return os.fdopen(descriptor, "rb", buffering=0)
    os.close(descriptor)
    raise changed(modality)


def file_blocks(file: BinaryIO, *, modality: str, size: int) -> Iterator[bytes]:
    """Yield exactly `size` bytes of a file, or raise before the last block."""
    left = size
    while left:
        block = _read(file, min(left, BLOCK_BYTES))
        left -= len(block)
        if not block or (not left and _read(file, 1)):
            raise changed(modality)
        yield block


def check_empty(file: BinaryIO, *, modality: str) -> None:
    """Raise if a file that should be empty is not."""
    if _read(file, 1):
        raise changed(modality)


def changed(modality: str) -> InputChanged:
    """Return the fault for a file that is shorter or longer than it was."""
    return InputChanged(
        f"The file for {modality} is not what it was when it was claimed.", code="input_changed"
    )


def _read(file: BinaryIO, amount: int) -> bytes:
    with carried():
        return file.read(amount)
