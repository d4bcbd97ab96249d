"""What lies in one inbox: every path with its looks, and what was read of its content.

Owned by the inbox's one thread; judges nothing, and takes nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from vpe_watcher.adapters.files import Entry, blamed
from vpe_watcher.adapters.leases import Openness
from vpe_watcher.core.candidate import Candidate, found_open, looked
from vpe_watcher.core.candidates import may_be_taken_at_once
from vpe_watcher.core.content import Facts
from vpe_watcher.core.grouping import SIDECAR, Group, Rules, Seen, grouped, sight
from vpe_watcher.core.model import FileMark, Proof
from vpe_watcher.flow.breakers import Log
from vpe_watcher.flow.facts import read_facts
from vpe_watcher.flow.looks import TOO_LONG, seen_in
from vpe_watcher.flow.memory import Memory
from vpe_watcher.flow.options import UNREAD, Options
from vpe_watcher.flow.ports import Ports

SLOW_S = 10.0
PROOF_DUTY = 0.1  # of the time may go into proving files that turn out to be still growing

SLOW = (
    f"the content of one file has been read for {SLOW_S:g} s: it is large, unpacks to much, or its "
    "disk is slow; the others of this inbox wait"
)


@dataclass(slots=True)
class Known:
    """What we know of one path; facts by path, with the mark that they belong to."""

    candidate: Candidate
    facts: dict[str, tuple[FileMark, Facts | None]] = field(default_factory=dict)
    prove_at: float = 0.0
    is_existing: bool = False

    def fresh(self) -> dict[str, Facts | None]:
        """Return the facts that belong to the files as they are now."""
        marks = {seen.path: seen.mark for seen in self.candidate.group.files}
        return {
            path: facts for path, (mark, facts) in self.facts.items() if marks.get(path) == mark
        }


class Sightings:
    """The paths directly in an inbox. `refused` says by name what the disk let nobody look into."""

    def __init__(
        self,
        options: Options,
        ports: Ports,
        *,
        monotonic: Callable[[], float],
        memory: Memory | None,
        log: Log,
    ) -> None:
        self._options = options
        self._ports = ports
        self._monotonic = monotonic
        self._memory = memory
        self._known: dict[str, Known] = {}
        self._log = log
        self.refused: dict[str, str] = {}
        self.reading: Candidate | None = None  # whose content is being read now

    def use(self, options: Options, ports: Ports) -> None:
        """Go by another configuration of the same inbox from the next look on."""
        self._options = options
        self._ports = ports

    def wanted(self) -> list[Candidate]:
        """Return what may become cases; what is not wanted is left out."""
        return [one.candidate for one in self._known.values() if not one.is_existing]

    def unwanted(self) -> list[Candidate]:
        """Return what lay there at the first scan and is not wanted."""
        return [one.candidate for one in self._known.values() if one.is_existing]

    def facts(self) -> dict[str, Facts | None]:
        """Return what is known of the content of files as they are now, by path."""
        found: dict[str, Facts | None] = {}
        for one in self._known.values():
            if not one.is_existing:
                found |= one.fresh()
        return found

    def nameless(self) -> set[str]:
        """Return the loose files that are unread or incomplete, which may be slices of any series.

        No series must be taken by an old look at one of them: it may have been filled meanwhile.
        """

        def is_told(path: str, one: Known) -> bool:
            fact = one.fresh().get(path)
            return fact is not None and fact.verdict.proof is not Proof.INCOMPLETE

        return {
            path
            for path, one in self._known.items()
            if not one.candidate.group.is_folder and not is_told(path, one)
        }

    def forget(self, group: Group) -> None:
        """Forget what was taken; what appears under its names is something new."""
        for name in names_of(group):
            self._known.pop(name, None)

    # --- looking ----------------------------------------------------------------------------------

    def look(self, names: set[str] | None, rules: Rules, *, moved_in: set[str]) -> None:
        """Look at the whole inbox, or only at some names directly in it and at what is new there.

        A series must not be taken without a slice that lies beside it, whose event was lost.
        """
        with blamed(self._options.name):
            seen = self._seen(names, rules)
        if self._memory is not None:
            seen = self._memory.unknown(
                seen, rules, is_full=names is None, refused=self.refused.keys()
            )
        claimed = self._ports.store.claimed_sources()
        groups = {
            group.path: group
            for group in grouped(seen, rules)
            if str(self._options.folder / group.path) not in claimed and self._has_news(group)
        }
        existing = self._existing(groups, is_full=names is None)
        now, wall = self._monotonic(), self._ports.now()
        for path in [path for path in self._known if names is None or path in names]:
            if path not in groups:
                del self._known[path]
        for path, group in groups.items():
            if names is None or path in names or path not in self._known:
                one = self._update(path, group, now, wall, moved_in=path in moved_in)
                one.is_existing = existing.get(path) == lasting(group)

    def _has_news(self, group: Group) -> bool:
        """Tell whether a group of an export that is left in place holds anything new, or may."""
        if self._memory is None or group.path in self.refused:
            return True
        return not all(self._memory.has_seen(seen) for seen in group.members)

    def with_companions(self, names: set[str], rules: Rules) -> set[str]:
        """Add what a marker or a sidecar belongs to: its own name is that of no candidate."""
        found = set(names)
        marker = rules.ready_marker.lower()
        for name in names:
            lower = name.lower()
            if marker and lower.endswith(marker):
                found.add(name[: -len(marker)])
            if lower.endswith(SIDECAR):
                stem = lower.removesuffix(SIDECAR)
                found |= {path for path in self._known if path.lower().startswith(stem)}
        return found

    def _seen(self, names: set[str] | None, rules: Rules) -> list[Seen]:
        marker = rules.ready_marker.lower()

        def wants(entry: Entry) -> bool:
            if names is None or entry.name in names:
                return True
            if self._memory is None and entry.name not in self._known:
                return True
            lower = entry.name.lower()
            return lower.endswith(SIDECAR) or bool(marker and lower.endswith(marker))

        return seen_in(
            self._ports.disk,
            self._options.folder,
            rules,
            wants=wants,
            refused=self._refuse,
        )

    def _refuse(self, name: str, error: OSError) -> None:
        if error.errno == errno.ENAMETOOLONG:
            why = TOO_LONG
        else:
            why = (
                "the service may not look into all of this folder: give its user read permission "
                f"(user id {os.geteuid()})"
            )
        self.refused[name] = why

    def _update(self, path: str, group: Group, now: float, wall: float, *, moved_in: bool) -> Known:
        one = self._known.get(path)
        candidate = looked(
            one.candidate if one else None, group, now=now, wall=wall, moved_in=moved_in
        )
        if one is None:
            one = self._known[path] = Known(candidate)
        one.candidate = candidate
        return one

    def _existing(self, groups: dict[str, Group], *, is_full: bool) -> dict[str, str]:
        """Return what is not wanted (path: sight), and record it at the very first scan."""
        store = self._ports.store
        if self._memory is not None:
            return {}
        if self._options.takes_existing:
            if is_full and not store.is_scanned(self._options.key):
                store.record_first_scan(self._options.key, {})
            return {}
        if is_full and not store.is_scanned(self._options.key):
            found = {path: lasting(one) for path, one in groups.items()}
            unread = dict.fromkeys(found.keys() & self.refused.keys(), UNREAD)
            store.record_first_scan(self._options.key, found | unread)
        return {
            path: self._learned(groups[path]) if sight == UNREAD and path in groups else sight
            for path, sight in store.existing(self._options.key).items()
        }

    def _learned(self, group: Group) -> str:
        """Return the sight of what could not be read at the first scan, as it is now."""
        if group.path not in self.refused:
            self._ports.store.learn_existing(self._options.key, group.path, lasting(group))
        return lasting(group)

    # --- reading ----------------------------------------------------------------------------------

    def openness(self, path: str) -> Openness:
        """Ask whether somebody has a file open for writing; `path` is relative to the inbox."""
        with blamed(self._options.name):
            return self._ports.openness(self._options.recipe, self._options.folder / path)

    def read_what_is_due(self, rules: Rules) -> None:
        """Ask who has unread files open; read what is quiet, or may be taken at once."""
        for one in list(self._known.values()):
            if not one.is_existing:
                self._read_what_is_due(one, rules)

    def found_open(self, paths: Iterable[str]) -> None:
        """Take note that files are open for writing: their quiet time starts anew."""
        for path in paths:
            one = self._known.get(path.partition("/")[0])
            if one is not None:
                one.candidate = found_open(one.candidate, now=self._monotonic())

    def _read_what_is_due(self, one: Known, rules: Rules) -> None:
        """Ask who has an unread file open; read what is quiet, or may be taken at once."""
        now = self._monotonic()
        if one.candidate.is_open:
            one.candidate = replace(one.candidate, is_open=False)
        fresh = one.fresh()
        unread = [seen.path for seen in one.candidate.group.files if fresh.get(seen.path) is None]
        if not unread:
            return
        openness = {path: self.openness(path) for path in unread}
        if Openness.OPEN in openness.values():
            one.candidate = found_open(one.candidate, now=now)
            return
        is_quiet = now - one.candidate.since >= rules.settle_s and one.candidate.looks > 1
        is_worth_it = set(openness.values()) == {Openness.CLOSED} and now >= one.prove_at
        is_early = one.candidate.group.is_marked or (
            is_worth_it and may_be_taken_at_once(one.candidate)
        )
        if is_early or (is_quiet and not one.candidate.group.temporaries):
            self._read_facts(one, openness)
            spent_s = self._monotonic() - now
            one.prove_at = now + spent_s / PROOF_DUTY

    def _read_facts(self, one: Known, openness: dict[str, Openness]) -> None:
        marks = {seen.path: seen.mark for seen in one.candidate.group.files}
        self.reading = one.candidate
        try:
            for path, found in openness.items():
                with blamed(self._options.name):
                    facts = read_facts(
                        self._ports.disk,
                        self._options.folder / path,
                        is_closed=found is Openness.CLOSED,
                        pulse=self._tells_once_slow(marks[path].size),
                    )
                one.facts[path] = (marks[path], facts)
        finally:
            self.reading = None

    def _tells_once_slow(self, size_bytes: int) -> Callable[[], None]:
        """Return what is called on and on while a file is read, and tells once if that lasts."""
        slow_at = self._monotonic() + SLOW_S

        def pulse() -> None:
            nonlocal slow_at
            if self._monotonic() >= slow_at:
                slow_at = float("inf")
                self._log("scan.slow", root=self._options.name, bytes=size_bytes, reason=SLOW)

        return pulse


def names_of(group: Group) -> set[str]:
    """Return the names directly in the inbox that a group is made of."""
    return {group.path, *(seen.path.partition("/")[0] for seen in group.members)}


def lasting(group: Group) -> str:
    """Return the sight of a group by what outlives a remount, a restored backup, a new disk."""
    return sight(((seen.path, seen.mark) for seen in group.files), trusts_inodes=False)
