"""What cases a ready candidate makes: modalities, series, names, and what is left aside."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.judging import (
    JAWS,
    RULES,
    Files,
    a_directory,
    a_fact,
    a_series,
    a_slice_fact,
    all_judged,
    candidates_of,
    doom_of,
    entries_of,
    judgement_of,
    plan_after,
    plans_after,
    proven,
    skipped_of,
    unsure,
)
from tests.core.slicing import SECONDARY_CAPTURE, a_header
from vpe_watcher.core.candidate import Candidate
from vpe_watcher.core.candidates import CandidateState, series_of
from vpe_watcher.core.content import Facts, KnownSeries
from vpe_watcher.core.grouping import grouped, sight
from vpe_watcher.core.model import Modality, Proof
from vpe_watcher.core.plans import Plan, inside
from vpe_watcher.core.series import zip_names

PANORAMIC: dict[str, Any] = {"sop_class_uid": SECONDARY_CAPTURE, "modality": "PX"}
IN_PLACE = replace(RULES, leaves_in_place=True)


def a_volume(
    path: str, uid: str = "1.9", number: str = "4", words: str = "Volume"
) -> dict[str, Facts]:
    """Return a multi-frame DICOM volume."""
    header = a_header(
        series_uid=uid,
        sop_instance_uid=f"{uid}.1",
        number_of_frames=200,
        series_number=number,
        series_description=words,
    )
    return {path: a_fact(path, Proof.COMPLETE, header=header)}


def known(*numbers: int, uid: str = "1.2.3") -> Mapping[str, KnownSeries]:
    """Say that a case took these slices before."""
    return {uid: KnownSeries("c1", frozenset(f"{uid}.{number}" for number in numbers))}


# --- a file --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name", "modality"),
    [
        ("scan.nii.gz", "scan", Modality.CBCT),
        ("Anna.B.dcm", "Anna.B", Modality.CBCT),
        ("scan.ZIP", "scan", Modality.CBCT),
        ("My Upper Jaw.stl", "My Upper Jaw", Modality.IOS_UPPER),
        ("MAXILLA.PLY", "MAXILLA", Modality.IOS_UPPER),
        ("mandibula.obj", "mandibula", Modality.IOS_LOWER),
        ("face.obj", "face", Modality.FACIAL),
        ("upper.nii", "upper", Modality.CBCT),
        ("upper.zip", "upper", Modality.CBCT),
    ],
)
def test_a_files_name_and_modality(path: str, name: str, modality: Modality) -> None:
    """The name without its known extensions; meshes by pattern, the rest is a volume."""
    plan = plan_after(unsure(path))
    assert (plan.case_name, plan.content, plan.files) == (name, "", (path,))
    assert [(entry.modality, entry.name) for entry in plan.inputs] == [(modality, path)]
    assert (plan.hold, plan.late_for, plan.skipped) == (None, "", ())


def test_a_zip_is_a_mesh_by_its_name_and_its_directory() -> None:
    """Both have to say so."""
    for path, modality in (("upper.zip", Modality.IOS_UPPER), ("scan.zip", Modality.CBCT)):
        files = {path: a_fact(path, lists_mesh=True)}
        assert plan_after(files).inputs[0].modality is modality


@pytest.mark.parametrize("path", ["jaw.stl", "upper and lower.stl", "face upper.obj"])
def test_a_mesh_whose_name_fits_no_pattern_or_two_fails(path: str) -> None:
    """Nobody guesses which jaw it is, alone or in a folder."""
    assert doom_of(unsure(path)) == "mesh_name"
    assert doom_of(unsure(f"p/{path}", "p/scan.nii")) == "mesh_name"


def test_both_job_json_go_with_a_scan_and_the_longer_wins() -> None:
    """The one that wins comes first."""
    plan = plan_after(unsure("scan.dcm", "scan.job.json", "scan.dcm.job.json"))
    assert plan.job_json == ("scan.dcm.job.json", "scan.job.json")
    assert set(plan.files) == {"scan.dcm", "scan.dcm.job.json", "scan.job.json"}


def test_a_loose_picture_fails_with_what_it_is() -> None:
    """A loose DICOM that is no volume is not kept waiting in silence."""
    plan = plan_after({"pano.dcm": a_slice_fact(1, **PANORAMIC)}, 30.0)
    assert plan.doom is not None
    assert plan.doom.code == "no_volume"
    assert "panoramic" in plan.doom.message


# --- a folder ------------------------------------------------------------------------------------


def test_a_folder_with_several_modalities_is_one_case() -> None:
    """Its name, all its inputs by modality, its job.json, and what was left out."""
    names = ("scan.nii", "upper.stl", "sub/lower.stl", "face.obj", "job.json", "report.pdf")
    plan = plan_after(unsure(*(f"Anna/{name}" for name in names)))
    assert (plan.case_name, plan.content, plan.files) == ("Anna", "Anna", ("Anna",))
    assert {entry.modality: entry.name for entry in plan.inputs} == {
        Modality.CBCT: "scan.nii",
        Modality.IOS_UPPER: "upper.stl",
        Modality.IOS_LOWER: "sub/lower.stl",
        Modality.FACIAL: "face.obj",
    }
    assert plan.job_json == ("Anna/job.json",)
    assert skipped_of(plan) == {"report.pdf": "not a scan"}


def test_only_the_job_json_at_the_top_is_a_wish() -> None:
    """One further down is something else's."""
    plan = plan_after(unsure("p/a.nii", "p/sub/job.json", "p/JOB.json"))
    assert plan.job_json == ("p/JOB.json",)
    assert skipped_of(plan) == {"sub/job.json": "not a scan"}


