"""The installed command on folders of its own: configuration, processes, what people look at.

Owns one daemon's folders and processes; knows nothing of what a test is about. Processes are
stopped by their own handles, and everything listens on loopback.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from vpe_watcher.adapters.store import Database, Queries

COMMAND = Path(sys.executable).with_name("vpe-watcher")
FOLDERS = ("inbox", "outbox", "archive", "failed")
CONFIG = """\
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
settle_s = {settle_s}
scan_every_s = {scan_every_s}
[limits]
poll_every_s = 0.2
retry_first_s = 0.2
retry_at_most_s = {retry_at_most_s}
stop_grace_s = {stop_grace_s}
connect_timeout_s = 2
stall_timeout_s = 60
[retention]
min_free = "{min_free}"
"""
DEFAULTS: dict[str, Any] = {
    "settle_s": 0.3,
    "scan_every_s": 0.5,
    "retry_at_most_s": 1,
    "stop_grace_s": 10,
    "min_free": 0,
}


@dataclass(frozen=True, slots=True)
class Engine:
    """The simulated Engine in its own process, with its controls."""

    url: str

    def set_faults(self, rules: list[dict[str, Any]]) -> None:
        """Say which calls go wrong from now on."""
        self._post("faults", rules)

    def set_options(self, **options: Any) -> None:
        """Change how it answers from now on."""
        self._post("options", options)

    def ledger(self) -> dict[str, Any]:
        """Return what it has seen so far."""
        with _session() as session:
            answer = session.get(f"{self.url}/_sandbox/ledger", timeout=10)
            answer.raise_for_status()
            return dict(answer.json())

    def _post(self, what: str, content: Any) -> None:
        with _session() as session:
            session.post(f"{self.url}/_sandbox/{what}", json=content, timeout=10).raise_for_status()


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    return session


@contextmanager
def running_engine(root: Path) -> Iterator[Engine]:
    """Run the installed sandbox until the block ends."""
    command = [str(COMMAND), "sandbox", "--simple", "--port", "0"]
    with (
        (root / "engine.log").open("w") as log,
        subprocess.Popen(
            command,
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=clean_environment(),
        ) as process,
    ):
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], 30)
            assert ready, "the sandbox did not say where it listens"
            yield Engine(process.stdout.readline().strip())
        finally:
            end(process)


def clean_environment(**more: str) -> dict[str, str]:
    """Return our environment without settings of ours, and with `more`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("VPE_WATCHER")}
    return kept | more


def end(process: subprocess.Popen[str]) -> int:
    """Stop a process as an operator would; return its exit code."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(30)


@dataclass(slots=True)
class Machine:
    """Folders and configuration of one daemon, and the commands on them."""

    root: Path
    url: str
    keys: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make folders and configuration."""
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True)
        (self.root / "state").mkdir(mode=0o700)
        self.config.touch(mode=0o600)
        self.config.write_text(CONFIG.format(url=self.url, **(DEFAULTS | self.keys)))

    @property
    def config(self) -> Path:
        """Return the configuration's path."""
        return self.root / "vpe-watcher.toml"

    @property
    def log(self) -> str:
        """Return what the daemon has logged so far."""
        return (self.root / "daemon.log").read_text()

    def events(self) -> list[dict[str, Any]]:
        """Return the daemon's log, every line as the JSON object that it must be."""
        return [json.loads(line) for line in self.log.splitlines()]

    def run(self, *words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [COMMAND, *words, "--config", str(self.config)],
            cwd=self.root,
            env=clean_environment(**self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            umask=0o022,
        )

    def json(self, *words: str) -> dict[str, Any]:
        """Run one command with --json; return its object."""
        ran = self.run(*words, "--json")
        assert ran.returncode == 0, ran.stderr
        return dict(json.loads(ran.stdout))

    @contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[str]]:
        """Run the daemon until the block ends; the block begins when it has looked at its inbox."""
        with self.starting() as process:
            before = self.log.count("scan.done")
            self.wait(lambda: self.log.count("watch.started") > 0 and self.is_scanned(before))
            yield process

    @contextmanager
    def starting(self) -> Iterator[subprocess.Popen[str]]:
        """Run the daemon until the block ends; the block begins at once."""
        with (
            (self.root / "daemon.log").open("a") as log,
            (self.root / "daemon.out").open("a") as out,
            subprocess.Popen(
                [COMMAND, "run", "--config", str(self.config)],
                cwd=self.root,
                env=clean_environment(**self.environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                text=True,
                umask=0o022,
            ) as process,
        ):
            try:
                yield process
            finally:
                end(process)

    def is_scanned(self, before: int = 0) -> bool:
        """Tell whether the daemon has looked at its inbox since it started."""
        return self.log.count("scan.done") > before or "breaker.opened" in self.log

    def drop(self, name: str, content: bytes) -> None:
        """Put a scan into the inbox in one go."""
        draft = self.root / f"{name}.draft"
        draft.write_bytes(content)
        draft.rename(self.root / "inbox" / name)

    def wait(self, is_so: Callable[[], Any], *, timeout_s: float = 30) -> float:
        """Wait until something is so; return how long it took. Fails with the log's end."""
        started = time.monotonic()
        while not is_so():
            took_s = time.monotonic() - started
            assert took_s < timeout_s, f"not within {timeout_s} s:\n{self.log[-3000:]}"
            time.sleep(0.05)
        return time.monotonic() - started

    def is_delivered(self, name: str) -> bool:
        """Tell whether a result folder is there."""
        return (self.root / "outbox" / name / "result.json").exists()

    def states(self) -> dict[str, str]:
        """Return each case's state by its name, read as any command would."""
        database = Database(self.root / "state" / "state.sqlite3", create=False)
        try:
            rows = Queries(database, now=time.time).cases()
        finally:
            database.close()
        return {row["case_name"]: row["state"] for row in rows}


def stop(process: subprocess.Popen[str], number: signal.Signals, *, within_s: float) -> int:
    """Send a signal; return the exit code, which must come in time."""
    process.send_signal(number)
    return process.wait(within_s)
