"""What must hold after every step, and what at the end. Broken laws are `Broken`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.simulation.attempts import Attempt
from tests.simulation.disk import File, Folder, Node
from tests.simulation.network import REFUSES_INPUT, is_environment
from tests.simulation.world import EXPORT, FULL, ROOTS, World
from vpe_watcher.adapters.store import Begun, Database
from vpe_watcher.core.machine import Decision
from vpe_watcher.core.model import Case, FailureClass, Label, Outcome, State
from vpe_watcher.flow.places import EVIDENCE, HELD_NOTE, HIDDEN, record_in
from vpe_watcher.sandbox.ledger import Job
from vpe_watcher.sandbox.messages import Request
from vpe_watcher.sandbox.rules import find_route

CALLS_ENGINE = frozenset({State.SUBMITTING, State.NOTIFYING, State.WAITING})
DELIVERED = frozenset({State.DONE, State.PARTIAL, State.DUPLICATE})
VISIBLE = ("outbox", "archive", "failed")
EXPLAINED = {"archive": "result", "failed": "error.json"}


class Broken(BaseException):
    """A law does not hold; nothing in between takes this for trouble of its own."""


class Laws:
    """The laws of one world, and what is known of it that the daemon cannot know.

    `owned` counts the contents that people have dropped and not taken away; `released` are those
    that the daemon may have deleted, because a setting says so.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.owned: Counter[bytes] = Counter()
        self.ever: set[str] = set()
        self.released: set[bytes] = set()
        self.exported: dict[Path, bytes] = {}
        self.yes: Counter[str] = Counter()
        self.may_rerun = False
        self.is_refused = False
        self._attempt: Attempt | None = None
        self._version = -1
        self._seen: dict[int, tuple[tuple[str, int, int], ...]] = {}
        self._published: dict[int, str] = {}
        self._started: dict[tuple[str, int], str] = {}
        self._paid_for: dict[str, str] = {}
        self._rerun_for: dict[str, list[tuple[str, frozenset[str]]]] = {}
        self._known_started: set[str] = set()
        world.before_call = self._before_call
        world.on_finish = self._on_finish
        world.disk.on_evidence = self._on_evidence

    # --- what people own --------------------------------------------------------------------------

    def own(self, content: bytes) -> None:
        """Take note of a content that people have put into an inbox."""
        if content:  # an empty file may be anybody's, after a power cut
            self.owned[content] += 1
        self.ever.add(hashlib.sha256(content).hexdigest())

    def disown(self, content: bytes) -> None:
        """Take note of one that they have taken away, or written over."""
        self.owned[content] -= 1
        if self.owned[content] <= 0:
            self.owned.pop(content, None)

    # --- after every step -------------------------------------------------------------------------

    def check(self) -> None:
        """Hold the laws against what is there now."""
        self._check_log()
        self._check_started()
        if self.world.disk.version == self._version:
            return
        self._version = self.world.disk.version
        self._check_places()
        for root in VISIBLE:
            self._check_visible(root)

    def _check_log(self) -> None:
        events = self.world.events
        for event, fields in events[self.world.log_seen :]:
            if event.endswith(".defect"):
                raise Broken(f"{event}: {fields.get('error')!r} in {fields}")
        self.world.log_seen = len(events)

    def _check_places(self) -> None:
        """Find each input where it may be, once; also of what a cut would leave now."""
        now: list[bytes] = []
        durable: list[bytes] = []
        root = self.world.disk.root
        for name in ROOTS:
            _gather(root.entries.get(name), root.durable.get(name), now, durable)
        for node in self.world.unmounted.values():
            _gather(node, node, now, durable)
        self._check_found(Counter(now), "now")
        if durable != now:
            self._check_found(Counter(durable), "after a power cut now")

    def _check_found(self, found: Counter[bytes], when: str) -> None:
        for content, count in self.owned.items():
            there = found.get(content, 0)
            if there == count:
                continue
            if there < count and content not in self.released:
                raise Broken(f"an input is lost {when}: {content[:40]!r}, {there}/{count}")
            if there > count and not self.world.far:
                raise Broken(f"an input is in {there} places, not {count}, {when}")

    def _check_visible(self, root: str) -> None:
        """Ask what is visible whether it is whole, durable, and as it was when it came."""
        folder = self.world.disk.root.entries.get(root)
        if not isinstance(folder, Folder):
            return
        if root == "outbox":
            self._check_published(folder)
        for name, node in folder.entries.items():
            if name == HIDDEN or not isinstance(node, Folder):
                continue
            if node.inode not in self._seen:
                _must_be_durable(node, f"{root}/{name}")
                if root == "outbox":
                    _must_be_whole(node, name)
                else:
                    self._must_be_explained(root, name, node)
                self._seen[node.inode] = _signature(node)
            elif root == "outbox" and self._seen[node.inode] != _signature(node):
                raise Broken(f"outbox/{name} was changed after it was published")

    def _check_published(self, outbox: Folder) -> None:
        """Ask for each result that was durable whether it is there, if nobody took it away."""
        if "outbox" in self.world.unmounted:
            return
        there = {node.inode for node in outbox.entries.values()}
        gone = [name for inode, name in self._published.items() if inode not in there]
        if gone:
            raise Broken(f"the result {gone[0]} is gone from the outbox")
        for name, node in outbox.durable.items():
            if name != HIDDEN and isinstance(node, Folder):
                self._published[node.inode] = name

    def forget_what_is_gone(self) -> None:
        """Forget what a power cut made invisible again: it comes once more, made anew."""
        roots = [self.world.disk.root.entries[name] for name in VISIBLE]
        roots += self.world.unmounted.values()
        there = [node.entries.values() for node in roots if isinstance(node, Folder)]
        inodes = {node.inode for nodes in there for node in nodes}
        self._seen = {inode: one for inode, one in self._seen.items() if inode in inodes}

    def take_result(self, node: object) -> None:
        """Take note of a result that people have taken out of the outbox."""
        if isinstance(node, Folder):
            self._published.pop(node.inode, None)

    def _must_be_explained(self, root: str, name: str, node: Folder) -> None:
        start = EXPLAINED[root]
        if not any(one.startswith(start) for one in node.entries):
            raise Broken(f"{root}/{name} was visible without {start}")
        for file in (one for one in node.entries.values() if isinstance(one, File)):
            self._must_be_recorded(root, file)

    def _must_be_recorded(self, root: str, file: File) -> None:
        """Ask for the durable record of the case of which a document of ours tells."""
        if b"vpe-watcher/result/" not in file.content and b"vpe-watcher/error/" not in file.content:
            return
        document = json.loads(file.content)
        record = self._durable(record_in(self.world.base / root, document["case_id"]))
        if json.loads(record or b"{}").get("attempts") != document["attempts"]:
            raise Broken(f"a case was visible in {root} without a durable record")

    # --- the Engine -------------------------------------------------------------------------------

    def _before_call(self, kind: str, request: Request) -> None:
        if kind != "notify":
            return
        names = find_route(request.parts.path).names
        job = self.world.sandbox.ledger.jobs.get(names["job"])
        if job is None or job.started:
            return
        row = self._job_row(job.id)
        if row is None or not row["may_be_paid"]:
            raise Broken("a job is about to start that no row calls paid")
        if not all(entry.uploads or entry.download_url for entry in job.inputs.values()):
            raise Broken("a notification was sent before all uploads had ended")
        if row["recipe"] != "pacs":
            self._must_have_evidence(row["recipe"], row["case_id"], job.id)

    def _on_evidence(self, content: bytes) -> None:
        document = json.loads(content)
        job_id = document.get("job_id")
        if not document.get("may_be_paid") or not job_id or self.world.parts is None:
            return
        row = self._job_row(job_id)
        if row is None or not row["may_be_paid"]:
            raise Broken("a claim says that it may be paid before its row does")

    def _job_row(self, job_id: str) -> Any:
        parts = self.world.parts
        assert parts is not None
        rows = parts.store.database.read(
            "SELECT jobs.case_id, jobs.may_be_paid, jobs.generation, recipe, is_rerun, paid "
            "FROM jobs JOIN cases USING (case_id) WHERE jobs.job_id = ?",
            (job_id,),
        )
        return rows[0] if rows else None

    def _must_have_evidence(self, recipe: str, case_id: str, job_id: str) -> None:
        inbox = self.world.settings.recipes[recipe].inbox
        path = inbox / HIDDEN / "simulated" / case_id / EVIDENCE
        document = json.loads(self._durable(path) or b"{}")
        if not document.get("may_be_paid") or document.get("job_id") != job_id:
            raise Broken("a job is about to start without durable evidence of it")

    def _durable(self, path: Path) -> bytes:
        """Return what a power cut would leave of a file for certain; b"" when nothing."""
        node: Node | None = self.world.disk.root
        for name in path.parts[len(self.world.base.parts) :]:
            node = node.durable.get(name) if isinstance(node, Folder) else None
        return node.synced if isinstance(node, File) else b""

    def _check_started(self) -> None:
        """Ask for each job that has started whether it may cost."""
        jobs = self.world.sandbox.ledger.jobs
        if len(self._known_started) == len(jobs) or self.world.parts is None:
            return  # without a daemon it is asked when there is one again
        for job in jobs.values():
            if job.started and job.id not in self._known_started:
                self._known_started.add(job.id)
                self._check_job(job)

    def _check_job(self, job: Job) -> None:
        row = self._job_row(job.id)
        if row is None:
            raise Broken("a job has started that no row knows")
        key = (row["case_id"], row["generation"])
        if self._started.setdefault(key, job.id) != job.id:
            raise Broken(f"case {key[0]} was paid twice in generation {key[1]}")
        if row["generation"] > 1 + self.yes[row["case_id"]]:
            raise Broken("a job was made anew without a person's word")
        uploads = {one.modality: one.uploads[-1] for one in job.inputs.values() if one.uploads}
        for modality, upload in uploads.items():
            if job.inputs[modality].extension != ".zip" and upload.sha256 not in self.ever:
                raise Broken("the Engine computes from bytes that nobody dropped")
        sent = sorted((modality, upload.sha256) for modality, upload in uploads.items())
        asked = [job.request["outputFiles"], job.request.get("options")]
        same = json.dumps([job.version, asked, sent])
        if not self.may_rerun:
            self._must_be_alone(same, row["case_id"], is_rerun=bool(row["is_rerun"]))

    def _must_be_alone(self, same: str, case_id: str, *, is_rerun: bool) -> None:
        """Ask that a scan is paid for once without a person's word, and never behind one's job."""
        if is_rerun:
            self._rerun_for.setdefault(same, []).append((case_id, self._past_claim()))
            return
        before = [self._paid_for.setdefault(same, case_id)]
        before += [one for one, beside in self._rerun_for.get(same, ()) if case_id not in beside]
        for one in before:
            if one != case_id:
                raise Broken(f"the same scan was paid for by cases {one} and {case_id}")

    def _past_claim(self) -> frozenset[str]:
        """Name the cases that are past the question whether another has the same."""
        parts = self.world.parts
        assert parts is not None
        rows = parts.store.database.read("SELECT case_id FROM cases WHERE state <> 'claiming'")
        return frozenset(row[0] for row in rows)

    # --- attempts ---------------------------------------------------------------------------------

    def begin(self, attempt: Attempt | None) -> None:
        """Write what is met from now on down for an attempt, or for nobody."""
        self._attempt = attempt
        self.world.network.met = attempt.calls if attempt else []
        self.world.troubles.met = attempt.disks if attempt and not attempt.is_judged else []

    def _on_finish(self, begun: Begun, decision: Decision, outcome: Outcome) -> None:
        """Hold the end of an attempt against what it has truly met.

        Trouble with recording its outcome comes later: it explains nothing, and excuses nothing.
        """
        calls = self.world.network.met
        disks = self._attempt.disks if self._attempt else []
        self.world.troubles.met = []
        if self._attempt:
            self._attempt.is_judged = True
        if any(call == "submit" and fault.isdigit() and int(fault) in REFUSES_INPUT
               for call, fault in calls):  # fmt: skip
            self.is_refused = True
        case = begun.case
        if decision.label is Label.INTERRUPTED or outcome.label is Label.INTERRUPTED:
            return self._must_be_spared(case, decision, "an interruption")
        blameless = [fault for call, fault in calls if is_environment(call, fault)]
        blamed = len(blameless) < len(calls)
        if case.state is State.CLAIMING and case.retries:
            return None  # a retry may find the rest refused that its files come from
        if disks and not blamed and all(number in FULL or lasts for _, number, lasts in disks):
            blameless.append("a disk")
        elif disks:
            blamed = True
        if blameless and not blamed:
            self._must_be_spared(case, decision, blameless[0])
        return None

    def _must_be_spared(self, case: Case, decision: Decision, why: str) -> None:
        """Ask that a case lost no patience and did not end, unless a later answer ended it."""
        if decision.label in {Label.ENVIRONMENT, Label.INTERRUPTED, Label.OK, Label.STOPPED}:
            if decision.state is case.state and (
                decision.tally.failures != case.tally.failures
                or decision.tally.retry_spent_s != case.tally.retry_spent_s
            ):
                raise Broken(f"{why} took patience of a case in {case.state}")
            return
        if decision.label in {Label.TRANSIENT, Label.INPUT, Label.EXHAUSTED, Label.UNKNOWN}:
            code = decision.problem.code if decision.problem else ""
            raise Broken(f"{why} was blamed on a case in {case.state}: {decision.label} {code}")

    def check_taken(self, taken: list[tuple[str, State]], open_before: frozenset[str]) -> None:
        """Ask that an open breaker of the Engine lets one probe through at most."""
        calls = sum(state in CALLS_ENGINE for _, state in taken)
        if calls > 1 and open_before & {"engine", "token"}:
            raise Broken(f"{calls} calls were begun while a breaker was open: {open_before}")

    # --- the end ----------------------------------------------------------------------------------

    def check_end(self, cases: list[Case]) -> None:
        """Hold what is left when all is quiet against the laws."""
        for case in cases:
            self._check_case(case)
        self._check_hidden(cases)
        self._check_database()
        for path, content in self.exported.items():
            node = self.world.disk.find(path)
            if not isinstance(node, File) or node.content != content:
                raise Broken("something was changed where all is left in place")

    def _check_case(self, case: Case) -> None:
        if not case.state.is_at_rest:
            raise Broken(f"a case did not come to rest: {case.state}, {case.problem}")
        problem = case.problem
        if case.state in {State.FAILED, State.HELD}:
            if problem is None or not problem.message:
                raise Broken(f"a case is {case.state} without a reason")
            if problem.failure_class is FailureClass.ENVIRONMENT and problem.code != "blocked":
                raise Broken(f"a case is {case.state} for the environment's fault: {problem.code}")
            if not problem.hint:
                raise Broken(f"a case is {case.state} and nobody is told what to do: {problem}")
        if case.state is State.HELD:
            note = self.world.base / "failed" / f"{case.folder}{HELD_NOTE}"
            if not isinstance(self.world.disk.find(note), File):
                raise Broken("a case is held and no note says so")
        if case.state in DELIVERED and case.outbox is None:
            raise Broken(f"a case is {case.state} and was never published")

    def _check_hidden(self, cases: list[Case]) -> None:
        kept = {case.case_id for case in cases if case.state is State.HELD}
        inboxes = [one.inbox for one in self.world.settings.recipes.values()]
        roots = [*inboxes, *(self.world.base / name for name in ROOTS[1:])]
        for root in roots:
            hidden = self.world.disk.find(root / HIDDEN)
            if not isinstance(hidden, Folder) or not self._is_used(hidden):
                continue  # what is left there goes at the root's next use
            for path in _files_below(hidden):
                is_record = path[0] == "records" and not path[-1].startswith(".")
                if is_record and root.name in EXPLAINED:
                    continue  # of a case at rest, or that people took away
                if path != ("marker.json",) and not kept & set(path):
                    raise Broken(f"left over in {root.name}: {'/'.join(path)}")
            if self.world.disk.find(root / f"{HIDDEN}.probed"):
                raise Broken(f"a probe is left over in {root.name}")
        if self.world.disk.find(self.world.base / EXPORT / HIDDEN):
            raise Broken("something was written where all is left in place")

    def _is_used(self, hidden: Folder) -> bool:
        """Tell whether this life has come to a root: its marker bears the number of its start."""
        parts = self.world.parts
        marker = hidden.entries.get("marker.json")
        assert parts is not None
        starts = json.loads(marker.content)["starts"] if isinstance(marker, File) else 0
        return bool(starts == parts.store.identity()[1])

    def _check_database(self) -> None:
        parts = self.world.parts
        assert parts is not None
        read = parts.store.database.read
        if [row[0] for row in read("PRAGMA integrity_check")] != ["ok"]:
            raise Broken("the state file is damaged")
        if read("PRAGMA foreign_key_check"):
            raise Broken("a row belongs to nothing")
        if read("SELECT 1 FROM events WHERE step IS NOT NULL AND outcome IS NULL"):
            raise Broken("an attempt is open")
        if read("SELECT 1 FROM words"):
            raise Broken("a word was not obeyed")


