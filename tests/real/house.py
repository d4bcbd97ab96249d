"""The installed command as its users run it: a sandbox Engine and a daemon, each its own process.

Owns folders, configuration and processes of one house, and what they let out: the ledger, what the
Engine received, the log, the words of `status`. Knows nothing of what is dropped.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

COMMAND = str(Path(sys.executable).with_name("vpe-watcher"))
CONFIG = """
inbox = "inbox"
outbox = "outbox"
archive = "{archive}"
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
{intake}
[limits]
{limits}
[retention]
{retention}
{recipes}
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a test wants of its house: lines of configuration, and how the processes are started.

    `recipes` is whole tables. `prefix` stands before the daemon's command, such as `setpriv …`.
    """

    intake: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    recipes: str = ""
    prefix: Sequence[str] = ()
    is_simple: bool = True
    archive: str = "archive"
    retention: Mapping[str, Any] = field(default_factory=dict)

    def config(self, url: str) -> str:
        """Return the configuration file."""
        intake = {"settle_s": 1, "scan_every_s": 1} | dict(self.intake)
        limits = {"poll_every_s": 0.5, "poll_at_most_s": 1, "retry_at_most_s": 2, "jobs_per_day": 0}
        return CONFIG.format(
            url=url,
            archive=self.archive,
            intake=_lines(intake),
            limits=_lines(limits | dict(self.limits)),
            retention=_lines({"min_free": 0} | dict(self.retention)),
            recipes=self.recipes,
        )


REAL_MESHES = Plan(is_simple=False)


@dataclass(frozen=True, slots=True)
class House:
    """Where everything lies, and under which address the Engine answers."""

    root: Path
    engine_url: str

    @property
    def inbox(self) -> Path:
        """Return the folder of the recipe `default`."""
        return self.root / "inbox"

    def ledger(self) -> dict[str, Any]:
        """Return what the Engine has seen."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(f"{self.engine_url}/_sandbox/ledger", timeout=10)
            answer.raise_for_status()
            ledger: dict[str, Any] = answer.json()
            return ledger

    def set_options(self, **options: Any) -> None:
        """Change how the Engine answers from now on."""
        with requests.Session() as session:
            session.trust_env = False
            url = f"{self.engine_url}/_sandbox/options"
            session.post(url, json=options, timeout=10).raise_for_status()

    def jobs(self) -> list[dict[str, Any]]:
        """Return the jobs that were started, which is what a customer pays for."""
        return [job for job in self.ledger()["jobs"] if job["started"]]

    def received(self, job: Mapping[str, Any], modality: str = "cbct") -> Path:
        """Return the file that the Engine received for a job, by its size and order of arrival."""
        size, sha256 = job["inputs"][modality]["size"], job["inputs"][modality]["sha256"]
        for path in sorted(self.root.glob("engine/vpe-watcher-sandbox-*/uploads/*")):
            if path.stat().st_size == size and _digest(path) == sha256:
                return path
        raise AssertionError(f"the Engine kept no upload of {size} bytes")

    def unzipped(self, job: Mapping[str, Any]) -> dict[str, bytes]:
        """Return the members of the ZIP that the Engine received, each checked against its CRC."""
        with zipfile.ZipFile(self.received(job)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def log(self) -> str:
        """Return all that the daemon has logged."""
        return (self.root / "daemon.log").read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of one event, oldest first."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]

    def ask(self, *words: str) -> Any:
        """Return what a command says with `--json`."""
        return json.loads(self.tell(*words, "--json"))

    def tell(self, *words: str) -> str:
        """Run a command that must succeed; return what it says."""
        command = [COMMAND, *words, "--config", str(self.root / "config.toml")]
        answer = subprocess.run(
            command, env=_environment(), capture_output=True, text=True, check=False, timeout=60
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    def cases(self) -> list[dict[str, Any]]:
        """Return the rows of `cases`, newest first."""
        rows: list[dict[str, Any]] = self.ask("cases")["cases"]
        return rows

    def candidates(self) -> dict[str, dict[str, Any]]:
        """Return the candidates of `status` by the last name of their path."""
        return {Path(row["path"]).name: row for row in self.ask("status")["candidates"]}

    def breakers(self) -> dict[str, dict[str, Any]]:
        """Return the breakers of `status` by name that are open."""
        return {row["name"]: row for row in self.ask("status")["breakers"] if row["open"]}

    def wait_for(self, path: Path, *, timeout_s: float) -> None:
        """Wait until something lies at `path`; fail with the daemon's last words."""
        self.wait_until(path.exists, f"{path} did not come", timeout_s=timeout_s)

    def wait_until(
        self, is_so: Callable[[], object], complaint: str, *, timeout_s: float = 60
    ) -> None:
        """Wait until `is_so` says something true; fail with the daemon's last words."""
        began = time.monotonic()
        while not is_so():
            asked_s = time.monotonic() - began
            if asked_s > timeout_s:
                words = f"{complaint}. The log ends:\n{self.log()[-4000:]}"
                pytest.fail(words, pytrace=False)
            # Whoever waits longer asks less often: commands cost what the daemon could use.
            time.sleep(min(0.1 + asked_s / 20, 1.0))

    def wait_for_rest(self, count: int, *, timeout_s: float = 60) -> list[dict[str, Any]]:
        """Wait until there are `count` cases, all of them at rest; return them."""

        def are_at_rest() -> bool:
            states = [row["state"] for row in self.cases()]
            return len(states) >= count and set(states) <= REST

        self.wait_until(are_at_rest, f"there are not {count} cases at rest", timeout_s=timeout_s)
        return self.cases()


REST = frozenset({"done", "partial", "duplicate", "failed", "held", "cancelled"})


@contextmanager
def running_house(root: Path, plan: Plan = REAL_MESHES) -> Iterator[House]:
    """Run Engine and daemon on folders in `root`; both are stopped as an operator would."""
    for name in ("inbox", "outbox", "archive", "failed", "engine"):
        (root / name).mkdir(exist_ok=True)
    (root / "state").mkdir(mode=0o700, exist_ok=True)
    config = root / "config.toml"
    port = ["sandbox", "--port", "0", *(["--simple"] if plan.is_simple else [])]
    with _process(root, "engine", [COMMAND, *port], TMPDIR=str(root / "engine")) as engine:
        url = _first_line(engine)
        config.touch(mode=0o600)
        config.write_text(plan.config(url))
        run = [*plan.prefix, COMMAND, "run", "--config", str(config)]
        with _process(root, "daemon", run) as daemon:
            house = House(root, url)
            house.wait_until(lambda: "daemon.started" in house.log(), "the daemon did not start")
            yield house
            assert _stopped(daemon) == 0, (root / "daemon.log").read_text()[-4000:]


def _lines(table: Mapping[str, Any]) -> str:
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _environment(**more: str) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if "VPE_WATCHER" not in key}
    return inherited | more


@contextmanager
def _process(
    root: Path, name: str, command: Sequence[str], **more: str
) -> Iterator[subprocess.Popen[str]]:
    with (
        (root / f"{name}.log").open("w") as log,
        subprocess.Popen(
            command,
            cwd=root,
            env=_environment(**more),
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
