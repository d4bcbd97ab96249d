"""Text values of DICOM elements by the file's character set. Never fails.

The tables are those of PS3.3 C.12.1.1.2; of their own, because pydicom's cost its whole import
(34 MiB and a quarter of a second in a daemon that should stay small).
"""

from __future__ import annotations

import re

_FRAGMENT = re.compile(rb"[^\x1b]+|\x1b[^\x1b]*")
_RESETTING = re.compile(rb"[\^=\\\r\n\t\f]")
_DEFAULT = "latin-1"
# By the number in the ISO registry: "ISO_IR 100" and "ISO 2022 IR 100" are both number 100.
_BY_NUMBER = {
    "6": "latin-1",
    "13": "shift_jis",
    "58": "gb2312",
    "87": "iso2022_jp",
    "100": "latin-1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "149": "euc_kr",
    "159": "iso2022_jp_2",
    "166": "tis_620",
    "192": "utf-8",
    "203": "iso8859_15",
}
_BY_NAME = {"GB18030": "gb18030", "GBK": "gbk", "ISO 2022 GBK": "gbk"}
_BY_ESCAPE = {
    b"\x1b(B": "latin-1",
    b"\x1b(J": "shift_jis",
    b"\x1b)I": "shift_jis",
    b"\x1b-A": "latin-1",
    b"\x1b-B": "iso8859_2",
    b"\x1b-C": "iso8859_3",
    b"\x1b-D": "iso8859_4",
    b"\x1b-F": "iso8859_7",
    b"\x1b-G": "iso8859_6",
    b"\x1b-H": "iso8859_8",
    b"\x1b-L": "iso8859_5",
    b"\x1b-M": "iso8859_9",
    b"\x1b-T": "tis_620",
    b"\x1b-b": "iso8859_15",
    b"\x1b$)A": "gb2312",
    b"\x1b$)C": "euc_kr",
}
# Two bytes a character, any of which may look like a delimiter: these codecs take the escape too.
_STATEFUL = {b"\x1b$B": "iso2022_jp", b"\x1b$(D": "iso2022_jp_2"}


def codec_of(character_set: bytes) -> str:
    """Return Python's name for the first value of (0008,0005); Latin-1 where it is unknown."""
    first = character_set.split(b"\\")[0].decode("latin-1").strip(" \0").upper()
    # Lenient about common slips of the pen: ISO-IR 100, ISO IR 100, ISO_IR_100.
    match = re.fullmatch(r"ISO.?(?:2022.)?IR.?([0-9]+)", first)
    return _BY_NUMBER.get(match[1], _DEFAULT) if match else _BY_NAME.get(first, _DEFAULT)


def decode(value: bytes, codec: str) -> str:
    """Decode a value that begins in `codec` and may switch by escape sequences (PS3.5 6.1.2.5)."""
    if b"\x1b" not in value:
        return value.decode(codec, errors="replace").strip(" \0")
    text = "".join(_decode_fragment(piece, codec) for piece in _FRAGMENT.findall(value))
    return text.strip(" \0")


def _decode_fragment(piece: bytes, codec: str) -> str:
    if not piece.startswith(b"\x1b"):
        return piece.decode(codec, errors="replace")
    length = 4 if piece.startswith((b"\x1b$(", b"\x1b$)")) else 3
    escape, body = piece[:length], piece[length:]
    if escape in _STATEFUL:
        return piece.decode(_STATEFUL[escape], errors="replace")
    if escape not in _BY_ESCAPE:
        return piece.decode(codec, errors="replace")
    delimiter = _RESETTING.search(body)
    end = delimiter.start() if delimiter else len(body)
    switched = body[:end].decode(_BY_ESCAPE[escape], errors="replace")
    return switched + body[end:].decode(codec, errors="replace")
