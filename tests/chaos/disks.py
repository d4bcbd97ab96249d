"""Small disks in memory, in a mount namespace of our own, that fill up and are freed again.

Owns mounts and the file that fills them. Needs root: without it the folders lie on one ordinary
disk that never fills.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1 << 20
INSIDE = "VPE_CHAOS_INSIDE"
UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
# Which folders share a disk: results and archive are copied across file systems.
STATE = "s"
DISKS = {"a": ("inbox", "failed"), "b": ("outbox",), "c": ("archive",), STATE: ("state",)}


@dataclass(frozen=True, slots=True)
class Disk:
    """One mounted tmpfs."""

    place: Path

    def fill(self, *, leave_bytes: int) -> None:
        """Take all that is free but so much. Raises OSError if it cannot be had."""
        with contextlib.suppress(FileNotFoundError):
            self.free()
        balloon = os.open(self.place / "balloon", os.O_WRONLY | os.O_CREAT)
        try:
            free = os.fstatvfs(balloon)
            size = free.f_bavail * free.f_frsize - leave_bytes
            if size > 0:
                os.posix_fallocate(balloon, 0, size)
        except OSError as error:
            if error.errno != errno.ENOSPC:  # somebody took a block meanwhile: full enough
                raise
        finally:
            os.close(balloon)

    def free(self) -> None:
        """Give back what was taken."""
        (self.place / "balloon").unlink()

    def protect(self) -> bool:
        """Make it read-only; tell whether that was possible: nobody may be writing."""
        return self._remount("ro").returncode == 0

    def unprotect(self) -> None:
        """Let it be written again. Raises CalledProcessError if that cannot be."""
        self._remount("rw").check_returncode()

    def _remount(self, how: str) -> subprocess.CompletedProcess[bytes]:
        command = ["mount", "-o", f"remount,{how}", str(self.place)]
        return subprocess.run(command, check=False, capture_output=True)


def enter_namespace(module: str, words: Sequence[str]) -> str:
    """Become the same command in a namespace in which disks can be mounted.

    Returns where that cannot be: the reason why there are no disks. Inside it returns "".
    """
    if os.environ.get(INSIDE):
        return ""
    if os.geteuid() != 0:
        return "only root may mount them"
    if subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode:
        return "this system does not let root make a mount namespace"
    command = [*UNSHARE, sys.executable, "-m", module, *words]
    os.execvpe(command[0], command, os.environ | {INSIDE: "1"})  # noqa: S606 - our own words
    raise AssertionError("never reached")


def make_folders(
    root: Path, *, has_disks: bool, size_bytes: int
) -> tuple[dict[str, Path], dict[str, Disk]]:
    """Make every folder of a daemon below `root`; return them and the disks, both by name."""
    folders, disks = {}, {}
    for name, on_it in DISKS.items():
        place = root / f"disk-{name}"
        place.mkdir()
        if has_disks:
            size = f"size={size_bytes},mode=755"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", place], check=True)
            disks[name] = Disk(place)
        for folder in on_it:
            folders[folder] = place / folder
            folders[folder].mkdir(mode=0o700)
    return folders, disks
