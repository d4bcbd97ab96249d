"""Those who write into an inbox: copiers, scanners and exporters as small state machines.

Each is a generator that acts on real files and yields the seconds until its next act, so that a
simulated clock and a real one can both drive it. Honest: it describes one file or one folder, and
what it will have been in the end. Knows nothing of the daemon.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.flow.scans import content_of, file_name, series_uid, slice_of
from vpe_watcher.core.series import series_name

LONG_AGO = (1_104_584_400.0, 1_104_584_400.0)  # January 2005
Acts = Iterator[float]


@dataclass(frozen=True, slots=True)
class Writing:
    """How one file is written. `seed` tells contents of one form apart.

    `cuts` are where its pieces end, `order` the order in which they are written; after each but
    the last comes one of `pauses_s`. `size_first` is how the full size is made before: by
    `truncate`, by `fallocate`, or "" for not at all. `hand` is `held` (one descriptor all the
    time), `reopened` (one for each piece) or `mapped` (a shared memory map). `dated` sets a time
    of years ago: through the descriptor (`inside`), after each close (`closed`) or never ("").
    `by_way_of` is the name under which it is written before it gets its own, `early` how many
    bytes of a first try lay under its own name before, and `is_removed` whether these are deleted
    first.
    """

    form: str
    seed: int
    cuts: tuple[int, ...] = ()
    order: tuple[int, ...] = (0,)
    pauses_s: tuple[float, ...] = ()
    size_first: str = ""
    hand: str = "held"
    dated: str = ""
    by_way_of: str = ""
    early: int = 0
    is_removed: bool = False
    before_s: float = 0.0

    @property
    def name(self) -> str:
        """Return the file's name in the end."""
        return file_name(self.form, self.seed)

    @property
    def content(self) -> bytes:
        """Return the file's bytes in the end."""
        return content_of(self.form, self.seed)

    @property
    def pieces(self) -> list[tuple[int, bytes]]:
        """Return offset and bytes of each piece in the order of writing."""
        edges = [0, *self.cuts, len(self.content)]
        return [(edges[n], self.content[edges[n] : edges[n + 1]]) for n in self.order]


@dataclass(frozen=True, slots=True)
class Filling:
    """How a case folder is filled: by one `Writing` after the other, with `gaps_s` between them.

    `cover` says what keeps it from being taken meanwhile: "" (only the pauses), `part` (a file
    with a temporary name inside), `first` (the first file is finished last), `inside` and
    `outside` (it is made under an ignored name, or beside the inbox, and renamed in whole).
    """

    name: str
    members: tuple[tuple[str, Writing], ...]  # the sub-folder, and what is written in it
    gaps_s: tuple[float, ...]
    cover: str = ""
    before_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Dripping:
    """How the slices of a series come, loose or (with a `folder`) nested in one.

    `order` are the instance numbers as they come; after each but the last comes one of `pauses_s`.
    `way` is `whole`, `pieces` (cut at `cut`, closed in between) or `renamed` (from a `.part` name).
    `is_counted`: each slice declares how many there are. `cover` is as for a `Filling`.
    """

    seed: int
    order: tuple[int, ...]
    pauses_s: tuple[float, ...]
    way: str = "whole"
    cut: int = 200
    is_counted: bool = False
    folder: str = ""
    cover: str = ""
    before_s: float = 0.0

    @property
    def name(self) -> str:
        """Return the case's name in the end."""
        return self.folder or series_name(str(self.seed), series_uid(self.seed))

    @property
    def contents(self) -> list[bytes]:
        """Return the slices' bytes, sorted."""
        return sorted(self.content(number) for number in self.order)

    def content(self, number: int) -> bytes:
        """Return a slice's bytes."""
        return slice_of(self.seed, number, len(self.order) if self.is_counted else None)


def written(folder: Path, one: Writing) -> Acts:
    """Write a file into a folder."""
    yield one.before_s
    path = folder / one.name
    if one.early:
        with path.open("wb") as file:
            file.write(one.content[: one.early])
        yield _pause(one, -1)
        if one.is_removed:
            path.unlink()
            yield _pause(one, -2)
    if not one.by_way_of:
        yield from _filled(path, one)
        return
    draft = folder / one.by_way_of
    yield from _filled(draft, one)
    yield _pause(one, -1)
    draft.replace(path)


def filled(inbox: Path, one: Filling) -> Acts:
    """Fill a case folder in an inbox."""
    yield one.before_s
    makers = {"part": _beside_a_part, "first": _around_the_first}
    if one.cover in makers:
        yield from makers[one.cover](inbox / one.name, one)
    elif one.cover == "outside":
        yield from _renamed_in(inbox.parent / f"{one.name}-draft", inbox / one.name, one)
    elif one.cover == "inside":
        yield from _renamed_in(inbox / f"{one.name}.part", inbox / one.name, one)
    else:
        yield from _one_by_one(inbox / one.name, one)


