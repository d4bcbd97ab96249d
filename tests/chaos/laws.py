"""What must hold when faults are over and all is at rest: nothing lost, nothing paid twice.

Owns the comparison of what was dropped with folders, cases, the Engine's ledger and the log.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.scans import DUPLICATE, FAILED, NEEDLES, Scan, digest
from tests.crash.onlooker import flaws_of
from vpe_watcher.adapters.store import Database

ROOTS = ("inbox", "outbox", "archive", "failed")
EXTRA = {"archive": {"result.json"}, "failed": {"error.json", "error.txt"}}
MESH = "mandible.stl"


@dataclass(frozen=True, slots=True)
class Findings:
    """All that is left to look at: folders by name, rows of `cases`, the Engine's ledger, the log.

    `engine` is where the Engine keeps what it received and what it made.
    """

    scans: Sequence[Scan]
    folders: Mapping[str, Path]
    cases: Sequence[Mapping[str, Any]]
    ledger: Mapping[str, Any]
    engine: Path
    log: bytes


def broken_laws(found: Findings) -> list[str]:
    """Return what is wrong, in words; nothing when all laws hold."""
    return [
        *_ends(found),
        *_folders(found),
        *_deliveries(found),
        *_engine(found),
        *_log(found.log),
        *_state_file(found.folders["state"] / "state.sqlite3"),
    ]


def verdicts(found: Findings) -> Counter[str]:
    """Count in which state what was dropped came to rest."""
    return Counter(str(row["state"]) for row in found.cases)


def _ends(found: Findings) -> Iterator[str]:
    """Find one case for each scan, in the state that it must have; of equal ones one is done."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in found.cases:
        rows.setdefault(row["case_name"], []).append(row)
    scans = {scan.name: scan for scan in found.scans}
    for name in rows.keys() - scans.keys():
        yield f"a case {name} that nobody dropped: {rows[name]}"
    for name, scan in scans.items():
        states = [row["state"] for row in rows.get(name, [])]
        wanted = {FAILED} if scan.end == FAILED else {"done", DUPLICATE}
        if len(states) != 1 or not wanted.issuperset(states):
            yield f"{name} ({scan.way}) should be {scan.end}: {rows.get(name)}"
    done = Counter(
        scan.digests
        for name, scan in scans.items()
        if scan.end != FAILED
        for row in rows.get(name, [])
        if row["state"] == "done"
    )
    wanted_once = {scan.digests for scan in found.scans if scan.end != FAILED}
    yield from (
        f"a content came to be done {done[digests]} times: {_names(found, digests)}"
        for digests in wanted_once
        if done[digests] != 1
    )


def _names(found: Findings, digests: frozenset[str]) -> list[str]:
    return [scan.name for scan in found.scans if scan.digests == digests]


def _folders(found: Findings) -> Iterator[str]:
    """Find each input whole in its one folder, and nothing else anywhere but records of cases."""
    wanted = {
        f"{place}/{scan.name}/{name}": sha256
        for scan in found.scans
        for place in ("failed" if scan.end == FAILED else "archive",)
        for name, sha256 in (scan.kept | dict.fromkeys(EXTRA[place], "")).items()
    }
    there = {
        f"{root}/{path.relative_to(found.folders[root])}": path
        for root in ROOTS
        if root != "outbox"
        for path in found.folders[root].rglob("*")
        if path.is_file()
        and path.name != "marker.json"
        and (root == "inbox" or not path.match(".vpe-watcher/records/[!.]*.json"))
    }
    yield from (f"lost: {path}" for path in sorted(wanted.keys() - there.keys()))
    yield from (f"left over: {path}" for path in sorted(there.keys() - wanted.keys()))
    for path in wanted.keys() & there.keys():
        if wanted[path] and digest(there[path].read_bytes()) != wanted[path]:
            yield f"changed: {path}"


def _deliveries(found: Findings) -> Iterator[str]:
    """Find each result whole in the outbox, of the scan that it names; nothing staged is left."""
    outbox = found.folders["outbox"]
    wanted = {scan.name: scan for scan in found.scans if scan.end != FAILED}
    visible = {path.name for path in outbox.iterdir() if not path.name.startswith(".")}
    yield from (f"not delivered: {name}" for name in sorted(wanted.keys() - visible))
    yield from (f"delivered, but not dropped: {name}" for name in sorted(visible - wanted.keys()))
    for hidden in ("staging/*/*", "records/*"):
        yield from (f"left over: {path}" for path in outbox.glob(f".vpe-watcher/{hidden}"))
    made = {digest(path.read_bytes()) for path in found.engine.rglob("results/*/*.stl")}
    for name in wanted.keys() & visible:
        yield from flaws_of(outbox / name)
        result = json.loads((outbox / name / "result.json").read_bytes())
        files = {entry["file"] for entry in result["outputs"]}
        if result["status"] == DUPLICATE:
            continue
        if result["status"] != "complete" or files != {MESH}:
            yield f"{name} was delivered as {result['status']} with {files}"
        elif result["outputs"][0]["sha256"] not in made:
            yield f"{name} was delivered with a mesh that the Engine never made"
        named = {entry["sha256"] for entry in result["inputs"]}
        if len(wanted[name].files) <= 3 and named != wanted[name].digests:
            yield f"{name} was delivered with the inputs of another scan"


def _engine(found: Findings) -> Iterator[str]:
    """Find one started job for each content that was to be computed, and no other."""
    received = {digest(path.read_bytes()): path for path in found.engine.rglob("uploads/*")}
    started = [job for job in found.ledger["jobs"] if job["started"]]
    computed = Counter(_computed(job, received) for job in started)
    wanted = {scan.digests for scan in found.scans if scan.end != FAILED}
    for digests in wanted | computed.keys():
        if computed[digests] != (digests in wanted):
            names = _names(found, digests) or "that nobody dropped"
            yield f"{computed[digests]} jobs were started for {names}"
    yield from (
        f"job {job['id']} was started {job['started']} times"
        for job in started
        if job["started"] != 1
    )
    if count := found.ledger["presigned_with_authorization"]:
        yield f"{count} pre-signed requests had an Authorization header"


def _computed(job: Mapping[str, Any], received: Mapping[str, Path]) -> frozenset[str]:
    """Return the digests of what a job was computed from; of a ZIP those of its members."""
    digests = set()
    for entry in job["inputs"].values():
        if entry["extension"] == ".zip":
            with zipfile.ZipFile(received[entry["sha256"]]) as archive:
                digests |= {digest(archive.read(name)) for name in archive.namelist()}
        else:
            digests.add(entry["sha256"])
    return frozenset(digests)


def _log(log: bytes) -> Iterator[str]:
    """Find no name of a patient, and no defect of the program."""
    low = log.lower()
    for needle in NEEDLES:
        if needle in low:
            where = low.index(needle)
            yield f"the log names a patient: {log[max(0, where - 300) : where + 100]!r}"
    for line in log.splitlines():
        if b'.defect"' in line or b"Traceback" in line:
            yield f"a defect: {line[:3000].decode(errors='replace')}"


def _state_file(file: Path) -> Iterator[str]:
    database = Database(file, create=False)
    try:
        if (said := database.read("PRAGMA integrity_check")[0][0]) != "ok":
            yield f"the state file is broken: {said}"
        unfinished = "SELECT count(*) FROM events WHERE step IS NOT NULL AND outcome IS NULL"
        if count := database.read(unfinished)[0][0]:
            yield f"{count} attempts are still open"
    finally:
        database.close()
