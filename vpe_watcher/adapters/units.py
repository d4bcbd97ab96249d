"""Files for systemd: those shipped with us, those that lie in /etc, and the tools that read them.

Owns the seal by which a file of ours that nobody changed is known. Decides nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from enum import Enum
from pathlib import Path

from vpe_watcher.core.errors import Refusal

PACKAGE = Path(__file__).parent.parent
RUNS = Path("/run/systemd/system")  # there while systemd is PID 1: sd_booted(3)
TOOL_TIMEOUT_S = 120
MODE = 0o644
NEW = ".new"
_SEAL = re.compile(r"# Installed by vpe-watcher \S+, as sha256:([0-9a-f]{64})\n")


class Found(Enum):
    """What lies where a file of ours belongs."""

    NOTHING = "nothing"
    SAME = "the same file"
    OURS = "another of ours, as it was installed"
    CHANGED = "somebody's own"


def shipped(name: str) -> str:
    """Return the text of a file below `systemd/`: in the package, or beside it in a checkout."""
    inside = PACKAGE / "systemd"
    folder = inside if inside.is_dir() else PACKAGE.parent / "systemd"
    return (folder / name).read_text(encoding="utf-8")


def sealed(text: str, *, version: str) -> str:
    """Return a text with a first line that tells whether it was changed since."""
    return f"# Installed by vpe-watcher {version}, as sha256:{_digest(text)}\n{text}"


def found_at(path: Path, text: str) -> Found:
    """Tell what lies at a path where `text` (sealed) is wanted."""
    if path.is_symlink():
        return Found.CHANGED  # masked, or kept elsewhere
    if not path.exists():
        return Found.NOTHING
    there = path.read_bytes().decode("utf-8", "replace")
    if _body(there) == _body(text):
        return Found.SAME
    return Found.OURS if is_as_installed(there) else Found.CHANGED


def is_as_installed(text: str) -> bool:
    """Tell whether a file of ours is as we wrote it."""
    seal = _SEAL.match(text)
    return seal is not None and seal[1] == _digest(_body(text))


def write(path: Path, text: str, *, mode: int = MODE) -> None:
    """Write a file whole or not at all, in the place of what is there; its folder is made.

    It belongs to the group of its folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    with draft.open("x", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), mode)
        os.fchown(stream.fileno(), -1, path.parent.stat().st_gid)
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)


def is_running() -> bool:
    """Tell whether systemd runs this machine."""
    return RUNS.is_dir()


def call(*words: str) -> str:
    """Run one of systemd's tools and return what it says.

    Raises:
        Refusal: it is not there, or says no.
    """
    tool = shutil.which(words[0])
    if tool is None:
        raise Refusal(
            f"There is no {words[0]} on this machine.",
            code="no_systemd",
            hint="This command is for machines with systemd; elsewhere start `vpe-watcher run` by "
            "the supervisor that you have.",
        )
    done = subprocess.run(  # noqa: S603 - the words are ours
        [tool, *words[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TOOL_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise Refusal(
            f"{' '.join(words)} failed: {' '.join(done.stderr.split()) or done.returncode}",
            code="systemd_refused",
            hint="What was done before stays; run the command again when that is put right.",
        )
    return done.stdout


def _body(text: str) -> str:
    return _SEAL.sub("", text, count=1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
