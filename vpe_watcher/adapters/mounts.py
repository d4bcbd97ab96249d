"""Owns the question on which kind of file system a path lies.

Reads /proc/self/mountinfo and follows symbolic links; never asks a share, which may hang, and never
opens, lists or writes what is on a mount.
"""

from __future__ import annotations

import os
import re
import select
import threading
from dataclasses import dataclass
from pathlib import Path

from vpe_watcher.core.errors import ConfigError

MOUNTINFO = Path("/proc/self/mountinfo")
NETWORK_TYPES = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre"}
    | {"ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "smb2", "smb3", "smbfs", "vboxsf"}
    | {"fuse.ceph", "fuse.cifs", "fuse.curlftpfs", "fuse.davfs", "fuse.davfs2", "fuse.gcsfuse"}
    | {"fuse.glusterfs", "fuse.gvfsd-fuse", "fuse.rclone", "fuse.s3fs", "fuse.smbnetfs"}
    | {"fuse.sshfs"}
)
LINKS_AT_MOST = 40
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system: its type (`ext4`, `nfs4`, …), where it is, what is mounted."""

    fs_type: str
    mount_point: Path
    source: str

    @property
    def is_network(self) -> bool:
        """Tell whether the files live on another machine, or behind one: no events, no locks."""
        return self.fs_type in NETWORK_TYPES

    @property
    def may_hang(self) -> bool:
        """Tell whether some program must answer a question about a file there, and may not."""
        return self.is_network or self.fs_type.startswith(("fuse", "autofs"))


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """Read the lines of a mountinfo table (proc(5)), in its order; skip what is no such line."""
    mounts = (_mount_of(line) for line in text.splitlines())
    return tuple(mount for mount in mounts if mount is not None)


def mount_at(path: Path, mounts: tuple[Mount, ...]) -> Mount:
    """Find the mount that an absolute path without symbolic links lies on.

    The deepest mount point wins, and of two at one place the later, which hides the earlier.
    Nothing known: a mount of type `unknown`.
    """
    depths = {place: depth for depth, place in enumerate(reversed((path, *path.parents)))}
    found, depth_found = Mount("unknown", Path("/"), ""), 0
    for mount in mounts:
        depth = depths.get(mount.mount_point, -1)
        if depth >= depth_found:
            found, depth_found = mount, depth
    return found


def filesystem_of(path: Path) -> Mount:
    """Say what a path lies on, whether it exists or not; links are followed down to a share."""
    try:
        text = MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        text = ""
    return _filesystem_of(path, parse_mountinfo(text))


def _filesystem_of(path: Path, mounts: tuple[Mount, ...]) -> Mount:
    return mount_at(Path(_real(str(Path.cwd() / path), mounts)), mounts)


def _real(path: str, mounts: tuple[Mount, ...]) -> str:
    """Follow the links in an absolute path, but ask nothing below the top of a share."""
    shares = {str(mount.mount_point) for mount in mounts if mount.may_hang}
    place, pending, links = "/", path.split("/")[::-1], 0
    while pending:
        part = pending.pop()
        if part in {"", "."}:
            continue
        here = os.path.normpath(os.path.join(place, part))  # noqa: PTH118 - texts, for speed
        if here in shares and mount_at(Path(here), mounts).may_hang:
            return os.path.normpath("/".join([here, *pending[::-1]]))
        try:
            target = os.readlink(here)  # noqa: PTH115 - paths are texts here, for speed
        except OSError:
            place = here  # no link, or nothing there
            continue
        links += 1
        if links > LINKS_AT_MOST:
            return here
        place = "/" if target.startswith("/") else place
        pending += target.split("/")[::-1]
    return place


class MountTable:
    """The kernel's table, read again only when the kernel says that it has changed.

    For any thread.
    """

    def __init__(self) -> None:
        """Prepare; nothing is read yet."""
        self._lock = threading.Lock()
        self._table: int | None = None  # a descriptor: only it can be polled for changes
        self._poll = select.poll()
        self._mounts: tuple[Mount, ...] = ()

    def at(self, path: Path) -> Mount:
        """Say what a path lies on now, as `filesystem_of` does."""
        return _filesystem_of(path, self.all())

    def below(self, path: Path) -> tuple[Path, ...]:
        """Return the mount points at or below a path; itself where the kernel tells nothing."""
        mounts = self.all()
        if not mounts:
            return (path,)
        place = _real(str(Path.cwd() / path), mounts)
        return tuple(one.mount_point for one in mounts if one.mount_point.is_relative_to(place))

    def all(self) -> tuple[Mount, ...]:
        """Return the mounts; none where the kernel tells nothing."""
        with self._lock:
            try:
                return self._current()
            except OSError:
                return ()

    def close(self) -> None:
        """Let go of the table; the next question opens it again."""
        with self._lock:
            table, self._table = self._table, None
            if table is not None:
                self._poll.unregister(table)
                os.close(table)

    def _current(self) -> tuple[Mount, ...]:
        is_new = self._table is None
        if self._table is None:
            self._table = os.open(MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
            self._poll.register(self._table, select.POLLPRI | select.POLLERR)
        # Asked before reading: a change in between is told the next time. Source: proc(5).
        if self._poll.poll(0) or is_new:
            self._mounts = parse_mountinfo(_whole(self._table))
        return self._mounts


def _whole(table: int) -> str:
    os.lseek(table, 0, os.SEEK_SET)
    blocks = iter(lambda: os.read(table, 1 << 16), b"")
    return b"".join(blocks).decode("utf-8", errors="surrogateescape")


def check_state_folder(path: Path) -> None:
    """Refuse a state folder on a network file system, where SQLite's locks do not hold.

    Raises `ConfigError` (`state_on_network`).
    """
    refuse_network_state(path, filesystem_of(path))


def refuse_network_state(path: Path, mount: Mount) -> None:
    """Raise `ConfigError` if a state folder's mount is a network file system."""
    if not mount.is_network:
        return
    raise ConfigError(
        f"state_file: its folder {path} is on a network file system"
        f" ({mount.fs_type} at {mount.mount_point}), where the database would be damaged",
        code="state_on_network",
        hint="put state_file on a local disk, for example below /var/lib/vpe-watcher",
    )


def _mount_of(line: str) -> Mount | None:
    fields = line.split(" ")
    if "-" not in fields[6:]:
        return None
    dash = fields.index("-", 6)
    if len(fields) < dash + 3:
        return None
    return Mount(fields[dash + 1], Path(_plain(fields[4])), _plain(fields[dash + 2]))


def _plain(field: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 8)), field)
