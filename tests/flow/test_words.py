"""When a person's word is acted on while a step runs."""

from __future__ import annotations

from tests.flow.house import House
from vpe_watcher.adapters.store import Begun
from vpe_watcher.core.machine import Patience, decide
from vpe_watcher.core.model import Label, Outcome, State


def test_a_cancel_waits_for_the_answer_to_a_paid_submit(house: House) -> None:
    """Said while a submit runs that starts the Engine at once: it is done when that has ended."""
    house.drop("scan.nii")
    case = house.live_until("scan", State.SUBMITTING)
    with house.parts.store.database.transaction() as connection:
        connection.execute("UPDATE inputs SET download_url = ?", ("https://files.test/scan",))
    begun = house.parts.store.begin(case.case_id, State.SUBMITTING, jobs_per_day={})
    assert isinstance(begun, Begun)
    assert begun.case.paid
    house.queries.say("cancel", [case.case_id])
    assert not house.parts.words.obey()
    assert house.parts.schedule.take_ready() == []
    refused = Outcome(Label.NOT_SENT)
    decision = decide(begun.case, refused, Patience(), chance=lambda: 0.0)
    house.parts.store.finish(begun, decision, refused)
    assert house.parts.words.obey()
    house.live_until_rest()
    assert house.states() == {"scan": State.CANCELLED}
