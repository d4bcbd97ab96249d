"""VTK image data (`.vti`): a closed root, and appended data that reach as far as they say.

Reads the head, the tail and the length headers of the appended arrays; never parses the XML whole.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from vpe_watcher.core.model import Verdict
from vpe_watcher.formats.blocks import (
    BLOCK,
    Judged,
    cannot_tell,
    complete,
    incomplete,
    read_at,
    wrong,
)
from vpe_watcher.formats.signature import FIRST_BYTES, not_a

KIND = "a VTK image"
LONGEST_PROLOGUE = 4096
LONGEST_HEAD = BLOCK
LONGEST_TAIL = 4096
MOST_CHUNKS = 1 << 20
_UTF8_MARK = b"\xef\xbb\xbf"
_ROOT = re.compile(rb"<VTKFile(\s[^>]*)?>")
_FIRST_ELEMENT = re.compile(rb"<([A-Za-z_][\w.:-]*)[\s/>]")
_ATTRIBUTE = re.compile(rb"([\w.:-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_APPENDED = re.compile(rb"<AppendedData(\s[^>]*)?>\s*_")
_ARRAY = re.compile(rb"<(?:DataArray|Array)\s([^>]*)>")


@dataclass(frozen=True, slots=True)
class _Appended:
    """Where the appended data lie, and how their length headers are written."""

    start: int
    end: int
    word: str
    is_base64: bool
    is_compressed: bool

    @property
    def word_size(self) -> int:
        return struct.calcsize(self.word)


def prove(file: BinaryIO, size: int) -> Verdict:
    """Judge a `.vti` file of `size` bytes."""
    head = read_at(file, 0, LONGEST_HEAD)
    try:
        root = _root_attributes(head)
        tail = read_at(file, max(0, size - LONGEST_TAIL), LONGEST_TAIL)
        if not tail.rstrip().endswith(b"</VTKFile>"):
            return incomplete("its closing tag is missing")
        return _prove_data(file, size, head=head, root=root)
    except Judged as judged:
        return judged.verdict


def _root_attributes(head: bytes) -> dict[bytes, bytes]:
    """Return the attributes of the root element. Raises `Judged` where it is not that of VTK."""
    text = head[:LONGEST_PROLOGUE].removeprefix(_UTF8_MARK).lstrip()
    if _UTF8_MARK.startswith(text):
        raise Judged(incomplete("ends before its root element does"))
    if not text.startswith(b"<"):
        raise Judged(not_a(KIND, head[:FIRST_BYTES]))
    root = _ROOT.search(text)
    if root is None:
        raise Judged(_judge_without_root(text, is_cut=len(head) < LONGEST_PROLOGUE))
    attributes = _attributes(root[1] or b"")
    kind = attributes.get(b"type", b"").decode("ascii", errors="replace")
    if kind != "ImageData":
        raise Judged(wrong(f"is a VTK file of the type {kind!r:.40}, not ImageData"))
    return attributes


def _judge_without_root(text: bytes, *, is_cut: bool) -> Verdict:
    element = _FIRST_ELEMENT.search(text)
    if element is not None and element[1] != b"VTKFile":
        return not_a(KIND, text[:FIRST_BYTES])
    if is_cut:
        return incomplete("ends before its root element does")
    return not_a(KIND, text[:FIRST_BYTES])


def _attributes(text: bytes) -> dict[bytes, bytes]:
    return {m[1]: m[2] if m[2] is not None else m[3] for m in _ATTRIBUTE.finditer(text)}


def _prove_data(file: BinaryIO, size: int, *, head: bytes, root: dict[bytes, bytes]) -> Verdict:
    appended = _APPENDED.search(head)
    before = head[: appended.start()] if appended else head
    arrays = [_attributes(m[1]) for m in _ARRAY.finditer(before)]
    offsets = [a.get(b"offset", b"") for a in arrays if a.get(b"format") == b"appended"]
    if appended is None:
        return cannot_tell("its appended data were not found") if offsets else complete()
    if not all(re.fullmatch(rb"[0-9]{1,18}", offset) for offset in offsets):
        return cannot_tell("an array does not say where its data begin")
    data = _Appended(
        start=appended.end(),
        end=_end_of_appended(file, size),
        word=_word(root),
        is_base64=_attributes(appended[1] or b"").get(b"encoding", b"base64") != b"raw",
        is_compressed=bool(root.get(b"compressor")),
    )
    return _prove_arrays(file, data, [int(offset) for offset in offsets])


def _word(root: dict[bytes, bytes]) -> str:
    order = ">" if root.get(b"byte_order") == b"BigEndian" else "<"
    return order + ("Q" if root.get(b"header_type") == b"UInt64" else "I")


def _end_of_appended(file: BinaryIO, size: int) -> int:
    start = max(0, size - LONGEST_TAIL)
    at = read_at(file, start, LONGEST_TAIL).rfind(b"</AppendedData>")
    if at < 0:
        raise Judged(incomplete("the closing tag of its appended data is missing"))
    return start + at


def _prove_arrays(file: BinaryIO, data: _Appended, offsets: list[int]) -> Verdict:
    for number, offset in enumerate(offsets, start=1):
        start = data.start + offset
        end = _end_of_compressed(file, data, start) if data.is_compressed else None
        end = _end_of_plain(file, data, start) if end is None else end
        if end > data.end:
            return incomplete(f"the data of array {number} end before their length says")
    return complete()


def _end_of_plain(file: BinaryIO, data: _Appended, start: int) -> int:
    (length,) = _words(file, data, start, count=1)
    return start + _encoded(data.word_size + length, data)


def _end_of_compressed(file: BinaryIO, data: _Appended, start: int) -> int:
    (chunks,) = _words(file, data, start, count=1)
    if chunks > MOST_CHUNKS:
        raise Judged(cannot_tell("an array has too many compressed pieces"))
    lengths = _words(file, data, start, count=3 + chunks)[3:]
    header = _encoded(data.word_size * (3 + chunks), data)
    return start + header + _encoded(sum(lengths), data)


def _encoded(length: int, data: _Appended) -> int:
    return (length + 2) // 3 * 4 if data.is_base64 else length


def _words(file: BinaryIO, data: _Appended, start: int, *, count: int) -> tuple[int, ...]:
    length = count * data.word_size
    raw = read_at(file, start, _encoded(length, data))
    if data.is_base64:
        raw = _decoded(raw)
    if len(raw) < length or start > data.end:
        raise Judged(incomplete("the length of an array lies beyond the end of the data"))
    return struct.unpack(f"{data.word[0]}{count}{data.word[1]}", raw[:length])


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error as error:
        raise Judged(cannot_tell("the length of an array is not base64")) from error
