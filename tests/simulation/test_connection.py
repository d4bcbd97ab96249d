"""What a simulation keeps of the rows that it has read is what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.connection import Connection
from tests.simulation.trial import run, script_of
from tests.simulation.world import Death, World, simulated_files
from vpe_watcher.adapters.store import Store
from vpe_watcher.adapters.store.rows import load_case
from vpe_watcher.core.model import Case


def _read_anew(connection: Connection, case_id: str) -> Case | None:
    kept = {value: dict(known) for value, known in connection.known.items()}
    connection.forget()
    case = load_case(connection, case_id)
    for value, known in kept.items():
        connection.known[value].clear()
        connection.known[value].update(known)
    return case


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_kept_of_a_case_is_what_its_rows_say(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was written or taken back before it is asked for."""
    load, differing, asked = Store.load, [], 0

    def compared(store: Store, case_id: str) -> Case | None:
        nonlocal asked
        asked += 1
        case, connection = load(store, case_id), store.database.connection()
        assert isinstance(connection, Connection)
        if case != _read_anew(connection, case_id):
            differing.append(case)
        return case

    monkeypatch.setattr(Store, "load", compared)
    report = run(tmp_path, seed, script_of(seed, 120))
    assert not report.broken
    assert asked > 100
    assert not differing


def test_what_is_taken_back_is_forgotten(tmp_path: Path) -> None:
    """What was read in a transaction that is rolled back is not true any more."""
    world = World(tmp_path, 1)
    with simulated_files(lambda: world.disk):
        world.boot()
        assert world.parts is not None
        world.connections[0].known["cases"]["written"] = None
        world.fuse.left, world.fuse.where = 1, "uncommitted"
        with pytest.raises(Death):
            world.parts.store.count_on()
        assert not world.connections[0].known["cases"]
        world.close()
