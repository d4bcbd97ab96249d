"""The laws of a trial hold for a good end, and each sees what breaks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.laws import MESH, Findings, broken_laws
from tests.chaos.scans import DUPLICATE, FAILED, Scan, digest
from vpe_watcher.adapters.store import Database

BODY, BAD, STL = b"voxels", b"a letter", b"solid"
SCANS = (
    Scan("renamed in", "one", {"one.nii": BODY}),
    Scan("duplicate", "two", {"two.nii": BODY}, DUPLICATE),
    Scan("bad", "three", {"three.nii": BAD}, FAILED),
)
OUTPUT = {"file": MESH, "sha256": digest(STL)}


@dataclass
class End:
    """A trial that ended well, on disk, and the means to spoil it."""

    root: Path
    found: Findings

    def write(self, path: str, content: Any) -> None:
        """Write bytes, or anything as JSON."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())

    def change(self, **fields: Any) -> None:
        """Have found something else."""
        self.found = replace(self.found, **fields)

    @property
    def job(self) -> dict[str, Any]:
        """Return the one job of the ledger, to be changed in place."""
        job: dict[str, Any] = self.found.ledger["jobs"][0]
        return job


@pytest.fixture(name="end")
def make_end(tmp_path: Path) -> End:
    """Make a good end: one done, its duplicate, one failed."""
    folders = {name: tmp_path / name for name in ("inbox", "outbox", "archive", "failed", "state")}
    for folder in folders.values():
        folder.mkdir()
    Database(folders["state"] / "state.sqlite3").close()
    job: dict[str, Any] = {
        "id": "j",
        "started": 1,
        "inputs": {"cbct": {"extension": ".nii", "sha256": ""}},
    }
    ledger = {"jobs": [job], "presigned_with_authorization": 0}
    states = {"one": "done", "two": "duplicate", "three": "failed"}
    cases = [{"case_name": name, "state": state} for name, state in states.items()]
    found = Findings(SCANS, folders, cases, ledger, tmp_path / "engine", b'{"event": "a.b"}\n')
    end = End(tmp_path, found)
    job["inputs"]["cbct"]["sha256"] = digest(BODY)
    end.write("engine/x/uploads/1.nii", BODY)
    end.write("engine/x/results/y/1.stl", STL)
    for name in ("one", "two"):
        end.write(f"archive/{name}/{name}.nii", BODY)
        end.write(f"archive/{name}/result.json", b"")
    for name, content in (("three.nii", BAD), ("error.json", b""), ("error.txt", b"")):
        end.write(f"failed/three/{name}", content)
    inputs = [{"sha256": digest(BODY)}]
    done = {"status": "complete", "inputs": inputs, "outputs": [OUTPUT]}
    end.write("outbox/one/result.json", done)
    end.write(f"outbox/one/{MESH}", STL)
    end.write("outbox/two/result.json", {"status": "duplicate", "inputs": inputs, "outputs": []})
    return end


def test_a_good_end_breaks_no_law(end: End) -> None:
    """Nothing is said of what is as it should be."""
    assert broken_laws(end.found) == []


SPOILS: dict[str, tuple[Callable[[End], Any], str]] = {
    "an input is gone": (lambda end: (end.root / "archive/one/one.nii").unlink(), "lost"),
    "an input is twice": (lambda end: end.write("inbox/.x/claim/one.nii", BODY), "left over"),
    "an input has changed": (lambda end: end.write("archive/one/one.nii", BAD), "changed"),
    "something is staged": (lambda end: end.write("outbox/.vpe-watcher/staging/c/m", b""), "left"),
    "a record stays": (lambda end: end.write("outbox/.vpe-watcher/records/c.json", b""), "left"),
    "a result is gone": (lambda end: (end.root / "outbox/one").rename(end.root / "x"), "not deliv"),
    "a result too many": (lambda end: end.write("outbox/four/result.json", {}), "not dropped"),
    "a mesh is cut": (lambda end: end.write(f"outbox/one/{MESH}", STL[:-1]), "other bytes"),
    "another mesh": (lambda end: end.write("engine/x/results/y/1.stl", b""), "never made"),
    "a case is lost": (lambda end: end.change(cases=end.found.cases[1:]), "should be done"),
    "a case is held": (lambda end: end.found.cases[0].update(state="held"), "should be done"),  # type: ignore[attr-defined]
    "a case nobody dropped": (lambda end: end.change(scans=SCANS[:2]), "nobody dropped"),
    "paid twice": (lambda end: end.job.update(started=2), "started 2 times"),
    "two jobs": (lambda end: end.found.ledger["jobs"].append(end.job), "2 jobs were started"),
    "not paid": (lambda end: end.job.update(started=0), "0 jobs were started"),
    "a token to the store": (
        lambda end: end.change(ledger={**end.found.ledger, "presigned_with_authorization": 3}),
        "Authorization",
    ),
    "a patient's name": (lambda end: end.change(log=b"... Gruber_..."), "names a patient"),
    "a defect": (lambda end: end.change(log=b'"event": "step.defect"'), "a defect"),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_what_is_spoilt_is_seen(end: End, spoil: str) -> None:
    """Each law has something that breaks it."""
    do, words = SPOILS[spoil]
    do(end)
    broken = broken_laws(end.found)
    assert any(words in line for line in broken), broken
