"""Cases: what is written is what is read, names are reserved, and daemon rows are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.adapters.store.builders import (
    BAD_SCAN,
    LINKS,
    MARK,
    START,
    House,
    a_new_case,
    an_input,
    nowhere,
)
from vpe_watcher.adapters.store import Store, UnderWay
from vpe_watcher.adapters.store.statements import update_case
from vpe_watcher.core.model import Label, Modality, Move, State
from vpe_watcher.core.moments import iso


def test_a_case_is_read_as_it_was_written(house: House) -> None:
    """Every field of a new case comes back."""
    inputs = (an_input(Modality.CBCT), an_input(Modality.FACIAL, download_url="https://b.example"))
    moves = (Move("/in/a", "c1/a"), Move("/in/a.job.json", "c1/a.job.json"))
    case = house.add(
        case_name="Müller",
        recipe="teeth",
        content="folder",
        sight="seen",
        inputs=inputs,
        moves=moves,
        job_json=("a.job.json",),
        skipped=({"name": "x.pdf", "reason": "not a scan"},),
        doom=BAD_SCAN,
    )
    assert (case.case_name, case.folder, case.recipe) == ("Müller", "Müller", "teeth")
    assert (case.content, case.sight, case.job_json) == ("folder", "seen", ("a.job.json",))
    assert (case.inputs, case.moves, case.doom) == (inputs, moves, BAD_SCAN)
    assert case.skipped == ({"name": "x.pdf", "reason": "not a scan"},)
    assert (case.state, case.paid, case.generation, case.attempts) == (State.CLAIMING, False, 1, 1)
    assert case.times["detected"] == iso(START - 60)
    assert case.times["claimed"] is None


@pytest.mark.parametrize("odd", ["M\udcfcller", "\ufffd", "\ufffddcfc", "\ud800x\udfff", "日本"])
def test_names_that_are_no_text(house: House, odd: str) -> None:
    """A name with bytes that are no UTF-8 is kept to the byte: its file must be found again."""
    path = f"/in/{odd}.dcm"
    house.store.record_first_scan("inbox:default", {odd: "mark"})
    house.queries.say("take", [path])
    case = house.add(
        case_name=odd,
        content=odd,
        moves=(Move(path, f"c1/{odd}.dcm"),),
        inputs=(an_input(name=f"{odd}.dcm"),),
    )
    assert (case.case_name, case.content, case.moves[0].source) == (odd, odd, path)
    assert (case.moves[0].target, case.inputs[0].name) == (f"c1/{odd}.dcm", f"{odd}.dcm")
    assert house.store.claimed_sources() == {path}
    assert house.store.existing("inbox:default") == {odd: "mark"}
    assert house.store.words()[0].subject == path
    assert house.queries.case_by_source(path) == "c1"
    assert house.queries.find(odd) == ["c1"]
    house.store.set_reference("c1", {("", f"{odd}.dcm"): replace(MARK, ctime_ns=9)}, zip_sizes={})
    assert house.case().inputs[0].mark.ctime_ns == 9


def test_what_the_engine_answered_is_not_kept_in_memory(house: House) -> None:
    """It may have many megabytes; the job, which is ours and small, is read once."""
    house.bring(State.FETCHING)
    one, again = house.case(), house.case()
    assert one.engine_result is not None
    assert one.engine_result == again.engine_result
    assert one.engine_result is not again.engine_result
    assert one.job is again.job


def test_no_such_case(house: House) -> None:
    """A case that is not there is None, not an error."""
    assert house.store.load("c9") is None


def test_names_are_unique_without_case(house: House) -> None:
    """The name is fixed in the order of the claims, compared without case."""
    folders = [
        house.add(f"c{number}", case_name=name).folder
        for number, name in enumerate(("Scan", "scan", "SCAN", "scan.2"))
    ]
    assert folders == ["Scan", "scan.2", "SCAN.3", "scan.2.2"]


def test_a_name_in_a_folder_is_taken(house: House) -> None:
    """The folders are asked too, with the very name that would be used."""
    asked: list[str] = []

    def is_taken(name: str) -> bool:
        asked.append(name)
        return name == "scan"

    assert house.store.add_cases([a_new_case()], is_taken=is_taken) == ("scan.2",)
    assert asked == ["scan", "scan.2"]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(names=st.lists(st.text(max_size=8), min_size=1, max_size=5))
def test_any_names_find_a_place(house: House, names: list[str]) -> None:
    """Whatever people type, each case gets a name of its own."""
    first = sum(house.queries.counts().values())
    folders = [house.add(f"c{first + n}", case_name=name).folder for n, name in enumerate(names)]
    assert len({folder.casefold() for folder in folders}) == len(folders)


def test_a_second_delivery_takes_the_next_name(house: House) -> None:
    """The first name stays the case's own: what lies there is never overwritten."""
    house.add()
    assert house.store.reserve_name("c1", is_taken=nowhere) == "scan.2"
    assert house.case().folder == "scan.2"
    assert house.add("c2").folder == "scan.3"
    assert house.queries.find("scan.2") == ["c1"]


