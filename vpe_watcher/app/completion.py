"""What may come next on a command line: commands, options, files, states, recipes, cases.

Owns how a line is read up to the cursor, and the answer to the scripts in `shells/`, which know no
word themselves. Changes nothing, and offers nothing where something cannot be read.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.app.catalogue import Command, Parameter, commands
from vpe_watcher.core.printable import printable

if TYPE_CHECKING:
    from vpe_watcher.adapters.store.glances import Glimpse

END = "\0"  # no line holds it: it shows in which word the cursor stands
SHELLS = ("bash", "zsh", "fish")
KINDS = {"FILE": "files", "PATH": "files", "DIR": "folders"}
"""Which values the shell itself completes; the answer's first line tells it so."""
WORDS = "words"

_OBEYED = re.compile(r"[^\w@%+=:,./-]")
_OBEYED_IN_QUOTES = re.compile(r'[$`"\\]')
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True, slots=True)
class Offer:
    """What may come next: words with what they mean, or a kind of files from the shell."""

    kind: str = WORDS
    words: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A command line up to the cursor: what follows the program, what is begun in which quote."""

    words: list[str]
    begun: str
    quote: str


@dataclass(slots=True)
class Said:
    """What of a command was said before the cursor."""

    arguments: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    awaits: Parameter | None = None
    has_only_arguments: bool = False  # after `--`


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is asked for: in which command, what was said, what is begun."""

    command: str
    said: Said
    begun: str


def script(shell: str) -> str:
    """Return the script for a shell that asks `answer` at each Tab."""
    from importlib import resources

    file = resources.files("vpe_watcher.app").joinpath("shells", f"completion.{shell}")
    return file.read_text(encoding="utf-8")


def answer(line: str, replaced: str | None = None) -> str:
    """Return for a script the kind of what may come, then one word with its meaning a line.

    `line` is what stands before the cursor, as it was typed. bash says by `replaced` which end of
    it will be put anew (it ends words at `=` and `:`), and wants the words quoted.
    """
    offered = offer(line)
    words = dict(offered.words)
    if replaced is not None:
        typed, new = split(line), split(replaced).begun
        kept = len(typed.begun) - len(new) if typed.begun.endswith(new) else 0
        words = {_quoted(word[kept:], typed.quote): words[word] for word in words}
    return "\n".join([offered.kind, *(f"{word}\t{meaning}" for word, meaning in words.items())])


def _quoted(word: str, quote: str) -> str:
    """Return a word as bash takes it, after an open quote or none, so that nothing is obeyed."""
    if quote == "'":
        return word.replace("'", "'\\''")
    return (_OBEYED_IN_QUOTES if quote else _OBEYED).sub(r"\\\g<0>", word)


def offer(line: str) -> Offer:
    """Return what may come next on a command line."""
    typed = split(line)
    known = commands()
    name = next((word for word in typed.words if not word.startswith("-")), "")
    command = known.get(name)
    if command is None:
        return Offer()
    if not name and not typed.begun.startswith("-"):
        return _fitting(typed.begun, ((name, known[name].summary) for name in known if name))
    said = _said(command, typed.words[typed.words.index(name) + 1 :] if name else typed.words)
    return _in_command(command, Place(name, said, typed.begun))


def split(line: str) -> Line:
    """Read the words of a line as a shell does; nothing in them is expanded."""
    for quote in ("", "'", '"'):
        with suppress(ValueError):  # a quote is open
            *words, begun = _words(f"{line}{END}{quote}")
            break
    else:
        return Line([], "", "")
    while words and _ASSIGNMENT.match(words[0]):
        del words[0]
    return Line(words[1:], begun.removesuffix(END), quote)


def _words(line: str) -> list[str]:
    reader = shlex.shlex(line, posix=True)
    reader.whitespace_split = True
    reader.commenters = ""
    return list(reader)


def _said(command: Command, words: Iterable[str]) -> Said:
    """Read what was said to a command, as far as it can be understood."""
    said = Said()
    named = {name: option for option in command.options for name in option.names}
    for word in words:
        if said.awaits:
            said.options[said.awaits.names[-1]] = word
            said.awaits = None
        elif said.has_only_arguments or not word.startswith("-") or word == "-":
            said.arguments.append(word)
        elif word == "--":
            said.has_only_arguments = True
        else:
            name, is_joined, value = word.partition("=")
            option = named.get(name)
            if option:
                said.options[option.names[-1]] = value
                said.awaits = option if option.value and not is_joined else None
    return said


