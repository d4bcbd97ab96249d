"""When a daemon applies retention: hourly, when the archive's disk is low, and when better not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.flow.house import House, nifti
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.lock import removing
from vpe_watcher.adapters.store import Limits
from vpe_watcher.app.assembly import Clock, Stopping
from vpe_watcher.app.pruning import BY_AGE_EVERY_S, EXHAUSTED_S, FIRST_BY_AGE_S, Pruning
from vpe_watcher.core.model import State
from vpe_watcher.core.retention import Retention

DAY_S = 86_400.0
MIB = 1024 * 1024


class Gauge(Disk):
    """A disk of which the test says how much is free; by default a removal changes that."""

    def __init__(self) -> None:
        super().__init__()
        self.free = 100 * MIB
        self.gives_back = True

    def free_bytes(self, _folder: Path) -> int:
        """Return what the test says."""
        return self.free

    def remove_tree(self, folder: Path) -> None:
        """Remove, and give the space back."""
        freed = self.footprint(folder).freed if self.gives_back else 0
        super().remove_tree(folder)
        self.free += freed


class Keeper:
    """A house whose archive holds two old cases, and what applies retention there."""

    def __init__(self, root: Path, **retention: object) -> None:
        self.disk = Gauge()
        self.house = House(root, {"retention": retention}, disk=self.disk)
        self.house.overrides["retention"] = {}
        for seed, name in enumerate(("first", "second"), start=1):
            self.house.drop(f"{name}.nii", nifti(seed=seed) + bytes(seed))
            self.house.live_until(name, State.DONE)
        self.house.time.advance(30 * DAY_S)
        self.start()

    def start(self) -> None:
        """Begin a daemon's life."""
        clock = Clock(self.house.time.now, self.house.time.monotonic)
        self.pruning = Pruning(
            "archive",
            self.house.pruner,
            self.house.settings.state_file,
            clock=clock,
            stopping=Stopping(),
            log=self.house.log,
        )
        self.house.events.clear()

    def look(self, after_s: float = 0.0) -> list[str]:
        """Let time pass, look, and return what is left."""
        self.house.time.advance(after_s)
        self.pruning.look()
        return sorted(path.name for path in (self.house.root / "archive").glob("[!.]*"))

    def told(self, name: str = "prune.waiting") -> list[object]:
        """Return the codes of what was logged."""
        return [fields.get("code") for event, fields in self.house.events if event == name]


@pytest.fixture
def keepers() -> Iterator[list[Keeper]]:
    """Close the houses at the end."""
    made: list[Keeper] = []
    yield made
    for keeper in made:
        keeper.house.close()
        keeper.house.sandbox.close()


@pytest.fixture
def aged(ground: Path, keepers: list[Keeper]) -> Keeper:
    """Return a keeper with cases of thirty days where a hundred are kept."""
    keepers.append(Keeper(ground / "house", archive_days=100))
    return keepers[-1]


@pytest.fixture
def tight(ground: Path, keepers: list[Keeper]) -> Keeper:
    """Return a keeper of which the archive gives way below 50 MiB."""
    keepers.append(Keeper(ground / "house", min_free=60 * MIB, prune_below=50 * MIB))
    return keepers[-1]


def test_ages_are_judged_some_minutes_after_the_start_and_each_hour(aged: Keeper) -> None:
    """By then a clock that was wrong has been set; a daemon for `--once` does not wait."""
    aged.house.time.advance(71 * DAY_S)
    aged.start()
    assert aged.look(FIRST_BY_AGE_S - 1) == ["first", "second"]
    assert aged.look(2) == []
    assert [fields["count"] for name, fields in aged.house.events if name == "prune.done"] == [2]


def test_what_expires_later_goes_with_the_next_hour(aged: Keeper) -> None:
    """Between two hours nothing is looked at."""
    aged.house.time.advance(70 * DAY_S - FIRST_BY_AGE_S - 60)
    aged.start()
    assert aged.look(FIRST_BY_AGE_S) == ["first", "second"]
    assert aged.look(BY_AGE_EVERY_S - 10) == ["first", "second"]
    assert aged.look(20) == []


