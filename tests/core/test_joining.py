"""Loose files that go together: slices of a series, and scans that wait for one another."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.core.judging import (
    JAWS,
    PATTERNS,
    RULES,
    Files,
    a_fact,
    a_series,
    a_slice_fact,
    all_judged,
    candidates_of,
    doom_of,
    judgement_of,
    plan_after,
    proven,
    unsure,
)
from vpe_watcher.core.candidate import Candidate
from vpe_watcher.core.candidates import CandidateState
from vpe_watcher.core.content import Facts
from vpe_watcher.core.grouping import Rules
from vpe_watcher.core.joining import joined
from vpe_watcher.core.model import Modality, Proof
from vpe_watcher.core.series import series_name

HELD_BACK, WAITING = CandidateState.HELD_BACK, CandidateState.WAITING_PARTNER
SETTLING = CandidateState.SETTLING


def groups_of(files: Files, rules: Rules = RULES) -> set[frozenset[str]]:
    """Return which files are judged together."""
    found = joined(candidates_of(files, rules), files, rules, now=100.0)
    return {frozenset(seen.path for seen in one.group.files) for one in found}


def together(*paths: str) -> set[frozenset[str]]:
    """Say that these files, and nothing else, are judged together."""
    return {frozenset(paths)}


def apart(*paths: str) -> set[frozenset[str]]:
    """Say that each file is judged by itself."""
    return {frozenset({path}) for path in paths}


# --- slices --------------------------------------------------------------------------------------


def test_slices_are_gathered_by_their_series() -> None:
    """Whatever their names, and whatever lies among them; folders stay what they are."""
    ours, theirs = a_series(uid="1.2"), a_series(uid="1.3")
    folder = a_series(uid="1.2", at="p/")
    files = ours | theirs | folder | unsure("scan.nii", "notes.txt")
    expected = together(*ours) | together(*theirs) | together(*folder)
    assert groups_of(files) == expected | apart("scan.nii", "notes.txt")


def test_a_loose_series_is_named_by_number_and_digest() -> None:
    """No file of it has a name that says anything; two of one number are told apart."""
    plan = plan_after(a_series(series_number="7"))
    assert plan.case_name == series_name("7", "1.2.3")
    assert plan.case_name.startswith("series-7-")
    assert plan.content == ""
    assert plan.inputs[0].name == f"{plan.case_name}.zip"


def test_slices_without_a_series_stay_alone() -> None:
    """Nobody knows what belongs together: each fails by itself, under its own name."""
    files = {f"IM{number}.dcm": a_slice_fact(number, "") for number in (1, 2)}
    assert groups_of(files) == apart("IM1.dcm", "IM2.dcm")
    for path, judgement in all_judged(files, 4000.0).items():
        (plan,) = judgement.plans
        assert plan.doom is not None
        assert plan.case_name == path.removesuffix(".dcm")


def test_a_series_is_as_old_as_its_last_change() -> None:
    """One slice that came late starts the quiet time of all anew."""
    files = a_series()
    *most, last = candidates_of(files)
    candidates = [*most, replace(last, since=50.0)]
    assert judgement_of(files, 79.9, candidates=candidates).state is SETTLING
    assert plan_after(files, 80.0, candidates=candidates).hold is None


def test_a_series_that_was_seen_once_is_not_taken() -> None:
    """A slice that only the last look shows may still grow."""
    files = a_series()
    *most, last = candidates_of(files)
    candidates = [*most, replace(last, looks=1)]
    assert judgement_of(files, 100.0, candidates=candidates).state is SETTLING


def test_series_keep_their_sidecars() -> None:
    """A wish beside any slice goes with the case."""
    files = a_series() | {"1.2.3-0002.job.json": a_fact("1.2.3-0002.job.json", Proof.COMPLETE)}
    plan = plan_after(files)
    assert plan.job_json == ("1.2.3-0002.job.json",)
    assert set(plan.files) == set(files)


NEWCOMERS: Mapping[str, Facts | None] = {
    "IM13": None,
    "13.dcm": None,
    "13.DCM": a_fact("13.DCM", Proof.INCOMPLETE, "ends in its header"),
    "short": a_slice_fact(13, "", Proof.INCOMPLETE),
}


def with_newcomer(path: str, fact: Facts | None, *, since: float) -> tuple[Files, list[Candidate]]:
    """Return a series that waits, and a file that came later."""
    files = a_series() | {path: fact}
    candidates = [
        replace(one, since=since, first_seen=since) if one.group.path == path else one
        for one in candidates_of(files)
    ]
    return files, candidates


@pytest.mark.parametrize("path", sorted(NEWCOMERS))
def test_a_newcomer_of_which_nothing_is_known_keeps_a_series_waiting(path: str) -> None:
    """It may be the slice that is missing, still being written."""
    files, candidates = with_newcomer(path, NEWCOMERS[path], since=40.0)
    first = min(a_series())
    assert all_judged(files, 69.9, candidates=candidates)[first].state is SETTLING
    assert len(all_judged(files, 70.0, candidates=candidates)[first].plans) == 1


def test_an_empty_newcomer_keeps_a_series_waiting() -> None:
    """Without an extension an empty file says nothing at all of what it will be."""
    fact = Facts("IM13", "", "", a_fact("x").verdict)
    files, candidates = with_newcomer("IM13", fact, since=40.0)
    emptied = [emptied_out(one) if one.group.path == "IM13" else one for one in candidates]
    first = min(a_series())
    assert all_judged(files, 60.0, candidates=emptied)[first].state is SETTLING
    assert len(all_judged(files, 60.0, candidates=candidates)[first].plans) == 1


def emptied_out(candidate: Candidate) -> Candidate:
    """Return a candidate of one file without a byte in it."""
    (seen,) = candidate.group.members
    empty = replace(seen, mark=replace(seen.mark, size=0))
    return replace(candidate, group=replace(candidate.group, members=(empty,)))


@pytest.mark.parametrize(
    ("path", "fact"),
    [
        ("scan.nii", None),
        ("upper.stl", None),
        ("other", a_slice_fact(1, "9.9")),
        ("13.dcm", a_fact("13.dcm", Proof.COMPLETE, header=a_slice_fact(1, "9.9").header)),
        ("note", a_fact("note")),
        ("p/13.dcm", None),
    ],
)
def test_what_is_no_slice_of_it_keeps_no_series_waiting(path: str, fact: Facts | None) -> None:
    """Nor does another series, nor what lies in a folder."""
    files, candidates = with_newcomer(path, fact, since=40.0)
    judgements = all_judged(files, 40.0, candidates=candidates)
    assert len(judgements[min(a_series())].plans) == 1


def test_no_newcomer_keeps_a_series_waiting_for_ever() -> None:
    """A file that is open for days is given series_max_wait_s from its first sight."""
    files, candidates = with_newcomer("13.dcm", None, since=20.0)
    opened = [
        replace(one, since=3620.0) if one.group.path == "13.dcm" else one for one in candidates
    ]
    late = [replace(one, since=3590.0) if one.group.path != "13.dcm" else one for one in opened]
    first = min(a_series())
    assert all_judged(files, 3619.0, candidates=late)[first].state is SETTLING
    assert len(all_judged(files, 3620.0, candidates=late)[first].plans) == 1


def test_newcomers_without_end_keep_no_series_waiting_for_ever() -> None:
    """A busy PACS sends file after file, each unknown when it comes."""
    first = min(a_series())
    for now, is_taken in ((100.0, False), (3599.0, False), (3600.0, True)):
        files, candidates = with_newcomer(f"{now}.dcm", None, since=now)
        judgement = all_judged(files, now, candidates=candidates)[first]
        assert bool(judgement.plans) is is_taken


# --- partners ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upper", "lower", "name"),
    [
        ("Anna_upper.stl", "Anna_lower.stl", "Anna"),
        ("upper Anna.stl", "lower Anna.stl", "Anna"),
        ("UpperJaw_4711.stl", "LowerJaw_4711.ply", "Jaw_4711"),
        ("upper.stl", "lower.stl", "lower"),
        ("Anna Berg-UPPER.STL", "Anna Berg-lower.stl", "Anna Berg"),
        ("Mustermann_Max_maxilla.stl", "Mustermann_Max_mandible.stl", "Mustermann_Max"),
        ("Maxillary Scan.stl", "Mandibular Scan.stl", "Scan"),
        ("AnnaUpper.stl", "AnnaLower.stl", "Anna"),
        ("4711 (Upper).stl", "4711 (Lower).stl", "4711"),
        ("2026-01-02_upper_B.obj", "2026-01-02_lower_B.obj", "2026-01-02 B"),
        ("Anna maxilla.stl", "lower-ANNA.stl", "Anna"),
        ("MAXILLA_7.stl", "MANDIBULA_7.stl", "7"),
        ("upperleroy.stl", "mandibleroy.stl", "leroy"),
    ],
)
def test_jaws_of_one_stem_go_together(upper: str, lower: str, name: str) -> None:
    """Whatever the habit: the words of the patterns and the signs around them do not count."""
    files = proven(upper, lower)
    assert groups_of(files, JAWS) == together(upper, lower)
    plan = plan_after(files, 0.0, JAWS, looks=1)
    assert (plan.case_name, plan.doom, plan.content) == (name, None, "")
    assert {entry.modality: entry.name for entry in plan.inputs} == {
        Modality.IOS_UPPER: upper,
        Modality.IOS_LOWER: lower,
    }
    assert set(plan.files) == {upper, lower}


@pytest.mark.parametrize(
    ("path", "missing"),
    [("Anna_upper.stl", "ios_lower"), ("mandibula.ply", "ios_upper")],
)
def test_one_jaw_waits_and_says_for_what(path: str, missing: str) -> None:
    """For ever, once it is quiet itself: nobody wants half a case."""
    assert judgement_of(unsure(path), 0.0, JAWS).state is SETTLING
    waiting = judgement_of(unsure(path), 100_000.0, JAWS)
    assert (waiting.state, waiting.reason) == (WAITING, f"waits for {missing} of the same name")


def test_nobody_waits_where_nothing_is_required() -> None:
    """The same files are two cases in another inbox."""
    files = proven("Anna_upper.stl", "Anna_lower.stl")
    assert groups_of(files) == apart(*files)


def test_a_partner_that_is_not_ready_keeps_the_other() -> None:
    """Both are one candidate: the younger one's clock, the doubt of either."""
    files = proven("Anna_upper.stl") | unsure("Anna_lower.stl")
    assert judgement_of(files, 4.9, JAWS).state is SETTLING
    assert len(plan_after(files, 5.0, JAWS).inputs) == 2
    files["Anna_lower.stl"] = a_fact("Anna_lower.stl", Proof.INCOMPLETE, "is empty")
    assert judgement_of(files, 599.0, JAWS).state is CandidateState.INCOMPLETE
    assert doom_of(files, 600.0, JAWS) == "incomplete"


