"""Several inputs in one job: all uploads end before the first notification, and it is paid once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flow.house import House, binary_stl, nifti
from vpe_watcher.core.model import Case, Notified, State
from vpe_watcher.sandbox.adapter import SandboxAdapter
from vpe_watcher.sandbox.options import Options

Build = Callable[..., House]


def drop_jaws(house: House) -> None:
    """Drop a case folder with both jaws and a volume."""
    house.drop("jaws/upper.stl", binary_stl(seed=1))
    house.drop("jaws/lower.stl", binary_stl(seed=2))


def calls(house: House, *kinds: str) -> list[tuple[str, int | None]]:
    """Return what calls of these kinds the Engine saw, in order, with its answers."""
    return [
        (seen.kind, seen.status) for seen in house.sandbox.ledger.requests if seen.kind in kinds
    ]


def is_paid_once(house: House) -> None:
    """Check that there is one job, which has started once at most."""
    (job,) = house.sandbox.ledger.jobs.values()
    assert job.started <= 1


TROUBLES: list[tuple[dict[str, Any], bool]] = [
    *(({"status": status}, False) for status in (400, 403, 404, 405, 409, 410, 422)),
    *(({"status": status}, True) for status in (400, 404, 405)),
    ({"status": 500}, False),
    ({"status": 500}, True),
    ({"status": 429}, False),
    ({"status": 401}, False),
    ({"reset": True}, False),
    ({"reset": True}, True),
    ({"stall_s": 9999}, True),
    ({"truncate": 1}, True),
    ({"garbage": True}, True),
    ({"redirect": "https://evil.test/"}, False),
    ({"redirect": "https://evil.test/"}, True),
]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize(("do", "after_effect"), TROUBLES, ids=str)
def test_no_answer_to_a_notification_leads_to_a_new_job(
    house: House, do: dict[str, Any], nth: int, times: int, *, after_effect: bool
) -> None:
    """Whatever the first or the second one is answered: one job, one submit, no case failed."""
    rule = {"on": "notify", "nth": nth, "times": times, "do": do, "after_effect": after_effect}
    house.sandbox.set_faults([rule])
    drop_jaws(house)
    house.live(120, step_s=4)
    case = house.case("jaws")
    assert case.state in {State.DONE, State.WAITING}
    assert house.sandbox.ledger.count("submit") == 1
    is_paid_once(house)
    assert house.breakers() == set()
    assert house.files("failed") == []
    if case.state is State.DONE:
        assert house.sandbox.ledger.job().started == 1


@pytest.mark.parametrize("modality", ["ios_upper", "ios_lower"])
def test_a_refused_notification_is_no_verdict(house: House, modality: str) -> None:
    """The input counts as notified, the other one is notified too, and the poll decides."""
    house.sandbox.set_faults([{"on": "notify", "modality": modality, "do": {"status": 400}}])
    drop_jaws(house)
    house.live(60)
    case = house.case("jaws")
    assert case.state is State.WAITING
    notified = {str(entry.modality): entry.notified for entry in case.inputs}
    assert notified.pop(modality) is Notified.REFUSED
    assert list(notified.values()) == [Notified.DONE]
    assert len(calls(house, "notify")) == 2
    is_paid_once(house)


def test_a_refusal_whose_effect_took_place_is_delivered(house: House) -> None:
    """The Engine says 400 and computes all the same: the poll tells."""
    house.sandbox.set_faults([{"on": "notify", "do": {"status": 400}, "after_effect": True}])
    drop_jaws(house)
    house.live_until_rest()
    assert house.states() == {"jaws": State.DONE}
    is_paid_once(house)


@pytest.mark.parametrize("status", [404, 405])
def test_a_notification_that_wants_a_post_gets_one(house: House, status: int) -> None:
    """PUT is answered 404 or 405: POST is tried once, to the same job."""
    house.sandbox.set_options(notify_method="POST")
    if status == 404:
        house.sandbox.set_faults(
            [{"on": "notify", "nth": nth, "do": {"status": 404}} for nth in (1, 3)]
        )
    drop_jaws(house)
    house.live_until_rest()
    assert house.states() == {"jaws": State.DONE}
    methods = [seen.method for seen in house.sandbox.ledger.requests if seen.kind == "notify"]
    assert methods == ["PUT", "POST"] * 2
    is_paid_once(house)


def test_a_lost_answer_is_asked_for_again_at_the_same_job(house: House) -> None:
    """The second notification's answer is lost: it is repeated, and the first is not."""
    lost = {"on": "notify", "nth": 2, "do": {"reset": True}, "after_effect": True}
    house.sandbox.set_faults([lost])
    drop_jaws(house)
    house.live_until_rest()
    assert house.states() == {"jaws": State.DONE}
    (job,) = house.sandbox.ledger.jobs.values()
    assert sorted(len(entry.notifications) for entry in job.inputs.values()) == [1, 2]
    assert job.started == 1


def test_a_restart_between_two_notifications_goes_on_at_the_same_job(house: House) -> None:
    """The daemon dies before the second notification: the new one sends just that."""
    house.sandbox.set_faults([{"on": "notify", "nth": 2, "times": 5, "do": {"reset": True}}])
    drop_jaws(house)
    house.live_until("jaws", State.NOTIFYING)
    house.turn()
    house.restart()
    house.sandbox.set_faults([])
    house.live_until_rest()
    assert house.states() == {"jaws": State.DONE}
    is_paid_once(house)
    assert house.sandbox.ledger.count("submit") == 1


def test_all_uploads_end_before_the_first_notification(house: House) -> None:
    """The second upload fails for a while: nothing is notified until it is through."""
    house.sandbox.set_faults([{"on": "upload", "nth": 2, "times": 3, "do": {"status": 500}}])
    drop_jaws(house)
    house.live_until_rest()
    seen = [kind for kind, _ in calls(house, "upload", "notify")]
    assert seen == ["upload"] * 5 + ["notify"] * 2
    is_paid_once(house)


