"""GZIP and raw deflate streams: decoded in bounded pieces, checked to their end.

Owns what is about compression; what the decoded bytes are, the caller knows.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, BinaryIO

from vpe_watcher.core.model import Proof, Verdict
from vpe_watcher.formats.blocks import BLOCK, Judged, complete, incomplete, read_at, wrong
from vpe_watcher.formats.signature import FIRST_BYTES, not_a

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

KIND = "a GZIP file"
# Deflate packs up to a thousandfold: pieces this small keep the pulse alive.
PIECE = 1 << 16
GZIP_MAGIC = b"\x1f\x8b"
GZIP_BITS = 31  # zlib: window of 32 KiB, header and trailer of GZIP, CRC and length checked
DEFLATE_BITS = -15  # zlib: no header, no trailer

Prover = Callable[[BinaryIO, int], Verdict]


def prove(file: BinaryIO, *, inner: Prover) -> Verdict:
    """Decode a `.gz` file to its end with CRC and length, then let `inner` judge the content.

    `inner` gets a seekable view of the decoded bytes and their number. What it cannot tell, the
    checksum has told.
    """
    first = read_at(file, 0, FIRST_BYTES)
    if not GZIP_MAGIC.startswith(first[:2]):
        return not_a(KIND, first)
    try:
        decoded = sum(len(block) for block in gunzip(file, start=0))
    except Judged as judged:
        return judged.verdict
    if decoded == 0:
        return incomplete("holds nothing")
    verdict = inner(opened(file, start=0), decoded)
    if verdict.proof in (Proof.INCOMPLETE, Proof.WRONG):
        return Verdict(verdict.proof, f"its decompressed content {verdict.reason}")
    return complete()


def gunzip(file: BinaryIO, *, start: int) -> Iterator[bytes]:
    """Yield all members of the GZIP stream at `start`, decoded, in pieces of at most 1 MiB.

    Raises `Judged`: incomplete where it ends early or does not decode, wrong where something else
    than zero padding follows it.
    """
    rest = read_at(file, start, PIECE)
    while rest.startswith(GZIP_MAGIC):
        rest = yield from _member(file, rest, bits=GZIP_BITS)
        rest = rest or file.read(PIECE)
        if len(rest) < len(GZIP_MAGIC):
            rest += file.read(PIECE)
    begun = rest.rstrip(b"\0")  # zeros: more was to be written
    if begun and GZIP_MAGIC.startswith(begun):
        raise Judged(incomplete("ends inside a GZIP header"))
    while rest:
        if rest.count(0) < len(rest):
            raise Judged(wrong("holds something else after its GZIP data"))
        rest = file.read(PIECE)


def inflate(file: BinaryIO, *, start: int) -> Iterator[bytes]:
    """Yield the raw deflate stream at `start`, decoded, in pieces of at most 1 MiB.

    Raises `Judged` (incomplete) where it ends early or does not decode.
    """
    yield from _member(file, read_at(file, start, PIECE), bits=DEFLATE_BITS)


def _member(file: BinaryIO, data: bytes, *, bits: int) -> Generator[bytes, None, bytes]:
    """Yield one stream decoded, return what was read beyond its end."""
    decoder = zlib.decompressobj(bits)
    while True:
        try:
            decoded = decoder.decompress(data, BLOCK)
        except zlib.error as error:
            raise Judged(incomplete("its compressed data is damaged")) from error
        if decoded:
            yield decoded
        if decoder.eof:
            return decoder.unused_data
        if not decoded and not data:
            raise Judged(incomplete("ends before its compressed data does"))
        # Output may still be due when all input is taken: then an empty piece asks for it.
        data = decoder.unconsumed_tail or file.read(PIECE)


def opened(file: BinaryIO, *, start: int) -> BinaryIO:
    """Return a seekable view of the GZIP stream at `start`; damage looks like its end."""
    return io.BufferedReader(_Decoded(lambda: gunzip(file, start=start)), BLOCK)


def opened_deflate(file: BinaryIO, *, start: int) -> BinaryIO:
    """Return a seekable view of the raw deflate stream at `start`; damage looks like its end."""
    return io.BufferedReader(_Decoded(lambda: inflate(file, start=start)), BLOCK)


class _Decoded(io.RawIOBase):
    """Reads forward; a step back begins again at the start. The end must not be asked for."""

    def __init__(self, restart: Callable[[], Iterator[bytes]]) -> None:
        super().__init__()
        self._restart = restart
        self._pieces = restart()
        self._piece = memoryview(b"")
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("the length of a compressed stream is not known")
        target = offset + (self._position if whence == io.SEEK_CUR else 0)
        if target < self._position:
            self._pieces, self._piece, self._position = self._restart(), memoryview(b""), 0
        while self._position < target and self._fill():
            self._take(target - self._position)
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        if not self._fill():
            return 0
        data = self._take(len(view))
        view[: len(data)] = data
        return len(data)

    def _fill(self) -> bool:
        if not self._piece:
            self._piece = memoryview(self._next())
        return bool(self._piece)

    def _next(self) -> bytes:
        try:
            return next(self._pieces, b"")
        except Judged:
            return b""

    def _take(self, length: int) -> memoryview:
        taken, self._piece = self._piece[:length], self._piece[length:]
        self._position += len(taken)
        return taken
