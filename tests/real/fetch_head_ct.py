"""Fetches a real head CT from the system's package archive, without root and once a machine.

Owns where the scan is kept: in the user's cache, never in the project (the scan is GPL-2, the
project is not). Installs nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGE = "invesalius-examples"
MEMBER = "usr/share/doc/invesalius-examples/examples/Cranium.inv3"
SHA256 = "3b34f11f7c4f557f4c65cd6543c412a2f6ceb0cfecfd9c41184420e02d9b7e2a"


class HeadCtUnavailableError(Exception):
    """The scan cannot be had here. The text is one sentence that says why."""


def fetch_head_ct() -> Path:
    """Return the path of the scan, from the cache or else from the package archive.

    Raises HeadCtUnavailableError.
    """
    kept = _cache_folder() / "Cranium.inv3"
    if kept.is_file() and _digest(kept) == SHA256:
        return kept
    _require_tools()
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        found = _unpack(_download(Path(scratch)))
        if _digest(found) != SHA256:
            raise HeadCtUnavailableError(f"{PACKAGE} holds another Cranium.inv3 than expected.")
        found.replace(kept)
    return kept


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vpe-watcher-tests"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_tools() -> None:
    absent = [tool for tool in ("apt-get", "dpkg-deb") if not shutil.which(tool)]
    if absent:
        raise HeadCtUnavailableError(
            f"The real head CT comes from Debian's package {PACKAGE}, and this system has no "
            f"{' and no '.join(absent)}."
        )


def _download(folder: Path) -> Path:
    """Download the package with the system's own package lists, or else with fresh ones."""
    private = _private_lists(folder)
    if not _apt(folder, "download", PACKAGE):
        _apt(folder, *private, "update")
        if not _apt(folder, *private, "download", PACKAGE):
            raise HeadCtUnavailableError(
                f"The real head CT comes from Debian's package {PACKAGE}, and apt-get could not "
                "download it (is the package archive reachable, does it hold the package?)."
            )
    return next(folder.glob(f"{PACKAGE}_*.deb"))


def _private_lists(folder: Path) -> list[str]:
    """Return apt options that keep lists and caches in `folder`: the system's belong to root."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return ["-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]


def _apt(folder: Path, *words: str) -> bool:
    # As root, apt would fetch as a user who may not write into our folder.
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", *words]
    result = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, check=False, timeout=240)
    return result.returncode == 0 and ("update" in words or any(folder.glob("*.deb")))


def _unpack(package: Path) -> Path:
    target = package.parent / "unpacked"
    subprocess.run(["dpkg-deb", "-x", str(package), str(target)], check=True, timeout=120)
    return target / MEMBER
