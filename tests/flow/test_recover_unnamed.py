"""Documents without identifiers (`delivery.identifiers = false`), and what is rebuilt of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flow.house import House
from tests.flow.lost_states import bring, delete, live_on, mend, take
from tests.flow.series import PATIENT, SERIES, write_series
from tests.flow.test_series import NAME, QUICK, sent
from vpe_watcher.core.model import State
from vpe_watcher.core.series import series_name

Build = Callable[..., House]
ROOTS = ("inbox", "outbox", "archive", "failed")


def _lose(house: House) -> None:
    """Lose the state file, and rebuild it."""
    house.close()
    delete(house)
    mend(house)
    house.start()


WITHOUT: dict[str, Any] = {"intake": QUICK, "delivery": {"identifiers": False}}
NOWHERE: dict[str, Any] = dict.fromkeys(["ImagePositionPatient", "ImageOrientationPatient"])
PLANTED = (b"1.2.826.0.1.3680043.8.498", PATIENT.encode(), b"P-4711")


def _is_ours(path: Path) -> bool:
    return path.is_file() and path.suffix != ".dcm"


def _tell_tales(house: House) -> list[str]:
    """Name what holds, or bears, a planted identifier in the four folders; scans do, of course."""
    paths = [path for root in ROOTS for path in (house.root / root).rglob("*")]
    return [
        str(path)
        for path in paths
        if any(one in os.fsencode(path) for one in PLANTED)
        or (_is_ours(path) and any(one in path.read_bytes() for one in PLANTED))
    ]


def test_no_document_names_a_study(build: Build) -> None:
    """Delivered, duplicate, refused by us or the Engine, held or cancelled: no UID, no patient."""
    house = build(**WITHOUT)
    write_series(house.root / "inbox" / "Anna")
    write_series(house.root / "inbox", series=f"{SERIES}.5")
    house.live_until_rest()
    write_series(house.root / "inbox" / "again")
    write_series(house.root / "inbox" / "odd", series=f"{SERIES}.6", **NOWHERE)
    write_series(house.root / "inbox", range(30, 33), name="late{}.dcm", series=f"{SERIES}.5")
    house.live(90)
    house.sandbox.set_faults([{"on": "submit", "times": 1, "do": {"status": 400}}])
    write_series(house.root / "inbox" / "refused", series=f"{SERIES}.8")
    house.live(60)
    write_series(house.root / "inbox" / "unwanted", series=f"{SERIES}.9")
    house.live_until("unwanted", State.WAITING)
    house.say("cancel", house.case("unwanted"))
    house.live(30)
    states = {"Anna": State.DONE, "again": State.DUPLICATE, "unwanted": State.CANCELLED}
    states |= {"odd": State.FAILED, "refused": State.FAILED}
    assert states.items() <= house.states().items()
    held = house.case_of_late(series_name("2", f"{SERIES}.5"))
    assert _tell_tales(house) == [str(house.claim_folder(held) / ".case.json")]


def test_with_identifiers_documents_name_the_series(build: Build) -> None:
    """So the search above finds what there is to find."""
    house = build(intake=QUICK)
    write_series(house.root / "inbox" / "Anna")
    house.live_until_rest()
    assert len(_tell_tales(house)) == 3  # outbox, archive, and the record there


@pytest.mark.parametrize("state", [State.WAITING, State.ARCHIVING, State.DONE])
def test_a_series_is_rebuilt_that_no_document_names(build: Build, state: State) -> None:
    """Its files tell: known ones are a duplicate, late ones are held."""
    house = build(**WITHOUT)
    write_series(house.root / "inbox")
    take(house)
    bring(house, NAME, state)
    _lose(house)
    live_on(house)
    (entry,) = house.case(NAME).inputs
    assert (entry.series_uid, len(entry.slices)) == (SERIES, 12)
    write_series(house.root / "inbox", range(1, 13), name="again{}.dcm")
    house.live(40)
    assert sorted(case.state for case in house.cases()) == [State.DONE, State.DUPLICATE]
    write_series(house.root / "inbox", range(20, 22))
    house.live(80)
    assert (house.case_of_late(NAME).state, house.started()) == (State.HELD, 1)


def test_a_series_that_failed_and_no_document_names_is_retried(build: Build) -> None:
    """Its slices are found again where they lie."""
    house = build(**WITHOUT)
    house.sandbox.set_faults([{"on": "submit", "times": 1, "do": {"status": 400}}])
    write_series(house.root / "inbox")
    house.live_until_rest()
    _lose(house)
    house.say("retry", house.case(NAME))
    live_on(house)
    assert house.states() == {NAME: State.DONE}
    assert [len(one.namelist()) for one in sent(house)] == [12]


def test_a_series_that_nothing_is_left_of_is_a_duplicate(build: Build) -> None:
    """With on_success = "delete" the digest of its content is all that is known, and enough."""
    house = build(**WITHOUT, retention={"on_success": "delete"})
    write_series(house.root / "inbox")
    house.live_until_rest()
    _lose(house)
    write_series(house.root / "inbox")
    house.live(40)
    assert sorted(case.state for case in house.cases()) == [State.DONE, State.DUPLICATE]
    assert house.started() == 1


def test_an_export_that_no_document_names_is_known(build: Build, ground: Path) -> None:
    """Nothing lies in the archive but the document; no file is made up for the series."""
    export = ground / "export"
    write_series(export)
    pacs = {"inbox": str(export), "leave_in_place": True, "existing": "take"}
    house = build(**WITHOUT, recipes={"pacs": pacs})
    house.live_until_rest()
    _lose(house)
    (case,) = house.cases()
    assert (case.state, case.moves) == (State.DONE, ())
    house.close()
    mend(house, "pacs")
    house.start()
    house.live(60)
    assert (house.states(), house.started()) == ({case.case_name: State.DONE}, 1)
