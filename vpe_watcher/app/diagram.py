"""What of the documentation is printed from the code: table, configuration, commands, error codes.

A document names a part by a pair of HTML comments (in the manual page within comments of its own);
what stands between the two is written here and no other line is touched.
`python -m vpe_watcher.app.diagram FILE…` writes, `--check` only compares.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

EXIT_DIFFERS = 1
HELP_WIDTH = 78  # what the help itself leaves of 80 columns

_PART = re.compile(
    r'(?P<begin>(?P<hide>(?:\.\\" )?)<!-- printed: (?P<name>[a-z-]+) -->\n).*?'
    r"(?P<end>(?P=hide)<!-- end: (?P=name) -->)",
    re.DOTALL,
)
_KEY = re.compile(r"(?:# )?(?P<key>[A-Za-z_]+) = (?P<value>[^#]+?)(?: *# (?P<words>.+))?")
_TABLE = re.compile(r"(?:# )?(?P<table>\[[A-Za-z_.]+\])(?: *# (?P<words>.+))?")


def main(arguments: Sequence[str]) -> int:
    """Write the printed parts of documents; with `--check` tell by 1 that one differs.

    Raises:
        SystemExit: the command line is wrong, or a document holds no part at all.
    """
    parser = argparse.ArgumentParser(prog="python -m vpe_watcher.app.diagram", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 on old parts")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    wanted = parser.parse_args(arguments)
    outdated = []
    for file in wanted.files:
        before = file.read_text(encoding="utf-8")
        after = printed(before)
        if not _PART.search(before):
            parser.error(f"{file} holds no printed part")
        if before == after:
            continue
        outdated.append(file)
        if not wanted.check:
            file.write_text(after, encoding="utf-8")
    for file in outdated:
        sys.stderr.write(f"{file}: {'differs from the code' if wanted.check else 'written'}\n")
    return EXIT_DIFFERS if outdated and wanted.check else 0


def printed(document: str) -> str:
    """Return a document with its parts as the code has them now; `KeyError`: no such part."""
    parts: dict[str, Callable[[], str]] = {
        "machine": machine,
        "configuration": configuration,
        "commands": commands,
        "hints": hints,
        "manual": manual,
    }

    def anew(match: re.Match[str]) -> str:
        edge = "" if match["hide"] else "\n"  # in a manual page an empty line would show
        return f"{match['begin']}{edge}{parts[match['name']]().strip()}\n{edge}{match['end']}"

    return _PART.sub(anew, document)


def manual() -> str:
    """Return options and commands in the language of manual pages."""
    from vpe_watcher.app.manual import manual

    return manual()


def machine() -> str:
    """Return the transition table as a Mermaid diagram."""
    from vpe_watcher.core.machine import mermaid

    return f"```mermaid\n{mermaid()}```"


# --- the configuration ---------------------------------------------------------------------------


def configuration() -> str:
    """Return every key of the example configuration with its default and meaning."""
    from vpe_watcher.adapters.settings import example_config_text

    text = "\n".join(_configuration_lines(example_config_text().splitlines()))
    return re.sub(r"\n{3,}", "\n\n", text)


def _configuration_lines(lines: Sequence[str]) -> Iterator[str]:
    """Turn tables into headings, keys into rows, and comments on lines of their own into prose."""
    is_in_rows = False
    for line in lines:
        if key := _KEY.fullmatch(line):
            if not is_in_rows:
                yield from ("", "| key | default | meaning |", "| --- | --- | --- |")
            is_in_rows = True
            value, words = _cell(key["value"]), _cell(key["words"] or "for example")
            yield f"| `{key['key']}` | `{value}` | {words} |"
            continue
        is_in_rows = False
        if table := _TABLE.fullmatch(line):
            yield from ("", f"### `{table['table']}`", "")
            yield _sentence(table["words"] or "")
        else:
            yield line.removeprefix("#").strip()


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""


# --- the errors ----------------------------------------------------------------------------------


def hints() -> str:
    """Return every error code with the hints that the program gives with it."""
    from vpe_watcher.app.error_codes import hints_by_code

    rows = [f"| {_marked(word)} | {_listed(found)} |" for word, found in hints_by_code().items()]
    return "\n".join(("| code | hints |", "| --- | --- |", *rows))


def _marked(word: str) -> str:
    return word if word.startswith("(") else f"`{word}`"


def _listed(found: Sequence[str]) -> str:
    return "<br>".join(_cell(" ".join(hint.split())) for hint in found) or "none"


# --- the commands --------------------------------------------------------------------------------


def commands() -> str:
    """Return the help of every command, as `vpe-watcher COMMAND --help` prints it."""
    return "\n\n".join(f"### `{title}`\n\n```text\n{text}\n```" for title, text in _helps())


def _helps() -> Iterator[tuple[str, str]]:
    import typer

    from vpe_watcher.app.cli import PROGRAM, app

    group = typer.main.get_group(app)
    above = group.context_class(
        group,
        info_name=PROGRAM,
        help_option_names=["-h", "--help"],
        terminal_width=HELP_WIDTH,
        max_content_width=HELP_WIDTH,
    )
    for name, command in group.commands.items():
        context = command.context_class(command, info_name=name, parent=above)
        text = command.get_help(context)
        yield f"{PROGRAM} {name}", "\n".join(line.rstrip() for line in text.splitlines())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
