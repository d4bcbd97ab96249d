"""Fetches a real head CT from the system's package archive, without root and once a machine.

Owns where the scan is kept: in the user's cache, never in the project (the scan is GPL-2, the
project is not). Installs nothing.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from tests.real.packages import PackagesUnavailableError, cache_folder, download, unpack

PACKAGE = "invesalius-examples"
MEMBER = "usr/share/doc/invesalius-examples/examples/Cranium.inv3"
SHA256 = "3b34f11f7c4f557f4c65cd6543c412a2f6ceb0cfecfd9c41184420e02d9b7e2a"


def fetch_head_ct() -> Path:
    """Return the path of the scan, from the cache or else from the package archive.

    Raises PackagesUnavailableError.
    """
    kept = cache_folder() / "Cranium.inv3"
    if kept.is_file() and _digest(kept) == SHA256:
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        unpacked = Path(scratch) / "unpacked"
        unpack(download(PACKAGE, Path(scratch)), unpacked)
        found = unpacked / MEMBER
        if _digest(found) != SHA256:
            raise PackagesUnavailableError(f"{PACKAGE} holds another Cranium.inv3 than expected.")
        found.replace(kept)
    return kept


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
