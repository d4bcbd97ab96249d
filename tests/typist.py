"""Types into real shells, on a terminal, and tells what the command was given."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ANSWER_WITHIN_S = 30.0
# Completes like the installed command; whatever else it is asked, it only keeps the words.
COMMAND = """#!{python}
import json, os, sys
if sys.argv[1:2] in (["__complete"], ["completion"]):
    os.execv({python!r}, [{python!r}, "-m", "vpe_watcher", *sys.argv[1:]])
with open({kept!r} + ".new", "w") as file:
    json.dump(sys.argv[1:], file)
os.rename({kept!r} + ".new", {kept!r})
"""


@dataclass
class Typist:
    """A person at a shell's prompt."""

    terminal: int
    kept: Path
    seen: bytes = b""

    def type(self, keys: str) -> list[str]:
        """Type keys and Enter; return the words that the command was given."""
        self.kept.unlink(missing_ok=True)
        self.press(f"{keys}\r")
        words: list[str] = json.loads(self._wait())
        return words

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self.terminal, keys.encode())

    def _wait(self) -> str:
        until = time.monotonic() + ANSWER_WITHIN_S
        while not self.kept.exists():
            self.look()
            assert time.monotonic() < until, self.seen.decode(errors="replace")
        return self.kept.read_text()

    def look(self) -> str:
        """Return all that the terminal has shown up to now."""
        time.sleep(0.05)
        while True:
            try:
                self.seen += os.read(self.terminal, 4096)
            except OSError:  # nothing more for now
                return self.seen.decode(errors="replace")


@contextmanager
def typist(home: Path, shell: Sequence[str], *, first: str) -> Iterator[Typist]:
    """Sit down at a shell in `home`, where the command is on the path, and type a `first` line."""
    kept = home / "kept"
    command = home / "bin" / "vpe-watcher"
    command.parent.mkdir(exist_ok=True)
    command.write_text(COMMAND.format(python=sys.executable, kept=str(kept)))
    command.chmod(0o755)
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    environment = {
        "HOME": str(home),
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
        "VPE_WATCHER_CONFIG": str(home / "vpe-watcher.toml"),
    }
    process = subprocess.Popen(
        ["setsid", "--ctty", *shell],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=home,
        env=environment,
    )
    os.close(theirs)
    person = Typist(ours, kept)
    try:
        person.press(f"{first}\r")
        yield person
    finally:
        process.kill()
        process.wait()
        os.close(ours)
