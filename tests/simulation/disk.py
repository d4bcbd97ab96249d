"""A disk in memory: the verbs of `Disk` on a tree of nodes, and what of it a power cut leaves.

Beside what a look shows, each file keeps its bytes as they were at its last sync, and each folder
its entries as they were at its last. What was changed since is a list of changes, any of which a
cut may have let through or not. What people write is durable at once. `reach` and `allow` do
nothing here: a simulation dies in the one and refuses in the other.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import BinaryIO, cast

from vpe_watcher.adapters.files import Disk, Entry
from vpe_watcher.core.model import FileMark, Kind

PLENTY_BYTES = 1 << 40


class Node:
    """What lies on the disk: a file, a folder, or (as itself) a link, socket, FIFO or device."""

    __slots__ = ("ctime_ns", "home", "inode", "kind", "mtime_ns")

    def __init__(self, inode: int, kind: Kind, now_ns: int) -> None:
        self.inode = inode
        self.kind = kind
        self.mtime_ns = self.ctime_ns = now_ns
        self.home: Folder | None = None  # the folder whose durable entries hold it


class File(Node):
    """A regular file. `synced` is what a cut leaves of it for certain; `writers` have it open."""

    __slots__ = ("content", "synced", "writers")

    def __init__(self, inode: int, now_ns: int) -> None:
        super().__init__(inode, Kind.FILE, now_ns)
        self.content = self.synced = b""
        self.writers = 0


class Folder(Node):
    """A folder: its entries now, and those at its last sync."""

    __slots__ = ("durable", "entries")

    def __init__(self, inode: int, now_ns: int) -> None:
        super().__init__(inode, Kind.FOLDER, now_ns)
        self.entries: dict[str, Node] = {}
        self.durable: dict[str, Node] = {}


# A change that no sync has made durable: the node, from where (None: it is new), and to where
# (None: it is removed).
Spot = tuple[Folder, str]
Change = tuple[Node, Spot | None, Spot | None]


class MemoryDisk(Disk):
    """The verbs below one folder. `devices` numbers the file systems of folders directly in it."""

    def __init__(
        self,
        base: Path,
        *,
        now_ns: Callable[[], int] = lambda: 0,
        devices: Mapping[str, int] | None = None,
    ) -> None:
        self.base = base
        self._depth = len(base.parts)
        self._now_ns = now_ns
        self._devices = dict(devices or {})
        self._made = 0
        self.version = 0
        self.root = Folder(self._number(), 0)
        self._changes: list[Change] = []

    # --- what a simulation puts in ----------------------------------------------------------------

    def reach(self, what: str) -> None:
        """Pass a moment at which the daemon may die."""

    def allow(self, verb: str, path: Path) -> None:
        """Pass the door of a verb, or be refused with an OSError."""

    # --- nodes ------------------------------------------------------------------------------------

    def find(self, path: Path) -> Node | None:
        """Return what lies at a path; None when nothing does."""
        node: Node | None = self.root
        for name in path.parts[self._depth :]:
            if not isinstance(node, Folder):
                return None
            node = node.entries.get(name)
        return node

    def folder(self, path: Path) -> Folder:
        """Return the folder at a path, or raise as the kernel does."""
        node = self.find(path)
        if node is None:
            raise _error(errno.ENOENT, path)
        if not isinstance(node, Folder):
            raise _error(errno.ENOTDIR, path)
        return node

    def _number(self) -> int:
        self._made += 1
        return self._made

    def _stamp(self) -> int:
        """Return a moment that no other change has."""
        self.version += 1
        return self._now_ns() + self.version

    def _device(self, path: Path) -> int:
        below = path.parts[self._depth : self._depth + 1]
        return self._devices.get(below[0], 0) if below else 0

    def _link(self, node: Node, folder: Folder, name: str) -> None:
        folder.entries[name] = node
        self._changes.append((node, None, (folder, name)))

    def _unlink(self, folder: Folder, name: str) -> None:
        node = folder.entries.pop(name)
        self._changes.append((node, (folder, name), None))
        self.version += 1

    # --- what people do: durable at once ----------------------------------------------------------

    def put(self, path: Path, content: bytes) -> File:
        """Write a file as people do; the folders above it come with it."""
        folder = self.put_folder(path.parent)
        node = folder.entries.get(path.name)
        if not isinstance(node, File):
            node = File(self._number(), self._stamp())
            self._settle(node, folder, path.name)
        self.rewrite(node, content)
        return node

    def rewrite(self, node: File, content: bytes) -> None:
        """Give a file another content, as its writers do."""
        node.content = node.synced = content
        node.mtime_ns = node.ctime_ns = self._stamp()

    def put_folder(self, path: Path) -> Folder:
        """Make a folder as people do."""
        node = self.root
        for name in path.parts[self._depth :]:
            below = node.entries.get(name)
            if not isinstance(below, Folder):
                below = Folder(self._number(), self._stamp())
                self._settle(below, node, name)
            node = below
        return node

    def put_other(self, path: Path) -> None:
        """Make something that is neither a file nor a folder."""
        node = Node(self._number(), Kind.OTHER, self._stamp())
        self._settle(node, self.put_folder(path.parent), path.name)

    def take_away(self, path: Path) -> Node | None:
        """Remove what lies at a path, as people do; return it.

        This is durable, so all that led to it is: no rename that brought it there comes back.
        """
        folder = self.find(path.parent)
        if not isinstance(folder, Folder) or path.name not in folder.entries:
            return None
        node = folder.entries.pop(path.name)
        if isinstance(node, Folder):
            self._sync_below(node)
        _leave_home(node)
        self._changes = [one for one in self._changes if one[0] is not node]
        self.version += 1
        return node

    def put_back(self, path: Path, node: Node) -> None:
        """Put a node at a path, as people do."""
        self._settle(node, self.put_folder(path.parent), path.name)
        self.version += 1

    def _settle(self, node: Node, folder: Folder, name: str) -> None:
        if folder.durable.get(name) not in {None, node}:
            self._settle_what_left(folder)  # what was there has gone elsewhere before this came
        folder.entries[name] = folder.durable[name] = node
        node.home = folder

    # --- looking ----------------------------------------------------------------------------------

    def look(self, path: Path) -> Entry | None:
        """Return what lies at a path."""
        self.allow("look", path)
        node = self.find(path)
        return None if node is None else Entry(path.name, node.kind, _mark(node))

    def listing(self, folder: Path) -> list[Entry]:
        """List a folder's entries, sorted by name."""
        self.allow("listing", folder)
        entries = sorted(self.folder(folder).entries.items())
        return [Entry(name, node.kind, _mark(node)) for name, node in entries]

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder."""
        self.allow("names", folder)
        return list(self.folder(folder).entries)

    def open(self, path: Path) -> BinaryIO:
        """Open a regular file for reading."""
        self.allow("open", path)
        node = self.find(path)
        if node is None:
            raise _error(errno.ENOENT, path)
        if not isinstance(node, File):
            raise _error(errno.ELOOP if node.kind is Kind.OTHER else errno.EINVAL, path)
        return _Reader(node.content)

    def free_bytes(self, folder: Path) -> int:
        """Return the bytes that may still be written."""
        self.allow("free_bytes", folder)
        return PLENTY_BYTES

    # --- changing ---------------------------------------------------------------------------------

    def make_folder(self, folder: Path, *, mode: int = 0o777) -> None:
        """Make a folder and those above it, durably."""
        self.allow("make_folder", folder)
        if isinstance(self.find(folder), Folder):
            return
        self.make_folder(folder.parent)
        above = self.folder(folder.parent)
        if folder.name not in above.entries:  # else the next verb tells that it is no folder
            self._link(Folder(self._number(), self._stamp()), above, folder.name)
            self.reach("folder made")
        try:
            self.sync_folder(folder.parent)
        except OSError:
            self._give_back(folder)
            raise

    def _give_back(self, path: Path) -> None:
        """Remove what could not be made whole, if the disk lets us."""
        above = self.find(path.parent)
        if isinstance(above, Folder) and path.name in above.entries:
            with suppress(OSError):
                self.allow("remove_file", path)
                self._unlink(above, path.name)

    def rename_unsynced(self, source: Path, target: Path) -> None:
        """Rename, and never replace."""
        self.allow("rename", source)
        self.allow("rename", target)
        self._rename(source, target, replaces=False)
        self.reach("renamed")

    def _rename(self, source: Path, target: Path, *, replaces: bool) -> None:
        old, new = self.folder(source.parent), self.folder(target.parent)
        if self._device(source) != self._device(target):
            raise _error(errno.EXDEV, source)
        node = old.entries.get(source.name)
        if node is None:
            raise _error(errno.ENOENT, source)
        if target.name in new.entries:
            if not replaces:
                raise _error(errno.EEXIST, target)
            if isinstance(new.entries[target.name], Folder):
                raise _error(errno.EISDIR, target)
        del old.entries[source.name]
        new.entries[target.name] = node
        node.ctime_ns = self._stamp()
        self._changes.append((node, (old, source.name), (new, target.name)))

    def create(self, path: Path, content: bytes) -> None:
        """Write a file in place and sync it."""
        self.allow("create", path)
        node = self._emptied(path)
        node.content = content[: len(content) // 2]
        self.reach("half written")
        try:
            self.allow("write", path)
        except OSError:
            self._give_back(path)
            raise
        node.content = content
        self.reach("written, not synced")
        self.sync_file(node)
        self.reach("written")

    def _emptied(self, path: Path) -> File:
        folder = self.folder(path.parent)
        node = folder.entries.get(path.name)
        if node is None:
            node = File(self._number(), self._stamp())
            self._link(node, folder, path.name)
        if not isinstance(node, File):
            raise _error(errno.EISDIR, path)
        node.content = b""
        node.mtime_ns = node.ctime_ns = self._stamp()
        return node

    def sync_file(self, node: File) -> None:
        """Make a file's bytes durable."""
        node.synced = node.content

    def replace(self, source: Path, target: Path) -> None:
        """Rename durably over a file of ours."""
        self.allow("replace", source)
        self.allow("replace", target)
        self._rename(source, target, replaces=True)
        self.reach("replaced")
        self.sync_folder(target.parent)

    @contextmanager
    def writing(self, path: Path) -> Iterator[BinaryIO]:
        """Open a temporary file for a stream; it is synced when the block ends well."""
        self.allow("writing", path)
        node = self._emptied(path)
        self.reach("opened")
        try:
            yield cast("BinaryIO", _Writer(self, node, path))
        except OSError:
            self._give_back(path)
            raise
        self.reach("streamed, not synced")
        self.sync_file(node)
        self.reach("streamed")

    def sync_folder(self, folder: Path) -> None:
        """Make a folder's entries durable; what has arrived is durable nowhere else.

        A rename is one change of a journal: it becomes durable in both of its folders.
        """
        self.allow("sync_folder", folder)
        self._make_durable(self.folder(folder))
        self.reach("folder synced")

    def _make_durable(self, folder: Folder) -> None:
        self._settle_what_left(folder)
        for gone in folder.durable.values():
            if gone.home is folder:
                gone.home = None
        for below in folder.entries.values():
            if below.home is not folder:
                _leave_home(below)
            below.home = folder
        folder.durable = dict(folder.entries)
        self._forget_changes(folder)

    def _forget_changes(self, folder: Folder) -> None:
        """Drop what a sync has made durable, and how what lies there now came there."""
        here = {id(one) for one in folder.entries.values()}
        self._changes = [
            one
            for one in self._changes
            if _settled_in(one) is not folder and id(one[0]) not in here
        ]

    def _settle_what_left(self, folder: Folder) -> None:
        for change in self._changes:
            one, before, after = change
            if before is None or after is None or before[0] is not folder:
                continue
            if folder.durable.get(before[1]) is one:
                del folder.durable[before[1]]
                after[0].durable[after[1]] = one
                one.home = after[0]

    def remove_file(self, path: Path) -> None:
        """Remove one file durably."""
        self.allow("remove_file", path)
        folder = self.find(path.parent)
        if not isinstance(folder, Folder) or path.name not in folder.entries:
            return
        if isinstance(folder.entries[path.name], Folder):
            raise _error(errno.EISDIR, path)
        self._unlink(folder, path.name)
        self.reach("file removed")
        self.sync_folder(path.parent)

    def remove_tree(self, folder: Path) -> None:
        """Remove a folder with all that is in it."""
        self.allow("remove_tree", folder)
        node = self.find(folder)
        if not isinstance(node, Folder):
            return
        self._clear(node)
        self._unlink(self.folder(folder.parent), folder.name)
        self.reach("folder removed")
        self.sync_folder(folder.parent)

    def _clear(self, folder: Folder) -> None:
        for name, node in list(folder.entries.items()):
            if isinstance(node, Folder):
                self._clear(node)
            self._unlink(folder, name)
            self.reach("half removed")

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file or a tree durably to a place of ours."""
        self.allow("copy", source)
        self.remove_tree(target)
        self.make_folder(target.parent)
        node = self.find(source)
        if node is None:
            raise _error(errno.ENOENT, source)
        above = self.folder(target.parent)
        try:
            self._copy(node, above, target.name, target)
        except OSError:
            self._give_back(target)
            raise
        self._sync_below(above.entries[target.name])
        self.reach("copied")

    def _copy(self, node: Node, above: Folder, name: str, target: Path) -> None:
        if isinstance(node, Folder):
            copied = Folder(self._number(), self._stamp())
            self._link(copied, above, name)
            for below, one in node.entries.items():
                self._copy(one, copied, below, target)
        elif isinstance(node, File):
            self.allow("write", target)
            twin = File(self._number(), self._stamp())
            above.entries.pop(name, None)
            self._link(twin, above, name)
            twin.content = node.content[: len(node.content) // 2]
            self.reach("half copied")
            twin.content, twin.mtime_ns = node.content, node.mtime_ns

    def _sync_below(self, node: Node) -> None:
        if isinstance(node, File):
            self.sync_file(node)
        elif isinstance(node, Folder):
            for below in node.entries.values():
                self._sync_below(below)
            self._make_durable(node)

    def sync_all(self, folder: Folder) -> None:
        """Make all below a folder durable, as an unmount does."""
        self._sync_below(folder)

    # --- the power --------------------------------------------------------------------------------

    def cut(self, chance: Random) -> None:
        """Leave what is durable, with some of what was under way, as chance has it."""
        for node, before, after in self._changes:
            if chance.random() < 0.5:
                continue
            if before is not None:
                folder, name = before
                if folder.durable.get(name) is not node:
                    continue  # what led there did not come through
                del folder.durable[name]
                node.home = None
            if after is not None:
                folder, name = after
                folder.durable[name] = node
                node.home = folder
        self._changes = []
        self.version += 1
        self._restore(self.root, chance)

    def _restore(self, folder: Folder, chance: Random) -> None:
        folder.entries = dict(folder.durable)
        for node in folder.entries.values():
            if isinstance(node, Folder):
                self._restore(node, chance)
            elif isinstance(node, File):
                node.writers = 0
                if node.content is not node.synced:
                    half = node.content[: len(node.content) // 2]
                    node.content = chance.choice((node.synced, half, node.content))
                    node.synced = node.content


def _leave_home(node: Node) -> None:
    """Take a node out of the durable entries that hold it."""
    home, node.home = node.home, None
    if home is not None:
        for name in [name for name, one in home.durable.items() if one is node]:
            del home.durable[name]


def _settled_in(change: Change) -> Folder | None:
    """Return the folder whose sync makes a change durable."""
    _, before, after = change
    spot = after or before
    return spot[0] if spot else None


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


def _mark(node: Node) -> FileMark:
    size = len(node.content) if isinstance(node, File) else 0
    return FileMark(size, node.mtime_ns, node.ctime_ns, node.inode)


class _Reader(io.BytesIO):
    """A file open for reading, as it is now; its descriptor is that of a copy."""

    _copy: int | None = None

    def fileno(self) -> int:
        """Return a descriptor of the same bytes."""
        if self._copy is None:
            self._copy = os.memfd_create("simulated")
            os.write(self._copy, self.getvalue())
        return self._copy

    def close(self) -> None:
        """Close, the copy too."""
        if self._copy is not None:
            os.close(self._copy)
            self._copy = None
        super().close()


class _Writer:
    """A file open for writing: what is written is seen at once, and not durable."""

    def __init__(self, disk: MemoryDisk, node: File, path: Path) -> None:
        self._disk = disk
        self._node = node
        self._path = path

    def write(self, data: bytes) -> int:
        """Append bytes."""
        self._disk.allow("write", self._path)
        half = len(data) // 2
        self._node.content += bytes(data[:half])
        self._disk.reach("half streamed")
        self._node.content += bytes(data[half:])
        self._node.mtime_ns = self._node.ctime_ns = self._disk._stamp()  # noqa: SLF001
        return len(data)
