"""How instances get into an inbox: whole, durable, never over another file, never elsewhere."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.pacs import instance
from vpe_watcher.adapters.files import Disk
from vpe_watcher.core.errors import EnvironmentFault, InputFault, Stopped
from vpe_watcher.flow.reception import Delivery, Reception

OURS = "deadbeef"


@pytest.fixture(name="inbox")
def make_inbox(ground: Path) -> Path:
    """Return an inbox that bears our marker."""
    inbox = ground / "inbox"
    (inbox / ".vpe-watcher").mkdir(parents=True)
    mark(inbox, OURS)
    return inbox


def mark(inbox: Path, daemon_id: str) -> None:
    """Write a daemon's marker."""
    document = {"daemon_id": daemon_id, "starts": 1}
    (inbox / ".vpe-watcher" / "marker.json").write_text(json.dumps(document))


def reception(inbox: Path, *, disk: Disk | None = None, min_free: int = 0) -> Reception:
    """Return a reception of the recipe `default`."""
    return Reception(
        disk or Disk(), inbox, recipe="default", daemon_id=lambda: OURS, min_free=min_free
    )


def encoded(sent: Dataset) -> bytes:
    """Return an instance as the file that it makes."""
    target = io.BytesIO()
    pydicom.dcmwrite(target, sent, enforce_file_format=True)
    return target.getvalue()


def keep(delivery: Delivery, sent: Dataset) -> bool:
    """Let an instance arrive in three pieces."""
    content = encoded(sent)
    draft = delivery.begin(content[:400])
    draft.write(content[400:500])
    draft.write(content[500:])
    return delivery.keep(draft, str(sent.SOPInstanceUID))


def visible(inbox: Path) -> dict[str, bytes]:
    """Return what people and the daemon see in an inbox."""
    return {path.name: path.read_bytes() for path in inbox.iterdir() if path.is_file()}


def name_of(sent: Dataset, suffix: str = "") -> str:
    """Return the name that an instance gets."""
    digest = hashlib.sha256(str(sent.SOPInstanceUID).encode()).hexdigest()
    return f"{digest[:16]}{suffix}.dcm"


def test_an_instance_becomes_a_file_without_patient_data_in_its_name(inbox: Path) -> None:
    """Its name is a digest of its UID; its bytes are what came."""
    delivery = reception(inbox).open()
    assert keep(delivery, instance()) is True
    delivery.end()
    assert visible(inbox) == {name_of(instance()): encoded(instance())}


def test_until_it_is_kept_it_is_hidden(inbox: Path) -> None:
    """What is arriving lies below the hidden folder, under a name that is never taken."""
    delivery = reception(inbox).open()
    delivery.begin(encoded(instance()))
    assert visible(inbox) == {}
    arriving = [path.name for path in inbox.rglob("*.part")]
    assert arriving == ["1.dcm.part"]
    delivery.end()
    assert list(inbox.rglob("*.part")) == []
    assert visible(inbox) == {}


def test_the_same_bytes_again_make_nothing_new(inbox: Path) -> None:
    """A sender that did not hear our answer sends again, and is told that all is well."""
    assert keep(reception(inbox).open(), instance()) is True
    again = reception(inbox).open()
    assert keep(again, instance()) is False
    again.end()
    assert visible(inbox) == {name_of(instance()): encoded(instance())}


def test_other_bytes_of_the_same_instance_replace_nothing(inbox: Path) -> None:
    """They lie side by side under numbered names, each once."""
    door = reception(inbox)
    kept = [keep(door.open(), instance(seed=seed)) for seed in (1, 2, 3, 2, 1)]
    assert kept == [True, True, True, False, False]
    assert visible(inbox) == {
        name_of(instance(), suffix): encoded(instance(seed=seed))
        for seed, suffix in ((1, ""), (2, "-2"), (3, "-3"))
    }


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("nothing")])
def test_what_is_no_file_is_in_nobodys_way(inbox: Path, make: Callable[[Path], object]) -> None:
    """A folder or a link of that name stays, and the instance gets a number."""
    taken = inbox / name_of(instance())
    make(taken)
    assert keep(reception(inbox).open(), instance()) is True
    assert os.path.lexists(taken)
    assert (inbox / name_of(instance(), "-2")).read_bytes() == encoded(instance())


