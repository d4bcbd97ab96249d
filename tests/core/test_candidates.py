"""What in an inbox becomes a case, and when: the contract's rules as tables and properties."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpe_watcher.core.candidate import Candidate, looked
from vpe_watcher.core.candidates import CandidateState, Judgement, judged
from vpe_watcher.core.content import MESH, VOLUME, ZIP, Facts
from vpe_watcher.core.grouping import Group, Rules, Seen, grouped, ignored_by, sight
from vpe_watcher.core.model import FileMark, Kind, Modality, Proof, Verdict
from vpe_watcher.core.plans import Plan
from vpe_watcher.formats.names import split_name

PATTERNS = {
    Modality.IOS_UPPER: ("*upper*", "*maxilla*"),
    Modality.IOS_LOWER: ("*lower*", "*mandib*"),
    Modality.FACIAL: ("*face*", "*facial*"),
}
RULES = Rules(
    settle_s=5.0,
    incomplete_after_s=600.0,
    patterns=PATTERNS,
    split_name=split_name,
    ignore=("*.bak", "Old/*"),
    inner_roots=frozenset({"teeth"}),
)
MARK = FileMark(size=100, mtime_ns=10, ctime_ns=20, inode=30)
COMPLETE = Verdict(Proof.COMPLETE)


def _seen(path: str, kind: Kind = Kind.FILE, **mark: int) -> Seen:
    return Seen(path, kind, replace(MARK, **mark))


def _group(*paths: str) -> Group:
    (group,) = grouped([_entry(path) for path in paths], RULES)
    return group


def _entry(path: str) -> Seen:
    return _seen(path.rstrip("/"), Kind.FOLDER if path.endswith("/") else Kind.FILE)


def _facts(path: str, verdict: Verdict = COMPLETE, **more: Any) -> Facts:
    """Say what a file's name says, as if its content agreed."""
    stem, extension = split_name(path.rpartition("/")[2])
    family = ZIP if extension == ".zip" else MESH if extension in {".stl", ".ply", ".obj"} else ""
    family = family or (VOLUME if extension else "")
    return Facts(stem, extension, family, verdict, **more)


def _known(group: Group, **special: Facts) -> dict[str, Facts]:
    by_name = {seen.path: seen.path.rpartition("/")[2].partition(".")[0] for seen in group.files}
    return {path: special.get(name) or _facts(path) for path, name in by_name.items()}


def _quiet(group: Group, quiet_s: float = 100.0) -> Candidate:
    return Candidate(group, group.fingerprint, since=0.0, detected=0.0, looks=2)


def _judged(group: Group, quiet_s: float = 100.0, **special: Facts) -> Judgement:
    return judged(_quiet(group), _known(group, **special), RULES, now=quiet_s, known={})


def _plan(judgement: Judgement) -> Plan:
    (plan,) = judgement.plans
    return plan


# --- what is never touched -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        ".hidden.dcm",
        "folder/.hidden.dcm",
        "~$report.docx",
        "scan.dcm.part",
        "scan.PARTIAL",
        "scan.tmp",
        "scan.filepart",
        "scan.crdownload",
        "Thumbs.db",
        "THUMBS.DB",
        "desktop.ini",
        ".DS_Store",
        "@eaDir",
        "error.json",
        "error.txt",
        "scan.bak",
        "SCAN.BAK",
        "old/scan.dcm",
    ],
)
def test_names_that_are_never_touched(path: str) -> None:
    """The contract's list and the user's own patterns, whatever their case; each with a reason."""
    assert ignored_by(path, Kind.FILE, RULES)
    groups = grouped([_seen(path)], RULES)
    assert [seen.path for group in groups for seen in group.files] == []


@pytest.mark.parametrize(
    "path", ["scan.dcm", "IM0001", "part.dcm", "tmp", "my.partial.dcm", "error.json.dcm", "a~$.dcm"]
)
def test_names_that_only_look_like_it(path: str) -> None:
    """Whole names count, not parts of them."""
    assert ignored_by(path, Kind.FILE, RULES) == ""


