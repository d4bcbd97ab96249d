"""Reading in bounded pieces, and the four verdicts as words. Knows no format."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from vpe_watcher.core.model import Proof, Verdict

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 1 << 20
HEADER_BUFFER = 1 << 16
LAST_BYTES = 512


def complete() -> Verdict:
    """Return the verdict of a file that proves itself."""
    return Verdict(Proof.COMPLETE)


def incomplete(reason: str) -> Verdict:
    """Return the verdict of a file of which something is missing."""
    return Verdict(Proof.INCOMPLETE, reason)


def wrong(reason: str) -> Verdict:
    """Return the verdict of a file that is something else than its name says."""
    return Verdict(Proof.WRONG, reason)


def cannot_tell(reason: str) -> Verdict:
    """Return the verdict of a file that has the right signature and no way to prove itself."""
    return Verdict(Proof.CANNOT_TELL, reason)


class Judged(Exception):
    """The verdict is clear in the middle of reading: unwinds to whoever began to read."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


def no_pulse() -> None:
    """Do nothing: for callers that neither watch nor abort."""


def compare_sizes(*, demanded: int, size: int) -> Verdict:
    """Judge a size in bytes against the least that the header demands."""
    if size < demanded:
        return incomplete(f"{demanded} bytes demanded by its header, {size} here")
    return complete()


def read_at(file: BinaryIO, offset: int, length: int) -> bytes:
    """Read up to `length` bytes at `offset`; fewer only at the end of the file."""
    file.seek(offset)
    return file.read(length)


def ends_in_zeros(file: BinaryIO, size: int) -> bool:
    """Tell whether the last 512 bytes are zero: as in a file that got its size before its content.

    Volumes may end so when they are whole; for texts and for what makes no sense it is a reason.
    """
    last = read_at(file, max(0, size - LAST_BYTES), LAST_BYTES)
    return len(last) == LAST_BYTES and not any(last)


def read_exactly(file: BinaryIO, length: int, *, what: str) -> bytes:
    """Read `length` bytes from here, or judge the file incomplete: it ends inside `what`."""
    data = file.read(length)
    if len(data) < length:
        raise Judged(incomplete(f"ends inside {what}"))
    return data


def blocks(file: BinaryIO, length: int | None = None) -> Iterator[bytes]:
    """Yield what follows from here, at most `length` bytes of it, in pieces of at most 1 MiB."""
    while length is None or length > 0:
        block = file.read(BLOCK if length is None else min(BLOCK, length))
        if not block:
            return
        yield block
        length = None if length is None else length - len(block)


def with_pulse(file: BinaryIO, pulse: Callable[[], None]) -> BinaryIO:
    """Return a view of `file` that calls `pulse` before each physical read. Never closes `file`."""
    return io.BufferedReader(_Pulsed(file, pulse), HEADER_BUFFER)


class _Pulsed(io.RawIOBase):
    def __init__(self, file: BinaryIO, pulse: Callable[[], None]) -> None:
        super().__init__()
        self._file = file
        self._pulse = pulse

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        self._pulse()
        data = self._file.read(min(len(view), BLOCK))
        view[: len(data)] = data
        return len(data)
