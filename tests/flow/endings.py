"""What a person sees of a case that has come to an end, looked at from all sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.flow.house import House
from vpe_watcher.app.terms import candidate_rules
from vpe_watcher.core.model import Case, State
from vpe_watcher.flow.explain import Place, explain

HOUR = 3600.0
GIVES_UP = {"retry_for_h": 0.5, "retry_at_most_s": 60}


def meshes(*structures: str) -> dict[str, Any]:
    """Return a job body that asks for one mesh a structure."""
    return {
        "outputFiles": {"meshes": [{"extension": ".stl", "structures": [s]} for s in structures]}
    }


def starts(house: House) -> int:
    """Count how often the Engine began to compute: what was paid."""
    return sum(job.started for job in house.sandbox.ledger.jobs.values())


def failed_as(house: House, name: str, *, folder: str = "") -> dict[str, Any]:
    """Return a failed case's error document, after a look at all that goes with it."""
    case = house.case(name)
    assert case.state is State.FAILED
    folder = folder or name
    error = house.error(folder)
    text = (house.root / "failed" / folder / "error.txt").read_text()
    assert error["schema"] == "vpe-watcher/error/1"
    assert error["case_id"] == case.case_id
    assert error["message"] in text
    assert error["hint"] in text
    assert error["hint"]
    assert (error["job_id"] or "none") in text
    assert f"{folder}/{name}.nii" in house.files("failed")
    assert house.files("outbox") == house.files("archive") == []
    assert house.leftovers() == []
    return error


def held_as(house: House, name: str) -> Case:
    """Return a held case, after a look at its note and its claimed input."""
    case = house.case(name)
    assert case.state is State.HELD
    assert case.problem is not None
    note = house.held_note(name)
    assert case.problem.message in note
    assert case.problem.hint in note
    assert case.case_id in note
    assert (case.job_id or "none") in note
    assert f"Go on with: vpe-watcher retry {case.case_id}\n" in note
    assert (house.claim_folder(case) / f"{name}.nii").is_file()
    assert house.files("failed") == [f"{name}.held.txt"]
    assert house.files("outbox") == house.files("archive") == []
    return case


def all_is_delivered(house: House) -> None:
    """Live until all is delivered: one job started a case, nothing left over, breakers closed."""
    house.live_until_rest(at_most_s=1200)
    assert set(house.states().values()) == {State.DONE}
    assert [case.attempts for case in house.cases()] == [1] * len(house.cases())
    assert house.breakers() == set()
    assert house.leftovers() == []
    assert sum(job.started for job in house.sandbox.ledger.jobs.values()) == len(house.cases())


def good_scan_passes(house: House) -> None:
    """Drop a good scan, live on, and check that nothing else was ever sent."""
    house.drop("good.nii")
    house.live(60)
    assert house.states()["good"] is State.DONE
    (job,) = house.sandbox.ledger.jobs.values()
    assert list(job.request["inputFiles"]) == ["cbct"]
    assert house.sandbox.ledger.count("upload") == 1
    assert house.breakers() == set()


def explained(house: House, path: Path) -> str:
    """Return what `explain` says of a path."""
    recipes = house.settings.recipes.values()
    places = [Place(r.name, r.inbox, candidate_rules(house.settings, r)) for r in recipes]
    return "\n".join(explain(path, inboxes=places, queries=house.queries))


def failed_as_input(house: House, name: str) -> dict[str, str]:
    """Return the error of a case that failed as input, after a look at what goes with it."""
    case = next(case for case in house.cases() if case.case_name == name)
    assert case.state is State.FAILED
    error = house.error(case.folder)
    text = (house.root / "failed" / case.folder / "error.txt").read_text()
    assert error["class"] == "input"
    assert error["message"] in text
    assert error["hint"] in text
    assert error["hint"]
    assert error["job_id"] is None
    return error