def test_what_is_no_regular_file_is_never_touched() -> None:
    """Links, sockets, FIFOs and devices are no members, whatever they are called."""
    assert ignored_by("scan.dcm", Kind.OTHER, RULES)
    group = _group("patient/", "patient/scan.dcm")
    with_link = grouped([*group.members, _seen("patient/link.dcm", Kind.OTHER)], RULES)
    assert [seen.path for seen in with_link[0].files] == ["patient/scan.dcm"]


def test_what_is_below_an_ignored_folder_is_ignored() -> None:
    """Nothing below a hidden folder, the recycle bin of a NAS, or a folder that is still copied."""
    entries = [_entry(path) for path in (".x/", ".x/a.dcm", "@eaDir/", "@eaDir/b/c.dcm", "y.part/")]
    assert grouped(entries, RULES) == []


# --- grouping ------------------------------------------------------------------------------------


def test_each_loose_file_is_a_group_and_each_folder() -> None:
    """A folder with all below it is one."""
    paths = ("a.dcm", "b.nii", "c/", "c/upper.stl", "c/deep/", "c/deep/scan.dcm")
    groups = {group.path: group for group in grouped(map(_entry, paths), RULES)}
    assert set(groups) == {"a.dcm", "b.nii", "c"}
    assert [seen.path for seen in groups["c"].members] == ["c/deep/scan.dcm", "c/upper.stl"]


def test_another_recipes_inbox_is_no_case() -> None:
    """A sub-folder named like a recipe is that recipe's inbox, only directly in this one."""
    paths = ("teeth/", "teeth/scan.dcm", "patient/", "patient/teeth/", "patient/teeth/x.dcm")
    assert [group.path for group in grouped(map(_entry, paths), RULES)] == ["patient"]


def test_an_empty_folder_is_a_candidate_without_a_scan() -> None:
    """It stays, with the reason."""
    assert _judged(_group("patient/")).state is CandidateState.NO_USABLE_FILE


def test_sidecars_go_with_their_scan() -> None:
    """`scan.dcm.job.json` and `scan.job.json`: the longer one is looked at first."""
    group = _group("scan.dcm", "scan.job.json", "scan.dcm.job.json")
    assert group.path == "scan.dcm"
    plan = _plan(_judged(group))
    assert plan.job_json == ("scan.dcm.job.json", "scan.job.json")
    assert set(plan.files) == {"scan.dcm", "scan.dcm.job.json", "scan.job.json"}


def test_a_sidecar_alone_waits_in_silence() -> None:
    """It is put there before the scan."""
    assert grouped([_seen("scan.dcm.job.json"), _seen("scan.job.json")], RULES) == []


# --- readiness -----------------------------------------------------------------------------------


def test_quiet_for_long_and_seen_twice() -> None:
    """Both: neither one look after a long time nor many looks within a short one."""
    group = _group("scan.nii")
    first = looked(None, group, now=0.0, wall=1000.0)
    assert judged(first, _known(group), RULES, now=50.0, known={}).state is CandidateState.SETTLING
    second = looked(first, group, now=4.9, wall=1004.9)
    waiting = judged(second, _known(group), RULES, now=4.9, known={})
    assert waiting.state is CandidateState.SETTLING
    assert waiting.again_s == pytest.approx(0.1)
    assert judged(second, _known(group), RULES, now=5.0, known={}).plans


@pytest.mark.parametrize("field", ["size", "mtime_ns", "ctime_ns", "inode"])
def test_any_change_starts_the_quiet_time_anew(field: str) -> None:
    """Size, either time or the inode: something happened to it."""
    before = looked(None, _group("scan.nii"), now=0.0, wall=1000.0)
    before = looked(before, _group("scan.nii"), now=4.0, wall=1004.0)
    changed = {field: 99}
    (group,) = grouped([Seen("scan.nii", Kind.FILE, replace(MARK, **changed))], RULES)
    after = looked(before, group, now=6.0, wall=1006.0)
    assert (after.looks, after.since, after.detected) == (1, 6.0, 1000.0)
    assert judged(after, _known(group), RULES, now=6.0, known={}).state is CandidateState.SETTLING


def test_content_is_read_only_when_it_is_quiet() -> None:
    """Before that nobody opens it."""
    group = _group("patient/", "patient/a.nii", "patient/b.pdf")
    first = looked(None, group, now=0.0, wall=0.0)
    assert not judged(first, {}, RULES, now=3.0, known={}).facts_of
    wish = judged(_quiet(group), {}, RULES, now=100.0, known={})
    assert set(wish.facts_of) == {"patient/a.nii", "patient/b.pdf"}


