"""What in an inbox belongs together, and what is never touched.

From one look at paths, kinds and marks; the content of files is not asked here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from vpe_watcher.core.model import FileMark, Kind, Modality

TEMPORARY = (".part", ".partial", ".tmp", ".filepart", ".crdownload")
OFFICE_LOCK = "~$"
OTHERS_OWN = frozenset({"thumbs.db", "desktop.ini", "@eadir", "error.json", "error.txt"})
JOB_JSON = "job.json"
SIDECAR = ".job.json"


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing below a root as one look shows it; `path` is relative to the root, with `/`."""

    path: str
    kind: Kind
    mark: FileMark


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one inbox. Times in seconds; patterns are matched without case."""

    settle_s: float
    incomplete_after_s: float
    patterns: Mapping[Modality, tuple[str, ...]]
    split_name: Callable[[str], tuple[str, str]]
    series_settle_s: float = 30.0
    series_max_wait_s: float = 3600.0
    min_slices: int = 10
    # the bytes of the ZIP that a series of files (name in the ZIP, size) is sent as
    zip_size: Callable[[Iterable[tuple[str, int]]], int] = lambda files: sum(n for _, n in files)
    ready_marker: str = ""  # a suffix such as `.done`; "" = nothing waits for a marker
    require: tuple[Modality, ...] = ()  # loose meshes of one stem that wait for one another
    keeps_late_slices: bool = True
    leaves_in_place: bool = False
    ignore: tuple[str, ...] = ()
    inner_roots: frozenset[str] = frozenset()  # folders that are another recipe's inbox
    trusts_inodes: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """What may become one case: a file with its sidecars, a folder with all below it, a series.

    `key` tells groups apart; `path` is where people find it: the file, the folder, or the first
    of several files. `sidecars` are wishes (`job.json`) and ready markers beside it.
    """

    path: str
    members: tuple[Seen, ...]  # regular files only
    is_folder: bool = False
    sidecars: tuple[Seen, ...] = ()
    temporaries: tuple[str, ...] = ()
    is_marked: bool = False  # its ready marker is there
    series_uid: str = ""  # loose slices of this series
    lacks: tuple[Modality, ...] = ()  # required partners that are not there
    name: str = ""  # of several loose files that go together

    @property
    def key(self) -> str:
        """Return what tells this group from all others of its inbox."""
        return f"series {self.series_uid}" if self.series_uid else self.path

    @property
    def files(self) -> tuple[Seen, ...]:
        """Return all that would be claimed."""
        return self.members + self.sidecars

    @property
    def fingerprint(self) -> str:
        """Return a text that changes when anything of the group is touched. Not to be kept."""
        marks = sorted((seen.path, _mark_text(seen.mark)) for seen in self.files)
        return _digest(f"{marks}{self.temporaries}{self.is_marked}")


def is_marker_inside(path: str, rules: Rules) -> bool:
    """Tell whether a path is the ready marker of the folder that it lies in."""
    return bool(rules.ready_marker) and path.partition("/")[2].lower() == rules.ready_marker.lower()


def ignored_by(path: str, kind: Kind, rules: Rules) -> str:
    """Return the rule in words by which a path is never touched; "" when none applies."""
    name = path.rpartition("/")[2]
    if name.startswith("."):
        return "hidden name"
    if kind is Kind.OTHER:
        return "a link, socket, FIFO or device is never followed or opened"
    lower = name.lower()
    if is_temporary(lower):
        return "a temporary name: something is still being written"
    if _is_others_own(lower):
        return "a file of the system or of ours"
    for pattern in rules.ignore:
        if fnmatchcase(lower, pattern.lower()) or fnmatchcase(path.lower(), pattern.lower()):
            return f"the ignore pattern {pattern!r} of the configuration"
    return ""


def is_temporary(path: str) -> bool:
    """Tell whether a name says that something is still being written."""
    return path.lower().endswith(TEMPORARY)


def _is_others_own(name: str) -> bool:
    """Tell whether a name in lower case is that of a file of the system, or of ours."""
    return name in OTHERS_OWN or name.startswith(OFFICE_LOCK)


def grouped(seen: Iterable[Seen], rules: Rules) -> list[Group]:
    """Sort what one look shows into groups. Order of the paths does not matter."""
    files: dict[str, Seen] = {}
    folders: dict[str, list[Seen]] = {}
    temporaries: dict[str, list[str]] = {}
    ignored: set[str] = set()
    marked: set[str] = set()
    for item in sorted(seen, key=lambda item: item.path):
        top, _, below = item.path.partition("/")
        if ignored and _is_below(item.path, ignored):
            continue
        if item.kind is not Kind.OTHER and is_marker_inside(item.path, rules):
            marked.add(top)
        elif ignored_by(item.path, item.kind, rules):
            ignored.add(item.path)
            if (
                below
                and is_temporary(item.path)
                and not item.path.rpartition("/")[2].startswith(".")
            ):
                temporaries.setdefault(top, []).append(item.path)
        elif item.kind is Kind.FOLDER:
            if top not in rules.inner_roots:
                folders.setdefault(top, [])
        elif below:
            if top not in rules.inner_roots:
                folders.setdefault(top, []).append(item)
        else:
            files[item.path] = item
    markers = _markers(files, {*files, *folders}, rules)
    groups = [
        Group(
            path,
            tuple(members),
            is_folder=True,
            sidecars=markers.get(path, ()),
            temporaries=tuple(temporaries.get(path, ())),
            is_marked=path in marked or path in markers,
        )
        for path, members in folders.items()
    ]
    beside = {marker.path for found in markers.values() for marker in found}
    files = {path: item for path, item in files.items() if path not in beside}
    return groups + _file_groups(files, markers, rules)


def _markers(
    files: Mapping[str, Seen], names: set[str], rules: Rules
) -> dict[str, tuple[Seen, ...]]:
    """Return the ready markers beside what they belong to, by its path."""
    if not rules.ready_marker:
        return {}
    found: dict[str, tuple[Seen, ...]] = {}
    for path, item in files.items():
        base = path[: -len(rules.ready_marker)]
        if path.lower().endswith(rules.ready_marker.lower()) and base in names:
            found[base] = (item,)
    return found


def _is_below(path: str, folders: set[str]) -> bool:
    parent = path.rpartition("/")[0]
    while parent:
        if parent in folders:
            return True
        parent = parent.rpartition("/")[0]
    return False


def _file_groups(
    files: Mapping[str, Seen], markers: Mapping[str, tuple[Seen, ...]], rules: Rules
) -> list[Group]:
    groups: list[Group] = []
    unclaimed: dict[str, list[Seen]] = {}
    for path, item in files.items():
        if path.lower().endswith(SIDECAR):
            unclaimed.setdefault(path.lower(), []).append(item)
    for path, item in files.items():
        if path.lower().endswith(SIDECAR):
            continue
        stem, _ = rules.split_name(path)
        names = dict.fromkeys((f"{path}{SIDECAR}".lower(), f"{stem}{SIDECAR}".lower()))
        sidecars = [sidecar for name in names for sidecar in unclaimed.pop(name, ())]
        marker = markers.get(path, ())
        groups.append(Group(path, (item,), sidecars=(*sidecars, *marker), is_marked=bool(marker)))
    return groups


def sight(files: Iterable[tuple[str, FileMark]], *, trusts_inodes: bool) -> str:
    """Digest a look at files, without their ctime: a rename changes that and nothing else."""
    lines = sorted(
        f"{path}\0{mark.size}\0{mark.mtime_ns}\0{mark.inode if trusts_inodes else 0}"
        for path, mark in files
    )
    return ("i:" if trusts_inodes else "n:") + _digest("\n".join(lines))


def _mark_text(mark: FileMark) -> str:
    return f"{mark.size}:{mark.mtime_ns}:{mark.ctime_ns}:{mark.inode}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
