"""Deliberate bugs, each of which the simulation must catch. They are put in by patches, in tests.

Each stands for an order of effects, or a question, on which a promise of the project rests.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.campaign import ground, pool_of
from tests.simulation.disk import File, MemoryDisk
from tests.simulation.trial import Report, run, script_of
from vpe_watcher.adapters.engine import EngineClient
from vpe_watcher.core import machine
from vpe_watcher.core.errors import EnvironmentFault, LinkExpired
from vpe_watcher.core.machine import TABLE, Arrow
from vpe_watcher.core.model import OK, Case, Label, Notified, Outcome, State
from vpe_watcher.flow import claim, inbox, receive, relocate, rest, runner, send
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.schedule import Schedule
from vpe_watcher.flow.steps import EFFECTS
from vpe_watcher.flow.taking import new_cases

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug: its name, and what puts it in."""

    name: str
    put_in: Callable[[Patch], None]


def _put_effect(patch: Patch, state: State, effect: Callable[[Case, Ports], Outcome]) -> None:
    patch.setattr(runner, "EFFECTS", {**EFFECTS, state: effect})


def _no_sync_of_files(patch: Patch) -> None:
    """Write results and documents without syncing their bytes."""
    patch.setattr(MemoryDisk, "sync_file", lambda _self, _node: None)


def _no_sync_of_folders(patch: Patch) -> None:
    """Rename without syncing the folders."""
    patch.setattr(MemoryDisk, "rename", lambda self, one, other: self.rename_unsynced(one, other))


def _claim_is_not_synced(patch: Patch) -> None:
    """Call a case claimed before its renames are durable."""
    patch.setattr(claim, "rename_all", _without_syncs(claim.rename_all))


def _without_syncs(function: Callable[..., Any]) -> Callable[..., Any]:
    def mutated(case: Case, ports: Ports) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MemoryDisk, "sync_folder", lambda _self, _folder: None)
            return function(case, ports)

    return mutated


def _row_after_the_rename(patch: Patch) -> None:
    """Rename what is claimed before the row that names it is written."""

    def mutated(plans: Any, *, options: Any, ports: Ports, **more: Any) -> Any:
        cases = new_cases(plans, options=options, ports=ports, **more)
        for new in cases:
            for move in () if new.split_of else new.moves:
                target = ports.places.claims(options.recipe) / move.target
                if not ports.places.is_in_place(options.recipe):
                    ports.disk.make_folder(target.parent)
                    ports.disk.rename(Path(move.source), target)
        return cases

    patch.setattr(inbox, "new_cases", mutated)


def _submits_again_after_the_notification(patch: Patch) -> None:
    """Make a new job when a notification got no answer."""
    notify = EngineClient.notify

    def mutated(self: EngineClient, url: str) -> None:
        try:
            notify(self, url)
        except EnvironmentFault:
            raise LinkExpired("again", code="upload_link_expired") from None

    patch.setattr(EngineClient, "notify", mutated)
    again = Arrow(State.SUBMITTING, drops_job=True, pays=False)
    patch.setitem(TABLE[State.NOTIFYING, True], Label.EXPIRED, again)


def _environment_takes_patience(patch: Patch) -> None:
    """Count an attempt that failed because the Engine was down for all."""
    tallied = machine._tallied  # noqa: SLF001

    def mutated(case: Case, label: Label, state: State | None) -> Any:
        counted = Label.TRANSIENT if label is Label.ENVIRONMENT else label
        return tallied(case, counted, state)

    patch.setattr(machine, "_tallied", mutated)


def _environment_fails_cases(patch: Patch) -> None:
    """Fail a case that met an Engine which is down."""
    for rows in TABLE.values():
        if Label.EXHAUSTED in rows and Label.ENVIRONMENT in rows:
            patch.setitem(rows, Label.ENVIRONMENT, rows[Label.EXHAUSTED])


def _breakers_let_all_through(patch: Patch) -> None:
    """Begin steps although the breaker of what they need is open."""
    patch.setattr("vpe_watcher.flow.breakers.Breakers.may_pass", lambda *_, **__: True)


def _evidence_before_the_row(patch: Patch) -> None:
    """Write `may_be_paid` beside the files before the row shows the notification as begun."""
    _mutate_notify(patch, evidence_first=True, row_first=False)