@pytest.mark.parametrize(
    "names", [("a.nrrd", "b.nii"), ("upper.stl", "maxilla.ply"), ("a.zip", "b.nii.gz", "face.obj")]
)
def test_two_files_for_one_modality_fail(names: tuple[str, ...]) -> None:
    """Which one is meant nobody can know: volumes without a series, or meshes."""
    assert doom_of(unsure(*(f"p/{name}" for name in names))) == "two_for_one_modality"


def test_a_plain_volume_beside_a_series_fails() -> None:
    """It may be the same scan, or another patient's: nobody pays for both."""
    assert doom_of(a_series(at="p/") | unsure("p/scan.nii")) == "two_for_one_modality"
    assert doom_of(a_volume("p/a.dcm") | unsure("p/scan.nii")) == "two_for_one_modality"


def test_wrong_content_in_a_folder_fails_all_of_it() -> None:
    """As one case, with everything in it."""
    files = a_series(at="p/") | {"p/upper.stl": a_fact("p/upper.stl", Proof.WRONG, "is a PDF")}
    plan = plan_after(files)
    assert plan.doom is not None
    assert (plan.doom.code, plan.files, plan.inputs) == ("wrong_content", ("p",), ())


def test_what_is_left_in_place_keeps_its_whole_path() -> None:
    """Nothing is moved: files are read where they lie, each by its path below the root."""
    plan = plan_after(unsure("p/q/scan.nii", "p/note.txt"), rules=IN_PLACE)
    assert (plan.content, plan.case_name) == ("", "p")
    assert set(plan.files) == {"p/q/scan.nii", "p/note.txt"}
    assert plan.inputs[0].name == "p/q/scan.nii"
    assert skipped_of(plan) == {"p/note.txt": "not a scan"}


# --- series --------------------------------------------------------------------------------------


def test_a_series_is_one_input_with_its_slices() -> None:
    """Its size is that of the ZIP that will be sent; slices come in their order."""
    sizes: list[tuple[str, int]] = []

    def zip_size(files: Any) -> int:
        sizes.extend(files)
        return 4711

    files = a_series(range(12, 0, -1), at="p/")
    plan = plan_after(files, rules=replace(RULES, zip_size=zip_size))
    (entry,) = plan.inputs
    assert (entry.modality, entry.extension, entry.mark.size) == (Modality.CBCT, ".zip", 4711)
    assert entry.series_uid == "1.2.3"
    assert [one.sop_instance_uid for one in entry.slices] == [f"1.2.3.{n}" for n in range(1, 13)]
    assert [one.name for one in entry.slices] == [f"1.2.3-{n:04d}" for n in range(1, 13)]
    assert sizes == [(name, 100) for name in zip_names(12)]
    assert plan.case_name == "p"