def test_a_jaw_with_wrong_content_fails_without_its_partner() -> None:
    """Waiting would not make a scan of it."""
    files = {"Anna_upper.stl": a_fact("Anna_upper.stl", Proof.WRONG, "is a PDF")}
    assert doom_of(files, 5.0, JAWS) == "wrong_content"


@pytest.mark.parametrize("third", ["Anna_maxilla.stl", "upper-Anna.ply"])
def test_three_files_for_two_jaws_fail(third: str) -> None:
    """Nobody knows which upper jaw is meant: all of it comes back with that sentence."""
    files = proven("Anna_upper.stl", "Anna_lower.stl", third)
    assert doom_of(files, 100.0, JAWS) == "two_for_one_modality"


def test_two_files_for_one_jaw_wait_for_the_other() -> None:
    """They may be sorted out by hand before it comes."""
    assert judgement_of(proven("A_upper.stl", "A_maxilla.stl"), 100.0, JAWS).state is WAITING


@pytest.mark.parametrize("other", ["Anna_face.obj", "Anna.nii", "Anna.zip", "Anna_upper.dcm"])
def test_what_is_not_required_is_a_case_of_its_own(other: str) -> None:
    """A face or a volume of the same stem neither waits nor is waited for."""
    files = proven("Anna_upper.stl", "Anna_lower.stl", other)
    jaws = together("Anna_upper.stl", "Anna_lower.stl")
    assert groups_of(files, JAWS) == jaws | apart(other)


