"""A house in which a schedule is played, and what must be true of it in the end.

Time goes from one moment of interest to the next: a writer's act, what befalls the daemon, the
look that the daemon itself asked for.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.flow.house import FakeTime, House
from tests.flow.scans import FORMS
from tests.flow.schedules import SERIES_SETTLE, Schedule, Shock, Work
from tests.flow.writers import (
    Acts,
    Dripping,
    Filling,
    Writing,
    dripped,
    filled,
    slice_name,
    written,
)
from vpe_watcher.core.model import Case, State

SETTLE_S = 2.0
HOUR_S = 3600.0
AT_REST_WITHIN_S = 90.0
WISHES = {"options": {"mandible": {"smoothingIterations": 3}}}


@dataclass
class DaemonTime(FakeTime):
    """The daemon's clocks, of which one may be set; the Engine goes by its own."""

    engine: FakeTime = field(default_factory=FakeTime)

    def advance(self, seconds: float) -> None:
        """Let time pass for both."""
        super().advance(seconds)
        self.engine.advance(seconds)


@dataclass(slots=True)
class _Actor:
    """A writer at work, and the moment of its next act."""

    work: Work
    acts: Acts
    at: float


@dataclass(slots=True)
class Stage:
    """A house, and the moments at which something happens in it (monotonic seconds)."""

    house: House
    schedule: Schedule
    actors: list[_Actor] = field(default_factory=list)
    shocks: list[Shock] = field(default_factory=list)
    next_turn: float = 0.0

    def play(self) -> None:
        """Let everything happen, and live on until all is at rest."""
        now = self.house.time.steady
        inbox = self.house.root / "inbox"
        for work in self.schedule.works:
            self.actors.append(_Actor(work, acts_of(inbox, work), now))
            if self.schedule.has_wishes and isinstance(work, Writing):
                (inbox / f"{work.name}.job.json").write_text(json.dumps(WISHES))
        self.shocks = sorted(self.schedule.shocks, key=lambda shock: shock.at_s)
        started = self.next_turn = now
        while self.actors or self.shocks:
            moments = [self.next_turn, *(actor.at for actor in self.actors)]
            moments += [started + shock.at_s for shock in self.shocks[:1]]
            self._go_to(min(moments))
            self._befall(started)
            self._act()
            self._turn_if_due()
        self._rest()

    def _go_to(self, moment: float) -> None:
        self.house.time.advance(max(0.0, moment - self.house.time.steady))

    def _befall(self, started: float) -> None:
        while self.shocks and started + self.shocks[0].at_s <= self.house.time.steady:
            shock = self.shocks.pop(0)
            if shock.kind == "restart":
                self.house.restart()
                self.next_turn = self.house.time.steady
            else:
                self.house.time.wall += HOUR_S if shock.kind == "forth" else -HOUR_S

    def _act(self) -> None:
        now = self.house.time.steady
        for actor in [actor for actor in self.actors if actor.at <= now]:
            try:
                actor.at = now + next(actor.acts)
            except StopIteration:
                self.actors.remove(actor)
            if self.schedule.hears:
                self._hear(actor.work)

    def _hear(self, work: Work) -> None:
        """Tell the daemon that something happened, without saying whether it was the last act."""
        names = [work.name]
        if isinstance(work, Dripping) and not work.folder:
            names = [slice_name(work, number) for number in work.order]
        for inbox in self.house.parts.inboxes.values():
            for name in names:
                inbox.hint(name)
        self.next_turn = min(self.next_turn, self.house.time.steady + self.schedule.late_s)

    def _turn_if_due(self) -> None:
        now = self.house.time.steady
        if now < self.next_turn:
            return
        self.house.turn()
        wait_s = min(inbox.turn() for inbox in self.house.parts.inboxes.values())
        if any(not case.state.is_at_rest for case in self.house.cases()):
            wait_s = min(wait_s, 1.0)
        self.next_turn = now + max(wait_s, 0.01) + self.schedule.late_s

    def _rest(self) -> None:
        until = self.house.time.steady + AT_REST_WITHIN_S
        while self.house.time.steady < until and not self._is_at_rest():
            self._go_to(self.next_turn)
            self._turn_if_due()

    def _is_at_rest(self) -> bool:
        cases = self.house.cases()
        if len(cases) < len(self.schedule.works) or self.house.files("inbox"):
            return False
        return all(case.state.is_at_rest for case in cases)


def acts_of(inbox: Path, work: Work) -> Acts:
    """Return what a writer does."""
    if isinstance(work, Filling):
        return filled(inbox, work)
    return dripped(inbox, work) if isinstance(work, Dripping) else written(inbox, work)


def play(schedule: Schedule, ground: Path) -> None:
    """Play a schedule in a house of its own, and check what became of it."""
    root = Path(tempfile.mkdtemp(dir=ground))
    intake = {
        "settle_s": SETTLE_S,
        "series_settle_s": SETTLE_S * SERIES_SETTLE,
        "incomplete_after_s": schedule.incomplete_after_s,
    }
    house = House(root / "house", {"intake": intake})
    house.time = DaemonTime(engine=house.time)
    house.restart()
    try:
        Stage(house, schedule).play()
        check(house, schedule)
    finally:
        house.close()
        house.sandbox.close()
        shutil.rmtree(root)


def check(house: House, schedule: Schedule) -> None:
    """Check that each work was sent whole, once, and ended as one case, and that nothing is left.

    What was uploaded for a job that never began does not count: nothing was paid for it.
    """
    waiting = [one for inbox in house.parts.inboxes.values() for one in inbox.candidates()]
    told = [(case.case_name, str(case.state), case.problem) for case in house.cases()]
    assert len(told) == len(schedule.works), (told, waiting)
    assert all(state == "done" for _, state, _ in told), (told, waiting)
    assert house.started() == len(schedule.works)
    for work in schedule.works:
        _check_case(house, work, wishes=WISHES if schedule.has_wishes else {})
    assert house.files("inbox") == house.files("failed") == house.leftovers() == []
    assert len(list((house.root / "outbox").glob("[!.]*"))) == len(schedule.works)
    assert house.breakers() == set()


def _check_case(house: House, work: Work, *, wishes: dict[str, Any]) -> None:
    (case,) = [case for case in house.cases() if case.case_name == name_of(work)]
    assert case.state is State.DONE
    assert case.attempts == 1
    (job,) = [job for job in house.sandbox.ledger.jobs.values() if job.id == case.job_id]
    assert job.started == 1
    sent = {name: entry.uploads[-1].path.read_bytes() for name, entry in job.inputs.items()}
    if isinstance(work, Dripping):
        assert sorted(unzipped(sent.pop("cbct"))) == work.contents
        assert not sent
        assert _archived(house, case) >= set(work.contents)
        return
    members = work.members if isinstance(work, Filling) else (("", work),)
    assert sent == {FORMS[one.form].modality: one.content for _, one in members}
    assert _archived(house, case) >= {one.content for _, one in members}
    if isinstance(work, Writing):
        assert {key: job.request[key] for key in wishes} == wishes


def name_of(work: Work) -> str:
    """Return the name of the case that a work becomes."""
    if not isinstance(work, Writing):
        return work.name
    return work.name.removesuffix(FORMS[work.form].extension)


def _archived(house: House, case: Case) -> set[bytes]:
    folder = house.root / "archive" / case.folder
    return {path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unzipped(archive: bytes) -> list[bytes]:
    """Return the contents of an archive's members."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [opened.read(name) for name in opened.namelist()]
