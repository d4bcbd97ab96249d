"""The work of `recover`: from a lost, damaged or outdated state file to one that can be run on.

Nothing is deleted: a damaged file is moved aside, one that is brought up to date is copied first.
Dying anywhere is harmless: the new file is built beside, or written in one transaction, and the
next `recover` finds what this one has not yet done.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.store import Database, Store
from vpe_watcher.adapters.store.copies import copy_state
from vpe_watcher.adapters.store.soundness import QuickCheck, check_at_start
from vpe_watcher.app.assembly import open_store
from vpe_watcher.app.start import check_belonging
from vpe_watcher.app.terms import in_place_of, marked_folders_of, places_of, rules_of
from vpe_watcher.core.breakers import DAMAGED
from vpe_watcher.core.errors import ConfigError, EnvironmentFault, TryAgainLater, WatcherError
from vpe_watcher.flow.places import HIDDEN, root_key
from vpe_watcher.flow.recovery import Judge, Recovery
from vpe_watcher.flow.roots import MARKER, Marker, check_alone, read_marker
from vpe_watcher.flow.survey import Claim, Survey, survey

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings

BUILT = ".recovered"
DAMAGED_WORDS = "The state file is damaged: "
FILES = ("", "-wal", "-shm")
_MOUNT = "Mount or make it"
_LOOK = "Look at its disk, its mount and its permissions"


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was done. `kept` is where the file that was there lies now, if it was replaced.

    `why` says in words what was wrong, "" when nothing was; `left` counts claims that could not be
    put back because their names are taken in the inbox, `still` is why the daemon would not start.
    """

    recovery: Recovery
    found: Survey
    why: str
    is_new: bool
    kept: Path | None
    paused: tuple[str, ...]
    resumed: bool
    dropped_words: int
    unmarked: tuple[str, ...]
    foreign: tuple[str, ...]
    left: int
    still: str


def recover(
    settings: Settings,
    *,
    disk: Disk,
    now: Callable[[], float],
    fresh_id: str,
    resume: str = "",
) -> Recovered:
    """Bring the state file in line with the folders. The caller holds the daemon's lock.

    Raises:
        TryAgainLater: a folder is not there or looks unmounted, or the state file cannot be read or
            written now.
        ConfigError: the state file and the folders, or two folders, belong to different daemons.
    """
    work = _Work(settings, disk=disk, now=now, fresh_id=fresh_id)
    return work.done(resume)


