"""The log: what it lets pass, and what never leaves the house."""

from __future__ import annotations

import io
import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.flow.house import House, nifti
from vpe_watcher.adapters.telemetry import FIELDS, NAMES, cleaned, configure, described, level_of

DATAGRAM = (socket.AF_UNIX, socket.SOCK_DGRAM)
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjbGluaWMifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
SIGNED = (
    "https://bucket.s3.eu-central-1.amazonaws.com/uploads/4711/cbct.dcm"
    "?X-Amz-Credential=AKIAEXAMPLE%2F20261122&X-Amz-Signature=0123456789abcdef0123456789abcdef"
)


def _logged(
    event: str = "step.retry", *, names: bool = False, level: str = "debug", **fields: Any
) -> dict[str, Any]:
    """Log one event and return its line as an object; {} when nothing was written."""
    stream = io.StringIO()
    configure(form="json", level=level, names=names, stream=stream)(event, **fields)
    lines = stream.getvalue().splitlines()
    assert len(lines) <= 1
    return dict(json.loads(lines[0])) if lines else {}


def test_a_line_is_one_object_with_event_time_and_level() -> None:
    """The three fields that every event has; the time in UTC."""
    line = _logged("case.claimed", case_id="c1", recipe="default", duration_s=0.5, bytes=7)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "case.claimed",
        "level": "info",
        "case_id": "c1",
        "recipe": "default",
        "duration_s": 0.5,
        "bytes": 7,
    }


def _fields(datagram: bytes) -> dict[str, str]:
    """Read what the journal was handed: name, length, content."""
    found = {}
    while datagram:
        name, _, datagram = datagram.partition(b"\n")
        size = int.from_bytes(datagram[:8], "little")
        found[name.decode()] = datagram[8 : 8 + size].decode()
        datagram = datagram[9 + size :]
    return found


@pytest.mark.parametrize("is_there", [True, False])
def test_the_journal_gets_fields_of_their_own(tmp_path: Path, *, is_there: bool) -> None:
    """The message is the line that other logs have, and where it takes none that is written."""
    with (tmp_path / "log").open("w+") as stream, socket.socket(*DATAGRAM) as ear:
        if is_there:
            ear.bind(str(tmp_path / "journal"))
        log = configure(
            form="auto",
            level="info",
            names=False,
            stream=stream,
            journal_stream=f"{os.fstat(stream.fileno()).st_dev}:{os.fstat(stream.fileno()).st_ino}",
            journal=str(tmp_path / "journal"),
        )
        log("case.failed", case_id="c1", reason="two\nlines", count=2, name="Eva Muster")
        if not is_there:
            assert json.loads((tmp_path / "log").read_text())["case_id"] == "c1"
            return
        assert (tmp_path / "log").read_text() == ""
        fields = _fields(ear.recv(65536))
    assert json.loads(fields.pop("MESSAGE"))["reason"] == "two\nlines"
    assert fields.pop("VPE_TIMESTAMP").endswith("Z")
    assert fields == {
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "vpe-watcher",
        "VPE_EVENT": "case.failed",
        "VPE_LEVEL": "warning",
        "VPE_CASE_ID": "c1",
        "VPE_REASON": "two\nlines",
        "VPE_COUNT": "2",
    }


@pytest.mark.parametrize(("form", "stream_id"), [("json", None), ("auto", "1:1"), ("auto", "")])
def test_a_stream_that_is_no_journal_gets_the_line(
    tmp_path: Path, form: str, stream_id: str | None
) -> None:
    """One that was led elsewhere, and one whose owner asked for JSON."""
    with (tmp_path / "log").open("w+") as stream, socket.socket(*DATAGRAM) as ear:
        ear.bind(str(tmp_path / "journal"))
        status = os.fstat(stream.fileno())
        own = f"{status.st_dev}:{status.st_ino}"
        log = configure(
            form=form,
            level="info",
            names=False,
            stream=stream,
            journal_stream=own if stream_id is None else stream_id,
            journal=str(tmp_path / "journal"),
        )
        log("case.claimed", case_id="c1")
    assert json.loads((tmp_path / "log").read_text())["event"] == "case.claimed"


def test_a_file_name_commands_no_terminal() -> None:
    """With names in a log for people, what would be obeyed is shown."""
    stream = io.StringIO()
    log = configure(form="console", level="debug", names=True, stream=stream)
    log("case.claimed", name="a\x1b]0;t\x07\nforged\u202e", reason="b\x9b", count=1)
    shown = stream.getvalue()
    assert r"a\x1b]0;t\x07\nforged\u202e" in shown
    assert r"b\x9b" in shown
    assert shown.count("\n") == 1
    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(shown)


