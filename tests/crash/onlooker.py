"""One who looks at an outbox all the time: whatever is visible there must be whole at once.

Owns a thread and what it has seen. Never writes, and never looks at hidden names.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

LOOK_EVERY_S = 0.002


class Onlooker:
    """Looks at each folder the moment it becomes visible, as a context manager.

    `seen` are the names so far, `complaints` what was wrong with them. Leaving looks once more.
    """

    def __init__(self, outbox: Path) -> None:
        self.seen: set[str] = set()
        self.complaints: list[str] = []
        self._outbox = outbox
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking, name="onlooker", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._look()

    def _keep_looking(self) -> None:
        changed_at = 0
        while not self._is_over.wait(LOOK_EVERY_S):
            now = self._outbox.stat().st_mtime_ns
            if now != changed_at:
                changed_at = now
                self._look()

    def _look(self) -> None:
        for folder in self._outbox.iterdir():
            if folder.name not in self.seen and not folder.name.startswith("."):
                self.seen.add(folder.name)
                self.complaints += flaws_of(folder)


def flaws_of(folder: Path) -> Iterator[str]:
    """Yield what is not whole about a delivered folder, by its own manifest."""
    try:
        outputs = json.loads((folder / "result.json").read_bytes())["outputs"]
    except (OSError, ValueError, KeyError) as error:
        yield f"{folder.name} was visible without its manifest: {error}"
        return
    announced = {entry["file"]: entry["sha256"] for entry in outputs if entry["file"]}
    if {path.name for path in folder.iterdir()} != {*announced, "result.json"}:
        yield f"{folder.name} was visible with other files than its manifest names"
        return
    for name, sha256 in announced.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sha256:
            yield f"{folder.name}/{name} was visible with other bytes than its manifest says"
