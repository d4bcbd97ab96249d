"""How many bytes there are and how many there should be, in words that can be compared."""

from __future__ import annotations

UNITS = ((1024 * 1024, "MiB"), (1024, "KiB"))
UNITS_AT_LEAST = 10  # so that a difference shows


def too_few(size_bytes: int, wanted_bytes: int) -> tuple[str, str]:
    """Return a size and the one that it falls short of, both in a unit small enough for them."""
    for unit, word in UNITS:
        if wanted_bytes >= UNITS_AT_LEAST * unit:
            return f"{size_bytes // unit} {word}", f"{wanted_bytes // unit} {word}"
    return f"{size_bytes} bytes", f"{wanted_bytes} bytes"
