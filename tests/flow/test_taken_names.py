"""Names of folders that others have already: nothing is replaced, the next number is taken."""

from __future__ import annotations

import shutil

import pytest

from tests.flow.house import House, binary_stl, nifti
from vpe_watcher.core.model import State


def folders(house: House, name: str) -> list[str]:
    """List the visible folders in one of the four."""
    return sorted(path.name for path in (house.root / name).iterdir() if path.name[0] != ".")


def test_scans_of_one_name_get_numbers_in_the_order_of_their_claims(house: House) -> None:
    """`scan`, `scan.2`, `scan.3`: in outbox and archive alike."""
    for seed in range(3):
        house.drop("scan.nii", nifti(seed=seed))
        house.live(60)
    assert folders(house, "outbox") == folders(house, "archive") == ["scan", "scan.2", "scan.3"]
    for seed, name in enumerate(["scan", "scan.2", "scan.3"]):
        assert (house.root / "archive" / name / "scan.nii").read_bytes() == nifti(seed=seed)


def test_names_are_compared_without_case(house: House) -> None:
    """On a share that knows no difference the second would replace the first."""
    for number, name in enumerate(["Scan.nii", "scan.nii", "SCAN.nii"]):
        house.drop(name, nifti(seed=number))
        house.live(60)
    assert folders(house, "outbox") == ["SCAN.3", "Scan", "scan.2"]


def test_extensions_do_not_part_names(house: House) -> None:
    """`scan.nii` and `scan.stl` are two cases of one name."""
    house.drop("upper.nii", nifti())
    house.drop("upper.stl", binary_stl())
    house.live_until_rest()
    assert folders(house, "outbox") == ["upper", "upper.2"]


@pytest.mark.parametrize("where", ["outbox", "archive", "failed"])
@pytest.mark.parametrize("theirs", ["scan", "SCAN"])
def test_a_strangers_folder_keeps_its_name(house: House, where: str, theirs: str) -> None:
    """What somebody put into one of the folders is neither replaced nor mixed with ours."""
    stranger = house.root / where / theirs
    stranger.mkdir()
    (stranger / "mine.txt").write_text("mine")
    house.drop("scan.nii")
    house.live_until_rest()
    assert (house.case("scan").state, house.case("scan").folder) == (State.DONE, "scan.2")
    assert "scan.2" in folders(house, "outbox")
    assert "scan.2" in folders(house, "archive")
    assert [path.name for path in stranger.iterdir()] == ["mine.txt"]


def test_a_strangers_file_takes_a_name_too(house: House) -> None:
    """Not only a folder can be in the way."""
    (house.root / "outbox" / "scan").write_text("mine")
    house.drop("scan.nii")
    house.live_until_rest()
    assert (house.root / "outbox" / "scan").read_text() == "mine"
    assert "scan.2/mandible.stl" in house.files("outbox")


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_name_that_is_taken_at_the_moment_of_publishing(house: House, *, is_empty: bool) -> None:
    """A folder appears in the outbox in between, even an empty one: the next free name."""
    house.drop("scan.nii")
    house.live_until("scan", State.DELIVERING)
    (house.root / "outbox" / "scan").mkdir()
    if not is_empty:
        (house.root / "outbox" / "scan" / "mine.txt").write_text("mine")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    ours = {"scan.2/mandible.stl", "scan.2/result.json"}
    assert set(house.files("outbox")) == (ours if is_empty else ours | {"scan/mine.txt"})
    assert house.case("scan").outbox == str(house.root / "outbox" / "scan.2")


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_name_that_is_taken_at_the_moment_of_archiving(house: House, *, is_empty: bool) -> None:
    """The input comes to rest under the next free name; the result stays where it is."""
    house.drop("scan.nii")
    house.live_until("scan", State.ARCHIVING)
    stranger = house.root / "archive" / "scan"
    stranger.mkdir()
    if not is_empty:
        (stranger / "mine.txt").write_text("mine")
    house.live_until_rest()
    assert house.states() == {"scan": State.DONE}
    assert len(list(stranger.iterdir())) == (0 if is_empty else 1)
    assert (house.root / "archive" / "scan.2" / "scan.nii").exists()
    assert house.files("outbox") == ["scan/mandible.stl", "scan/result.json"]
    assert house.leftovers() == []


def test_a_name_that_is_taken_at_the_moment_of_failing(house: House) -> None:
    """The same in the folder of failed cases."""
    house.sandbox.set_faults([{"on": "submit", "do": {"status": 422}}])
    house.drop("scan.nii")
    house.live_until("scan", State.ARCHIVING)
    (house.root / "failed" / "scan").mkdir()
    house.live_until_rest()
    assert house.states() == {"scan": State.FAILED}
    assert house.error("scan.2")["case_name"] == "scan"
    assert (house.root / "failed" / "scan.2" / "scan.nii").exists()


def test_an_emptied_outbox_frees_no_name(house: House) -> None:
    """People take their results away: an old name is never used for another scan."""
    house.drop("scan.nii")
    house.live_until_rest()
    shutil.rmtree(house.root / "outbox" / "scan")
    house.drop("scan.nii", nifti(seed=1))
    house.live(60)
    assert folders(house, "outbox") == ["scan.2"]


def test_a_strangers_note_is_not_replaced(house: House) -> None:
    """A file where the note of a held case belongs stays, and the note is written beside it."""
    (house.root / "failed" / "scan.held.txt").write_text("mine")
    house.sandbox.set_faults([{"on": "poll", "do": {"status": 403}}])
    house.drop("scan.nii")
    house.live(60)
    assert house.states() == {"scan": State.HELD}
    assert (house.root / "failed" / "scan.held.txt").read_text() == "mine"
    assert house.held_note(house.case("scan").folder)
