"""What people and the Engine tell us in JSON: merging, job.json, the submit and its answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.core.builders import an_input
from tests.core.drawn import JSON, KEYS, OBJECTS
from vpe_watcher.core import wire
from vpe_watcher.core.errors import InputFault, TransientFault
from vpe_watcher.core.model import FailureClass, Modality

LEAVES = st.integers() | st.lists(st.integers(), max_size=3)
# Objects in which a key that starts with `o` is always an object, any other never.
ALIKE = st.recursive(
    st.dictionaries(st.sampled_from("abc"), LEAVES, max_size=3),
    lambda below: st.builds(
        lambda plain, deep: {**plain, **deep},
        st.dictionaries(st.sampled_from("abc"), LEAVES, max_size=3),
        st.dictionaries(st.sampled_from(["o1", "o2"]), below, max_size=2),
    ),
    max_leaves=6,
)


# --- merging -------------------------------------------------------------------------------------


@given(body=OBJECTS)
def test_merging_nothing_changes_nothing(body: dict[str, Any]) -> None:
    """The empty object is neutral on both sides."""
    assert repr(wire.merged(body, {})) == repr(body)
    assert repr(wire.merged({}, body)) == repr(body)


@given(first=ALIKE, second=ALIKE, third=ALIKE)
def test_merging_does_not_care_about_brackets(
    first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]
) -> None:
    """Configuration under recipe under job.json: the order counts, the grouping does not."""
    left = wire.merged(wire.merged(first, second), third)
    assert left == wire.merged(first, wire.merged(second, third))


@given(base=OBJECTS, over=OBJECTS)
def test_the_upper_wins_key_by_key(base: dict[str, Any], over: dict[str, Any]) -> None:
    """Where not both are objects, the upper value stands as it is; nothing else is lost."""
    result = wire.merged(base, over)
    assert result.keys() == base.keys() | over.keys()
    for key, value in over.items():
        if not (isinstance(value, dict) and isinstance(base.get(key), dict)):
            assert result[key] is value
    for key in base.keys() - over.keys():
        assert result[key] is base[key]


def test_lists_are_replaced_and_inputs_left_alone() -> None:
    """A recipe's meshes take the place of the general ones; the configuration stays as it was."""
    base = {"outputFiles": {"meshes": [1, 2], "other": 1}, "options": {"a": {"b": 1}}}
    before = json.dumps(base)
    result = wire.merged(base, {"outputFiles": {"meshes": [3]}, "options": {"a": {"c": 2}}})
    assert result == {
        "outputFiles": {"meshes": [3], "other": 1},
        "options": {"a": {"b": 1, "c": 2}},
    }
    assert json.dumps(base) == before


@given(body=st.dictionaries(KEYS, st.integers() | st.text(max_size=5), max_size=6))
def test_canonical_json_knows_no_order(body: dict[str, Any]) -> None:
    """Equal values have equal text and digest, in whatever order they were written."""
    turned = dict(reversed(body.items()))
    assert wire.canonical(body) == wire.canonical(turned)
    assert wire.digest_of(body) == wire.digest_of(turned)
    assert json.loads(wire.canonical(body)) == body


@given(text=st.text(st.characters(), max_size=8))
@example(text="\ud800")
def test_any_text_has_a_digest(text: str) -> None:
    """Even half a surrogate pair, which JSON lets people write, has a digest of its own."""
    assert wire.digest_of([text]) != wire.digest_of([text + "x"])


# --- job.json ------------------------------------------------------------------------------------


def test_a_job_json_with_all_that_is_allowed() -> None:
    """Outputs and options always, further keys by the recipe's leave."""
    wishes = {"outputFiles": {"meshes": []}, "options": {"skull": {}}, "endUserId": "clinic"}
    text = json.dumps(wishes).encode()
    assert wire.parse_job_json(text, allowed_keys=["endUserId"]) == wishes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe\xfa", "not valid JSON"),
        (b'{"options": NaN}', "not valid JSON"),
        (b'{"options": {"decimateMaxError": 1e999}}', "not valid JSON"),
        (b'{"options": ' + b"[" * 60 + b"]" * 60 + b"}", "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b'{"endUserId": "x"}', "'endUserId'"),
        (b'{"inputFiles": {}}', "'inputFiles'"),
        (b'{"outputFiles": []}', "outputFiles that is not an object"),
        (b'{"outputFiles": null}', "outputFiles that is not an object"),
        (b'{"outputFiles": {"meshes": [{"uploadUrl": "https://x"}]}}', "uploadUrl"),
        (b'{"outputFiles": {"other": {"uploadUrl": "https://x"}}}', "uploadUrl"),
    ],
)
def test_a_bad_job_json_is_the_inputs_fault(text: bytes, words: str) -> None:
    """Whatever is wrong with it, the case fails as input, with a sentence that says what."""
    with pytest.raises(InputFault, match=words) as caught:
        wire.parse_job_json(text, allowed_keys=["inputFiles"])
    assert caught.value.problem.failure_class is FailureClass.INPUT
    assert (caught.value.code, bool(caught.value.hint)) == ("bad_job_json", True)


