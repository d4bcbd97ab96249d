"""A network share: a real Samba server, mounted by FUSE, where file events are blind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import MEASURED
from tests.real.house import House, Plan, running_house
from tests.real.series import instances_of, write_series
from tests.real.servers import Mounted, Share, mounted_share, running_share
from tests.real.small import move_in, write_small_scan

pytestmark = [pytest.mark.real, pytest.mark.timeout(300), pytest.mark.usefixtures("parts")]

AWAY_S = 30
# A thread that gets no answer for a minute opens its breaker.
SILENT_S = 60
PATIENT_S = 20
BREAKER = "inbox:pacs"


@dataclass(frozen=True, slots=True)
class Clinic:
    """A house whose recipe `pacs` has its inbox on the share; the default inbox is local."""

    house: House
    share: Share
    mounted: Mounted

    def small(self, name: str, number: int) -> Path:
        """Write a small scan that is not yet anywhere."""
        return write_small_scan(self.house.root / f"{name}.nii", number)

    def drop_at_server(self, name: str, number: int) -> None:
        """Let the server's own disk get a finished file: nobody here hears of it."""
        staged = write_small_scan(self.share.root / f"{name}.nii", number)
        move_in(staged, self.share.served)


@pytest.fixture(name="clinic")
def run_clinic(tmp_path: Path) -> Iterator[Clinic]:
    """Run server, mount and daemon."""
    folder = tmp_path / "mnt"
    plan = Plan(
        intake={"settle_s": 1, "series_settle_s": 3},
        recipes=f'[recipes.pacs]\ninbox = "{folder}"\n',
    )
    with (
        running_share(tmp_path / "server") as share,
        mounted_share(share, folder) as mounted,
        running_house(tmp_path, plan) as house,
    ):
        try:
            yield Clinic(house, share, mounted)
        finally:
            share.thaw()  # no signal ends a process that waits for a FUSE server


def test_the_share_is_polled_and_the_reason_is_logged(clinic: Clinic) -> None:
    """`auto` knows that a FUSE mount tells no events of what other machines write."""
    clinic.house.wait_until(
        lambda: len(clinic.house.events("watch.started")) == 2, "not all is watched"
    )
    started = {line["recipe"]: line for line in clinic.house.events("watch.started")}
    assert started["default"]["watch"] == "events"
    assert started["pacs"]["watch"] == "poll"
    assert "fuse" in started["pacs"]["reason"]


def test_what_another_client_writes_is_found(clinic: Clinic) -> None:
    """Files written over the network are taken from the share, renamed there, archived here."""
    files = [clinic.small(f"from afar {number}", number) for number in range(3)]
    clinic.share.put(files)
    for path in files:
        clinic.house.wait_for(clinic.house.root / "archive" / path.stem, timeout_s=30)
    assert len(clinic.house.jobs()) == len(files)
    assert [path.name for path in clinic.share.served.iterdir()] == [".vpe-watcher"]


def test_a_series_from_another_client_is_one_case(clinic: Clinic) -> None:
    """A hundred slices over the network: one ZIP of all of them."""
    series = write_series(clinic.house.root / "modality")
    clinic.share.put(series.files)
    clinic.house.wait_for_rest(1, timeout_s=60)
    (job,) = clinic.house.jobs()
    assert instances_of(clinic.house.unzipped(job)) == sorted(series.instances)
    assert [case["state"] for case in clinic.house.cases()] == ["done"]


