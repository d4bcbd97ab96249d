"""Retention: what goes from archive and failed, and all that never does."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.flow.house import House, nifti, unprivileged
from tests.flow.lost_states import delete, mend
from tests.flow.series import write_series
from tests.flow.test_series import NAME, QUICK
from vpe_watcher.adapters.store import Limits
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.model import State
from vpe_watcher.flow.retention import Item, Pruner

Build = Callable[..., House]
DAY_S = 86_400.0
DAYS = {"archive_days": 10, "failed_days": 20}


@pytest.fixture
def house(build: Build) -> House:
    """Return a house that keeps what is done for ten days and what failed for twenty."""
    return build(retention=DAYS)


def age(house: House, days: float) -> None:
    """Let days go by in which nothing happens, and apply retention."""
    house.time.advance(days * DAY_S)
    assert house.prune() == []


def ended(house: House, name: str, state: State = State.DONE, *, seed: int = 1) -> str:
    """Let a case come to rest; return its id. A failed one is refused by the Engine."""
    if state is State.FAILED:
        house.sandbox.set_faults([{"on": "submit", "times": 1, "do": {"status": 400}}])
    house.drop(f"{name}.nii", nifti(seed=seed))
    return house.live_until(name, state).case_id


def resting(house: House, root: str) -> list[str]:
    """Name the visible folders of a root."""
    return sorted(path.name for path in (house.root / root).glob("[!.]*") if path.is_dir())


def kept(house: House, root: str = "archive") -> dict[str, str]:
    """Return why what is due stays, by folder."""
    return {item.path.name: item.why for item in house.pruner.plan(root).kept}


# --- by age --------------------------------------------------------------------------------------


def test_what_is_done_goes_after_its_days_and_its_row_stays(house: House) -> None:
    """Folder and record are gone, the result stays, `show` tells, the scan is still known."""
    case_id = ended(house, "scan")
    age(house, 9.9)
    assert resting(house, "archive") == ["scan"]
    results = house.files("outbox")
    age(house, 0.2)
    assert resting(house, "archive") == []
    assert not house.record("archive", case_id).exists()
    assert house.leftovers() == []
    assert house.files("outbox") == results
    last = house.queries.events(case_id)[-1]
    shown = last["event"], last["step"], last["outcome"], last["reason"]
    assert shown == ("case.pruned", "pruning", "ok", "older than archive_days (10)")
    house.drop("again.nii", nifti(seed=1))
    assert house.live_until("again", State.DUPLICATE).duplicate_of == case_id


def test_what_failed_goes_after_its_own_days(house: House) -> None:
    """It is there for a `retry` until then; afterwards a word that came too late means nothing."""
    case_id = ended(house, "scan", State.FAILED)
    age(house, 19)
    assert resting(house, "failed") == ["scan"]
    age(house, 2)
    assert resting(house, "failed") == house.leftovers() == []
    assert not house.record("failed", case_id).exists()
    house.say("retry", house.case("scan"))
    house.live(10)
    assert house.case("scan").state is State.FAILED
    assert house.parts.store.words() == []


def test_nothing_goes_where_days_are_for_ever(build: Build) -> None:
    """The default keeps everything, however old."""
    house = build()
    ended(house, "scan")
    ended(house, "bad", State.FAILED, seed=2)
    age(house, 36_000)
    assert (resting(house, "archive"), resting(house, "failed")) == (["scan"], ["bad"])
    assert house.pruner.plan("archive").due == ()


def test_age_counts_from_the_end_and_not_from_a_files_time(house: House) -> None:
    """A scan that is years old by its own times stays its days here; a touched one goes."""
    ended(house, "old")
    ended(house, "new", seed=2)
    for path in (house.root / "archive/old").rglob("*"):
        os.utime(path, (0, 0))
    age(house, 9)
    assert resting(house, "archive") == ["new", "old"]
    later = house.time.wall + 900 * DAY_S
    for path in (house.root / "archive/new").rglob("*"):
        os.utime(path, (later, later))
    age(house, 2)
    assert resting(house, "archive") == []


def test_a_case_that_was_taken_up_again_is_young(house: House) -> None:
    """What counts is its last end."""
    ended(house, "scan", State.FAILED)
    age(house, 19)
    house.say("retry", house.case("scan"))
    house.live_until("scan", State.DONE)
    age(house, 9)
    assert resting(house, "archive") == ["scan"]
    age(house, 2)
    assert resting(house, "archive") == []


def test_a_study_left_in_place_loses_its_documents_alone(ground: Path, build: Build) -> None:
    """Nothing is touched in the export, and a failed case can still be tried again."""
    (ground / "export").mkdir()
    recipe = {"inbox": str(ground / "export"), "leave_in_place": True, "existing": "take"}
    house = build(retention=DAYS, recipes={"pacs": recipe})
    house.sandbox.set_faults([{"on": "submit", "times": 1, "do": {"status": 400}}])
    scan = ground / "export/scan.nii"
    scan.write_bytes(nifti())
    house.live_until("scan", State.FAILED)
    age(house, 21)
    assert resting(house, "failed") == []
    assert scan.exists()
    house.say("retry", house.case("scan"))
    house.live_until("scan", State.DONE)
    age(house, 11)
    assert resting(house, "archive") == []
    assert scan.exists()


# --- what never goes -----------------------------------------------------------------------------


def test_cases_that_are_held_or_under_way_stay(build: Build) -> None:
    """Neither their claims nor their notes nor what is staged is touched, in a thousand days."""
    house = build(retention=DAYS, limits={"processing_at_most_h": 800_000})
    house.sandbox.set_faults([{"on": "poll", "times": 1, "do": {"status": 403}}])
    house.drop("held.nii", nifti(seed=1))
    held = house.live_until("held", State.HELD)
    house.turn()
    house.sandbox.set_options(processing_s=1e9)
    house.drop("waiting.nii", nifti(seed=2))
    waiting = house.live_until("waiting", State.WAITING)
    age(house, 1000)
    assert house.claimed(held).exists()
    assert house.claimed(waiting).exists()
    assert (house.root / "failed/held.held.txt").exists()


def test_what_people_put_there_stays(house: House, tmp_path: Path) -> None:
    """Files, folders, links, copies of our folders, hidden ones: none proves to be a case's own."""
    ended(house, "scan")
    archive = house.root / "archive"
    (archive / "patients").mkdir()
    (archive / "patients/list.txt").write_text("important")
    (archive / "list.txt").write_text("important")
    (archive / ".hidden").mkdir()
    (archive / "link").symlink_to(tmp_path)
    shutil.copytree(archive / "scan", archive / "scan - copy")
    age(house, 1000)
    assert resting(house, "archive") == ["link", "patients", "scan - copy"]
    assert (archive / "list.txt").exists()
    assert (archive / ".hidden").exists()


