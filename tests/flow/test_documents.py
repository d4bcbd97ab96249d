"""`result.json` and `error.json` hold what the contract lists, key by key, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

from tests.flow.house import House, nifti
from tests.flow.test_wishes import dicom
from vpe_watcher.core.model import State

Build = Callable[..., House]
RESULT = {
    *("schema", "case_id", "case_name", "recipe", "status", "notice", "engine", "inputs"),
    *("outputs", "times", "skipped", "attempts", "software", "engine_result"),
}
ERROR = {
    *("schema", "case_id", "case_name", "class", "code", "message", "hint"),
    *("job_id", "attempts", "when"),
}
BELOW = {
    "engine": {"url", "version", "job_id"},
    "times": {"detected", "claimed", "submitted", "uploaded", "finished", "delivered"},
}
EACH = {
    "inputs": {"modality", "name", "extension", "size", "sha256"},
    "outputs": {"kind", "structures", "extension", "status", "file", "size", "sha256"},
}
DICOM = {
    *("patient_id", "patient_name", "birth_date", "study_uid", "series_uid"),
    *("accession_number", "study_date", "series_description"),
}


def test_the_result_of_a_volume(house: House) -> None:
    """No DICOM, so there are no identifiers; the archive's is byte for byte the same."""
    house.drop("scan.nii")
    house.live_until_rest()
    result = house.result("scan")
    assert result.keys() == RESULT
    assert {key: result[key].keys() for key in BELOW} == BELOW
    assert {key: result[key][0].keys() for key in EACH} == EACH
    paths = [house.root / root / "scan" / "result.json" for root in ("outbox", "archive")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_result_of_a_dicom_file(build: Build) -> None:
    """It says whose jaw it is, unless that is not wanted."""
    named, unnamed = build(), build(delivery={"identifiers": False})
    for house in (named, unnamed):
        house.drop("scan.dcm", dicom())
        house.live_until_rest()
    assert named.result("scan").keys() == RESULT | {"dicom"}
    assert named.result("scan")["dicom"].keys() == DICOM
    assert unnamed.result("scan").keys() == RESULT


def test_the_result_of_a_duplicate(house: House) -> None:
    """It names the case that holds the outputs."""
    for name in ("scan", "again"):
        house.drop(f"{name}.nii")
        house.live(20)
    assert house.result("again").keys() == RESULT | {"duplicate_of"}


def test_the_error_of_a_case_that_failed_or_was_cancelled(house: House) -> None:
    """The keys are the same, with a job and without one."""
    house.sandbox.set_faults([{"on": "submit", "times": 1, "do": {"status": 400}}])
    house.drop("refused.nii")
    house.live_until_rest()
    house.sandbox.set_options(processing_s=600)
    house.drop("unwanted.nii", nifti(seed=1))
    house.say("cancel", house.live_until("unwanted", State.WAITING))
    house.live_until("unwanted", State.CANCELLED)
    for name in ("refused", "unwanted"):
        assert house.error(name).keys() == ERROR
    assert house.error("refused")["job_id"] is None
    assert house.error("unwanted")["job_id"] == house.case("unwanted").job_id
