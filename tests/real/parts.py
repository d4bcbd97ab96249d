"""The real servers and tools of the suite, unpacked into a folder that can be laid over `/usr`.

Owns which packages these are and when they must be fetched again. Nothing is installed: `inside`
lays the folder over the system for the processes of one test run, and for them alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.real.packages import cache_folder, download_missing, unpack

PACKAGES = (
    *("dcmtk", "orthanc", "samba", "smbclient", "fuse3", "libgdcm-tools", "iproute2"),
    *("fiu-utils", "systemd-container", "zsh", "fish", "mandoc", "groff"),
)
# Packages of before the merger of / and /usr; the rest (etc, var) is not needed.
OUTSIDE_USR = ("bin", "sbin", "lib")
DPKG_STATUS = Path("/var/lib/dpkg/status")


def fetch_parts() -> Path:
    """Return a folder that holds, below `usr`, all that this system lacks of the parts.

    Fetched once for each state of the system's packages. Raises PackagesUnavailableError.
    """
    kept = cache_folder() / f"parts-{_state_of_system()}"
    if kept.is_dir():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        tree = Path(scratch) / "tree"
        (tree / "usr").mkdir(parents=True)
        for package in download_missing(PACKAGES, Path(scratch)):
            unpack(package, tree)
        for name in OUTSIDE_USR:
            _merge(tree / name, tree / "usr" / name)
        tree.replace(kept)
    return kept


def _state_of_system() -> str:
    """Return a name for what is installed and what is asked: what lacks depends on both."""
    status = DPKG_STATUS.read_bytes() if DPKG_STATUS.exists() else b""
    return hashlib.sha256(status + repr(PACKAGES).encode()).hexdigest()[:16]


def _merge(source: Path, target: Path) -> None:
    if not source.is_dir():
        return
    subprocess.run(["cp", "-a", f"{source}{os.sep}.", str(target)], check=True, timeout=60)
    shutil.rmtree(source)
