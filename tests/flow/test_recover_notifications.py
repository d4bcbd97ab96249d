"""A paid case whose notifications were not all sent when the state file was lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.flow.house import House, binary_stl, nifti
from tests.flow.lost_states import delete, live_on, mend
from vpe_watcher.core.model import Notified, State
from vpe_watcher.sandbox.adapter import SandboxAdapter
from vpe_watcher.sandbox.options import Options

Build = Callable[..., House]


class _Dies(SandboxAdapter):
    """Ends the daemon when it is about to notify."""

    def send(self, request: Any, *args: Any, **more: Any) -> Any:
        """Die in the place of a notification."""
        if request.path_url.endswith("/finished"):
            raise KeyboardInterrupt
        return super().send(request, *args, **more)


def _notifications(house: House) -> dict[str, int]:
    """Count what arrived of each input of the one job."""
    inputs = house.sandbox.ledger.job().inputs
    return {str(modality): len(entry.notifications) for modality, entry in inputs.items()}


def _drop_two(house: House) -> None:
    house.drop("visit/scan.nii", nifti())
    house.drop("visit/upper.stl", binary_stl())


def _recover(house: House) -> None:
    """Kill the daemon, lose the state file, rebuild it and start another."""
    house.close()
    delete(house)
    mend(house)
    house.adapter = SandboxAdapter(house.sandbox)
    house.start()


def _ends_well(house: House, name: str) -> None:
    live_on(house)
    assert house.states() == {name: State.DONE}
    assert house.sandbox.ledger.count("submit") == 1
    assert house.started() == 1


def test_the_remaining_inputs_are_notified(house: House) -> None:
    """One of two was; the case waits for its job, and the other is notified too."""
    house.sandbox.set_faults([{"on": "notify", "modality": "ios_upper", "do": {"status": 503}}])
    _drop_two(house)
    house.live_until("visit", State.NOTIFYING)
    house.turn()
    job_id = house.case("visit").job_id
    assert _notifications(house) == {"cbct": 1, "ios_upper": 0}
    _recover(house)
    case = house.case("visit")
    assert (case.state, case.job_id) == (State.WAITING, job_id)
    assert {str(one.modality): one.notified for one in case.inputs} == {
        "cbct": Notified.DONE,
        "ios_upper": Notified.BEGUN,
    }
    house.live(30)  # the Engine still does not take it: nothing else is tried
    assert house.states() == {"visit": State.WAITING}
    assert house.breakers() == {"engine"}
    house.sandbox.set_faults([])
    _ends_well(house, "visit")
    assert _notifications(house) == {"cbct": 1, "ios_upper": 1}


def test_a_notification_that_was_never_sent_is_sent(house: House) -> None:
    """The daemon died between `may_be_paid` and the call."""
    house.adapter = _Dies(house.sandbox)
    house.restart()
    house.drop("scan.nii")
    house.live_until("scan", State.NOTIFYING)
    with pytest.raises(KeyboardInterrupt):
        house.turn()
    assert house.evidence(house.case("scan"))["may_be_paid"] is True
    _recover(house)
    assert house.case("scan").state is State.WAITING
    _ends_well(house, "scan")
    assert _notifications(house) == {"cbct": 1}


def test_a_refused_repetition_counts_as_sent(build: Build) -> None:
    """The Engine knows of the upload already and says so: asked once, then only polled."""
    house = build(options=Options(processing_s=90.0))
    house.drop("scan.nii")
    house.live_until("scan", State.WAITING)
    rule = {"on": "notify", "do": {"status": 409}}
    house.sandbox.set_faults([rule])
    _recover(house)
    house.live(60)
    (entry,) = house.case("scan").inputs
    assert entry.notified is Notified.REFUSED
    assert house.sandbox.ledger.count("notify") == 2
    _ends_well(house, "scan")


def test_a_finished_job_is_not_notified_again(house: House) -> None:
    """The poll comes first."""
    house.drop("scan.nii")
    house.live_until("scan", State.WAITING)
    _recover(house)
    _ends_well(house, "scan")
    assert house.sandbox.ledger.count("notify") == 1


@pytest.mark.parametrize("is_restarted", [False, True])
def test_an_ordinary_life_notifies_once(build: Build, *, is_restarted: bool) -> None:
    """However often it is polled, and also after a restart."""
    house = build(options=Options(processing_s=120.0))
    _drop_two(house)
    house.live_until("visit", State.WAITING)
    house.live(60)
    if is_restarted:
        house.restart()
    house.live_until_rest()
    assert house.sandbox.ledger.count("poll") > 3
    assert _notifications(house) == {"cbct": 1, "ios_upper": 1}
