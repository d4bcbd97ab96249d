"""`run` and `sandbox`: the commands that stay. They print by themselves while they run."""

from __future__ import annotations

import json
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpe_watcher.app import render
from vpe_watcher.app.commands import opened
from vpe_watcher.app.result import Result
from vpe_watcher.app.signals import taken_signals
from vpe_watcher.core.errors import ConfigError, Refusal, UsageError

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings

NOT_REAL = "This is a simulated Engine: its meshes are iso-surfaces, not a segmentation."


def run(config: Path | None, *, once: bool) -> Result:
    """Be the daemon until a signal says stop; with `once` until there is no work left."""
    with taken_signals() as signals:  # from now on: a signal may come while all this is loaded
        settings = opened.settings_of(config, asks_engine=True)
        from vpe_watcher.app import process

        # The same file again, wherever it was found: not another one that came before it since.
        again = partial(reread, config or settings.config_file)
        return Result(exit_code=process.run(settings, once=once, reread=again, signals=signals))


def reread(file: Path | None) -> Settings:
    """Read the configuration again. Raises `ConfigError`, also for what could be waited for."""
    if file is not None and file.exists() and not file.is_file():
        raise ConfigError(
            f"the configuration {file} is no regular file",
            code="config_unreadable",
            hint="put a file in its place, and reload again",
        )
    return opened.settings_of(file, asks_engine=True)


def sandbox(*, port: int, fault_script: Path | None, processing_s: float, simple: bool) -> Result:
    """Be the simulated Engine until SIGTERM or SIGINT. The first line on stdout is its URL."""
    from vpe_watcher.sandbox.server import serve

    faults = _script(fault_script)
    with (
        tempfile.TemporaryDirectory(prefix="vpe-watcher-sandbox-") as scratch,
        _stopped_by_signals() as stop,
    ):
        engine = make_sandbox(
            Path(scratch), simple=simple, faults=faults, processing_s=processing_s
        )
        try:
            serve(engine, port=port, stop=stop, started=_introduce)
        except (OSError, OverflowError) as error:
            raise Refusal(
                f"The port {port} cannot be had: {error}.",
                code="port_taken",
                hint="Choose another with --port, or leave it out to get a free one.",
            ) from error
    return Result(messages=("The sandbox Engine has stopped.",))


def make_sandbox(
    scratch: Path, *, simple: bool = False, faults: Any = None, processing_s: float = 0.0
) -> Any:
    """Return a simulated Engine. Raises `Refusal` when its libraries are not installed."""
    from vpe_watcher.sandbox.options import Options, ScriptError
    from vpe_watcher.sandbox.rules import Sandbox

    try:
        return Sandbox(
            scratch,
            simple=simple,
            faults=[] if faults is None else faults,
            options=Options(processing_s=processing_s),
        )
    except ScriptError as error:
        raise UsageError(f"--fault-script: {error}.", code="usage") from error
    except ConfigError as error:
        raise Refusal(error.message, code=error.code, hint=error.hint) from error


def _introduce(url: str) -> None:
    render.show(Result(lines=(url,)))
    render.say(NOT_REAL)
    render.say(
        f'To use it: engine.base_url = "{url}", engine.auth.token_url = "{url}/oauth/token", '
        'client_id and client_secret "sandbox". Stop it with Ctrl-C.'
    )


def _script(file: Path | None) -> Any:
    if file is None:
        return []
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"--fault-script: {file} cannot be read: {error.strerror}.", code="usage"
        ) from error
    except ValueError as error:
        raise UsageError(f"--fault-script: {file} is no JSON: {error}.", code="usage") from error


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Set an event on SIGTERM and SIGINT while the block runs."""
    stop = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda _number, _frame: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
