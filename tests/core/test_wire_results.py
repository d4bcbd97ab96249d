"""The Engine's results and our manifests, written once more by hand or drawn at random."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.builders import a_case, a_problem, an_input, an_output
from tests.core.drawn import JSON, KEYS, OBJECTS, SCALARS, URLS
from vpe_watcher.core import wire
from vpe_watcher.core.errors import TransientFault
from vpe_watcher.core.model import FailureClass, State


def test_the_documented_result() -> None:
    """The documentation's example, with all three kinds of status and both spellings of the URL."""
    items = [
        {
            "status": "Available",
            "size": 12345,
            "extension": ".stl",
            "structures": ["mandible"],
            "url": "https://b.example/m",
        },
        {
            "status": "Available",
            "extension": ".stl",
            "structures": "skull",
            "downloadUrl": "https://b.example/s",
        },
        {"status": "Missing", "extension": ".stl", "structures": ["tooth18"]},
        {"status": "Failed", "extension": ".stl", "structures": ["airway"], "reason": "crash"},
    ]
    body = {"success": True, "outputFiles": {"meshes": items}, "engineBuild": "x"}
    read = wire.parse_result(body)
    assert read.success is True
    assert [(o.position, o.kind, o.structures, o.status, o.url) for o in read.outputs] == [
        (0, "meshes", ("mandible",), "Available", "https://b.example/m"),
        (1, "meshes", ("skull",), "Available", "https://b.example/s"),
        (2, "meshes", ("tooth18",), "Missing", None),
        (3, "meshes", ("airway",), "Failed", None),
    ]
    assert [o.announced_size for o in read.outputs] == [12345, None, None, None]
    kept = read.body["outputFiles"]["meshes"]
    assert read.body["engineBuild"] == "x"
    assert kept[3] == items[3]
    assert "url" not in kept[0]
    assert "downloadUrl" not in kept[1]


def test_every_object_with_a_status_is_an_output() -> None:
    """A single item, a list, and items below further names are all found, in order."""
    body = {
        "success": True,
        "outputFiles": {
            "panorama": {"status": "Available", "extension": ".png"},
            "groups": {
                "upper": [{"status": "Missing", "structures": ["tooth11"]}],
                "lower": {"jaw": {"status": "Failed", "structures": ["tooth41"]}},
            },
            "empty": [],
            "odd": [None, 5, "status", {"state": "Available"}, {"status": 5}],
        },
    }
    read = wire.parse_result(body)
    assert [(o.position, o.kind, o.structures) for o in read.outputs] == [
        (0, "panorama", ()),
        (1, "groups", ("tooth11",)),
        (2, "groups", ("tooth41",)),
    ]


@pytest.mark.parametrize("size", [True, -1, 1.5, "12", None, 2**63, [1]])
def test_a_size_that_is_none_is_not_believed(size: Any) -> None:
    """Only a whole number that a file can have is an announced size."""
    body = {"success": True, "outputFiles": {"m": {"status": "Available", "size": size}}}
    assert wire.parse_result(body).outputs[0].announced_size is None


@pytest.mark.parametrize("success", [None, "true", 1])
def test_outputs_without_success_are_a_result(success: Any) -> None:
    """Where `success` is no boolean, outputs speak for themselves."""
    body = {"success": success, "outputFiles": {"m": {"status": "Missing"}}}
    assert wire.parse_result(body).success is True


def test_a_failed_job_may_have_no_outputs() -> None:
    """`success: false` alone is a result."""
    assert wire.parse_result({"success": False}) == wire.Result(
        success=False, outputs=(), body={"success": False}
    )


@pytest.mark.parametrize("body", [{}, {"outputFiles": {}}, {"success": "yes"}, {"error": "x"}])
def test_neither_success_nor_outputs_is_no_result(body: dict[str, Any]) -> None:
    """Such a 200 is asked for again."""
    with pytest.raises(TransientFault):
        wire.parse_result(body)


