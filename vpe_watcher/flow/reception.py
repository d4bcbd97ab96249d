"""How instances that a PACS sends get into an inbox: whole, durable, and never over another file.

An instance is written below the hidden folder, checked, synced and renamed into the inbox; only
then may its sender be told that it can forget its own copy. Knows nothing of the network.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from vpe_watcher import formats
from vpe_watcher.adapters.files import TEMPORARY_SUFFIX, Disk, blamed
from vpe_watcher.core.errors import EnvironmentFault, InputFault, Stopped
from vpe_watcher.core.model import Kind, Proof
from vpe_watcher.core.sizes import too_few
from vpe_watcher.flow.places import HIDDEN
from vpe_watcher.flow.roots import read_marker

RECEIVING = "receiving"
EXTENSION = ".dcm"
SPACE_CHECK_BYTES = 64 * 1024 * 1024
_OURS = re.compile(r"[0-9a-f]{16}(-\d+)?\.dcm")


class Reception:
    """Lets deliveries into one recipe's inbox. Thread-safe.

    `daemon_id` tells whose inbox it must be, "" while no daemon has run on the state file. Whoever
    makes a reception holds the receiver's lock: what lies below `receiving/` is nobody's then, and
    goes when the first instance comes.
    """

    def __init__(
        self,
        disk: Disk,
        inbox: Path,
        *,
        recipe: str,
        daemon_id: Callable[[], str],
        min_free: int,
    ) -> None:
        self.disk = disk
        self.inbox = inbox
        self.breaker = f"inbox:{recipe}"
        self._daemon_id = daemon_id
        self._min_free = min_free
        self._is_swept = self._has_left = False
        self._lock = threading.Lock()

    def use(self, *, min_free: int) -> None:
        """Refuse at another limit of free space (bytes) from now on."""
        self._min_free = min_free

    def leave(self) -> None:
        """Take nothing more: nobody looks into this inbox from now on."""
        self._has_left = True

    def left_behind(self) -> int:
        """Count what lies in an inbox that was left, named as here. Raises `EnvironmentFault`."""
        if not self._has_left:
            return 0
        with blamed(self.breaker):
            return sum(bool(_OURS.fullmatch(name)) for name in self.disk.names(self.inbox))

    @property
    def drafts(self) -> Path:
        """Return the folder of what is still arriving."""
        return self.inbox / HIDDEN / RECEIVING

    def open(self) -> Delivery:
        """Begin a delivery: what one sender brings over one association. Touches no disk."""
        return Delivery(self, self.drafts / secrets.token_hex(6))

    def guard(self) -> None:
        """Check that the inbox can take something now.

        Raises:
            EnvironmentFault: it is missing, not mounted, not this daemon's, nearly full, or left.
        """
        self.check_stays()
        daemon_id = self._daemon_id()
        with blamed(self.breaker):
            entry = self.disk.look(self.inbox)
            if entry is None or entry.kind is Kind.FILE:
                raise self._refused("missing or not mounted", "folder_missing")
            marker = read_marker(self.disk, self.inbox)
        if marker is None:
            raise self._refused("without its marker", "folder_without_marker")
        if not marker.makes_sense:
            raise self._refused("with a damaged marker", "marker_unreadable")
        if not daemon_id or marker.daemon_id != daemon_id:
            raise self._refused("of another daemon", "folder_of_another")
        self.check_space()

    def check_stays(self) -> None:
        """Refuse what nobody would find. Raises `EnvironmentFault` (`inbox_left`)."""
        if self._has_left:
            raise EnvironmentFault(
                "The configuration has changed: this inbox is looked after no more.",
                code="inbox_left",
                hint="Nothing; the sender can send again as soon as `receive.started` is logged.",
                breaker=self.breaker,
            )

    def check_space(self) -> None:
        """Refuse to fill the disk up. Raises `EnvironmentFault` (`disk_low`)."""
        if not self._min_free:
            return
        with blamed(self.breaker):
            free = self.disk.free_bytes(self.inbox)
        if free < self._min_free:
            found, wanted = too_few(free, self._min_free)
            raise EnvironmentFault(
                f"Only {found} are free for the inbox, less than min_free ({wanted}).",
                code="disk_low",
                hint="Free space on the disk of the inbox; receiving goes on by itself.",
                breaker="disk",
            )

    def sweep(self) -> None:
        """Remove once what a receiver that died left behind: nobody was told that it arrived."""
        with self._lock, blamed(self.breaker):
            if not self._is_swept:
                self.disk.remove_tree(self.drafts)
                self._is_swept = True

    def give_to_owner(self, path: Path) -> None:
        """Let the service move what root received: the inbox's owner says who the service is."""
        if os.geteuid() == 0:
            owner = self.inbox.stat()
            os.chown(path, owner.st_uid, owner.st_gid)

    def _refused(self, how: str, code: str) -> EnvironmentFault:
        return EnvironmentFault(
            f"The folder of {self.breaker} is {how}.",
            code=code,
            hint="Mount what should be there. An inbox that no daemon has taken yet gets its "
            "marker when the daemon (`vpe-watcher run`) starts; receiving goes on by itself.",
            breaker=self.breaker,
        )


