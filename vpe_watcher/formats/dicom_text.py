"""Text values of DICOM elements by the file's character set (PS3.5 section 6.1). Never fails."""

from __future__ import annotations

import re

_FRAGMENT = re.compile(rb"[^\x1b]+|\x1b[^\x1b]*")
_RESETTING = re.compile(rb"[\^=\\\r\n\t\f]")
_DEFAULT = "latin-1"


def codecs_of(character_set: bytes) -> str:
    """Return Python's name for the first value of (0008,0005); Latin-1 where it is unknown."""
    from pydicom.charset import python_encoding

    first = character_set.split(b"\\")[0].decode("latin-1").strip(" \0")
    if first in python_encoding:
        return python_encoding[first]
    # Common slips of the pen: ISO-IR 100, ISO IR 100, iso_ir_100.
    match = re.fullmatch(r"ISO.?(2022.)?IR.?([0-9]+)", first, flags=re.IGNORECASE)
    name = f"ISO{' 2022 IR' if match[1] else '_IR'} {match[2]}" if match else ""
    return python_encoding.get(name, _DEFAULT)


def decode(value: bytes, codec: str) -> str:
    """Decode a value that begins in `codec` and may switch by escape sequences (ISO 2022)."""
    text = "".join(_decode_fragment(piece, codec) for piece in _FRAGMENT.findall(value))
    return text.strip(" \0")


def _decode_fragment(piece: bytes, codec: str) -> str:
    from pydicom.charset import CODES_TO_ENCODINGS, handled_encodings

    if not piece.startswith(b"\x1b"):
        return piece.decode(codec, errors="replace")
    length = 4 if piece.startswith((b"\x1b$(", b"\x1b$)")) else 3
    switched = CODES_TO_ENCODINGS.get(piece[:length])
    if switched is None:
        return piece.decode(codec, errors="replace")
    if switched in handled_encodings:
        return piece.decode(switched, errors="replace")
    body = piece[length:]
    reset = _RESETTING.search(body)
    end = reset.start() if reset else len(body)
    return body[:end].decode(switched, errors="replace") + body[end:].decode(
        codec, errors="replace"
    )
