"""What the command line offers, as values: commands, options, arguments, examples.

The manual and the completion know the commands by this alone; `cli` says them once.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

HELP_NAMES = ["-h", "--help"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """An option (with `names`) or an argument (without); `value` is its word, none for a switch."""

    names: tuple[str, ...]
    value: str
    words: str
    is_required: bool
    is_repeated: bool


@dataclass(frozen=True, slots=True)
class Command:
    """A command and all that can be said to it; the program itself has no name."""

    name: str
    summary: str
    options: tuple[Parameter, ...]
    arguments: tuple[Parameter, ...]
    examples: tuple[str, ...]


def commands() -> dict[str, Command]:
    """Return the commands by name, as the help lists them; under "" the program itself."""
    import typer

    from vpe_watcher.app.cli import PROGRAM, app

    group = typer.main.get_group(app)
    above = group.context_class(group, info_name=PROGRAM, help_option_names=HELP_NAMES)
    found = {"": _command("", group, above)}
    for name, command in group.commands.items():
        context = command.context_class(command, info_name=name, parent=above)
        found[name] = _command(name, command, context)
    return found


def _command(name: str, command: Any, context: Any) -> Command:
    shown = [entry for entry in command.get_params(context) if entry.get_help_record(context)]
    parameters = [_parameter(entry, context) for entry in shown]
    _, _, examples = inspect.cleandoc(command.epilog or "").partition("\b\n")
    return Command(
        name,
        inspect.cleandoc(command.help or ""),
        tuple(entry for entry in parameters if entry.names),
        tuple(entry for entry in parameters if not entry.names),
        tuple(line.strip() for line in examples.split("\n\n")[0].splitlines()),
    )


def _parameter(entry: Any, context: Any) -> Parameter:
    is_option = entry.param_type_name == "option"
    names: Sequence[str] = [*entry.opts, *entry.secondary_opts] if is_option else ()
    return Parameter(
        tuple(sorted(names, key=len)),
        "" if is_option and entry.is_flag else entry.metavar or "",
        entry.get_help_record(context)[1],
        bool(entry.required),
        bool(entry.multiple if is_option else entry.nargs == -1),
    )
