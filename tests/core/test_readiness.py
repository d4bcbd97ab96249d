"""When a candidate is ready: the contract's ladder, as tables over time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.judging import (
    MARKED,
    RULES,
    Files,
    a_directory,
    a_fact,
    a_series,
    a_slice_fact,
    all_judged,
    candidates_of,
    doom_of,
    judgement_of,
    plan_after,
    plans_after,
    proven,
    unsure,
)
from vpe_watcher.core.candidate import found_open, looked
from vpe_watcher.core.candidates import CandidateState, Judgement, judged, may_be_taken_at_once
from vpe_watcher.core.content import Facts
from vpe_watcher.core.model import Proof

SETTLING, INCOMPLETE = CandidateState.SETTLING, CandidateState.INCOMPLETE
HELD_BACK, NO_FILE = CandidateState.HELD_BACK, CandidateState.NO_USABLE_FILE


def first_look(files: Files, **more: Any) -> Judgement:
    """Judge at the very first look."""
    return judgement_of(files, 0.0, looks=1, **more)


# --- a file --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["scan.dcm", "scan.nii.gz", "scan.zip", "upper.stl"])
def test_what_is_proven_and_closed_is_taken_at_once(path: str) -> None:
    """At the very first look, without any quiet time."""
    (plan,) = first_look(proven(path)).plans
    assert plan.doom is None
    assert [entry.name for entry in plan.inputs] == [path]


@pytest.mark.parametrize(
    ("proof", "closed"),
    [(Proof.COMPLETE, False), (Proof.CANNOT_TELL, True), (Proof.CANNOT_TELL, False)],
)
def test_half_a_proof_needs_the_quiet_time(proof: Proof, *, closed: bool) -> None:
    """A whole file without a trusted lease, or a closed one that cannot tell: settle_s, two looks.

    The first look alone does not do, however late the second one comes.
    """
    files = {"scan.nii": a_fact("scan.nii", proof, closed=closed)}
    assert first_look(files).state is SETTLING
    assert judgement_of(files, 4.99).state is SETTLING
    assert judgement_of(files, 4.99).again_s == pytest.approx(0.01)
    assert judgement_of(files, 100.0, looks=1).state is SETTLING
    assert plan_after(files, 5.0).doom is None


@pytest.mark.parametrize("proof", list(Proof))
def test_what_is_open_waits_whatever_it_proves(proof: Proof) -> None:
    """Somebody may still write, or write again: neither taken nor failed."""
    files = {"scan.nii": a_fact("scan.nii", proof)}
    for quiet_s in (0.0, 5.0, 100_000.0):
        waiting = judgement_of(files, quiet_s, is_open=True)
        assert (waiting.state, waiting.plans) == (SETTLING, ())
        assert "open for writing" in waiting.reason


def test_the_clock_of_the_incomplete_stops_while_it_is_open() -> None:
    """A slow writer has incomplete_after_s from the moment it lets go."""
    files = {"scan.nii": a_fact("scan.nii", Proof.INCOMPLETE, "is empty")}
    (candidate,) = candidates_of(files)
    for turn in range(50):
        candidate = found_open(candidate, now=100.0 * turn)
    candidate = replace(candidate, is_open=False)
    for now, is_waiting in ((4900.0, True), (5499.0, True), (5500.0, False)):
        one = judged(candidate, files, RULES, now=now, known={})
        assert (one.state is not None) is is_waiting


def test_wrong_content_fails_after_the_quiet_time_only() -> None:
    """A growing file may begin with anything; a closed one too, while it is being replaced."""
    wrong = {"scan.dcm": a_fact("scan.dcm", Proof.WRONG, "is a PDF", closed=True)}
    assert first_look(wrong).state is SETTLING
    assert judgement_of(wrong, 4.9).state is SETTLING
    assert doom_of(wrong, 5.0) == "wrong_content"


def test_incomplete_files_fail_when_nobody_has_gone_on_for_long() -> None:
    """Until then they wait, with what is wrong and how long that is borne."""
    short = {"scan.dcm": a_fact("scan.dcm", Proof.INCOMPLETE, "ends after 3 of 9 bytes")}
    assert first_look(short).state is SETTLING
    waiting = judgement_of(short, 599.0)
    assert (waiting.state, waiting.again_s) == (INCOMPLETE, 1.0)
    assert "the file ends after 3 of 9 bytes" in waiting.reason
    assert "600 s" in waiting.reason
    assert doom_of(short, 600.0) == "incomplete"


def test_half_a_job_json_is_waited_for() -> None:
    """A wish that is not whole JSON yet would be read wrong: the scan beside it is not at once."""
    files = proven("scan.dcm", "scan.job.json")
    assert len(first_look(files).plans) == 1
    files["scan.job.json"] = a_fact("scan.job.json", closed=True)
    assert first_look(files).state is SETTLING
    assert plan_after(files, 5.0).job_json == ("scan.job.json",)


def test_a_job_json_that_is_open_is_waited_for() -> None:
    """It is part of the candidate like any other file of it."""
    files = proven("scan.dcm", "scan.dcm.job.json")
    files["scan.dcm.job.json"] = replace(files["scan.dcm.job.json"], is_closed=False)
    assert first_look(files).state is SETTLING


def test_unread_files_are_asked_for_when_they_are_quiet() -> None:
    """Not before; and a file that went is asked for again."""
    assert first_look({"scan.dcm": None}).state is SETTLING
    assert judgement_of({"scan.dcm": None}, 5.0).facts_of == ("scan.dcm",)
    folder = proven("p/a.nii") | {"p/b.pdf": None}
    assert judgement_of(folder, 5.0).facts_of == ("p/b.pdf",)


def test_a_name_that_is_no_text_is_told() -> None:
    """Whatever else is true of it: it can neither be stored nor shown."""
    waiting = first_look(proven("M\udcfcller.nii"))
    assert waiting.state is CandidateState.BLOCKED
    assert "UTF-8" in waiting.reason


def test_a_dicomdir_alone_is_no_scan() -> None:
    """It stays where it is, and is no candidate."""
    assert judgement_of(a_directory("DICOMDIR", "IM1"), 1000.0) == Judgement()


# --- a folder ------------------------------------------------------------------------------------

PAIR = ("p/upper.stl", "p/sub/lower.ply")


def test_a_folder_is_taken_at_once_when_it_came_whole() -> None:
    """Moved in by one rename, and every file in it proven."""
    (plan,) = first_look(proven(*PAIR), was_moved_in=True).plans
    assert len(plan.inputs) == 2


@pytest.mark.parametrize(
    "files",
    [
        proven(PAIR[0]) | unsure(PAIR[1]),
        proven(*PAIR, "p/report.pdf") | unsure("p/report.pdf"),
        proven(PAIR[0]) | {PAIR[1]: a_fact(PAIR[1], Proof.COMPLETE, closed=False)},
        proven(PAIR[0]) | {"p/job.json": a_fact("p/job.json", closed=True)},
    ],
)
def test_one_doubt_and_a_folder_is_not_at_once(files: Files) -> None:
    """One file that is not proven, one that may be open, half a job.json."""
    assert first_look(files, was_moved_in=True).state is SETTLING
    assert len(plan_after(files, 5.0).inputs) >= 1


def test_a_folder_that_is_being_filled_is_not_at_once() -> None:
    """Everything in it so far is proven, and the copier is not done."""
    assert first_look(proven(*PAIR)).state is SETTLING
    assert judgement_of(proven(*PAIR), 4.9).state is SETTLING
    assert len(plan_after(proven(*PAIR), 5.0).inputs) == 2


def test_a_folder_with_slices_settles_like_a_series() -> None:
    """Nothing says how many there will be."""
    files = a_series(at="p/")
    assert judgement_of(files, 5.0).state is SETTLING
    waiting = judgement_of(files, 29.0)
    assert (waiting.state, waiting.again_s) == (SETTLING, 1.0)
    assert len(plan_after(files, 30.0).inputs[0].slices) == 12


def test_a_folder_of_proven_slices_that_was_moved_in_is_taken_at_once() -> None:
    """All of it came by one rename: nothing is to follow."""
    assert len(first_look(a_series(at="p/")).plans) == 0
    files = {path: replace(fact, is_closed=True) for path, fact in a_series(at="p/").items()}
    assert len(first_look(files, was_moved_in=True).plans) == 1
    assert first_look(files).state is SETTLING


@pytest.mark.parametrize("temporary", ["p/b.nii.part", "p/x/.b.tmp", "p/x.crdownload"])
def test_a_temporary_name_keeps_a_folder_incomplete(temporary: str) -> None:
    """A copier is at work; after incomplete_after_s all of it fails as one case."""
    files = proven("p/a.nii") | {temporary: None}
    if temporary.rpartition("/")[2].startswith("."):
        assert len(first_look(files, was_moved_in=True).plans) == 1  # hidden: never looked at
        return
    assert first_look(files, was_moved_in=True).state is SETTLING
    assert judgement_of(files, 599.0).state is INCOMPLETE
    assert doom_of(files, 600.0) == "incomplete"


def test_one_short_file_keeps_a_folder_incomplete() -> None:
    """And fails all of it in the end, as one case with the whole folder."""
    files = a_series(at="p/") | {"p/last": a_slice_fact(13, proof=Proof.INCOMPLETE)}
    assert judgement_of(files, 599.0).state is INCOMPLETE
    plan = plan_after(files, 600.0)
    assert (plan.files, plan.content) == (("p",), "p")
    assert plan.doom is not None


def test_a_short_file_that_is_no_scan_does_not_matter() -> None:
    """Half a job.json is refused by its own rule, and what is no scan is left out."""
    files = proven("p/a.nii") | {"p/log.txt": a_fact("p/log.txt", Proof.INCOMPLETE)}
    assert plan_after(files, 5.0).doom is None


@pytest.mark.parametrize(
    "files",
    [
        unsure("p/report.pdf", "p/autorun.inf"),
        a_directory("p/DICOMDIR", "IM1", "IM2"),
        {"p/pano": a_slice_fact(1, sop_class_uid="1.2.840.10008.5.1.4.1.1.7", modality="PX")},
    ],
)
def test_a_folder_without_a_usable_file_stays(files: Files) -> None:
    """For ever, with that reason: nobody's pictures fail."""
    for quiet_s in (30.0, 100_000.0):
        assert judgement_of(files, quiet_s).state is NO_FILE
        assert judgement_of(files, quiet_s).reason


