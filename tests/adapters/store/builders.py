"""A store on a real file with a clock in hand, and cases brought to a state by its own verbs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vpe_watcher.adapters.store import Begun, Database, NewCase, Queries, Store
from vpe_watcher.core.machine import Decision, Patience, decide
from vpe_watcher.core.model import (
    Case,
    FailureClass,
    FileMark,
    Input,
    Label,
    Modality,
    Move,
    Notified,
    Outcome,
    Output,
    Problem,
    State,
)
from vpe_watcher.core.wire import Links

START = 1_790_000_000.0
MARK = FileMark(size=1000, mtime_ns=2**62, ctime_ns=2, inode=3)
TROUBLE = Problem(FailureClass.TRANSIENT, "some_trouble", "Something did not work.", "Wait.")
BAD_SCAN = Problem(FailureClass.INPUT, "bad_scan", "The scan is bad.", "Scan again.")
LINKS = Links("https://b.example/up", "https://e.example/notify")
MANDIBLE = Output(0, "meshes", ("mandible",), ".stl", "Available", 9, "https://b.example/m")
WAY = (
    State.CLAIMING,
    State.SUBMITTING,
    State.UPLOADING,
    State.NOTIFYING,
    State.WAITING,
    State.FETCHING,
    State.DELIVERING,
    State.ARCHIVING,
)


def nowhere(name: str) -> bool:
    """Say that no folder has this name."""
    return False


def an_input(modality: Modality = Modality.CBCT, **changes: Any) -> Input:
    """Return one input of a new case."""
    values: dict[str, Any] = {"name": f"{modality}.dcm", "extension": ".dcm", "mark": MARK}
    return Input(modality=modality, **(values | changes))


def a_new_case(case_id: str = "c1", **changes: Any) -> NewCase:
    """Return what the intake knows of a scan."""
    values: dict[str, Any] = {
        "case_name": "scan",
        "recipe": "default",
        "job": {"outputFiles": {"meshes": []}},
        "engine_version": "24.06",
        "moves": (Move("/in/scan.dcm", f"{case_id}/scan.dcm"),),
        "inputs": (an_input(),),
        "detected": START - 60,
    }
    return NewCase(case_id=case_id, **(values | changes))


@dataclass
class House:
    """A state file and the verbs on it. `now` is seconds since 1970, moved by hand."""

    path: Path
    now: float = START
    open_ones: list[Database] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Open the state file."""
        self.database = self.open()
        self.store = Store(self.database, now=self.clock)
        self.queries = Queries(self.database, now=self.clock)

    def clock(self) -> float:
        """Return the time in hand."""
        return self.now

    def open(self, *, create: bool = True) -> Database:
        """Open the same file once more, as another process would."""
        database = Database(self.path, create=create)
        self.open_ones.append(database)
        return database

    def close(self) -> None:
        """Close all that was opened."""
        for database in self.open_ones:
            database.close()

    def add(self, case_id: str = "c1", **changes: Any) -> Case:
        """Write the row of a new case."""
        self.store.add_cases([a_new_case(case_id, **changes)], is_taken=nowhere)
        return self.case(case_id)

    def case(self, case_id: str = "c1") -> Case:
        """Read a case that is there."""
        case = self.store.load(case_id)
        assert case is not None
        return case

    def begin(self, case_id: str = "c1", **budgets: int) -> Begun:
        """Begin the step that is due."""
        begun = self.store.begin(case_id, self.case(case_id).state, jobs_per_day=budgets)
        assert isinstance(begun, Begun)
        return begun

    def finish(
        self, begun: Begun, label: Label, problem: Problem | None = None, duration_s: float = 1.0
    ) -> Decision:
        """End an attempt as the runner does: with the case as it is by now."""
        case = self.case(begun.case.case_id)
        outcome = Outcome(label, problem, duration_s=duration_s)
        decision = decide(case, outcome, Patience(), chance=lambda: 0.5)
        self.store.finish(begun, decision, outcome)
        return decision

    def step(
        self, label: Label = Label.OK, problem: Problem | None = None, case_id: str = "c1"
    ) -> Case | None:
        """Run one attempt that does nothing and ends in an outcome."""
        self.finish(self.begin(case_id), label, problem)
        return self.store.load(case_id)

    def say(self, label: Label, case_id: str = "c1", problem: Problem | None = None) -> bool:
        """Act on a person's word."""
        case = self.case(case_id)
        decision = decide(case, Outcome(label, problem), Patience(), chance=lambda: 0.0)
        return self.store.apply_word(case_id, decision)

    def bring(self, state: State, case_id: str = "c1", **changes: Any) -> Case:
        """Add a case and lead it on the plain way to a state, with what each step records."""
        self.add(case_id, **changes)
        for effect in WAY[: WAY.index(state)]:
            self.work(effect, case_id)
        return self.case(case_id)

    def work(self, effect: State, case_id: str = "c1") -> None:
        """Run one successful attempt with its records."""
        begun = self.begin(case_id)
        assert begun.case.state is effect
        store, case = self.store, begun.case
        modalities = [str(entry.modality) for entry in case.inputs]
        if effect is State.CLAIMING:
            store.set_claimed(case_id, case.job, engine_version=case.engine_version)
        elif effect is State.SUBMITTING:
            job_id = f"job-{case_id}-{case.generation}"
            links = {} if case.pays_at_submit else dict.fromkeys(modalities, LINKS)
            store.set_job(case_id, job_id, links)
        elif effect is State.UPLOADING:
            for modality in modalities:
                store.set_uploaded(case_id, modality, f"digest of {modality}")
        elif effect is State.NOTIFYING:
            for modality in modalities:
                store.begin_notification(case_id, modality)
                store.set_notified(case_id, modality, Notified.DONE)
        elif effect is State.WAITING:
            store.set_result(case_id, outputs=[MANDIBLE], body={}, result_status="complete")
        elif effect is State.FETCHING:
            store.set_fetched(case_id, 0, file="mandible.stl", size=9, sha256="ab")
        elif effect is State.DELIVERING:
            store.begin_publishing(case_id)
            store.set_published(case_id, "/out/scan", State.DONE)
        self.finish(begun, Label.OK)