def test_a_temporary_name_keeps_a_folder_incomplete() -> None:
    """Somebody is still copying; after incomplete_after_s all of it fails as one case."""
    group = _group("p/", "p/a.nii", "p/b.nii.part")
    assert _judged(group, 599.0).state is CandidateState.INCOMPLETE
    plan = _plan(_judged(group, 600.0))
    assert plan.doom is not None
    assert (plan.doom.code, plan.files) == ("incomplete", ("p",))


@pytest.mark.parametrize("paths", [("scan.nii",), ("p/", "p/scan.nii", "p/upper.stl")])
def test_what_is_proven_incomplete_waits_and_then_fails(paths: tuple[str, ...]) -> None:
    """One short member is enough; the reason is told, and the clock starts at the last change."""
    short = _facts("scan.nii", Verdict(Proof.INCOMPLETE, "ends after 3 of 9 bytes"))
    waiting = _judged(_group(*paths), 100.0, scan=short)
    assert waiting.state is CandidateState.INCOMPLETE
    assert "3 of 9" in waiting.reason
    assert waiting.again_s == 500.0
    plan = _plan(_judged(_group(*paths), 600.0, scan=short))
    assert plan.doom is not None
    assert "3 of 9" in plan.doom.message


def test_wrong_content_fails_after_the_quiet_time() -> None:
    """A text named .dcm is not waited for."""
    wrong = _facts("scan.dcm", Verdict(Proof.WRONG, "is a PDF"))
    plan = _plan(_judged(_group("scan.dcm"), 5.0, scan=wrong))
    assert plan.doom is not None
    assert (plan.doom.code, plan.doom.failure_class.value) == ("wrong_content", "input")


def test_what_is_no_scan_stays_where_it_is() -> None:
    """Neither a candidate nor a case."""
    assert _judged(_group("report.pdf")) == Judgement()


def test_what_may_not_be_read_is_blocked() -> None:
    """With the reason, also as a member of a folder."""
    locked = _facts("scan.nii", unreadable="may not be read")
    for paths in (("scan.nii",), ("p/", "p/scan.nii", "p/upper.stl")):
        waiting = _judged(_group(*paths), scan=locked)
        assert waiting.state is CandidateState.BLOCKED
        assert "may not be read" in waiting.reason


# --- the plan ------------------------------------------------------------------------------------


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
        ("upper.zip", "upper", Modality.CBCT),
    ],
)
def test_a_files_name_and_modality(path: str, name: str, modality: Modality) -> None:
    """The name without its known extensions; meshes by pattern, the rest is a volume."""
    plan = _plan(_judged(_group(path)))
    assert (plan.case_name, plan.content, plan.files) == (name, "", (path,))
    assert [(entry.modality, entry.name) for entry in plan.inputs] == [(modality, path)]


def test_a_zip_is_a_mesh_by_its_name_and_its_directory() -> None:
    """Both have to say so."""
    plan = _plan(_judged(_group("upper.zip"), upper=_facts("upper.zip", lists_mesh=True)))
    assert plan.inputs[0].modality is Modality.IOS_UPPER
    plan = _plan(_judged(_group("scan.zip"), scan=_facts("scan.zip", lists_mesh=True)))
    assert plan.inputs[0].modality is Modality.CBCT


@pytest.mark.parametrize("path", ["jaw.stl", "upper and lower.stl", "face upper.obj"])
def test_a_mesh_whose_name_fits_no_pattern_or_two_fails(path: str) -> None:
    """Nobody guesses which jaw it is."""
    plan = _plan(_judged(_group(path)))
    assert plan.doom is not None
    assert (plan.doom.code, plan.inputs, plan.files) == ("mesh_name", (), (path,))