def test_a_mesh_that_fits_two_patterns_takes_no_partner_along() -> None:
    """It fails by itself; the jaws wait for one another as if it were not there."""
    files = proven("Anna_upper_lower.stl", "Anna_upper.stl", "Anna_lower.stl")
    judgements = all_judged(files, 100.0, JAWS)
    doomed = judgements["Anna_upper_lower.stl"].plans[0]
    assert doomed.doom is not None
    assert doomed.doom.code == "mesh_name"
    assert judgements["Anna_lower.stl"].plans[0].doom is None


def test_zipped_meshes_wait_too() -> None:
    """A ZIP is a mesh by its name and its directory; as a volume it waits for nobody."""
    files = {
        "Anna_upper.zip": a_fact("Anna_upper.zip", Proof.COMPLETE, closed=True, lists_mesh=True),
        "Anna_lower.stl": a_fact("Anna_lower.stl", Proof.COMPLETE, closed=True),
    }
    assert judgement_of({"Anna_upper.zip": files["Anna_upper.zip"]}, 9.0, JAWS).state is WAITING
    assert groups_of(files, JAWS) == together(*files)
    assert groups_of(files | proven("Anna_upper.zip"), JAWS) == apart(*files)


def test_a_volume_may_be_required() -> None:
    """`require = ["cbct", "ios_upper"]`: the stem of a volume is its name."""
    rules = replace(RULES, require=(Modality.CBCT, Modality.IOS_UPPER))
    files = proven("Anna.nii.gz", "Anna_upper.stl")
    assert groups_of(files, rules) == together(*files)
    assert judgement_of(proven("Anna_upper.stl"), 9.0, rules).reason == (
        "waits for cbct of the same name"
    )
    assert judgement_of(proven("Anna.nii.gz"), 9.0, rules).state is WAITING