# --- DICOMDIR ------------------------------------------------------------------------------------

SLICES = {path: replace(fact, is_closed=True) for path, fact in a_series(at="p/").items()}
LISTED = tuple(path.removeprefix("p/") for path in SLICES)


def test_a_dicomdir_that_lists_exactly_what_is_there_proves_it() -> None:
    """At once, though the folder was filled file by file."""
    (plan,) = first_look(SLICES | a_directory("p/DICOMDIR", *LISTED)).plans
    assert len(plan.inputs[0].slices) == 12
    assert plan.hold is None


def test_a_dicomdir_may_spell_names_otherwise() -> None:
    """Upper case, a version at the end, a sub-folder of its own: as media have them."""
    files = {f"p/cd/{path[2:].lower()}": fact for path, fact in SLICES.items()}
    directory = a_directory("p/cd/dicomdir", *(f"{name.upper()};1" for name in LISTED))
    assert len(first_look(files | directory).plans) == 1


def test_a_dicomdir_settles_what_else_would_be_a_gap() -> None:
    """Whoever made the medium wrote this many on it."""
    files = {path: fact for path, fact in SLICES.items() if not path.endswith("5")}
    listed = [path.removeprefix("p/") for path in files]
    assert judgement_of(files, 30.0).state is HELD_BACK
    (plan,) = first_look(files | a_directory("p/DICOMDIR", *listed)).plans
    assert plan.hold is None


