"""The queue of notices on a real file: put down with the change, kept in order, bounded."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adapters.store.builders import BAD_SCAN, START, House
from vpe_watcher.adapters.store.notices import put_notice
from vpe_watcher.core.model import FailureClass, Label, Problem, State
from vpe_watcher.core.moments import iso
from vpe_watcher.core.notices import (
    KEPT_AT_MOST,
    QUEUE_AT_MOST,
    TOPICS,
    UNSAID,
    Draft,
    Notice,
    Policy,
    Topic,
)

GAP = Problem(FailureClass.INPUT, "series_gap", "512 declared, 509 here.", "Retry it.")


@pytest.fixture(name="told")
def tell_one(house: House) -> House:
    """Let one target be told of everything."""
    house.store.notice_policy = Policy(frozenset(TOPICS), ("webhook",))
    return house


def fail(house: House, case_id: str, **changes: str) -> None:
    """Add a case that fails."""
    house.add(case_id, **changes)
    house.step(Label.INPUT, BAD_SCAN, case_id=case_id)
    house.step(case_id=case_id)


def take(house: House, target: str = "webhook", *, only_urgent: bool = False) -> Notice:
    """Take a notice that is there."""
    notice = house.store.take_notice(target, only_urgent=only_urgent)
    assert notice is not None
    return notice


def drained(house: House, target: str = "webhook") -> list[Notice]:
    """Tell a target all that waits for it."""
    found = []
    while (notice := house.store.take_notice(target, only_urgent=False)) is not None:
        house.store.settle_notice(notice.seq, target)
        found.append(notice)
    return found


def put_many(house: House, count: int) -> None:
    """Put down as many notices, each of a case of its own, in one transaction."""
    with house.database.transaction() as connection:
        for number in range(count):
            draft = Draft(f"case:{number}", "case.failed", Topic.FAILED, {"n": number})
            put_notice(connection, house.store.notice_policy, draft, iso(house.now))


def rows(house: House) -> int:
    """Count the notices in the file."""
    return int(house.database.read("SELECT count(*) FROM notices")[0][0])


def test_a_failed_case_is_told_when_it_is_failed(told: House) -> None:
    """Not while its input is still being put away; with what a person needs, and no name."""
    told.add("c1", case_name="Mueller")
    told.step(Label.INPUT, BAD_SCAN)
    assert rows(told) == 0
    told.step()
    notice = take(told)
    assert notice.kind == "case.failed"
    assert notice.facts == {
        "case_id": "c1",
        "recipe": "default",
        "class": "input",
        "code": "bad_scan",
        "message": "The scan is bad.",
        "hint": "Scan again.",
    }


def test_a_held_case_is_told(told: House) -> None:
    """It waits for a person, who has to know."""
    told.add("held1", hold=GAP)
    told.step(Label.AMBIGUOUS, GAP, case_id="held1")
    assert (take(told).kind, take(told).facts["message"]) == ("case.held", GAP.message)


def test_a_sentence_with_the_name_is_left_out(told: House) -> None:
    """Code and hint stay."""
    told.add("c1", case_name="Mueller")
    problem = Problem(FailureClass.INPUT, "odd", "The file of Mueller is odd.", "Look.")
    told.step(Label.INPUT, problem)
    told.step()
    facts = take(told).facts
    assert (facts["message"], facts["code"], facts["hint"]) == (UNSAID, "odd", "Look.")


def test_names_are_told_when_the_configuration_says_so(told: House) -> None:
    """Somebody has to know whose scan it is."""
    told.store.notice_policy = Policy(frozenset(TOPICS), ("webhook",), names=True)
    fail(told, "c1", case_name="M\udcfcller")
    assert take(told).facts["case_name"] == "M\udcfcller"


@pytest.mark.parametrize("policy", [Policy(), Policy(frozenset({Topic.HELD}), ("webhook",))])
def test_nothing_is_put_down_for_nobody(told: House, policy: Policy) -> None:
    """Neither without a target nor without the topic."""
    told.store.notice_policy = policy
    fail(told, "c1")
    assert rows(told) == 0


def test_a_change_that_is_not_committed_is_not_told(told: House) -> None:
    """The notice is part of the transaction: it comes with the change, or not at all."""
    told.add("c1")
    told.step(Label.INPUT, BAD_SCAN)
    told.database.connection().execute(
        "CREATE TEMP TRIGGER late AFTER INSERT ON notices BEGIN SELECT RAISE (ABORT, 'now'); END"
    )
    begun = told.begin()
    with pytest.raises(sqlite3.IntegrityError):
        told.finish(begun, Label.OK)
    assert rows(told) == 0
    assert told.case().state is State.ARCHIVING
    told.database.connection().execute("DROP TRIGGER late")
    told.finish(begun, Label.OK)
    assert (rows(told), told.case().state) == (1, State.FAILED)


def test_a_notice_that_was_sent_and_not_recorded_keeps_its_id(told: House) -> None:
    """A crash in between sends it again, and the receiver can drop the double."""
    fail(told, "c1")
    before = take(told)
    again = House(told.path)
    again.store.notice_policy = told.store.notice_policy
    assert take(again) == before
    again.store.settle_notice(before.seq, "webhook")
    assert again.store.take_notice("webhook", only_urgent=False) is None
    assert rows(again) == 0
    again.close()


def test_each_target_is_told_everything_in_order(told: House) -> None:
    """One that is slow keeps nothing from another; a notice goes when all were told."""
    told.store.notice_policy = Policy(frozenset(TOPICS), ("webhook", "apprise-1"))
    for case_id in ("c1", "c2", "c3"):
        fail(told, case_id)
    first = drained(told)
    assert [notice.facts["case_id"] for notice in first] == ["c1", "c2", "c3"]
    assert len({notice.notice_id for notice in first}) == 3
    assert told.store.notices_waiting(("webhook", "apprise-1")) == {"webhook": 0, "apprise-1": 3}
    assert drained(told, "apprise-1") == first
    assert rows(told) == 0


def test_of_one_case_only_the_last_is_told(told: House) -> None:
    """Unless somebody was already told of the first, which then never changes."""
    told.add("c1", hold=GAP)
    told.step(Label.AMBIGUOUS, GAP)
    told.store.put_notice(Draft("case:c1", "case.failed", Topic.FAILED, {"case_id": "c1"}))
    assert rows(told) == 1
    begun = take(told)
    told.store.put_notice(Draft("case:c1", "case.held", Topic.HELD, {"case_id": "c1"}))
    assert take(told) == begun
    assert [notice.kind for notice in drained(told)] == ["case.failed", "case.held"]


def test_ten_thousand_are_bounded_and_counted(told: House) -> None:
    """The first are told one by one, the rest as a number; what is urgent still gets through."""
    put_many(told, 10_000)
    told.store.put_notice(Draft("disk", "breaker.opened", Topic.DISK, {"n": 0}, is_urgent=True))
    assert rows(told) == QUEUE_AT_MOST + 2
    assert told.store.notices_waiting(("webhook",)) == {"webhook": 10_001}
    assert take(told, only_urgent=True).kind == "breaker.opened"
    found = drained(told)
    assert [notice.count for notice in found] == [1] * QUEUE_AT_MOST + [9800, 1]
    assert found[QUEUE_AT_MOST].facts == {}


def test_what_is_counted_while_it_is_being_sent_is_told_after_it(told: House) -> None:
    """A number never changes once somebody may have read it."""
    put_many(told, QUEUE_AT_MOST + 1)
    told.database.connection().execute("UPDATE notices SET is_begun = 1 WHERE key LIKE 'more:%'")
    told.store.put_notice(Draft("case:x", "case.failed", Topic.FAILED, {"n": 1}))
    assert [notice.count for notice in drained(told)][-2:] == [1, 1]


def test_the_old_and_the_too_many_are_dropped(told: House) -> None:
    """A receiver that is gone for good fills no disk."""
    told.store.put_notice(Draft("old", "case.failed", Topic.FAILED, {"n": 1}))
    told.now += 3600
    told.store.put_notice(Draft("new", "case.failed", Topic.FAILED, {"n": 1}))
    assert told.store.has_stale_notices(older_than=START + 1)
    assert told.store.drop_notices(older_than=START + 1) == 1
    assert rows(told) == 1
    for _ in range(KEPT_AT_MOST // QUEUE_AT_MOST + 1):
        put_many(told, QUEUE_AT_MOST)
        told.database.connection().execute("UPDATE notices SET is_begun = 1")
    assert told.store.drop_notices(older_than=START + 1) == QUEUE_AT_MOST + 1
    assert rows(told) == KEPT_AT_MOST


def test_a_target_that_was_taken_out_keeps_nothing(told: House) -> None:
    """What all that are left were told goes."""
    told.store.notice_policy = Policy(frozenset(TOPICS), ("webhook", "gone"))
    fail(told, "c1")
    drained(told)
    assert rows(told) == 1
    assert not told.store.has_stale_notices(older_than=0.0)
    told.store.notice_policy = Policy(frozenset(TOPICS), ("webhook",))
    assert told.store.has_stale_notices(older_than=0.0)
    assert told.store.drop_notices(older_than=0.0) == 0
    assert rows(told) == 0
    assert not told.store.has_stale_notices(older_than=0.0)


def die_at(path: Path, statement: int, work: Callable[[House], None]) -> bool:
    """Do something in a process that dies before its n-th statement; false: it came to the end."""
    process = os.fork()
    if process == 0:
        try:
            house = House(path)
            house.store.notice_policy = Policy(frozenset(TOPICS), ("webhook",))
            left = statement

            def count(_: str) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    os._exit(9)

            house.database.connection().set_trace_callback(count)
            work(house)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) in {0, 9}
    return os.waitstatus_to_exitcode(status) == 9


def test_a_death_at_any_statement_loses_and_doubles_no_notice(told: House, tmp_path: Path) -> None:
    """While a case fails: it is failed and there is a notice, or neither."""
    told.add("c1")
    told.step(Label.INPUT, BAD_SCAN)
    begun = told.begin()
    told.close()
    kept, path = told.path.read_bytes(), tmp_path / "again.sqlite3"
    outcomes, deaths = set(), 0
    is_dead = True
    while is_dead:
        for old in tmp_path.glob("again*"):
            old.unlink()
        path.write_bytes(kept)
        is_dead = die_at(path, deaths + 1, lambda house: void(house.finish(begun, Label.OK)))
        deaths += is_dead
        after = House(path)
        outcomes.add((str(after.case().state), rows(after)))
        after.close()
    assert deaths > 8
    assert outcomes == {("archiving", 0), ("failed", 1)}


@pytest.mark.real
def test_a_death_at_any_statement_of_telling(told: House, tmp_path: Path) -> None:
    """Each is told; what is told twice bears the same id, and nothing else comes twice."""
    for case_id in ("c1", "c2", "c3"):
        fail(told, case_id)
    told.close()
    kept, path, log = told.path.read_bytes(), tmp_path / "again.sqlite3", tmp_path / "told"

    def tell(house: House) -> None:
        while (notice := house.store.take_notice("webhook", only_urgent=False)) is not None:
            with log.open("a") as file:
                file.write(f"{notice.notice_id}\n")
            house.store.settle_notice(notice.seq, "webhook")

    deaths, doubles = 0, 0
    is_dead = True
    while is_dead:
        for old in [*tmp_path.glob("again*"), *tmp_path.glob("told")]:
            old.unlink()
        path.write_bytes(kept)
        is_dead = die_at(path, deaths + 1, tell)
        deaths += is_dead
        assert not die_at(path, 0, tell)
        ids = log.read_text().split()
        assert len(set(ids)) == 3
        assert ids == sorted(ids, key=ids.index)  # a double comes right behind its first
        doubles += len(ids) - 3
        after = House(path)
        assert rows(after) == 0
        after.close()
    assert deaths > 12
    assert 0 < doubles <= deaths


def void(_: object) -> None:
    """Take a value that nobody wants."""