def test_a_daemon_that_will_not_be_there_later_hurries(aged: Keeper) -> None:
    """`run --once` judges ages at once."""
    aged.house.time.advance(71 * DAY_S)
    aged.start()
    aged.pruning.hurry()
    assert not aged.pruning.has_looked
    assert aged.look() == []
    assert aged.pruning.has_looked


def test_a_clock_that_jumps_removes_nothing_at_once(aged: Keeper) -> None:
    """It ran ahead by most of a year: that is told, and when it was set right nothing was lost."""
    aged.house.time.wall += 300 * DAY_S
    assert aged.look(FIRST_BY_AGE_S) == ["first", "second"]
    assert aged.told() == ["clock_was_set"]
    aged.house.time.wall -= 300 * DAY_S
    assert aged.look(BY_AGE_EVERY_S) == ["first", "second"]
    assert aged.look(BY_AGE_EVERY_S) == ["first", "second"]
    aged.house.time.wall += 300 * DAY_S
    aged.look(BY_AGE_EVERY_S)
    assert aged.look(BY_AGE_EVERY_S) == []


def test_a_clock_that_is_years_ahead_removes_nothing(aged: Keeper) -> None:
    """Neither for `--once`, nor after a case that ended by that clock, until a week has gone by."""
    house = aged.house
    house.time.advance(400 * DAY_S)
    for name in ("first", "second", "third"):
        aged.start()
        aged.pruning.hurry()
        assert {"first", "second"} <= set(aged.look())
        assert aged.told() == ["clock_ahead"]
        assert aged.look(BY_AGE_EVERY_S) == aged.look(BY_AGE_EVERY_S)
        assert aged.told() == ["clock_ahead"]
        house.drop(f"{name}-again.nii", nifti(seed=9) + name.encode())
        house.live_until(f"{name}-again", State.DONE)
    house.time.advance(8 * DAY_S)
    aged.start()
    aged.pruning.hurry()
    assert aged.look() == ["first-again", "second-again", "third-again"]


def test_a_year_in_which_something_happened_is_believed(aged: Keeper) -> None:
    """However old the oldest are."""
    aged.house.time.advance(300 * DAY_S)
    aged.house.drop("third.nii", nifti(seed=3))
    aged.house.live_until("third", State.DONE)
    aged.house.time.advance(300 * DAY_S)
    aged.start()
    aged.pruning.hurry()
    assert aged.look() == []
    assert aged.told() == []


def test_a_clock_that_is_years_ahead_lets_room_be_made(tight: Keeper) -> None:
    """A full disk is no matter of time."""
    tight.house.reconfigure(retention={"archive_days": 1, "min_free": 1, "prune_below": 1})
    tight.house.time.advance(400 * DAY_S)
    tight.start()
    tight.pruning.hurry()
    tight.disk.free = 0
    assert tight.look() == ["second"]


def test_a_person_who_prunes_is_not_disturbed(aged: Keeper) -> None:
    """One process at a time removes from a root."""
    aged.house.time.advance(71 * DAY_S)
    aged.start()
    aged.pruning.hurry()
    with removing(aged.house.settings.state_file, "archive") as is_alone:
        assert is_alone
        assert aged.look() == ["first", "second"]
    assert aged.look(BY_AGE_EVERY_S) == []


def test_a_folder_that_is_away_is_told_once_and_heals(aged: Keeper) -> None:
    """Nothing but a line in the log: who needs the archive opens its breaker."""
    aged.house.time.advance(71 * DAY_S)
    aged.start()
    marker = aged.house.root / "archive/.vpe-watcher/marker.json"
    kept = marker.read_bytes()
    marker.unlink()
    for _ in range(3):
        assert aged.look(BY_AGE_EVERY_S) == ["first", "second"]
    assert aged.told() == ["folder_without_marker"]
    assert aged.house.breakers() == set()
    marker.write_bytes(kept)
    assert aged.look(BY_AGE_EVERY_S) == []