def _no_evidence(patch: Patch) -> None:
    """Notify without writing `may_be_paid` beside the files."""

    def mutated(case: Case, ports: Ports, *, may_be_paid: bool) -> None:
        if not may_be_paid:
            claim.write_evidence(case, ports, may_be_paid=False)

    patch.setattr(send, "write_evidence", mutated)


def _row_after_the_notification(patch: Patch) -> None:
    """Set the flag `paid` only when the notification was answered."""
    _mutate_notify(patch, evidence_first=True, row_first=False, after=True)


def _mutate_notify(
    patch: Patch, *, evidence_first: bool, row_first: bool, after: bool = False
) -> None:
    def mutated(case: Case, ports: Ports) -> Outcome:
        for entry in case.inputs:
            if entry.notified in {Notified.DONE, Notified.REFUSED} or entry.notify_url is None:
                continue
            if evidence_first:
                claim.write_evidence(case, ports, may_be_paid=True)
            if row_first or not after:
                ports.store.begin_notification(case.case_id, entry.modality)
            ports.engine.notify(entry.notify_url)
            if after:
                ports.store.begin_notification(case.case_id, entry.modality)
            ports.store.set_notified(case.case_id, entry.modality, Notified.DONE)
        return OK

    _put_effect(patch, State.NOTIFYING, mutated)


def _notifies_before_the_last_upload(patch: Patch) -> None:
    """Tell of each input as soon as it is uploaded."""
    upload_one = send._upload_one  # noqa: SLF001

    def mutated(case: Case, entry: Any, ports: Ports, **more: Any) -> Any:
        done = upload_one(case, entry, ports, **more)
        if entry.notify_url:
            ports.engine.notify(entry.notify_url)
        return done

    patch.setattr(send, "_upload_one", mutated)


def _results_overwrite(patch: Patch) -> None:
    """Publish over what bears the name, without asking whether it is taken."""

    def mutated(self: MemoryDisk, source: Path, target: Path) -> None:
        if target.parent.name == "outbox" and self.find(target) is not None:
            self.remove_tree(target)
        self.rename_unsynced(source, target)
        self.sync_folder(target.parent)
        self.sync_folder(source.parent)

    patch.setattr(MemoryDisk, "rename", mutated)
    patch.setattr("vpe_watcher.flow.taken.TakenNames.holds", lambda *_: False)
    patch.setattr("vpe_watcher.adapters.store.store.is_reserved", lambda *_: False)
    patch.setattr("vpe_watcher.adapters.store.store.reserve", lambda *_: None)


def _delivers_in_place(patch: Patch) -> None:
    """Make the folder in the outbox first, and copy the results into it."""

    def mutated(case: Case, staging: Path, ports: Ports) -> None:
        folder = ports.places.published(case)
        ports.disk.make_folder(folder)
        for entry in ports.disk.listing(staging):
            ports.disk.copy(staging / entry.name, folder / entry.name)
        document = receive.manifest_of(case, ports)
        ports.disk.write(folder / receive.RESULT, receive.as_text(document))
        ports.disk.remove_tree(staging)

    patch.setattr(receive, "_publish", mutated)


def _copy_without_syncs(disk: MemoryDisk, source: Path, via: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryDisk, "_sync_below", lambda _self, _node: None)
        disk.copy(source, via)


def _source_goes_before_the_copy(patch: Patch) -> None:
    """Remove the source of a move across file systems before the copy is durable."""

    def mutated(disk: MemoryDisk, source: Path, target: Path, *, via: Path) -> None:
        if disk.find(source) is None:
            return
        disk.make_folder(target.parent)
        try:
            disk.rename(source, target)
        except OSError:
            _copy_without_syncs(disk, source, via)
            disk.rename(via, target)
            if isinstance(disk.find(source), File):
                disk.remove_file(source)
            disk.remove_tree(source)

    for module in (relocate, rest, claim):
        patch.setattr(module, "relocate", mutated)


def _duplicates_are_sent(patch: Patch) -> None:
    """Send the same scan once more."""
    patch.setattr(claim, "compare_with_earlier", lambda _case_id, _ports: OK)


def _input_is_removed_at_delivery(patch: Patch) -> None:
    """Remove the input as soon as its result is published."""
    deliver = EFFECTS[State.DELIVERING]

    def mutated(case: Case, ports: Ports) -> Outcome:
        outcome = deliver(case, ports)
        if outcome is OK:
            ports.disk.remove_tree(ports.places.claim(case))
        return outcome

    _put_effect(patch, State.DELIVERING, mutated)


