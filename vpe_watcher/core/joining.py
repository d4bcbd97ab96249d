"""Loose files that go together: the slices of a series, and meshes that wait for one another.

Works on candidates that are one file each; folders pass through. Pure, and made anew at each turn,
so that nothing has to be kept true.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from vpe_watcher.core.candidate import Candidate
from vpe_watcher.core.grouping import Group, Rules
from vpe_watcher.core.model import Modality
from vpe_watcher.core.plans import SLICE, Facts, modalities_by_name
from vpe_watcher.core.series import series_name

_MESHES = (".stl", ".ply", ".obj")
_SEPARATORS = re.compile(r"[\s._+-]+")


def joined(
    candidates: Iterable[Candidate],
    facts: Mapping[str, Facts | None],
    rules: Rules,
    *,
    now: float,
) -> list[Candidate]:
    """Return the candidates as they will be judged. `facts` by path; `now` is monotonic, in s."""
    rest: list[Candidate] = []
    slices: dict[str, list[Candidate]] = {}
    partners: dict[str, list[Candidate]] = {}
    newcomers = 0.0
    for candidate in candidates:
        group = candidate.group
        fact = facts.get(group.path)
        if group.is_folder:
            rest.append(candidate)
        elif fact is not None and fact.family == SLICE and fact.header is not None:
            slices.setdefault(fact.header.series_uid or group.path, []).append(candidate)
        elif rules.require and _required_of(group, rules):
            partners.setdefault(_stem(group, rules), []).append(candidate)
        else:
            rest.append(candidate)
            if fact is None and _may_be_slice(candidate, rules, now):
                newcomers = max(newcomers, candidate.since)
    series = [_series(uid, members, facts, newcomers) for uid, members in slices.items()]
    return rest + series + [_partners(members, rules) for members in partners.values()]


def _may_be_slice(candidate: Candidate, rules: Rules, now: float) -> bool:
    """Tell whether a file of which nothing is known yet may belong to a series that waits."""
    extension = rules.split_name(candidate.group.path)[1]
    return extension in {"", ".dcm"} and now - candidate.first_seen < rules.series_max_wait_s


def _series(
    uid: str,
    members: list[Candidate],
    facts: Mapping[str, Facts | None],
    newcomers: float,
) -> Candidate:
    """Return a series as one candidate. A file that may yet belong to it keeps it waiting."""
    one = _merged(members)
    fact = facts[one.group.path]
    number = fact.header.series_number if fact and fact.header else ""
    group = replace(one.group, series_uid=uid, name=series_name(number, uid))
    return replace(one, group=group, since=max(one.since, newcomers))


def _merged(members: list[Candidate]) -> Candidate:
    members = sorted(members, key=lambda one: one.group.path)
    group = Group(
        path=members[0].group.path,
        members=tuple(seen for one in members for seen in one.group.members),
        sidecars=tuple(seen for one in members for seen in one.group.sidecars),
        is_marked=all(one.group.is_marked for one in members),
    )
    return Candidate(
        group=group,
        fingerprint=group.fingerprint,
        since=max(one.since for one in members),
        first_seen=min(one.first_seen for one in members),
        detected=min(one.detected for one in members),
        looks=min(one.looks for one in members),
        is_open=any(one.is_open for one in members),
    )


# --- required partners ---------------------------------------------------------------------------


def _required_of(group: Group, rules: Rules) -> set[Modality]:
    if not group.path.lower().endswith(_MESHES):
        return set()
    return set(modalities_by_name(group.path, rules)) & set(rules.require)


def _stem(group: Group, rules: Rules) -> str:
    """Return the stem that partners share: without the words of the patterns and separators."""
    stem = rules.split_name(group.path)[0].lower()
    for modality in rules.require:
        for pattern in rules.patterns[modality]:
            word = pattern.strip("*").lower()
            if word and not set(word) & set("*?["):
                stem = stem.replace(word, " ")
    return _SEPARATORS.sub(" ", stem).strip()


def _partners(members: list[Candidate], rules: Rules) -> Candidate:
    one = _merged(members)
    here = set().union(*(_required_of(member.group, rules) for member in members))
    lacks = tuple(modality for modality in rules.require if modality not in here)
    name = _stem(members[0].group, rules)
    original = rules.split_name(one.group.path)[0]
    start = original.lower().find(name)
    shown = original[start : start + len(name)] if name and start >= 0 else (name or original)
    return replace(one, group=replace(one.group, lacks=lacks, name=shown))
