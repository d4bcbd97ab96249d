"""The same scan a second time: what becomes of it in each state of the first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flow.house import STL_JOB, House, binary_stl, nifti
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.store import Begun, Store
from vpe_watcher.core.model import Case, State

Way = Callable[[House], Case]
HOURS = 3600.0


def _again(house: House, content: bytes | None = None) -> Case:
    """Drop the same scan once more, and live until it is past its claim."""
    house.drop("again.nii", content)
    house.live(25)
    return house.case("again")


def _first(house: House, state: State) -> Case:
    house.drop("scan.nii")
    house.live_until_rest(at_most_s=4000)
    case = house.case("scan")
    assert case.state is state
    return case


# --- the earlier case has a result ---------------------------------------------------------------


def test_a_scan_that_is_done_is_not_sent_again(house: House) -> None:
    """Its folder says which case has the result, and holds nothing else."""
    earlier = _first(house, State.DONE)
    requests = len(house.sandbox.ledger.requests)
    case = _again(house)
    assert (case.state, case.duplicate_of) == (State.DUPLICATE, earlier.case_id)
    assert len(house.sandbox.ledger.requests) == requests
    assert house.files("outbox/again") == ["result.json"]
    assert house.files("archive/again") == ["again.nii", "result.json"]
    assert (house.files("inbox"), house.leftovers()) == ([], [])


def test_the_manifest_of_a_duplicate(house: House) -> None:
    """It names the earlier case and the inputs, and neither a job nor outputs."""
    earlier = _first(house, State.DONE)
    case = _again(house)
    result = house.result("again")
    assert result["schema"] == "vpe-watcher/result/1"
    assert (result["status"], result["duplicate_of"]) == ("duplicate", earlier.case_id)
    assert (result["case_id"], result["case_name"]) == (case.case_id, "again")
    assert (result["outputs"], result["engine"]["job_id"]) == ([], None)
    (entry,) = result["inputs"]
    assert entry["sha256"] == house.result("scan")["inputs"][0]["sha256"]
    assert result["times"]["submitted"] is None
    assert result["times"]["delivered"] is not None


def test_a_partial_result_is_a_result(build: Callable[..., House]) -> None:
    """Also what was only partly answered is not bought again without a person's word."""
    house = build(job={"outputFiles": {"meshes": [_mesh("mandible"), _mesh("maxilla")]}})
    house.sandbox.set_options(failed=["maxilla"])
    earlier = _first(house, State.PARTIAL)
    case = _again(house)
    assert (case.state, case.duplicate_of) == (State.DUPLICATE, earlier.case_id)
    assert house.started() == 1


def _mesh(structure: str) -> dict[str, object]:
    return {"extension": ".stl", "structures": [structure]}


def test_a_result_that_was_taken_away_still_counts(house: House) -> None:
    """People empty the outbox: the case stays done."""
    earlier = _first(house, State.DONE)
    for path in (house.root / "outbox" / "scan").iterdir():
        path.unlink()
    (house.root / "outbox" / "scan").rmdir()
    assert _again(house).duplicate_of == earlier.case_id


# --- the earlier case is under way ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "state"),
    [
        ("submit", State.SUBMITTING),
        ("upload", State.UPLOADING),
        ("notify", State.NOTIFYING),
        ("poll", State.WAITING),
        ("download", State.FETCHING),
    ],
)
def test_the_later_one_waits_while_the_first_is_under_way(
    house: House, call: str, state: State
) -> None:
    """It waits in `claiming` and says for whom; with the result it becomes a duplicate."""
    house.sandbox.set_faults([{"on": call, "do": {"status": 500}}])
    house.drop("scan.nii")
    earlier = house.live_until("scan", state)
    case = _again(house)
    assert house.case("scan").state is state
    assert case.state is State.CLAIMING
    reason = house.queries.case_row(case.case_id)["wait_reason"]
    assert earlier.case_id in reason
    assert house.sandbox.ledger.count("submit", 200) <= 1
    house.sandbox.set_faults([])
    house.live_until_rest(at_most_s=2000)
    assert house.states() == {"scan": State.DONE, "again": State.DUPLICATE}
    assert house.queries.case_row(case.case_id)["wait_reason"] is None
    assert house.started() == 1


