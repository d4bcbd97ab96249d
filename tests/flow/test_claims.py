"""Taking scans out of the inbox: what changes, goes or is in the way meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flow.house import House, binary_stl, nifti, unprivileged
from tests.flow.odd import ODD
from vpe_watcher.adapters.files import Disk
from vpe_watcher.core.model import Case, State

Build = Callable[..., House]


def claimed(house: House, case: Case, name: str = "scan.nii") -> Path:
    """Return where a case's file lies in its claim."""
    return house.claim_folder(case) / case.content / name


def requests(house: House) -> list[dict[str, Any]]:
    """Return the bodies of all submits, oldest first."""
    return [job.request for job in house.sandbox.ledger.jobs.values()]


# --- changes after the claim ----------------------------------------------------------------------


@pytest.mark.parametrize("due", [State.SUBMITTING, State.UPLOADING, State.NOTIFYING])
def test_a_change_before_the_notification_starts_again(house: House, due: State) -> None:
    """A copier that goes on writing into the claim: what is sent is what it ends with."""
    house.drop("scan.nii")
    case = house.live_until("scan", due)
    claimed(house, case).write_bytes(nifti(seed=7))
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert [job.started for job in house.sandbox.ledger.jobs.values()][-1] == 1
    assert sum(job.started for job in house.sandbox.ledger.jobs.values()) == 1
    assert (house.root / "archive" / "scan" / "scan.nii").read_bytes() == nifti(seed=7)
    (entry,) = house.result("scan")["inputs"]
    (upload,) = house.sandbox.ledger.job().inputs["cbct"].uploads
    assert (
        entry["sha256"]
        == upload.sha256
        == house.parts.disk.digest(house.root / "archive" / "scan" / "scan.nii")
    )
    assert house.case("scan").attempts == 1


def test_a_changing_claim_waits_until_it_is_quiet(house: House) -> None:
    """A writer that does not stop keeps its case in `claiming`; nothing is sent meanwhile."""
    house.drop("scan.nii")
    case = house.live_until("scan", State.UPLOADING)
    for seed in range(1, 20):
        claimed(house, case).write_bytes(nifti(seed=seed))
        house.live(1)
    assert house.states() == {"scan": State.CLAIMING}
    assert house.sandbox.ledger.count("upload") == 0
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert len(house.sandbox.ledger.jobs) == 2


def test_a_claim_that_becomes_incomplete_is_not_sent(house: House) -> None:
    """A file that a writer cut off in the claim waits for its rest, then fails as input."""
    house.drop("scan.nii")
    case = house.live_until("scan", State.UPLOADING)
    claimed(house, case).write_bytes(nifti()[:300])
    house.live(120)
    assert house.states() == {"scan": State.CLAIMING}
    house.live(700, step_s=2)
    assert house.states() == {"scan": State.FAILED}
    assert house.error("scan")["class"] == "input"
    assert "not complete" in house.error("scan")["message"]
    assert house.sandbox.ledger.count("upload") == 0


def test_a_change_after_the_notification_is_held(house: House) -> None:
    """The result may belong to other data: nothing is published, a person decides."""
    house.drop("scan.nii")
    case = house.live_until("scan", State.DELIVERING)
    claimed(house, case).write_bytes(nifti(seed=7))
    house.live(60)
    assert house.states() == {"scan": State.HELD}
    assert house.files("outbox") == []
    note = house.held_note("scan")
    assert "changed after the Engine had been told to start" in note
    assert "is safe in the hidden folder" in note
    assert f"Go on with: vpe-watcher retry --yes {case.case_id}\n" in note
    assert claimed(house, case).read_bytes() == nifti(seed=7)
    house.say("retry", house.case("scan"))
    house.live(60)
    assert house.states() == {"scan": State.HELD}
    house.say("retry", house.case("scan"), may_cost=True)
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert len(house.sandbox.ledger.jobs) == 2
    assert house.files("failed") == []
    assert house.leftovers() == []


