"""The one who looks at the outbox sees what is not whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.crash.onlooker import Onlooker, flaws_of

MESH = b"solid"
OUTPUT = {"file": "mandible.stl", "sha256": hashlib.sha256(MESH).hexdigest()}


def _folder(root: Path, files: dict[str, bytes], outputs: Any) -> Path:
    folder = root / ".staged"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    if outputs is not None:
        (folder / "result.json").write_text(json.dumps({"outputs": outputs}))
    return folder


@pytest.mark.parametrize(
    ("files", "outputs", "flaw"),
    [
        ({"mandible.stl": MESH}, [OUTPUT], ""),
        ({}, [{"file": None, "sha256": None}], ""),
        ({"mandible.stl": MESH}, None, "without its manifest"),
        ({}, [OUTPUT], "other files"),
        ({"mandible.stl": MESH, "x.tmp": b""}, [OUTPUT], "other files"),
        ({"mandible.stl": MESH[:-1]}, [OUTPUT], "other bytes"),
    ],
    ids=["whole", "nothing to fetch", "no manifest", "a file less", "a file more", "cut"],
)
def test_a_folder_is_whole_or_has_a_flaw(
    tmp_path: Path, files: dict[str, bytes], outputs: Any, flaw: str
) -> None:
    """Manifest, names and bytes must agree."""
    found = list(flaws_of(_folder(tmp_path, files, outputs)))
    assert [flaw in words for words in found] == [True] * bool(flaw)


def test_what_becomes_visible_is_looked_at(tmp_path: Path) -> None:
    """A half folder is seen even if it comes last; hidden ones are nobody's business."""
    with Onlooker(tmp_path) as onlooker:
        staged = _folder(tmp_path, {"mandible.stl": MESH[:2]}, [OUTPUT])
        staged.rename(tmp_path / "scan")
        (tmp_path / ".hidden").mkdir()
    assert onlooker.seen == {"scan"}
    assert len(onlooker.complaints) == 1
