"""What `submit` copies: to an ignored name in the inbox, then a rename that replaces nothing.

Owns the look at the source before anything is copied, and the copy. Leaves the source as it is.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.adapters.files import BLOCK_BYTES, Disk
from vpe_watcher.app.terms import candidate_rules
from vpe_watcher.core.errors import Refusal
from vpe_watcher.core.grouping import SIDECAR, Rules, ignored_by, is_temporary
from vpe_watcher.core.model import Kind
from vpe_watcher.core.names import shortened
from vpe_watcher.formats.names import split_name
from vpe_watcher.formats.signature import FIRST_BYTES, looks_like_dicom

if TYPE_CHECKING:
    from vpe_watcher.adapters.settings import Settings


@dataclass(frozen=True, slots=True)
class Parcel:
    """One file or folder on its way into an inbox. `sidecars` are (source, target)."""

    source: Path
    target: Path
    sidecars: tuple[tuple[Path, Path], ...] = ()
    is_in_place: bool = False  # it lies in the inbox already, and nothing is ever written there

    @property
    def targets(self) -> tuple[Path, ...]:
        """Return every name that it takes in the inbox."""
        return (self.target, *(target for _, target in self.sidecars))


def parcel_of(source: Path, recipe: str, settings: Settings) -> Parcel:
    """Look at what is to be submitted. Raises `Refusal`: it could never become a case."""
    inbox = settings.recipes[recipe].inbox
    named = source.absolute()
    _check_text(named.name)
    if settings.recipes[recipe].leave_in_place:
        return _left_in_place(named, inbox)
    try:
        source = source.resolve(strict=True)
        _check_is_no_root(source, settings)
        _check_content(source, named.name, candidate_rules(settings, settings.recipes[recipe]))
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "it leads nowhere"
        raise Refusal(
            f"{named} cannot be read: {reason}.",
            code="cannot_read",
            hint="Check the path and its permissions.",
        ) from error
    sidecars = () if source.is_dir() else tuple(_sidecars(named, inbox))
    parcel = Parcel(source, inbox / named.name, sidecars)
    _check_names(parcel, settings)
    return parcel


def _check_is_no_root(source: Path, settings: Settings) -> None:
    """Refuse a folder of the configuration, or one that holds one: it would hold itself."""
    recipes = settings.recipes.values()
    roots = [settings.outbox, settings.archive, settings.failed, *(one.inbox for one in recipes)]
    if any(Path(os.path.realpath(root)).is_relative_to(source) for root in roots):
        raise Refusal(
            f"{source} is or holds a folder of the configuration.",
            code="holds_own_folder",
            hint="Name the scan itself.",
        )


def _left_in_place(named: Path, inbox: Path) -> Parcel:
    """Accept only what lies in the export already: a person wants it although it was seen."""
    real = Path(os.path.realpath(named))
    folder = Path(os.path.realpath(inbox))
    if not real.exists() or real == folder or not real.is_relative_to(folder):
        raise Refusal(
            f"{named} does not lie in {inbox}, where nothing is ever written (leave_in_place).",
            code="never_written_to",
            hint="Name a file or folder of that export, or submit to another recipe.",
        )
    return Parcel(real, inbox / real.relative_to(folder), is_in_place=True)


def deliver(parcel: Parcel, announce: Callable[[], None]) -> None:
    """Copy a parcel into its inbox; `announce` is called just before it becomes visible.

    Raises `Refusal`; then nothing of it is left in the inbox.
    """
    if parcel.is_in_place:
        announce()
        return
    disk = Disk()
    placed: list[Path] = []
    with _told(parcel, disk, placed):
        draft = _draft(parcel.target)
        placed.append(draft)
        _copy(disk, parcel.source, draft)
        for source, target in parcel.sidecars:
            sidecar = _draft(target)
            placed.append(sidecar)
            _copy(disk, source, sidecar)
            disk.rename(sidecar, target)
            placed.append(target)
        announce()
        disk.rename(draft, parcel.target)


def _check_text(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise Refusal(
            f"The name of {name} is no valid text (UTF-8).",
            code="name_not_text",
            hint="Rename the file: results and messages must be able to name it.",
        ) from error


def _check_content(source: Path, name: str, rules: Rules) -> None:
    kind = Kind.FOLDER if source.is_dir() else Kind.FILE if source.is_file() else Kind.OTHER
    rule = ignored_by(name, kind, rules)
    if rule:
        raise _not_a_scan(f"{name} would never be taken from the inbox ({rule})")
    if kind is Kind.FOLDER:
        _check_folder(source, name, rules)
    elif not _is_scan(source, name):
        raise _not_a_scan(f"{name} has no known extension and is no DICOM file")


def _check_folder(folder: Path, name: str, rules: Rules) -> None:
    tree = Disk().tree(folder)
    unfinished = [path for path, _ in tree if is_temporary(path)]
    if unfinished:
        raise Refusal(
            f"{name} holds a file that is still being written: {unfinished[0]}",
            code="incomplete",
            hint="Wait until it is complete, or remove it.",
        )
    files = [
        path
        for path, entry in tree
        if entry.kind is Kind.FILE and not ignored_by(f"{name}/{path}", entry.kind, rules)
    ]
    if not any(_is_scan(folder / path, Path(path).name) for path in files):
        raise _not_a_scan(f"{name} holds no file that could be a scan")


def _is_scan(path: Path, name: str) -> bool:
    if split_name(name)[1]:
        return True
    with Disk().open(path) as file:
        return looks_like_dicom(file.read(FIRST_BYTES))


def _not_a_scan(message: str) -> Refusal:
    return Refusal(
        f"{message}.",
        code="not_a_scan",
        hint="Scans are .dcm .zip .nii .nrrd .vti (also .gz), .stl .ply .obj, or DICOM files of "
        "any name, or a folder of these.",
    )


def _sidecars(scan: Path, inbox: Path) -> Iterator[tuple[Path, Path]]:
    stem = split_name(scan.name)[0]
    for name in dict.fromkeys((f"{stem}{SIDECAR}", f"{scan.name}{SIDECAR}")):
        beside = scan.with_name(name)
        if beside.is_file():
            yield beside.resolve(), inbox / name


def _check_names(parcel: Parcel, settings: Settings) -> None:
    inbox = parcel.target.parent
    if not inbox.is_dir():
        raise Refusal(
            f"The inbox {inbox} is not there.",
            code="inbox_missing",
            hint="Make the folder, or mount what should be there.",
        )
    if any(parcel.target == recipe.inbox for recipe in settings.recipes.values()):
        raise Refusal(
            f"{parcel.target.name} is the name of a recipe's inbox.",
            code="name_taken",
            hint="Rename the folder; to use that recipe's job, submit with --recipe.",
        )
    if parcel.source == parcel.target:
        raise Refusal(
            f"{parcel.target} is in the inbox already.",
            code="name_taken",
            hint=f"`vpe-watcher explain {parcel.target}` says why it waits there.",
        )
    for target in parcel.targets:
        if os.path.lexists(target):
            raise _name_taken(target)


def _name_taken(target: Path) -> Refusal:
    return Refusal(
        f"There is a {target.name} in the inbox already.",
        code="name_taken",
        hint=f"Nothing is ever replaced. `vpe-watcher explain {target}` says why it waits there.",
    )


@contextmanager
def _told(parcel: Parcel, disk: Disk, placed: list[Path]) -> Iterator[None]:
    """Remove what was placed if the copy does not come to its end, and say why."""
    try:
        yield
    except FileExistsError as error:
        _remove(disk, placed)
        raise _name_taken(Path(os.fsdecode(error.filename2 or parcel.target))) from error
    except OSError as error:
        _remove(disk, placed)
        raise Refusal(
            f"{parcel.source.name} could not be copied into the inbox: {error.strerror}.",
            code="cannot_copy",
            hint="Check free space and permissions of the inbox.",
        ) from error
    except BaseException:
        _remove(disk, placed)
        raise


def _remove(disk: Disk, placed: list[Path]) -> None:
    for path in placed:
        if path.is_dir():
            disk.remove_tree(path)
        else:
            disk.remove_file(path)


def _draft(target: Path) -> Path:
    """Return a name beside the target that no intake ever takes."""
    name = shortened(target.name, 120)
    return target.with_name(f".{name}.{secrets.token_hex(4)}.part")


def _copy(disk: Disk, source: Path, draft: Path) -> None:
    if not source.is_dir():
        _copy_file(disk, source, draft)
        return
    draft.mkdir()
    _hand_over(draft)
    for name, entry in disk.tree(source):
        if entry.kind is Kind.FOLDER:
            (draft / name).mkdir()
            _hand_over(draft / name)
        elif entry.kind is Kind.FILE:
            _copy_file(disk, source / name, draft / name)
    for folder, _, _ in os.walk(draft):
        disk.sync_folder(Path(folder))


def _copy_file(disk: Disk, source: Path, draft: Path) -> None:
    before = disk.look(source)
    with disk.open(source) as reader, disk.writing(draft) as writer:
        shutil.copyfileobj(reader, writer, BLOCK_BYTES)
    _hand_over(draft)
    after = disk.look(source)
    if before is None or after is None or before.mark != after.mark:
        raise Refusal(
            f"{source.name} changed while it was copied.",
            code="incomplete",
            hint="Wait until it is complete, then submit it again.",
        )


def _hand_over(draft: Path) -> None:
    """Give what root copies to the owner of the inbox, who must be able to read and move it."""
    if os.geteuid() == 0:
        owner = draft.parent.stat()
        os.chown(draft, owner.st_uid, owner.st_gid)
