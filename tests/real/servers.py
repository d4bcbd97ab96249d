"""The real servers: a DICOM receiver, a PACS, a Windows share. All on loopback, all ended here.

Owns their processes and their configuration. They run inside the namespaces of `inside`, where no
other network exists: some of them listen on every address.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

RCLONE = str(Path(sys.executable).with_name("rclone"))
# By full path: a Python package of the same names may stand before them in PATH.
STORESCP, STORESCU = "/usr/bin/storescp", "/usr/bin/storescu"
PATIENCE_S = 30
SHARE_SECRET = "public-1"


def free_port() -> int:
    """Return a TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def server(command: Sequence[str], log: Path, *, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a process group of its own until the block ends, all its children with it."""
    with (
        log.open("wb") as words,
        subprocess.Popen(
            command,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait_for_port(process, port, log)
            yield process
        finally:
            end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started, stopped ones too."""
    for number in (signal.SIGCONT, signal.SIGTERM):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def _wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} does not listen: {log.read_text()[-2000:]}")


@dataclass(frozen=True, slots=True)
class Receiver:
    """A storescp that writes what it gets into a folder."""

    port: int

    def send(self, files: Sequence[Path]) -> None:
        """Send files in this order within one association."""
        words = [STORESCU, "-aet", "SENDER", "-aec", "X", "127.0.0.1", str(self.port)]
        subprocess.run([*words, *map(str, files)], check=True, capture_output=True, timeout=120)

    def drip(self, files: Sequence[Path], *, every_s: float) -> None:
        """Send one file each `every_s` seconds, each in an association of its own."""
        begun = time.monotonic()
        for index, path in enumerate(files):
            time.sleep(max(0.0, begun + index * every_s - time.monotonic()))
            self.send([path])


@contextmanager
def running_receiver(folder: Path, log: Path) -> Iterator[Receiver]:
    """Run dcmtk's storescp into `folder`."""
    port = free_port()
    words = [STORESCP, "-aet", "X", "-od", str(folder), "--fork", str(port)]
    with server(words, log, port=port):
        yield Receiver(port)


@dataclass(frozen=True, slots=True)
class Pacs:
    """An Orthanc with its REST interface."""

    url: str

    def store(self, files: Sequence[Path]) -> str:
        """Store instances; return Orthanc's name of the study of the last."""
        study = ""
        with _session() as session:
            for path in files:
                answer = session.post(f"{self.url}/instances", data=path.read_bytes(), timeout=30)
                answer.raise_for_status()
                study = answer.json()["ParentStudy"]
        return study

    def export(self, study: str, form: str, target: Path) -> None:
        """Write a study's `archive` or `media` ZIP."""
        with _session() as session:
            answer = session.get(f"{self.url}/studies/{study}/{form}", timeout=60)
            answer.raise_for_status()
            target.write_bytes(answer.content)


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    return session


@contextmanager
def running_pacs(root: Path, *, scripts: Sequence[Path] = ()) -> Iterator[Pacs]:
    """Run an Orthanc that keeps everything in `root`; series are stable after one second."""
    port = free_port()
    config: dict[str, Any] = {
        "Name": "real",
        "StorageDirectory": str(root / "storage"),
        "IndexDirectory": str(root / "storage"),
        "HttpPort": port,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "StableAge": 1,
        "LuaScripts": [str(script) for script in scripts],
    }
    root.mkdir(exist_ok=True)
    (root / "orthanc.json").write_text(json.dumps(config))
    orthanc = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    with server([orthanc, str(root / "orthanc.json")], root / "orthanc.log", port=port):
        yield Pacs(f"http://127.0.0.1:{port}")


SMB_CONF = """
[global]
server role = standalone server
smb ports = {port}
interfaces = lo
bind interfaces only = yes
passdb backend = tdbsam:{root}/private/passdb.tdb
private dir = {root}/private
lock directory = {root}/lock
state directory = {root}/state
cache directory = {root}/cache
pid directory = {root}/pid
ncalrpc dir = {root}/ncalrpc
log file = {root}/smbd.words
disable spoolss = yes
load printers = no
printcap name = /dev/null
[scans]
path = {root}/served
read only = no
force user = root
"""


