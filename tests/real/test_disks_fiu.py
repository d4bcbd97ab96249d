"""ENOSPC and EIO from the system's own calls in the installed daemon, under twenty cases."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.real.disks import COUNT, Faults, all_came_home, drop, script, wait_for_states
from tests.real.house import House, Plan, running_house

pytestmark = [pytest.mark.real, pytest.mark.timeout(240), pytest.mark.usefixtures("parts")]

WRITE, FSYNC = "posix/io/rw/write", "posix/io/sync/fsync"
STATE_WRITE, STATE_SYNC = "posix/io/rw/pwrite", "posix/io/sync/fdatasync"
FULL, SICK = errno.ENOSPC, errno.EIO


@pytest.fixture(name="faults")
def make_faults(tmp_path: Path) -> Faults:
    """Return the way to the faults of this test's daemon."""
    return Faults(tmp_path / "fiu")


@pytest.fixture(name="house")
def run_house(tmp_path: Path, faults: Faults) -> Iterator[House]:
    """Run a daemon in which calls of the system can be made to fail."""
    limits = {"retry_at_most_s": 2, "jobs_in_flight": 64}
    with running_house(tmp_path, Plan(limits=limits, prefix=faults.words)) as house:
        yield house


def _pid(house: House) -> int:
    return int(house.ask("status")["daemon"]["pid"])


@dataclass(frozen=True, slots=True)
class Trouble:
    """A call that fails with a number, and what a person is told."""

    point: str
    number: int
    breaker: str
    says: str

    def __str__(self) -> str:
        """Name the test."""
        return f"{self.point.rpartition('/')[2]}-{errno.errorcode[self.number]}"


def _troubles(root: str) -> list[Trouble]:
    says = f"The folder of {root} cannot be used: "
    full, sick = f"{says}no space left on device (ENOSPC).", f"{says}input/output error (EIO)."
    return [Trouble(WRITE, FULL, "disk", full), Trouble(FSYNC, SICK, root, sick)]


def _is_told(house: House, trouble: Trouble) -> None:
    """Wait until `status` names the breaker and says what to do."""
    house.wait_until(lambda: trouble.breaker in house.breakers(), f"{trouble.breaker} stays closed")
    row = house.breakers()[trouble.breaker]
    assert row["reason"] == trouble.says
    assert row["hint"]


def _log_told(house: House, trouble: Trouble) -> None:
    """Check that the log told once of the begin and once of the end, and of no defect.

    What it could not say while nothing could be written it has said later.
    """
    opened = [line for line in house.events("breaker.opened") if line["breaker"] == trouble.breaker]
    closed = [line for line in house.events("breaker.closed") if line["breaker"] == trouble.breaker]
    reasons = [line["reason"] for line in opened if line["code"] != "state_reserve_used"]
    assert reasons == [trouble.says]
    assert len(opened) <= 2  # a state file that says "full" gives its reserve up as well
    assert len(closed) == 1
    assert house.events("step.defect") == house.events("thread.defect") == []


@pytest.mark.parametrize("trouble", _troubles("inbox:default"), ids=str)
def test_the_inbox_fails_under_twenty_cases(house: House, faults: Faults, trouble: Trouble) -> None:
    """No evidence can be written into the claims: nothing is notified, and no case is failed."""
    script(house, [{"on": "submit", "do": {"status": 503}}])
    drop(house, 0, COUNT)
    wait_for_states(house, "submitting", COUNT)
    pid = _pid(house)
    faults.enable(pid, trouble.point, trouble.number)
    script(house, [])
    _is_told(house, trouble)
    assert house.jobs() == []
    faults.disable(pid, trouble.point)
    all_came_home(house, COUNT)
    _log_told(house, trouble)


@pytest.mark.parametrize("trouble", _troubles("outbox"), ids=str)
def test_the_outbox_fails_under_twenty_cases(
    house: House, faults: Faults, trouble: Trouble
) -> None:
    """No result can be kept: the cases wait where they are, and nothing half lies in the outbox."""
    house.set_options(processing_s=3600)
    drop(house, 0, COUNT)
    wait_for_states(house, "waiting", COUNT)
    pid = _pid(house)
    faults.enable(pid, trouble.point, trouble.number)
    house.set_options(processing_s=0)
    _is_told(house, trouble)
    assert [path.name for path in (house.root / "outbox").glob("[!.]*")] == []
    wait_for_states(house, "fetching", COUNT)
    faults.disable(pid, trouble.point)
    all_came_home(house, COUNT)
    _log_told(house, trouble)


STATE = [
    Trouble(STATE_WRITE, FULL, "state", "The state file cannot be used now (SQLITE_FULL)."),
    Trouble(STATE_WRITE, SICK, "state", "The state file cannot be used now (SQLITE_IOERR_WRITE)."),
    Trouble(STATE_SYNC, SICK, "state", "The state file cannot be used now (SQLITE_IOERR_FSYNC)."),
]


@pytest.mark.parametrize("trouble", STATE, ids=str)
def test_the_state_file_fails_under_twenty_cases(
    house: House, faults: Faults, trouble: Trouble
) -> None:
    """Nothing can be recorded: what is done is kept in hand, and nothing more is taken.

    `status` answers with what was recorded last, and says that nothing newer can be.
    """
    house.set_options(processing_s=3600)
    drop(house, 0, COUNT)
    wait_for_states(house, "waiting", COUNT)
    pid = _pid(house)
    faults.enable(pid, trouble.point, trouble.number)
    house.set_options(processing_s=0)
    drop(house, COUNT, 1)
    house.wait_until(lambda: house.events("breaker.opened"), "the log says nothing")
    house.wait_until(lambda: "state" in house.breakers(), "status does not tell it")
    answer = house.ask("status")
    assert all(row["hint"] for row in answer["breakers"] if row["open"])
    assert answer["daemon"]["pid"] == pid
    assert answer["cases"]["waiting"] == COUNT
    assert list(house.inbox.glob("*.nii"))
    faults.disable(pid, trouble.point)
    all_came_home(house, COUNT + 1)
    _log_told(house, trouble)