@pytest.mark.parametrize(
    "due", [State.SUBMITTING, State.UPLOADING, State.NOTIFYING, State.WAITING, State.DELIVERING]
)
def test_a_claim_that_is_deleted_is_held(house: House, due: State) -> None:
    """Somebody empties the hidden folder: held with a note, and never submitted again."""
    house.drop("scan.nii")
    case = house.live_until("scan", due)
    submits = house.sandbox.ledger.count("submit")
    shutil.rmtree(house.claim_folder(case))
    house.live(300, step_s=2)
    assert house.states() == {"scan": State.HELD}
    assert house.sandbox.ledger.count("submit") == submits
    assert house.files("outbox") == []
    note = house.held_note("scan")
    assert "gone" in note
    assert "safe" not in note
    assert ("; drop the scan again" in note) is (not case.paid)
    assert (f"Claim folder: {house.claim_folder(case)}\n" in note) is case.paid
    assert (f"vpe-watcher retry {case.case_id}\n" in note) is case.paid
    assert house.breakers() == set()


def test_a_paid_scan_that_is_put_back_into_its_claim_goes_on_with_the_same_job(
    house: House,
) -> None:
    """What the note says is free: nothing is sent, uploaded or paid once more."""
    content = house.drop("scan.nii").read_bytes()
    folder = house.claim_folder(house.live_until("scan", State.WAITING))
    shutil.rmtree(folder)
    house.live(300, step_s=2)
    assert str(folder) in house.held_note("scan")
    folder.mkdir()
    (folder / "scan.nii").write_bytes(content)
    house.say("retry", house.case("scan"))
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert (house.started(), len(house.sandbox.ledger.jobs)) == (1, 1)


def test_a_claim_that_is_deleted_at_the_end_is_no_loss_of_the_result(house: House) -> None:
    """What was delivered stays delivered; the archive tells what there was."""
    house.drop("scan.nii")
    case = house.live_until("scan", State.ARCHIVING)
    shutil.rmtree(house.claim_folder(case))
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert house.files("archive") == ["scan/result.json"]


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
@pytest.mark.parametrize("due", [State.SUBMITTING, State.UPLOADING, State.DELIVERING])
def test_a_claimed_file_that_is_replaced_by_a_link_or_pipe_is_held(
    house: House, make: Callable[[Path], None], due: State
) -> None:
    """Nothing is read through it, nothing waits for a writer, and no inbox is blamed."""
    house.drop("scan.nii")
    case = house.live_until("scan", due)
    claimed(house, case).unlink()
    make(claimed(house, case))
    house.live(120)
    assert house.states() == {"scan": State.HELD}
    assert house.breakers() == set()
    assert house.sandbox.ledger.count("submit") <= 1


def test_a_claimed_file_that_may_not_be_read_is_its_own_trouble(house: House) -> None:
    """Its permissions go after the claim: it waits, others pass, and then it fails as input."""
    house.live(1)
    house.drop("scan.nii")
    house.live_until("scan", State.UPLOADING)
    with unprivileged(house):
        claimed(house, house.case("scan")).chmod(0)
        house.drop("good.nii", nifti(side=5))
        house.live(120)
        assert house.states() == {"scan": State.CLAIMING, "good": State.DONE}
        assert house.breakers() == set()
        house.live(700, step_s=2)
        assert house.states()["scan"] is State.FAILED
        assert "may not read" in house.error("scan")["message"]


class BadSector(Disk):
    """A disk on which one file can be looked at but not read, while `is_bad`."""

    is_bad = True

    def digest(self, path: Path) -> str:
        """Digest a file, unless it lies on the bad sector."""
        if self.is_bad and path.name == "bad.nii":
            raise OSError(5, "Input/output error")
        return super().digest(path)