def test_the_contracts_fields_pass() -> None:
    """Each with its value; what does not apply is left out."""
    values: dict[str, Any] = {
        "case_id": "c1",
        "recipe": "teeth",
        "job_id": "j1",
        "step": "uploading",
        "attempt": 2,
        "outcome": "transient",
        "duration_s": 1.5,
        "bytes": 10,
        "reason": "The connection was reset.",
    }
    line = _logged(**values)
    assert {key: line[key] for key in values} == values
    assert "job_id" not in _logged(job_id=None)


@pytest.mark.parametrize("field", [*sorted(NAMES), "case_name", "file", "url", "token", "patient"])
def test_what_is_not_on_the_list_does_not_pass(field: str) -> None:
    """A new call with a new field leaks nothing by accident."""
    assert field not in FIELDS
    fields: dict[str, Any] = {field: "Müller^Anna"}
    assert "Müller" not in json.dumps(_logged(**fields), ensure_ascii=False)


def test_names_pass_only_when_the_configuration_says_so() -> None:
    """`log.names = true` lets case names and paths through, and nothing else of a person."""
    line = _logged(names=True, name="Müller", path="/inbox/Müller.dcm", patient_id="4711")
    assert (line["name"], line["path"]) == ("Müller", "/inbox/Müller.dcm")
    assert "patient_id" not in line


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"PUT {SIGNED} failed", "X-Amz"),
        (f"PUT {SIGNED} failed", "cbct.dcm"),
        (f"'{SIGNED}'", "0123456789abcdef"),
        ("HTTPS://STORE.EXAMPLE/A?SIG=ABCDEF", "SIG"),
        ("https://user:hunter2@store.example/x", "hunter2"),
        ("https://store.example?sig=abcdef", "sig="),
        ("Max retries exceeded with url: /uploads/1?X-Amz-Signature=abcdef", "abcdef"),
        (f"Authorization: Bearer {JWT}", "eyJ"),
        (f"got {JWT} here", "eyJ"),
        ("bearer abcdefghijklmnop1234", "abcdefghijklmnop1234"),
        ("access_token=abcdefghijklmnop1234", "abcdefghijklmnop1234"),
        ('{"access_token": "abcdefghijklmnop1234"}', "abcdefghijklmnop1234"),
        ("client_secret: abcdefghijklmnop1234", "abcdefghijklmnop1234"),
        ('"client_secret":"abcdefghijklmnop1234"', "abcdefghijklmnop1234"),
    ],
)
def test_secrets_are_cut_out_of_texts(text: str, secret: str) -> None:
    """Tokens, secrets and all of a URL behind its host go, wherever a text carries them."""
    assert secret not in cleaned(text)
    assert secret not in json.dumps(_logged(reason=text, hint=text, code=text))


@pytest.mark.parametrize(
    "text",
    [
        "The Engine answered with status 500.",
        "Give the service's user read permission on it (EACCES).",
        "What token? The secret is in client_secret_file.",
        "a token is asked for again: as often as it takes",
    ],
)
def test_harmless_texts_stay_as_they_are(text: str) -> None:
    """A reason that nobody can read is no reason."""
    assert cleaned(text) == text


def test_the_host_of_a_url_stays() -> None:
    """It says where the trouble is, and nothing about whom."""
    assert cleaned(f"PUT {SIGNED} failed").startswith(
        "PUT https://bucket.s3.eu-central-1.amazonaws"
    )


def test_what_lies_within_a_value_is_cleaned_too() -> None:
    """Lists and tables are walked."""
    line = _logged(reason=[f"see {SIGNED}", {"deep": f"Bearer {JWT}"}])
    assert "X-Amz" not in json.dumps(line)
    assert "eyJ" not in json.dumps(line)


def test_an_exception_passes_as_types_and_places() -> None:
    """Its text may hold a path: the log gets type and line, of its causes too."""

    def fail() -> None:
        try:
            Path("/nowhere/Müller.dcm").read_bytes()
        except OSError as error:
            raise ValueError(f"bad {SIGNED}") from error

    with pytest.raises(ValueError, match="bad") as caught:
        fail()
    lines = described(caught.value)
    assert lines[0] == "ValueError"
    assert "FileNotFoundError" in lines
    assert any("test_telemetry.py" in line and "fail" in line for line in lines)
    text = json.dumps(_logged("step.defect", error=caught.value), ensure_ascii=False)
    assert "Müller" not in text
    assert "X-Amz" not in text
    assert "ValueError" in text


@pytest.mark.parametrize(
    ("event", "level"),
    [
        ("case.delivered", "info"),
        ("case.held", "warning"),
        ("breaker.opened", "warning"),
        ("step.defect", "error"),
    ],
)
def test_events_have_levels(event: str, level: str) -> None:
    """By their name, so that no caller has to choose."""
    assert level_of(event) == level
    assert _logged(event)["level"] == level


