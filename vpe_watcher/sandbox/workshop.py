"""Where results are made: once for each upload, when the job starts or at the first look.

Never answers a request. Heavy libraries come in only when a real surface is due.
"""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from vpe_watcher.core.errors import ConfigError
from vpe_watcher.sandbox.ledger import Job, JobInput
from vpe_watcher.sandbox.tetrahedron import write_tetrahedra
from vpe_watcher.sandbox.validation import items_of

WRITABLE = (".stl", ".ply", ".obj")
EXTRA = ("numpy", "pydicom", "zmesh")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Unreadable(ValueError):
    """An input from which no surface can be made. The text says why, without its name."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file to make a surface from."""

    path: Path
    extension: str
    is_volume: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What computing came to: a file for each extension, or why there is none."""

    files: dict[str, Path] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be made for a job; jobs with equal names share one result."""

    name: str
    source: JobInput
    extensions: tuple[str, ...]
    folder: Path


Maker = Callable[[Source, dict[str, Path]], None]


def require_extra(modules: Sequence[str] = EXTRA) -> None:
    """Raise ConfigError that says what to install if a library for real surfaces is absent."""
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    if absent:
        raise ConfigError(
            f"the sandbox Engine needs libraries that are not installed: {', '.join(absent)}",
            code="sandbox_extra_missing",
            hint="pip install 'vpe-watcher[sandbox]'",
        )


def make_surface(source: Source, targets: dict[str, Path]) -> None:
    """Write the iso-surface (or the mesh itself) of a source; raise Unreadable."""
    from vpe_watcher.sandbox.meshing import write_surface

    write_surface(source, targets)


def make_tetrahedron(_source: Source, targets: dict[str, Path]) -> None:
    """Write the same small tetrahedron whatever the source is; needs no library."""
    write_tetrahedra(targets)


class Workshop:
    """Makes and keeps outcomes. Two jobs with the same bytes share one. Safe for threads.

    With `in_background` work begins when a job starts, and `outcome` never waits for it.
    """

    def __init__(self, scratch: Path, maker: Maker) -> None:
        self.in_background = False
        self._scratch = scratch
        self._maker = maker
        self._making = threading.Lock()
        self._outcomes: dict[str, Outcome] = {}
        self._ordering = threading.Lock()
        self._orders: dict[str, Future[Outcome]] = {}
        self._hands = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-workshop")

    def begin(self, job: Job) -> None:
        """Take up a job that has just started, if there is a background to do it in."""
        if self.in_background:
            self._ordered(_task_of(job, self._scratch))

    def outcome(self, job: Job) -> Outcome | None:
        """Return a started job's outcome; None while it is being computed in the background."""
        task = _task_of(job, self._scratch)
        if not self.in_background:
            return self._made(task)
        order = self._ordered(task)
        return order.result() if order.done() else None

    def close(self) -> None:
        """Take no more work and forget what has not begun."""
        self._hands.shutdown(wait=True, cancel_futures=True)

    def _ordered(self, task: Task) -> Future[Outcome]:
        with self._ordering:
            if task.name not in self._orders:
                self._orders[task.name] = self._hands.submit(self._made, task)
            return self._orders[task.name]

    def _made(self, task: Task) -> Outcome:
        with self._making:
            if task.name not in self._outcomes:
                self._outcomes[task.name] = self._make(task)
            return self._outcomes[task.name]

    def _make(self, task: Task) -> Outcome:
        task.folder.mkdir(parents=True, exist_ok=True)
        targets = {extension: task.folder / f"surface{extension}" for extension in task.extensions}
        is_needed = self._maker is not make_tetrahedron
        try:
            path = _local_file(task.source, task.folder, is_needed=is_needed)
            is_volume = task.source.modality == "cbct"
            self._maker(Source(path, task.source.extension, is_volume), targets)
        except Unreadable as fault:
            return Outcome(error=f"sandbox: {fault}")
        return Outcome(files=targets)


def _task_of(job: Job, scratch: Path) -> Task:
    source = _source_of(job)
    extensions = _wanted_extensions(job)
    name = f"{_identity(source)}|{source.modality}{source.extension}|{','.join(extensions)}"
    folder = scratch / "results" / hashlib.sha256(name.encode()).hexdigest()[:16]
    return Task(name, source, tuple(extensions), folder)


def _source_of(job: Job) -> JobInput:
    return job.inputs.get("cbct") or next(iter(job.inputs.values()))


def _identity(source: JobInput) -> str:
    return source.uploads[-1].sha256 if source.uploads else source.download_url


def _wanted_extensions(job: Job) -> list[str]:
    wanted = items_of(job.request["outputFiles"].get("meshes", []))
    return [known for known in WRITABLE if known in {item["extension"] for item in wanted}]


def _local_file(source: JobInput, folder: Path, *, is_needed: bool) -> Path:
    if source.uploads:
        return source.uploads[-1].path
    target = folder / f"fetched{source.extension}"
    if is_needed:
        _fetch(source.download_url, target)
    return target


def _fetch(url: str, target: Path) -> None:
    import requests

    if urlsplit(url).hostname not in LOOPBACK:
        raise Unreadable("a downloadUrl is fetched from this machine only")
    session = requests.Session()
    session.trust_env = False
    try:
        with (
            session,
            session.get(url, stream=True, timeout=30, allow_redirects=False) as answer,
            target.open("wb") as file,
        ):
            if answer.status_code != 200:
                raise Unreadable(f"the downloadUrl answered {answer.status_code}")
            for block in answer.iter_content(1 << 20):
                file.write(block)
    except requests.RequestException as fault:
        raise Unreadable("the downloadUrl could not be fetched") from fault