def two_series(**more: Any) -> dict[str, Facts]:
    """Return a folder with two full series."""
    first = a_series(uid="1.2", at="p/b/", series_number="2", series_description="Jaw")
    return first | a_series(uid="1.3", at="p/a/", series_number="10", series_description="Skull")


def test_several_series_are_several_cases() -> None:
    """Named so that a person knows which is which, in the order of their numbers."""
    plans = plans_after(two_series())
    assert [plan.case_name for plan in plans] == ["p--2-Jaw", "p--10-Skull"]
    assert [plan.inputs[0].series_uid for plan in plans] == ["1.2", "1.3"]
    assert [plan.is_part for plan in plans] == [False, True]
    assert (plans[0].files, plans[0].content) == (("p",), "p")
    assert set(plans[1].files) == {path for path in two_series() if path.startswith("p/a/")}
    assert plans[1].content == "p"


def test_meshes_and_what_is_skipped_go_with_the_first_series() -> None:
    """And the wishes hold for all of them."""
    files = two_series() | unsure("p/upper.stl", "p/report.pdf", "p/job.json")
    files |= {"p/pano": a_slice_fact(1, "1.5", **PANORAMIC)}
    first, second = plans_after(files)
    assert [entry.modality for entry in first.inputs] == [Modality.CBCT, Modality.IOS_UPPER]
    assert [entry.modality for entry in second.inputs] == [Modality.CBCT]
    assert skipped_of(first) == {"report.pdf": "not a scan", "pano": "a panoramic X-ray"}
    assert second.skipped == ()
    assert first.job_json == second.job_json == ("p/job.json",)


def test_volumes_by_themselves_are_cases_like_series() -> None:
    """Two multi-frame files, or one beside a series of slices."""
    files = a_volume("p/a.dcm", "1.8", "1", "CBCT") | a_volume("p/b.dcm", "1.9", "2")
    names = [(plan.case_name, plan.inputs[0].name) for plan in plans_after(files)]
    assert names == [("p--1-CBCT", "a.dcm"), ("p--2-Volume", "b.dcm")]
    mixed = a_series(at="p/s/") | a_volume("p/b.dcm")
    assert len(plans_after(mixed)) == 2


def test_each_series_leaves_out_its_own_files() -> None:
    """A second copy of a slice is named in the case that has the first."""
    files = two_series()
    files["p/copy"] = files["p/a/1.3-0003"]
    first, second = plans_after(files)
    assert first.skipped == ()
    assert list(skipped_of(second).values()) == ["a second copy of an instance"]
    assert len(second.files) == 13


def test_one_series_of_two_may_be_held() -> None:
    """What is missing of one is no fault of the other."""
    files = {path: fact for path, fact in two_series().items() if path != "p/a/1.3-0004"}
    assert judgement_of(files, 3599.0).state is CandidateState.HELD_BACK
    first, second = plans_after(files)
    assert first.hold is None
    assert second.hold is not None


