"""Brings Debian packages onto this machine without installing them, and without root.

Owns how the system's package archive is asked. What is unpacked runs no maintainer script: no
service is installed, enabled or started.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

TIMEOUT_S = 600


class PackagesUnavailableError(Exception):
    """Packages cannot be had here. The text is one sentence that says why."""


def cache_folder() -> Path:
    """Return the folder for what was fetched: in the user's cache, never in the project."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vpe-watcher-tests"


def download(package: str, folder: Path) -> Path:
    """Download one package into `folder`; raise PackagesUnavailableError."""
    _fetch(["download"], [package], folder)
    return next(folder.glob(f"{package}_*.deb"))


def download_missing(packages: Sequence[str], folder: Path) -> list[Path]:
    """Download what `packages` need and this system lacks; raise PackagesUnavailableError."""
    _fetch(["install", "--download-only", "--yes", "--no-install-recommends"], packages, folder)
    return sorted((folder / "cache" / "archives").glob("*.deb"))


def unpack(package: Path, target: Path) -> None:
    """Unpack the files of a package below `target`."""
    subprocess.run(["dpkg-deb", "-x", str(package), str(target)], check=True, timeout=TIMEOUT_S)


def _fetch(verb: list[str], packages: Sequence[str], folder: Path) -> None:
    """Ask with the system's own package lists, or else with fresh ones."""
    _require_tools(packages)
    cache, lists = _private_folders(folder)
    if _apt(folder, *cache, *verb, *packages):
        return
    _apt(folder, *cache, *lists, "update")
    if not _apt(folder, *cache, *lists, *verb, *packages):
        raise PackagesUnavailableError(
            f"apt-get could not download {_listed(packages)} (is the package archive reachable, "
            "does it hold the packages?)."
        )


def _require_tools(packages: Sequence[str]) -> None:
    absent = [tool for tool in ("apt-get", "dpkg-deb") if not shutil.which(tool)]
    if absent:
        raise PackagesUnavailableError(
            f"These tests need from Debian's package archive: {_listed(packages)}; this system has "
            f"no {' and no '.join(absent)}."
        )


def _listed(packages: Sequence[str]) -> str:
    return ", ".join(packages)


def _private_folders(folder: Path) -> tuple[list[str], list[str]]:
    """Return apt options that keep cache and lists in `folder`: the system's belong to root."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return (
        ["-o", f"Dir::Cache={folder / 'cache'}", "-o", "Debug::NoLocking=1"],
        ["-o", f"Dir::State::Lists={folder / 'lists'}"],
    )


def _apt(folder: Path, *words: str) -> bool:
    # As root, apt would fetch as a user who may not write into our folder.
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", *words]
    result = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=False,
        timeout=TIMEOUT_S,
    )
    return result.returncode == 0