def test_a_returned_case_is_forgotten_with_its_name(house: House) -> None:
    """Not ready after all: nothing of it is left."""
    house.add()
    assert house.step(Label.RETURNED) is None
    left = house.database.read(
        "SELECT case_id FROM cases UNION ALL SELECT case_id FROM names UNION ALL "
        "SELECT case_id FROM moves UNION ALL SELECT case_id FROM inputs UNION ALL "
        "SELECT case_id FROM events"
    )
    assert left == []
    assert house.add("c2").folder == "scan"


def test_due_cases_come_oldest_first(house: House) -> None:
    """What rests is not due; of what is to be submitted its size is told."""
    for case_id in ("c1", "c2", "c3"):
        house.add(case_id)
    house.step(Label.GONE, BAD_SCAN, "c2")
    house.step(case_id="c3")
    third = house.store.load("c3")
    assert third is not None
    assert third.unsent_bytes > 0
    assert house.store.due() == [
        UnderWay("c1", "default", State.CLAIMING, is_counted=False),
        UnderWay(
            "c3",
            "default",
            State.SUBMITTING,
            is_counted=False,
            unsent_bytes=third.unsent_bytes,
        ),
    ]


def test_sources_under_claim(house: House) -> None:
    """While a rename may be under way, the intake leaves the path alone."""
    house.add()
    assert house.store.claimed_sources() == {"/in/scan.dcm"}
    house.store.set_claimed("c1", {}, engine_version="24.06")
    assert house.store.claimed_sources() == set()


def test_sources_that_are_put_away_without_a_claim(house: House) -> None:
    """A case that is cancelled before its files are taken takes them all the same."""
    house.add()
    house.say(Label.CANCEL)
    assert house.case().state is State.ARCHIVING
    assert house.store.claimed_sources() == {"/in/scan.dcm"}
    house.step()
    assert house.store.claimed_sources() == set()


def test_earlier_cases_with_the_same_wishes(house: House) -> None:
    """Same sizes, same outputs and options, same version; other keys of the job do not count."""
    house.bring(State.NOTIFYING)
    house.add("c2", job={"outputFiles": {"meshes": []}, "endUserId": "x"})
    house.add("c3", engine_version="25.01")
    house.add("c4", job={"outputFiles": {"meshes": []}, "options": {"skull": {}}})
    house.add("c5", inputs=(an_input(mark=replace(MARK, size=1001)),))
    house.add("c6", inputs=(an_input(Modality.FACIAL),))
    house.add("c7", doom=BAD_SCAN)
    house.add("c8")
    found = house.store.earlier_alike("c8")
    assert [(earlier.case_id, earlier.state) for earlier in found] == [
        ("c1", State.NOTIFYING),
        ("c2", State.CLAIMING),
    ]
    assert found[0].content_key
    assert found[1].content_key is None
    assert house.store.earlier_alike("c1") == []


def test_a_case_that_is_sent_at_its_price_comes_first(house: House) -> None:
    """Who came before it, and is retried for nothing, need not pay for the same once more."""
    house.add()
    house.add("c2")
    assert house.store.earlier_alike("c1") == []
    with house.store.database.transaction() as connection:
        update_case(connection, "c2", is_rerun=1)
    assert [one.case_id for one in house.store.earlier_alike("c1")] == ["c2"]
    assert [one.case_id for one in house.store.earlier_alike("c1", content_key="k")] == ["c2"]


def test_content_keys_compare_all_inputs(house: House) -> None:
    """The key is there when all digests are, and does not depend on the order."""
    both = (an_input(Modality.CBCT), an_input(Modality.FACIAL))
    cbct, facial = ("", both[0].name), ("", both[1].name)
    house.add("c1", inputs=both)
    house.add("c2", inputs=both)
    assert house.store.set_digests("c1", {cbct: "aa"}) == ""
    key = house.store.set_digests("c1", {facial: "bb"})
    assert key == house.store.set_digests("c2", {facial: "bb", cbct: "aa"}) != ""
    assert house.store.set_digests("c2", {facial: "aa", cbct: "bb"}) != key


def test_what_changed_has_no_digest_any_more(house: House) -> None:
    """A digest of what a file was must not make it a duplicate."""
    house.bring(State.NOTIFYING)
    house.add("c2")
    house.step(Label.CHANGED)
    case = house.case()
    assert (case.state, case.is_settling, case.job_id) == (State.CLAIMING, True, None)
    assert case.inputs[0].sha256 is None
    assert house.store.earlier_alike("c2")[0].content_key is None


def test_a_claim_fixes_the_job_and_its_time_once(house: House) -> None:
    """`job.json` may change what is asked for; a second claim keeps the first time."""
    house.add()
    house.store.set_claimed("c1", {"outputFiles": {"meshes": [1]}}, engine_version="24.06")
    house.now += 100
    house.store.set_claimed("c1", {"outputFiles": {"meshes": [1]}}, engine_version="24.06")
    case = house.case()
    assert (case.job, case.times["claimed"]) == ({"outputFiles": {"meshes": [1]}}, iso(START))
    events = [event["event"] for event in house.queries.events("c1")]
    assert events == ["candidate.taken", "case.claimed"]


