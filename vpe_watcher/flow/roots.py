"""The folders that people see, and the marker in each that says whose it is.

An unmounted share looks like an empty folder: the marker tells. It names its daemon and the start
at which it was last written, so that a lost or outdated state file is noticed before it costs.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vpe_watcher.adapters.files import Disk, blamed
from vpe_watcher.adapters.store import Store
from vpe_watcher.core.errors import ConfigError, EnvironmentFault
from vpe_watcher.core.model import Kind
from vpe_watcher.flow.places import EVIDENCE, HIDDEN

MARKER = "marker.json"


@dataclass(frozen=True, slots=True)
class Marker:
    """Whose folder it is: a daemon's id and the number of its start."""

    daemon_id: str
    starts: int


@dataclass(frozen=True, slots=True)
class PaidJob:
    """What `.case.json` says may be paid; without an id a submit whose answer is not known."""

    job_id: str | None


class Roots:
    """The roots by name (`inbox:<recipe>`, `outbox`, `archive`, `failed`); several may share one.

    `guard` is called before anything is done below a root. Each folder has a lock of its own: a
    share that hangs holds up only those who need it.
    """

    def __init__(self, disk: Disk, store: Store, folders: Mapping[str, tuple[Path, ...]]) -> None:
        self._disk = disk
        self._store = store
        self._folders = dict(folders)
        self._daemon_id, self._starts = store.identity()
        self._learned: set[tuple[str, Path]] = set()
        self._locks = {folder: threading.Lock() for below in folders.values() for folder in below}

    def guard(self, name: str) -> None:
        """Check that a root is there and ours; adopt it if it never had a marker.

        Raises:
            EnvironmentFault: it is missing, lost its marker, or belongs to another daemon.
        """
        for folder in self._folders[name]:
            with self._locks[folder], blamed(name):
                self._guard_one(name, folder)

    def _guard_one(self, name: str, folder: Path) -> None:
        entry = self._disk.look(folder)
        if entry is None or (entry.kind is Kind.FILE):
            raise _missing(name)
        marker = read_marker(self._disk, folder)
        if marker is None and self._is_known(name, folder):
            raise _lost(name)
        if marker is not None and marker.daemon_id != self._daemon_id:
            raise _foreign(name)
        if marker is None or marker.starts != self._starts:
            self._mark(folder)
        self._learn(name, folder)

    def _is_known(self, name: str, folder: Path) -> bool:
        return f"{name} {folder}" in self._store.known_roots()

    def _learn(self, name: str, folder: Path) -> None:
        """Record a root once: a second record would make its next scan the very first again."""
        if (name, folder) in self._learned:
            return
        if not self._is_known(name, folder):
            self._store.add_root(f"{name} {folder}", str(folder))
        self._learned.add((name, folder))

    def _mark(self, folder: Path) -> None:
        self._disk.make_folder(folder / HIDDEN)
        document = {"daemon_id": self._daemon_id, "starts": self._starts}
        self._disk.write(folder / HIDDEN / MARKER, json.dumps(document).encode())


def read_marker(disk: Disk, folder: Path) -> Marker | None:
    """Return a root's marker; None when there is none, a foreign one when it makes no sense."""
    path = folder / HIDDEN / MARKER
    if not disk.exists(path):
        return None
    try:
        document = json.loads(disk.read(path))
        return Marker(str(document["daemon_id"]), int(document["starts"]))
    except (ValueError, KeyError, TypeError):
        return Marker("", 0)


def check_identity(
    disk: Disk, store: Store, folders: Mapping[str, tuple[Path, ...]], inboxes: Mapping[str, Path]
) -> None:
    """Refuse to start on a lost or outdated state file. Source: the contract, "Never lose".

    Raises:
        ConfigError: a marker or a claim knows more than the state file does.
    """
    daemon_id, starts = store.identity()
    for folder in {path for paths in folders.values() for path in paths}:
        marker = _marker_or_none(disk, folder)
        if marker is None:
            continue
        if not daemon_id:
            raise _needs_recovery(f"The folder {folder} belongs to a daemon with another state.")
        if marker.daemon_id == daemon_id and marker.starts > starts:
            raise _needs_recovery(f"The folder {folder} was last used with a newer state file.")
    for inbox in inboxes.values():
        _check_claims(disk, store, inbox / HIDDEN / daemon_id)


def _marker_or_none(disk: Disk, folder: Path) -> Marker | None:
    try:
        return read_marker(disk, folder)
    except OSError:
        return None  # a root that cannot be read now opens its breaker later


def _check_claims(disk: Disk, store: Store, claims: Path) -> None:
    try:
        entries = [entry for entry in disk.listing(claims) if not entry.name.startswith(".")]
    except OSError:
        return
    for entry in entries:
        if entry.kind is not Kind.FOLDER or entry.name.endswith(".arriving"):
            continue
        case = store.load(entry.name)
        if case is None:
            raise _needs_recovery("A claim folder holds a scan that the state file does not know.")
        paid = _paid_job(disk, claims / entry.name / EVIDENCE)
        if paid and not store.knows_payment(case.case_id, paid.job_id):
            raise _needs_recovery(
                f"The claim of case {case.case_id} says that it may be paid; the state file "
                "does not know of it."
            )


def _paid_job(disk: Disk, path: Path) -> PaidJob | None:
    """Return the job that the evidence in a claim says may be paid."""
    if not disk.exists(path):
        return None
    try:
        document = json.loads(disk.read(path))
    except (ValueError, OSError):
        return None
    if not isinstance(document, dict) or document.get("may_be_paid") is not True:
        return None
    job_id = document.get("job_id")
    return PaidJob(job_id if isinstance(job_id, str) else None)


def _needs_recovery(what: str) -> ConfigError:
    return ConfigError(
        f"{what} The state file is lost, older than the folders, or not theirs.",
        code="state_outdated",
        hint="Put the right state file back from a backup; without one, run `vpe-watcher recover`.",
    )


def _missing(name: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"The folder of {name} is missing or not mounted.",
        code="folder_missing",
        hint="Mount it or make it (`vpe-watcher init` makes all folders); work goes on by itself.",
        breaker=name,
    )


def _lost(name: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"The folder of {name} has lost its marker: it may be an empty mount point.",
        code="folder_without_marker",
        hint="Mount the share again; work goes on by itself. If the folder was emptied on "
        "purpose, stop the daemon, restore the hidden folder .vpe-watcher in it, start again.",
        breaker=name,
    )


def _foreign(name: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"The folder of {name} bears the marker of another daemon.",
        code="folder_of_another",
        hint="Two daemons must not share a folder: give this one folders of its own.",
        breaker=name,
    )
