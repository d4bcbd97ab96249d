"""What people do at the folders: drops of many kinds, slow writers, deletions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.flow.scans import FORMS, content_of, file_name, slice_of
from tests.simulation.disk import File, Folder
from tests.simulation.laws import Laws
from tests.simulation.world import EXPORT, World
from vpe_watcher.flow.places import HIDDEN

VOLUMES = tuple(name for name, form in FORMS.items() if form.modality == "cbct")
UPPER, LOWER = "stl", "ply"
SLICES = 5


@dataclass
class Writer:
    """Somebody who writes a file piece by piece; `holds` keeps it open in between."""

    path: Path
    node: File
    content: bytes
    done: int
    holds: bool
    final: Path | None


class People:
    """Those who drop scans. Every drop is counted by its kind."""

    def __init__(self, world: World, laws: Laws) -> None:
        self.world = world
        self.laws = laws
        self.count = 0
        self.writers: list[Writer] = []
        self.singles: list[tuple[str, bytes]] = []
        self.series: list[tuple[int, int]] = []
        self.pending: list[tuple[Path, bytes]] = []

    def drop(self, chance: Random) -> str:
        """Drop something; return its kind."""
        kinds = DROPS if len(self.laws.owned) < 60 else DROPS[:3]
        name, do = chance.choice(kinds)
        self.count += 1
        do(self, chance)
        return name

    # --- putting ----------------------------------------------------------------------------------

    def put(self, relative: str, content: bytes, *, hints: bool = True) -> None:
        """Put a file below the inbox; what bears its name there is written over."""
        path = self.world.base / "inbox" / relative
        self._put(path, content)
        if hints:
            self.hint(path)

    def _put(self, path: Path, content: bytes) -> None:
        before = self.world.disk.find(path)
        if isinstance(before, Folder) or not self._is_there(path):
            return
        if isinstance(before, File):
            self.laws.disown(before.content)
        self.laws.own(content)
        self.world.disk.put(path, content)

    def _is_there(self, path: Path) -> bool:
        """Tell whether the root is mounted: nobody can drop anything elsewhere."""
        return not self.world.unmounted.keys() & set(path.parts)

    def hint(self, path: Path, *, moved_in: bool = False) -> None:
        """Let the daemon hear of a path, as file events do; some are lost."""
        parts = self.world.parts
        if parts is None or self.count % 5 == 0:
            return
        for inbox in parts.inboxes.values():
            if path.parent == inbox.options.folder:
                inbox.hint(path.name, moved_in=moved_in)

    def single(self, form: str, seed: int) -> tuple[str, bytes]:
        """Return name and content of a file of a form."""
        return file_name(form, seed), content_of(form, seed)

    # --- kinds of drops ---------------------------------------------------------------------------

    def proven(self, chance: Random) -> None:
        """Drop a whole volume that proves itself."""
        name, content = self.single(chance.choice(VOLUMES), self.count)
        self.singles.append((name, content))
        self.put(name, content)

    def mesh(self, chance: Random) -> None:
        """Drop a mesh; some kinds prove nothing and have to be quiet."""
        form = chance.choice([name for name, form in FORMS.items() if form.modality != "cbct"])
        name, content = self.single(form, self.count)
        self.singles.append((name, content))
        self.put(name, content)

    def again(self, chance: Random) -> None:
        """Drop what was dropped before, under its name or another."""
        if not self.singles:
            return self.proven(chance)
        name, content = chance.choice(self.singles)
        return self.put(chance.choice((name, f"again-{self.count}-{name}")), content)

    def same_name(self, chance: Random) -> None:
        """Drop another scan under a name that was there before."""
        volumes = [name for name, _ in self.singles if name.endswith(".nii")]
        name = chance.choice(volumes) if volumes else "scan.nii"
        self.put(name, content_of("nifti", self.count))

    def truncated(self, chance: Random) -> None:
        """Drop half a volume; sometimes the rest comes later."""
        form = chance.choice(VOLUMES)
        name, content = self.single(form, self.count)
        half = content[: chance.randrange(1, len(content))]
        self.put(name, half)
        if chance.random() < 0.5:
            self.pending.append((self.world.base / "inbox" / name, content))

    def nonsense(self, chance: Random) -> None:
        """Drop what is no scan, or not the one that its name says."""
        name, content = chance.choice(
            (
                (f"report-{self.count}.pdf", b"%PDF-1.4 report"),
                (f"text-{self.count}.dcm", b"this is no DICOM at all, but a long text" * 20),
                (f"empty-{self.count}.nii", b""),
                (f"zeros-{self.count}.stl", b"\0" * 700),
                (f"model-{self.count}.stl", content_of("stl", self.count)),
                (f"upper-lower-{self.count}.stl", content_of("stl", self.count)),
                ("Thumbs.db", b"thumbs %d" % self.count),
                (f"~$scan-{self.count}.nii", b"lock"),
            )
        )
        self.put(name, content)

    def temporary(self, chance: Random) -> None:
        """Write under a temporary name, to be renamed later."""
        name, content = self.single(chance.choice(VOLUMES), self.count)
        self.put(f"{name}.part", content)
        self.pending.append((self.world.base / "inbox" / f"{name}.part", b""))

    def slow(self, chance: Random) -> None:
        """Begin to write a file piece by piece."""
        form = chance.choice(list(FORMS))
        name, content = self.single(form, self.count)
        path = self.world.base / "inbox" / name
        if not self._is_there(path):
            return
        holds = FORMS[form].proves is False or chance.random() < 0.6
        final = None
        if chance.random() < 0.3:
            path, final = path.with_name(f"{name}.filepart"), path
        node = self.world.disk.put(path, content[:1])
        node.writers = int(holds)
        self.laws.own(node.content)
        self.writers.append(Writer(path, node, content, 1, holds, final))
        self.hint(path)

    def folder(self, chance: Random) -> None:
        """Move in a case folder: a volume, perhaps a mesh, a report, wishes."""
        top = f"case-{self.count}"
        name, content = self.single(chance.choice(VOLUMES), self.count)
        self.put(f"{top}/{name}", content, hints=False)
        if chance.random() < 0.4:
            self.put(
                f"{top}/sub/upper-{self.count}.stl", content_of("stl", self.count), hints=False
            )
        if chance.random() < 0.3:
            self.put(f"{top}/report.pdf", b"%%PDF %d" % self.count, hints=False)
        if chance.random() < 0.3:
            self.put(f"{top}/job.json", self._wishes(chance), hints=False)
        self.hint(self.world.base / "inbox" / top, moved_in=chance.random() < 0.7)

    def _wishes(self, chance: Random) -> bytes:
        good = {"options": {"note": self.count}}
        bad = {"inputFiles": {"cbct": {}}, "note": self.count}
        text = json.dumps(chance.choice((good, good, bad)))
        return text.encode() if chance.random() < 0.9 else text.encode()[:-1]

    def sidecar(self, chance: Random) -> None:
        """Drop wishes, and then the scan that they are for."""
        name, content = self.single("nifti", self.count)
        self.put(f"{name}.job.json", self._wishes(chance))
        self.put(name, content)

    def jaws(self, chance: Random) -> None:
        """Drop two jaws that wait for each other; the second now, later, or never."""
        one = f"teeth/p{self.count}_upper.stl", content_of(UPPER, self.count)
        two = f"teeth/p{self.count}_lower.ply", content_of(LOWER, self.count)
        first, second = chance.sample((one, two), 2)
        self.put(*first)
        when = chance.random()
        if when < 0.6:
            self.put(*second)
        elif when < 0.9:
            self.pending.append((self.world.base / "inbox" / second[0], second[1]))

    def marked(self, chance: Random) -> None:
        """Drop where a ready marker is awaited; it comes now, later, or never."""
        name, content = self.single("nifti", self.count)
        self.put(f"marked/{name}", content)
        when, done = chance.random(), b"done %d" % self.count
        if when < 0.5:
            self.put(f"marked/{name}.done", done)
        elif when < 0.9:
            self.pending.append((self.world.base / "inbox" / "marked" / f"{name}.done", done))

    def loose_series(self, chance: Random) -> None:
        """Drop loose slices, some in time, some late, some never."""
        seed = self.count
        declared = SLICES if chance.random() < 0.4 else None
        for number in range(1, SLICES + 1):
            self._slice(chance, "", seed, number, declared)
        self.series.append((seed, SLICES))

    def _slice(
        self, chance: Random, folder: str, seed: int, number: int, declared: int | None
    ) -> None:
        path = f"{folder}slice-{seed}-{number}" + chance.choice(("", ".dcm"))
        content, fate = slice_of(seed, number, declared), chance.random()
        if fate < 0.85:
            self.put(path, content)
        elif fate < 0.95:
            self.pending.append((self.world.base / "inbox" / path, content))

    def folder_series(self, chance: Random) -> None:
        """Move in a folder with one or two series."""
        top = f"study-{self.count}/"
        for one in range(chance.choice((1, 1, 2))):
            for number in range(1, SLICES + 1):
                content = slice_of(self.count + 1000 * one, number)
                self.put(f"{top}{one}/{number}", content, hints=False)
        if chance.random() < 0.3:
            self.put(f"{top}upper-{self.count}.stl", content_of("stl", self.count), hints=False)
        self.hint(self.world.base / "inbox" / top, moved_in=chance.random() < 0.5)

    def late_slice(self, chance: Random) -> None:
        """Drop a slice of a series that was dropped before: a new one, or one that is known."""
        if not self.series:
            return self.loose_series(chance)
        seed, count = chance.choice(self.series)
        number = chance.choice((1, count + chance.randrange(1, 4)))
        return self.put(f"late-{self.count}-{number}", slice_of(seed, number))

    def export(self, chance: Random) -> None:
        """Let an exporter write where nothing is ever moved."""
        base = self.world.base / EXPORT
        if not self._is_there(base):
            return
        if chance.random() < 0.3:
            for number in range(1, SLICES + 1):
                self._export(
                    base / f"series-{self.count}" / f"{number}", slice_of(self.count, number)
                )
            return
        name, content = self.single(chance.choice(VOLUMES), self.count)
        if self.laws.exported and chance.random() < 0.3:
            content = chance.choice(list(self.laws.exported.values()))
        self._export(base / name, content)

    def _export(self, path: Path, content: bytes) -> None:
        self.world.disk.put(path, content)
        self.laws.exported[path] = content
        self.laws.own(content)
        self.laws.disown(content)
        self.hint(path)

    def odd(self, chance: Random) -> None:
        """Make a link, a FIFO or an empty folder."""
        path = self.world.base / "inbox" / f"odd-{self.count}.nii"
        if not self._is_there(path):
            return
        if chance.random() < 0.5:
            self.world.disk.put_other(path)
        else:
            self.world.disk.put_folder(path)
        self.hint(path)

    # --- going on ---------------------------------------------------------------------------------

    def go_on(self, chance: Random) -> str:
        """Write a piece more, or bring what was still to come."""
        if self.writers and (not self.pending or chance.random() < 0.7):
            self._write_on(chance.randrange(len(self.writers)), chance)
            return "writer: goes on"
        if self.pending:
            self._bring(*self.pending.pop(chance.randrange(len(self.pending))))
            return "drop: the rest comes"
        return ""

    def _bring(self, path: Path, content: bytes) -> None:
        if not self._is_there(path):
            self.pending.append((path, content))
        elif path.suffix == ".part":
            self._rename(path, path.with_suffix(""))
        else:
            self._put(path, content)
            self.hint(path)

    def _rename(self, path: Path, target: Path) -> None:
        disk = self.world.disk
        if disk.find(target) is not None:
            return
        node = disk.take_away(path)
        if node is not None:
            disk.put_back(target, node)
            self.hint(target, moved_in=True)

    def _write_on(self, index: int, chance: Random) -> None:
        writer = self.writers[index]
        if not self._is_there(writer.path):
            return
        if not writer.holds and self.world.disk.find(writer.path) is not writer.node:
            self.writers.pop(index)  # who opens it by its name again finds it gone, and gives up
            return
        writer.done = min(len(writer.content), writer.done + 1 + len(writer.content) // 3)
        is_done = writer.done == len(writer.content)
        self.laws.disown(writer.node.content)
        self.world.disk.rewrite(writer.node, writer.content[: writer.done])
        self.laws.own(writer.node.content)
        if is_done:
            writer.node.writers = 0
            self.writers.pop(index)
            if writer.final is not None:
                self._rename(writer.path, writer.final)
        self.hint(writer.path)

    def abandon(self) -> None:
        """Let all writers end where they are: the machine was off."""
        self.writers.clear()

    def take_away(self, chance: Random) -> str:
        """Delete something from an inbox, or empty the outbox."""
        root = chance.choice(("inbox", "outbox", "inbox/teeth"))
        folder = self.world.disk.find(self.world.base / root)
        if not isinstance(folder, Folder):
            return ""
        names = [name for name in folder.entries if name not in {HIDDEN, "teeth", "marked"}]
        if not names:
            return ""
        node = self.world.disk.take_away(self.world.base / root / chance.choice(sorted(names)))
        if root == "outbox":
            self.laws.take_result(node)
        else:
            self._disown(node)
        return f"deletion: from the {root}"

    def _disown(self, node: object) -> None:
        if isinstance(node, File):
            self.laws.disown(node.content)
            self.writers = [one for one in self.writers if one.node is not node]
        elif isinstance(node, Folder):
            for below in node.entries.values():
                self._disown(below)


Drop = Callable[[People, Random], None]
DROPS: tuple[tuple[str, Drop], ...] = (
    ("drop: again", People.again),
    ("drop: nonsense", People.nonsense),
    ("drop: same name", People.same_name),
    ("drop: proven", People.proven),
    ("drop: proven", People.proven),
    ("drop: mesh", People.mesh),
    ("drop: truncated", People.truncated),
    ("drop: temporary", People.temporary),
    ("drop: slow", People.slow),
    ("drop: folder", People.folder),
    ("drop: sidecar", People.sidecar),
    ("drop: jaws", People.jaws),
    ("drop: marked", People.marked),
    ("drop: loose series", People.loose_series),
    ("drop: folder series", People.folder_series),
    ("drop: late slice", People.late_slice),
    ("drop: export", People.export),
    ("drop: odd", People.odd),
)