@pytest.mark.parametrize(
    "extra",
    [unsure("p/viewer.exe"), unsure("p/more.dcm"), {"p/upper.stl": a_fact("p/upper.stl")}],
)
def test_a_dicomdir_that_lists_less_proves_nothing(extra: dict[str, Facts]) -> None:
    """What else is there may still be growing."""
    files = SLICES | a_directory("p/DICOMDIR", *LISTED) | extra
    assert first_look(files).state is SETTLING


def test_a_dicomdir_proves_nothing_of_files_that_may_be_open_or_are_short() -> None:
    """It is copied first, and the last file is not whole yet."""
    for worse in (
        a_slice_fact(1, closed=False),
        a_slice_fact(1, proof=Proof.INCOMPLETE, closed=True),
    ):
        files = SLICES | a_directory("p/DICOMDIR", *LISTED) | {"p/1.2.3-0001": worse}
        assert first_look(files).state is SETTLING


@pytest.mark.parametrize("last", [12, 11, 1])
def test_a_dicomdir_that_lists_more_holds_back(last: int) -> None:
    """Slices missing at the end show in no number: after series_max_wait_s a person decides."""
    gone = {f"p/1.2.3-{number:04d}" for number in range(last, 13)} if last > 1 else set()
    here = {path: fact for path, fact in SLICES.items() if path not in gone}
    files = here | a_directory("p/DICOMDIR", *LISTED, "MORE")
    waiting = judgement_of(files, 40.0)
    assert waiting.state is HELD_BACK
    assert f"13 files listed in DICOMDIR, {len(here)} here" in waiting.reason
    assert judgement_of(files, 3599.0).state is HELD_BACK
    plan = plan_after(files, 3600.0)
    assert plan.hold is not None
    assert "listed in DICOMDIR" in plan.hold.message