def test_a_name_is_free_again_once_it_is_claimed(house: House) -> None:
    """A scanner that always writes `scan.nii` is served while a case of that name waits."""
    house.sandbox.set_options(processing_s=600.0)
    house.drop("first.nii")
    house.live_until("first", State.WAITING)
    house.drop("scan.nii")
    house.live(10)
    assert house.case("scan").state is State.CLAIMING
    house.drop("scan.nii", nifti(seed=1))
    house.live(20)
    states = [case.state for case in house.cases() if case.case_name == "scan"]
    assert states == [State.CLAIMING, State.WAITING]


def test_three_of_one_kind_dropped_together(house: House) -> None:
    """One is sent; the others wait, over a restart too, and become its duplicates."""
    house.sandbox.set_options(processing_s=60.0)
    for name in ("a", "b", "c"):
        house.drop(f"{name}.nii")
    house.live(20)
    assert sorted(map(str, house.states().values())) == ["claiming", "claiming", "waiting"]
    house.restart()
    house.live_until_rest()
    first = next(case for case in house.cases() if case.state is State.DONE)
    others = [case for case in house.cases() if case is not first and case.duplicate_of]
    assert {case.duplicate_of for case in others} == {first.case_id}
    assert (len(others), house.started()) == (2, 1)


def test_the_later_one_runs_when_the_first_fails_unpaid(house: House) -> None:
    """What was refused before it could cost anything stands in nobody's way."""
    house.sandbox.set_faults([{"on": "submit", "times": 1, "do": {"status": 400}}])
    house.drop("scan.nii")
    house.drop("scan2.nii")
    house.live_until_rest()
    assert sorted(map(str, house.states().values())) == ["done", "failed"]


def test_the_later_one_is_held_when_the_first_fails_paid(house: House) -> None:
    """It waited for a result, and there is none: a person decides whether to pay again."""
    house.sandbox.set_options(processing_s=30.0, success=False)
    house.drop("scan.nii")
    house.live_until("scan", State.WAITING)
    assert _again(house).state is State.CLAIMING
    house.live_until_rest()
    assert house.states() == {"scan": State.FAILED, "again": State.HELD}


# --- the earlier case has no result --------------------------------------------------------------


def _failed_unpaid(house: House) -> Case:
    house.sandbox.set_faults([{"on": "submit", "do": {"status": 400}}])
    return _first(house, State.FAILED)


def _failed_paid(house: House) -> Case:
    house.sandbox.set_options(success=False)
    return _first(house, State.FAILED)


def _cancelled_paid(house: House) -> Case:
    house.sandbox.set_options(processing_s=HOURS)
    house.drop("scan.nii")
    house.say("cancel", house.live_until("scan", State.WAITING))
    house.live(5)
    return house.case("scan")


def _held(house: House) -> Case:
    house.sandbox.set_faults([{"on": "poll", "do": {"status": 403}}])
    return _first(house, State.HELD)


def _heal(house: House) -> None:
    house.sandbox.set_faults([])
    house.sandbox.set_options(success=True, processing_s=0.0)


@pytest.mark.parametrize("way", [_failed_unpaid, _failed_paid, _cancelled_paid, _held])
def test_what_came_of_an_earlier_case_without_a_result(house: House, way: Way) -> None:
    """Certainly unpaid: the later one runs. Perhaps paid, or held: a person decides."""
    earlier = way(house)
    _heal(house)
    started = house.started()
    case = _again(house)
    if way is _failed_unpaid:
        assert (earlier.paid, case.state) == (False, State.DONE)
        return
    assert (case.state, case.paid, house.started()) == (State.HELD, False, started)
    assert case.problem is not None
    assert case.problem.code == "duplicate_ambiguous"
    assert earlier.case_id in case.problem.message
    assert earlier.case_id in case.problem.hint
    assert "again.held.txt" in house.files("failed")
    assert house.claimed(case).exists()