ODD_FILES = st.recursive(
    SCALARS | URLS,
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(
            st.sampled_from(["status", "structures", "url", "downloadUrl", "size", "extension"])
            | KEYS,
            below,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(success=JSON, files=ODD_FILES, rest=OBJECTS)
def test_any_result_is_read_or_transient(success: Any, files: Any, rest: dict[str, Any]) -> None:
    """Odd types anywhere never raise anything else, and what is read has honest types."""
    try:
        read = wire.parse_result({**rest, "success": success, "outputFiles": files})
    except TransientFault:
        return
    assert isinstance(read.success, bool)
    for position, output in enumerate(read.outputs):
        assert output.position == position
        assert all(isinstance(name, str) for name in output.structures)
        assert output.announced_size is None or 0 <= output.announced_size < 2**63
        assert isinstance(output.extension, str)


@given(value=ODD_FILES)
def test_no_url_is_left_anywhere(value: Any) -> None:
    """Pre-signed URLs are secrets, in whatever place or words they stand."""
    cleaned = wire.without_urls({"a": value, "https://key.example/?sig": 1})
    assert "http://" not in repr(cleaned).lower()
    assert "https://" not in repr(cleaned).lower()


def test_only_urls_are_left_out() -> None:
    """All else is as received; within words the URL alone goes."""
    body = {
        "url": "https://b.example/x",
        "list": [1, "https://b.example/x", {"downloadUrl": "http://b.example/", "n": None}],
        "message": "GET https://b.example/x?sig=1 failed",
        "http": "httpd",
    }
    assert wire.without_urls(body) == {
        "list": [1, {"n": None}],
        "message": "GET (URL removed) failed",
        "http": "httpd",
    }


# --- asked and answered --------------------------------------------------------------------------


def job(*items: Any, kind: str = "meshes") -> dict[str, Any]:
    """Return a job body that asks for some outputs."""
    return {"outputFiles": {kind: list(items)}}


MANDIBLE = {"extension": ".stl", "structures": ["mandible"]}


@pytest.mark.parametrize(
    ("asked", "answered", "missing"),
    [
        (job(MANDIBLE), [an_output()], []),
        (job(MANDIBLE), [an_output(status="Missing")], []),
        (job(MANDIBLE), [], ["meshes: mandible"]),
        (job(MANDIBLE), [an_output(extension=".ply")], ["meshes: mandible"]),
        (job(MANDIBLE), [an_output(extension="")], []),
        (job(MANDIBLE), [an_output(kind="other")], ["meshes: mandible"]),
        (job({"structures": "mandible"}), [an_output()], []),
        (
            job({"structures": ["left_nerve", "right_nerve"]}),
            [an_output(structures=("right_nerve", "left_nerve"))],
            [],
        ),
        (
            job({"structures": ["left_nerve", "right_nerve"]}),
            [an_output(structures=("left_nerve",))],
            ["meshes: left_nerve+right_nerve"],
        ),
        (job({"structures": ["all_teeth"]}), [an_output(structures=("tooth11",))], []),
        (job({"structures": ["all_teeth"]}), [], ["meshes: all_teeth"]),
        ({"outputFiles": {"report": {"extension": ".pdf"}}}, [], ["report: .pdf"]),
        (
            {"outputFiles": {"report": {"extension": ".pdf"}}},
            [an_output(kind="report", extension=".pdf", structures=("mandible",))],
            [],
        ),
        (job({}), [], ["meshes: ?"]),
        ({}, [], []),
        ({"outputFiles": None}, [], []),
        ({"outputFiles": {"meshes": "mandible"}}, [], []),
        (job({"extension": ".stl", "structures": 5}), [], ["meshes: .stl"]),
        (job({"structures": [{"name": "x"}]}), [], ["meshes: {'name': 'x'}"]),
    ],
)
def test_what_was_asked_and_not_answered(
    asked: dict[str, Any], answered: list[Any], missing: list[str]
) -> None:
    """An answer fits by kind, extension and structures; a shorthand by its kind."""
    assert wire.unanswered(asked, answered) == missing


URL = "https://b.example/put"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (job({**MANDIBLE, "uploadUrl": URL}), True),
        (job({"structures": "mandible", "uploadUrl": URL}), True),
        ({"outputFiles": {"meshes": {**MANDIBLE, "uploadUrl": URL}}}, True),
        (job({"structures": ["skull"], "uploadUrl": URL}, MANDIBLE), False),
        (job({**MANDIBLE, "uploadUrl": None}), False),
        (job({**MANDIBLE, "uploadUrl": URL}, kind="other"), False),
        (job(MANDIBLE), False),
        ({}, False),
    ],
)
def test_what_the_engine_puts_somewhere_else(asked: dict[str, Any], *, expected: bool) -> None:
    """An output with an uploadUrl of its own is not ours to fetch."""
    assert wire.asked_upload_url(asked, an_output()) is expected


@given(files=ODD_FILES)
def test_odd_job_bodies_raise_nothing(files: Any) -> None:
    """A job body is the user's and the Engine's matter: whatever it holds is walked quietly."""
    asked = {"outputFiles": files}
    assert isinstance(wire.unanswered(asked, [an_output()]), list)
    assert wire.asked_upload_url(asked, an_output(kind="status")) in {True, False}


# --- what we write -------------------------------------------------------------------------------

