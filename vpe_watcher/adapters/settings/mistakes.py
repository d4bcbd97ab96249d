"""How a mistake in the configuration is told: key, place, reason, hint; all of them at once.

Owns the sentences' form and the nearest known key. Never shows a value.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from vpe_watcher.adapters.settings.model import known_keys, table_at
from vpe_watcher.adapters.settings.sources import PREFIX, Sources
from vpe_watcher.adapters.settings.values import WrongValueError, kind_of
from vpe_watcher.core.errors import ConfigError

UNKNOWN_KEY = "config_unknown_key"
WRONG_VALUE = "config_wrong_value"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one key, before it is known which source set it.

    `near` is the known key that was probably meant, and makes the hint.
    """

    path: tuple[str, ...]
    reason: str
    hint: str = ""
    code: str = WRONG_VALUE
    near: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake as people and programs read it."""

    code: str
    message: str
    hint: str = ""


class SettingsError(ConfigError):
    """The configuration has one mistake or more; the message is the first one's.

    `problems` holds all of them, the hint says how many more there are and what they are.
    """

    def __init__(self, problems: tuple[Mistake, ...]) -> None:
        first, *others = problems
        more = "".join(f"; also: {other.message}" for other in others)
        counted = f"{len(others)} more mistake{'s' if len(others) > 1 else ''}{more}"
        hint = first.hint
        if others:
            hint = f"{hint} · {counted}" if hint else counted
        super().__init__(first.message, code=first.code, hint=hint)
        self.problems = problems


def mistake_of(finding: Finding, sources: Sources) -> Mistake:
    """Put a finding into one sentence with the key and the place where it was set."""
    key = ".".join(finding.path)
    where = sources.label_of(finding.path)
    hint = finding.hint
    if finding.near:
        is_variable = sources.variable_of(finding.path) is not None
        near = PREFIX + "__".join(finding.near).upper() if is_variable else ".".join(finding.near)
        hint = f"did you mean {near}?"
    return Mistake(finding.code, f"{key} {where}: {finding.reason}", hint)


def findings_of(error: ValidationError) -> tuple[Finding, ...]:
    """Translate what pydantic found."""
    details = error.errors(include_url=False, include_input=True)
    return tuple(_finding(dict(detail)) for detail in details)


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known word that looks most like another one, or None."""
    import difflib

    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else None


def _finding(detail: dict[str, Any]) -> Finding:
    path = tuple(str(part) for part in detail["loc"])
    context = detail.get("ctx", {})
    wrong = context.get("error")
    if isinstance(wrong, WrongValueError):
        return Finding(path + wrong.below, wrong.reason, wrong.hint)
    if detail["type"] == "extra_forbidden":
        return _unknown_key(path)
    if detail["type"] == "literal_error":
        return _wrong_word(path, context["expected"], detail["input"])
    if detail["type"] in {"model_type", "dict_type"}:
        return Finding(path, f"must be a table, not {kind_of(detail['input'])}")
    return Finding(path, detail["msg"])


def _unknown_key(path: tuple[str, ...]) -> Finding:
    return Finding(path, "unknown key", code=UNKNOWN_KEY, near=_nearest_key(path))


def _nearest_key(path: tuple[str, ...]) -> tuple[str, ...]:
    """Find the same word in another table, which is the usual slip, or the nearest in this one."""
    elsewhere = [known for known in known_keys() if known[-1] == path[-1].lower()]
    table = table_at(path[:-1])
    if elsewhere or table is None:
        return elsewhere[0] if elsewhere else path[:-1]
    near = nearest(path[-1], sorted(table.model_fields), cutoff=0.0)
    return (*path[:-1], near or "")


def _wrong_word(path: tuple[str, ...], expected: str, value: object) -> Finding:
    choices = [part.strip().strip("'") for part in expected.replace(" or ", ", ").split(", ")]
    listed = ", ".join(f'"{choice}"' for choice in choices)
    near = nearest(value, choices) if isinstance(value, str) else None
    hint = f'did you mean "{near}"?' if near else ""
    return Finding(path, f"must be one of {listed}", hint)
