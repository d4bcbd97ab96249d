"""Names of cases and result files: what people typed, made safe, short and unique.

A name here is one path component. 255 bytes is the limit of the common file systems; we keep room
for a number, `.held.txt` and a temporary suffix.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

MAX_NAME_BYTES = 200
MAX_STRUCTURES_BYTES = 120
RESERVED_OUTPUT_NAMES = frozenset({"result.json"})


def name_key(name: str) -> str:
    """Return the form in which two names are compared: case and Unicode composition aside."""
    return unicodedata.normalize("NFC", name).casefold()


def shortened(text: str, max_bytes: int) -> str:
    """Cut text to `max_bytes` of UTF-8 without splitting a character."""
    encoded = text.encode("utf-8", "surrogateescape")
    if len(encoded) <= max_bytes:
        return text
    return encoded[:max_bytes].decode("utf-8", "ignore")


def folder_name(case_name: str) -> str:
    """Return a case's name as a folder name: no separators, no control characters, not hidden."""
    cleaned = "".join(
        "_" if char in "/\\" or unicodedata.category(char) in {"Cc", "Cs"} else char
        for char in case_name
    )
    cleaned = re.sub(r"^[\s.]+", "", cleaned)
    return shortened(cleaned, MAX_NAME_BYTES).strip() or "case"


def numbered(name: str, is_taken: Callable[[str], bool]) -> str:
    """Return `name`, or the first of `name.2`, `name.3`, … that is not taken."""
    if not is_taken(name):
        return name
    number = 2
    while is_taken(f"{name}.{number}"):
        number += 1
    return f"{name}.{number}"


def output_name(
    *, kind: str, structures: Iterable[str], extension: str, taken: Iterable[str] = ()
) -> str:
    """Name a result file after its structures (`left_nerve+right_nerve.stl`), or after its kind.

    Anything but letters, digits, `.`, `_` and `-` becomes `_`; long names are cut; a name that is
    taken (compared case-insensitively) gets a number before its extension.
    """
    stem = "+".join(_safe(structure) for structure in structures if structure) or _safe(kind)
    stem = shortened(stem, MAX_STRUCTURES_BYTES).lstrip(".") or "output"
    suffix = shortened(_safe(extension), 20)
    if suffix and not suffix.startswith("."):
        suffix = "." + suffix
    used = {name_key(name) for name in (*taken, *RESERVED_OUTPUT_NAMES)}
    number, name = 1, stem + suffix
    while name_key(name) in used:
        number += 1
        name = f"{stem}.{number}{suffix}"
    return name


def _safe(text: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in text)