# The contract's example, with an ellipsis for each value that is not a matter of form.
EXAMPLE = """
{"schema": "vpe-watcher/result/1", "case_id": "…", "case_name": "…", "recipe": "default",
 "status": "complete",
 "notice": "Outputs are proposals and must be checked by a qualified person.",
 "engine": {"url": "…", "version": "24.06", "job_id": "…"},
 "inputs": [{"modality": "cbct", "name": "scan.dcm", "extension": ".dcm", "size": 1,
  "sha256": "…"}],
 "outputs": [{"kind": "meshes", "structures": ["mandible"], "extension": ".stl",
  "status": "Available", "file": "mandible.stl", "size": 1, "sha256": "…"}],
 "dicom": {"patient_id": "…"},
 "times": {"detected": "…Z", "claimed": "…Z", "submitted": "…Z", "uploaded": "…Z",
  "finished": "…Z", "delivered": "…Z"},
 "skipped": [{"name": "report.pdf", "reason": "not a scan"}], "attempts": 1,
 "software": "vpe-watcher 1.0.0", "engine_result": {}}
"""


def shape(value: Any) -> Any:
    """Return JSON with its keys and types alone."""
    if isinstance(value, dict):
        return {key: shape(below) for key, below in value.items()}
    if isinstance(value, list):
        return [shape(below) for below in value]
    return type(value).__name__


def a_finished_case() -> Any:
    """Return a case with something in every field of its manifest."""
    names = ("detected", "claimed", "submitted", "uploaded", "finished", "delivered")
    return a_case(
        State.DELIVERING,
        job_id="j1",
        paid=True,
        retries=2,
        inputs=(an_input(sha256="ab"),),
        outputs=(an_output(file="mandible.stl", size=1, announced_size=1, sha256="cd"),),
        skipped=({"name": "report.pdf", "reason": "not a scan"},),
        times=dict.fromkeys(names, "2026-01-01T00:00:00.000Z"),
        engine_result={},
    )


def test_the_manifest_is_the_contracts() -> None:
    """Exactly the contract's keys and types, in the contract's words."""
    document = wire.manifest(
        a_finished_case(),
        engine_url="https://e.example",
        dicom={"patient_id": "7"},
        software="vpe-watcher 1.0.0",
    )
    example = json.loads(EXAMPLE)
    document = json.loads(json.dumps(document))
    assert shape(document) == shape(example)
    fixed = ("schema", "recipe", "status", "notice", "skipped", "software")
    assert {key: document[key] for key in fixed} == {key: example[key] for key in fixed}
    assert document["attempts"] == 3


def test_a_manifest_without_identifiers() -> None:
    """No `dicom` where it does not apply or is not wanted."""
    document = wire.manifest(a_finished_case(), engine_url="", dicom=None, software="")
    assert "dicom" not in document
    assert "duplicate_of" not in document


def test_the_manifest_of_a_duplicate() -> None:
    """It names the case that holds the result."""
    case = a_case(State.DELIVERING, result_status="duplicate", duplicate_of="c0")
    document = wire.manifest(case, engine_url="", dicom=None, software="")
    assert (document["status"], document["duplicate_of"]) == ("duplicate", "c0")
    assert document["outputs"] == []


def test_an_output_that_was_not_fetched() -> None:
    """Its file is null and its size what the Engine announced."""
    case = a_case(outputs=(an_output(announced_size=9),))
    row = wire.manifest(case, engine_url="", dicom=None, software="")["outputs"][0]
    assert (row["file"], row["size"], row["sha256"]) == (None, 9, None)


def test_the_error_document_is_the_contracts() -> None:
    """Exactly the contract's keys."""
    case = a_case(State.FAILED, job_id="j1", retries=1)
    problem = a_problem("bad_scan", FailureClass.INPUT)
    assert wire.error_document(case, problem, when="2026-01-01T00:00:00.000Z") == {
        "schema": "vpe-watcher/error/1",
        "case_id": "c1",
        "case_name": "scan",
        "class": "input",
        "code": "bad_scan",
        "message": "Something happened.",
        "hint": "Do something.",
        "job_id": "j1",
        "attempts": 2,
        "when": "2026-01-01T00:00:00.000Z",
    }


@pytest.mark.parametrize("may_be_paid", [False, True])
def test_the_evidence_beside_claimed_files(*, may_be_paid: bool) -> None:
    """Four keys, no patient's name."""
    evidence = wire.case_evidence(a_case(job_id="j1"), may_be_paid=may_be_paid)
    assert evidence == {
        "case_id": "c1",
        "recipe": "default",
        "job_id": "j1",
        "may_be_paid": may_be_paid,
    }