def _replaced(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()
    (path / "somebody's.nii").write_bytes(b"scan")


def _of_another(path: Path) -> None:
    document = path / "result.json"
    document.write_text(json.dumps({**json.loads(document.read_text()), "case_id": "another"}))


def _a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _linked_document(path: Path) -> None:
    (path / "result.json").rename(path.parent / "result.json")
    (path / "result.json").symlink_to("../result.json")


@pytest.mark.parametrize(
    ("meddle", "why"),
    [
        (_replaced, "it holds no document of its case"),
        (_of_another, "it holds no document of its case"),
        (_linked_document, "it holds no document of its case"),
        (_a_link, "it is no folder"),
    ],
)
def test_a_name_proves_nothing(house: House, meddle: Callable[[Path], None], why: str) -> None:
    """A folder of a case's name goes only with the document of this case in it."""
    ended(house, "scan")
    meddle(house.root / "archive/scan")
    age(house, 1000)
    assert (house.root / "archive/scan").exists()
    assert kept(house) == {"scan": why}


def test_a_link_is_removed_and_not_what_it_leads_to(house: House, tmp_path: Path) -> None:
    """Somebody linked a folder of his own into a case's."""
    (tmp_path / "mine").write_text("important")
    ended(house, "scan")
    (house.root / "archive/scan/link").symlink_to(tmp_path)
    age(house, 11)
    assert resting(house, "archive") == []
    assert (tmp_path / "mine").exists()


def test_nothing_is_removed_below_another_mount(house: House) -> None:
    """Neither before it is set aside nor after."""
    ended(house, "scan")
    house.time.advance(11 * DAY_S)
    archive = house.root / "archive"
    mounted = replace(house.pruner, mounts_below=lambda path: [path / "mnt"])
    assert mounted.plan("archive").due == ()
    (item,) = house.pruner.plan("archive").due
    assert mounted.prune(item) == "something is mounted in it"
    aside = f".vpe-watcher/{item.rest.case_id}.pruned"
    late = replace(house.pruner, mounts_below=lambda path: [path] if path.suffix else [])
    assert late.prune(item) == late.clean_up("archive") == "something is mounted in it"
    assert (archive / aside / "scan.nii").exists()
    assert house.pruner.clean_up("archive") == ""
    assert house.leftovers() == []


def test_the_slices_that_late_ones_need_stay_until_these_are_done(build: Build) -> None:
    """A late case is held; its series' first slices wait for it however old they are."""
    house = build(intake=QUICK, retention=DAYS)
    for numbers in (range(1, 13), [13, 14]):
        write_series(house.root / "inbox", numbers)
        house.live(40)
    first, late = house.cases()
    age(house, 100)
    assert kept(house) == {NAME: f"case {late.case_id} may yet be sent with its slices"}
    house.say("retry", late)
    house.live(60)
    assert house.cases()[1].state is State.DONE
    assert house.prune() == []
    assert house.parts.store.pruned(first.case_id) is not None
    age(house, 11)
    assert resting(house, "archive") == []


def test_late_slices_that_failed_hold_the_first_no_longer_than_themselves(build: Build) -> None:
    """Of two late cases neither keeps the other, nor the first, for ever."""
    house = build(intake=QUICK, retention={"archive_days": 10, "failed_days": 50})
    for numbers in (range(1, 13), [13, 14], [15, 16]):
        write_series(house.root / "inbox", numbers)
        house.live(40)
    house.sandbox.set_faults([{"on": "submit", "do": {"status": 400}}])
    for late in house.cases()[1:]:
        house.say("retry", late)
        house.live(10)
    age(house, 40)
    assert [resting(house, root) for root in ("archive", "failed")] == [
        [NAME],
        [f"{NAME}.2", f"{NAME}.3"],
    ]
    age(house, 11)
    assert resting(house, "archive") == resting(house, "failed") == []


def test_a_part_is_not_sent_without_what_was_removed_between(build: Build) -> None:
    """Of a series' three parts the second went by hand's order: the third is held again."""
    house = build(intake=QUICK)
    for numbers in (range(1, 13), [13, 14]):
        write_series(house.root / "inbox", numbers)
        house.live(40)
    house.say("retry", house.cases()[1])
    house.live(60)
    second = house.cases()[1]
    item = Item("archive", _rest(house, second.case_id), house.root / "archive" / second.folder, "")
    assert house.pruner.prune(item) == ""
    write_series(house.root / "inbox", [15, 16])
    house.live(40)
    house.say("retry", house.cases()[2])
    house.live(60)
    third = house.cases()[2]
    assert (third.state, third.problem and third.problem.code) == (State.HELD, "first_slices_gone")


def _rest(house: House, case_id: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
    rest = house.parts.store.rest_of(case_id)
    assert rest is not None
    return rest


def test_a_folder_that_is_not_mounted_is_left_alone(house: House) -> None:
    """The marker is gone: that is no archive, and what lies in it is nobody's to remove."""
    ended(house, "scan")
    house.time.advance(11 * DAY_S)
    (house.root / "archive/.vpe-watcher/marker.json").unlink()
    with pytest.raises(EnvironmentFault) as caught:
        house.prune()
    assert caught.value.code == "folder_without_marker"
    assert resting(house, "archive") == ["scan"]


def test_a_folder_that_refuses_stops_no_other(house: House) -> None:
    """One cannot be moved, one cannot be read: both are named, and the third goes."""
    for seed, name in enumerate(("a", "b", "c"), start=1):
        ended(house, name, seed=seed)
    house.time.advance(11 * DAY_S)
    archive = house.root / "archive"
    with unprivileged(house):
        (archive / "b").chmod(0)
        pruner, rename = house.pruner, house.disk.rename

        class Refusing(type(house.disk)):  # type: ignore[misc]
            def rename(self, source: Path, target: Path) -> None:
                if source.name == "a":
                    raise PermissionError(errno.EACCES, "not yours")
                rename(source, target)

        refusing = replace(pruner, disk=Refusing())
        plan = refusing.plan("archive")
        assert [refusing.prune(item) for item in plan.due] == [
            "it cannot be moved: permission denied",
            "",
        ]
        assert {item.path.name: item.why for item in plan.kept} == {"b": "it cannot be read"}
        (archive / "b").chmod(0o755)
    assert resting(house, "archive") == ["a", "b"]
    assert house.prune() == []
    assert resting(house, "archive") == []


# --- a person's word -----------------------------------------------------------------------------


def test_a_word_that_was_said_comes_first(house: House) -> None:
    """A retry that the daemon has not obeyed yet keeps the scan, and is obeyed."""
    ended(house, "scan", State.FAILED)
    house.time.advance(21 * DAY_S)
    (item,) = house.pruner.plan("failed").due
    house.queries.say("retry", [item.rest.case_id])
    assert house.pruner.prune(item) == "somebody needs it now"
    house.parts.words.obey()
    assert house.pruner.prune(item) == "somebody needs it now"
    house.live_until("scan", State.DONE)


def test_a_word_waits_for_a_removal_that_has_begun(house: House) -> None:
    """It is neither obeyed in the middle nor forgotten; what came of the removal decides."""
    ended(house, "scan", State.FAILED)
    house.time.advance(21 * DAY_S)
    (item,) = house.pruner.plan("failed").due
    assert house.parts.store.begin_pruning(item.rest, item.why, Limits())
    house.queries.say("retry", [item.rest.case_id])
    assert not house.parts.words.obey()
    assert house.case("scan").state is State.FAILED
    house.pruner.clean_up("failed")
    assert house.parts.words.obey()
    house.live_until("scan", State.DONE)


def test_a_word_that_a_removal_has_overtaken_is_answered(house: House) -> None:
    """Said after its begin and read after its end: the log and the trail of the case say so."""
    case_id = ended(house, "scan", State.FAILED)
    house.time.advance(21 * DAY_S)
    (item,) = house.pruner.plan("failed").due
    store = house.parts.store
    assert store.begin_pruning(item.rest, item.why, Limits())
    item.path.rename(house.root / f"failed/.vpe-watcher/{case_id}.pruned")
    house.queries.say("retry", [case_id])
    assert house.pruner.clean_up("failed") == ""
    assert house.parts.words.obey()
    assert store.words() == []
    assert house.case("scan").state is State.FAILED
    reason = "its input was removed by [retention]"
    told = {"word": "retry", "case_id": case_id, "reason": reason}
    assert ("word.refused", told) in house.events
    last = house.queries.events(case_id)[-1]
    assert (last["event"], last["outcome"], last["reason"]) == ("word.refused", "retry", reason)
    assert store.pruned(case_id) is not None


# --- crashes and lost state files ----------------------------------------------------------------


class Dying(Exception):
    """The process ended here."""


@pytest.mark.real  # for its time alone
@pytest.mark.parametrize("verb", ["rename", "remove_tree", "remove_file"])
@pytest.mark.parametrize("is_done", [False, True])
def test_a_removal_that_was_cut_short_is_ended(house: House, verb: str, *, is_done: bool) -> None:
    """Nothing half is visible, and the next life removes it; what was not begun stays a case's."""
    case_id = ended(house, "scan")
    house.time.advance(11 * DAY_S)
    disk = house.disk

    class Mortal(type(disk)):  # type: ignore[misc]
        pass

    def die(*arguments: Path) -> None:
        if is_done:
            getattr(disk, verb)(*arguments)
        raise Dying

    mortal = Mortal()
    setattr(mortal, verb, die)
    (item,) = house.pruner.plan("archive").due
    with pytest.raises(Dying):
        replace(house.pruner, disk=mortal).prune(item)
    assert resting(house, "archive") == (["scan"] if (verb, is_done) == ("rename", False) else [])
    house.restart()
    assert house.prune() == []
    assert house.leftovers() == resting(house, "archive") == []
    assert not house.record("archive", case_id).exists()
    events = [event["event"] for event in house.queries.events(case_id)]
    assert events.count("case.pruned") == 1
    assert house.parts.store.open_prunings() == []


def test_what_was_not_yet_set_aside_is_judged_anew(house: House) -> None:
    """The rules were changed after a death: what they keep now, stays."""
    ended(house, "scan", State.FAILED)
    house.time.advance(21 * DAY_S)
    (item,) = house.pruner.plan("failed").due
    assert house.parts.store.begin_pruning(item.rest, item.why, Limits())
    house.reconfigure(retention={"failed_days": 0})
    assert house.pruner.clean_up("failed") == ""
    assert resting(house, "failed") == ["scan"]
    house.say("retry", house.case("scan"))
    house.live_until("scan", State.DONE)


@pytest.mark.parametrize("is_aside", [False, True])
def test_a_removal_does_not_end_in_another_folder(house: House, *, is_aside: bool) -> None:
    """What lies in the archive of before is not removed there, so nobody says that it was."""
    case_id = ended(house, "scan")
    house.prune()  # with this the archive is known
    house.time.advance(11 * DAY_S)
    (item,) = house.pruner.plan("archive").due
    old, other = house.root / "archive", house.root / "other"
    other.mkdir()
    assert house.parts.store.begin_pruning(item.rest, item.why, Limits())
    if is_aside:
        item.path.rename(old / f".vpe-watcher/{case_id}.pruned")
    house.reconfigure(archive=str(other))
    assert house.prune() == []
    assert house.parts.store.pruned(case_id) is None
    assert house.parts.store.open_prunings() == []
    told = [fields["reason"] for event, fields in house.events if event == "prune.withdrawn"]
    assert told == ["archive was another folder when it was begun"]
    house.reconfigure(archive=str(old))
    assert house.prune() == []
    assert house.parts.store.pruned(case_id) is not None
    assert house.leftovers() == resting(house, "archive") == []


def test_a_removal_that_ended_here_is_told_though_there_was_another_folder(house: House) -> None:
    """The record of the case still lies here: so did its folder."""
    (house.root / "other").mkdir()
    house.reconfigure(archive=str(house.root / "other"))
    ended(house, "before")
    house.reconfigure(archive=str(house.root / "archive"))
    case_id = ended(house, "scan", seed=2)
    house.time.advance(11 * DAY_S)
    (item,) = house.pruner.plan("archive").due
    assert house.parts.store.begin_pruning(item.rest, item.why, Limits())
    shutil.rmtree(item.path)
    assert house.prune() == []
    assert house.parts.store.pruned(case_id) is not None


def test_a_state_file_is_rebuilt_after_a_removal(house: House) -> None:
    """The result in the outbox is the case; the scan dropped again is known by it."""
    case_id = ended(house, "scan")
    ended(house, "bad", State.FAILED, seed=2)
    age(house, 21)
    house.close()
    delete(house)
    mend(house)
    house.start()
    after = house.case("scan")
    assert (after.case_id, after.state, after.paid) == (case_id, State.DONE, True)
    assert [case.case_name for case in house.cases()] == ["scan"]
    house.drop("again.nii", nifti(seed=1))
    assert house.live_until("again", State.DUPLICATE).duplicate_of == case_id
    assert house.prune() == []


def test_what_an_older_state_file_does_not_know_is_removed_all_the_same(house: House) -> None:
    """A backup came back after a folder had been set aside: its row learns that it went."""
    case_id = ended(house, "scan")
    aside = house.root / f"archive/.vpe-watcher/{case_id}.pruned"
    (house.root / "archive/scan").rename(aside)
    assert house.prune() == []
    assert not aside.exists()
    assert house.parts.store.pruned(case_id) is not None


# --- records -------------------------------------------------------------------------------------


def test_the_record_of_what_people_took_away_goes_too(house: House) -> None:
    """An archive that is emptied by hand leaves nothing hidden; what was renamed keeps its own."""
    gone = ended(house, "gone")
    renamed = ended(house, "renamed", seed=2)
    stays = ended(house, "stays", seed=3)
    archive = house.root / "archive"
    shutil.rmtree(archive / "gone")
    (archive / "renamed").rename(archive / "Müller, of last year")
    assert house.prune() == []
    there = [house.record("archive", one).exists() for one in (gone, renamed, stays)]
    assert there == [False, True, True]


def test_records_stay_where_nothing_is_ever_removed(build: Build) -> None:
    """Without retention the daemon removes nothing, not even these."""
    house = build()
    case_id = ended(house, "scan")
    shutil.rmtree(house.root / "archive/scan")
    house.prune()
    assert house.record("archive", case_id).exists()


# --- by space ------------------------------------------------------------------------------------


def low(house: House, free: Callable[[], int]) -> Pruner:
    """Return what applies retention where this much is free."""

    class Small(type(house.disk)):  # type: ignore[misc]
        def free_bytes(self, _folder: Path) -> int:
            return free()

    return replace(house.pruner, disk=Small())


def footprint(house: House, name: str) -> int:
    """Return what the removal of an archived folder gives back."""
    return house.disk.footprint(house.root / "archive" / name).freed


SPACE = {"min_free": 1_000_000, "prune_below": 500_000}


def test_the_oldest_give_way_until_enough_is_free(build: Build) -> None:
    """Two of four make room; failed gives nothing, however old."""
    house = build(retention=SPACE)
    ended(house, "bad", State.FAILED, seed=9)
    for seed, name in enumerate("abcd", start=1):
        ended(house, name, seed=seed)
    wanted = footprint(house, "a") + footprint(house, "b")
    pruner = low(house, lambda: SPACE["min_free"] - wanted)
    assert pruner.plan("archive").due == ()
    house.reconfigure(retention={"prune_below": SPACE["min_free"] - wanted + 1})
    pruner = low(house, lambda: SPACE["min_free"] - wanted)
    plan = pruner.plan("archive")
    assert [item.path.name for item in plan.due] == ["a", "b"]
    assert not plan.is_short
    assert [pruner.prune(item) for item in plan.due] == ["", ""]
    assert resting(house, "archive") == ["c", "d"]
    assert pruner.plan("failed").due == ()


def test_what_gives_nothing_back_is_no_room(build: Build, ground: Path) -> None:
    """Files with other names elsewhere, and results that can still be fetched, stay."""
    house = build(retention=SPACE | {"min_free": 1 << 40})
    ended(house, "linked")
    for number, path in enumerate((house.root / "archive/linked").iterdir()):
        os.link(path, ground / f"other{number}")
    house.sandbox.set_faults([{"on": "download", "do": {"status": 404}}])
    plan = low(house, lambda: 0).plan("archive")
    assert plan.due == ()
    assert plan.is_short


def test_ages_count_first_and_what_they_free_counts(build: Build) -> None:
    """What is too old goes anyway; only what is missing then is taken from the rest."""
    house = build(retention=SPACE | {"archive_days": 10})
    ended(house, "old")
    house.time.advance(11 * DAY_S)
    ended(house, "new", seed=2)
    pruner = low(house, lambda: 0)
    assert [item.path.name for item in pruner.plan("archive").due] == ["old", "new"]
    barely = low(house, lambda: SPACE["prune_below"] - 1)
    assert [item.path.name for item in barely.plan("archive").due] == ["old"]
    assert [item.path.name for item in barely.plan("archive", by_space=True).due] == ["old", "new"]
    enough = low(house, lambda: SPACE["min_free"] - footprint(house, "old"))
    assert [item.path.name for item in enough.plan("archive").due] == ["old"]
