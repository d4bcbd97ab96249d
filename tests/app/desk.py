"""A daemon's folders and state file for the tests of commands, without a daemon.

Cases are walked through their states by the real store and the real table, so that no test sees a
row that a daemon could not have written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vpe_watcher.adapters.lock import DaemonLock
from vpe_watcher.adapters.settings import Settings, load_settings
from vpe_watcher.adapters.store import NewCase, Store
from vpe_watcher.app import cli
from vpe_watcher.app.assembly import open_store
from vpe_watcher.core import machine
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
from vpe_watcher.flow.places import Places

DAEMON_ID = "deadbeef"
FOLDERS = ("inbox", "outbox", "archive", "failed", "inbox/teeth")
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
CONFIG = """\
inbox = "inbox"
outbox = "outbox"
archive = "archive"
failed = "failed"
state_file = "state/state.sqlite3"
[engine]
base_url = "http://127.0.0.1:{port}"
[engine.auth]
client_id = "sandbox"
client_secret = "sandbox"
token_url = "http://127.0.0.1:{port}/oauth/token"
[job.outputFiles]
meshes = [{{ extension = ".stl", structures = ["mandible"] }}]
[recipes.teeth]
[intake]
ignore = ["*.bak"]
[limits]
connect_timeout_s = 2
stall_timeout_s = 5
[retention]
min_free = 0
"""


def make_home(home: Path, *, port: int = 9) -> Path:
    """Make folders and configuration in `home`; return the configuration's path."""
    for name in FOLDERS:
        (home / name).mkdir(parents=True, exist_ok=True)
    (home / "state").mkdir(mode=0o700, exist_ok=True)
    config = home / "vpe-watcher.toml"
    config.touch(mode=0o600)
    config.write_text(CONFIG.format(port=port))
    return config


def problem(code: str, failure_class: FailureClass = FailureClass.UNKNOWN) -> Problem:
    """Return a problem by its code."""
    return Problem(failure_class, code, f"Because of {code}.", "Do something.")


@dataclass(frozen=True, slots=True)
class Ran:
    """What one command line answered."""

    code: int
    out: str
    err: str