def _interrupted_archiving_is_done(patch: Patch) -> None:
    """Take an archiving that a death cut short for done."""
    done = TABLE[State.ARCHIVING, True][Label.OK]
    patch.setitem(TABLE[State.ARCHIVING, True], Label.INTERRUPTED, done)


def _held_without_a_note(patch: Patch) -> None:
    """Tell nobody at the folder that a case is held."""
    patch.setattr("vpe_watcher.flow.notes.keep_held_notes", lambda _ports: None)


def _attempts_stay_open(patch: Patch) -> None:
    """Forget the attempts that a dead daemon left open."""
    patch.setattr(runner.Runner, "resume", lambda self: self.schedule.refresh())


def _words_act_in_a_step(patch: Patch) -> None:
    """Obey a person's word on a case in the middle of an attempt."""
    patch.setattr("vpe_watcher.adapters.store.store.is_in_step", lambda *_: False)
    patch.setattr(Schedule, "is_in_hand", lambda *_: False)


def _taken_twice(patch: Patch) -> None:
    """Forget that a step is in hand, so that it begins beside itself."""
    take_ready = Schedule.take_ready

    def mutated(self: Schedule) -> list[tuple[str, State]]:
        taken = take_ready(self)
        for case_id, _ in taken:
            self.release(case_id)
        return taken

    patch.setattr(Schedule, "take_ready", mutated)


MUTANTS = (
    Mutant("results are not synced before they are visible", _no_sync_of_files),
    Mutant("folders are not synced after a rename", _no_sync_of_folders),
    Mutant("a claim is not synced before its row says so", _claim_is_not_synced),
    Mutant("a row is written after the rename", _row_after_the_rename),
    Mutant("a submit follows a notification without an answer",
           _submits_again_after_the_notification),
    Mutant("an environment fault takes patience", _environment_takes_patience),
    Mutant("an environment fault fails cases", _environment_fails_cases),
    Mutant("an open breaker lets all calls through", _breakers_let_all_through),
    Mutant("may_be_paid is written before its row", _evidence_before_the_row),
    Mutant("may_be_paid is not written at all", _no_evidence),
    Mutant("the flag paid is set after the notification", _row_after_the_notification),
    Mutant("a notification goes before the last upload", _notifies_before_the_last_upload),
    Mutant("a later result replaces an earlier one", _results_overwrite),
    Mutant("a result is copied into its visible folder", _delivers_in_place),
    Mutant("the source goes before the copy is durable", _source_goes_before_the_copy),
    Mutant("duplicates are sent", _duplicates_are_sent),
    Mutant("the input goes when the result is delivered", _input_is_removed_at_delivery),
    Mutant("an interrupted archiving counts as done", _interrupted_archiving_is_done),
    Mutant("nobody is told of held cases", _held_without_a_note),
    Mutant("attempts of dead daemons stay open", _attempts_stay_open),
    Mutant("a word acts in the middle of a step", _words_act_in_a_step),
    Mutant("a step is taken in hand twice", _taken_twice),
)  # fmt: skip


@contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    """Live with a bug for a while."""
    with pytest.MonkeyPatch.context() as patch:
        mutant.put_in(patch)
        yield


def hunt(name: str, seeds: range, events: int) -> tuple[Report | None, int]:
    """Run trials with a bug until one is broken; return it, and the steps of all."""
    (mutant,) = [one for one in MUTANTS if one.name == name]
    steps = 0
    with mutated(mutant), ground() as base:
        for seed in seeds:
            report = run(base, seed, script_of(seed, events))
            steps += report.steps
            if report.broken:
                return report, steps
    return None, steps


def hunt_all(seeds: range, events: int, processes: int) -> int:
    """Hunt every bug, and print what caught it; 1 when one got away."""
    names = [mutant.name for mutant in MUTANTS]
    away = 0
    with pool_of(processes) as pool:
        found = pool.map(hunt, names, [seeds] * len(names), [events] * len(names))
        for name, (report, steps) in zip(names, found, strict=True):
            away += report is None
            said = f"seed {report.seed}: {report.broken[:100]}" if report else "NOT CAUGHT"
            sys.stdout.write(f"{name}: after {steps:,} steps, {said}\n")
    sys.stdout.write(f"{len(names) - away} of {len(names)} deliberate bugs were caught\n")
    return int(away > 0)
