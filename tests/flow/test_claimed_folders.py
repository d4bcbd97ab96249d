"""A copier that goes on in a claimed case folder: what it adds belongs to the case."""

from __future__ import annotations

import pytest

from tests.flow.house import House, binary_stl, nifti
from vpe_watcher.core.model import State


def _change_in_the_claim(house: House, name: str, content: bytes) -> None:
    """Take a folder, then let its copier write its volume again, and one more file."""
    house.drop("anna/scan.nii", nifti(seed=1))
    house.drop("anna/report.pdf", b"%PDF-1.4 a report")
    claimed = house.claimed(house.live_until("anna", State.UPLOADING))
    claimed.write_bytes(nifti(seed=2))
    (claimed.parent / name).write_bytes(content)


def test_a_scan_that_comes_into_a_changed_claim_is_sent_too(house: House) -> None:
    """The job has both inputs, and the manifest names them."""
    _change_in_the_claim(house, "upper.stl", binary_stl())
    house.live_until_rest()
    sent = {entry["name"] for entry in house.result("anna")["inputs"]}
    assert sent == {"scan.nii", "upper.stl"}
    assert house.started() == 1
    assert [entry["name"] for entry in house.result("anna")["skipped"]] == ["report.pdf"]


def test_a_scan_that_is_still_coming_is_waited_for(house: House) -> None:
    """It is sent when it is complete, and nothing before."""
    whole = binary_stl(triangles=50)
    _change_in_the_claim(house, "upper.stl", whole[:-100])
    house.live(60)
    case = house.case("anna")
    assert case.state is State.CLAIMING
    (house.claim_folder(case) / "anna" / "upper.stl").write_bytes(whole)
    house.live_until_rest()
    assert len(house.result("anna")["inputs"]) == 2
    assert house.started() == 1


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("upper.stl", binary_stl(triangles=50)[:-100], "incomplete"),
        ("other.nii", nifti(seed=3), "two_for_one_modality"),
    ],
)
def test_a_scan_that_spoils_a_changed_claim_fails_it(
    house: House, name: str, content: bytes, code: str
) -> None:
    """Nothing is paid for half a case, and the error says why."""
    _change_in_the_claim(house, name, content)
    house.live(1200, step_s=2)
    assert house.states() == {"anna": State.FAILED}
    assert house.started() == 0
    assert house.error("anna")["code"] == code


def test_an_input_that_goes_from_a_changed_claim_is_missed(house: House) -> None:
    """What is left is not sent alone: the case is held."""
    house.drop("anna/scan.nii", nifti(seed=1))
    house.drop("anna/upper.stl", binary_stl())
    house.drop("anna/report.pdf", b"%PDF-1.4 a report")
    folder = house.claim_folder(house.live_until("anna", State.UPLOADING)) / "anna"
    (folder / "scan.nii").write_bytes(nifti(seed=2))
    house.live_until("anna", State.CLAIMING)
    (folder / "upper.stl").unlink()
    house.live_until_rest()
    assert house.states() == {"anna": State.HELD}
    assert house.started() == 0