def test_a_file_that_is_claimed_meanwhile_is_no_trouble(inbox: Path) -> None:
    """Between the refused rename and the look at what is there the daemon may take it."""
    target = inbox / name_of(instance())
    target.write_bytes(b"earlier")

    class Claiming(Disk):
        def rename(self, source: Path, target: Path) -> None:
            try:
                super().rename(source, target)
            except FileExistsError:
                target.unlink()
                raise

    assert keep(reception(inbox, disk=Claiming()).open(), instance()) is True
    assert visible(inbox) == {target.name: encoded(instance())}


@pytest.mark.parametrize("cut", [140, 390, 500, -1])
def test_what_is_cut_short_is_refused(inbox: Path, cut: int) -> None:
    """The sender hears that it is not understood, and nothing of it is left."""
    delivery = reception(inbox).open()
    draft = delivery.begin(encoded(instance())[:cut])
    with pytest.raises(InputFault):
        delivery.keep(draft, str(instance().SOPInstanceUID))
    assert visible(inbox) == {}
    assert list(inbox.rglob("*.part")) == []


@pytest.mark.parametrize("content", [b"", b"\0" * 600, b"%PDF-1.4" * 100])
def test_garbage_is_refused(inbox: Path, content: bytes) -> None:
    """What is no DICOM does not become a file."""
    delivery = reception(inbox).open()
    with pytest.raises(InputFault):
        delivery.keep(delivery.begin(content), "2.25.1")
    assert visible(inbox) == {}


def test_another_instance_than_announced_is_refused(inbox: Path) -> None:
    """Its name would be wrong, and the next one could be taken for it."""
    delivery = reception(inbox).open()
    draft = delivery.begin(encoded(instance()))
    with pytest.raises(InputFault) as caught:
        delivery.keep(draft, "2.25.999")
    assert caught.value.code == "instance_differs"
    assert visible(inbox) == {}


def test_nothing_is_put_where_the_inbox_is_not(ground: Path) -> None:
    """A missing folder is not made: it may be mounted later."""
    with pytest.raises(EnvironmentFault) as caught:
        reception(ground / "inbox").open().begin(b"")
    assert caught.value.code == "folder_missing"
    assert not (ground / "inbox").exists()


def test_an_empty_mount_point_gets_nothing(ground: Path) -> None:
    """A folder without a marker may be the place where a share is missing."""
    (ground / "inbox").mkdir()
    with pytest.raises(EnvironmentFault) as caught:
        reception(ground / "inbox").open().begin(b"")
    assert caught.value.code == "folder_without_marker"
    assert list((ground / "inbox").iterdir()) == []


@pytest.mark.parametrize(("marked", "asked"), [("cafe", OURS), (OURS, "")])
def test_another_daemons_inbox_gets_nothing(inbox: Path, marked: str, asked: str) -> None:
    """Neither with another marker than the state file's nor without a state file."""
    mark(inbox, marked)
    door = Reception(Disk(), inbox, recipe="default", daemon_id=lambda: asked, min_free=0)
    with pytest.raises(EnvironmentFault) as caught:
        door.open().begin(b"")
    assert caught.value.code == "folder_of_another"
    assert [path.name for path in inbox.rglob("*")] == [".vpe-watcher", "marker.json"]


def test_a_share_that_goes_while_an_instance_arrives_gets_nothing(inbox: Path) -> None:
    """The marker is looked at again before the rename."""
    delivery = reception(inbox).open()
    draft = delivery.begin(encoded(instance()))
    (inbox / ".vpe-watcher" / "marker.json").unlink()
    with pytest.raises(EnvironmentFault):
        delivery.keep(draft, str(instance().SOPInstanceUID))
    assert visible(inbox) == {}


def test_below_min_free_nothing_is_taken(inbox: Path) -> None:
    """The sender is told, and keeps its copy."""
    with pytest.raises(EnvironmentFault) as caught:
        reception(inbox, min_free=1 << 60).open().begin(b"")
    assert (caught.value.code, caught.value.breaker) == ("disk_low", "disk")


