"""What must hold when all is at rest, however often the daemon has died, and what at any moment."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.crash.lives import Stage
from tests.crash.scenario import Scenario
from vpe_watcher.adapters.store.retention import pruned
from vpe_watcher.core.model import Case, State
from vpe_watcher.flow.places import HIDDEN, records_in
from vpe_watcher.sandbox.ledger import Job, JobInput

ROOTS = ("inbox", "outbox", "archive", "failed")
PLACES = (*ROOTS, "export")  # nothing may ever be written into the last
RECORDED = ("outbox", "archive", "failed")
RESTS = {"archive": ("result.json",), "failed": ("error.json", "error.txt")}
DELIVERED = {State.DONE, State.PARTIAL, State.DUPLICATE}
DIFFERS = ("case_id", "job_id", "duplicate_of", "times", "when", "engine_result")


def broken_laws(stage: Stage, scenario: Scenario) -> list[str]:
    """Return what is wrong, in words; nothing when all laws hold."""
    cases = stage.cases()
    return [
        *_cases(cases, scenario),
        *_database(stage),
        *_folders(stage, scenario, cases),
        *_records(stage),
        *_inputs(stage),
        *_pruned(stage),
        *_deliveries(stage, cases),
        *_engine(stage, scenario, cases),
    ]


def broken_at_death(stage: Stage) -> list[str]:
    """Return what is wrong on the disk that a death has left: nothing is lost or half visible."""
    return [*_nothing_lost(stage), *_nothing_half_visible(stage), *_nothing_unrecorded(stage)]


def _nothing_lost(stage: Stage) -> Iterator[str]:
    """Find each input once; where inputs are deleted, it or the result that was had from it.

    Between file systems there may be a copy under way beside it.
    """
    found = Counter(_digest(content) for content in _contents(stage))
    dropped = Counter(_digest(content) for content in stage.dropped.values())
    if stage.settings.retention.on_success == "delete":
        found |= Counter(_delivered_inputs(stage))
    for name, content in stage.dropped.items():
        last, first = _digest(content), _digest(stage.written_first.get(name, content))
        if not found[last] + found[first] and name not in stage.expired:
            yield f"{name} was nowhere when the daemon had died"
        elif not stage.far and found[last] > dropped[last]:
            yield f"{name} was in {found[last]} places when the daemon had died"


def _delivered_inputs(stage: Stage) -> set[str]:
    documents = (path.read_bytes() for path in (stage.root / "outbox").glob("[!.]*/result.json"))
    found = {entry["sha256"] for text in documents for entry in json.loads(text)["inputs"]}
    zipped = [entry for job in stage.sandbox.ledger.jobs.values() for entry in _zipped(job)]
    sent = [entry for entry in zipped if entry.uploads and entry.uploads[-1].sha256 in found]
    return found.union(*(_members(entry) for entry in sent))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _nothing_half_visible(stage: Stage) -> Iterator[str]:
    for folder in _visible_folders(stage, "outbox"):
        try:
            document = json.loads((folder / "result.json").read_bytes())
        except (OSError, ValueError) as error:
            yield f"outbox/{folder.name} was visible without its manifest: {error}"
            continue
        yield from _named_files(folder, document)
    for root, documents in RESTS.items():
        for folder in _visible_folders(stage, root):
            if not _is_being_taken_back(stage, folder):
                yield from _explained(folder, documents)


def _visible_folders(stage: Stage, root: str) -> list[Path]:
    folders = [path for path in (stage.root / root).iterdir() if path.is_dir()]
    return [path for path in folders if path.name != HIDDEN]


def _is_being_taken_back(stage: Stage, folder: Path) -> bool:
    """Tell whether a retry has copied this folder, and may have removed some of it by now."""
    claimed = set(_contents_below(stage.root / "inbox" / HIDDEN))
    return set(_contents_below(folder)) <= claimed


def _explained(folder: Path, documents: tuple[str, ...]) -> Iterator[str]:
    """Ask what rests for the documents that explain it."""
    where = f"{folder.parent.name}/{folder.name}"
    for name in documents:
        content = (folder / name).read_bytes() if (folder / name).exists() else b""
        if not content:
            yield f"{where} was visible without {name}"
        elif name.endswith(".json") and not content.rstrip().endswith(b"}"):
            yield f"{where} was visible with half of {name}"


def _nothing_unrecorded(stage: Stage) -> Iterator[str]:
    """Ask for a record of the last ending of each case that people see, in whatever root."""
    last: dict[str, int] = {}
    for case_id, attempts in (one for root in RECORDED for one in _endings(stage, root)):
        last[case_id] = max(attempts, last.get(case_id, 0))
    known = [one for root in RECORDED for one in _recorded(stage, root)]
    for case_id, attempts in last.items() - known:
        if not (stage.expired and _has_expired(stage, case_id)):
            yield f"case {case_id} (attempt {attempts}) had ended without a record"


def _has_expired(stage: Stage, case_id: str) -> bool:
    """Tell whether the removal of a case has begun: its result stays, its record goes."""
    with stage.database() as database:
        return bool(
            database.read("SELECT 1 FROM events WHERE case_id = ? AND step = 'pruning'", (case_id,))
        )


def _endings(stage: Stage, root: str) -> list[tuple[str, int]]:
    name = RESTS.get(root, RESTS["archive"])[0]
    found = []
    for folder in _visible_folders(stage, root):
        with suppress(FileNotFoundError, ValueError):
            document = json.loads((folder / name).read_bytes())
            found.append((document["case_id"], document["attempts"]))
    return found


def _recorded(stage: Stage, root: str) -> list[tuple[str, int]]:
    paths = records_in(stage.root / root).glob("[!.]*.json")
    return [(path.stem, json.loads(path.read_bytes())["attempts"]) for path in paths]


def picture(stage: Stage) -> dict[str, str]:
    """Return what people see: each visible file with a digest of what is in it.

    Of our documents without what every run makes anew.
    """
    return {path: _gist(stage.root / path) for path in _visible(stage)}


def _gist(path: Path) -> str:
    content = path.read_bytes()
    if path.name in {"result.json", "error.json"}:
        document = json.loads(content)
        document["engine"] = {**document.get("engine", {}), "job_id": ""}
        return json.dumps({key: one for key, one in document.items() if key not in DIFFERS})
    if path.name == "error.txt" or path.name.endswith(".held.txt"):
        lines = content.decode().splitlines()
        return "\n".join(line for line in lines if " id:" not in line and "retry" not in line)
    return hashlib.sha256(content).hexdigest()


def _visible(stage: Stage) -> list[str]:
    found = (
        path.relative_to(stage.root)
        for root in PLACES
        for path in (stage.root / root).rglob("*")
        if path.is_file()
    )
    return sorted(str(path) for path in found if HIDDEN not in path.parts)


def _cases(cases: list[Case], scenario: Scenario) -> Iterator[str]:
    states = sorted((case.case_name, case.state) for case in cases)
    if states != sorted([*scenario.states.items(), *scenario.more_cases]):
        found = [(case.case_name, str(case.state), case.problem) for case in cases]
        yield f"the cases are {found}"


def _database(stage: Stage) -> Iterator[str]:
    with stage.database() as database:
        verdict = [row[0] for row in database.read("PRAGMA integrity_check")]
        if verdict != ["ok"]:
            yield f"the state file is damaged: {verdict}"
        if database.read("PRAGMA foreign_key_check"):
            yield "a row belongs to nothing"
        if database.read("SELECT 1 FROM events WHERE step IS NOT NULL AND outcome IS NULL"):
            yield "an attempt is open"
        if database.read("SELECT 1 FROM words"):
            yield "a word was not obeyed"


def _folders(stage: Stage, scenario: Scenario, cases: list[Case]) -> Iterator[str]:
    visible = _visible(stage)
    if visible != sorted(scenario.files):
        yield f"the folders hold {visible}"
    kept = {case.case_id for case in cases if case.state is State.HELD}
    hidden = (
        path.relative_to(stage.root)
        for root in ROOTS
        for path in (stage.root / root / ".vpe-watcher").rglob("*")
    )
    # the folders of claims, of staging and of records stay, empty but for those of cases at rest
    left = [
        str(path)
        for path in hidden
        if not kept & set(path.parts) and path.parts[2:] not in {("marker.json",), ("house",)}
    ]
    kept_records = tuple(f"{root}/{HIDDEN}/records/" for root in RESTS)  # see _records
    left = [path for path in left if not path.startswith(kept_records)]
    if left := [path for path in left if not path.endswith(("/staging", "/records"))]:
        yield f"left over: {left}"
    if (stage.root / "export" / HIDDEN).exists():
        yield "something was written where all is to be left in place"
    drafts = [path.name for path in (stage.root / "state").glob("*.tmp")]
    if drafts:
        yield f"left over in the state folder: {drafts}"


def _records(stage: Stage) -> Iterator[str]:
    """Hold the records of archive and failed against the folders there: one each."""
    for root in RESTS:
        names = {path.name for path in records_in(stage.root / root).glob("*")}
        wanted = {f"{case_id}.json" for case_id, _ in _endings(stage, root)}
        if names != wanted or set(_recorded(stage, root)) != set(_endings(stage, root)):
            yield f"the records of {root} are {names}, its cases {wanted}"


def _inputs(stage: Stage) -> Iterator[str]:
    """Find each dropped content as often as it was dropped, and nowhere else."""
    is_kept = stage.settings.retention.on_success == "archive"
    found = _contents(stage)
    for name, content in stage.dropped.items():
        is_gone = not is_kept or name in stage.expired
        wanted = 0 if is_gone else sum(content == other for other in stage.dropped.values())
        if found.count(content) != wanted:
            yield f"{name} is in {found.count(content)} places, not {wanted}"


def _pruned(stage: Stage) -> Iterator[str]:
    """Ask the trail of each removed input for one removal."""
    with stage.database() as database:
        rows = database.read("SELECT case_id FROM events WHERE event = 'case.pruned'")
    if len(rows) != len(stage.expired) or len({row["case_id"] for row in rows}) != len(rows):
        yield f"{len(rows)} removals are on record, not {len(stage.expired)}"


def _contents(stage: Stage) -> list[bytes]:
    return [content for root in PLACES for content in _contents_below(stage.root / root)]


def _contents_below(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


def _deliveries(stage: Stage, cases: list[Case]) -> Iterator[str]:
    for case in cases:
        if case.state not in DELIVERED:
            continue
        folder = stage.root / "outbox" / case.folder
        if str(folder) != case.outbox:
            yield f"{case.case_name} is recorded at {case.outbox}"
        try:
            document = json.loads((folder / "result.json").read_bytes())
        except (OSError, ValueError) as error:
            yield f"the manifest of {case.case_name}: {error}"
            continue
        yield from _manifest(stage, case, folder, document)


def _manifest(stage: Stage, case: Case, folder: Path, document: dict[str, Any]) -> Iterator[str]:
    yield from _named_files(folder, document)
    if document["case_id"] != case.case_id:
        yield f"the manifest of {case.case_name} belongs to {document['case_id']}"
    dropped: set[str | None] = {_digest(content) for content in stage.dropped.values()}
    if case.state is State.DUPLICATE:
        dropped.add(None)  # no ZIP of a series was made
    else:
        dropped |= _archives_of(stage.sandbox.ledger.jobs[case.job_id or ""])
    if not {entry["sha256"] for entry in document["inputs"]} <= dropped:
        yield f"the manifest of {case.case_name} names inputs that nobody dropped"
    copy = stage.root / "archive" / case.folder / "result.json"
    if _is_pruned(stage, case):
        return
    if copy.read_bytes() != (folder / "result.json").read_bytes():
        yield f"the manifest of {case.case_name} in the archive is another one"


def _is_pruned(stage: Stage, case: Case) -> bool:
    with stage.database() as database:
        return pruned(database, case.case_id) is not None


def _named_files(folder: Path, document: dict[str, Any]) -> Iterator[str]:
    named = {output["file"]: output for output in document["outputs"] if output["file"]}
    there = {path.name for path in folder.iterdir()} - {"result.json"}
    if there != set(named):
        yield f"outbox/{folder.name} holds {there}, its manifest names {set(named)}"
    for name in there & set(named):
        content = (folder / name).read_bytes()
        facts = (len(content), hashlib.sha256(content).hexdigest())
        if facts != (named[name]["size"], named[name]["sha256"]):
            yield f"outbox/{folder.name}/{name} is not what its manifest says"


def _engine(stage: Stage, scenario: Scenario, cases: list[Case]) -> Iterator[str]:
    ledger = stage.sandbox.ledger
    jobs = list(ledger.jobs.values())
    started = [job for job in jobs if job.started]
    if sum(job.started for job in jobs) != scenario.jobs or len(started) != scenario.jobs:
        yield f"jobs started: {[job.started for job in jobs]}"
    notified = [job for job in jobs if any(entry.notifications for entry in job.inputs.values())]
    if len(notified) != scenario.jobs:
        yield f"{len(notified)} jobs were notified"
    dropped = {hashlib.sha256(content).hexdigest() for content in stage.dropped.values()}
    for job in started:
        seen = {entry.uploads[-1].sha256 for entry in job.inputs.values()}
        if not seen - _archives_of(job) <= dropped:
            yield "the Engine computed from bytes that nobody dropped"
    yield from _archives(stage, scenario, cases, started)
    ids = {job.id for job in started}
    if strangers := [c.case_name for c in cases if c.job_id and c.job_id not in ids and c.paid]:
        yield f"jobs of {strangers} are not those that were started"
    if ledger.tokens_issued > stage.lives:
        yield f"{ledger.tokens_issued} tokens in {stage.lives} lives"
    if ledger.as_json()["presigned_with_authorization"]:
        yield "a pre-signed URL was called with the token"


def _archives(
    stage: Stage, scenario: Scenario, cases: list[Case], started: list[Job]
) -> Iterator[str]:
    """Hold each ZIP that was paid for against the files that it must hold, each once."""
    folders = {case.job_id: case.folder for case in cases if case.job_id}
    sent = {
        folders.get(job.id, job.id): [_members(entry) for entry in _zipped(job)]
        for job in started
        if _zipped(job)
    }
    wanted = {
        folder: [Counter(_digest(stage.dropped[name]) for name in names)]
        for folder, names in scenario.archives.items()
    }
    if sent != wanted:
        found = {folder: [len(one) for one in archives] for folder, archives in sent.items()}
        yield f"the Engine was sent archives that are not those of their cases: {found}"


def _zipped(job: Job) -> list[JobInput]:
    return [entry for entry in job.inputs.values() if entry.extension == ".zip"]


def _archives_of(job: Job) -> set[str]:
    return {entry.uploads[-1].sha256 for entry in _zipped(job)}


def _members(entry: JobInput) -> Counter[str]:
    with zipfile.ZipFile(entry.uploads[-1].path) as archive:
        return Counter(_digest(archive.read(name)) for name in archive.namelist())
