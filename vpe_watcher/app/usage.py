"""How the help looks: arguments as people write them (`CASE...`, `[DIR]`), sentences whole.

Owns nothing but that form; what is said stands in `cli`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

Function = TypeVar("Function", bound=Callable[..., Any])

BRACES = str.maketrans("", "", "{}")
UNBROKEN = "\u2011"  # stands for a hyphen until the lines are made


class _Whole:
    """A help whose lines end between words, not within a path or an option."""

    def get_help(self, ctx: Any) -> str:
        """Return the whole help."""
        return str(super().get_help(ctx)).replace(UNBROKEN, "-")  # type: ignore[misc]


def _whole(text: str) -> str:
    return text.replace("-", UNBROKEN)


class Command(_Whole, TyperCommand):
    """A command whose help shows no Python type, and no braces around what must be given."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what follows the command's name in its first line."""
        return [piece.translate(BRACES) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the options, one a row."""
        rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row:
                kind = parameter.param_type_name
                name = parameter.metavar if kind == "argument" else row[0]
                rows[kind].append((name or row[0], _whole(row[1])))
        for kind, found in rows.items():
            if found:
                with formatter.section(f"{kind.capitalize()}s"):
                    formatter.write_dl(found)


class Group(_Whole, TyperGroup):
    """A program whose help says of each command the whole sentence, in two lines if need be."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, one a row."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, _whole(self.commands[name].help or "")) for name in self.list_commands(ctx)]
            )


class Commands(typer.Typer):
    """A command line of which every command is a `Command`."""

    def command(self, *names: Any, **settings: Any) -> Callable[[Function], Function]:
        """Add a command, as Typer does."""
        return super().command(*names, **{"cls": Command} | settings)
