"""Text from outside that people will see: nothing in it commands a terminal or forges a line."""

from __future__ import annotations

import unicodedata

# controls, formats (bidi, zero width), half surrogate pairs (raw bytes), line and paragraph ends
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    """Return a text with every character that is obeyed instead of shown as a backslash escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(char) for char in text)


def _shown(char: str) -> str:
    is_plain = unicodedata.category(char) not in _UNPRINTABLE
    return char if is_plain else ascii(char)[1:-1]
