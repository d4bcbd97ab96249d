"""The installed command as its users run it: a sandbox Engine and a daemon, each its own process.

Owns folders, configuration and processes of one house; knows nothing of what is dropped.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

COMMAND = Path(sys.executable).with_name("vpe-watcher")
CONFIG = """
inbox = "inbox"
outbox = "outbox"
archive = "archive"
failed = "failed"
state_file = "state/state.sqlite3"

[engine]
base_url = "{url}"
version = "24.06"
[engine.auth]
client_id = "sandbox"
client_secret = "sandbox"
token_url = "{url}/oauth/token"

[job.outputFiles]
meshes = [{{ extension = ".stl", structures = ["mandible"] }}]

[intake]
settle_s = 1
scan_every_s = 1
[limits]
poll_every_s = 1
[retention]
min_free = 0
"""


@dataclass(frozen=True, slots=True)
class House:
    """Where everything lies, and under which address the Engine answers."""

    root: Path
    engine_url: str

    def ledger(self) -> dict[str, Any]:
        """Return what the Engine has seen."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(f"{self.engine_url}/_sandbox/ledger", timeout=10)
            answer.raise_for_status()
            ledger: dict[str, Any] = answer.json()
            return ledger

    def log(self) -> str:
        """Return all that the daemon has logged."""
        return (self.root / "daemon.log").read_text()

    def wait_for(self, path: Path, *, timeout_s: float) -> None:
        """Wait until something lies at `path`; fail with the daemon's last words."""
        deadline = time.monotonic() + timeout_s
        while not path.exists():
            if time.monotonic() > deadline:
                words = f"{path} did not come. The log ends:\n{self.log()[-4000:]}"
                pytest.fail(words, pytrace=False)
            time.sleep(0.1)


@contextmanager
def running_house(root: Path) -> Iterator[House]:
    """Run Engine and daemon on fresh folders in `root`; both are stopped as an operator would."""
    for name in ("inbox", "outbox", "archive", "failed"):
        (root / name).mkdir()
    (root / "state").mkdir(mode=0o700)
    config = root / "config.toml"
    with _process(root, "engine", "sandbox", "--port", "0") as engine:
        url = _first_line(engine)
        config.touch(mode=0o600)
        config.write_text(CONFIG.format(url=url))
        with _process(root, "daemon", "run", "--config", str(config)) as daemon:
            yield House(root, url)
            assert _stopped(daemon) == 0, (root / "daemon.log").read_text()[-4000:]


@contextmanager
def _process(root: Path, name: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    inherited = {key: value for key, value in os.environ.items() if "VPE_WATCHER" not in key}
    with (
        (root / f"{name}.log").open("w") as log,
        subprocess.Popen(
            [COMMAND, *words],
            cwd=root,
            env=inherited,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            _stopped(process)


def _stopped(process: subprocess.Popen[str]) -> int:
    process.terminate()
    try:
        return process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(30)


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], 30)
    line = process.stdout.readline().strip() if ready else ""
    if not line.startswith("http://127.0.0.1:"):
        words = f"vpe-watcher sandbox said {line!r} instead of where it listens (engine.log)"
        pytest.fail(words, pytrace=False)
    return line