def test_the_level_of_the_configuration_holds() -> None:
    """Below it nothing is written."""
    assert _logged("case.delivered", level="warning") == {}
    assert _logged("case.held", level="warning") != {}


def test_a_console_gets_the_same_words_without_secrets() -> None:
    """The readable form is cut by the same list."""
    stream = io.StringIO()
    log = configure(form="console", level="info", names=False, stream=stream)
    log("case.held", case_id="c1", reason=f"see {SIGNED}", name="Müller")
    assert "case.held" in stream.getvalue()
    assert "c1" in stream.getvalue()
    assert "X-Amz" not in stream.getvalue()
    assert "Müller" not in stream.getvalue()


def test_auto_is_json_where_nobody_looks() -> None:
    """A pipe gets JSON."""
    stream = io.StringIO()
    configure(form="auto", level="info", names=False, stream=stream)("daemon.started", pid=1)
    assert json.loads(stream.getvalue())["pid"] == 1


def test_a_log_on_a_full_disk_stops_nobody_and_is_written_later(tmp_path: Path) -> None:
    """The lines come whole, once and in order, when there is room again."""
    path = tmp_path / "log"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with path.open("w") as stream:
        log = configure(form="json", level="info", names=False, stream=stream)
        log("daemon.started", pid=1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
        try:
            log("breaker.opened", breaker="disk")
            log("breaker.closed", breaker="disk")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_text().count("\n") == 1
        log("daemon.stopped", pid=1)
    events = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert events == ["daemon.started", "breaker.opened", "breaker.closed", "daemon.stopped"]


def test_a_whole_life_leaks_nothing(tmp_path: Path) -> None:
    """Scans that succeed, fail, are held and are no scans: no line holds a name or a secret."""
    house = House(tmp_path)
    try:
        _live_through_trouble(house)
    finally:
        house.close()
    stream = io.StringIO()
    log = configure(form="json", level="debug", names=False, stream=stream)
    for event, fields in house.events:
        log(event, **fields)
    text = stream.getvalue()
    secret = json.loads((tmp_path / "state" / "token.json").read_text())["access_token"]
    links = [seen.path for seen in house.sandbox.ledger.requests if seen.kind == "upload"]
    assert links
    for word in ("Müller", "M\\u00fcller", "Anna", "^1970", secret, "eyJ", "?", *links):
        assert word not in text, word
    events = {json.loads(line)["event"] for line in text.splitlines()}
    assert events >= {"case.claimed", "case.delivered", "case.failed", "case.held"}
    assert events >= {"candidate.waiting", "step.retry", "breaker.opened"}


def _live_through_trouble(house: House) -> None:
    name = "Müller^Anna^1970"
    house.sandbox.set_faults(
        [
            {"on": "upload", "nth": 1, "do": {"status": 403}},
            {"on": "download", "nth": 1, "do": {"reset": True}},
            {"on": "notify", "nth": 1, "do": {"status": 503}},
        ]
    )
    house.drop(f"{name}.nii")
    house.drop(f"{name} half.nii", nifti()[:-3])
    house.drop(f"{name} jaw.stl", b"solid Anna\n")
    house.drop(f"{name}.nrrd", b"%PDF-1.7 " + name.encode() * 100)
    (house.root / "inbox" / f"{name} empty").mkdir()
    house.live(200)
    message = f'{{"message": "no scan of {house.settings.engine.url}/x?sig=1"}}'
    house.sandbox.set_faults([{"on": "submit", "do": {"status": 422, "body": message}}])
    house.drop(f"{name} refused.nii", nifti(seed=1))
    house.live(30)
    house.sandbox.set_faults([{"on": "poll", "do": {"status": 403}}])
    house.drop(f"{name} held.nii", nifti(seed=2))
    house.live(60)


def test_a_warning_and_a_dying_thread_are_json_lines_without_their_text() -> None:
    """Their texts may hold the path of a patient's folder."""
    program = (
        "import threading, warnings\n"
        "from vpe_watcher.adapters.telemetry import configure, foreign_words_taken_over\n"
        "def die():\n"
        "    raise OSError(5, 'bad disk', '/inbox/Zwetschge Egon')\n"
        "with foreign_words_taken_over(configure(form='json', level='info', names=False)):\n"
        "    warnings.warn('/inbox/Zwetschge Egon', RuntimeWarning)\n"
        "    thread = threading.Thread(target=die)\n"
        "    thread.start()\n"
        "    thread.join()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert events == ["library.warning", "thread.defect"]
    assert "Zwetschge" not in done.stderr
