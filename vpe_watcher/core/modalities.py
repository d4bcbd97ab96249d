"""Which of the Engine's inputs a file is, by its kind and its name."""

from __future__ import annotations

from fnmatch import fnmatchcase

from vpe_watcher.core.content import SLICE, VOLUME, ZIP, Facts
from vpe_watcher.core.grouping import Rules
from vpe_watcher.core.model import FailureClass, Modality, Problem


def modality_of(path: str, fact: Facts, rules: Rules) -> Modality | Problem:
    """Return the modality of a usable file; a problem when its name fits no pattern or two."""
    if fact.family in {VOLUME, SLICE}:
        return Modality.CBCT
    fitting = modalities_by_name(path, rules)
    if fact.family == ZIP and not (fitting and fact.lists_mesh):
        return Modality.CBCT
    if len(fitting) == 1:
        return fitting[0]
    what = "no pattern" if not fitting else "more than one pattern"
    return Problem(
        FailureClass.INPUT,
        "mesh_name",
        f"The name of a mesh fits {what} of upper jaw, lower jaw and face.",
        "Name the file so that it says what it shows, for example upper.stl, lower.stl or "
        "face.obj, and drop it again (the patterns are in [intake.patterns]).",
    )


def modalities_by_name(path: str, rules: Rules) -> list[Modality]:
    """Return the mesh modalities whose patterns a file's name fits."""
    name = path.rpartition("/")[2].lower()
    return [
        modality
        for modality, patterns in rules.patterns.items()
        if any(fnmatchcase(name, pattern.lower()) for pattern in patterns)
    ]
