"""`recover` dies before each thing that it does to a disk, and is run again: the same comes of it.

A death is a process that ends at once, with nothing closed: a fork of this one.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flow.house import House, nifti
from tests.flow.lost_states import LOSSES, backup, bring, mend, take
from vpe_watcher.core.model import State

EFFECTS = frozenset(
    {"os.rename", "os.remove", "os.link", "os.rmdir", "os.mkdir", "os.chmod", "sqlite3.connect"}
)
DIED, FELL = 9, 8


def _furnished(house: House) -> None:
    """Have a case of every kind that `recover` treats in its own way."""
    names = {
        "waits": State.WAITING,
        "again": State.UPLOADING,
        "lost": State.SUBMITTING,
        "delivered": State.ARCHIVING,
        "done": State.DONE,
    }
    for number, name in enumerate(names):
        house.drop(f"{name}.nii", nifti(seed=number, side=4 + number))
    house.drop("bad.nii", nifti()[:-9])
    take(house, 620.0)
    for case in house.cases():
        house.parts.runner.run(case.case_id, case.state)
    bring(house, "again", State.SUBMITTING)
    backup(house)
    for name, state in names.items():
        bring(house, name, state)
    (house.claim_folder(house.case("lost")) / ".case.json").unlink()
    (house.root / "inbox" / ".vpe-watcher" / "house" / "empty").mkdir()
    house.close()


def _dies_before(house: House, effect: int) -> bool:
    """Recover in a process that dies before its n-th effect; false when it had done all."""
    child = os.fork()
    if child == 0:
        left = effect

        def count(event: str, _arguments: tuple[Any, ...]) -> None:
            nonlocal left
            left -= event in EFFECTS
            if left == 0:
                os._exit(DIED)

        sys.addaudithook(count)
        try:
            mend(house)
        except BaseException:  # noqa: BLE001 - nothing of the test may run twice
            os._exit(FELL)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, DIED}
    return code == DIED


def _outcome(house: House) -> tuple[object, ...]:
    """Start a daemon and return what it knows, and what lies where."""
    house.start()
    cases = sorted(
        (case.case_id, case.case_name, str(case.state), case.folder, case.job_id, case.paid)
        for case in house.cases()
    )
    house.close()
    folders = [house.files(name) for name in ("inbox", "outbox", "archive", "failed")]
    return cases, folders, [name for name in house.leftovers() if "staging" not in name]


@pytest.mark.parametrize("loss", LOSSES)
def test_recover_may_die_anywhere(build: Callable[..., House], tmp_path: Path, loss: str) -> None:
    """Before each rename, removal and opening: run again, it ends as if it had not died."""
    house = build()
    _furnished(house)
    LOSSES[loss](house)
    shutil.copytree(house.root, tmp_path / "lost")
    mend(house)
    wanted = _outcome(house)
    deaths = 0
    while True:
        shutil.rmtree(house.root)
        shutil.copytree(tmp_path / "lost", house.root)
        if not _dies_before(house, deaths + 1):
            break
        deaths += 1
        assert mend(house).still == ""
        assert _outcome(house) == wanted, f"after a death before effect {deaths}"
    assert deaths > 10
    house.start()