def test_refused_series_are_skipped_with_the_reason() -> None:
    """Slices that can be no volume, beside one that is."""
    scouts = a_series([1, 2], "1.5", at="p/", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    odd = a_series(range(1, 13), "1.6", at="p/", orientation=())
    plan = plan_after(a_series(at="p/") | scouts | odd)
    reasons = {name[:3]: reason for name, reason in skipped_of(plan).items()}
    assert reasons == {"1.5": "a scout view (localizer)", "1.6": "slices without an orientation"}
    assert len(plan.skipped) == 14


@pytest.mark.parametrize("full", [a_series(at="p/"), a_volume("p/a.dcm")])
def test_a_short_series_beside_a_full_one_is_skipped(full: dict[str, Facts]) -> None:
    """Five slices are no volume; beside a whole one they are an extra, and said to be."""
    files = full | a_series(range(1, 6), "1.5", at="p/")
    assert judgement_of(files, 30.0).state is CandidateState.HELD_BACK  # it may still be coming
    plan = plan_after(files)
    assert plan.hold is None
    assert set(skipped_of(plan).values()) == {"a series of 5, fewer than 10 slices"}
    assert len(plan.skipped) == 5


@pytest.mark.parametrize(
    "short",
    [
        a_series(range(1, 6), "1.5", at="p/", number_of_series_related_instances=400),
        a_series([1, 2, 9], "1.5", at="p/"),
    ],
)
def test_a_short_series_that_misses_slices_is_no_extra(short: dict[str, Facts]) -> None:
    """The copier stalled in the middle of it: it is waited for, and held in the end."""
    files = a_series(at="p/") | short
    assert judgement_of(files, 30.0).state is CandidateState.HELD_BACK
    holds = {plan.inputs[0].series_uid: plan.hold for plan in plans_after(files)}
    assert holds["1.2.3"] is None
    assert holds["1.5"] is not None


def test_two_short_series_are_both_kept() -> None:
    """Neither is an extra of the other."""
    files = a_series(range(1, 6), "1.5", at="p/") | a_series(range(1, 4), "1.6", at="p/")
    assert judgement_of(files, 30.0).state is CandidateState.HELD_BACK
    assert all(plan.hold is not None for plan in plans_after(files))


def test_a_folder_of_ct_that_is_no_volume_fails() -> None:
    """It is a scan, and something is wrong with it: a person is told, in words."""
    plan = plan_after(a_series(at="p/", position=()))
    assert plan.doom is not None
    assert plan.doom.code == "no_volume"
    assert "without a position" in plan.doom.message


def test_a_dicomdir_is_skipped_as_one() -> None:
    """It is no input, and named."""
    names = [path.removeprefix("p/") for path in a_series(at="p/")]
    plan = plan_after(a_series(at="p/") | a_directory("p/DICOMDIR", *names))
    assert skipped_of(plan) == {"DICOMDIR": "a DICOMDIR"}


def test_a_copy_in_a_refused_series_is_called_a_copy() -> None:
    """Each file has the reason that is its own."""
    odd = a_series(range(1, 13), "1.6", at="p/", orientation=())
    odd["p/copy"] = odd["p/1.6-0003"]
    reasons = skipped_of(plan_after(a_series(at="p/") | odd)).values()
    assert sorted(set(reasons)) == ["a second copy of an instance", "slices without an orientation"]
    assert len(reasons) == 13


def test_what_is_odd_about_a_series_is_noted() -> None:
    """For a person who asks why."""
    files = a_series()
    files["1.2.3-0005"] = a_slice_fact(5, transfer_syntax_uid="1.2.840.10008.1.2")
    assert plan_after(files).notes == ("mixed transfer syntaxes",)


# --- late slices ---------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["", "p/"])
def test_late_slices_are_held_for_the_case_that_came_first(at: str) -> None:
    """Only they are its slices; what is known is named as skipped."""
    plan = plan_after(a_series([4, 5, 12, 13], at=at), 30.0, known=known(*range(1, 6)))
    assert plan.hold is not None
    assert (plan.hold.code, plan.late_for, plan.doom) == ("late_slices", "c1", None)
    assert "2 slices" in plan.hold.message
    assert "c1" in plan.hold.message + plan.hold.hint
    assert [one.sop_instance_uid for one in plan.inputs[0].slices] == ["1.2.3.12", "1.2.3.13"]
    assert set(skipped_of(plan).values()) == {"known from case c1"}
    assert len(plan.skipped) == 2


def test_one_late_slice_is_told_in_the_singular() -> None:
    """Few as it is, it is not waited for: its series is not counted again."""
    plan = plan_after(a_series([13]), 30.0, known=known(*range(1, 13)))
    assert plan.hold is not None
    assert plan.hold.message.startswith("1 slice of")


def test_a_whole_series_again_is_an_ordinary_case() -> None:
    """Exactly the same instances: a duplicate or not, that is for the claim to say."""
    plan = plan_after(a_series(), 30.0, known=known(*range(1, 13)))
    assert (plan.hold, plan.late_for, plan.skipped) == (None, "", ())
    assert len(plan.inputs[0].slices) == 12


def test_some_known_slices_again_belong_to_their_case() -> None:
    """Nothing of them is new: neither a volume of their own nor late."""
    plan = plan_after(a_series([3, 4]), 30.0, known=known(*range(1, 13)))
    assert (plan.hold, plan.late_for) == (None, "c1")
    assert len(plan.inputs[0].slices) == 2


def test_late_slices_may_be_ignored() -> None:
    """`late_slices = "ignore"`: a case for the record, linked to the first, held for nobody."""
    rules = replace(RULES, keeps_late_slices=False)
    plan = plan_after(a_series([13]), 30.0, rules, known=known(*range(1, 13)))
    assert (plan.hold, plan.late_for, plan.doom) == (None, "c1", None)


def test_late_slices_of_one_series_hold_no_other() -> None:
    """A folder with a new series and the rest of an old one: two cases."""
    files = two_series()
    held = {
        plan.inputs[0].series_uid: plan.late_for
        for plan in plans_after(files, known=known(*range(1, 12), uid="1.3"))
    }
    assert held == {"1.2": "", "1.3": "c1"}


def test_a_short_series_that_is_known_is_late_and_no_extra() -> None:
    """Beside a full series the rest of an earlier one is not skipped as too short."""
    files = a_series(at="p/") | a_series([13, 14], "1.5", at="p/")
    first, second = plans_after(files, known=known(*range(1, 13), uid="1.5"))
    assert {first.late_for, second.late_for} == {"", "c1"}


def test_a_dicomdir_says_nothing_of_late_slices() -> None:
    """They are held as late, or for the record, whatever else the medium held."""
    files = a_series([12, 13], at="p/") | a_directory("p/DICOMDIR", "1.2.3-0012", "MORE")
    plan = plan_after(files, known=known(*range(1, 13)))
    assert plan.hold is not None
    assert plan.hold.code == "late_slices"
    ignored = replace(RULES, keeps_late_slices=False)
    assert plan_after(files, rules=ignored, known=known(*range(1, 13))).hold is None


def test_what_is_asked_of_the_store_are_the_series_of_slices() -> None:
    """Volumes by themselves and files that went have none."""
    files: Files = a_volume("p/a.dcm") | two_series() | {"p/gone": None}
    assert series_of(files.values()) == {"1.2", "1.3"}


# --- laws ----------------------------------------------------------------------------------------


KINDS: list[dict[str, Any]] = [{}, {}, PANORAMIC, {"position": ()}, {"series_number": "7"}]


@st.composite
def exports(draw: st.DrawFn) -> dict[str, Facts]:
    """Draw what a medium, a PACS or a person may put into one folder, or beside one another."""
    at = draw(st.sampled_from(["", "p/", "p/q/"]))
    files: dict[str, Facts] = {}
    for uid in draw(st.lists(st.sampled_from(["1.2", "1.3", "1.4"]), unique=True)):
        numbers = draw(st.sampled_from([range(1, 13), range(1, 4), [1, 2, *range(5, 15)]]))
        kind = draw(st.sampled_from(KINDS))
        files |= a_series(numbers, uid, at=at, **kind)
        if draw(st.booleans()):
            files[f"{at}copy of {uid}"] = next(iter(a_series(numbers, uid, at=at, **kind).values()))
    names = st.sampled_from(
        ["a.nii", "upper.stl", "lower.stl", "upper.zip", "jaw.stl", "note.txt", "job.json"]
    )
    for name in draw(st.lists(names, max_size=3, unique=True)):
        proof = draw(st.sampled_from([Proof.COMPLETE] * 6 + [Proof.WRONG]))
        files[at + name] = a_fact(name, proof)
    if draw(st.booleans()):
        files |= a_volume(f"{at}v.dcm", draw(st.sampled_from(["1.2", "1.8"])))
    if draw(st.booleans()):
        files |= a_directory(f"{at}DICOMDIR", *draw(st.lists(st.sampled_from(["a.nii", "X"]))))
    return files


KNOWN = st.sampled_from([{}, known(*range(1, 13), uid="1.2"), known(1, 2, 3, uid="1.2")])


def shuffled(files: dict[str, Facts], chance: random.Random) -> dict[str, Facts]:
    """Return the same in another order."""
    chance.shuffle(paths := list(files))
    return {path: files[path] for path in paths}


@settings(max_examples=200)
@given(exports(), KNOWN, st.randoms())
def test_the_order_of_a_look_changes_no_plan(
    files: dict[str, Facts], before: Mapping[str, KnownSeries], chance: random.Random
) -> None:
    """File systems list in any order: names, inputs, slices and what is skipped are the same."""
    ours = all_judged(files, 4000.0, JAWS, known=before)
    entries = entries_of(files)
    chance.shuffle(entries)
    candidates = [
        Candidate(group, group.fingerprint, 0.0, detected=0.0, looks=2)
        for group in grouped(entries, JAWS)
    ]
    chance.shuffle(candidates)
    other = shuffled(files, chance)
    theirs = all_judged(other, 4000.0, JAWS, known=before, candidates=candidates)
    assert theirs == ours


@settings(max_examples=200)
@given(exports(), KNOWN, st.booleans())
def test_every_file_is_in_exactly_one_place(
    files: dict[str, Facts],
    before: Mapping[str, KnownSeries],
    leaves_in_place: bool,  # noqa: FBT001 - drawn
) -> None:
    """An input, a slice, a wish, or skipped with its reason: in one case, once; or all fails."""
    rules = replace(RULES, leaves_in_place=leaves_in_place)
    paths = {
        one.group.path: {inside(one.group, seen.path, rules): seen.path for seen in one.group.files}
        for one in candidates_of(files, rules)
    }
    names = {key: value for one in paths.values() for key, value in one.items()}
    for judgement in all_judged(files, 4000.0, rules, known=before).values():
        plans = judgement.plans
        if not plans or any(plan.doom for plan in plans):
            assert len(plans) <= 1
            continue
        placed = [names[name] for plan in plans for name in named_in(plan)]
        placed += plans[0].job_json
        assert sorted(placed) == sorted(set(placed))
        assert set(placed) == claimed_by(plans, files)


def named_in(plan: Plan) -> list[str]:
    """Return the names of all files that a case sends or leaves out."""
    sent = [name for entry in plan.inputs for name, _ in entry.files]
    return sent + [row["name"] for row in plan.skipped]


def claimed_by(plans: tuple[Plan, ...], files: dict[str, Facts]) -> set[str]:
    """Return the files that are in the claim of the first case, on whose part the others draw."""
    if not plans[0].content:
        return {path for plan in plans for path in plan.files}
    folder = f"{plans[0].files[0]}/"
    return {path for path in files if path.startswith(folder)}


@settings(max_examples=200)
@given(exports())
def test_a_case_asks_for_each_modality_once(files: dict[str, Facts]) -> None:
    """And no two cases of a candidate send the same file."""
    for judgement in all_judged(files, 4000.0).values():
        sent: list[str] = []
        for plan in judgement.plans:
            modalities = [entry.modality for entry in plan.inputs]
            assert len(set(modalities)) == len(modalities)
            sent += [name for entry in plan.inputs for name, _ in entry.files]
            assert plan.doom is not None or plan.inputs
            assert plan.case_name
        assert len(set(sent)) == len(sent)


def test_the_look_of_a_case_is_that_of_its_own_files() -> None:
    """The sight that is compared after the rename names every file, and those of a part alone."""
    first, second = plans_after(two_series())
    marks = {seen.path: seen.mark for seen in candidates_of(two_series())[0].group.files}
    assert first.sight == sight(marks.items(), trusts_inodes=True)
    own = [(path, marks[path]) for path in second.files]
    assert second.sight == sight(own, trusts_inodes=True)


def test_files_that_prove_themselves_make_the_same_case() -> None:
    """How it became ready changes nothing of what is sent."""
    paths = ("p/scan.nii", "p/upper.stl", "p/note.txt")
    quick = plans_after(proven(*paths), 0.0, looks=1, was_moved_in=True)
    assert quick == plans_after(unsure(*paths))