class Delivery:
    """What comes over one association, in a folder of its own until it is whole."""

    def __init__(self, reception: Reception, folder: Path) -> None:
        self._reception = reception
        self._disk = reception.disk
        self._folder = folder
        self._count = 0
        self._drafts: list[Draft] = []
        self._is_over = False
        self._lock = threading.Lock()

    def begin(self, header: bytes) -> Draft:
        """Open a draft that begins with `header`.

        Raises:
            EnvironmentFault: the inbox cannot take it now.
            Stopped: the delivery has ended.
        """
        self._reception.guard()
        self._reception.sweep()
        with self._lock, blamed(self._reception.breaker):
            if self._is_over:
                raise Stopped("The delivery has ended.", code="delivery_over")
            self._make_folder()
            self._count += 1
            name = f"{self._count}{EXTENSION}{TEMPORARY_SUFFIX}"
            draft = Draft(self._reception, self._folder / name)
            self._drafts.append(draft)
        draft.write(header)
        return draft

    def keep(self, draft: Draft, sop_instance_uid: str) -> bool:
        """Bring a draft into the inbox; false: the same bytes lay there already.

        When this returns, the instance survives a power cut.

        Raises:
            InputFault: it is not whole, or not the instance that it was announced as.
            EnvironmentFault: the inbox cannot take it now.
        """
        try:
            draft.close()
            self._check(draft, sop_instance_uid)
            self._reception.guard()
            with blamed(self._reception.breaker):
                is_new = self._place(draft.path, sop_instance_uid)
            self._reception.check_stays()  # a rename may hang until nobody looks there any more
            return is_new
        finally:
            self._forget(draft)

    def end(self) -> None:
        """Remove what did not become whole. Raises `EnvironmentFault`."""
        with self._lock:
            self._is_over = True
        for draft in tuple(self._drafts):
            self._forget(draft)
        with blamed(self._reception.breaker):
            self._disk.remove_tree(self._folder)

    def _make_folder(self) -> None:
        if not self._disk.exists(self._folder):
            self._disk.make_folder(self._folder)
            self._reception.give_to_owner(self._folder.parent)
            self._reception.give_to_owner(self._folder)

    def _forget(self, draft: Draft) -> None:
        """Close a draft whose content does not matter any more, and remove it if it is there."""
        with suppress(EnvironmentFault):
            draft.close()
        with suppress(OSError):
            draft.path.unlink()
        with suppress(ValueError):  # the association may have ended meanwhile, and with it all
            self._drafts.remove(draft)

    def _check(self, draft: Draft, sop_instance_uid: str) -> None:
        with blamed(self._reception.breaker), self._disk.open(draft.path) as file:
            verdict = formats.examine(file, extension=EXTENSION, size=draft.size_bytes)
            facts = formats.read_facts(file)
        if verdict.proof in {Proof.INCOMPLETE, Proof.WRONG}:
            raise InputFault(
                f"The instance {verdict.reason}.",
                code="instance_incomplete",
                hint="Send it again; if that does not help, look at it at the sender.",
            )
        if facts is None or facts.sop_instance_uid != sop_instance_uid:
            raise InputFault(
                "The data set is not of the instance that was announced.",
                code="instance_differs",
                hint="Look at the sender, or at a gateway in between.",
            )

    def _place(self, draft: Path, sop_instance_uid: str) -> bool:
        digest = hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:16]
        number = 1
        while True:
            suffix = f"-{number}" if number > 1 else ""
            target = self._reception.inbox / f"{digest}{suffix}{EXTENSION}"
            with suppress(FileExistsError):
                self._disk.rename(draft, target)
                return True
            is_same = self._is_same(draft, target)
            if is_same:
                # Who put it there may have died before the folder was synced.
                self._disk.sync_folder(target.parent)
                return False
            if is_same is not None:
                number += 1

    def _is_same(self, draft: Path, target: Path) -> bool | None:
        """Compare with what lies there; None when it was claimed meanwhile."""
        entry = self._disk.look(target)
        if entry is None:
            return None
        try:
            return entry.kind is Kind.FILE and self._disk.is_same(draft, target)
        except FileNotFoundError:
            return None if self._disk.exists(draft) else False


class Draft:
    """One instance while it arrives: one thread writes, another may close it."""

    def __init__(self, reception: Reception, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._reception = reception
        self._open = ExitStack()
        self._file = self._open.enter_context(reception.disk.writing(path))
        reception.give_to_owner(path)
        self._is_closed = False
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Append bytes; after the close they are dropped. Raises `EnvironmentFault`."""
        with self._lock, blamed(self._reception.breaker):
            if self._is_closed:
                return
            before = self.size_bytes // SPACE_CHECK_BYTES
            self._file.write(data)
            self.size_bytes += len(data)
        if self.size_bytes // SPACE_CHECK_BYTES > before:
            self._reception.check_space()

    def close(self) -> None:
        """Sync and close; fine when it is closed. Raises `EnvironmentFault`."""
        with self._lock, blamed(self._reception.breaker):
            if not self._is_closed:
                self._is_closed = True
                self._open.close()
