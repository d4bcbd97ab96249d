"""The commands as a part of the manual page, in the language of man(7).

Owns the markup; the words are those of `cli`. What else the page says stands in the page.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator

from vpe_watcher.app.catalogue import Command, Parameter, commands

COMMON_FROM = 4
"""An option that so many commands have in the same words is described once, before them."""

HELP = "--help"
WIDTH = 70  # with what is marked up still within the 80 that mandoc asks for

_MARKUP = {"\\": r"\e", "-": r"\-", "~": r"\(ti", "^": r"\(ha", "`": r"\(ga", "'": r"\(aq"}


def manual() -> str:
    """Return what the manual page prints of the code: the options that many have, the commands."""
    known = [command for command in commands().values() if command.name]
    counted = Counter(option for command in known for option in command.options)
    common = [option for option, count in counted.items() if count >= COMMON_FROM]
    return "\n".join(
        (
            ".SH OPTIONS",
            "Of most commands:",
            *_rows(common),
            ".SH COMMANDS",
            *(line for command in known for line in _section(command, common)),
        )
    )


def roff(text: str) -> str:
    """Return a text as roff takes it: nothing in it is obeyed, and what looks so is typed so."""
    text = re.sub(r"[\\\-~^`']", lambda match: _MARKUP[match[0]], text)
    return rf"\&{text}" if text.startswith(".") else text


def _section(command: Command, common: Iterable[Parameter]) -> Iterator[str]:
    yield f".SS {command.name}"
    yield f".B {command.name}"
    said = [entry for entry in (*command.options, *command.arguments) if HELP not in entry.names]
    yield from map(_synopsis, said)
    yield from (".PP", *_prose(command.summary))
    own = [option for option in command.options if option not in common]
    yield from _rows([*command.arguments, *own])
    if command.examples:
        yield from (".PP", ".nf", ".RS", *map(roff, command.examples), ".RE", ".fi")


def _synopsis(entry: Parameter) -> str:
    name = rf"\fB{roff(entry.names[-1])}\fR" if entry.names else ""
    value = rf"\fI{roff(entry.value)}\fR" if entry.value else ""
    said = f"{name} {value}".strip()
    if not entry.is_required:
        said = f"[{said}]"
    return f"{said}..." if entry.is_repeated else said


def _rows(entries: Iterable[Parameter]) -> Iterator[str]:
    for entry in entries:
        names = ", ".join(rf"\fB{roff(name)}\fR" for name in entry.names)
        value = rf"\fI{roff(entry.value)}\fR" if entry.value else ""
        yield from (".TP", f"{names} {value}".strip(), *_prose(entry.words))


def _prose(text: str) -> Iterator[str]:
    lines = textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    yield from map(roff, lines)