def test_what_was_cancelled_before_the_upload_stands_in_nobodys_way(house: House) -> None:
    """Nothing was begun that costs."""
    house.sandbox.set_faults([{"on": "upload", "do": {"status": 500}}])
    house.drop("scan.nii")
    house.say("cancel", house.live_until("scan", State.UPLOADING))
    house.live(5)
    assert house.case("scan").state is State.CANCELLED
    _heal(house)
    assert _again(house).state is State.DONE


def test_the_first_with_a_result_wins_over_the_first_without(house: House) -> None:
    """A failed case and a done one: the result is what counts."""
    _failed_paid(house)
    _heal(house)
    held = _again(house)
    house.say("retry", held, may_cost=True)
    house.live_until_rest()
    house.drop("third.nii")
    house.live(25)
    third = house.case("third")
    assert (third.state, third.duplicate_of) == (State.DUPLICATE, held.case_id)


def _retried_while_its_like_runs(house: House) -> None:
    """Let a scan fail unpaid, the same scan run, and the first be retried meanwhile."""
    first = _failed_unpaid(house)
    _heal(house)
    house.sandbox.set_options(processing_s=60.0)
    house.drop("again.nii")
    house.live_until("again", State.WAITING)
    house.say("retry", first)
    house.live(10)


def test_a_retry_waits_for_a_later_case_under_way(house: House) -> None:
    """The older of two comes back while the younger is being computed: one job for both."""
    _retried_while_its_like_runs(house)
    assert house.states() == {"scan": State.CLAIMING, "again": State.WAITING}
    house.live_until_rest()
    assert house.states() == {"scan": State.DUPLICATE, "again": State.DONE}
    assert house.started() == 1


class InterruptedDisk(Disk):
    """Lets something happen while a file is read to its end."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], None] = lambda: None

    def digest(self, path: Path) -> str:
        """Return the SHA-256 of a file, late."""
        self.meanwhile()
        return super().digest(path)


def test_a_retry_while_the_later_case_is_compared(build: Callable[..., House]) -> None:
    """Reading a large scan takes long; the first is taken up again in that time: one job."""
    disk = InterruptedDisk()
    house = build(disk=disk)
    house.sandbox.set_faults([{"on": "notify", "do": {"status": 500}}])
    house.drop("scan.nii")
    house.say("cancel", house.live_until("scan", State.UPLOADING))
    house.live(5)
    first = house.case("scan")
    assert first.state is State.CANCELLED
    _heal(house)

    def retry() -> None:
        if house.case("scan").state.is_at_rest:
            house.queries.say("retry", [first.case_id])
            house.parts.words.obey()

    disk.meanwhile = retry
    house.drop("again.nii")
    house.live_until("again", State.CLAIMING)
    house.live(60)
    assert sorted(map(str, house.states().values())) == ["done", "duplicate"]
    assert house.started() == 1


def test_a_retry_after_the_later_case_was_compared(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken up again, and past its own claim, before the later one moves on: one job for both."""
    first = _failed_unpaid(house)
    _heal(house)
    finish = Store.finish

    def late(store: Store, begun: Begun, *rest: Any, **named: Any) -> object:
        if begun.case.case_name == "again" and house.case("scan").state.is_at_rest:
            house.queries.say("retry", [first.case_id])
            house.parts.words.obey()
            house.parts.runner.run(first.case_id, State.CLAIMING)
        return finish(store, begun, *rest, **named)

    house.drop("again.nii")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "finish", late)
        house.live_until("scan", State.SUBMITTING)
        assert house.states() == {"scan": State.SUBMITTING, "again": State.CLAIMING}
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE, "again": State.DUPLICATE}
    assert house.started() == 1