def test_a_reference_is_what_later_looks_are_compared_with(house: House) -> None:
    """A rename changes ctime: the look after it counts."""
    house.add()
    mark = replace(MARK, ctime_ns=77)
    house.store.set_reference("c1", {("", "cbct.dcm"): mark}, zip_sizes={})
    assert house.case().inputs[0].mark == mark


def test_a_rename_back_keeps_digests(house: House) -> None:
    """Files whose content was found to be the same have new marks and old digests."""
    house.bring(State.NOTIFYING)
    mark = replace(MARK, ctime_ns=99)
    house.store.keep_reference("c1", {("", "cbct.dcm"): mark})
    entry = house.case().inputs[0]
    assert (entry.mark, entry.sha256) == (mark, "digest of cbct")


def test_inputs_that_become_known_later(house: House) -> None:
    """A case that failed before anything was known of it is looked at again."""
    house.add("c1", inputs=(), doom=BAD_SCAN)
    house.add("c2")
    skipped = ({"name": "x.pdf", "reason": "not a scan"},)
    house.store.set_inputs("c1", (an_input(),), skipped=skipped)
    assert (house.case().inputs, house.case().skipped) == ((an_input(),), skipped)
    house.add("c3")
    house.store.set_inputs("c3", (an_input(Modality.FACIAL),), skipped=())
    assert [entry.modality for entry in house.case("c3").inputs] == [Modality.FACIAL]
    assert house.store.earlier_alike("c3") == []


def test_a_case_is_read_at_one_moment(house: House) -> None:
    """A commit in the middle of reading does not mix before and after."""
    house.bring(State.NOTIFYING)
    other = Store(house.open(), now=house.clock)

    committed: list[str] = []

    def commit_in_between(sql: str) -> None:
        if "FROM inputs" in sql and not committed:
            committed.append(sql)
            other.begin_notification("c1", "cbct")

    house.database.connection().set_trace_callback(commit_in_between)
    case = house.case()
    house.database.connection().set_trace_callback(None)
    assert (len(committed), house.case().paid) == (1, True)
    assert (case.paid, str(case.inputs[0].notified)) == (False, "no")


def test_marks_as_large_as_a_file_system_has_them(house: House) -> None:
    """Inode numbers use all 63 bits."""
    mark = replace(MARK, inode=2**63 - 1, size=2**50)
    assert house.add(inputs=(an_input(mark=mark),)).inputs[0].mark == mark


# --- the daemon's own rows -----------------------------------------------------------------------


def test_the_first_start_gives_the_id_for_good(house: House) -> None:
    """Later starts only count."""
    assert house.store.identity() == ("", 0)
    assert house.store.record_start(fresh_id="a") == ("a", 1)
    assert house.store.record_start(fresh_id="b") == ("a", 2)
    assert house.store.identity() == ("a", 2)


def test_roots_remember_their_first_scan(house: House) -> None:
    """Another path under the same name is another root: its first scan is to come."""
    house.store.add_root("inbox:default", "/in")
    assert not house.store.is_scanned("inbox:default")
    house.store.record_first_scan("inbox:default", {"old.dcm": "mark"})
    assert house.store.is_scanned("inbox:default")
    assert house.store.existing("inbox:default") == {"old.dcm": "mark"}
    assert house.store.existing("inbox:other") == {}
    house.store.add_root("inbox:default", "/mnt/in")
    assert not house.store.is_scanned("inbox:default")
    assert house.store.known_roots() == {"inbox:default": "/mnt/in"}


def test_what_a_person_wants_is_not_existing(house: House) -> None:
    """Said before the first scan or after it; a scan of the root as a new one changes nothing."""
    house.store.add_root("inbox", "/in")
    house.store.want("inbox", "early.dcm")
    house.store.record_first_scan("inbox", {"early.dcm": "a", "late.dcm": "b", "old.dcm": "c"})
    house.store.want("inbox", "late.dcm")
    assert house.store.existing("inbox") == {"early.dcm": "", "old.dcm": "c"}
    house.store.record_first_scan("inbox", {"early.dcm": "d", "old.dcm": "e"})
    assert house.store.existing("inbox") == {"early.dcm": "", "old.dcm": "e"}


def test_a_snapshot_replaces_the_last(house: House) -> None:
    """Other processes see one body, whole."""
    assert house.queries.snapshot() == {}
    house.store.put_snapshot({"candidates": [1]})
    house.store.put_snapshot({"candidates": []})
    assert house.queries.snapshot() == {"candidates": []}


@pytest.mark.parametrize("links", [{}, {"cbct": LINKS}])
def test_a_job_is_kept_with_its_links(house: House, links: dict[str, object]) -> None:
    """The answer to a submit is written down before anything is done with it."""
    house.bring(State.SUBMITTING)
    house.begin()
    house.store.set_job("c1", "j1", links)  # type: ignore[arg-type]
    case = house.case()
    assert (case.job_id, case.times["submitted"]) == ("j1", iso(START))
    assert case.inputs[0].upload_url == (LINKS.upload_url if links else None)
