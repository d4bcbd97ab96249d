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
