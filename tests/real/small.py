"""Small scans by the hundred: complete, all different, and cheap to send.

Owns how they are written beside the inbox and moved in.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.real.convert import Scan, write_nifti


def write_small_scan(path: Path, number: int) -> Path:
    """Write a NIfTI volume of some thousand bytes whose size no other number has."""
    voxels = np.zeros((1, 2, 2 + number), dtype=np.int16)
    write_nifti(Scan(voxels, (1.0, 1.0, 1.0)), path)
    return path


def write_small_mesh(path: Path, number: int) -> Path:
    """Write an OBJ mesh that no other number has; its format cannot tell whether it is whole."""
    path.write_text(
        f"v {number} 0 0\nv 0 1 0\nv 0 0 1\nv 1 1 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n"
    )
    return path


def move_in(path: Path, inbox: Path) -> Path:
    """Rename a finished file or folder into an inbox; return where it lies then."""
    return path.rename(inbox / path.name)
