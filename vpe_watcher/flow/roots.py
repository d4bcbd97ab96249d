"""The folders that people see, and the marker in each that says whose it is.

An unmounted share looks like an empty folder: the marker tells. It names its daemon, the start at
which it was last written and the state file, so that one that is lost, outdated or elsewhere is
noticed before it costs.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from os.path import samestat
from pathlib import Path
from stat import S_ISREG

from vpe_watcher.adapters.files import Disk, blamed
from vpe_watcher.adapters.lock import lock_holder
from vpe_watcher.adapters.store import Store, daemon_id_of
from vpe_watcher.core.errors import ConfigError, EnvironmentFault
from vpe_watcher.core.model import Kind
from vpe_watcher.flow.places import EVIDENCE, HIDDEN, probes_in

MARKER = "marker.json"
ANSWER_WITHIN_S = 10.0
EVIDENCE_AT_MOST = 64 * 1024 * 1024  # bytes: it names every slice of a series
_WITH_ANOTHER = "The {} belongs to a daemon with another state."
_NEWER = "The {} was last used with a newer state file."
_RECOVER = (
    "If the right state file is at hand, put it back; else (or if that is a backup) run "
    "`vpe-watcher recover`, which goes on with what the folders tell."
)


@dataclass(frozen=True, slots=True)
class Marker:
    """Whose folder it is: a daemon's id, the number of its start and the path of its state file."""

    daemon_id: str
    starts: int
    state_file: str = ""  # markers of early versions do not say

    @property
    def makes_sense(self) -> bool:
        """Tell whether it names a daemon; one that is empty or damaged names none."""
        return bool(self.daemon_id)


