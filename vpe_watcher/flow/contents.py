"""Which files a case is made of, and where each of them lies now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vpe_watcher.adapters.engine import Part
from vpe_watcher.core.model import Case, FileMark, Input, Slice
from vpe_watcher.core.series import zip_names
from vpe_watcher.flow.ports import Ports


@dataclass(frozen=True, slots=True)
class File:
    """A file of a case: `owner` is the case that holds it, "" for the case itself."""

    owner: str
    name: str
    path: Path
    mark: FileMark
    sha256: str | None

    @property
    def key(self) -> tuple[str, str]:
        """Return what tells it from the other files of the case."""
        return self.owner, self.name


def files_of(case: Case, ports: Ports, entries: Iterable[Input] | None = None) -> list[File]:
    """Return the files of a case, or of some of its inputs, in the order in which they are sent."""
    folders: dict[str, Path] = {"": ports.places.input_folder(case)}
    found: list[File] = []
    for entry in case.inputs if entries is None else entries:
        if not entry.slices:
            path = folders[""] / entry.name
            found.append(File("", entry.name, path, entry.mark, entry.sha256))
        for one in entry.slices:
            if one.owner not in folders:
                folders[one.owner] = _folder_of(one.owner, ports)
            path = folders[one.owner] / one.name
            found.append(File(one.owner, one.name, path, one.mark, one.sha256))
    return found


def _folder_of(case_id: str, ports: Ports) -> Path:
    owner = ports.store.load(case_id)
    if owner is None:
        raise AssertionError(f"case {case_id} has no row")
    return ports.places.input_folder(owner)


def parts_of(case: Case, entry: Input, ports: Ports) -> tuple[Part, ...]:
    """Return a series as it is sent: its files with their names inside the ZIP."""
    files = files_of(case, ports, [entry])
    names = zip_names(len(files))
    return tuple(
        Part(file.path, name, file.mark.size) for name, file in zip(names, files, strict=True)
    )


def borrowed(slices: Iterable[Slice], owner: str) -> tuple[Slice, ...]:
    """Return slices as another case refers to them."""
    return tuple(
        Slice(one.name, one.mark, one.sop_instance_uid, one.sha256, one.owner or owner)
        for one in slices
    )
