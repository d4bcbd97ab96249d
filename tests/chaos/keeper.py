"""The installed daemon and Engine as processes: started, struck and started again.

Owns the configuration and what signals were sent. A daemon that ends in another way than it was
told to is a complaint.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import requests

from tests.crash.processes import COMMAND, first_line, started

GRACE_S = 3
STOP_AT_MOST_S = GRACE_S + 7
TRY_AGAIN = 75
CONFIG = """
inbox = "{inbox}"
outbox = "{outbox}"
archive = "{archive}"
failed = "{failed}"
state_file = "{state}/state.sqlite3"

[engine]
base_url = "{url}"
[engine.auth]
client_id = "sandbox"
client_secret = "sandbox"
token_url = "{url}/oauth/token"

[job.outputFiles]
meshes = [{{ extension = ".stl", structures = ["mandible"] }}]

[intake]
settle_s = 0.3
series_settle_s = 1.5
incomplete_after_s = 4
scan_every_s = 1
[limits]
jobs_per_day = 0
poll_every_s = 0.2
poll_at_most_s = 0.5
retry_first_s = 0.1
retry_at_most_s = 0.5
stop_grace_s = {grace_s}
connect_timeout_s = 2
stall_timeout_s = 1
[retention]
min_free = "256 KiB"
"""


class Keeper:
    """Keeps a daemon running in `home`, and strikes it when told to."""

    def __init__(self, home: Path, folders: Mapping[str, Path], url: str) -> None:
        """Write the configuration; `url` is where the daemon finds the Engine."""
        self.home = home
        self.sent: Counter[str] = Counter()
        self.complaints: list[str] = []
        self._daemon: subprocess.Popen[bytes] | None = None
        self._born_at_bytes = 0
        config = home / "config.toml"
        config.touch(mode=0o600)
        config.write_text(CONFIG.format(url=url, grace_s=GRACE_S, **folders))

    @property
    def log(self) -> Path:
        """Return the file that all daemons have logged to."""
        return self.home / "daemon.log"

    def keep(self) -> None:
        """Start a daemon if none runs; one that ended by itself is a complaint."""
        if self._daemon and self._daemon.poll() is not None:
            code = self._daemon.returncode
            if code == TRY_AGAIN:  # a service manager starts it again after a while
                self.sent["ended with 75"] += 1
                time.sleep(0.5)
            else:
                self.complaints.append(f"a daemon ended by itself with {code}: {self._end()}")
            self._daemon = None
        if self._daemon is None:
            self._born_at_bytes = self.log.stat().st_size if self.log.exists() else 0
            with self.log.open("ab") as log:
                self._daemon = started(self.home, log, "run", "--config", "config.toml")

    def kill(self, _chance: Random) -> None:
        """Kill the daemon at once."""
        self._signal(signal.SIGKILL)
        self._wait(-signal.SIGKILL)

    def kill_often(self, chance: Random) -> None:
        """Kill one daemon after the other while it is young, as a bad service manager does."""
        for _ in range(chance.randint(2, 5)):
            self.keep()
            time.sleep(chance.uniform(0.2, 1.2))
            self.kill(chance)

    def freeze(self, chance: Random) -> None:
        """Stop the daemon in its tracks for a moment, as a laptop's lid or a hypervisor does."""
        self._signal(signal.SIGSTOP)
        time.sleep(chance.uniform(0.05, 2.5))
        self._signal(signal.SIGCONT)

    def stop(self, chance: Random) -> None:
        """Ask the daemon to end, sometimes twice; it must do so in time and with 0."""
        has_begun = self._has_begun()
        # Ctrl-C into Python's own start is a traceback; a service manager sends SIGTERM.
        number = chance.choice([signal.SIGTERM, *([signal.SIGINT] * has_begun)])
        self._signal(number)
        wanted = {0} if has_begun else {0, 128 + number, -number}
        if chance.random() < 0.3:
            time.sleep(chance.uniform(0, 0.5))
            self._signal(signal.SIGTERM)
            wanted |= {128 + signal.SIGTERM, -signal.SIGTERM}
        self._wait(*wanted)

    def end(self) -> None:
        """Have no daemon any more, as at the end of an operator's day."""
        if self._daemon:
            self._signal(signal.SIGTERM)
            self._wait(0)

    def _has_begun(self) -> bool:
        """Tell whether the daemon has said so: Python itself knows of no signal yet."""
        with self.log.open("rb") as log:
            log.seek(self._born_at_bytes)
            return b'"daemon.started"' in log.read()

    def _signal(self, number: signal.Signals) -> None:
        assert self._daemon
        self.sent[number.name] += 1
        self._daemon.send_signal(number)

    def _wait(self, *wanted: int) -> None:
        """Wait for the end of the daemon; `wanted` are the exit codes that it may have."""
        assert self._daemon
        try:
            code = self._daemon.wait(STOP_AT_MOST_S)
        except subprocess.TimeoutExpired:
            self.complaints.append(f"a daemon did not end within {STOP_AT_MOST_S} s: {self._end()}")
            self._daemon.kill()
            self._daemon.wait()
        else:
            if code not in wanted:
                self.complaints.append(f"a daemon ended with {code}, not {wanted}: {self._end()}")
        self._daemon = None

    def _end(self) -> str:
        """Return the last that the daemon has logged in this life."""
        with self.log.open("rb") as log:
            log.seek(self._born_at_bytes)
            return log.read()[-1500:].decode(errors="replace")

    def ask(self, *words: str) -> dict[str, Any]:
        """Return what a command says with `--json`."""
        said: dict[str, Any] = json.loads(self._tell(*words, "--json").stdout)
        return said

    def retry_held(self) -> Counter[str]:
        """Take up what is held and costs nothing more, as a person would; count it by its reason.

        A case in whose step daemons died again and again is held and says so. What would cost
        again stays held.
        """
        rows = [row for row in self.ask("cases", "--state", "held")["cases"] if row["error"]]
        taken = [row for row in rows if self._tell("retry", row["case_id"]).returncode == 0]
        return Counter(f"held ({row['error']['code']}) and retried" for row in taken)

    def _tell(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(COMMAND), *words, "--config", str(self.home / "config.toml")]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@contextmanager
def running_engine(root: Path) -> Iterator[str]:
    """Run the sandbox; what it receives stays below `root / "engine"`. Yields its address."""
    scratch = root / "engine"
    scratch.mkdir()
    words = ("sandbox", "--simple", "--port", "0", "--processing-s", "0.2")
    with (
        (root / "engine.log").open("wb") as log,
        started(root, log, *words, TMPDIR=str(scratch)) as engine,
    ):
        try:
            yield first_line(engine)
        finally:
            engine.terminate()
            engine.wait(30)


def ledger_of(url: str) -> dict[str, Any]:
    """Return what the Engine has seen."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"{url}/_sandbox/ledger", timeout=30)
        answer.raise_for_status()
        ledger: dict[str, Any] = answer.json()
        return ledger
