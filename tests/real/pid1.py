"""A machine of its own with systemd as process 1: systemd-nspawn on an overlay of this system.

Owns that machine: its boot, the program installed in it from a wheel, its disks that can be frozen,
and its end. It has a network of its own, with loopback alone. Needs the world of `inside`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
HOME = "/opt/vpe-watcher"
COMMAND = f"{HOME}/bin/vpe-watcher"
PACKAGES = "/opt/packages"
PYTHON = "/opt/python"
BOOT = "basic.target"
BOOT_WITHIN_S = 30
DISK_SIZE = 48 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Box:
    """The machine: its file system as seen from here, and the process that is its number 1."""

    root: Path
    leader: int

    def try_(self, *words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        return subprocess.run(
            ["nsenter", "-t", str(self.leader), "-a", *words],
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )

    def run(self, *words: str) -> str:
        """Run a command in it that must succeed; return what it says."""
        done = self.try_(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def journal(self, unit: str, *more: str) -> list[dict[str, Any]]:
        """Return what the journal has of a unit, oldest first."""
        text = self.run("journalctl", "--no-pager", "-o", "json", "-u", unit, *more)
        return [json.loads(line) for line in text.splitlines()]

    def at(self, path: str) -> Path:
        """Return where a path of its lies from here."""
        return self.root / path.lstrip("/")

    def wait(self, is_so: Callable[[], object], complaint: str, *, timeout_s: float = 30) -> None:
        """Wait until something is so; fail with the last words of the journal."""
        end = time.monotonic() + timeout_s
        while not is_so():
            if time.monotonic() > end:
                words = self.run("journalctl", "--no-pager", "-n", "40", "-o", "short-monotonic")
                pytest.fail(f"{complaint}. The journal ends:\n{words}", pytrace=False)
            time.sleep(0.2)


@contextmanager
def running_box(scratch: Path, disks: Sequence[str] = ()) -> Iterator[Box]:
    """Boot the machine with the program installed; each of `disks` is a file system of its own."""
    with ExitStack() as stack:
        root = stack.enter_context(_overlay(scratch))
        for number, folder in enumerate(disks):
            stack.enter_context(_disk(scratch / f"disk-{number}", root / folder.lstrip("/")))
        (root / "opt" / "dist").mkdir(parents=True)
        _build_wheel(root / "opt" / "dist")
        (root / "etc" / "machine-id").write_text("")
        box = stack.enter_context(_booted(root, scratch / "console"))
        _install(box)
        yield box


@contextmanager
def frozen(folder: Path) -> Iterator[None]:
    """Let every write to a file system hang until the block ends, as a disk that is gone does."""
    subprocess.run(["fsfreeze", "--freeze", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", str(folder)], check=False)


@contextmanager
def _mount(*words: str, at: Path) -> Iterator[Path]:
    at.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *words, str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@contextmanager
def _overlay(scratch: Path) -> Iterator[Path]:
    """Give what this system is a second life in which all changes are forgotten."""
    with _mount("-t", "tmpfs", "tmpfs", at=scratch / "layer") as layer:
        for name in ("upper", "work"):
            (layer / name).mkdir()
        options = f"lowerdir=/,upperdir={layer / 'upper'},workdir={layer / 'work'}"
        with _mount("-t", "overlay", "overlay", "-o", options, at=layer / "root") as root:
            yield root


@contextmanager
def _disk(image: Path, folder: Path) -> Iterator[Path]:
    """Mount a small ext4 file system, which can be frozen, on a folder."""
    with image.open("wb") as file:
        file.truncate(DISK_SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    with _mount("-o", "loop", str(image), at=folder):
        yield folder


@contextmanager
def _booted(root: Path, console: Path) -> Iterator[Box]:
    command = [
        *("systemd-nspawn", "--quiet", "-D", str(root), "--register=no", "--keep-unit"),
        *("--private-network", "--link-journal=no", "--console=pipe"),
        f"--bind-ro={sysconfig.get_path('purelib')}:{PACKAGES}",
        f"--bind-ro={sys.base_prefix}:{PYTHON}",
        *("-b", f"systemd.unit={BOOT}"),
    ]
    with (
        console.open("wb") as words,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True
        ) as nspawn,
    ):
        try:
            box = _first_up(root, nspawn, console)
            yield box
        finally:
            nspawn.kill()  # its processes have no other parent: they go with it
            with suppress(subprocess.TimeoutExpired):
                nspawn.wait(20)


def _first_up(root: Path, nspawn: subprocess.Popen[bytes], console: Path) -> Box:
    """Wait until it is up. While it boots, nspawn's child is not yet the one that stays."""
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")
    end, said = time.monotonic() + BOOT_WITHIN_S, ""
    while nspawn.poll() is None and time.monotonic() < end:
        for child in children.read_text().split():
            box = Box(root, int(child))
            said = box.try_("systemctl", "is-system-running").stdout.strip()
            if said == "running":
                return box
        time.sleep(0.1)
    raise AssertionError(f"it is {said!r}: {console.read_text(errors='replace')[-3000:]}")


def _build_wheel(folder: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True, timeout=120)


def _install(box: Box) -> None:
    """Install the wheel as the README says; what it needs is there already, under /opt/packages."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # The system's own, as the README says, if the packages fit it: one in somebody's home may load
    # its library from there, which a service does not see.
    python = shutil.which(version, path="/usr/bin") or f"{PYTHON}/bin/{version}"
    box.run(python, "-m", "venv", "--without-pip", HOME)
    (wheel,) = box.at("/opt/dist").iterdir()
    pip = ["env", f"PYTHONPATH={PACKAGES}", f"{HOME}/bin/python", "-m", "pip", "install", "--quiet"]
    box.run(*pip, "--no-deps", "--no-index", "--no-compile", f"/opt/dist/{wheel.name}")
    (site,) = box.at(f"{HOME}/lib").glob("python*/site-packages")
    # As a folder of a path file, it comes after what was installed here.
    (site / "needed.pth").write_text(f"{PACKAGES}\n")


def wipe(folder: Path) -> None:
    """Remove what is in a folder, and leave the folder, which may be a mount point."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            if os.path.ismount(path):
                wipe(path)
            else:
                shutil.rmtree(path)
        elif path.name != "lost+found":
            path.unlink()
