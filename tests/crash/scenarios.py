"""What is dropped, what goes wrong at the Engine, and how it must look in the end.

Each scenario's end is the same through any number of deaths.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.crash.exports import IN_PLACE_SCENARIOS
from tests.crash.folders import FOLDER_SCENARIOS
from tests.crash.lives import Stage
from tests.crash.scenario import Scenario
from tests.crash.series import LOOSE_SCENARIOS
from tests.flow.house import binary_stl, nifti
from vpe_watcher.core.model import State
from vpe_watcher.sandbox.options import Options

TWO_MESHES = {
    "outputFiles": {
        "meshes": [
            {"extension": ".stl", "structures": ["mandible"]},
            {"extension": ".stl", "structures": ["maxilla"]},
        ]
    }
}
DONE, FAILED, HELD = State.DONE, State.FAILED, State.HELD

SCAN = (
    "archive/scan/result.json",
    "archive/scan/scan.nii",
    "outbox/scan/mandible.stl",
    "outbox/scan/result.json",
)
FOLDER = ("job.json", "lower.stl", "report.pdf", "result.json", "scan.nii", "upper.stl")
CASE = (
    *(f"archive/anna/{name}" for name in FOLDER),
    "outbox/anna/mandible.stl",
    "outbox/anna/maxilla.stl",
    "outbox/anna/result.json",
)
BAD = (
    "failed/cut/cut.nii",
    "failed/cut/cut.nii.job.json",
    "failed/cut/error.json",
    "failed/cut/error.txt",
    "failed/text/error.json",
    "failed/text/error.txt",
    "failed/text/text.zip",
)
TWICE = (
    "archive/scan.2/result.json",
    "archive/scan.2/scan.nii",
    "outbox/scan.2/mandible.stl",
    "outbox/scan.2/result.json",
    "outbox/scan/result.json",
)
NEXT = (
    "archive/scan.2/result.json",
    "archive/scan.2/scan.nii",
    "failed/scan/error.json",
    "failed/scan/error.txt",
    "failed/scan/scan.nii",
    "outbox/scan.2/mandible.stl",
    "outbox/scan.2/result.json",
)


def one_file(stage: Stage) -> None:
    """Drop one volume."""
    stage.drop("scan.nii", nifti())


def case_folder(stage: Stage) -> None:
    """Drop a folder with three inputs, a report, and wishes of its own."""
    stage.drop("anna/scan.nii", nifti())
    stage.drop("anna/upper.stl", binary_stl(seed=1))
    stage.drop("anna/lower.stl", binary_stl(seed=2))
    stage.drop("anna/report.pdf", b"%PDF-1.4 a report")
    stage.drop("anna/job.json", json.dumps(TWO_MESHES).encode())


def bad_files(stage: Stage) -> None:
    """Drop a volume that ends too early, with a sidecar, and a text that is no ZIP."""
    stage.drop("cut.nii.job.json", b"{}")
    stage.drop("cut.nii", nifti()[:-40])
    stage.drop("text.zip", b"this is no archive\n" * 10)


def known_scan(stage: Stage) -> None:
    """Drop what was delivered before, under another name."""
    one_file(stage)
    stage.live_once()
    stage.drop("again.nii", nifti())


def refused_then_retried(stage: Stage) -> None:
    """Let the Engine refuse a scan that it would take now, and ask for a retry."""
    stage.sandbox.set_faults([{"on": "submit", "do": {"status": 422}}])
    one_file(stage)
    stage.live_once()
    stage.sandbox.set_faults([])
    stage.leave_word("retry", "scan")


def refused_folder_then_retried(stage: Stage) -> None:
    """Do the same with a case folder."""
    stage.sandbox.set_faults([{"on": "submit", "do": {"status": 422}}])
    case_folder(stage)
    stage.live_once()
    stage.sandbox.set_faults([])
    stage.leave_word("retry", "anna")


def partial_then_paid_again(stage: Stage) -> None:
    """Let the Engine fail the output, and ask for a new job at its price."""
    stage.sandbox.set_options(failed=["mandible"])
    one_file(stage)
    stage.live_once()
    stage.sandbox.set_options(failed=[])
    stage.leave_word("retry", "scan", may_cost=True)


def partial_then_fetched(stage: Stage) -> None:
    """Let one of two downloads fail for good, and ask for the rest of the same job."""
    stage.sandbox.set_faults([{"on": "download", "structure": "maxilla", "do": {"status": 404}}])
    one_file(stage)
    stage.live_once()
    stage.sandbox.set_faults([])
    stage.leave_word("retry", "scan")


def upload_link_expired(stage: Stage) -> None:
    """Let the first pre-signed URL be worthless."""
    stage.sandbox.set_faults([{"on": "upload", "nth": 1, "do": {"status": 403}}])
    one_file(stage)


def two_scans(stage: Stage) -> None:
    """Drop two volumes of one size at once."""
    stage.drop("one.nii", nifti(seed=1))
    stage.drop("two.nii", nifti(seed=2))


def still_being_written(stage: Stage) -> None:
    """Drop a volume whose writer comes back when the daemon is about to take it."""
    last = nifti(seed=9)
    stage.drop("scan.nii", nifti(seed=1))
    stage.written_first["scan.nii"] = stage.dropped["scan.nii"]
    stage.dropped["scan.nii"] = last

    def write_again(path: Path) -> None:
        if path.name == "scan.nii" and path.read_bytes() != last:
            path.write_bytes(last)

    stage.meddle = write_again


def held_then_retried(stage: Stage) -> None:
    """Let the Engine tell about the job again after a case was held, and ask for a retry."""
    job_refused_at_poll(stage)
    stage.live_once()
    stage.sandbox.set_faults([])
    stage.leave_word("retry", "scan")


def job_refused_at_poll(stage: Stage) -> None:
    """Let the Engine not tell about the job."""
    stage.sandbox.set_faults([{"on": "poll", "do": {"status": 403}}])
    one_file(stage)


def cut_scan(stage: Stage) -> None:
    """Drop a volume that ends too early."""
    stage.drop("scan.nii", nifti()[:-40])


def wrong_wishes(stage: Stage) -> None:
    """Drop a volume with wishes that make no sense."""
    stage.drop("scan.nii.job.json", b"no wishes")
    stage.drop("scan.nii", nifti())


def expired(stage: Stage) -> None:
    """Let a case that is done and one that failed grow too old, and drop the next."""
    stage.drop("old.nii", nifti(seed=7))
    stage.drop("bad.nii", nifti(seed=8)[:-40])
    stage.live_once()
    stage.expire("old.nii", "bad.nii", days=40)
    one_file(stage)


def dropped_anew(stage: Stage) -> bool:
    """Drop the next export under the same name, as soon as the place is free."""
    if (stage.root / "inbox/scan.nii").exists():
        return False
    stage.drop_anew("scan.nii", nifti(seed=5))
    return True


SAMPLED = (*LOOSE_SCENARIOS, *FOLDER_SCENARIOS, *IN_PLACE_SCENARIOS)
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        *(replace(scenario, is_sampled=True) for scenario in SAMPLED),
        Scenario("file", one_file, {"scan": DONE}, SCAN, is_fine=True),
        Scenario("folder", case_folder, {"anna": DONE}, CASE),
        Scenario("bad", bad_files, {"cut": FAILED, "text": FAILED}, BAD, jobs=0),
        Scenario(
            "duplicate",
            known_scan,
            {"scan": DONE, "again": State.DUPLICATE},
            (
                *SCAN,
                "archive/again/again.nii",
                "archive/again/result.json",
                "outbox/again/result.json",
            ),
        ),
        Scenario(
            "far",
            case_folder,
            {"anna": DONE},
            CASE,
            far=("archive", "outbox"),
            is_sampled=True,
        ),
        Scenario(
            "far_bad", bad_files, {"cut": FAILED, "text": FAILED}, BAD, jobs=0, far=("failed",)
        ),
        Scenario(
            "engine_failed",
            one_file,
            {"scan": FAILED},
            ("failed/scan/error.json", "failed/scan/error.txt", "failed/scan/scan.nii"),
            options=Options(success=False),
        ),
        Scenario("retry", refused_then_retried, {"scan": DONE}, SCAN, is_sampled=True),
        Scenario(
            "far_retry",
            refused_folder_then_retried,
            {"anna": DONE},
            CASE,
            far=("failed",),
            is_sampled=True,
        ),
        Scenario(
            "partial_paid",
            partial_then_paid_again,
            {"scan": DONE},
            TWICE,
            jobs=2,
            is_sampled=True,
        ),
        Scenario(
            "partial_fetched",
            partial_then_fetched,
            {"scan": DONE},
            (*TWICE, "outbox/scan.2/maxilla.stl", "outbox/scan/mandible.stl"),
            overrides={"job": TWO_MESHES},
            is_sampled=True,
        ),
        Scenario("expired", upload_link_expired, {"scan": DONE}, SCAN, is_sampled=True),
        Scenario(
            "two",
            two_scans,
            {"one": DONE, "two": DONE},
            tuple(
                path.replace("scan", name) for name in ("one", "two") for path in SCAN
            ),
            jobs=2,
            is_sampled=True,
        ),
        Scenario(
            "held", job_refused_at_poll, {"scan": HELD}, ("failed/scan.held.txt",)
        ),
        Scenario("held_retry", held_then_retried, {"scan": DONE}, SCAN),
        Scenario("written", still_being_written, {"scan": DONE}, SCAN),
        Scenario(
            "same_name",
            cut_scan,
            {"scan": FAILED},
            NEXT,
            follow=dropped_anew,
            more_cases=(("scan", DONE),),
        ),
        Scenario(
            "same_name_far",
            wrong_wishes,
            {"scan": FAILED},
            (*NEXT, "failed/scan/scan.nii.job.json"),
            far=("failed",),
            follow=dropped_anew,
            more_cases=(("scan", DONE),),
        ),
        Scenario(
            "pruned",
            expired,
            {"old": DONE, "bad": FAILED, "scan": DONE},
            (*SCAN, "outbox/old/mandible.stl", "outbox/old/result.json"),
            jobs=2,
            overrides={"retention": {"archive_days": 30, "failed_days": 30}},
            is_sampled=True,
        ),
        Scenario(
            "deleted",
            one_file,
            {"scan": DONE},
            tuple(path for path in SCAN if path != "archive/scan/scan.nii"),
            overrides={"retention": {"on_success": "delete"}},
            is_sampled=True,
        ),
    )
}  # fmt: skip
