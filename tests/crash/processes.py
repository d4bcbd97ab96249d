"""The installed daemon and Engine as processes, the daemon killed by SIGKILL at any moment.

Owns processes, folders and the configuration; knows nothing of what is dropped.
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
[engine.auth]
client_id = "sandbox"
client_secret = "sandbox"
token_url = "{url}/oauth/token"

[job.outputFiles]
meshes = [{{ extension = ".stl", structures = ["mandible"] }}]

[intake]
settle_s = 0.1
scan_every_s = 0.2
[limits]
jobs_per_day = 0
poll_every_s = 0.1
poll_at_most_s = 0.2
retry_first_s = 0.1
retry_at_most_s = 0.2
[retention]
min_free = 0
"""


@dataclass(frozen=True, slots=True)
class Grounds:
    """Where everything lies, and under which address the Engine answers."""

    root: Path
    engine_url: str

    def drop(self, name: str, content: bytes) -> None:
        """Put a file into the inbox, whole at once."""
        draft = self.root / "inbox" / f"{name}.part"
        draft.write_bytes(content)
        draft.rename(draft.with_suffix(""))

    def live(self, seconds: float, *, is_counted_from_work: bool) -> None:
        """Let a daemon run for so long after its birth or after it began its work, then kill it.

        Raises:
            AssertionError: it ended before by itself.
        """
        before = self._log_bytes()
        with self._daemon() as daemon:
            if is_counted_from_work:
                self._wait_for_word(daemon, b'"daemon.started"', since_bytes=before)
            try:
                status = daemon.wait(seconds)
            except subprocess.TimeoutExpired:
                daemon.kill()
            else:
                raise AssertionError(f"the daemon ended by itself with {status}: {self.log()}")

    def live_to_the_end(self, *, timeout_s: float) -> int:
        """Run a daemon until nothing is due; return its exit code."""
        with self._daemon("--once") as daemon:
            try:
                return daemon.wait(timeout_s)
            finally:
                daemon.kill()

    def _wait_for_word(
        self, daemon: subprocess.Popen[bytes], word: bytes, *, since_bytes: int
    ) -> None:
        while daemon.poll() is None:
            with (self.root / "daemon.log").open("rb") as log:
                log.seek(since_bytes)
                if word in log.read():
                    return
            time.sleep(0.01)

    def _log_bytes(self) -> int:
        log = self.root / "daemon.log"
        return log.stat().st_size if log.exists() else 0

    @contextmanager
    def _daemon(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        with (
            (self.root / "daemon.log").open("ab") as log,
            started(self.root, log, "run", *words, "--config", "config.toml") as daemon,
        ):
            yield daemon

    def log(self) -> str:
        """Return the last that the daemon has logged."""
        return (self.root / "daemon.log").read_text()[-3000:]

    def ledger(self) -> dict[str, Any]:
        """Return what the Engine has seen."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(f"{self.engine_url}/_sandbox/ledger", timeout=10)
            answer.raise_for_status()
            ledger: dict[str, Any] = answer.json()
            return ledger


@contextmanager
def prepared(root: Path) -> Iterator[Grounds]:
    """Make folders and configuration in `root`, and run the Engine."""
    for name in ("inbox", "outbox", "archive", "failed", "state"):
        (root / name).mkdir(mode=0o700)
    with (
        (root / "engine.log").open("wb") as log,
        started(root, log, "sandbox", "--simple", "--port", "0", "--processing-s", "0.2") as engine,
    ):
        try:
            url = first_line(engine)
            config = root / "config.toml"
            config.touch(mode=0o600)
            config.write_text(CONFIG.format(url=url))
            yield Grounds(root, url)
        finally:
            engine.terminate()
            engine.wait(30)


def started(root: Path, log: Any, *words: str, **more: str) -> subprocess.Popen[bytes]:
    """Start the installed command in `root`; `more` is environment. The sandbox can be read."""
    inherited = {key: value for key, value in os.environ.items() if "VPE_WATCHER" not in key}
    return subprocess.Popen(
        [COMMAND, *words],
        cwd=root,
        env=inherited | more,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if words[0] == "sandbox" else log,
        stderr=log,
    )


def first_line(process: subprocess.Popen[bytes]) -> str:
    """Return where the sandbox says that it listens."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], 30)
    line = process.stdout.readline().decode().strip() if ready else ""
    assert line.startswith("http://127.0.0.1:"), f"the sandbox said {line!r}"
    return line
