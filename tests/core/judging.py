"""Inboxes as tables of paths and facts, for the tests of the rules of candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tests.core.slicing import a_slice
from vpe_watcher.core.candidate import Candidate
from vpe_watcher.core.candidates import Judgement, judged
from vpe_watcher.core.content import DIRECTORY, MESH, SLICE, VOLUME, ZIP, Facts, KnownSeries
from vpe_watcher.core.grouping import Rules, Seen, grouped
from vpe_watcher.core.joining import joined
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
    series_settle_s=30.0,
    series_max_wait_s=3600.0,
    min_slices=10,
)
MARKED = replace(RULES, ready_marker=".done")
JAWS = replace(RULES, require=(Modality.IOS_UPPER, Modality.IOS_LOWER))
MARK = FileMark(size=100, mtime_ns=10, ctime_ns=20, inode=30)
NOTHING: Mapping[str, KnownSeries] = {}
Files = Mapping[str, Facts | None]


def a_fact(
    path: str,
    proof: Proof = Proof.CANNOT_TELL,
    reason: str = "",
    *,
    closed: bool = False,
    **more: Any,
) -> Facts:
    """Say of a file what its name says, and what its content proves."""
    stem, extension = split_name(path.rpartition("/")[2])
    family = MESH if extension in {".stl", ".ply", ".obj"} else VOLUME if extension else ""
    family = ZIP if extension == ".zip" else family
    values: dict[str, Any] = {"is_closed": closed} | more
    return Facts(stem, extension, family, Verdict(proof, reason), **values)


def proven(*paths: str) -> dict[str, Facts]:
    """Return files that are all there and that nobody has open."""
    return {path: a_fact(path, Proof.COMPLETE, closed=True) for path in paths}


def unsure(*paths: str) -> dict[str, Facts]:
    """Return files of which neither their format nor a lease says anything."""
    return {path: a_fact(path) for path in paths}


def a_slice_fact(
    number: int,
    uid: str = "1.2.3",
    proof: Proof = Proof.COMPLETE,
    *,
    closed: bool = False,
    **header: Any,
) -> Facts:
    """Say that a file is a CT slice with this number."""
    values = {"series_uid": uid, "sop_instance_uid": f"{uid}.{number}"} | header
    return Facts(
        stem=f"IM{number}",
        extension=".dcm",
        family=SLICE,
        verdict=Verdict(proof),
        header=a_slice(number, **values),
        is_closed=closed,
    )


def a_series(
    numbers: Iterable[int] = range(1, 13), uid: str = "1.2.3", *, at: str = "", **header: Any
) -> dict[str, Facts]:
    """Return the slices of one series, `at` before each of their names."""
    return {f"{at}{uid}-{number:04d}": a_slice_fact(number, uid, **header) for number in numbers}


def a_directory(path: str, *listed: str) -> dict[str, Facts]:
    """Return a DICOMDIR that names these files, relative to its own folder."""
    fact = Facts("DICOMDIR", ".dcm", DIRECTORY, Verdict(Proof.COMPLETE), listed=listed)
    return {path: replace(fact, is_closed=True)}


def entries_of(files: Files, *folders: str, size: int = 100) -> list[Seen]:
    """Return what a look at these files and folders shows."""
    parents = {path[:place] for path in files for place, c in enumerate(path) if c == "/"}
    found = [Seen(path, Kind.FOLDER, MARK) for path in sorted({*parents, *folders})]
    return found + [Seen(path, Kind.FILE, replace(MARK, size=size)) for path in files]


def candidates_of(
    files: Files, rules: Rules = RULES, *, since: float = 0.0, **more: Any
) -> list[Candidate]:
    """Return the candidates of an inbox that was looked at twice, each of a file or a folder."""
    values: dict[str, Any] = {"looks": 2, "detected": 0.0} | more
    groups = grouped(entries_of(files), rules)
    return [Candidate(group, group.fingerprint, since, **values) for group in groups]


def all_judged(
    files: Files,
    quiet_s: float,
    rules: Rules = RULES,
    *,
    known: Mapping[str, KnownSeries] = NOTHING,
    candidates: Iterable[Candidate] | None = None,
    **more: Any,
) -> dict[str, Judgement]:
    """Judge an inbox that was quiet for some seconds; by the paths of what was judged."""
    found = candidates_of(files, rules, **more) if candidates is None else candidates
    return {
        one.group.path: judged(
            one,
            {seen.path: files[seen.path] for seen in one.group.files},
            rules,
            now=quiet_s,
            known=known,
        )
        for one in joined(found, files, rules, now=quiet_s)
    }


def judgement_of(files: Files, quiet_s: float, rules: Rules = RULES, **more: Any) -> Judgement:
    """Judge what is expected to be one candidate."""
    (judgement,) = all_judged(files, quiet_s, rules, **more).values()
    return judgement


def plans_after(
    files: Files, quiet_s: float = 4000.0, rules: Rules = RULES, **more: Any
) -> tuple[Plan, ...]:
    """Return the cases of one candidate that was quiet for long."""
    return judgement_of(files, quiet_s, rules, **more).plans


def plan_after(files: Files, quiet_s: float = 4000.0, rules: Rules = RULES, **more: Any) -> Plan:
    """Return the one case of one candidate that was quiet for long."""
    (plan,) = plans_after(files, quiet_s, rules, **more)
    return plan


def doom_of(files: Files, quiet_s: float = 4000.0, rules: Rules = RULES, **more: Any) -> str:
    """Return the code of the problem for which one candidate is claimed only to fail."""
    plan = plan_after(files, quiet_s, rules, **more)
    assert plan.doom is not None
    assert not plan.inputs
    return plan.doom.code


def skipped_of(plan: Plan) -> dict[str, str]:
    """Return what a case leaves out, with the reasons."""
    return {row["name"]: row["reason"] for row in plan.skipped}