def test_the_archive_gives_way_when_its_disk_is_low(tight: Keeper) -> None:
    """Above the mark nothing goes; below it the oldest, until enough is free."""
    assert tight.look(10) == ["first", "second"]
    one = tight.disk.footprint(tight.house.root / "archive/first").freed
    tight.disk.free = 60 * MIB - one
    assert tight.look(10) == ["first", "second"]
    tight.disk.free = 50 * MIB - 1
    assert tight.look(10) == []  # two small cases are not enough
    assert tight.look(10) == []
    assert tight.told("case.pruned") == [None, None]


def test_room_is_made_until_min_free_and_not_only_to_the_lower_mark(tight: Keeper) -> None:
    """Else intake would stay paused: what gave back less than expected is followed by the next."""
    house = tight.house
    one = tight.disk.footprint(house.root / "archive/first").freed
    house.reconfigure(retention={"min_free": 50 * MIB + one // 2, "prune_below": 50 * MIB})
    tight.start()
    tight.disk.gives_back = False
    tight.disk.free = 50 * MIB - 1
    assert tight.look(10) == ["second"]
    tight.disk.free = 50 * MIB + one // 3  # most of it came back, and that is above the lower mark
    assert tight.look(10) == []


def test_an_archive_without_more_to_give_is_told_once(tight: Keeper) -> None:
    """And looked at again, but not all the time."""
    tight.disk.free = 0
    assert tight.look(10) == []
    for _ in range(5):
        tight.look(EXHAUSTED_S + 1)
    assert tight.told() == ["archive_exhausted"]
    tight.house.drop("third.nii", nifti(seed=3))
    tight.house.live_until("third", State.DONE)
    assert tight.look(EXHAUSTED_S + 1) == []


def test_a_removal_that_gives_nothing_back_is_not_repeated(tight: Keeper) -> None:
    """Snapshots hold the space, or somebody fills it: the archive does not vanish for nothing."""
    one = tight.disk.footprint(tight.house.root / "archive/first").freed
    tight.house.reconfigure(retention={"min_free": one // 2, "prune_below": one // 2})
    tight.start()
    tight.disk.gives_back = False
    tight.disk.free = 0
    assert tight.look(10) == ["second"]
    for _ in range(20):
        assert tight.look(60) == ["second"]
    assert tight.told() == ["prune_futile"]
    tight.disk.free = one
    assert tight.look(BY_AGE_EVERY_S) == ["second"]


def test_what_a_life_left_is_ended_where_nothing_is_on_any_more(aged: Keeper) -> None:
    """The next life's first look ends a removal, whatever the configuration says now."""
    pruner = replace(aged.house.pruner, now=lambda: aged.house.time.wall + 100 * DAY_S)
    item = pruner.plan("archive").due[0]
    aside = aged.house.root / f"archive/.vpe-watcher/{item.rest.case_id}.pruned"
    assert aged.house.parts.store.begin_pruning(item.rest, item.why, Limits())
    item.path.rename(aside)
    aged.house.reconfigure(retention={"archive_days": 0})
    aged.start()
    assert aged.look() == ["second"]
    assert not aside.exists()


def test_what_refuses_to_go_is_tried_again_each_minute(
    aged: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing is on any more: it is told once, and goes when it can."""
    aged.house.time.advance(71 * DAY_S)
    aged.start()

    def refuse(_disk: Disk, _folder: Path) -> None:
        raise PermissionError(1, "immutable")

    hidden = aged.house.root / "archive/.vpe-watcher"
    with monkeypatch.context() as sick:
        sick.setattr(Disk, "remove_tree", refuse)
        assert aged.look(FIRST_BY_AGE_S) == []
        aged.house.reconfigure(retention={"archive_days": 0})
        aged.start()
        for _ in range(20):
            aged.look(10.0)
        assert aged.told() == ["cannot_prune"]
        assert len(list(hidden.glob("*.pruned"))) == 2
    for _ in range(7):
        aged.look(10.0)
    assert list(hidden.glob("*.pruned")) == []
    assert [event for event, _ in aged.house.events].count("case.pruned") == 2


def test_other_settings_count_from_the_next_look_on(aged: Keeper) -> None:
    """A reload hands over what goes by them."""
    aged.pruning.hurry()
    assert aged.look() == ["first", "second"]
    aged.pruning.use(replace(aged.house.pruner, retention=Retention(archive_days=10)))
    assert aged.look(BY_AGE_EVERY_S) == []
