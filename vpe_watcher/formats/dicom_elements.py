"""The elements of a DICOM data set, one after the other: tags, lengths and places, no more.

A walker of our own, because it must run in constant memory, over streams, in many threads: pydicom
keeps sequences, inflates deflated files whole, and reports through `warnings`, whose filters are
global (a test compares the two on pydicom's files). Never decodes a value.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator
from typing import BinaryIO, NamedTuple

from vpe_watcher.core.model import Verdict
from vpe_watcher.formats.blocks import (
    LAST_BYTES,
    Judged,
    cannot_tell,
    incomplete,
    read_at,
    read_exactly,
)
from vpe_watcher.formats.signature import looks_like_dicom

UNDEFINED = 0xFFFFFFFF
SOP_CLASS, TRANSFER_SYNTAX = 0x00020002, 0x00020010
PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
DATA_SET_START = 132
_META_WINDOW, _LAST_OF_META = 1 << 10, 0x0002FFFF
MOST_HEADERS = 3_000_000
DEEPEST = 64
LONGEST_VALUE = 1 << 16
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
_TEXT_VRS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI")
_BINARY_VRS = ("AT", "FD", "FL", "SL", "SS", "UL", "US")
_VRS = frozenset({*_LONG_VRS, *_TEXT_VRS, *_BINARY_VRS})
_RAW_LONG_VRS = frozenset(vr.encode() for vr in _LONG_VRS)
_RAW_VRS = frozenset(vr.encode() for vr in _VRS)

# The tag (0000,0000) belongs to messages, never to files: what got its size before its content.
NOT_WRITTEN = incomplete("holds zero bytes where an element should be")
_NOTHING = bytes(4)


class Encoding(NamedTuple):
    """How the elements of a data set are written."""

    is_implicit: bool
    is_little: bool

    @property
    def order(self) -> str:
        """Return the byte order as `struct` spells it."""
        return "<" if self.is_little else ">"


class Element(NamedTuple):
    """One element: its value is `length` bytes (or UNDEFINED) at `start`."""

    tag: int
    vr: str
    length: int
    start: int


class Meta(NamedTuple):
    """What the file meta information says (empty where it does not), and where it ends."""

    transfer_syntax: str
    sop_class: str
    end: int


class Elements:
    """Walks the top level of a data set that ends at `size`; iterating leaves no element unread.

    Raises `Judged`: incomplete where an element is cut, cannot tell where the bytes make no sense.
    """

    def __init__(self, file: BinaryIO, size: int, encoding: Encoding) -> None:
        self._file = file
        self._size = size
        self._encoding = encoding
        self._headers = 0

    def from_offset(self, offset: int) -> Iterator[Element]:
        """Yield element after element. The file may be read elsewhere between two of them."""
        while (element := self.element_at(offset)) is not None:
            yield element
            offset = self.end_of(element)

    def element_at(self, offset: int) -> Element | None:
        """Return the element of the top level at `offset`, None at the end of the file."""
        return self._element(offset, self._encoding)

    def is_unwritten_at(self, offset: int) -> bool:
        """Tell whether zero bytes stand at `offset` instead of an element."""
        raw = read_at(self._file, offset, len(_NOTHING))
        return bool(raw) and not any(raw)

    def inside(self, parent: Element) -> Iterator[Element]:
        """Yield the items of a sequence, or the elements of an item.

        An item that says to be longer than its sequence ends with it: the length of the sequence
        is what tells a cut file.
        """
        end = None if parent.length == UNDEFINED else self.end_of(parent)
        offset = parent.start
        while offset != end:
            element = self.element_at(offset)
            if element is None:
                raise Judged(_cut())
            if end is None and element.tag in (_ITEM_END, _SEQUENCE_END):
                return
            if end is not None and element.tag == _ITEM and element.length != UNDEFINED:
                element = element._replace(length=min(element.length, end - element.start))
            yield element
            offset = self.end_of(element)
            if end is not None and offset > end:
                raise Judged(cannot_tell("holds an element that is longer than what it lies in"))

    def _element(self, offset: int, encoding: Encoding) -> Element | None:
        self._headers += 1
        if self._headers > MOST_HEADERS:
            raise Judged(cannot_tell("has too many elements"))
        raw = read_at(self._file, offset, 8)
        if not raw:
            return None
        if len(raw) < 8:
            raise Judged(_cut())
        if raw.startswith(_NOTHING):
            raise Judged(NOT_WRITTEN)
        group, number = struct.unpack_from(encoding.order + "2H", raw)
        tag = group << 16 | number
        if encoding.is_implicit or group == 0xFFFE:
            return Element(tag, "", struct.unpack_from(encoding.order + "I", raw, 4)[0], offset + 8)
        return self._explicit(tag, raw, offset, encoding)

    def _explicit(self, tag: int, raw: bytes, offset: int, encoding: Encoding) -> Element:
        vr = raw[4:6].decode("latin-1")
        if vr in _LONG_VRS:
            long = read_exactly(self._file, 4, what="a DICOM element")
            return Element(tag, vr, struct.unpack(encoding.order + "I", long)[0], offset + 12)
        if not (vr.isascii() and vr.isalpha() and vr.isupper()):
            raise Judged(self._judge_odd(offset))
        return Element(tag, vr, struct.unpack_from(encoding.order + "H", raw, 6)[0], offset + 8)

    def _judge_odd(self, offset: int) -> Verdict:
        """Judge bytes that are no element: the last ones written, where nothing but zeros follow.

        A tag and one letter of its type may be there already.
        """
        rest = read_at(self._file, offset + 5, LAST_BYTES)
        return cannot_tell("holds bytes that are no DICOM element") if any(rest) else NOT_WRITTEN

    def end_of(self, element: Element) -> int:
        """Return the offset of what follows an element, walking over nested ones."""
        if element.length == UNDEFINED:
            end = self._end_of_undefined(element)
        else:
            end = element.start + element.length
        if end > self._size:
            raise Judged(_cut())
        return end

    def _end_of_undefined(self, element: Element) -> int:
        """Walk over nested items and sequences of undefined length to the matching delimiter."""
        open_encodings = [self._inside(element, self._encoding)]
        offset = element.start
        while open_encodings:
            inner = self._element(offset, open_encodings[-1])
            if inner is None:
                raise Judged(_cut())
            if inner.tag in (_ITEM_END, _SEQUENCE_END):
                open_encodings.pop()
                offset = inner.start
            elif inner.length == UNDEFINED:
                open_encodings.append(self._inside(inner, open_encodings[-1]))
                offset = inner.start
            else:
                offset = self.end_of(inner)
            if len(open_encodings) > DEEPEST:
                raise Judged(cannot_tell("has sequences nested too deeply"))
        return offset

    @staticmethod
    def _inside(element: Element, encoding: Encoding) -> Encoding:
        # PS3.5 6.2.2 note: a UN of undefined length holds a sequence in implicit little endian.
        return Encoding(is_implicit=True, is_little=True) if element.vr == "UN" else encoding


def _cut() -> Verdict:
    return incomplete("ends inside a DICOM element")


def skim(
    window: bytes, offset: int, encoding: Encoding, *, wanted: Container[int], last: int
) -> tuple[dict[int, bytes], int]:
    """Take wanted values out of the first bytes of a data set; return them and where it stopped.

    It stops at the first element that is not plain (nested, cut, odd) or comes after the tag
    `last`: what remains is for `Elements`, which is six times as slow.
    """
    values: dict[int, bytes] = {}
    unpack = struct.Struct(
        encoding.order + ("2HI" if encoding.is_implicit else "2H2sH")
    ).unpack_from
    unpack_long = struct.Struct(encoding.order + "I").unpack_from
    size = len(window)
    while offset + 12 <= size:
        start = offset + 8
        if encoding.is_implicit:
            group, number, length = unpack(window, offset)
        else:
            group, number, vr, length = unpack(window, offset)
            if vr in _RAW_LONG_VRS:
                (length,) = unpack_long(window, start)
                start = offset + 12
            elif vr not in _RAW_VRS:
                break
        tag = group << 16 | number
        if not tag or tag > last or start + length > size:
            break
        if tag in wanted:
            values[tag] = window[start : start + length]
        offset = start + length
    return values, offset


def value_of(file: BinaryIO, element: Element) -> bytes:
    """Return the value of an element, empty where it is too long to be one of a header's texts.

    Raises `Judged` where the file ends inside it: half a UID is another UID.
    """
    if element.length > LONGEST_VALUE:
        return b""
    value = read_at(file, element.start, element.length)
    if len(value) < element.length:
        raise Judged(_cut())
    return value


def read_meta(file: BinaryIO, size: int) -> Meta:
    """Read the group of file meta information, which may be missing."""
    window = read_at(file, 0, _META_WINDOW)
    offset = DATA_SET_START if looks_like_dicom(window) else 0
    encoding = Encoding(is_implicit=False, is_little=True)
    elements = Elements(file, size, encoding)
    wanted = (SOP_CLASS, TRANSFER_SYNTAX)
    values, offset = skim(window, offset, encoding, wanted=wanted, last=_LAST_OF_META)
    # Looked at before it is read: what follows the meta group may be written in another way.
    while read_at(file, offset, 2) == b"\x02\x00":
        element = elements.element_at(offset)
        if element is None:
            raise Judged(_cut())
        if element.tag in wanted:
            values[element.tag] = value_of(file, element)
        offset = elements.end_of(element)
    uids = {tag: value.decode("latin-1").strip(" \0") for tag, value in values.items()}
    return Meta(uids.get(TRANSFER_SYNTAX, ""), uids.get(SOP_CLASS, ""), offset)


def encoding_of(uid: str, first_bytes: bytes) -> Encoding:
    """Return how a data set is written.

    The first element shows whether types are given: files that contradict their own transfer syntax
    in this do exist. The byte order is the transfer syntax's, where there is one.
    """
    guess = _guess(first_bytes)
    return guess._replace(is_little=uid != EXPLICIT_BIG) if uid else guess


def _guess(first_bytes: bytes) -> Encoding:
    vr = first_bytes[4:6].decode("latin-1")
    is_little = not (first_bytes[:1] == b"\0" and first_bytes[1:2] != b"\0")
    return Encoding(is_implicit=vr not in _VRS, is_little=is_little)


def starts_without_preamble(first_bytes: bytes) -> bool:
    """Tell whether these bytes are a plausible first element of group 0002 or 0008."""
    if len(first_bytes) < 8:
        return False
    encoding = _guess(first_bytes)
    group, number = struct.unpack_from(encoding.order + "2H", first_bytes)
    if group not in (2, 8) or number > 0x0100:
        return False
    if not encoding.is_implicit:
        return True
    return bool(struct.unpack_from(encoding.order + "I", first_bytes, 4)[0] <= 1024)
