"""Houses with cases in every state, whose state file is then lost in one way or another."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from random import Random

import pytest

from tests.flow.house import House, nifti
from vpe_watcher.adapters.store.copies import copy_state
from vpe_watcher.app.recovering import Recovered, recover
from vpe_watcher.app.terms import marked_folders_of
from vpe_watcher.core.errors import ConfigError
from vpe_watcher.core.model import Case, State
from vpe_watcher.flow.places import HIDDEN
from vpe_watcher.flow.roots import MARKER

ORDER = (
    State.CLAIMING,
    State.SUBMITTING,
    State.UPLOADING,
    State.NOTIFYING,
    State.WAITING,
    State.FETCHING,
    State.DELIVERING,
    State.ARCHIVING,
    State.DONE,
)
STATES = tuple(State)
HOUR_S = 3600.0


def state_file(house: House) -> Path:
    """Return the state file's path."""
    return house.settings.state_file


def mend(house: House, resume: str = "") -> Recovered:
    """Run `recover` on a house whose daemon is closed."""
    return recover(
        house.settings, disk=house.disk, now=house.time.now, fresh_id="fresh", resume=resume
    )


def refusal(house: House) -> str:
    """Start the daemon, which must refuse, and return the error's code."""
    with pytest.raises(ConfigError) as caught:
        house.start()
    assert "recover" in caught.value.hint
    assert caught.value.exit_code == 78
    return caught.value.code


def backup(house: House) -> Path:
    """Copy the state file as `backup` does."""
    target = house.root / "backup.sqlite3"
    target.unlink(missing_ok=True)
    copy_state(state_file(house), target, is_outdated=True)
    return target


# --- losing --------------------------------------------------------------------------------------


def mark(house: House) -> None:
    """Leave a marker in each folder, as the threads of a daemon do soon after its start."""
    folders = list(chain.from_iterable(marked_folders_of(house.settings).values()))
    markers = (folder / HIDDEN / MARKER for folder in folders)
    marker = next((path for path in markers if path.exists()), None)
    assert marker is not None
    for target in (folder / HIDDEN for folder in folders):
        if not (target / MARKER).exists():
            target.mkdir(exist_ok=True)
            shutil.copy(marker, target)


def delete(house: House) -> None:
    """Remove the state file."""
    mark(house)
    for path in state_file(house).parent.glob("state.sqlite3*"):
        if not path.name.endswith(".lock"):
            path.unlink()


def cut(house: House) -> None:
    """Leave half of the state file."""
    mark(house)
    path = state_file(house)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def restore(house: House) -> None:
    """Put the backup in the place of the state file."""
    delete(house)
    shutil.copy(house.root / "backup.sqlite3", state_file(house))


LOSSES: dict[str, Callable[[House], None]] = {"deleted": delete, "cut": cut, "restored": restore}


# --- cases in all states -------------------------------------------------------------------------


def named(house: House, name: str) -> Case:
    """Return the one case of a name, without reading all others."""
    (case_id,) = [row["case_id"] for row in house.queries.cases() if row["case_name"] == name]
    case = house.parts.store.load(case_id)
    assert case is not None
    return case


def step(house: House, case: Case) -> None:
    """Run the one step that is due for a case; nothing here has to be tried twice."""
    house.parts.runner.run(case.case_id, case.state)
    after = house.parts.store.load(case.case_id)
    assert after is None or after.state is not case.state, (case.case_name, house.events[-1])


def bring(house: House, name: str, state: State) -> None:
    """Lead a case on the plain way until the effect of a state is due, or it rests there."""
    while (case := named(house, name)).state is not state:
        assert ORDER.index(case.state) < ORDER.index(state), (name, case.state, case.problem)
        step(house, case)


