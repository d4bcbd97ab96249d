"""Loose files that go together: the slices of a series, and files that wait for one another.

Works on candidates that are one file each; folders pass through. Pure, and made anew at each turn,
so that nothing has to be kept true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from vpe_watcher.core.candidate import Candidate
from vpe_watcher.core.content import SLICE, Facts
from vpe_watcher.core.grouping import Group, Rules
from vpe_watcher.core.model import Modality, Proof
from vpe_watcher.core.partners import bare_stem, partner_key, required_modality
from vpe_watcher.core.series import series_name


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
    modalities: dict[str, Modality] = {}
    newcomers = 0.0
    for candidate in candidates:
        group = candidate.group
        fact = facts.get(group.path)
        if group.is_folder:
            rest.append(candidate)
        elif fact is not None and fact.family == SLICE and fact.header is not None:
            slices.setdefault(fact.header.series_uid or group.path, []).append(candidate)
        elif modality := required_modality(group, fact, rules):
            modalities[group.path] = modality
            key = partner_key(bare_stem(group.path, modality, rules))
            partners.setdefault(key, []).append(candidate)
        else:
            rest.append(candidate)
        if _may_be_slice(candidate, fact, rules, now):
            newcomers = max(newcomers, candidate.since)
    series = [_series(uid, found, facts, rules, newcomers, now) for uid, found in slices.items()]
    return rest + series + [_partners(found, modalities, rules) for found in partners.values()]


def _may_be_slice(candidate: Candidate, fact: Facts | None, rules: Rules, now: float) -> bool:
    """Tell whether a file may belong to a series that waits: nothing says yet what it is."""
    group = candidate.group
    if group.is_folder or now - candidate.first_seen >= rules.series_max_wait_s:
        return False
    if fact is None or not group.members[0].mark.size:
        return rules.split_name(group.path)[1] in {"", ".dcm"}
    is_named = fact.header is not None and bool(fact.header.series_uid)
    is_short = fact.verdict.proof is Proof.INCOMPLETE
    return is_short and fact.extension == ".dcm" and not is_named


def _series(
    uid: str,
    members: list[Candidate],
    facts: Mapping[str, Facts | None],
    rules: Rules,
    newcomers: float,
    now: float,
) -> Candidate:
    """Return a series as one candidate. Files that may yet belong to it keep it waiting a while.

    Not for ever: others may come and come.
    """
    one = _merged(members)
    fact = facts[one.group.path]
    header = fact.header if fact else None
    name = series_name(header.series_number, uid) if header and header.series_uid else ""
    group = replace(one.group, series_uid=uid, name=name)
    is_waiting = now - one.since < rules.series_max_wait_s
    return replace(one, group=group, since=max(one.since, newcomers) if is_waiting else one.since)


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


def _partners(
    members: list[Candidate], modalities: Mapping[str, Modality], rules: Rules
) -> Candidate:
    """Return partners as one candidate, named as the first of them without its pattern's words."""
    one = _merged(members)
    here = {modalities[member.group.path] for member in members}
    lacks = tuple(modality for modality in rules.require if modality not in here)
    stem = bare_stem(one.group.path, modalities[one.group.path], rules)
    return replace(one, group=replace(one.group, lacks=lacks, name=stem))