@pytest.mark.parametrize("rest", ["p/scan.dcm", "p/upper.stl"])
def test_a_dicomdir_that_lists_more_holds_whatever_is_there(rest: str) -> None:
    """Also where hardly any of it came: a volume or a mesh alone is not what was exported."""
    files = unsure(rest) | a_directory("p/DICOMDIR", "scan.dcm", "IM1")
    assert judgement_of(files, 3599.0).state is HELD_BACK
    assert plan_after(files, 3600.0).hold is not None


# --- a loose series ------------------------------------------------------------------------------


def test_a_loose_series_is_never_taken_at_once() -> None:
    """However well proven its slices are: the next one may be on its way."""
    files = {path: replace(fact, is_closed=True) for path, fact in a_series().items()}
    for quiet_s in (0.0, 5.0, 29.9):
        assert judgement_of(files, quiet_s).state is SETTLING
    assert len(plan_after(files, 30.0).inputs[0].slices) == 12


def test_a_gap_is_held_back_and_told_by_the_second() -> None:
    """How many are declared, how many here, how long it waits: then it is taken and held."""
    files = a_series(number_of_series_related_instances=15)
    waiting = judgement_of(files, 3560.0)
    assert waiting.state is HELD_BACK
    assert waiting.reason == "15 declared, 12 here, waiting 40 s more"
    assert waiting.again_s == 10.0
    assert judgement_of(files, 3596.0).again_s == pytest.approx(4.0)
    plan = plan_after(files, 3600.0)
    assert plan.hold is not None
    assert (plan.hold.code, plan.doom) == ("series_incomplete", None)
    assert "15 declared, 12 here" in plan.hold.message
    assert "waiting" not in plan.hold.message
    assert len(plan.inputs[0].slices) == 12