def dripped(inbox: Path, one: Dripping) -> Acts:
    """Let the slices of a series come into an inbox."""
    yield one.before_s
    target = inbox / one.folder if one.folder else inbox
    if one.cover == "outside":
        draft = inbox.parent / f"{one.folder}-draft"
    else:
        draft = inbox / f"{one.folder}.part" if one.cover == "inside" else target
    for place, number in enumerate(one.order):
        folder = draft / f"scan/{number % 2}" if one.folder else draft
        folder.mkdir(parents=True, exist_ok=True)
        yield from _one_slice(folder, one, number)
        if place + 1 < len(one.order):
            yield one.pauses_s[place % len(one.pauses_s)]
    if draft != target:
        draft.rename(target)


def slice_name(one: Dripping, number: int) -> str:
    """Return the file name of a slice."""
    return f"{one.seed}-{number:03d}.dcm"


def _one_slice(folder: Path, one: Dripping, number: int) -> Acts:
    content, path = one.content(number), folder / slice_name(one, number)
    if one.way == "pieces":
        path.write_bytes(content[: one.cut])
        yield one.pauses_s[-1]
    draft = path.with_name(f"{path.name}.part") if one.way == "renamed" else path
    with draft.open("ab") as file:
        file.write(content[path.stat().st_size if one.way == "pieces" else 0 :])
    draft.rename(path)


# --- one file -------------------------------------------------------------------------------------


def _filled(path: Path, one: Writing) -> Acts:
    if one.hand == "mapped":
        return _through_a_map(path, one)
    return _held_open(path, one) if one.hand == "held" else _reopened(path, one)


def _held_open(path: Path, one: Writing) -> Acts:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        if one.size_first:
            _make_size(descriptor, one)
            yield _pause(one, 0)
        for number, (offset, piece) in enumerate(one.pieces):
            with _showing(path):
                os.pwrite(descriptor, piece, offset)
            yield _pause(one, number)
        if one.dated == "inside":
            os.utime(descriptor, LONG_AGO)
    finally:
        os.close(descriptor)
    if one.dated == "closed":
        os.utime(path, LONG_AGO)


def _reopened(path: Path, one: Writing) -> Acts:
    if one.size_first:
        with _showing(path), path.open("wb") as file:
            _make_size(file.fileno(), one)
        yield _pause(one, -1)
    for number, (offset, piece) in enumerate(one.pieces):
        with _showing(path):
            _put(path, offset, piece, dated=one.dated)
        if number + 1 < len(one.pieces):
            yield _pause(one, number)


def _put(path: Path, offset: int, piece: bytes, *, dated: str) -> None:
    """Open a file, write one piece, and close it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, piece, offset)
        if dated == "inside":
            os.utime(descriptor, LONG_AGO)
    finally:
        os.close(descriptor)
    if dated == "closed":
        os.utime(path, LONG_AGO)


def _through_a_map(path: Path, one: Writing) -> Acts:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        _make_size(descriptor, one)
        memory = mmap.mmap(descriptor, len(one.content))
    finally:
        os.close(descriptor)
    with memory:
        for number, (offset, piece) in enumerate(one.pieces):
            yield _pause(one, number)
            memory[offset : offset + len(piece)] = piece
        yield _pause(one, -1)


def _make_size(descriptor: int, one: Writing) -> None:
    if one.size_first == "fallocate":
        os.posix_fallocate(descriptor, 0, len(one.content))
    else:
        os.ftruncate(descriptor, len(one.content))


@contextmanager
def _showing(path: Path) -> Iterator[None]:
    """Make sure that an act shows in the file's times: a kernel's file clock is coarse.

    Between two acts lie seconds of simulated time, but only microseconds of the real one.
    """
    before = _times(path)
    yield
    assert path.exists(), f"{path.name} was taken while it was being written"
    while _times(path) == before:
        time.sleep(0.001)
        path.chmod(0o644)


def _times(path: Path) -> tuple[int, int, int]:
    if not path.exists():
        return -1, 0, 0
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _pause(one: Writing, number: int) -> float:
    return one.pauses_s[number % len(one.pauses_s)] if one.pauses_s else 0.0


# --- one folder -----------------------------------------------------------------------------------


def _one_by_one(folder: Path, one: Filling) -> Acts:
    for number, (below, member) in enumerate(one.members):
        (folder / below).mkdir(parents=True, exist_ok=True)
        yield from written(folder / below, member)
        if number + 1 < len(one.members):
            yield one.gaps_s[number % len(one.gaps_s)]


def _beside_a_part(folder: Path, one: Filling) -> Acts:
    folder.mkdir()
    part = folder / "report.pdf.part"
    part.write_bytes(b"a report")
    yield one.gaps_s[0]
    yield from _one_by_one(folder, one)
    yield one.gaps_s[-1]
    part.rename(folder / "report.pdf")


def _around_the_first(folder: Path, one: Filling) -> Acts:
    """Begin with the first file, and go on with it only when all others are there."""
    below, member = one.members[0]
    (folder / below).mkdir(parents=True, exist_ok=True)
    first = written(folder / below, member)
    yield from (next(first) for _ in range(2))  # its start, and its first piece
    others = Filling(one.name, one.members[1:], one.gaps_s)
    yield from _one_by_one(folder, others)
    yield one.gaps_s[0]
    yield from first


def _renamed_in(draft: Path, folder: Path, one: Filling) -> Acts:
    yield from _one_by_one(draft, one)
    yield one.gaps_s[0]
    draft.rename(folder)