def test_a_claimed_file_on_a_bad_sector_stops_no_other(build: Build) -> None:
    """Reading it fails while it is compared: that case is tried again, the inbox is not blamed."""
    disk = BadSector()
    house = build(disk=disk)
    house.drop("first.nii")
    house.live_until("first", State.UPLOADING)
    house.drop("bad.nii", nifti(seed=1))
    house.live(60)
    house.drop("good.nii", nifti(side=5))
    house.live(60)
    assert house.states() == {
        "first": State.DONE,
        "bad": State.CLAIMING,
        "good": State.DONE,
    }
    assert house.breakers() == set()
    disk.is_bad = False
    house.live(300)
    assert house.states()["bad"] is State.DONE


# --- between the last look and the rename ---------------------------------------------------------


class Interrupting(Disk):
    """A disk on which something happens right before the rename of a claim."""

    def __init__(self) -> None:
        self.before: Callable[[Path], None] | None = None

    def rename_unsynced(self, source: Path, target: Path) -> None:
        """Let it happen once, then rename."""
        if self.before is not None and source.parent.name == "inbox":
            happens, self.before = self.before, None
            happens(source)
        super().rename_unsynced(source, target)


def write_another(path: Path) -> None:
    """Write other content of the same size."""
    path.write_bytes(nifti(seed=5))


def test_a_file_that_changes_at_the_claim_goes_back(build: Build) -> None:
    """It lies in the inbox again, settles anew, and is sent as it is then."""
    disk = Interrupting()
    house = build(disk=disk, recipes={"default": {"exported_by_nfs": True}})
    disk.before = write_another
    house.drop("scan.nii")
    house.live(4)
    assert house.cases() == []
    assert house.files("inbox") == ["scan.nii"]
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    (entry,) = house.result("scan")["inputs"]
    assert entry["sha256"] == house.parts.disk.digest(house.root / "archive/scan/scan.nii")
    assert "scan.2" not in [path.name for path in (house.root / "outbox").iterdir()]
    assert house.leftovers() == []


def test_a_folder_that_gets_a_file_at_the_claim_goes_back(build: Build) -> None:
    """The new file is part of the case that is sent."""
    disk = Interrupting()
    house = build(disk=disk)

    def add(path: Path) -> None:
        (path / "lower.stl").write_bytes(binary_stl(seed=2))

    disk.before = add
    house.drop("visit/upper.stl", binary_stl(seed=1))
    house.live_until_rest()
    assert [sorted(request["inputFiles"]) for request in requests(house)] == [
        ["ios_lower", "ios_upper"]
    ]


def test_a_file_that_goes_at_the_claim_is_forgotten(build: Build) -> None:
    """Somebody takes it away in the last moment: no case, no trace, no breaker."""
    disk = Interrupting()
    house = build(disk=disk)
    disk.before = Path.unlink
    house.drop("scan.nii")
    house.live(60)
    assert house.cases() == []
    assert house.breakers() == set()
    assert house.leftovers() == []


class TwoAtOnce(Interrupting):
    """A disk on which a changed file's place is taken before it can go back."""

    def rename_unsynced(self, source: Path, target: Path) -> None:
        """Drop another scan of the same name when the first one is on its way back."""
        if target.parent.name == "inbox" and not target.exists():
            target.write_bytes(nifti(seed=6))
        super().rename_unsynced(source, target)


def test_a_file_whose_place_is_taken_settles_in_its_claim(build: Build) -> None:
    """It changed, and another of its name is there already: both are delivered."""
    disk = TwoAtOnce()
    house = build(disk=disk)
    disk.before = write_another
    house.drop("scan.nii")
    house.live(120)
    archived = {path.read_bytes() for path in (house.root / "archive").rglob("scan.nii")}
    assert archived == {nifti(seed=5), nifti(seed=6)}
    assert [case.state for case in house.cases()] == [State.DONE, State.DONE]
    assert house.leftovers() == []