@dataclass(frozen=True, slots=True)
class Other:
    """A state file of the same daemon elsewhere, and the pid of the daemon that runs on it."""

    path: Path
    pid: int | None


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
        self._state_file = str(store.database.path.absolute())
        self._before = self._starts - 1  # as it was counted when the start checked the roots
        self._learned: set[tuple[str, Path]] = set()
        self._doubted: set[Path] = set()
        self._marked: set[Path] = set()  # in this life
        self._locks = {folder: threading.Lock() for below in folders.values() for folder in below}

    def doubt(self, folders: Iterable[Path]) -> None:
        """Check these, of which `check_identity` could not tell, before their first use."""
        self._doubted.update(folders)

    def use(self, folders: Mapping[str, tuple[Path, ...]], *, unchecked: Iterable[Path]) -> None:
        """Answer for these too from now on; steps that began before still ask for the others.

        `unchecked` are those of which `check_identity` could not tell.
        """
        for folder in chain.from_iterable(folders.values()):
            self._locks.setdefault(folder, threading.Lock())
        self._folders = {**self._folders, **folders}
        self.doubt(set(unchecked) - self._marked)

    def count_on(self) -> None:
        """Count on in the state file, and with each next use in the markers.

        So a copy of the state file that was made before is known to be old when it comes back.
        """
        self._starts = self._store.count_on()

    def guard(self, name: str) -> None:
        """Check that a root is there and ours; adopt it if it never had a marker.

        Raises:
            EnvironmentFault: it is missing, lost its marker, belongs to another daemon, or knows
                more than the state file: then nothing is done in it before a person has come.
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
        if marker is not None and not marker.makes_sense:
            raise _unreadable(name)
        self._check_late(name, folder, marker)
        if marker is not None and marker.daemon_id != self._daemon_id:
            raise _foreign(name)
        if marker is not None and self._is_of_a_copy(marker):
            raise _shared(name)
        self._keep_marked(name, folder, marker)
        self._learn(name, folder)

    def _is_of_a_copy(self, marker: Marker) -> bool:
        """Tell whether a daemon on a copy of our state file, started when we were, wrote this."""
        return marker.starts > self._before and marker.state_file not in {"", self._state_file}

    def _keep_marked(self, name: str, folder: Path, marker: Marker | None) -> None:
        """Write the marker of this life; later counts when the folder can be written at all.

        A result that is paid for is not kept back because an inbox is full or read-only.
        """
        if marker is not None and marker.starts == self._starts:
            self._marked.add(folder)
        elif marker is None or folder not in self._marked:
            self._remove_probes(name, folder)
            self._mark(name, folder)
            self._marked.add(folder)
        else:
            with suppress(OSError):
                self._mark(name, folder)

    def _check_late(self, name: str, folder: Path, marker: Marker | None) -> None:
        """Ask what the start could not: the marker still is as the last daemon left it."""
        is_ours = marker is not None and marker.daemon_id == self._daemon_id
        if folder not in self._doubted:
            if marker is not None and is_ours and marker.starts > self._starts:
                raise _outdated(name, _NEWER.format(f"folder of {name}"))
            return
        known_id = self._daemon_id if self._before else ""
        claims = folder / HIDDEN / known_id if name.startswith("inbox:") else None
        report = _Report(folder, marker, _claims_in(self._disk, claims) if claims else ())
        what = _contradiction(
            report, self._store, known_id, self._before, called=f"folder of {name}"
        )
        if what:
            raise _outdated(name, what)
        self._doubted.discard(folder)

    def _is_known(self, name: str, folder: Path) -> bool:
        return f"{name} {folder}" in self._store.known_roots()

    def _learn(self, name: str, folder: Path) -> None:
        """Record a root once: a second record would make its next scan the very first again."""
        if (name, folder) in self._learned:
            return
        if not self._is_known(name, folder):
            self._store.add_root(f"{name} {folder}", str(folder))
        self._learned.add((name, folder))

    def _remove_probes(self, name: str, folder: Path) -> None:
        """Remove what a daemon left that died while it tried whether it can write here."""
        is_inbox = name.startswith("inbox:")
        for path in probes_in(folder, self._daemon_id if is_inbox else ""):
            self._disk.remove_file(path)

    def _mark(self, name: str, folder: Path) -> None:
        """Write the marker, last: what an earlier try has made may not be durable before it."""
        self._disk.make_folder(folder / HIDDEN)
        if name.startswith("inbox:"):
            self._disk.make_folder(folder / HIDDEN / self._daemon_id)
        self._disk.sync_folder(folder)
        document = {
            "daemon_id": self._daemon_id,
            "starts": self._starts,
            "state_file": self._state_file,
        }
        self._disk.write(folder / HIDDEN / MARKER, json.dumps(document).encode())


def inspect(disk: Disk, store: Store, name: str, folder: Path) -> None:
    """Check beside a daemon, or without one, that a root is there and ours; change nothing.

    Raises:
        EnvironmentFault: it is missing, has no marker, another's, or one newer than the state file.
    """
    daemon_id, starts = store.identity()
    with blamed(name):
        if not disk.exists(folder):
            raise _missing(name)
        marker = read_marker(disk, folder)
    if marker is None:
        raise _lost(name)
    if not marker.makes_sense:
        raise _unreadable(name)
    if marker.daemon_id != daemon_id:
        raise _foreign(name)
    if marker.starts > starts:
        raise _outdated(name, _NEWER.format(f"folder of {name}"))


def read_marker(disk: Disk, folder: Path) -> Marker | None:
    """Return a root's marker; None when there is none, one of nobody when it makes no sense."""
    path = _marker_in(folder)
    return _parsed(disk.read(path)) if disk.exists(path) else None


@lru_cache(maxsize=64)
def _marker_in(folder: Path) -> Path:
    return folder.joinpath(HIDDEN, MARKER)


@lru_cache(maxsize=16)
def _parsed(content: bytes) -> Marker:
    """Return what a marker says; it is asked for before whatever is done in its folder."""
    try:
        document = json.loads(content)
        named = str(document.get("state_file") or "")
        return Marker(str(document["daemon_id"]), int(document["starts"]), named)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Marker("", 0)


@dataclass(frozen=True, slots=True)
class _Report:
    """What a root says of the state file that it belongs to; claims by case id.

    `other` is the state file that its marker names, if that is there and not the one of who asks.
    """

    folder: Path
    marker: Marker | None
    claims: tuple[tuple[str, PaidJob | None], ...] = ()
    other: Other | None = None