def test_a_share_that_is_away_for_a_while(clinic: Clinic) -> None:
    """Nothing is lost or cancelled, and the empty mount point is not taken for the inbox."""
    house = clinic.house
    clinic.drop_at_server("before", 1)
    house.wait_for(house.root / "archive" / "before", timeout_s=30)
    house.set_options(processing_s=PATIENT_S)
    clinic.drop_at_server("under way", 2)
    house.wait_until(lambda: _state(house, "under way") == "waiting", "it is not under way")
    clinic.mounted.unmount()
    left_at = time.monotonic()
    house.wait_until(lambda: BREAKER in house.breakers(), "no breaker opened", timeout_s=20)
    assert house.breakers()[BREAKER]["hint"]
    shutil.copyfile(clinic.small("stray", 3), clinic.mounted.folder / "stray.nii")
    clinic.drop_at_server("meanwhile", 4)
    move_in(clinic.small("local", 5), house.inbox)
    house.wait_until(lambda: _state(house, "local"), "the local inbox waits, too", timeout_s=20)
    time.sleep(max(0.0, left_at + AWAY_S - time.monotonic()))
    assert [path.name for path in clinic.mounted.folder.iterdir()] == ["stray.nii"]
    assert _state(house, "stray") is None
    house.set_options(processing_s=0)
    clinic.mounted.mount()
    names = ["before", "under way", "meanwhile", "local"]
    for name in names:
        house.wait_for(house.root / "archive" / name, timeout_s=60)
    house.wait_until(lambda: not house.breakers(), "the breaker does not close", timeout_s=30)
    assert sorted(case["case_name"] for case in house.cases()) == sorted(names)
    assert {case["state"] for case in house.cases()} == {"done"}
    assert len(house.jobs()) == len(names)
    assert {path.name for path in clinic.share.served.iterdir()} == {".vpe-watcher"}


def _state(house: House, name: str) -> str | None:
    return next((case["state"] for case in house.cases() if case["case_name"] == name), None)


def test_a_share_whose_server_hangs(
    clinic: Clinic, record_property: Callable[[str, object], None]
) -> None:
    """The local inbox goes on at full speed, `status` names the hung one, all heals by itself."""
    house = clinic.house
    clinic.drop_at_server("before", 1)
    house.wait_for(house.root / "archive" / "before", timeout_s=30)
    clinic.share.freeze()
    frozen_at = time.monotonic()
    usual_s = [_seconds_to_archive(clinic, f"local {number}", number) for number in range(2, 8)]
    house.wait_until(
        lambda: BREAKER in house.breakers(), "the hung share is not named", timeout_s=SILENT_S + 25
    )
    named_s = time.monotonic() - frozen_at
    usual_s += [_seconds_to_archive(clinic, f"local {number}", number) for number in range(8, 14)]
    record_property(
        MEASURED,
        f"a hung share was named after {named_s:.0f} s; meanwhile local scans took "
        f"{min(usual_s):.1f} to {max(usual_s):.1f} s",
    )
    assert max(usual_s) < 10, usual_s
    clinic.drop_at_server("meanwhile", 14)
    clinic.share.thaw()
    house.wait_for(house.root / "archive" / "meanwhile", timeout_s=90)
    house.wait_until(lambda: not house.breakers(), "the breaker does not close", timeout_s=60)
    assert {case["state"] for case in house.cases()} == {"done"}
    assert len(house.jobs()) == len(house.cases()) == 14


def _seconds_to_archive(clinic: Clinic, name: str, number: int) -> float:
    """Drop a scan into the local inbox; return how long it took until it lay in the archive."""
    began = time.monotonic()
    move_in(clinic.small(name, number), clinic.house.inbox)
    clinic.house.wait_for(clinic.house.root / "archive" / name, timeout_s=30)
    return time.monotonic() - began


def test_an_archive_whose_server_hangs(tmp_path: Path) -> None:
    """Scans are taken, sent and delivered meanwhile; they are archived when it answers again."""
    folder = tmp_path / "mnt"
    plan = Plan(archive=str(folder))
    with (
        running_share(tmp_path / "server") as share,
        mounted_share(share, folder),
        running_house(tmp_path, plan) as house,
    ):
        try:
            move_in(write_small_scan(tmp_path / "before.nii", 0), house.inbox)
            house.wait_for(folder / "before", timeout_s=30)
            share.freeze()
            for number in range(1, 6):
                name = f"local {number}"
                began = time.monotonic()
                move_in(write_small_scan(tmp_path / f"{name}.nii", number), house.inbox)
                house.wait_for(house.root / "outbox" / name, timeout_s=30)
                assert time.monotonic() - began < 10
        finally:
            share.thaw()
        house.wait_for(folder / "local 5", timeout_s=90)
        house.wait_until(lambda: not house.breakers(), "the breaker does not close", timeout_s=60)
        assert {case["state"] for case in house.cases()} == {"done"}
        assert len(house.jobs()) == 6
