"""`demo`: a simulated Engine, the daemon as a process of its own, one scan, its mesh.

Owns the scratch folder and the plain words for what happens. Knows the daemon only as everybody
does: by its command, its log lines and its state file.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vpe_watcher.app import render
from vpe_watcher.app.commands import opened, text
from vpe_watcher.app.commands.parcels import deliver, parcel_of
from vpe_watcher.app.commands.serve import make_sandbox
from vpe_watcher.app.demo_mesh import expected_of, verdict
from vpe_watcher.app.result import Result
from vpe_watcher.core.errors import Refusal
from vpe_watcher.core.model import Case

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings
    from vpe_watcher.sandbox.phantom import Phantom

PATIENCE_S = 300.0
STOP_S = 30.0
LOOK_S = 0.1
PHANTOM = "jaw-phantom.dcm"
CONFIG = """\
# The demo's configuration: a simulated Engine on this machine, impatient settings.
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
settle_s = 0.5
scan_every_s = 1

[limits]
poll_every_s = 0.2
poll_at_most_s = 1

[retention]
min_free = 0

[log]
format = "json"
"""
STEPS = {
    "submitting": "the Engine has given it a job",
    "notifying": "the Engine is working on it",
    "waiting": "the Engine has finished",
    "archiving": "the scan lies in the archive",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """Where it all happens, and since when (monotonic seconds)."""

    home: Path
    config: Path
    settings: Settings
    began: float

    def tell(self, words: str) -> None:
        """Say what has just happened."""
        render.say(f"{time.monotonic() - self.began:6.1f} s  {words}")


def demo(folder: Path | None, scan: Path | None) -> Result:
    """Show the whole way of a scan; the last line on stdout is the mesh's path."""
    began = time.monotonic()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vpe-sandbox-")))
        engine = make_sandbox(scratch, processing_s=1.0)
        home = _home(folder)
        url = stack.enter_context(_served(engine))
        stage = _stage(home, url, began)
        stage.tell(f"a simulated Engine answers at {url}")
        phantom = None if scan else _phantom(stage)
        lines = stack.enter_context(_daemon(stage))
        expected = expected_of(phantom) if phantom else None
        target = _drop(stage, scan, phantom)
        case = _until_rest(stage, target, lines)
    result = verdict(
        case, expected, hint=f"vpe-watcher show {case.case_id} --config {stage.config}"
    )
    if result.lines:
        render.say(f"all of it:     {stage.home} (yours to remove)")
        render.say(f"That took {time.monotonic() - began:.0f} s. The mesh:")
    return result


def _home(folder: Path | None) -> Path:
    try:
        if folder is None:
            return Path(tempfile.mkdtemp(prefix="vpe-watcher-demo-")).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        is_used = any(folder.iterdir())
    except OSError as error:
        raise Refusal(
            f"{folder} cannot be used: {error.strerror}.",
            code="cannot_write",
            hint="Choose a folder that you may write to.",
        ) from error
    if is_used:
        raise Refusal(
            f"{folder} is not empty.",
            code="folder_not_empty",
            hint="Name a new or an empty folder, or none to get a temporary one.",
        )
    return folder.resolve()


@contextmanager
def _served(engine: Any) -> Iterator[str]:
    from vpe_watcher.sandbox.server import SandboxServer

    with SandboxServer(engine) as server:
        yield server.url


def _stage(home: Path, url: str, began: float) -> Stage:
    from vpe_watcher.adapters.settings import load_settings

    for name in ("inbox", "outbox", "archive", "failed"):
        (home / name).mkdir()
    (home / "state").mkdir(mode=0o700)
    config = home / "vpe-watcher.toml"
    config.write_text(CONFIG.format(url=url), encoding="utf-8")
    return Stage(home, config, load_settings(config, environ={}), began)


def _phantom(stage: Stage) -> Phantom:
    from vpe_watcher.sandbox.phantom import make_phantom

    with _busy("making a synthetic jaw: teeth, mandible, canals"):
        phantom = make_phantom(stage.home / PHANTOM)
    size = text.size(phantom.path.stat().st_size)
    shape = " x ".join(str(length) for length in reversed(phantom.shape))
    stage.tell(f"made a synthetic jaw: {shape} voxels of {phantom.spacing_mm} mm, {size}")
    return phantom


@contextmanager
def _busy(words: str) -> Iterator[None]:
    """Show that something goes on, to a person who looks."""
    if not render.is_watched():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(words):
        yield