def test_folders_wait_for_nobody() -> None:
    """Whoever made the folder knew what belongs into it."""
    assert len(plan_after(proven("p/upper.stl"), 5.0, JAWS).inputs) == 1


@pytest.mark.parametrize(
    ("upper_pattern", "lower_pattern", "upper", "lower"),
    [
        ("*_u.stl", "*_l.stl", "Paul_u.stl", "Paul_l.stl"),
        ("u-*", "l-*", "u-Paul.stl", "l-Paul.stl"),
        ("*[Oo]ber*", "*[Uu]nter*", "Paul Oberkiefer.stl", "Paul Unterkiefer.stl"),
        ("*-?8.stl", "*-?9.stl", "Paul-48.stl", "Paul-49.stl"),
        ("*scan*max*", "*scan*man*", "scan Paul max.stl", "scan Paul man.stl"),
        ("*OK.STL", "*UK.STL", "Paul ok.stl", "Paul uk.stl"),
        ("*[!a-z]1.*", "*[!a-z]2.*", "Paul-1.stl", "Paul-2.stl"),
    ],
)
def test_patterns_of_ones_own(
    upper_pattern: str, lower_pattern: str, upper: str, lower: str
) -> None:
    """Whatever a pattern may say: its words are taken out of the name where it wants them."""
    patterns = {Modality.IOS_UPPER: (upper_pattern,), Modality.IOS_LOWER: (lower_pattern,)}
    rules = replace(JAWS, patterns=patterns)
    assert groups_of(proven(upper, lower), rules) == together(upper, lower)
    others = [upper.replace("Paul", "Paula"), lower.replace("Paul", "Pau")]
    assert groups_of(proven(*others), rules) == apart(*others)


