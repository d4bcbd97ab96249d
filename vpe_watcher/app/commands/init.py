"""`init`: a commented configuration and the folders that it names. Never changes what is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.app.result import Result
from vpe_watcher.core.errors import Refusal

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

NAME = "vpe-watcher.toml"
FOLDERS = ("inbox", "outbox", "archive", "failed")
STATE = "state"


def init(folder: Path, config: Path | None) -> Result:
    """Write a configuration into a folder and make the folders below it."""
    folder = folder.absolute()
    file = config.absolute() if config else folder / NAME
    try:
        _check_new(file)
        text = _text(folder, file)
        made = _make_folders(folder, text)
        with file.open("x", encoding="utf-8") as stream:
            # A person may write the secret itself into it.
            os.fchmod(stream.fileno(), 0o640)
            stream.write(text)
    except OSError as error:
        raise Refusal(
            f"Cannot write {error.filename or folder}: {error.strerror}.",
            code="cannot_write",
            hint="Choose a folder that you may write to.",
        ) from error
    lines = (f"wrote {file}", *(f"made {path}" for path in made))
    return Result(lines=lines, messages=_next_steps(file))


def _check_new(file: Path) -> None:
    if os.path.lexists(file):
        raise Refusal(
            f"There is a configuration already: {file}",
            code="config_exists",
            hint="Edit it, or choose another folder: vpe-watcher init DIR",
        )


def _text(folder: Path, file: Path) -> str:
    """Return the example with its folders below this one, relative where the file is there too."""
    import tomlkit

    from vpe_watcher.adapters.settings import example_config_text

    document = tomlkit.parse(example_config_text())
    base = Path() if file.parent == folder else folder
    for name in FOLDERS:
        _set(document, name, str(base / name))
    _set(document, "state_file", str(base / STATE / "state.sqlite3"))
    return tomlkit.dumps(document)


def _set(document: TOMLDocument, key: str, value: str) -> None:
    """Change a value and keep the comment behind it."""
    import tomlkit

    item = tomlkit.item(value)
    known = document[key]
    item.trivia.indent = known.trivia.indent
    item.trivia.comment_ws = known.trivia.comment_ws
    item.trivia.comment = known.trivia.comment
    document[key] = item


def _make_folders(folder: Path, text: str) -> list[Path]:
    """Make what is missing: the four folders, the recipes' inboxes, the state folder (0700)."""
    import tomlkit

    document = tomlkit.parse(text).unwrap()
    recipes = [
        Path(table["inbox"]) if "inbox" in table else Path("inbox", name)
        for name, table in document.get("recipes", {}).items()
        if name != "default"
    ]
    wanted = [folder / path for path in (*map(Path, FOLDERS), *recipes)]
    made = [path for path in wanted if not path.is_dir()]
    for path in made:
        path.mkdir(parents=True)
    state = folder / STATE
    if not state.exists():
        state.mkdir(mode=0o700)
        state.chmod(0o700)
        made.append(state)
    return made


def _next_steps(file: Path) -> tuple[str, ...]:
    steps: tuple[str, ...] = (
        "Next:",
        f"  1. Write the vendor's client_id and client_secret_file into {file}",
        f"  2. vpe-watcher check --config {file}",
        f"  3. vpe-watcher run --config {file}",
    )
    if os.geteuid() == 0:
        steps += ("All of this belongs to root: chown it to the user of the service.",)
    return steps
