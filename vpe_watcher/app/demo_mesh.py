"""The end of the demo: whether the delivered mesh is really the surface of the phantom.

Judges by the phantom's own voxels. Knows nothing of how the simulated Engine makes a mesh.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.app import render
from vpe_watcher.app.result import EXIT_NO, ErrorEntry, Result
from vpe_watcher.core.model import Case, State

if TYPE_CHECKING:
    from vpe_watcher.sandbox.phantom import Box, MeshFacts, Phantom

VIEWERS = "3D Slicer, MeshLab, Blender, f3d, Windows 3D Viewer"
NOTICE = "The mesh is the simulated Engine's iso-surface of the volume: not a segmentation."
BONE_HU = 300
SLICES_AT_ONCE = 16
# A cube of eight voxels that the surface crosses holds one to five triangles of it.
TRIANGLES_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class Expected:
    """What the phantom's voxels allow: a box (mm, one voxel more or less) and triangles."""

    box: Box
    voxel_mm: float
    crossed: int


def expected_of(phantom: Phantom) -> Expected:
    """Read the phantom and count the cubes of eight voxels that its bone's surface crosses."""
    import numpy as np

    size = math.prod(phantom.shape)
    # The voxels are the last thing in the file.
    offset = phantom.path.stat().st_size - 2 * size
    voxels = np.memmap(phantom.path, "<i2", "r", offset, phantom.shape)
    crossed = 0
    for start in range(0, phantom.shape[0] - 1, SLICES_AT_ONCE):
        bone = voxels[start : start + SLICES_AT_ONCE + 1] >= BONE_HU
        corners = [
            bone[slice(z, z - 1 or None), slice(y, y - 1 or None), slice(x, x - 1 or None)]
            for z, y, x in itertools.product((0, 1), repeat=3)
        ]
        any_bone, all_bone = corners[0].copy(), corners[0].copy()
        for corner in corners[1:]:
            any_bone |= corner
            all_bone &= corner
        crossed += int(np.count_nonzero(any_bone & ~all_bone))
    return Expected(phantom.bone_box_mm, phantom.spacing_mm, crossed)


def verdict(case: Case, expected: Expected | None, *, hint: str) -> Result:
    """Look at what was delivered; tell it, and answer with the mesh's path."""
    mesh = _mesh_of(case)
    if mesh is None:
        reason = case.problem.message if case.problem else "it has no mesh"
        entry = ErrorEntry("demo_failed", f"The case is {case.state}: {reason}", hint)
        return Result(errors=(entry,), exit_code=EXIT_NO)
    from vpe_watcher.sandbox.phantom import check_mesh
    from vpe_watcher.sandbox.workshop import Unreadable

    try:
        facts = check_mesh(mesh)
    except Unreadable as error:
        return _bad(mesh, "mesh_unreadable", f"The mesh is no complete STL: {error}.")
    for line in (*_told(facts, expected), f"manifest:      {mesh.with_name('result.json')}"):
        render.say(line)
    render.say(f"{NOTICE} To look at it: {VIEWERS}.")
    misfit = misfit_of(facts, expected)
    return _bad(mesh, "mesh_misfit", misfit) if misfit else Result(lines=(str(mesh),))


def misfit_of(facts: MeshFacts, expected: Expected | None) -> str:
    """Return why a mesh is not the phantom's surface; "" when it is, or nothing is expected."""
    if not facts.triangles:
        return "The mesh has no triangle."
    if expected is None:
        return ""
    corners = zip(facts.bounding_box_mm, expected.box, strict=True)
    apart = max(abs(a - b) for ours, theirs in corners for a, b in zip(ours, theirs, strict=True))
    if apart > expected.voxel_mm * 1.01:
        return f"The mesh is not the phantom's: its bounding box is {apart:.1f} mm off."
    if not expected.crossed <= facts.triangles <= TRIANGLES_AT_MOST * expected.crossed:
        return "The mesh is not the phantom's: the number of triangles cannot be."
    return ""


def _bad(mesh: Path, code: str, message: str) -> Result:
    entry = ErrorEntry(code, message, "Please report it: this is a defect of the program.")
    return Result(lines=(str(mesh),), errors=(entry,), exit_code=EXIT_NO)


def _mesh_of(case: Case) -> Path | None:
    files = [output.file for output in case.outputs if output.file]
    if case.state is not State.DONE or case.outbox is None or not files:
        return None
    return Path(case.outbox) / files[0]


def _told(facts: MeshFacts, expected: Expected | None) -> tuple[str, ...]:
    lines = (f"triangles:     {facts.triangles}", f"bounding box:  {_box(facts.bounding_box_mm)}")
    if expected is None:
        return lines
    fits = "DIFFERS" if misfit_of(facts, expected) else "fits"
    most = TRIANGLES_AT_MOST * expected.crossed
    return (
        *lines,
        f"phantom:       {expected.crossed} to {most} triangles,",
        f"               {_box(expected.box)}, give or take {expected.voxel_mm} mm: {fits}",
    )


def _box(box: Box) -> str:
    axes = zip("xyz", *box, strict=True)
    return ", ".join(f"{name} {low:.1f} to {high:.1f}" for name, low, high in axes) + " mm"