def _gather(here: Node | None, kept: Node | None, now: list[bytes], durable: list[bytes]) -> None:
    """Gather the contents at a place, and of what a cut would leave there (`kept`).

    A copy under way in our staging is none. What is the same is walked once.
    """
    if here is not kept:
        _gather(here, here, now, [])
        _gather(kept, kept, [], durable)
    elif isinstance(here, File):
        now.append(here.content)
        durable.append(here.synced)
    elif isinstance(here, Folder) and here.entries == here.durable:
        for name, node in here.entries.items():
            if isinstance(node, File):
                now.append(node.content)
                durable.append(node.synced)
            elif name != "staging":
                _gather(node, node, now, durable)
    elif isinstance(here, Folder):
        for name in here.entries | here.durable:
            if name != "staging":
                _gather(here.entries.get(name), here.durable.get(name), now, durable)


def _signature(folder: Folder) -> tuple[tuple[str, int, int], ...]:
    return tuple(
        (name, node.inode, hash(node.content) if isinstance(node, File) else 0)
        for name, node in sorted(folder.entries.items())
    )


def _must_be_durable(folder: Folder, where: str) -> None:
    if folder.entries != folder.durable:
        raise Broken(f"{where} was visible before its entries were synced")
    for name, node in folder.entries.items():
        if isinstance(node, File) and node.content != node.synced:
            raise Broken(f"{where}/{name} was visible before its bytes were synced")
        if isinstance(node, Folder):
            _must_be_durable(node, f"{where}/{name}")


def _must_be_whole(folder: Folder, name: str) -> None:
    manifest = folder.entries.get("result.json")
    if not isinstance(manifest, File):
        raise Broken(f"outbox/{name} was visible without its manifest")
    document = json.loads(manifest.content)
    named = {output["file"]: output for output in document["outputs"] if output["file"]}
    if set(folder.entries) - {"result.json"} != set(named):
        raise Broken(f"outbox/{name} holds {set(folder.entries)}, its manifest {set(named)}")
    for file, output in named.items():
        node = folder.entries[file]
        content = node.content if isinstance(node, File) else b""
        if (len(content), hashlib.sha256(content).hexdigest()) != (
            output["size"],
            output["sha256"],
        ):
            raise Broken(f"outbox/{name}/{file} is not what its manifest says")


def _files_below(folder: Folder, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, node in folder.entries.items():
        if isinstance(node, Folder):
            yield from _files_below(node, (*above, name))
        else:
            yield (*above, name)


def cases_of(database: Database) -> list[str]:
    """Return the ids of all cases, oldest first."""
    return [row[0] for row in database.read("SELECT case_id FROM cases ORDER BY seq")]
