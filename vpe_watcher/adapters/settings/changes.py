"""Which keys differ between two configurations. Never shows a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from pydantic import BaseModel

from vpe_watcher.adapters.settings.recipes import Settings

# What a running daemon cannot exchange: its lock, its rows and all that it knows lie there.
AT_START = ("state_file",)
_NO_KEYS = frozenset({"config_file", "secrets_in_file"})


def changed_keys(old: Settings, new: Settings) -> tuple[str, ...]:
    """Return the dotted keys that differ; a recipe is told by its name as a whole."""
    names = [field.name for field in fields(Settings) if field.name not in _NO_KEYS]
    return tuple(
        ".".join(path)
        for name in names
        for path in _differences((name,), getattr(old, name), getattr(new, name))
    )


def _differences(path: tuple[str, ...], before: Any, after: Any) -> Iterator[tuple[str, ...]]:
    if before == after:
        return
    tables = _table(before, path), _table(after, path)
    if tables[0] is None or tables[1] is None:
        yield path
        return
    for key in dict.fromkeys([*tables[0], *tables[1]]):
        yield from _differences((*path, key), tables[0].get(key), tables[1].get(key))


def _table(value: Any, path: tuple[str, ...]) -> Mapping[str, Any] | None:
    if isinstance(value, BaseModel):
        return dict(value)
    return value if isinstance(value, Mapping) and len(path) == 1 else None
