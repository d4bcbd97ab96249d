"""What was seen in an inbox where nothing is moved: by path, size and time of change.

Keeps a scan of many unchanged files cheap: they are compared with what is remembered and never
opened. What bears a new name or time is compared by content before it makes a case. Owned by the
inbox's one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from vpe_watcher import formats
from vpe_watcher.adapters.files import blamed, fault_of
from vpe_watcher.adapters.store import NewCase, Remembered
from vpe_watcher.core.content import USABLE, Facts
from vpe_watcher.core.grouping import JOB_JSON, SIDECAR, Group, Rules, Seen, ignored_by
from vpe_watcher.core.model import Kind
from vpe_watcher.flow.blame import can_use
from vpe_watcher.flow.options import UNREAD, Options
from vpe_watcher.flow.places import root_key
from vpe_watcher.flow.ports import Ports

COMPARE_AT_MOST_S = 2.0  # in one turn, so that the inbox stays awake
READ_AT_MOST_S = 0.5
READ_DUTY = 0.05  # of the time goes into reading what was there before
FILES_AT_ONCE = 200
NEVER = float("inf")
GONE = "gone"


class Memory:
    """The remembered files of one root. `unknown` is asked with what a look shows."""

    def __init__(self, options: Options, ports: Ports, *, monotonic: Callable[[], float]) -> None:
        self._options = options
        self._ports = ports
        self._monotonic = monotonic
        self._key = root_key(options.recipe, options.folder)
        self._known: dict[str, tuple[int, int]] | None = None
        self._next_reading_at = 0.0
        self._wanted: set[str] = set()
        self._digests: dict[tuple[str, int, int], str] = {}

    def use(self, options: Options, ports: Ports) -> None:
        """Go by another configuration of the same inbox from the next look on."""
        self._options = options
        self._ports = ports

    def want(self, path: str) -> None:
        """Take what a person asked for, although it was seen; `path` is relative to the root."""
        self._ports.store.forget(self._key, path)
        self._wanted.add(path)
        self.reload()

    def _is_wanted(self, path: str) -> bool:
        return any(path == one or path.startswith(f"{one}/") for one in self._wanted)

    def reload(self) -> None:
        """Read anew what is remembered: rows were taken back."""
        self._known = None

    def unknown(
        self, seen: Sequence[Seen], rules: Rules, *, is_full: bool, refused: Collection[str] = ()
    ) -> list[Seen]:
        """Return the files of a look that were not seen before, and what may belong to them.

        At the very first scan of a root all of it is remembered, unless existing files are taken.
        Wishes and markers count for whatever comes to lie beside them, so they are always returned.
        So are folders directly in the root that are `refused`: nobody knows what is in them.
        """
        if is_full and not self._ports.store.is_scanned(self._key):
            self._record_first_scan(seen, rules, refused)
        elif is_full:
            self._learn_unread(seen, rules, refused)
        known = self._loaded()
        files = [item for item in seen if item.kind is Kind.FILE]
        if is_full:  # what is gone needs no room in memory
            here = {item.path for item in files}
            self._known = {
                path: mark
                for path, mark in known.items()
                if path in here or path.partition("/")[0] in refused
            }
        closed = [item for item in seen if item.kind is Kind.FOLDER and item.path in refused]
        return closed + [
            item for item in files if not self.has_seen(item) or _is_companion(item.path, rules)
        ]

    def has_seen(self, item: Seen) -> bool:
        """Tell whether a file is as it was when it was seen."""
        return self._loaded().get(item.path) == (item.mark.size, item.mark.mtime_ns)

    def taken(
        self, group: Group, cases: Sequence[NewCase], facts: Mapping[str, Facts | None]
    ) -> list[Remembered]:
        """Return what is to be remembered of a group that is taken; each file by its case."""
        owner = {
            name: case.case_id for case in cases for entry in case.inputs for name, _ in entry.files
        }
        return [
            self._remembered(seen, facts.get(seen.path), owner.get(seen.path, cases[0].case_id))
            for seen in group.files
        ]

    def learn(self, found: Iterable[Remembered]) -> None:
        """Take note of what the state file remembers by now."""
        self._loaded().update({one.path: (one.size, one.mtime_ns) for one in found})

    def keep(self, group: Group, facts: Mapping[str, Facts | None]) -> None:
        """Remember a group of which no case is made."""
        found = [self._remembered(seen, facts.get(seen.path), "") for seen in group.files]
        self._ports.store.remember(self._key, found)
        self.learn(found)

    # --- by content -------------------------------------------------------------------------------

    def is_known(self, group: Group, facts: Mapping[str, Facts | None]) -> bool | None:
        """Tell whether every scan of a group was seen before under another name or time.

        None: not all files of the same sizes have been read yet; ask again in the next turn.
        """
        usable = [seen for seen in group.members if _is_usable(facts.get(seen.path))]
        if any(self._is_wanted(seen.path) for seen in usable):
            return False
        self._next_reading_at = 0.0  # what is new may be like what nobody has read yet
        deadline = self._monotonic() + COMPARE_AT_MOST_S
        for size in sorted({seen.mark.size for seen in usable}):
            if not self._read_all_of(size, deadline):
                return None
        contents = {self._content(seen, facts.get(seen.path)) for seen in usable}
        return contents <= self._ports.store.contents_known(self._key, contents)

    def read_some(self) -> None:
        """Read a little of what was remembered unread, so that it is known under another time."""
        started = self._monotonic()
        if started < self._next_reading_at:
            return
        is_done = self._read_all_of(None, started + READ_AT_MOST_S)
        spent_s = self._monotonic() - started
        self._next_reading_at = NEVER if is_done else started + spent_s / READ_DUTY

    @property
    def next_reading_at(self) -> float:
        """Return the monotonic moment at which there is something to read."""
        return self._next_reading_at

    def _read_all_of(self, size: int | None, deadline: float) -> bool:
        """Read what tells the content of remembered files of a size; false when time is out."""
        while unread := self._ports.store.unread(self._key, size, at_most=FILES_AT_ONCE):
            if self._monotonic() >= deadline:
                return False
            contents = {one.path: self._content_of(one) for one in unread}
            self._ports.store.set_contents(self._key, contents)
        return True

    def _content_of(self, one: Remembered) -> str:
        """Read one remembered file; one that cannot be read now counts as other content."""
        path = self._options.folder / one.path
        try:
            entry = self._ports.disk.look(path)
            if entry is None or (entry.mark.size, entry.mark.mtime_ns) != (one.size, one.mtime_ns):
                return GONE
            return self._read(path)
        except OSError as error:
            if not can_use(self._options.name, self._options.recipe, self._ports):
                raise fault_of(error, self._options.name) from error
            return GONE

    def _content(self, seen: Seen, fact: Facts | None) -> str:
        if fact is not None and fact.header is not None and fact.header.sop_instance_uid:
            return _instance(fact.header.sop_instance_uid)
        key = (seen.path, seen.mark.size, seen.mark.mtime_ns)
        if key not in self._digests:
            with blamed(f"inbox:{self._options.recipe}"):
                self._digests[key] = self._read(self._options.folder / seen.path)
        return self._digests[key]

    def _read(self, path: Path) -> str:
        """Return the SOP Instance UID of a DICOM file, and the digest of any other."""
        with self._ports.disk.open(path) as file:
            found = formats.read_facts(file)
        if found is not None and found.sop_instance_uid:
            return _instance(found.sop_instance_uid)
        return f"sha256:{self._ports.disk.digest(path)}"

    # --- rows -------------------------------------------------------------------------------------

    @staticmethod
    def _remembered(seen: Seen, fact: Facts | None, case_id: str) -> Remembered:
        content = None
        if fact is not None and fact.header is not None and fact.header.sop_instance_uid:
            content = _instance(fact.header.sop_instance_uid)
        return Remembered(seen.path, seen.mark.size, seen.mark.mtime_ns, case_id, content)

    def _loaded(self) -> dict[str, tuple[int, int]]:
        if self._known is None:
            self._known = self._ports.store.marks(self._key)
        return self._known

    def _record_first_scan(
        self, seen: Iterable[Seen], rules: Rules, refused: Collection[str]
    ) -> None:
        unread: dict[str, str] = {}
        if not self._options.takes_existing:
            self._remember_all(seen, rules)
            unread = dict.fromkeys(refused, UNREAD)
        self._ports.store.record_first_scan(self._key, unread)

    def _learn_unread(self, seen: Sequence[Seen], rules: Rules, refused: Collection[str]) -> None:
        """Remember what lay there at the first scan, and could not be read then."""
        for top, sight in self._ports.store.existing(self._key).items():
            if sight == UNREAD and top not in refused:
                below = [item for item in seen if item.path.partition("/")[0] == top]
                self._remember_all(below, rules)
                self._ports.store.learn_existing(self._key, top, None)

    def _remember_all(self, seen: Iterable[Seen], rules: Rules) -> None:
        files = [
            Remembered(item.path, item.mark.size, item.mark.mtime_ns)
            for item in seen
            if item.kind is Kind.FILE and not ignored_by(item.path, item.kind, rules)
        ]
        self._ports.store.remember(self._key, files)
        self._known = None


def _is_usable(fact: Facts | None) -> bool:
    return fact is not None and fact.family in USABLE


def _is_companion(path: str, rules: Rules) -> bool:
    lower = path.lower()
    is_marker = bool(rules.ready_marker) and lower.endswith(rules.ready_marker.lower())
    return lower.endswith(SIDECAR) or lower.rpartition("/")[2] == JOB_JSON or is_marker


def _instance(uid: str) -> str:
    return f"sop:{uid}"