def test_an_upload_url_that_expires_second_sends_both_again(house: House) -> None:
    """The new job has no input of the old one: each is uploaded to it."""
    house.sandbox.set_faults([{"on": "upload", "nth": 2, "do": {"status": 403}}])
    drop_jaws(house)
    house.live_until_rest()
    first, second = house.sandbox.ledger.jobs.values()
    assert (first.started, second.started) == (0, 1)
    assert [len(entry.uploads) for entry in second.inputs.values()] == [1, 1]
    assert all(not entry.notifications for entry in first.inputs.values())


class Witness(SandboxAdapter):
    """Looks at the claims' evidence whenever a notification or a submit arrives."""

    def __init__(self, house: House) -> None:
        """Stand in the place of the house's adapter."""
        super().__init__(house.sandbox)
        self.inbox = house.root / "inbox"
        self.seen: list[tuple[str, bool, bool]] = []

    def send(self, request: Any, *args: Any, **more: Any) -> Any:
        """Note what `.case.json` says at the moment of the call."""
        if request.path_url.endswith("/finished"):
            (path,) = self.inbox.glob(".vpe-watcher/*/*/.case.json")
            document = json.loads(path.read_text())
            self.seen.append(("notify", document["may_be_paid"], bool(document["job_id"])))
        return super().send(request, *args, **more)


def test_the_evidence_says_paid_before_the_first_notification(house: House) -> None:
    """A crash right at the call leaves a claim that says: this job may be paid."""
    house.adapter = Witness(house)
    house.restart()
    drop_jaws(house)
    case = house.live_until("jaws", State.NOTIFYING)
    said = {
        "case_id": case.case_id,
        "recipe": "default",
        "job_id": house.sandbox.ledger.job().id,
        "may_be_paid": False,
    }
    assert said.items() <= house.evidence(case).items()
    assert not _paid(house, case)
    house.live_until_rest()
    assert house.adapter.seen == [("notify", True, True)] * 2


def test_the_evidence_names_the_newest_job(house: House) -> None:
    """After an expired upload URL the evidence is of the job that will be notified."""
    house.sandbox.set_faults([{"on": "upload", "times": 1, "do": {"status": 403}}])
    drop_jaws(house)
    house.live_until("jaws", State.UPLOADING)
    house.turn()
    case = house.live_until("jaws", State.UPLOADING)
    assert house.evidence(case)["job_id"] == house.sandbox.ledger.job().id
    assert len(house.sandbox.ledger.jobs) == 2


@pytest.mark.parametrize("nth", [1, 2])
def test_a_claim_that_goes_during_the_notifications_is_held(house: House, nth: int) -> None:
    """Somebody deletes the claimed files between the calls: held, and never submitted again."""
    house.sandbox.set_faults([{"on": "notify", "nth": nth, "times": 1, "do": {"reset": True}}])
    drop_jaws(house)
    house.live_until("jaws", State.NOTIFYING)
    house.turn()
    case = house.case("jaws")
    assert case.state is State.NOTIFYING
    _remove(house.claim_folder(case))
    house.live(300, step_s=5)
    assert house.states() == {"jaws": State.HELD}
    assert "gone" in house.held_note("jaws")
    assert house.breakers() == set()
    assert house.sandbox.ledger.count("submit") == 1


def test_several_modalities_go_into_one_job(house: House) -> None:
    """A volume and three meshes in a folder are four inputs; the manifest names what is skipped."""
    for name in ("upper.stl", "Lower Jaw.ply", "scans/FACE.obj"):
        house.drop(f"visit/{name}", MESHES[Path(name).suffix])
    house.drop("visit/volume/head.nii", nifti())
    house.drop("visit/report.pdf", b"%PDF-1.7")
    house.drop("visit/notes/readme.txt", b"hello")
    house.live_until_rest()
    assert house.states() == {"visit": State.DONE}
    (job,) = house.sandbox.ledger.jobs.values()
    assert job.request["inputFiles"] == {
        "cbct": {"extension": ".nii"},
        "ios_lower": {"extension": ".ply"},
        "facial": {"extension": ".obj"},
        "ios_upper": {"extension": ".stl"},
    }
    result = house.result("visit")
    names = {entry["modality"]: entry["name"] for entry in result["inputs"]}
    assert names == {
        "cbct": "volume/head.nii",
        "ios_upper": "upper.stl",
        "ios_lower": "Lower Jaw.ply",
        "facial": "scans/FACE.obj",
    }
    assert {entry["name"] for entry in result["skipped"]} == {"report.pdf", "notes/readme.txt"}
    for entry in result["inputs"]:
        (upload,) = job.inputs[entry["modality"]].uploads
        assert (upload.sha256, upload.size) == (entry["sha256"], entry["size"])
    assert "visit/notes/readme.txt" in house.files("archive")


PLY = (
    b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\n"
    b"property float z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
    b"0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
)
MESHES = {".stl": binary_stl(), ".ply": PLY, ".obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"}


def test_both_spellings_of_the_answer_are_read(build: Build) -> None:
    """The other names of the two URLs, and of the result's, lead to the same end."""
    house = build(options=Options(spelling="plain", result_url_key="downloadUrl"))
    drop_jaws(house)
    house.live_until_rest()
    assert house.states() == {"jaws": State.DONE}
    assert house.files("outbox") == ["jaws/mandible.stl", "jaws/result.json"]


def _paid(house: House, case: Case) -> bool:
    found = house.parts.store.load(case.case_id)
    return found is not None and found.paid


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()