def test_a_folder_with_several_modalities_is_one_case() -> None:
    """Its name, all its inputs by modality, its job.json, and what was left out."""
    names = ("scan.dcm", "upper.stl", "sub/lower.stl", "face.obj", "job.json", "report.pdf")
    plan = _plan(_judged(_group("Anna/", "Anna/sub/", *(f"Anna/{name}" for name in names))))
    assert (plan.case_name, plan.content, plan.files) == ("Anna", "Anna", ("Anna",))
    assert {entry.modality: entry.name for entry in plan.inputs} == {
        Modality.CBCT: "scan.dcm",
        Modality.IOS_UPPER: "upper.stl",
        Modality.IOS_LOWER: "sub/lower.stl",
        Modality.FACIAL: "face.obj",
    }
    assert plan.job_json == ("Anna/job.json",)
    assert plan.skipped == ({"name": "report.pdf", "reason": "not a scan"},)


@pytest.mark.parametrize("names", [("a.dcm", "b.nii"), ("upper.stl", "maxilla.ply")])
def test_two_files_for_one_modality_fail(names: tuple[str, str]) -> None:
    """Which one is meant nobody can know."""
    plan = _plan(_judged(_group("p/", *(f"p/{name}" for name in names))))
    assert plan.doom is not None
    assert plan.doom.code == "two_for_one_modality"


# --- properties ----------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        "a.dcm",
        "b.nii.gz",
        "upper.stl",
        "lower.ply",
        "face.obj",
        "x.zip",
        "note.txt",
        "IM1",
        ".hidden",
        "c.part",
        "d.bak",
        "Thumbs.db",
        "job.json",
        "a.dcm.job.json",
        "error.json",
        "patient",
        "teeth",
        "deep",
        "~$x",
        "y.tmp",
    ]
)


@st.composite
def trees(draw: st.DrawFn) -> list[Seen]:
    """Draw an inbox: files, folders, links and what else lies about, in any order."""
    entries: dict[str, Seen] = {}
    for _ in range(draw(st.integers(0, 14))):
        parts = draw(st.lists(NAMES, min_size=1, max_size=3))
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            entries[folder] = _seen(folder, Kind.FOLDER)
        path = "/".join(parts)
        if path not in entries:
            kind = draw(st.sampled_from([Kind.FILE, Kind.FILE, Kind.FILE, Kind.OTHER]))
            entries[path] = _seen(path, kind, size=draw(st.integers(0, 3)))
    kept = [
        seen
        for seen in entries.values()
        if all(entries[above].kind is Kind.FOLDER for above in _above(seen.path))
    ]
    return draw(st.permutations(kept))


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _is_ignored(seen: Seen, entries: Mapping[str, Seen]) -> bool:
    chain = [*_above(seen.path), seen.path]
    return any(ignored_by(path, entries[path].kind, RULES) for path in chain)


def _claimable(entries: list[Seen]) -> set[str]:
    """Return the regular files that no rule sets aside, by a walk of its own."""
    known = {seen.path: seen for seen in entries}
    return {
        seen.path
        for seen in entries
        if seen.kind is Kind.FILE
        and not _is_ignored(seen, known)
        and (seen.path.partition("/")[0] != "teeth" or "/" not in seen.path)
    }


@given(trees(), st.randoms())
def test_the_order_of_a_listing_means_nothing(entries: list[Seen], chance: random.Random) -> None:
    """File systems list in any order: groups and fingerprints are the same."""
    other = list(entries)
    chance.shuffle(other)
    ours, theirs = grouped(entries, RULES), grouped(other, RULES)
    assert ours == theirs
    assert [group.fingerprint for group in ours] == [group.fingerprint for group in theirs]


@given(trees())
def test_what_is_ignored_is_never_claimed(entries: list[Seen]) -> None:
    """No group has a member that a rule keeps us from; no loose one is renamed."""
    allowed = _claimable(entries)
    for group in grouped(entries, RULES):
        assert {seen.path for seen in group.files} <= allowed
        assert not ignored_by(group.path, Kind.FOLDER if group.is_folder else Kind.FILE, RULES)


@given(trees())
def test_every_file_belongs_to_one_group(entries: list[Seen]) -> None:
    """Nothing is lost between the groups and nothing is in two; sidecars alone wait."""
    found = [seen.path for group in grouped(entries, RULES) for seen in group.files]
    assert len(found) == len(set(found))
    lonely = {path for path in _claimable(entries) - set(found) if path.endswith(".job.json")}
    assert set(found) | lonely == _claimable(entries)
    assert all("/" not in path for path in lonely)