@dataclass
class Desk:
    """The folders, the state file, and commands on them."""

    home: Path
    config: Path
    settings: Settings
    store: Store
    capture: pytest.CaptureFixture[str]
    lock: DaemonLock
    counted: int = field(default=0)

    def run(self, *arguments: str) -> Ran:
        """Run one command line with this configuration, in this process."""
        self.capture.readouterr()
        code = cli.run([*arguments, "--config", str(self.config)])
        shown = self.capture.readouterr()
        return Ran(code, shown.out, shown.err)

    @property
    def places(self) -> Places:
        """Return where this daemon keeps everything."""
        recipes = self.settings.recipes.values()
        return Places(
            inboxes={recipe.name: recipe.inbox for recipe in recipes},
            outboxes={recipe.name: recipe.outbox for recipe in recipes},
            archive=self.settings.archive,
            failed=self.settings.failed,
            daemon_id=DAEMON_ID,
        )

    def case(self, case_id: str) -> Case:
        """Read a case that exists."""
        found = self.store.load(case_id)
        assert found is not None
        return found

    def words(self) -> list[tuple[str, str, bool]]:
        """Return what was left for the daemon."""
        return [(word.word, word.subject, word.may_cost) for word in self.store.words()]

    def add(self, name: str = "scan", *, case_id: str = "", recipe: str = "default") -> str:
        """Write the row of a case that is about to be claimed; return its id."""
        self.counted += 1
        case_id = case_id or f"case{self.counted:04d}"
        inbox = self.settings.recipes[recipe].inbox
        mark = FileMark(4, 1, 1, 1)
        new = NewCase(
            case_id=case_id,
            case_name=name,
            recipe=recipe,
            job=self.settings.recipes[recipe].job,
            engine_version="24.06",
            moves=(Move(str(inbox / f"{name}.dcm"), f"{case_id}/{name}.dcm"),),
            inputs=(Input(Modality.CBCT, f"{name}.dcm", ".dcm", mark),),
            detected=time.time(),
        )
        self.store.add_cases([new], is_taken=lambda _: False)
        return case_id

    def walk(self, case_id: str, to: State, *, outputs: tuple[str, ...] = ("Available",)) -> str:
        """Do everything well until the effect of state `to` is due."""
        while (state := self.case(case_id).state) is not to:
            begun = self.store.begin(case_id, state, jobs_per_day={})
            assert not isinstance(begun, str)
            self._effect(case_id, state, outputs)
            self._decide(begun, Outcome(Label.OK))
        return case_id

    def end(self, case_id: str, label: Label, why: Problem | None = None) -> str:
        """Let the step that is due come to an outcome, and the case to rest."""
        begun = self.store.begin(case_id, self.case(case_id).state, jobs_per_day={})
        assert not isinstance(begun, str)
        self._decide(begun, Outcome(label, why))
        if self.case(case_id).state is State.ARCHIVING:
            self._archive(case_id)
        return case_id

    def finish(self, case_id: str, *, outputs: tuple[str, ...] = ("Available",)) -> str:
        """Do everything well to the end."""
        self.walk(case_id, State.ARCHIVING, outputs=outputs)
        self._archive(case_id)
        return case_id

    def lay_input(self, case_id: str) -> str:
        """Put the case's input where it must lie at rest."""
        case = self.case(case_id)
        folder = self.places.input_folder(case)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / case.inputs[0].name).write_bytes(b"scan")
        return case_id

    def _archive(self, case_id: str) -> None:
        begun = self.store.begin(case_id, State.ARCHIVING, jobs_per_day={})
        assert not isinstance(begun, str)
        self._decide(begun, Outcome(Label.OK))

    def _decide(self, begun: Any, outcome: Outcome) -> None:
        decision = machine.decide(
            self.case(begun.case.case_id), outcome, machine.Patience(), chance=lambda: 0.5
        )
        self.store.finish(begun, decision, outcome)

    def _effect(self, case_id: str, state: State, outputs: tuple[str, ...]) -> None:
        effects: dict[State, Callable[[], object]] = {
            State.CLAIMING: lambda: self.store.set_claimed(
                case_id, self.case(case_id).job, engine_version="24.06"
            ),
            State.SUBMITTING: lambda: self.store.set_job(
                case_id, f"job-{case_id}", {"cbct": Links("http://127.0.0.1:9/u", "http://n")}
            ),
            State.UPLOADING: lambda: self.store.set_uploaded(case_id, "cbct", "ab" * 32),
            State.NOTIFYING: lambda: self._notify(case_id),
            State.WAITING: lambda: self._result(case_id, outputs),
            State.DELIVERING: lambda: self._publish(case_id),
        }
        effects.get(state, lambda: None)()

    def _notify(self, case_id: str) -> None:
        self.store.begin_notification(case_id, "cbct")
        self.store.set_notified(case_id, "cbct", Notified.DONE)

    def _result(self, case_id: str, statuses: tuple[str, ...]) -> None:
        found = [
            Output(number, "meshes", (f"part{number}",), ".stl", status)
            for number, status in enumerate(statuses)
        ]
        is_partial = "Failed" in statuses or "Unfetched" in statuses
        status = "partial" if is_partial else "complete"
        self.store.set_result(case_id, outputs=found, body={}, result_status=status)
        for output in found:
            if output.status == "Available":
                self.store.set_fetched(
                    case_id, output.position, file=f"part{output.position}.stl", size=84, sha256="c"
                )

    def _publish(self, case_id: str) -> None:
        case = self.case(case_id)
        folder = self.places.published(case)
        folder.mkdir(parents=True)
        verdict = State.PARTIAL if case.result_status == "partial" else State.DONE
        self.store.begin_publishing(case_id)
        self.store.set_published(case_id, str(folder), verdict)


def open_desk(home: Path, capture: pytest.CaptureFixture[str]) -> Desk:
    """Make everything anew in `home`."""
    config = make_home(home)
    settings = load_settings(config, environ={})
    store = open_store(settings, now=time.time)
    store.record_start(fresh_id=DAEMON_ID)
    return Desk(home, config, settings, store, capture, DaemonLock(settings.state_file))