def check_identity(
    disk: Disk,
    store: Store,
    folders: Mapping[str, tuple[Path, ...]],
    inboxes: Mapping[str, Path],
    *,
    in_place: AbstractSet[Path] = frozenset(),
    within_s: float = ANSWER_WITHIN_S,
) -> frozenset[Path]:
    """Refuse to start on a lost or outdated state file. Source: the contract, "Never lose".

    Returns the folders that say nothing now: not there, without a marker, or without an answer
    within a time that all have together. `Roots.doubt` checks them when they are used. `in_place`
    are those that never bear a marker of ours: one there says nothing of our state file.

    Raises:
        ConfigError: a marker or a claim knows more than the state file does, or the daemon of these
            folders runs on another, of which this is a copy.
    """
    daemon_id, starts = store.identity()
    claims = {inbox: inbox / HIDDEN / daemon_id for inbox in inboxes.values()}
    places = {path: claims.get(path) for paths in folders.values() for path in paths}
    own, asked = store.database.path, {**places, **claims}
    reports = _reports(disk, asked, own, in_place=in_place, within_s=within_s)
    found = (
        _contradiction(report, store, daemon_id, starts, called=f"folder {report.folder}")
        for report in reports
    )
    what = next(filter(None, found), "")
    for report in reports:
        is_ours = report.marker is not None and daemon_id in {"", report.marker.daemon_id}
        if report.other is not None and is_ours and (what or report.other.pid is not None):
            raise _state_elsewhere(report.folder, report.other)
    if what:
        raise _needs_recovery(what)
    heard = {one.folder for one in reports if one.marker is not None and one.marker.makes_sense}
    return frozenset(places) - heard


def check_unmarked(
    disk: Disk,
    folders: Iterable[Path],
    state_file: Path,
    *,
    in_place: AbstractSet[Path] = frozenset(),
    within_s: float = ANSWER_WITHIN_S,
) -> None:
    """Refuse to make a state file where a folder bears a marker: there was one before.

    Raises:
        ConfigError: as for one that was never started. None is left for a person to take for it.
    """
    asked = dict.fromkeys(folders)
    for report in _reports(disk, asked, state_file, in_place=in_place, within_s=within_s):
        if report.other is not None:
            raise _state_elsewhere(report.folder, report.other)
        if report.marker is not None:
            raise _needs_recovery(_WITH_ANOTHER.format(f"folder {report.folder}"))


def check_alone(
    disk: Disk,
    folders: Iterable[Path],
    state_file: Path,
    *,
    within_s: float = ANSWER_WITHIN_S,
) -> None:
    """Refuse to build a state file anew for folders whose daemon has another.

    Raises:
        ConfigError: two daemons would take the same scans.
    """
    for report in _reports(disk, dict.fromkeys(folders), state_file, within_s=within_s):
        if report.other is not None:
            raise _state_elsewhere(report.folder, report.other)


def _reports(
    disk: Disk,
    places: Mapping[Path, Path | None],
    own: Path,
    *,
    in_place: AbstractSet[Path] = frozenset(),
    within_s: float,
) -> tuple[_Report, ...]:
    """Ask each root on a thread of its own; leave out those that do not answer in time.

    What a root says counts also where the disk of the state file that it names hangs.
    """
    answers: queue.SimpleQueue[_Report | BaseException] = queue.SimpleQueue()

    def ask(folder: Path, claims: Path | None) -> None:
        try:
            report = _report_of(disk, folder, claims, None)
            answers.put(report)
            marker = report.marker if folder not in in_place else None
            other = _other_than(own, marker) if marker is not None else None
            answers.put(replace(report, other=other))
        except BaseException as error:  # noqa: BLE001 - raised again by the one who asked
            answers.put(error)

    asked = 0
    for one in sorted(places.items()):
        with suppress(RuntimeError):  # no further thread: as a root that does not answer
            threading.Thread(target=ask, args=one, name="identity", daemon=True).start()
            asked += 1
    deadline, reports = time.monotonic() + within_s, dict[Path, _Report]()
    with suppress(queue.Empty):
        for _ in range(2 * asked):
            answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
            if isinstance(answer, BaseException):
                raise answer
            reports[answer.folder] = answer
    return tuple(reports.values())


def _report_of(disk: Disk, folder: Path, claims: Path | None, own: Path | None) -> _Report:
    marker = _marker_or_none(disk, folder)
    found = _claims_in(disk, claims) if claims else ()
    other = _other_than(own, marker) if own is not None and marker is not None else None
    return _Report(folder, marker, found, other)


def _contradiction(
    report: _Report, store: Store, daemon_id: str, starts: int, *, called: str
) -> str:
    """Say in words what a root knows better than the state file; "" when nothing."""
    marker = report.marker
    if marker is not None and not daemon_id:
        return _WITH_ANOTHER.format(called)
    if marker is not None and marker.daemon_id == daemon_id and marker.starts > starts:
        return _NEWER.format(called)
    for case_id, paid in report.claims:
        if not store.knows(case_id):
            return "A claim folder holds a scan that the state file does not know."
        if paid and not store.knows_payment(case_id, paid.job_id):
            return (
                f"The claim of case {case_id} says that it may be paid; the state file "
                "does not know of it."
            )
    return ""


