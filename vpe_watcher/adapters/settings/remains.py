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

_LINE = re.compile(r"""^\s*state_file\s*=\s*(["'])(?P<path>[^"'\n]+)\1""", re.MULTILINE)


def state_file_despite(
    config: Path | None, *, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Path:
    """Return the state file that a configuration names, whatever else is wrong with it."""
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd.absolute()
    named, base = environ.get(f"{PREFIX}STATE_FILE", ""), cwd
    file = None if named else find_config(config, environ, cwd)
    if file is not None:
        named, base = _named_in(file), file.parent
    default: Path = Document.model_fields["state_file"].default
    return Path(os.path.normpath(base / named)) if named else default


def _named_in(file: Path) -> str:
    try:
        match = _LINE.search(file.read_text(encoding="utf-8-sig", errors="replace"))
    except OSError:
        return ""
    return match["path"] if match else ""
