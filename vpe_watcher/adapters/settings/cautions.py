"""What works and is still worth a word to the operator.

Owns the list of warnings about a configuration. Never rejects anything and never opens a file.
"""

from __future__ import annotations

import stat

from vpe_watcher.adapters.settings.mistakes import Mistake
from vpe_watcher.adapters.settings.recipes import Settings
from vpe_watcher.adapters.settings.structures import structure_warnings


def warnings(settings: Settings) -> list[Mistake]:
    """Return likely typing errors in `outputFiles`, and secrets that every user can read."""
    return _readable_secrets(settings) + structure_warnings(settings)


def _readable_secrets(settings: Settings) -> list[Mistake]:
    """Look at the file's mode afresh; a file that has gone since shows nobody anything."""
    file = settings.config_file
    try:
        mode = file.stat().st_mode if file is not None else 0
    except OSError:
        return []
    if not mode & stat.S_IROTH:
        return []
    return [
        Mistake(
            "secret_in_readable_file",
            f"{name} in {file}: every user can read this file (mode {stat.S_IMODE(mode):04o})",
            f"chmod 0640 {file}, or put the secret into a file of its own: "
            f"{name.rpartition('.')[2]}_file",
        )
        for name in settings.secrets_in_file
    ]