@pytest.mark.parametrize("count", [1, 2, 9])
def test_too_few_slices_are_a_gap(count: int) -> None:
    """CT-like and fewer than min_slices: held back, then held."""
    files = a_series(range(1, count + 1))
    assert judgement_of(files, 30.0).state is HELD_BACK
    assert plan_after(files, 3600.0).hold is not None


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"modality": "PX", "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1"}, "panoramic"),
        ({"modality": "MR", "sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"}, "MR"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "scout"),
    ],
)
def test_what_is_not_ct_like_fails_with_words(header: dict[str, Any], words: str) -> None:
    """After series_settle_s, not after an hour: more of it would change nothing."""
    files = a_series([1], **header)
    assert judgement_of(files, 29.9).state is SETTLING
    plan = plan_after(files, 30.0)
    assert plan.doom is not None
    assert (plan.doom.code, plan.doom.failure_class.value) == ("no_volume", "input")
    assert words in plan.doom.message


def test_one_short_slice_keeps_the_whole_series_incomplete() -> None:
    """And fails it as one case, with all its files."""
    files = a_series() | {"1.2.3-0013": a_slice_fact(13, proof=Proof.INCOMPLETE)}
    assert judgement_of(files, 100.0).state is INCOMPLETE
    plan = plan_after(files, 600.0)
    assert plan.doom is not None
    assert (plan.doom.code, set(plan.files)) == ("incomplete", set(files))


def test_an_open_slice_keeps_the_whole_series() -> None:
    """The writer of one is the writer of all."""
    files = a_series()
    first, *others = candidates_of(files)
    candidates = [replace(first, is_open=True), *others]
    waiting = judgement_of(files, 100.0, candidates=candidates)
    assert (waiting.state, waiting.plans) == (SETTLING, ())


# --- the ready marker ----------------------------------------------------------------------------

DONE = a_fact(".done")


@pytest.mark.parametrize(
    "files",
    [proven("scan.dcm"), proven("p/upper.stl", "p/lower.stl"), a_series(), a_series(at="p/")],
)
def test_nothing_is_taken_without_its_marker(files: Files) -> None:
    """However well proven, for however long; and the reason names the marker."""
    for quiet_s in (0.0, 100_000.0):
        waiting = judgement_of(files, quiet_s, MARKED, was_moved_in=True)
        assert waiting.state is CandidateState.WAITING_MARKER
        assert ".done" in waiting.reason


@pytest.mark.parametrize(
    "files",
    [
        unsure("scan.dcm", "scan.dcm.done"),
        unsure("scan.dcm", "scan.dcm.DONE"),
        unsure("p/upper.stl", "p/.done"),
        unsure("p/upper.stl", "p.done"),
        a_series() | {f"{path}.done": DONE for path in a_series()},
        a_series(at="p/") | {"p/.done": DONE},
    ],
)
def test_with_its_marker_it_is_taken_at_once(files: Files) -> None:
    """At the first look, though nothing is proven; a marker beside goes with the case."""
    (plan,) = first_look(files, rules=MARKED).plans
    assert (plan.doom, plan.hold) == (None, None)
    beside = {path for path in files if path.lower().endswith(".done") and "/" not in path}
    assert beside <= set(plan.files)


def test_a_series_needs_the_marker_of_every_slice() -> None:
    """One that has none yet is still on its way."""
    files = a_series() | {f"{path}.done": DONE for path in list(a_series())[1:]}
    assert first_look(files, rules=MARKED).state is CandidateState.WAITING_MARKER


def test_a_marker_does_not_overrule_a_proof_that_something_is_short() -> None:
    """Nor somebody who has it open, nor a temporary name."""
    marker = unsure("scan.dcm.done")
    short = {"scan.dcm": a_fact("scan.dcm", Proof.INCOMPLETE, "is empty")}
    assert first_look(short | marker, rules=MARKED).state is INCOMPLETE
    opened = first_look(unsure("scan.dcm") | marker, rules=MARKED, is_open=True)
    assert opened.state is SETTLING
    growing: Files = unsure("p/a.nii") | {"p/.done": DONE, "p/b.nii.part": None}
    assert first_look(growing, rules=MARKED).state is INCOMPLETE