def test_a_retry_does_not_pay_for_what_a_later_case_was_paid_for(house: House) -> None:
    """The younger one may have cost and has no result: a person decides about the older, too."""
    house.sandbox.set_options(success=False)
    _retried_while_its_like_runs(house)
    house.sandbox.set_options(success=False)
    house.live_until_rest()
    assert (house.case("again").state, house.case("scan").state) == (State.FAILED, State.HELD)
    assert house.started() == 1


def test_two_of_a_kind_never_wait_for_one_another(house: House) -> None:
    """The younger falls back into its claim while the older waits for it: the older goes on."""
    first = _failed_unpaid(house)
    _heal(house)
    house.sandbox.set_faults([{"on": "upload", "do": {"status": 500}}])
    house.drop("again.nii")
    later = house.live_until("again", State.UPLOADING)
    house.say("retry", first)
    house.live(3)
    assert house.case("scan").state is State.CLAIMING
    house.claimed(later).write_bytes(nifti())
    house.live(5)
    assert house.case("scan").state is State.UPLOADING
    _heal(house)
    house.live_until_rest(at_most_s=2000)
    assert sorted(map(str, house.states().values())) == ["done", "duplicate"]
    assert house.started() == 1


def test_a_payment_of_an_earlier_job_is_not_forgotten(house: House) -> None:
    """Paid for once, retried, and refused then: what was paid still stands between."""
    first = _failed_paid(house)
    _heal(house)
    house.sandbox.set_faults([{"on": "submit", "do": {"status": 422}}])
    house.say("retry", first, may_cost=True)
    house.live_until_rest()
    assert (house.case("scan").state, house.case("scan").paid) == (State.FAILED, False)
    _heal(house)
    assert _again(house).state is State.HELD
    assert house.started() == 1


# --- what is not the same ------------------------------------------------------------------------


def test_the_same_size_is_not_the_same_scan(house: House) -> None:
    """Other bytes are another scan, however alike from outside."""
    _first(house, State.DONE)
    assert _again(house, nifti(seed=5)).state is State.DONE
    assert house.started() == 2


def test_the_name_makes_no_difference(house: House) -> None:
    """Content counts: the same bytes under another name and extension are the same scan."""
    _first(house, State.DONE)
    folder = house.root / "inbox" / "patient"
    folder.mkdir()
    (folder / "volume.nii").write_bytes(nifti())
    house.live(25)
    assert house.case("patient").state is State.DUPLICATE


@pytest.mark.parametrize(
    "wishes",
    [
        {"options": {"smooth": True}},
        {"outputFiles": {"meshes": [_mesh("maxilla")]}},
        {"outputFiles": {"meshes": [{"extension": ".ply", "structures": ["mandible"]}]}},
    ],
    ids=["options", "structures", "extension"],
)
def test_other_wishes_are_another_case(house: House, wishes: dict[str, object]) -> None:
    """Whoever asks for something else of the same scan gets it."""
    _first(house, State.DONE)
    (house.root / "inbox" / "again.nii.job.json").write_text(json.dumps(wishes))
    assert _again(house).state is State.DONE
    assert house.started() == 2


def test_the_order_of_keys_is_no_other_wish(house: House) -> None:
    """Wishes are compared as canonical JSON."""
    for name, options in (("scan", '{"a": 1, "b": {"c": 2, "d": 3}}'), ("again", None)):
        text = options or '{"b": {"d": 3, "c": 2}, "a": 1}'
        (house.root / "inbox" / f"{name}.job.json").write_text(f'{{"options": {text}}}')
        house.drop(f"{name}.nii")
        house.live(25)
    assert house.states() == {"scan": State.DONE, "again": State.DUPLICATE}


def test_another_engine_version_is_another_case(build: Callable[..., House]) -> None:
    """A new Engine may do better."""
    house = build(engine={"version": "24.06"})
    _first(house, State.DONE)
    house.reconfigure(engine={"version": "25.01"})
    assert _again(house).state is State.DONE
    assert house.result("again")["engine"]["version"] == "25.01"
    house.drop("third.nii")
    house.live(25)
    assert house.case("third").duplicate_of == house.case("again").case_id