def _other_than(own: Path, marker: Marker) -> Other | None:
    """Return the state file that a marker names, if it is there, its daemon's, and not this one.

    One that this user may not look at is taken for there; one of a disk that is gone is not, nor
    what is no path or no file at all.
    """
    named = Path(marker.state_file)
    if not marker.state_file or named == own.absolute():
        return None
    try:
        there = named.stat()
    except PermissionError:
        return Other(named, None)
    except (OSError, ValueError):
        return None
    if not S_ISREG(there.st_mode):
        return None
    with suppress(OSError):
        if samestat(there, own.stat()):
            return None
    is_its = daemon_id_of(named) in {marker.daemon_id, None}
    return Other(named, lock_holder(named)) if is_its else None


def _marker_or_none(disk: Disk, folder: Path) -> Marker | None:
    try:
        return read_marker(disk, folder)
    except OSError:
        return None  # a root that cannot be read now opens its breaker later


def _claims_in(disk: Disk, claims: Path) -> tuple[tuple[str, PaidJob | None], ...]:
    """Return the claims of a daemon, with what their evidence says."""
    try:
        entries = [entry for entry in disk.listing(claims) if not entry.name.startswith(".")]
    except OSError:
        return ()
    return tuple(
        (entry.name, _paid_job(disk, claims / entry.name / EVIDENCE))
        for entry in entries
        if entry.kind is Kind.FOLDER and not entry.name.endswith(".arriving")
    )


def _paid_job(disk: Disk, path: Path) -> PaidJob | None:
    """Return the job that the evidence in a claim says may be paid.

    What cannot be read contradicts no state file: only where that is outdated would it matter, and
    then the marker tells; `recover` takes it for paid.
    """
    try:
        document = json.loads(disk.read(path, at_most=EVIDENCE_AT_MOST))
    except (ValueError, OSError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("may_be_paid") is not True:
        return None
    job_id = document.get("job_id")
    return PaidJob(job_id if isinstance(job_id, str) else None)


def _needs_recovery(what: str) -> ConfigError:
    return ConfigError(
        f"{what} The state file is lost, older than the folders, or not theirs.",
        code="state_outdated",
        hint=_RECOVER,
    )


def _state_elsewhere(folder: Path, other: Other) -> ConfigError:
    who = "which is still there, or may not be looked at by this user"
    if other.pid is not None:
        who = f"which vpe-watcher (pid {other.pid}) uses now"
    return ConfigError(
        f"The folder {folder} belongs to the daemon of the state file {other.path}, {who}.",
        code="state_elsewhere",
        hint="Name that one as state_file, or give this configuration folders of its own. Only if "
        "nobody is to use it any more: move it away, and run `vpe-watcher recover`.",
    )


def _outdated(name: str, what: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{what} The state file is lost, older than the folders, or not theirs.",
        code="state_outdated",
        hint=f"Nothing is done there meanwhile. Stop the daemon. {_RECOVER}",
        breaker=name,
    )


def _missing(name: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"The folder of {name} is missing or not mounted.",
        code="folder_missing",
        hint="Mount it. Only if it never was there: make it (mkdir), owned by the service's user. "
        "Work goes on by itself.",
        breaker=name,
    )


def _lost(name: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"The folder of {name} has lost its marker: it may be an empty mount point.",
        code="folder_without_marker",
        hint="Mount the share again; work goes on by itself. If the folder was emptied on "
        "purpose, put the hidden folder .vpe-watcher back into it (docs/how-to/breakers.md).",
        breaker=name,
    )


def _unreadable(name: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"The marker of the folder of {name} is empty or damaged: .vpe-watcher/marker.json there.",
        code="marker_unreadable",
        hint="Copy .vpe-watcher/marker.json of another folder of this daemon over it: they are the "
        "same (docs/how-to/breakers.md). Work goes on by itself.",
        breaker=name,
    )


def _foreign(name: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"The folder of {name} bears the marker of another daemon.",
        code="folder_of_another",
        hint="If this state file is another daemon's, or a copy of it: stop the daemon, move the "
        "file away, and put the right one back or run `vpe-watcher recover`. If the state file is "
        "right: two daemons must not share a folder, so give this one folders of its own.",
        breaker=name,
    )


def _shared(name: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"The folder of {name} was marked just now by a daemon on a copy of this state file.",
        code="state_elsewhere",
        hint="Stop both daemons; .vpe-watcher/marker.json there names the other's state file. Move "
        "away the one that is not to be used, and start the daemon of the one that stays.",
        breaker=name,
    )