def test_a_gap_with_a_marker_is_taken_at_once_and_held() -> None:
    """The sender says that there is nothing more to come."""
    files = a_series([1, 2, *range(6, 15)], at="p/") | {"p/.done": DONE}
    (plan,) = first_look(files, rules=MARKED).plans
    assert plan.hold is not None
    assert plan.hold.code == "series_incomplete"


def test_a_marker_alone_is_no_scan() -> None:
    """It waits in silence for what it belongs to, and a report needs no marker."""
    assert judgement_of(unsure("report.pdf"), 100.0, MARKED) == Judgement()
    assert judgement_of(unsure("scan.dcm.done"), 100.0, MARKED) == Judgement()


# --- laws ----------------------------------------------------------------------------------------

PROOFS = st.sampled_from(list(Proof))
NAMES = st.sampled_from(["a.nii", "upper.stl", "lower.ply", "face.obj", "note.txt", "x.zip"])


@st.composite
def folders(draw: st.DrawFn) -> dict[str, Facts]:
    """Draw a folder or a loose file of anything."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    at = draw(st.sampled_from(["p/", "p/q/"]) if len(names) > 1 else st.sampled_from(["", "p/"]))
    files = {}
    for name in names:
        fact = a_fact(name, draw(PROOFS), closed=draw(st.booleans()))
        files[at + name] = fact
    return files


@given(folders(), st.booleans(), st.floats(0, 4.99), st.integers(1, 3))
def test_only_proofs_spare_the_quiet_time(
    files: dict[str, Facts],
    was_moved_in: bool,  # noqa: FBT001 - drawn
    quiet_s: float,
    looks: int,
) -> None:
    """Whatever lies there: what is taken earlier was proven to the last file, and came whole."""
    (candidate,) = candidates_of(files, looks=looks, was_moved_in=was_moved_in)
    if not all_judged(files, quiet_s, candidates=[candidate])[candidate.group.path].plans:
        return
    assert all(fact.is_closed for fact in files.values())
    assert all(fact.verdict.proof is Proof.COMPLETE for fact in files.values())
    assert was_moved_in or not candidate.group.is_folder
    assert may_be_taken_at_once(candidate)


@given(folders(), st.floats(5.0, 1000.0))
def test_what_is_short_is_never_sent(files: dict[str, Facts], quiet_s: float) -> None:
    """Not at once, not after any time: it waits, or fails."""
    for judgement in all_judged(files, quiet_s).values():
        for plan in judgement.plans:
            if plan.doom is None:
                usable = [fact for fact in files.values() if fact.family]
                assert all(fact.verdict.proof is not Proof.INCOMPLETE for fact in usable)
                assert all(fact.verdict.proof is not Proof.WRONG for fact in usable)


@given(st.lists(st.floats(0.1, 40.0), min_size=9, max_size=14))
def test_a_dripping_series_is_taken_once_and_whole(pauses_s: list[float]) -> None:
    """Slices that come in pauses below series_settle_s are never cut in two."""
    files: dict[str, Facts] = {}
    candidates: dict[str, Any] = {}
    now = 0.0
    for number, pause_s in enumerate([0.0, *(min(pause_s, 29.9) for pause_s in pauses_s)], 1):
        now += pause_s
        if candidates:
            assert not plans_after(files, now, candidates=list(candidates.values()))
        path = f"IM{number:04d}"
        files[path] = a_slice_fact(number)
        for one in candidates_of(files):
            before = candidates.get(one.group.path)
            candidates[one.group.path] = looked(before, one.group, now=now, wall=now)
    again = [looked(one, one.group, now=now, wall=now) for one in candidates.values()]
    assert not plans_after(files, now + 29.8, candidates=again)
    plan = plan_after(files, now + 30.1, candidates=again)
    assert len(plan.inputs[0].slices) == len(files)