@pytest.mark.parametrize(
    ("patterns", "upper", "lower"),
    [
        (("u-*", "l-*"), "u-Lou-Ann.stl", "l-Lou-Ann.stl"),
        (("*1.stl", "*2.stl"), "A1.stl-1.stl", "A1.stl-2.stl"),
    ],
)
def test_a_word_at_an_end_stands_only_there(
    patterns: tuple[str, str], upper: str, lower: str
) -> None:
    """The same letters further inside belong to the patient."""
    jaws = {Modality.IOS_UPPER: patterns[:1], Modality.IOS_LOWER: patterns[1:]}
    assert groups_of(proven(upper, lower), replace(JAWS, patterns=jaws)) == together(upper, lower)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("An na", "Anna"),
        ("1-2", "12"),
        ("1.2", "1"),
        ("Anna", "Ann"),
        ("Anna B", "B Anna"),
        ("Leroy", "Roy"),
        ("4711", "4712"),
        ("", "Anna"),
    ],
)
def test_names_that_are_nearly_the_same_are_two_patients(one: str, other: str) -> None:
    """A sign between letters counts, and so does the order of words."""
    for upper, lower in (("{} upper", "{}_lower"), ("Maxilla {}", "mandible_{}")):
        paths = f"{upper.format(one)}.stl", f"{lower.format(other)}.stl"
        assert groups_of(proven(*paths), JAWS) == apart(*paths)


WORDS = [word.strip("*") for patterns in PATTERNS.values() for word in patterns]
SIGNS = " ._-"
PATIENTS = (
    st.text("abelruwAEL 01-_.éß", min_size=1, max_size=9)
    .map(lambda name: name.strip(SIGNS))
    .filter(lambda name: bool(name) and not any(word in name.lower() for word in WORDS))
)
HABITS = st.sampled_from(
    [
        ("{}_upper.stl", "{}_lower.stl"),
        ("upper {}.stl", "lower {}.stl"),
        ("{}-UpperJaw.ply", "{}-LowerJaw.stl"),
        ("{}_maxilla_2.stl", "{}_mandible_2.stl"),
        ("{} (maxillar).stl", "{} (mandibular).stl"),
        ("{}Upper.obj", "{}Lower.obj"),
        ("Upper{}.obj", "Lower{}.obj"),
    ]
)


def one_patient(name: str) -> list[str]:
    """Return what two spellings of one patient have in common."""
    return "".join(" " if sign in SIGNS else sign for sign in name.lower()).split()


@given(PATIENTS, PATIENTS, HABITS, HABITS)
def test_two_patients_are_never_mixed(
    one: str, other: str, habit: tuple[str, str], other_habit: tuple[str, str]
) -> None:
    """The jaws of one never become a case with the other's, also when each lacks one."""
    assume(one_patient(one) != one_patient(other))
    upper, lower = habit[0].format(one), other_habit[1].format(other)
    assert groups_of(proven(upper, lower), JAWS) == apart(upper, lower)
    partner, other_partner = habit[1].format(one), other_habit[0].format(other)
    four = proven(upper, lower, partner, other_partner)
    expected = together(upper, partner) | together(lower, other_partner)
    assert groups_of(four, JAWS) == expected


@given(st.lists(PATIENTS, max_size=6), HABITS, st.randoms())
def test_the_order_in_which_files_come_means_nothing(
    patients: list[str], habit: tuple[str, str], chance: random.Random
) -> None:
    """Groups, names and what is missing are the same."""
    paths = [jaw.format(patient) for patient in patients for jaw in habit]
    files: dict[str, Facts | None] = dict(proven(*paths)) | dict(a_series()) | {"x.dcm": None}
    chance.shuffle(keys := list(files))
    other = {key: files[key] for key in keys}
    assert results(other) == results(files)


def results(files: Files) -> Iterable[object]:
    """Return what is judged, in an order of its own."""
    found = joined(candidates_of(files, JAWS), files, JAWS, now=50.0)
    return sorted(repr(one) for one in found)
