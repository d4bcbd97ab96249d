"""Which file names are scans: the known extensions, and how to take one off.

Never opens a file; what a file really is, its content says (`examine`).
"""

from __future__ import annotations

PLAIN_VOLUME_EXTENSIONS = (".dcm", ".zip", ".nii", ".nrrd", ".vti")
VOLUME_EXTENSIONS = PLAIN_VOLUME_EXTENSIONS + tuple(f"{e}.gz" for e in PLAIN_VOLUME_EXTENSIONS)
MESH_EXTENSIONS = (".stl", ".ply", ".obj", ".zip")
KNOWN_EXTENSIONS = tuple(dict.fromkeys(VOLUME_EXTENSIONS + MESH_EXTENSIONS))


def split_name(name: str) -> tuple[str, str]:
    """Split a file name into its stem and its known extension, spelled as the Engine does.

    `scan.NII.GZ` gives `("scan", ".nii.gz")`. The extension is empty where none is known, and where
    nothing would be left of the name; the stem is then the whole name.
    """
    lowered = name.lower()
    for extension in sorted(KNOWN_EXTENSIONS, key=len, reverse=True):
        # Lower case may change the length of exotic names, so the suffix itself is compared.
        if lowered.endswith(extension) and len(name) > len(extension):
            return name[: -len(extension)], extension
    return name, ""
