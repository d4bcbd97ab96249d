"""Text from outside: nothing that people see of it commands a terminal; what it said is cut out."""

from __future__ import annotations

import re
import unicodedata

# controls, formats (bidi, zero width), half surrogate pairs (raw bytes), line and paragraph ends
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_QUOTED = re.compile(r'".*"', re.DOTALL)  # to the last one: what others said may hold quotes itself


def printable(text: str) -> str:
    """Return a text with every character that is obeyed instead of shown as a backslash escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(char) for char in text)


def unquoted(text: str) -> str:
    """Return a sentence without what others said, which our sentences put into quotes.

    An answer of the Engine may hold whatever stands in a scan.
    """
    return _QUOTED.sub('"…"', text)


def _shown(char: str) -> str:
    is_plain = unicodedata.category(char) not in _UNPRINTABLE
    return char if is_plain else ascii(char)[1:-1]
