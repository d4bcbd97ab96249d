"""The main job: a scan goes in, its meshes come out, its input comes to rest."""

from __future__ import annotations

from tests.flow.house import House, nifti
from vpe_watcher.core.model import State


def test_a_dropped_scan_is_delivered_and_archived(house: House) -> None:
    """One file becomes one job, one outbox folder and one archive folder."""
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert house.files("outbox") == ["scan/mandible.stl", "scan/result.json"]
    assert house.files("archive") == ["scan/result.json", "scan/scan.nii"]
    assert house.files("inbox") == []
    assert house.leftovers() == []
    assert house.result("scan")["status"] == "complete"
    (job,) = house.sandbox.ledger.jobs.values()
    assert job.started == 1


def test_scans_of_one_size_do_not_wait_for_one_another(house: House) -> None:
    """Different content of the same size is told apart before it is uploaded."""
    for number in range(4):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live_until_rest(at_most_s=30)
    assert set(house.states().values()) == {State.DONE}
