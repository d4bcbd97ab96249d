"""The installed daemon, killed at random moments while scans keep coming: the end is the same."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.conftest import MEASURED
from tests.crash.onlooker import Onlooker
from tests.crash.processes import Grounds, prepared
from tests.crash.trials import MEMORY
from tests.flow.house import nifti
from vpe_watcher.adapters.store import Database

Record = Callable[[str, object], None]
SEED = 20_240_611
YOUTH_S = (0.2, 0.6)  # counted from birth: some die before they have begun
WORK_S = (0.0, 0.8)  # counted from when they begin to work: a case takes about half a second


@pytest.fixture
def grounds() -> Iterator[Grounds]:
    """Return folders in memory, where there is such a place, and an Engine."""
    base = MEMORY if os.access(MEMORY, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=base, prefix="vpe-watcher-kill-") as root,
        prepared(Path(root)) as found,
    ):
        yield found


@pytest.mark.real
@pytest.mark.timeout(180)
def test_a_daemon_killed_now_and_then_loses_and_doubles_nothing(grounds: Grounds) -> None:
    """Six kills, eight scans: each is delivered once and paid once."""
    _kill_and_check(grounds, scans=8, kills=6)


@pytest.mark.real
@pytest.mark.timeout(600)
def test_a_daemon_killed_all_the_time_loses_and_doubles_nothing(
    grounds: Grounds, record_property: Record
) -> None:
    """A hundred kills, as many scans: each is delivered once and paid once."""
    record_property(MEASURED, _kill_and_check(grounds, scans=100, kills=100))


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_daemon_killed_a_thousand_times_loses_and_doubles_nothing(
    grounds: Grounds, pytestconfig: pytest.Config, record_property: Record
) -> None:
    """As many kills and scans as are asked for: each is delivered once and paid once."""
    kills, scans = (int(pytestconfig.getoption(name)) for name in ("--kills", "--scans"))
    record_property(MEASURED, _kill_and_check(grounds, scans=scans, kills=kills))


def _kill_and_check(grounds: Grounds, *, scans: int, kills: int) -> str:
    """Kill and drop, then let the rest be worked off and check all; say what was done."""
    began = time.monotonic()
    dropped = {f"scan{number}": _scan(number) for number in range(scans)}
    assert len(set(dropped.values())) == scans
    with Onlooker(grounds.root / "outbox") as onlooker:
        _kill_often(grounds, dropped, kills)
        assert grounds.live_to_the_end(timeout_s=60 + scans) == 0, grounds.log()
    assert onlooker.seen == dropped.keys()
    assert onlooker.complaints == []
    _check_folders(grounds.root, dropped)
    started = _check_engine(grounds, dropped, lives=kills + 1)
    _check_state_file(grounds.root, scans)
    took_s = time.monotonic() - began
    return (
        f"{kills} SIGKILLs over {scans} scans in {took_s:.0f} s (seed {SEED}): 0 lost, "
        f"{started - scans} paid twice, {len(onlooker.complaints)} half deliveries"
    )


def _scan(number: int) -> bytes:
    """Return a file that no other number has: of one size there are 256 different ones."""
    return nifti(seed=number, side=40 + number // 256)


def _kill_often(grounds: Grounds, dropped: dict[str, bytes], kills: int) -> None:
    """Drop evenly over as many lives as there are kills; each life ends by one."""
    chance = Random(SEED)
    names = list(dropped)
    for life in range(kills):
        for name in names[life * len(names) // kills : (life + 1) * len(names) // kills]:
            grounds.drop(f"{name}.nii", dropped[name])
        is_old = chance.random() < 0.85
        seconds = chance.uniform(*(WORK_S if is_old else YOUTH_S))
        grounds.live(seconds, is_counted_from_work=is_old)


def _check_folders(root: Path, dropped: dict[str, bytes]) -> None:
    """Find each scan delivered once and kept once, and nothing else anywhere."""
    found = {
        str(path.relative_to(root)): path.read_bytes()
        for name in ("inbox", "outbox", "archive", "failed")
        for path in (root / name).rglob("*")
        if path.is_file() and path.name != "marker.json"
    }
    wanted = {
        f"{place}/{name}/{file}"
        for name in dropped
        for place, file in (
            ("archive", f"{name}.nii"),
            ("archive", "result.json"),
            ("outbox", "mandible.stl"),
            ("outbox", "result.json"),
        )
    }
    results = [json.loads(found[f"outbox/{name}/result.json"]) for name in dropped]
    wanted |= {f"archive/.vpe-watcher/records/{one['case_id']}.json" for one in results}
    assert found.keys() == wanted
    for name, content in dropped.items():
        assert found[f"archive/{name}/{name}.nii"] == content
        result = json.loads(found[f"outbox/{name}/result.json"])
        assert result["status"] == "complete"
        assert [entry["sha256"] for entry in result["inputs"]] == [_sha256(content)]
        mesh = found[f"outbox/{name}/mandible.stl"]
        assert [output["sha256"] for output in result["outputs"]] == [_sha256(mesh)]


def _check_engine(grounds: Grounds, dropped: dict[str, bytes], *, lives: int) -> int:
    """Find each scan computed once; return how many jobs were started."""
    ledger = grounds.ledger()
    started = [job for job in ledger["jobs"] if job["started"]]
    assert [job["started"] for job in started] == [1] * len(dropped)
    assert sum(bool(job["inputs"]["cbct"]["notifications"]) for job in ledger["jobs"]) == len(
        dropped
    )
    computed = sorted(job["inputs"]["cbct"]["sha256"] for job in started)
    assert computed == sorted(_sha256(content) for content in dropped.values())
    assert ledger["tokens_issued"] <= lives
    assert ledger["presigned_with_authorization"] == 0
    return len(started)


def _check_state_file(root: Path, scans: int) -> None:
    database = Database(root / "state" / "state.sqlite3", create=False)
    try:
        assert database.read("PRAGMA integrity_check")[0][0] == "ok"
        assert database.read("SELECT count(*) FROM cases WHERE state = 'done'")[0][0] == scans
        assert not database.read("SELECT 1 FROM cases WHERE state <> 'done'")
        assert not database.read("SELECT 1 FROM events WHERE step IS NOT NULL AND outcome IS NULL")
    finally:
        database.close()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
