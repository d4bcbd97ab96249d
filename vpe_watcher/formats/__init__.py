"""What files are: from an open file to a verdict, and to what it holds.

Reads in bounded pieces, whatever the size of the file. Never looks at names beyond the extension
that it is told, never opens, moves or writes a file.
"""

from vpe_watcher.formats.archive import lists_mesh, mesh_members
from vpe_watcher.formats.dicom_header import DicomFacts, is_dicomdir, read_facts
from vpe_watcher.formats.dicomdir import Directory, read_dicomdir
from vpe_watcher.formats.identity import identifiers
from vpe_watcher.formats.names import (
    KNOWN_EXTENSIONS,
    MESH_EXTENSIONS,
    VOLUME_EXTENSIONS,
    split_name,
)
from vpe_watcher.formats.proof import examine
from vpe_watcher.formats.signature import looks_like_dicom

__all__ = [
    "KNOWN_EXTENSIONS",
    "MESH_EXTENSIONS",
    "VOLUME_EXTENSIONS",
    "DicomFacts",
    "Directory",
    "examine",
    "identifiers",
    "is_dicomdir",
    "lists_mesh",
    "looks_like_dicom",
    "mesh_members",
    "read_dicomdir",
    "read_facts",
    "split_name",
]