@contextmanager
def _daemon(stage: Stage) -> Iterator[queue.SimpleQueue[str]]:
    """Run the daemon as its own process; its log lines come through the queue."""
    command = [sys.executable, "-m", "vpe_watcher", "run", "--config", str(stage.config)]
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    with subprocess.Popen(  # noqa: S603 - this very program
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=_environment(),
    ) as process:
        stream = process.stderr
        reader = threading.Thread(target=_read, args=(stream, lines), daemon=True)
        reader.start()
        try:
            yield lines
        finally:
            _stop(process)
            reader.join()
    stage.tell("the daemon has stopped")


def _environment() -> dict[str, str]:
    """Keep the user's own Engine and secrets out of the demo."""
    foreign = ("VPE_WATCHER_", "CREDENTIALS_DIRECTORY")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def _read(stream: IO[str] | None, lines: queue.SimpleQueue[str]) -> None:
    for line in stream or ():
        lines.put(line.rstrip("\n"))
    lines.put("")  # the end: the process has closed its stderr


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _drop(stage: Stage, scan: Path | None, phantom: Phantom | None) -> Path:
    """Put the scan into the inbox the right way: from outside, or under an ignored name first."""
    from vpe_watcher.adapters.files import Disk

    if phantom is not None:
        target = stage.settings.inbox / phantom.path.name
        Disk().rename(phantom.path, target)
    else:
        parcel = parcel_of(scan or Path(), "default", stage.settings)
        deliver(parcel, announce=lambda: None)
        target = parcel.target
    stage.tell(f"dropped {target.name} into {target.parent}")
    return target


def _until_rest(stage: Stage, target: Path, lines: queue.SimpleQueue[str]) -> Case:
    """Tell what the daemon logs until the case is at rest. Raises `Refusal`: it does not come."""
    from rich.console import Console

    from vpe_watcher.app.progress import TransferBars

    deadline = time.monotonic() + PATIENCE_S
    bars = TransferBars(Console(stderr=True)) if render.is_watched() else None
    with bars.progress if bars else ExitStack():
        while time.monotonic() < deadline:
            if not _tell_all(stage, lines):
                raise _daemon_died()
            case, transfers = _look(stage.settings, target)
            if bars:
                bars.show(transfers)
            if case is not None and case.state.is_at_rest:
                _tell_all(stage, lines)
                return case
    raise Refusal(
        f"No result after {PATIENCE_S:.0f} s.",
        code="demo_too_slow",
        hint=f"Look at it: vpe-watcher status --config {stage.config}",
    )


def _tell_all(stage: Stage, lines: queue.SimpleQueue[str]) -> bool:
    """Tell every line that has come, waiting a moment for the first; False: no more will come."""
    wait_s: float | None = LOOK_S
    while True:
        try:
            line = lines.get(timeout=wait_s) if wait_s else lines.get_nowait()
        except queue.Empty:
            return True
        wait_s = None
        if not line:
            return False
        words = plain_words(line)
        if words:
            stage.tell(words)


def _look(settings: Settings, target: Path) -> tuple[Case | None, list[dict[str, Any]]]:
    with opened.reading(settings) as queries:
        if queries is None:
            return None, []
        case_id = queries.case_by_source(str(target))
        case = queries.case(case_id) if case_id else None
        return case, list(queries.snapshot().get("transfers") or ())


def _daemon_died() -> Refusal:
    return Refusal(
        "The daemon has ended before the mesh was there.",
        code="daemon_stopped",
        hint="What it said last stands above.",
    )


def plain_words(line: str) -> str:
    """Put a log line of the daemon into plain words; "" for what a visitor need not know."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    event, step = record.get("event", ""), record.get("step", "")
    if event == "step.done" and step in {"uploading", "fetching"}:
        amount = f" {text.size(record['bytes'])}" if record.get("bytes") else ""
        return f"uploaded{amount}" if step == "uploading" else f"downloaded{amount}"
    if event == "step.done":
        return STEPS.get(step, "")
    if event in {"daemon.started", "candidate.seen", "case.claimed", "case.delivered"}:
        return {
            "daemon.started": "the daemon is running and watches the inbox",
            "candidate.seen": "the daemon has seen the scan and waits until it is quiet",
            "case.claimed": "claimed: the scan is out of the inbox, in the daemon's hands",
            "case.delivered": "delivered into the outbox",
        }[str(event)]
    if record.get("level") in {"warning", "error", "critical"}:
        return ": ".join(str(part) for part in (event, record.get("reason")) if part)
    return ""