def test_a_long_instance_does_not_fill_the_disk(inbox: Path) -> None:
    """Space is looked at again while it arrives."""

    class Shrinking(Disk):
        left = 3

        def free_bytes(self, folder: Path) -> int:
            self.left -= 1
            return self.left

    delivery = reception(inbox, disk=Shrinking(), min_free=2).open()
    draft = delivery.begin(b"")
    draft.write(bytes(1024))
    with pytest.raises(EnvironmentFault) as caught:
        draft.write(bytes(64 * 1024 * 1024))
    assert caught.value.code == "disk_low"
    delivery.end()
    assert list(inbox.rglob("*.part")) == []


class Full(Disk):
    """A disk on which one kind of call finds no space."""

    def __init__(self, verb: str) -> None:
        self.verb = verb

    def _fail(self, verb: str) -> None:
        if verb == self.verb:
            raise OSError(errno.ENOSPC, "No space left on device")

    def rename(self, source: Path, target: Path) -> None:
        """Fail before the rename."""
        self._fail("rename")
        super().rename(source, target)

    def make_folder(self, folder: Path, *, mode: int = 0o777) -> None:
        """Fail before the folder."""
        self._fail("make_folder")
        super().make_folder(folder, mode=mode)

    @contextmanager
    def writing(self, path: Path) -> Iterator[BinaryIO]:
        """Fail at the open, or at the sync."""
        self._fail("open")
        with super().writing(path) as file:
            yield file
            self._fail("sync")


@pytest.mark.parametrize("verb", ["make_folder", "open", "sync", "rename"])
def test_a_full_disk_keeps_nothing_half(inbox: Path, verb: str) -> None:
    """Whatever finds no space, the fault names the disk and nothing is left."""
    delivery = reception(inbox, disk=Full(verb)).open()
    with pytest.raises(EnvironmentFault) as caught:
        keep(delivery, instance())
    assert caught.value.breaker == "disk"
    delivery.end()
    assert visible(inbox) == {}
    assert list(inbox.rglob("*.part")) == []


def test_success_means_durable(inbox: Path) -> None:
    """File synced, renamed, folder synced: in this order, before `keep` returns."""
    done = []

    class Recording(Disk):
        @contextmanager
        def writing(self, path: Path) -> Iterator[BinaryIO]:
            with super().writing(path) as file:
                yield file
            done.append("file synced")

        def rename(self, source: Path, target: Path) -> None:
            done.append("renamed")
            super().rename(source, target)

        def sync_folder(self, folder: Path) -> None:
            super().sync_folder(folder)
            if folder == inbox and done:
                done.append("inbox synced")

    door = reception(inbox, disk=Recording())
    keep(door.open(), instance())
    assert done == ["file synced", "renamed", "inbox synced"]
    done.clear()
    keep(door.open(), instance())
    assert done == ["file synced", "renamed", "inbox synced"]


def test_what_a_dead_receiver_left_goes_once(inbox: Path) -> None:
    """Leftovers go when the first instance comes, and what arrives meanwhile never."""
    left = inbox / ".vpe-watcher" / "receiving" / "0123" / "7.dcm.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    door = reception(inbox)
    first, second = door.open(), door.open()
    draft = first.begin(encoded(instance()))
    assert not left.exists()
    keep(second, instance(number=2))
    second.end()
    assert first.keep(draft, str(instance().SOPInstanceUID)) is True


def test_an_inbox_that_nobody_looks_after_takes_nothing(inbox: Path) -> None:
    """Its sender would believe that the instance is safe; what lay there before is counted."""
    here = reception(inbox)
    delivery = here.open()
    assert keep(delivery, instance()) is True
    assert here.left_behind() == 0
    here.leave()
    with pytest.raises(EnvironmentFault) as refusal:
        keep(delivery, instance(number=2))
    assert refusal.value.code == "inbox_left"
    (inbox / "scan.dcm").touch()
    assert here.left_behind() == 1


def test_after_its_end_a_delivery_takes_nothing(inbox: Path) -> None:
    """The network's thread may still have something to say when an association was aborted."""
    delivery = reception(inbox).open()
    draft = delivery.begin(b"")
    delivery.end()
    draft.write(b"late")
    with pytest.raises(Stopped):
        delivery.begin(b"")
    assert list((inbox / ".vpe-watcher" / "receiving").iterdir()) == []