@given(trees())
def test_every_file_of_a_case_is_accounted_for(entries: list[Seen]) -> None:
    """Each is an input, a job.json or named as skipped, once."""
    for group in grouped(entries, RULES):
        plans = _judged(group, 1000.0).plans
        for plan in [plan for plan in plans if plan.doom is None]:
            prefix = f"{group.path}/" if group.is_folder else ""
            named = [prefix + entry.name for entry in plan.inputs]
            named += [prefix + entry["name"] for entry in plan.skipped]
            named += plan.job_json
            assert sorted(named) == sorted(seen.path for seen in group.files)
            assert plan.inputs


@given(trees(), st.floats(0, 2000))
def test_a_judgement_is_one_thing(entries: list[Seen], quiet_s: float) -> None:
    """A plan, a reason to wait, a wish to read, or not a scan; who waits has a reason."""
    for group in grouped(entries, RULES):
        judgement = _judged(group, quiet_s)
        said = [judgement.plans, judgement.state, judgement.facts_of]
        assert sum(map(bool, said)) <= 1
        assert bool(judgement.reason) is (judgement.state is not None)


LOOKS = st.lists(st.tuples(st.floats(0, 20), st.integers(0, 2)), min_size=1, max_size=12)


@given(LOOKS, st.sampled_from([0.0, 1.0, 5.0]))
def test_nothing_is_ready_before_it_was_quiet(
    looks: list[tuple[float, int]], settle_s: float
) -> None:
    """Whatever changes when: a plan needs two looks at the same, settle_s or more apart."""
    rules = replace(RULES, settle_s=settle_s)
    candidate: Candidate | None = None
    history: list[tuple[float, int]] = []
    now = 0.0
    for pause_s, size in looks:
        now += pause_s
        history.append((now, size))
        (group,) = grouped([_seen("scan.nii", size=size)], rules)
        candidate = looked(candidate, group, now=now, wall=now)
        if judged(candidate, _known(group), rules, now=now, known={}).plans:
            same = _run_of(history)
            assert len(same) >= 2
            assert now - same[0] >= settle_s


def _run_of(history: list[tuple[float, int]]) -> list[float]:
    """Return the moments of the looks that saw what the last one saw, without a break."""
    moments: list[float] = []
    for moment, size in reversed(history):
        if size != history[-1][1]:
            break
        moments.insert(0, moment)
    return moments


@given(LOOKS)
def test_what_is_left_alone_becomes_ready(looks: list[tuple[float, int]]) -> None:
    """However it was written: two more looks after the quiet time and it is taken."""
    candidate: Candidate | None = None
    now = 0.0
    for pause_s, size in [*looks, (1.0, 7), (5.001, 7)]:
        now += pause_s
        (group,) = grouped([_seen("scan.nii", size=size)], RULES)
        candidate = looked(candidate, group, now=now, wall=now)
    assert candidate is not None
    assert judged(candidate, _known(candidate.group), RULES, now=now, known={}).plans


# --- the last look -------------------------------------------------------------------------------


def test_a_sight_does_not_see_the_rename() -> None:
    """A rename changes ctime and nothing else; anything else is a change."""
    before = sight([("a", MARK)], trusts_inodes=True)
    assert sight([("a", replace(MARK, ctime_ns=99))], trusts_inodes=True) == before
    for change in ({"size": 1}, {"mtime_ns": 1}, {"inode": 1}):
        assert sight([("a", replace(MARK, **change))], trusts_inodes=True) != before
    assert sight([("b", MARK)], trusts_inodes=True) != before


def test_inodes_do_not_count_where_they_cannot_be_trusted() -> None:
    """Network file systems make them up."""
    before = sight([("a", MARK)], trusts_inodes=False)
    assert sight([("a", replace(MARK, inode=1))], trusts_inodes=False) == before
    assert before != sight([("a", MARK)], trusts_inodes=True)


@given(trees(), st.randoms())
def test_a_sight_does_not_depend_on_order(entries: list[Seen], chance: random.Random) -> None:
    """It is compared with a listing of the claim folder."""
    looks = [(seen.path, seen.mark) for seen in entries]
    other = list(looks)
    chance.shuffle(other)
    assert sight(looks, trusts_inodes=True) == sight(other, trusts_inodes=True)