class _Work:
    """One recovery. `path` is the state file."""

    def __init__(
        self, settings: Settings, *, disk: Disk, now: Callable[[], float], fresh_id: str
    ) -> None:
        self._settings = settings
        self._disk = disk
        self._now = now
        self._fresh_id = fresh_id
        self.path = settings.state_file

    def done(self, resume: str) -> Recovered:
        markers = self._markers()
        try:
            base, fault = self._base()
        except EnvironmentFault as error:
            raise _later(error) from error
        try:
            if base is None:
                check_alone(self._disk, markers, self.path)
            return self._rebuilt(base, fault, markers, resume)
        except OSError as error:
            raise _folder_away(f"one cannot be used: {error.strerror}", hint=_LOOK) from error
        except EnvironmentFault as fault:
            raise _later(fault) from fault
        finally:
            if base is not None:
                base.database.close()

    def _rebuilt(
        self, base: Store | None, fault: str, markers: dict[Path, Marker | None], resume: str
    ) -> Recovered:
        known_id, starts = base.identity() if base else ("", 0)
        daemon_id = self._owner(known_id, markers)
        refusal = self._contradiction(base) if base else None
        if refusal is not None and refusal.code == "state_elsewhere":
            raise refusal
        why = refusal.message if refusal else fault
        is_needed = bool(why) or base is None
        places = places_of(self._settings, daemon_id)
        found = survey(self._disk, places)
        known = base.known_roots() if base else {}
        self._check_mounted(markers, found, known, is_needed=is_needed)
        rows = base.load_all() if base else {}
        judge = Judge(
            found,
            rows,
            disk=self._disk,
            places=places,
            rules=rules_of(self._settings),
            knows_payment=base.knows_payment if base else lambda _case_id, _job_id: False,
            is_outdated=is_needed,
        )
        recovery = judge.judged()
        in_place = [one.name for one in self._settings.recipes.values() if one.leave_in_place]
        highest = max((one.starts for one in markers.values() if one), default=0)
        changes = _Changes(
            recovery=recovery,
            daemon_id=daemon_id,
            starts=max(starts, highest + 1) if is_needed else starts,
            paused=tuple(one for one in in_place if one != resume) if is_needed else (),
            noted=tuple(found.noted),
            roots={name: str(folder) for name, folder in self._roots().items() if markers[folder]},
            drops_words=is_needed,
        )
        kept: Path | None = None
        if base is None:
            dropped, kept = 0, self._build_anew(changes)
        else:
            if known_id and (is_needed or recovery.rebuilt):
                kept = self._copied()
            dropped = changes.write(base)
        with closing(open_store(self._settings, now=self._now).database) as database:
            store = Store(database, now=self._now)
            left = sum(not self._put_back(claim, store) for claim in recovery.put_back)
            resumed = bool(resume) and store.resume(resume)
            paused = tuple(store.paused())
            for claim in recovery.empty:
                self._disk.remove_tree(claim.folder)
            still = self._contradiction(store)
        return Recovered(
            recovery=recovery,
            found=found,
            why=why,
            is_new=not known_id,
            kept=kept,
            paused=paused,
            resumed=resumed,
            dropped_words=dropped,
            unmarked=() if base else tuple(str(one) for one in markers if markers[one] is None),
            foreign=self._foreign(daemon_id),
            left=left,
            still=still.message if still else "",
        )

    # --- what is there ----------------------------------------------------------------------------

    def _markers(self) -> dict[Path, Marker | None]:
        """Read the markers of all folders. Raises `TryAgainLater`: one is not there."""
        markers: dict[Path, Marker | None] = {}
        for name, folders in marked_folders_of(self._settings).items():
            for folder in folders:
                try:
                    entry = self._disk.look(folder)
                    markers[folder] = read_marker(self._disk, folder) if entry else None
                except OSError as error:
                    raise _folder_away(f"the folder of {name}: {error.strerror}") from error
                if entry is None:
                    raise _folder_away(f"the folder of {name} is missing or not mounted")
        return markers

    def _base(self) -> tuple[Store | None, str]:
        """Open the state file if it is of use; else say why not.

        Raises:
            EnvironmentFault, ConfigError: it cannot be read now, or is not ours.
        """
        if not self.path.exists():
            return None, "the state file is missing"
        try:
            store = open_store(self._settings, now=self._now)
        except ConfigError as error:
            if error.code != DAMAGED:
                raise
            return None, error.message
        except EnvironmentFault as error:
            if not _is_damage(error):
                raise
            return None, error.message
        try:
            check_at_start(store.database)
            with closing(QuickCheck(self.path)) as check:
                fault = check.fault()
        except (ConfigError, EnvironmentFault) as error:
            if not _is_damage(error):
                store.database.close()
                raise _later(error) from error
            fault = error.message
        if not fault:
            return store, ""
        store.database.close()
        return None, f"the state file is damaged: {fault.removeprefix(DAMAGED_WORDS)}"

    def _contradiction(self, base: Store) -> ConfigError | None:
        """Return why a start would refuse: what the folders know better than the state file."""
        try:
            check_belonging(self._settings, base, self._disk)
        except ConfigError as error:
            return error
        return None

    def _owner(self, daemon_id: str, markers: dict[Path, Marker | None]) -> str:
        """Return whose folders these are.

        Raises:
            ConfigError: the state file, or the folders among themselves, say different things, or
                a marker makes no sense.
        """
        damaged = [path for path, one in markers.items() if one and not one.makes_sense]
        if damaged:
            raise ConfigError(
                f"A marker is empty or damaged: {damaged[0] / HIDDEN / MARKER}.",
                code="marker_unreadable",
                hint="Copy .vpe-watcher/marker.json of another folder of this daemon over it: they "
                "are the same (docs/how-to/breakers.md). Then run `vpe-watcher recover` again.",
            )
        named = {one.daemon_id for one in markers.values() if one is not None}
        if len(named | {daemon_id} - {""}) > 1:
            raise ConfigError(
                "The state file and the folders, or the folders among themselves, bear the marks "
                "of different daemons.",
                code="several_daemons",
                hint="Look at .vpe-watcher/marker.json in each folder and at the configuration: "
                "each daemon needs folders and a state_file of its own. A state file of another "
                "daemon is to be moved away before `vpe-watcher recover`.",
            )
        return daemon_id or (named.pop() if named else self._fresh_id)

    def _roots(self) -> dict[str, Path]:
        """Return the folders that are to bear our marker, by their names in the state file."""
        folders = marked_folders_of(self._settings)
        return {f"{name} {one}": one for name, several in folders.items() for one in several}

    def _check_mounted(
        self,
        markers: dict[Path, Marker | None],
        found: Survey,
        known: Mapping[str, str],
        *,
        is_needed: bool,
    ) -> None:
        """Build on no folder that looks unmounted: what is in it may have been paid for.

        A daemon marks all its folders soon after its start. `known` are those of the state file:
        one that is sound is right about which never were. Without a marker anywhere there has to
        be something to build of: else `run` begins anew by itself.
        """
        roots = self._roots().items()
        expected = dict.fromkeys(one for name, one in roots if is_needed or name in known)
        unmarked = [folder for folder in expected if markers[folder] is None]
        marked = next((folder for folder, marker in markers.items() if marker), None)
        is_told_of = bool(found.case_ids) or self._must_build()
        if unmarked and (marked or known or not is_told_of):
            raise _unmounted(unmarked, marked, self.path)

    def _must_build(self) -> bool:
        """Tell whether no daemon would begin anew: one of its inboxes is marked by strangers."""
        return any(read_marker(self._disk, one) for one in in_place_of(self._settings))

    def _foreign(self, daemon_id: str) -> tuple[str, ...]:
        """Name the inboxes that hold claims of other daemons."""
        found = []
        for recipe in self._settings.recipes.values():
            hidden = recipe.inbox / HIDDEN
            if not recipe.leave_in_place and self._disk.exists(hidden):
                names = set(self._disk.names(hidden)) - {daemon_id}
                if any(
                    (hidden / name).is_dir() and any((hidden / name).iterdir()) for name in names
                ):
                    found.append(str(recipe.inbox))
        return tuple(found)

    # --- what is done -----------------------------------------------------------------------------

    def _build_anew(self, changes: _Changes) -> Path | None:
        """Build a state file beside, and put it in its place; what was there is moved aside."""
        built = self.path.with_name(f"{self.path.name}{BUILT}")
        for suffix in FILES:
            self._disk.remove_file(built.with_name(built.name + suffix))
        mask = os.umask(0o077)
        try:
            database = Database(built)
        finally:
            os.umask(mask)
        try:
            changes.write(Store(database, now=self._now))
        finally:
            database.close()
        kept = self._moved_aside()
        self._disk.rename(built, self.path)
        return kept

    def _moved_aside(self) -> Path | None:
        """Move a damaged state file aside, with what belongs to it; main file first."""
        there = [suffix for suffix in FILES if self._sibling(suffix).exists()]
        target = self._free_name("damaged")
        for suffix in there:
            self._disk.rename(self._sibling(suffix), target.with_name(target.name + suffix))
        return target if there else None

    def _copied(self) -> Path:
        target = self._free_name("before-recover")
        try:
            copy_state(self.path, target)
        except OSError as error:
            raise TryAgainLater(
                f"No copy of the state file can be kept beside it: {error.strerror}.",
                code="no_room_for_copy",
                hint="Free space in its folder, and let the service's user write there; then run "
                "`vpe-watcher recover` again: nothing was changed.",
            ) from error
        return target

    def _sibling(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def _free_name(self, what: str) -> Path:
        moment = datetime.fromtimestamp(self._now(), UTC).strftime("%Y%m%dT%H%M%SZ")
        stem = self.path.with_name(f"{self.path.name}.{what}-{moment}")
        target, number = stem, 1
        while any(target.with_name(target.name + suffix).exists() for suffix in FILES):
            number += 1
            target = stem.with_name(f"{stem.name}.{number}")
        return target

    def _put_back(self, claim: Claim, store: Store) -> bool:
        """Return files to the inbox of which nothing is known; false when a name is taken."""
        inbox = self._settings.recipes[claim.recipe].inbox
        if any(self._disk.exists(inbox / name) for name in claim.entries):
            return False
        for name in claim.entries:
            store.want(root_key(claim.recipe, inbox), name)
            self._disk.rename(claim.folder / name, inbox / name)
        self._disk.remove_tree(claim.folder)
        return True


@dataclass(frozen=True, slots=True)
class _Changes:
    """What is written into the state file."""

    recovery: Recovery
    daemon_id: str
    starts: int
    paused: tuple[str, ...]
    noted: tuple[str, ...]
    roots: Mapping[str, str]
    drops_words: bool

    def write(self, store: Store) -> int:
        """Write it in one transaction; return how many words were dropped."""
        return store.rebuild(
            self.recovery.rebuilt,
            daemon_id=self.daemon_id,
            starts=self.starts,
            paused=self.paused,
            noted=self.noted,
            roots=self.roots,
            drops_words=self.drops_words,
        )


def _is_damage(error: WatcherError) -> bool:
    """Tell damage from trouble that passes; of a header of no known format SQLite says ERROR."""
    return error.code == DAMAGED or "(SQLITE_ERROR)" in error.message


def _later(error: WatcherError) -> TryAgainLater:
    return TryAgainLater(error.message, code=error.code, hint=error.hint)


def _folder_away(what: str, *, hint: str = _MOUNT) -> TryAgainLater:
    return TryAgainLater(
        f"Not all folders can be looked at: {what}.",
        code="folder_missing",
        hint=f"{hint}, and run `vpe-watcher recover` again: what is in it counts.",
    )


def _unmounted(unmarked: Iterable[Path], marked: Path | None, state_file: Path) -> TryAgainLater:
    """Say which folders look unmounted; a marker is a person's word that they are not."""
    hint = (
        "Mount all folders, and run `vpe-watcher recover` again. Only if all of them are new: move "
        f"{state_file} away, if it is there, and start the daemon; it knows of nothing sent before."
    )
    if marked is not None:
        paths = (marked / HIDDEN / MARKER, *(one / HIDDEN for one in unmarked))
        marker, *targets = (shlex.quote(str(path)) for path in paths)
        words = "; ".join(f"mkdir -p {one} && cp {marker} {one}/" for one in targets)
        hint = (
            "Mount it, and run `vpe-watcher recover` again: what is in it counts. Only if it is "
            "new, was never used or was emptied on purpose, give it the marker first, as the "
            f"service's user: {words}"
        )
    return TryAgainLater(
        f"There is no marker in {', '.join(map(str, unmarked))}: it looks as if the disk or share "
        "were not mounted.",
        code="folder_without_marker",
        hint=hint,
    )
