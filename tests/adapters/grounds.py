"""Grounds to try the disk verbs on: real folders, and the simulated disk. One suite for both."""

from __future__ import annotations

import os
from pathlib import Path

from tests.simulation.disk import File, Folder, MemoryDisk, Node
from vpe_watcher.adapters.files import Disk


class RealGround:
    """Folders of two real file systems (`root` and `other`)."""

    def __init__(self, root: Path, other: Path) -> None:
        self.disk = Disk()
        self.root = root
        self.other = other

    def file(self, path: Path, content: bytes = b"content") -> Path:
        """Make a file, with the folders above it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def empty(self, path: Path) -> Path:
        """Make an empty folder."""
        path.mkdir()
        return path

    def link(self, path: Path) -> Path:
        """Make a link that leads nowhere."""
        path.symlink_to("nowhere")
        return path

    def content(self, path: Path) -> bytes:
        """Read a file."""
        return path.read_bytes()

    def tree(self, folder: Path) -> list[str]:
        """Name all that is below a folder."""
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))

    def open_files(self) -> int:
        """Count what this process has open."""
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count is all that is asked


class MemoryGround(RealGround):
    """Two file systems of a disk in memory."""

    def __init__(self, base: Path) -> None:
        self.memory = MemoryDisk(base, devices={"other": 1})
        self.disk = self.memory
        self.root, self.other = base / "root", base / "other"
        for folder in (self.root, self.other):
            self.memory.put_folder(folder)

    def file(self, path: Path, content: bytes = b"content") -> Path:
        """Make a file, with the folders above it."""
        self.memory.put(path, content)
        return path

    def empty(self, path: Path) -> Path:
        """Make an empty folder."""
        self.memory.put_folder(path)
        return path

    def link(self, path: Path) -> Path:
        """Make what is neither a file nor a folder."""
        self.memory.put_other(path)
        return path

    def content(self, path: Path) -> bytes:
        """Read a file."""
        node = self.memory.find(path)
        assert isinstance(node, File)
        return node.content

    def tree(self, folder: Path) -> list[str]:
        """Name all that is below a folder."""
        return sorted(_below(self.memory.find(folder)))


def _below(node: Node | None, prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, one in node.entries.items() if isinstance(node, Folder) else ():
        found += [f"{prefix}{name}", *_below(one, f"{prefix}{name}/")]
    return found
