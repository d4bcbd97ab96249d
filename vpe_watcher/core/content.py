"""What is in a candidate, sorted: series that can be sent, other files, what is left aside.

Judges content that was read, never whether it is ready, nor what case it makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vpe_watcher.core.grouping import Group, Rules
from vpe_watcher.core.model import Proof, Verdict
from vpe_watcher.core.series import Series, SliceHeader, gathered, is_ct_like

VOLUME, MESH, ZIP, SLICE, DIRECTORY = "volume", "mesh", "zip", "slice", "directory"
USABLE = frozenset({VOLUME, MESH, ZIP, SLICE})


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file's name and content say.

    `family` is one of the constants above, "" for what is no scan. `header` is that of a DICOM
    file, `listed` what a DICOMDIR names. `unreadable` says why it could not be opened, "" when it
    could. `is_closed`: a trusted lease said so just before it was read.
    """

    stem: str
    extension: str
    family: str
    verdict: Verdict
    lists_mesh: bool = False
    header: SliceHeader | None = None
    listed: tuple[str, ...] = ()
    unreadable: str = ""
    is_closed: bool = False

    @property
    def is_proven(self) -> bool:
        """Tell whether all of it is there, for certain, and nobody is writing to it."""
        return self.is_closed and self.verdict.proof is Proof.COMPLETE


@dataclass(frozen=True, slots=True)
class KnownSeries:
    """What of a series was claimed before: by which case first, and which SOP instances."""

    case_id: str
    instances: frozenset[str]
    is_unsent: bool = False  # those cases are all held, and nothing of them was ever sent


@dataclass(frozen=True, slots=True)
class Content:
    """What is in a candidate, sorted: series that can be sent, other files, what is left aside."""

    group: Group
    facts: Mapping[str, Facts]
    volumes: tuple[Series, ...]
    refused: tuple[Series, ...]
    few: tuple[Series, ...]  # too short to be a volume, beside one that is
    lateness: Mapping[str, KnownSeries]  # by series UID
    unlisted: str = ""  # what a DICOMDIR names that is not there, in words

    def late(self, series: Series) -> tuple[str, ...]:
        """Return the paths whose instances came after their series had been claimed."""
        known = self.lateness.get(series.uid)
        if known is None:
            return ()
        return tuple(p for p in series.slices if self.instance(p) not in known.instances)

    def instance(self, path: str) -> str:
        """Return the SOP Instance UID of a slice."""
        header = self.facts[path].header
        return header.sop_instance_uid if header else ""

    def is_known(self, series: Series) -> bool:
        """Tell whether every slice of a series was claimed before."""
        return series.uid in self.lateness and not self.late(series)

    def of_family(self, *families: str) -> tuple[str, ...]:
        """Return the members of these families, in the order of their paths."""
        return tuple(s.path for s in self.group.members if self.facts[s.path].family in families)

    @property
    def missing(self) -> str:
        """Say in words what is not here of the series; "" when nothing is known to be missing."""
        return "; ".join(series.missing for series in self._unknown if series.missing)

    def too_few(self, min_slices: int) -> str:
        """Say in words which series are too short to be a volume, whatever else may be here."""
        short = (s for s in self._unknown if len(s.slices) < min_slices)
        return "; ".join(f"{len(s.slices)} here, at least {min_slices} are needed" for s in short)

    @property
    def _unknown(self) -> tuple[Series, ...]:
        """Return the series of which nothing was claimed before."""
        found = (*self.volumes, *self.few)
        return tuple(series for series in found if series.uid not in self.lateness)


def sorted_out(
    group: Group, facts: Mapping[str, Facts], rules: Rules, known: Mapping[str, KnownSeries]
) -> Content:
    """Sort the files of a candidate whose facts are all known."""
    headers = {
        path: fact.header for path, fact in facts.items() if fact.family == SLICE and fact.header
    }
    found = gathered(headers, min_slices=rules.min_slices)
    refused = tuple(series for series in found if series.refusal)
    volumes = [series for series in found if not series.refusal]
    known = {
        series.uid: known[series.uid]
        for series in found
        if series.uid in known and not _replaces(series, known[series.uid], headers)
    }
    few = [s for s in volumes if s.uid not in known and _is_short(s, headers, rules)]
    is_beside_one = any(len(series.slices) >= rules.min_slices for series in volumes) or any(
        _is_dicom_volume(one) for one in facts.values()
    )
    if not is_beside_one:
        few = []
    return Content(
        group=group,
        facts=facts,
        volumes=tuple(series for series in volumes if series not in few),
        refused=refused,
        few=tuple(few),
        lateness=known,
    )


def _replaces(series: Series, known: KnownSeries, headers: Mapping[str, SliceHeader]) -> bool:
    """Tell whether the whole of a series is here, of which only parts were held before."""
    here = {headers[path].sop_instance_uid for path in series.slices}
    return known.is_unsent and not series.missing and known.instances < here


def _is_short(series: Series, headers: Mapping[str, SliceHeader], rules: Rules) -> bool:
    """Tell whether all of a series is here, as far as it says, and that is too little."""
    if len(series.slices) >= rules.min_slices:
        return False
    here = {path: headers[path] for path in (*series.slices, *(p for p, _ in series.skipped))}
    return not any(one.missing for one in gathered(here, min_slices=1))


def _is_dicom_volume(fact: Facts) -> bool:
    return fact.family == VOLUME and fact.header is not None


def no_volume(content: Content) -> str:
    """Say why nothing of a candidate can be sent; "" when something can, or must fail."""
    if content.volumes or content.of_family(VOLUME, MESH, ZIP):
        return ""
    if any(_is_scan(series, content) for series in content.refused):
        return ""
    reasons = dict.fromkeys(series.refusal for series in content.refused)
    return "; ".join(reasons) or "no file in it is a scan"


def _is_scan(series: Series, content: Content) -> bool:
    """Tell whether a refused series is a scan that something is wrong with."""
    headers = (content.facts[path].header for path in series.slices)
    return any(header is not None and is_ct_like(header) for header in headers)


def in_a_sentence(verdict: Verdict) -> str:
    """Return a verdict's reason so that it can follow a colon: with the file as its subject."""
    is_verb = verdict.reason.partition(" ")[0] in {"is", "ends", "starts", "holds"}
    return f"the file {verdict.reason}" if is_verb else verdict.reason
