"""Which file system a path lies on, read from the kernel's table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vpe_watcher.adapters.mounts import (
    Mount,
    MountTable,
    check_state_folder,
    filesystem_of,
    mount_at,
    parse_mountinfo,
    refuse_network_state,
)
from vpe_watcher.core.errors import ConfigError

SAMPLE = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 27 0:40 / /mnt/pacs ro,relatime shared:7 master:2 - nfs4 pacs:/export ro,vers=4.2
31 27 0:41 / /mnt/old\040scans rw - cifs //nas/old\040scans rw
32 27 0:42 / /srv rw - fuse.sshfs me@host:/srv rw
33 32 8:1 /sub /srv/vpe rw,relatime - xfs /dev/sda1 rw
34 27 0:43 / /mnt/twice rw - nfs a:/b rw
35 34 0:44 / /mnt/twice rw - tmpfs tmpfs rw

no mount at all
36 27 0:45 / /short rw -
"""


@pytest.mark.parametrize(
    ("path", "fs_type", "mount_point", "source"),
    [
        ("/", "ext4", "/", "/dev/vda"),
        ("/mnt", "ext4", "/", "/dev/vda"),
        ("/mnt/pacs", "nfs4", "/mnt/pacs", "pacs:/export"),
        ("/mnt/pacs/a/b", "nfs4", "/mnt/pacs", "pacs:/export"),
        ("/mnt/pacs2/a", "ext4", "/", "/dev/vda"),
        ("/mnt/old scans/x", "cifs", "/mnt/old scans", "//nas/old scans"),
        ("/srv/x", "fuse.sshfs", "/srv", "me@host:/srv"),
        ("/srv/vpe/inbox", "xfs", "/srv/vpe", "/dev/sda1"),
        ("/mnt/twice/x", "tmpfs", "/mnt/twice", "tmpfs"),
        ("/short", "ext4", "/", "/dev/vda"),
    ],
)
def test_the_deepest_and_latest_mount_counts(
    path: str, fs_type: str, mount_point: str, source: str
) -> None:
    """A path belongs to the deepest mount above it, and of two at one place to the later."""
    expected = Mount(fs_type, Path(mount_point), source)
    assert mount_at(Path(path), parse_mountinfo(SAMPLE)) == expected


def test_without_a_table_the_type_is_unknown() -> None:
    """Where the kernel tells nothing, the answer says so and counts as local."""
    mount = mount_at(Path("/x"), parse_mountinfo(""))
    assert mount.fs_type == "unknown"
    assert not mount.is_network


@pytest.mark.parametrize(
    "fs_type", ["nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "fuse.rclone", "9p"]
)
def test_a_state_folder_on_a_network_share_is_refused(fs_type: str) -> None:
    """The sentence names the folder, the type and the mount, the hint another place."""
    mount = Mount(fs_type, Path("/mnt/nas"), "nas:/x")
    with pytest.raises(ConfigError) as caught:
        refuse_network_state(Path("/mnt/nas/state"), mount)
    error = caught.value
    assert error.code == "state_on_network"
    assert "state_file: its folder /mnt/nas/state" in error.message
    assert f"({fs_type} at /mnt/nas)" in error.message
    assert "/var/lib/vpe-watcher" in error.hint


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk"])
def test_a_state_folder_on_a_local_disk_is_fine(fs_type: str) -> None:
    """Local file systems are not refused."""
    mount = Mount(fs_type, Path("/"), "/dev/sda1")
    assert not mount.is_network
    refuse_network_state(Path("/var/lib/x"), mount)


def test_the_real_table_is_read_and_links_are_followed(tmp_path: Path) -> None:
    """A link into /proc, and a path in it that does not exist, lie on proc."""
    (tmp_path / "link").symlink_to("/proc")
    assert filesystem_of(tmp_path / "link" / "nothing") == filesystem_of(Path("/proc"))
    assert filesystem_of(Path("/proc")).fs_type == "proc"
    check_state_folder(Path("/proc"))


CHANGES = """
import subprocess, sys
from pathlib import Path
from vpe_watcher.adapters.mounts import MountTable
table, folder = MountTable(), Path(sys.argv[1])
def show():
    mount = table.at(folder / "link" / "scans")
    is_same = mount == table.at(folder / "link") == table.at(folder / "share" / "x")
    print(mount.fs_type, mount.source, is_same)
base = table.at(folder)
def is_base(): print(table.at(folder / "share") == base)
is_base()
subprocess.run(["mount", "-t", "tmpfs", "first", folder / "share"], check=True)
show()
subprocess.run(["mount", "-t", "tmpfs", "second", folder / "share"], check=True)
show()
table.close()
show()
subprocess.run(["umount", folder / "share"], check=True)
show()
subprocess.run(["umount", folder / "share"], check=True)
is_base()
"""


def test_a_table_that_changes_is_read_again(tmp_path: Path) -> None:
    """In a name space of its own: a share mounted, mounted over, unmounted twice."""
    (tmp_path / "share").mkdir()
    (tmp_path / "link").symlink_to("share")
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    command = [*namespace, sys.executable, "-c", CHANGES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert done.stdout.splitlines() == [
        "True",
        "tmpfs first True",
        "tmpfs second True",
        "tmpfs second True",
        "tmpfs first True",
        "True",
    ]


def test_a_table_answers_as_the_single_question_does(tmp_path: Path) -> None:
    """From several places, again and again."""
    table = MountTable()
    for path in (tmp_path, Path("/proc/self"), Path("/"), Path("/dev/shm/x")):  # noqa: S108
        assert table.at(path) == table.at(path) == filesystem_of(path)
    table.close()


def test_links_are_followed_as_the_system_does(tmp_path: Path) -> None:
    """Absolute, relative, through others, to nothing, in a ring, up and down."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "absolute").symlink_to("/proc/self/..")
    (tmp_path / "relative").symlink_to("a/../absolute")
    (tmp_path / "dangling").symlink_to("/proc/none/x")
    (tmp_path / "ring").symlink_to("ring")
    proc = filesystem_of(Path("/proc"))
    for name in ("absolute", "relative", "dangling", "relative/fs/x"):
        assert filesystem_of(tmp_path / name) == proc, name
    for name in ("a/b", "a/../a/x", "ring", "ring/x", "none"):
        assert filesystem_of(tmp_path / name) == filesystem_of(tmp_path), name


def test_a_share_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hang: what lies below its top is taken as it is written."""
    asked = []

    def readlink(path: str) -> str:
        asked.append(path)
        if path == "/home":
            return "/mnt/pacs"
        raise OSError

    monkeypatch.setattr(os, "readlink", readlink)
    mounts = parse_mountinfo(SAMPLE)
    monkeypatch.setattr(MountTable, "all", lambda self: mounts)
    table = MountTable()
    assert table.at(Path("/home/study/scan")).fs_type == "nfs4"
    assert table.at(Path("/home/../home/x")).fs_type == "ext4"
    assert table.at(Path("/srv/x/y")).fs_type == "fuse.sshfs"
    assert table.at(Path("/mnt/twice/x")).fs_type == "tmpfs"
    assert asked == ["/home", "/mnt", "/home", "/mnt", "/mnt", "/mnt/twice", "/mnt/twice/x"]
