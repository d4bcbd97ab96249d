"""Ready markers and required partners, from the drop to the archive."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.flow.house import House, binary_stl, nifti
from tests.flow.series import write_series
from vpe_watcher.core.model import State

Build = Callable[..., House]


@pytest.fixture
def house(build: Build) -> House:
    """Return a house that takes nothing without its marker."""
    return build(recipes={"default": {"ready_marker": ".done"}}, intake={"series_settle_s": 6})


def test_nothing_is_taken_before_its_marker(house: House) -> None:
    """However well proven, and however long it lies there."""
    house.drop("scan.nii")
    house.live(900, step_s=10)
    assert house.cases() == []
    shown = house.candidate("scan.nii")
    assert (shown["state"], ".done" in shown["reason"]) == ("waiting_marker", True)


def test_with_its_marker_it_is_taken_at_once(house: House) -> None:
    """The marker goes with the case."""
    house.drop("scan.nii")
    house.live(3)
    house.drop("scan.nii.done", b"")
    house.parts.inboxes["default"].hint("scan.nii.done")
    house.turn()
    assert house.states() == {"scan": State.WAITING}
    house.live_until_rest()
    assert house.files("archive") == [
        "scan/result.json",
        "scan/scan.nii",
        "scan/scan.nii.done",
    ]
    assert house.files("inbox") == []


def test_a_marked_file_that_is_proven_short_waits(house: House) -> None:
    """A marker does not complete what is cut."""
    house.drop("scan.nii", nifti()[:-5])
    house.drop("scan.nii.done", b"")
    house.live(20)
    assert house.candidate("scan.nii")["state"] == "incomplete"


@pytest.mark.parametrize("marker", ["Anna/.done", "Anna.done"])
def test_a_folder_has_its_marker_inside_or_beside(house: House, marker: str) -> None:
    """Both are taken with the folder."""
    house.drop("Anna/upper.stl", binary_stl())
    house.live(20)
    assert house.candidate("Anna")["state"] == "waiting_marker"
    house.drop(marker, b"")
    house.parts.inboxes["default"].hint(marker.partition("/")[0])
    house.turn()
    assert house.states() == {"Anna": State.WAITING}
    house.live_until_rest()
    assert house.states() == {"Anna": State.DONE}
    assert list((house.root / "inbox").glob("Anna*")) == []
    assert house.leftovers() == []


def test_a_marked_folder_of_slices_does_not_settle(house: House) -> None:
    """The marker says that all of the series is there."""
    write_series(house.root / "inbox" / "Anna")
    house.live(20)
    assert house.cases() == []
    house.drop("Anna/.done", b"")
    house.parts.inboxes["default"].hint("Anna")
    house.turn()
    assert house.states() == {"Anna": State.WAITING}


def test_loose_slices_need_all_their_markers(house: House) -> None:
    """The last marker makes the series ready."""
    paths = write_series(house.root / "inbox")
    for path in paths[:-1]:
        house.drop(f"{path.name}.done", b"")
    house.live(20)
    assert house.cases() == []
    house.drop(f"{paths[-1].name}.done", b"")
    house.live_until_rest()
    (case,) = house.cases()
    assert (case.state, len(case.inputs[0].slices)) == (State.DONE, 12)


# --- partners -------------------------------------------------------------------------------------

BOTH = {"default": {"require": ["ios_upper", "ios_lower"]}}


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("Anna_upper.stl", "Anna_lower.stl", "Anna"),
        ("upper Anna.stl", "Mandib-Anna.ply", "Anna"),
        ("upper.stl", "lower.stl", "lower"),
    ],
)
def test_jaws_wait_for_one_another(build: Build, first: str, second: str, name: str) -> None:
    """The first waits with its reason; with the second both are one case."""
    house = build(recipes=BOTH)
    house.drop(first, binary_stl(seed=1))
    house.live(900, step_s=10)
    shown = house.candidate(first)
    assert shown["state"] == "waiting_partner"
    assert "ios_lower" in shown["reason"]
    assert house.cases() == []
    content = binary_stl(seed=2) if second.endswith(".stl") else PLY
    house.drop(second, content)
    house.live_until_rest()
    assert house.states() == {name: State.DONE}
    modalities = {entry["modality"] for entry in house.result(name)["inputs"]}
    assert modalities == {"ios_upper", "ios_lower"}
    assert len(house.sandbox.ledger.jobs) == 1
    assert house.files("inbox") == []


PLY = (
    b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\n"
    b"property float z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
    b"0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
)


def test_two_patients_are_never_mixed(build: Build) -> None:
    """An upper of one and a lower of another wait for their own."""
    house = build(recipes=BOTH)
    house.drop("Anna_upper.stl", binary_stl(seed=1))
    house.drop("Berta_lower.stl", binary_stl(seed=2))
    house.live(60)
    assert house.cases() == []
    house.drop("Berta_upper.stl", binary_stl(seed=3))
    house.live_until_rest()
    assert house.states() == {"Berta": State.DONE}
    assert house.candidate("Anna_upper.stl")["state"] == "waiting_partner"


def test_what_is_not_required_waits_for_nobody(build: Build) -> None:
    """A volume and a face go their own way."""
    house = build(recipes=BOTH)
    house.drop("Anna_face.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    house.drop("Anna.nii")
    house.live_until_rest()
    house.live(30)
    assert house.states() == {"Anna_face": State.DONE, "Anna": State.DONE}
