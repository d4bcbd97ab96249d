"""Where the state file of a configuration with mistakes is: a daemon may still run on it.

Guesses from the text. Never checks anything, and never says what is wrong.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from vpe_watcher.adapters.settings.model import Document
from vpe_watcher.adapters.settings.sources import PREFIX, find_config

OF_INIT = Path("state", "state.sqlite3")  # beside the file: what `init` writes
_LINE = re.compile(r"""^\s*state_file\s*=\s*(["'])(?P<path>[^"'\n]+)\1""", re.MULTILINE)


def state_files_despite(
    config: Path | None, *, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> tuple[Path, ...]:
    """Return the state file that a configuration names, whatever else is wrong with it.

    Where it names none any more: what it may have been, the likeliest first.
    """
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd.absolute()
    named, base = environ.get(f"{PREFIX}STATE_FILE", ""), cwd
    file = None if named else find_config(config, environ, cwd)
    if file is not None:
        named, base = _named_in(file), file.parent
    if named:
        return (Path(os.path.normpath(base / named)),)
    default: Path = Document.model_fields["state_file"].default
    return (base / OF_INIT, default)


def _named_in(file: Path) -> str:
    try:
        if not file.is_file():
            return ""
        match = _LINE.search(file.read_text(encoding="utf-8-sig", errors="replace"))
    except OSError:
        return ""
    return match["path"] if match else ""
