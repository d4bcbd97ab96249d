"""Numbers that DICOM writes as text: IS and DS values (PS3.5 6.2). Never fails."""

from __future__ import annotations

import math
import re

_SEPARATOR, _PADDING = "\\", " \0"
_INTEGER = re.compile(r"[+-]?[0-9]{1,11}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_LARGEST = 2**31 - 1
_LONGEST_DECIMAL = 64  # the standard allows 16; writers of doubles need more


def values_of(value: bytes) -> tuple[str, ...]:
    """Return the single values of one element without their padding; none where it is empty."""
    text = value.decode("latin-1").strip(_PADDING)
    return tuple(one.strip(_PADDING) for one in text.split(_SEPARATOR)) if text else ()


def integer_of(value: bytes) -> int | None:
    """Return the one whole number of 32 bits that the value is, None where it is none."""
    match values_of(value):
        case [text] if _INTEGER.fullmatch(text) and abs(int(text)) <= _LARGEST:
            return int(text)
    return None


def count_of(value: bytes) -> int | None:
    """Return the one whole number, not negative, that the value is; None where it is none."""
    number = integer_of(value)
    return number if number is not None and number >= 0 else None


def decimals_of(value: bytes, *, count: int) -> tuple[float, ...]:
    """Return exactly `count` finite numbers; none where they are fewer, more or badly formed."""
    texts = values_of(value)
    if len(texts) != count or not all(_is_decimal(text) for text in texts):
        return ()
    numbers = tuple(float(text) for text in texts)
    return numbers if all(math.isfinite(number) for number in numbers) else ()


def _is_decimal(text: str) -> bool:
    return len(text) <= _LONGEST_DECIMAL and _DECIMAL.fullmatch(text) is not None
