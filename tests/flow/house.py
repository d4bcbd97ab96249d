"""A whole daemon without threads: real state file, real folders, the sandbox in-process.

One turn is: every inbox looks, every step that is due runs, one after the other. Time passes only
by hand, so no test here waits.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import requests

from vpe_watcher.adapters.engine import ClientCredentials, EngineClient, ReadyToken, Timeouts
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.mounts import MountTable
from vpe_watcher.adapters.settings import Settings, load_settings
from vpe_watcher.adapters.store import Queries
from vpe_watcher.app.assembly import Clock, Parts, Stopping, assemble, open_store
from vpe_watcher.app.reload import Orders, prepare, take_over
from vpe_watcher.app.terms import folders_of, retention_of
from vpe_watcher.core.breakers import Breaker
from vpe_watcher.core.model import Case, State
from vpe_watcher.core.retention import RESTS
from vpe_watcher.flow.notes import HeldNotes
from vpe_watcher.flow.retention import Pruner
from vpe_watcher.flow.roots import check_identity
from vpe_watcher.flow.state_probe import StateProbe
from vpe_watcher.sandbox.adapter import SandboxAdapter
from vpe_watcher.sandbox.options import Options
from vpe_watcher.sandbox.rules import Sandbox

URL = "https://sandbox.test"
RECORDS = ".vpe-watcher/records"
NOBODY = 65534
STL_JOB = {"outputFiles": {"meshes": [{"extension": ".stl", "structures": ["mandible"]}]}}


@dataclass
class FakeTime:
    """Both clocks, moved by hand. Wall clock in seconds since 1970."""

    wall: float = 1_700_000_000.0
    steady: float = 1000.0

    def now(self) -> float:
        """Return the wall clock."""
        return self.wall

    def monotonic(self) -> float:
        """Return the clock that never jumps."""
        return self.steady

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.wall += seconds
        self.steady += seconds


@dataclass
class House:
    """Four folders, a state file, a sandbox and a daemon that turns when told to."""

    root: Path
    overrides: dict[str, Any] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    disk: Disk = field(default_factory=Disk)
    time: FakeTime = field(default_factory=FakeTime)

    def __post_init__(self) -> None:
        """Make the folders and the Engine, then start the daemon."""
        for name in ("inbox", "outbox", "archive", "failed", "state", "engine"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for name in self.overrides.get("recipes", {}):
            (self.root / "inbox" / name).mkdir(exist_ok=True)
        self.random = Random(1)  # one for all lives, as no two of them draw the same
        self.sandbox = Sandbox(
            self.root / "engine", simple=True, options=self.options, clock=self.time.now
        )
        self.adapter = SandboxAdapter(self.sandbox)
        self.settings = self.read_settings()
        self.events: list[tuple[str, dict[str, object]]] = []
        self.start()

    def read_settings(self) -> Settings:
        """Read the settings again, after `overrides` was changed."""
        base: dict[str, Any] = {
            "engine": {
                "base_url": URL,
                "auth": {
                    "client_id": "sandbox",
                    "client_secret": "sandbox",
                    "token_url": f"{URL}/oauth/token",
                },
            },
            "job": STL_JOB,
            "intake": {"settle_s": 2, "scan_every_s": 5},
            "retention": {"min_free": 0},
            "state_file": str(self.root / "state" / "state.sqlite3"),
            **{name: str(self.root / name) for name in ("inbox", "outbox", "archive", "failed")},
        }
        if "access_token_file" in self.overrides.get("engine", {}).get("auth", {}):
            base["engine"]["auth"] = {}
        return load_settings(overrides=merged(base, self.overrides), environ={}, cwd=self.root)

    # --- the daemon -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a daemon on the state file, as after a crash if there was one before."""
        self.stopping = Stopping()
        store = open_store(self.settings, now=self.time.now)
        inboxes = {name: recipe.inbox for name, recipe in self.settings.recipes.items()}
        check_identity(self.disk, store, folders_of(self.settings), inboxes)
        store.record_start(fresh_id="house")
        self.engine = self._engine(self.settings)
        self.parts: Parts = assemble(
            self.settings,
            store=store,
            engine=self.engine,
            disk=self.disk,
            clock=Clock(self.time.now, self.time.monotonic, self.time.advance),
            stopping=self.stopping,
            log=self.log,
            random=self.random,
        )
        self.parts.runner.resume()
        self.parts.words.obey()

    def _engine(self, settings: Settings) -> EngineClient:
        auth = settings.engine.auth
        return EngineClient(
            base_url=settings.engine.url,
            version=settings.engine.version,
            submit_path=settings.engine.submit_route,
            auth=ReadyToken(auth.read_access_token)
            if auth.is_ready_made
            else ClientCredentials(
                auth.client_id, auth.read_client_secret, auth.token_url, auth.audience
            ),
            token_file=self.root / "state" / "token.json",
            timeouts=Timeouts(),
            user_agent="test",
            now=self.time.now,
            adapter=self.adapter,
        )

    def log(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    def restart(self) -> None:
        """Stop the daemon without ceremony and start another on what it left."""
        self.close()
        self.start()

    def reconfigure(self, **overrides: Any) -> None:
        """Restart with other settings on top of those so far."""
        self.overrides = merged(self.overrides, overrides)
        self.settings = self.read_settings()
        self.restart()

    def reload(self, **overrides: Any) -> Orders:
        """Let the running daemon take other settings on top of those so far, or refuse them."""
        before, self.overrides = self.overrides, merged(self.overrides, overrides)
        try:
            orders = prepare(self.parts, self.read_settings(), engine_of=self._engine)
            take_over(self.parts, orders)
        except BaseException:
            self.overrides = before
            raise
        self.settings = orders.settings
        return orders

    def close(self) -> None:
        """Close what the daemon holds open."""
        self.engine.close()
        self.parts.store.database.close()

    def turn(self) -> int:
        """Let every inbox look and every due step run once; return how many steps ran."""
        for inbox in self.parts.inboxes.values():
            inbox.turn()
        ran = 0
        self.probe.may_write()
        while ready := self.parts.schedule.take_ready():
            for case_id, state in ready:
                self.parts.runner.run(case_id, state)
                ran += 1
        self.parts.words.obey()
        self.notes.keep()
        self.prune()
        return ran

    @property
    def probe(self) -> StateProbe:
        """Return what tries whether the state file can be written."""
        parts = self.parts
        return StateProbe(parts.store, parts.breakers, monotonic=self.time.monotonic)

    @property
    def pruner(self) -> Pruner:
        """Return what applies retention."""
        return Pruner(
            retention_of(self.settings),
            self.parts.store,
            self.disk,
            self.parts.places,
            now=self.time.now,
            guard=self.parts.roots.guard,
            mounts_below=MountTable().below,
            log=self.log,
        )

    def prune(self, *roots: str) -> list[str]:
        """Apply retention where it is on; return why what is due did not go."""
        pruner, refusals = self.pruner, []
        for root in filter(pruner.retention.is_on, roots or RESTS):
            refusals += [pruner.clean_up(root), *map(pruner.prune, pruner.plan(root).due)]
            pruner.forget_emptied(root)
        return [refusal for refusal in refusals if refusal]

    def look(self) -> None:
        """Let every inbox look, and run no step."""
        for inbox in self.parts.inboxes.values():
            inbox.turn()

    def live(self, seconds: float = 60.0, *, step_s: float = 1.0) -> None:
        """Let time pass, turning every `step_s`."""
        for _ in range(int(seconds / step_s)):
            self.turn()
            self.time.advance(step_s)
        self.turn()

    def live_until_rest(self, *, at_most_s: float = 600.0) -> None:
        """Live until no case is under way; fail when that takes too long."""
        for _ in range(int(at_most_s)):
            self.turn()
            cases = self.cases()
            if cases and all(case.state.is_at_rest for case in cases):
                self.turn()
                return
            self.time.advance(1.0)
        states = [(case.case_name, str(case.state)) for case in self.cases()]
        raise AssertionError(f"not at rest after {at_most_s} s: {states}")

    # --- what people do and see -------------------------------------------------------------------

    def drop(self, name: str, content: bytes | None = None, *, recipe: str = "") -> Path:
        """Put a file into the inbox; without content a small valid NIfTI volume."""
        path = self.root / "inbox" / recipe / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(nifti() if content is None else content)
        return path

    def cases(self) -> list[Case]:
        """Return all cases, oldest first."""
        rows = self.queries.cases()
        found = [self.parts.store.load(row["case_id"]) for row in reversed(rows)]
        return [case for case in found if case is not None]

    def case(self, name: str) -> Case:
        """Return the one case of this name."""
        (case,) = [one for one in self.cases() if one.case_name == name and not one.late_for]
        return case

    def case_of_late(self, name: str) -> Case:
        """Return the one case of late slices of a series' name."""
        (case,) = [case for case in self.cases() if case.late_for and case.case_name == name]
        return case

    @property
    def notes(self) -> HeldNotes:
        """Return what keeps the notes on held cases."""
        return HeldNotes(self.parts.ports, self.parts.breakers, monotonic=self.time.monotonic)

    @property
    def queries(self) -> Queries:
        """Return what commands would read."""
        return Queries(self.parts.store.database, now=self.time.now)

    def say(self, word: str, case: Case, *, may_cost: bool = False) -> None:
        """Say a person's word about a case, and let the daemon act on it."""
        self.queries.say(word, [case.case_id], may_cost=may_cost)
        self.turn()

    def claimed(self, case: Case) -> Path:
        """Return where the one file of a case lies while it is claimed."""
        (entry,) = case.inputs
        return self.parts.places.content(case) / entry.name

    def started(self) -> int:
        """Count the jobs that the Engine began to compute: what a customer pays for."""
        return sum(job.started for job in self.sandbox.ledger.jobs.values())

    def breakers(self) -> set[str]:
        """Return the names of the open breakers."""
        return {breaker.name for breaker in self.parts.breakers.all()}

    def files(self, folder: str) -> list[str]:
        """List the visible files below one of the four folders."""
        root = self.root / folder
        return sorted(
            str(path.relative_to(root))
            for path in root.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.parts[-4:])
        )

    def leftovers(self) -> list[str]:
        """List what lies in the hidden folders beyond markers, and records of what is at rest."""
        kept = {f"archive/{RECORDS}", f"failed/{RECORDS}"}
        found = (
            path.relative_to(self.root)
            for name in ("inbox", "outbox", "archive", "failed")
            for path in (self.root / name).rglob("*")
            if ".vpe-watcher" in path.parts and path.is_file() and path.name != "marker.json"
        )
        return sorted(str(path) for path in found if str(path.parent) not in kept)

    def record(self, root: str, case_id: str) -> Path:
        """Return where the record of a case in a root lies."""
        return self.root / root / RECORDS / f"{case_id}.json"

    def issue_token(self) -> str:
        """Return an access token that the sandbox accepts, as somebody else would get it."""
        answer = requests.Session()
        answer.mount(URL, self.adapter)
        auth = {"client_id": "sandbox", "client_secret": "sandbox"}
        more = {"grant_type": "client_credentials", "audience": "virtualpatientengine.com"}
        token: str = answer.post(f"{URL}/oauth/token", json={**auth, **more}).json()["access_token"]
        return token

    def breaker(self, name: str) -> Breaker:
        """Return an open breaker by its name."""
        return {breaker.name: breaker for breaker in self.parts.breakers.all()}[name]

    def candidate(self, name: str) -> dict[str, Any]:
        """Return what `status` shows of a candidate."""
        shown = [one for inbox in self.parts.inboxes.values() for one in inbox.candidates()]
        return next(one for one in shown if Path(str(one["path"])).name == name)

    def claim_folder(self, case: Case) -> Path:
        """Return the hidden folder that holds a case's claimed files."""
        return self.parts.places.claim(case)

    def evidence(self, case: Case) -> dict[str, Any]:
        """Read `.case.json` in a case's claim folder."""
        document: dict[str, Any] = json.loads((self.claim_folder(case) / ".case.json").read_text())
        return document

    def live_until(self, name: str, state: State, *, at_most_s: float = 60.0) -> Case:
        """Live until a case's next due step is `state`, without running that step."""
        for _ in range(int(at_most_s)):
            for inbox in self.parts.inboxes.values():
                inbox.turn()
            while (found := self._named(name)) is None or found.state is not state:
                if not self._run_one():
                    break
            if found is not None and found.state is state:
                return found
            self.time.advance(1.0)
        raise AssertionError(f"{name} did not come to {state} in {at_most_s} s")

    def _named(self, name: str) -> Case | None:
        return next((case for case in self.cases() if case.case_name == name), None)

    def _run_one(self) -> bool:
        """Run the first step that is ready; what else is ready runs too, one step each."""
        ready = self.parts.schedule.take_ready()
        for case_id, state in ready:
            self.parts.runner.run(case_id, state)
        return bool(ready)

    def held_note(self, name: str) -> str:
        """Read what tells the person at the folder that a case is held."""
        return (self.root / "failed" / f"{name}.held.txt").read_text()

    def result(self, name: str) -> dict[str, Any]:
        """Read the manifest of a delivered folder."""
        document: dict[str, Any] = json.loads(
            (self.root / "outbox" / name / "result.json").read_text()
        )
        return document

    def error(self, name: str) -> dict[str, Any]:
        """Read the error document of a failed case."""
        document: dict[str, Any] = json.loads(
            (self.root / "failed" / name / "error.json").read_text()
        )
        return document

    def states(self) -> dict[str, State]:
        """Return each case's state by its name."""
        return {case.case_name: case.state for case in self.cases()}


@contextmanager
def unprivileged(house: House) -> Iterator[None]:
    """Let this process be an ordinary user who owns the house."""
    if os.geteuid() != 0:
        yield
        return
    house.root.parent.chmod(0o755)
    for path in [house.root, *house.root.rglob("*")]:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one table of settings over another."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(below, dict) and isinstance(value, dict) and key != "job":
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result


def nifti(*, seed: int = 0, side: int = 4) -> bytes:
    """Return a small complete NIfTI-1 file; other seeds have other voxels of the same size."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, side, side, side, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = b"n+1\0"
    voxels = bytes((seed * 31 + index * 7) % 256 for index in range(2 * side**3))
    return bytes(header) + voxels


def binary_stl(*, triangles: int = 2, seed: int = 0) -> bytes:
    """Return a small complete binary STL."""
    facets = b"".join(struct.pack("<12fH", *[float(seed + i)] * 12, 0) for i in range(triangles))
    return b"test".ljust(80, b"\0") + struct.pack("<I", triangles) + facets
