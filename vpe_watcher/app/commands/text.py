"""How values look to people: columns, sizes, ages, moments. Never decides what is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))
KIB = 1024.0


def table(rows: Iterable[Sequence[str]], *, indent: int = 2) -> list[str]:
    """Align columns; the last one stays as long as it is."""
    rows = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (
            " " * indent
            + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def age(seconds: float) -> str:
    """Say how long something takes or took: `4 s`, `3 min`, `2.5 h`."""
    for unit_s, word in UNITS:
        if seconds >= unit_s:
            number = seconds / unit_s
            return f"{number:.3g} {word}" if number < 999.5 else f"{number:.0f} {word}"
    return f"{seconds:.3g} s"


def size(size_bytes: float) -> str:
    """Say how big something is: `812 bytes`, `80 MiB`."""
    if size_bytes < KIB:
        return f"{size_bytes:.0f} bytes"
    for word in ("KiB", "MiB"):
        size_bytes /= KIB
        if size_bytes < KIB:
            return f"{size_bytes:.3g} {word}"
    return f"{size_bytes / KIB:.3g} GiB"


def moment(text: str | None) -> str:
    """Show an ISO 8601 moment in local time to the second; `-` where there is none."""
    if not text:
        return "-"
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def count(number: int, word: str) -> str:
    """Count in words: `1 case`, `2 cases`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