def populate(house: House, count: int) -> None:
    """Have `count` cases in each state."""
    house.sandbox.set_options(failed=["maxilla"])
    names = {state: [f"{state} {number}" for number in range(count)] for state in STATES}
    dropped = [(state, name) for state in STATES for name in names[state]]
    scans = {
        name: nifti(seed=n % 250 + 1, side=4 + n // 250) for n, (_, name) in enumerate(dropped)
    }
    for kind, name in dropped:
        if kind in {State.DUPLICATE, State.CLAIMING}:
            continue
        if kind is State.PARTIAL:
            _wish_for_two(house, name)
        house.drop(f"{name}.nii", scans[name][:-9] if kind is State.FAILED else scans[name])
    take(house, 620.0)
    for case in house.cases():
        step(house, case)  # oldest first: a claim waits for the earlier ones of the same size
    for state in (*ORDER[2:], State.PARTIAL, State.FAILED, State.HELD, State.CANCELLED):
        for name in names[state]:
            LEAD.get(state, bring)(house, name, state)
    for one, name in zip(names[State.DONE], names[State.DUPLICATE], strict=True):
        house.drop(f"{name}.nii", scans[one])
    take(house)
    for name in names[State.DUPLICATE]:
        run_to_rest(house, name, State.DUPLICATE)
    for name in names[State.CLAIMING]:
        house.drop(f"{name}.nii", scans[name])
    take(house)


def _wish_for_two(house: House, name: str) -> None:
    meshes = [{"extension": ".stl", "structures": [one]} for one in ("mandible", "maxilla")]
    wishes = json.dumps({"outputFiles": {"meshes": meshes}})
    (house.root / "inbox" / f"{name}.job.json").write_text(wishes)


def take(house: House, seconds: float = 12.0) -> None:
    """Let the inbox take what is ready, and run no step."""
    for _ in range(12):
        house.look()
        house.time.advance(seconds / 12)
    house.look()


def run_to_rest(house: House, name: str, state: State) -> None:
    """Run a case's steps until it rests, in this state."""
    while not (case := named(house, name)).state.is_at_rest:
        step(house, case)
    assert named(house, name).state is state, named(house, name).problem


def _held(house: House, name: str, state: State) -> None:
    bring(house, name, State.DELIVERING)
    house.claimed(named(house, name)).write_bytes(nifti(seed=999))
    run_to_rest(house, name, state)


def _cancelled(house: House, name: str, state: State) -> None:
    bring(house, name, State.UPLOADING if name.endswith(("1", "3")) else State.WAITING)
    house.queries.say("cancel", [named(house, name).case_id])
    house.parts.words.obey()
    run_to_rest(house, name, state)


LEAD: dict[State, Callable[[House, str, State], None]] = {
    State.PARTIAL: run_to_rest,
    State.FAILED: run_to_rest,
    State.HELD: _held,
    State.CANCELLED: _cancelled,
}


def go_on(house: House, random: Random) -> None:
    """Let each case under way go on by some steps, and others come."""
    for case in house.cases():
        for _ in range(random.randrange(5)):
            now = house.parts.store.load(case.case_id)
            if now is not None and not now.state.is_at_rest:
                house.parts.runner.run(now.case_id, now.state)
    for number in range(5):
        house.drop(f"new {number}.nii", nifti(seed=number, side=7 + number))
    take(house)
    for number in range(5):
        bring(house, f"new {number}", ORDER[2 * number])


# --- what must hold ------------------------------------------------------------------------------


def contents(house: House) -> Counter[str]:
    """Count each scan in the four folders, hidden ones too, by the digest of its content."""
    found: Counter[str] = Counter()
    for folder in ("inbox", "archive", "failed"):
        for path in (house.root / folder).rglob("*.nii"):
            found[hashlib.sha256(path.read_bytes()).hexdigest()] += 1
    return found


def paid_contents(house: House) -> Counter[str]:
    """Count the jobs that were started on each content."""
    started = [job for job in house.sandbox.ledger.jobs.values() if job.started]
    return Counter(entry.uploads[-1].sha256 for job in started for entry in job.inputs.values())


def live_on(house: House, *, at_most_s: int = 400) -> None:
    """Live until all is at rest."""
    for _ in range(at_most_s // 5):
        house.turn()
        if house.cases() and all(case.state.is_at_rest for case in house.cases()):
            house.turn()
            return
        house.time.advance(5.0)
    states = [(case.case_name, str(case.state), case.problem) for case in house.cases()]
    raise AssertionError([one for one in states if not State(one[1]).is_at_rest])