@given(text=st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_job_json_is_read_or_refused(text: bytes) -> None:
    """No bytes raise anything but the input's fault."""
    try:
        wishes = wire.parse_job_json(text, allowed_keys=())
    except InputFault:
        return
    assert set(wishes) <= {"outputFiles", "options"}


# --- submit --------------------------------------------------------------------------------------


def test_the_job_request() -> None:
    """The body as the Engine's documentation shows it; other keys pass through."""
    inputs = (
        an_input(Modality.CBCT, extension=".nii.gz"),
        an_input(Modality.FACIAL, extension=".ply", download_url="https://b.example/f"),
    )
    job = {"outputFiles": {"meshes": []}, "cloudPackage": "testing", "inputFiles": {"cbct": {}}}
    assert json.loads(json.dumps(wire.job_request(job, inputs))) == {
        "outputFiles": {"meshes": []},
        "cloudPackage": "testing",
        "inputFiles": {
            "cbct": {"extension": ".nii.gz"},
            "facial": {"extension": ".ply", "downloadUrl": "https://b.example/f"},
        },
    }


@pytest.mark.parametrize("upload", ["presignedUploadUrl", "uploadUrl"])
@pytest.mark.parametrize("notify", ["notifyFinishUploadUrl", "notifyUrl"])
def test_both_spellings_of_the_submit_answer(upload: str, notify: str) -> None:
    """The documentation's pages disagree on two names, so any mix is read."""
    links = {upload: "https://b.example/up", notify: "https://e.example/notify"}
    answer = {"jobId": "j1", "presignedUploadUrl": {"cbct": links, "else": 5}}
    read = wire.parse_submitted(answer, modalities=[Modality.CBCT])
    assert read.job_id == "j1"
    assert read.links == {"cbct": wire.Links("https://b.example/up", "https://e.example/notify")}


@pytest.mark.parametrize("entries", [None, {}, [], "no", 0])
def test_no_links_are_needed_where_nothing_is_uploaded(entries: Any) -> None:
    """With download URLs for all inputs the answer is a job id alone."""
    read = wire.parse_submitted({"jobId": "j1", "presignedUploadUrl": entries}, modalities=[])
    assert read == wire.Submitted("j1", {})


GOOD = {"presignedUploadUrl": "https://b.example/up", "notifyUrl": "https://e.example/n"}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"jobId": ""},
        {"jobId": 7, "presignedUploadUrl": {"cbct": GOOD}},
        {"jobId": "j"},
        {"jobId": "j", "presignedUploadUrl": [GOOD]},
        {"jobId": "j", "presignedUploadUrl": {"cbct": "https://b.example/up"}},
        {"jobId": "j", "presignedUploadUrl": {"facial": GOOD}},
        {"jobId": "j", "presignedUploadUrl": {"cbct": {**GOOD, "notifyUrl": None}}},
        {"jobId": "j", "presignedUploadUrl": {"cbct": {**GOOD, "presignedUploadUrl": "ftp://x"}}},
    ],
)
def test_a_useless_submit_answer_is_tried_again(answer: dict[str, Any]) -> None:
    """A 200 with a wrong body is transient, with no URL in its message."""
    with pytest.raises(TransientFault) as caught:
        wire.parse_submitted(answer, modalities=["cbct"])
    assert caught.value.code == "answer_incomplete"
    assert "://" not in caught.value.message


@given(answer=OBJECTS, entries=JSON, job_id=JSON)
def test_any_submit_answer_is_read_or_transient(
    answer: dict[str, Any], entries: Any, job_id: Any
) -> None:
    """Garbage in any place is a fault of ours to map, not a crash."""
    answer |= {"jobId": job_id, "presignedUploadUrl": entries}
    try:
        read = wire.parse_submitted(answer, modalities=[])
    except TransientFault:
        return
    assert read.job_id == job_id
