"""Slow and strange writers in real time, all at once, against the installed daemon."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.conftest import SCHEDULES
from tests.e2e.machine import Engine, Machine
from tests.flow.scans import FORMS
from tests.flow.schedules import FOLDERS, WRITERS, Work, drawn_work
from tests.flow.stage import acts_of, name_of
from tests.flow.writers import Acts, Dripping, Filling, Writing

SETTLE_S = 0.3
SHORTER_S, LONGER_S = 0.1, 1.0  # what pauses below and above `settle_s` are cut to
SEED = 20_261_122
COUNT = 20
RESTART_AFTER_S = 1.5


@dataclass(frozen=True, slots=True)
class Played:
    """A work, and whether its writer kept the pauses that it promised."""

    kind: str
    work: Writing | Filling
    is_kept: bool


@pytest.mark.real
def test_twenty_writers_at_once_are_waited_for(
    machine: Machine, engine: Engine, record_property: Callable[[str, object], None]
) -> None:
    """Whole, once, in the end, although the daemon is restarted meanwhile: 0.3 s of quiet."""
    before = len(engine.ledger()["jobs"])
    inbox = machine.root / "inbox"
    with ThreadPoolExecutor(COUNT) as pool:
        with machine.daemon():
            running = [
                pool.submit(played, inbox, kind, number)
                for number, kind in enumerate(islice(cycle([*WRITERS, *FOLDERS]), COUNT))
            ]
            time.sleep(RESTART_AFTER_S)
        with machine.daemon():
            tries = [one for future in running for one in future.result()]
            works = [one.work for one in tries if one.is_kept]
            machine.wait(lambda: all(is_done(machine, work) for work in works))
    assert len(works) == COUNT
    jobs = [job for job in engine.ledger()["jobs"][before:] if job["started"]]
    for work in works:
        assert [job["started"] for job in jobs if holds(job, work)] == [1]
        assert set(members_of(work).values()) <= archived(machine, work)
    if len(tries) == COUNT:
        assert len(jobs) == len(machine.states()) == COUNT
        assert [path.name for path in inbox.iterdir()] == [".vpe-watcher"]
    record_property(SCHEDULES, f"in real time: {COUNT}, {len(tries) - COUNT} begun anew")


def played(inbox: Path, kind: str, number: int) -> list[Played]:
    """Write in real time; once more with another work if this machine was too busy to be honest."""
    tries: list[Played] = []
    while len(tries) < 5 and not any(one.is_kept for one in tries):
        seed = number + COUNT * len(tries) + 1
        work = tempered(drawn_work(Random(SEED + seed), kind, SETTLE_S, seed=seed))
        tries.append(Played(kind, work, is_kept=keeps_its_pauses(acts_of(inbox, work))))
    return tries


def keeps_its_pauses(acts: Acts) -> bool:
    """Let a writer act in real time; tell whether no pause that had to be short became long."""
    is_kept, promised_s, before = True, SETTLE_S, time.monotonic()
    while True:
        began = time.monotonic()
        pause_s = next(acts, None)
        if promised_s < SETTLE_S and time.monotonic() - before > SETTLE_S * 0.9:
            is_kept = False
        if pause_s is None:
            return is_kept
        promised_s, before = pause_s, began
        time.sleep(pause_s)


def tempered(work: Work) -> Writing | Filling:
    """Cut pauses so that short ones stay short on a busy machine, and long ones are bearable."""
    assert not isinstance(work, Dripping)
    if isinstance(work, Writing):
        return replace(work, pauses_s=cut(work.pauses_s), before_s=0.0)
    members = tuple(
        (below, replace(one, pauses_s=cut(one.pauses_s))) for below, one in work.members
    )
    return replace(work, members=members, gaps_s=cut(work.gaps_s), before_s=0.0)


def cut(pauses_s: tuple[float, ...]) -> tuple[float, ...]:
    """Cut each pause to one of two lengths, on its side of `settle_s`."""
    return tuple(min(p, SHORTER_S if p < SETTLE_S else LONGER_S) for p in pauses_s)


def is_done(machine: Machine, work: Writing | Filling) -> bool:
    """Tell whether a work's case is done."""
    return machine.states().get(name_of(work)) == "done"


def members_of(work: Writing | Filling) -> dict[str, str]:
    """Return the digests of a work's files by modality."""
    members = [one for _, one in work.members] if isinstance(work, Filling) else [work]
    return {FORMS[one.form].modality: sha256(one.content) for one in members}


def sha256(content: bytes) -> str:
    """Return the digest of a content."""
    return hashlib.sha256(content).hexdigest()


def holds(job: dict[str, Any], work: Writing | Filling) -> bool:
    """Tell whether a job got exactly a work's files."""
    return {name: entry["sha256"] for name, entry in job["inputs"].items()} == members_of(work)


def archived(machine: Machine, work: Writing | Filling) -> set[str]:
    """Return the digests of what lies in a work's archive folder."""
    folder = machine.root / "archive" / name_of(work)
    return {sha256(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