def _in_command(command: Command, place: Place) -> Offer:
    """Return what may come next within a command."""
    said, begun = place.said, place.begun
    if said.awaits:
        return _values(said.awaits, place)
    if begun.startswith("-") and not said.has_only_arguments:
        return _option(command, place)
    arguments = command.arguments
    count = len(said.arguments)
    if count < len(arguments):
        return _values(arguments[count], place)
    if arguments and arguments[-1].is_repeated:
        return _values(arguments[-1], place)
    return Offer() if begun or said.has_only_arguments else _option(command, place)


def _option(command: Command, place: Place) -> Offer:
    """Return the options that were not given yet, or the values of `--option=`."""
    name, is_joined, value = place.begun.partition("=")
    if is_joined:
        options = [option for option in command.options if name in option.names and option.value]
        offered = _values(options[0], replace(place, begun=value)) if options else Offer()
        joined = tuple((f"{name}={word}", meaning) for word, meaning in offered.words)
        return replace(offered, words=joined)
    free = [
        option
        for option in command.options
        if option.is_repeated or option.names[-1] not in place.said.options
    ]
    return _fitting(place.begun, [(option.names[-1], option.words) for option in free])


def _values(parameter: Parameter, place: Place) -> Offer:
    """Return what an option or argument may be, by the word that stands for it in the help."""
    if parameter.value in KINDS:
        return Offer(KINDS[parameter.value])
    source = SOURCES.get(parameter.value)
    return _fitting(place.begun, source(place)) if source else Offer()


def _fitting(begun: str, entries: Iterable[tuple[str, str]]) -> Offer:
    return Offer(words=tuple(entry for entry in entries if entry[0].startswith(begun)))


# --- what stands in the configuration and the state file -----------------------------------------


def _shells(_: Place) -> Iterator[tuple[str, str]]:
    yield from ((shell, "") for shell in SHELLS)


def _states(_: Place) -> Iterator[tuple[str, str]]:
    from vpe_watcher.core.model import State

    yield from ((str(state), "") for state in State)


def _recipes(place: Place) -> Iterator[tuple[str, str]]:
    from vpe_watcher.app.commands.opened import settings_of
    from vpe_watcher.core.errors import WatcherError

    try:
        recipes = settings_of(_config(place)).recipes
    except (WatcherError, OSError):
        return
    yield from ((name, str(recipe.inbox)) for name, recipe in recipes.items())


def _cases(place: Place) -> Iterator[tuple[str, str]]:
    """Yield the newest cases that the command can be said of: names, ids where they tell more."""
    from vpe_watcher.adapters.store.glances import glimpses
    from vpe_watcher.app.commands.opened import settings_of
    from vpe_watcher.core.errors import WatcherError

    try:
        state_file = settings_of(_config(place)).state_file
        found = glimpses(state_file, place.begun, _open_to(place.command))
    except (WatcherError, OSError):
        return
    for case in found:
        if {case.case_id, case.case_name}.isdisjoint(place.said.arguments):
            yield from _ways_to_name(case, place.begun)


def _ways_to_name(case: Glimpse, begun: str) -> Iterator[tuple[str, str]]:
    name = case.case_name
    is_usable = name.isprintable() and "\ufffd" not in name and not name.startswith("-")
    is_told = is_usable and case.namesakes == 1
    if is_told:
        yield name, f"{case.case_id}, {case.state}"
    if begun or not is_told:
        yield case.case_id, f"{printable(name)}, {case.state}"


def _open_to(command: str) -> frozenset[str]:
    """Return the states of the cases that a command may be said of."""
    from vpe_watcher.core.model import AT_REST, State

    states = {"retry": AT_REST - {State.DONE}, "cancel": frozenset(State) - AT_REST}
    return frozenset(map(str, states.get(command, frozenset(State))))


def _config(place: Place) -> Path | None:
    value = place.said.options.get("--config")
    return Path(value).expanduser() if value else None


SOURCES: Mapping[str, Callable[[Place], Iterable[tuple[str, str]]]] = {
    "CASE": _cases,
    "RECIPE": _recipes,
    "SHELL": _shells,
    "STATE": _states,
}