@dataclass(frozen=True, slots=True)
class Share:
    """A Windows share. `served` is its folder on the server's own disk."""

    root: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def served(self) -> Path:
        """Return where the server keeps the files."""
        return self.root / "served"

    def freeze(self) -> None:
        """Stop the server without a word to its clients, as a dying NAS does."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def put(self, files: Sequence[Path]) -> None:
        """Write files into the share from another client, one after the other."""
        orders = "; ".join(f'put "{path}" "{path.name}"' for path in files)
        words = ["smbclient", "//127.0.0.1/scans", SHARE_SECRET, "-U", "root", "-p", str(self.port)]
        conf = ["-s", str(self.root / "smb.conf")]
        subprocess.run([*words, *conf, "-c", orders], check=True, capture_output=True, timeout=120)


@contextmanager
def running_share(root: Path) -> Iterator[Share]:
    """Run Samba's smbd with one share, on a folder below `root`."""
    port = free_port()
    for name in ("private", "lock", "state", "cache", "pid", "ncalrpc", "served"):
        (root / name).mkdir(parents=True)
    conf = root / "smb.conf"
    conf.write_text(SMB_CONF.format(port=port, root=root))
    secret = f"{SHARE_SECRET}\n{SHARE_SECRET}\n".encode()
    add = ["smbpasswd", "-c", str(conf), "-L", "-s", "-a", "root"]
    subprocess.run(add, input=secret, check=True, capture_output=True, timeout=30)
    words = ["smbd", "--foreground", "--no-process-group", "-s", str(conf)]
    with server(words, root / "smbd.log", port=port) as process:
        yield Share(root, port, process)


@dataclass(slots=True)
class Mounted:
    """A share mounted by FUSE. It can be taken away and come back."""

    share: Share
    folder: Path
    _process: subprocess.Popen[bytes] | None = None

    def mount(self) -> None:
        """Mount it; return when the files can be seen."""
        secret = subprocess.run(
            [RCLONE, "obscure", SHARE_SECRET], check=True, capture_output=True, text=True
        ).stdout.strip()
        remote = f":smb,host=127.0.0.1,port={self.share.port},user=root,pass={secret}:scans"
        # A rename within rclone's delay of writing back would be lost: write through.
        flags = ["--allow-non-empty", "--vfs-cache-mode", "off"]
        flags += ["--dir-cache-time", "1s", "--attr-timeout", "1s"]
        places = ["--config", os.devnull, "--cache-dir", str(self.share.root / "rclone")]
        log = self.share.root / "rclone.log"
        with log.open("ab") as words:
            self._process = subprocess.Popen(
                [
                    RCLONE,
                    "mount",
                    remote,
                    str(self.folder),
                    *flags,
                    "--attr-timeout",
                    "1s",
                    *places,
                ],
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                start_new_session=True,
            )
        _wait_for_mount(self.folder, log)

    def unmount(self) -> None:
        """Take it away as an administrator would, whoever still looks at it."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False, capture_output=True)
        if self._process:
            end_group(self._process)
        self._process = None


def _wait_for_mount(folder: Path, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while str(folder) not in Path("/proc/self/mounts").read_text():
        if time.monotonic() > deadline:
            raise AssertionError(f"the share could not be mounted: {log.read_text()[-2000:]}")
        time.sleep(0.05)


@contextmanager
def mounted_share(share: Share, folder: Path) -> Iterator[Mounted]:
    """Mount a share at `folder` until the block ends."""
    folder.mkdir(exist_ok=True)
    mounted = Mounted(share, folder)
    try:
        mounted.mount()
        yield mounted
    finally:
        share.thaw()
        mounted.unmount()