def test_the_version_that_computes_counts_not_the_one_at_the_claim(
    build: Callable[..., House],
) -> None:
    """Configured between claim and submit: the result names it, and duplicates go by it."""
    house = build(engine={"version": "24.06"})
    house.drop("scan.nii")
    house.live_until("scan", State.SUBMITTING)
    house.reconfigure(engine={"version": "25.01"})
    house.live_until_rest()
    assert (
        house.result("scan")["engine"]["version"] == house.sandbox.ledger.job().version == "25.01"
    )
    assert _again(house).state is State.DUPLICATE
    assert house.started() == 1


def test_a_death_as_the_version_is_found_to_have_changed_pays_for_nothing_twice(
    build: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is sent was compared with earlier cases for the version that computes it."""
    house = build(engine={"version": "24.06"})
    house.drop("scan.nii")
    case = house.live_until("scan", State.SUBMITTING)
    house.reconfigure(engine={"version": "25.01"})
    with monkeypatch.context() as patch:
        patch.setattr(Store, "finish", _die)
        with pytest.raises(KeyboardInterrupt):
            house.parts.runner.run(case.case_id, State.SUBMITTING)
    house.restart()
    house.live_until_rest()
    assert house.sandbox.ledger.job().version == "25.01"
    assert _again(house).state is State.DUPLICATE
    assert house.started() == 1


def _die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_rerun_sends_everything(build: Callable[..., House]) -> None:
    """`duplicates = "rerun"` asks for a job each time, whatever came before."""
    house = build(intake={"duplicates": "rerun"})
    _first(house, State.DONE)
    assert _again(house).state is State.DONE
    assert house.started() == 2


def test_a_recipe_may_rerun_for_itself(build: Callable[..., House]) -> None:
    """The key holds for each recipe by itself."""
    house = build(recipes={"teeth": {"duplicates": "rerun"}})
    _first(house, State.DONE)
    house.drop("one.nii", recipe="teeth")
    house.drop("two.nii")
    house.live(25)
    assert house.case("one").state is State.DONE
    assert house.case("two").state is State.DUPLICATE


# --- several modalities --------------------------------------------------------------------------


def _jaws(house: House, name: str, upper: bytes, lower: bytes) -> State:
    folder = house.root / "inbox" / name
    folder.mkdir()
    (folder / "upper.stl").write_bytes(upper)
    (folder / "lower.stl").write_bytes(lower)
    house.live(25)
    return house.case(name).state


def test_a_folder_is_the_same_when_all_its_inputs_are(build: Callable[..., House]) -> None:
    """Both jaws again are a duplicate; jaws exchanged, or one other, are not."""
    house = build(job=STL_JOB)
    one, two, three = (binary_stl(seed=seed) for seed in (1, 2, 3))
    assert _jaws(house, "first", one, two) is State.DONE
    assert _jaws(house, "same", one, two) is State.DUPLICATE
    assert _jaws(house, "exchanged", two, one) is State.DONE
    assert _jaws(house, "half", one, three) is State.DONE
    house.drop("upper.stl", one)
    house.live(25)
    assert house.case("upper").state is State.DONE
    assert len(house.result("same")["inputs"]) == 2


# --- the digest ----------------------------------------------------------------------------------


class CountingDisk(Disk):
    """Counts which files were read to the end before they were sent."""

    def __init__(self) -> None:
        self.digested: list[str] = []

    def digest(self, path: Path) -> str:
        """Return the SHA-256 of a file, and note its name."""
        self.digested.append(path.name)
        return super().digest(path)


def test_files_are_read_twice_only_when_sizes_agree(build: Callable[..., House]) -> None:
    """A scan of a size that was never seen is digested while it is uploaded, not before."""
    disk = CountingDisk()
    house = build(disk=disk)
    for number, side in enumerate((4, 5, 6)):
        house.drop(f"{number}.nii", nifti(side=side))
    house.live_until_rest()
    assert disk.digested == []
    house.drop("same size.nii", nifti(side=5, seed=1))
    house.live(25)
    assert disk.digested == ["same size.nii"]
