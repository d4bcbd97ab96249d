"""Secret files: checked when the configuration is read, read when the secret is needed.

Never keeps what it read and never names anything but the path.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vpe_watcher.core.errors import ConfigError

FOR_OTHERS = 0o007


def fault_of(path: Path) -> tuple[str, str] | None:
    """Return reason and hint why a secret file cannot be used, or None if it can."""
    try:
        found = path.stat()
    except OSError as error:
        return (
            f"the file {path} cannot be used ({error.strerror})",
            "check the path and its folders",
        )
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is not a regular file", "name a file that holds the secret and nothing else"
    if found.st_mode & FOR_OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        return f"the file {path} is open to every user (mode {mode:04o})", f"chmod 0600 {path}"
    if not os.access(path, os.R_OK):
        return f"the file {path} may not be read by this user", f"chown or chgrp {path}"
    if found.st_size == 0:
        return f"the file {path} is empty", "write the secret into it"
    return None


def read_secret(path: Path, *, key: str) -> str:
    """Read a secret afresh, without white space around it.

    Raises `ConfigError` (`secret_file`), also when the file has been opened to others since.
    """
    fault = fault_of(path)
    if fault is not None:
        reason, hint = fault
        raise ConfigError(f"{key}: {reason}", code="secret_file", hint=hint)
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{key}: the file {path} cannot be read as text",
            code="secret_file",
            hint="it must hold the secret alone, as plain text",
        ) from error
    if not secret:
        raise ConfigError(
            f"{key}: the file {path} is empty", code="secret_file", hint="write the secret into it"
        )
    return secret
