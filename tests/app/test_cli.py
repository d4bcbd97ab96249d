"""The command line itself: help, exit codes, colours, what goes to which stream."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.desk import Desk
from vpe_watcher import __version__
from vpe_watcher.app import cli, render
from vpe_watcher.app.result import ErrorEntry, Result
from vpe_watcher.core.errors import ConfigError, Refusal, TryAgainLater, UsageError
from vpe_watcher.core.model import FailureClass, Label, Problem

COMMANDS = (
    "init",
    "check",
    "run",
    "status",
    "cases",
    "show",
    "explain",
    "submit",
    "retry",
    "cancel",
)
HEAVY = ("pydantic", "requests", "rich", "sqlite3", "structlog", "tomlkit", "numpy", "pydicom")
VPE_WATCHER = [sys.executable, "-m", "vpe_watcher"]


def test_help_is_instant_because_it_imports_nothing_heavy() -> None:
    """What a command needs comes in when it runs."""
    code = (
        "import sys\nfrom vpe_watcher.app import cli\nassert cli.run(['--help']) == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert "Usage: vpe-watcher" in done.stdout


@pytest.mark.parametrize("command", [*COMMANDS, "demo", "sandbox"])
def test_each_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person finds out by asking."""
    assert cli.run([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"  vpe-watcher {command}" in out.split("Example:")[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_takes_a_configuration(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """--config FILE stands after the command's name."""
    cli.run([command, "--help"])
    assert "--config FILE" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is data."""
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"vpe-watcher {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["fly"], ["status", "--nope"], ["show"], ["sandbox", "--port", "many"]]
)
def test_a_wrong_command_line_is_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, said on stderr."""
    assert cli.run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Error" in shown.err


def test_a_wrong_command_line_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A program gets the errors object, also for its own mistake."""
    assert cli.run(["status", "--json", "--nope"]) == 2
    shown = capsys.readouterr()
    assert json.loads(shown.out)["errors"][0]["code"] == "usage"


def test_no_configuration_is_78(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is a configuration error."""
    assert cli.run(["status", "--json", "--config", "nowhere.toml"]) == 78
    assert json.loads(capsys.readouterr().out)["schema"] == "vpe-watcher/errors/1"


@pytest.mark.parametrize(
    ("error", "code"), [(Refusal, 1), (UsageError, 2), (TryAgainLater, 75), (ConfigError, 78)]
)
def test_an_error_becomes_its_exit_code(
    error: type[Refusal], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Message and hint for people; the errors object alone for programs."""

    def command() -> Result:
        raise error("It is so.", code="so", hint="Do this.")

    assert render.answer(command) == code
    assert capsys.readouterr() == ("", "error: It is so.\nhint: Do this.\n")
    assert render.answer(command, as_json=True) == code
    shown = capsys.readouterr()
    assert shown.err == ""
    assert json.loads(shown.out) == {
        "schema": "vpe-watcher/errors/1",
        "errors": [{"code": "so", "message": "It is so.", "hint": "Do this."}],
    }


def test_data_goes_to_stdout_and_the_rest_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """What is piped on is the data."""
    result = Result(
        data={"a": 1}, lines=("data",), messages=("by the way",), errors=(ErrorEntry("x", "no"),)
    )
    render.show(result)
    assert capsys.readouterr() == ("data\n", "by the way\nerror: no\n")


WICKED = "a\x1b]0;title\x07b\nerror: forged\r\u202e\u2066\u2028\u200f\x9b\x7f\udcff é"
SHOWN = r"a\x1b]0;title\x07b\nerror: forged\r\u202e\u2066\u2028\u200f\x9b\x7f\udcff é"


def test_a_file_name_cannot_command_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters are shown, not obeyed, in every text for people; JSON has its own way."""
    entry = ErrorEntry("x", WICKED, WICKED)
    result = Result(data={"name": WICKED}, lines=(WICKED,), messages=(WICKED,), errors=(entry,))
    render.show(result)
    assert capsys.readouterr() == (
        f"{SHOWN}\n",
        f"{SHOWN}\nerror: {SHOWN}\nhint: {SHOWN}\n",
    )
    render.show(Result(data={"name": WICKED}), as_json=True)
    assert json.loads(capsys.readouterr().out) == {"name": WICKED}


@pytest.mark.parametrize("command", [("status",), ("explain",)])
def test_a_forged_line_in_a_file_name_is_no_line(desk: Desk, command: tuple[str, ...]) -> None:
    """Whoever can drop a file cannot put words into the mouth of a command."""
    path = desk.settings.inbox / "x\nerror: forged\x1b[2J.dcm"
    path.write_bytes(b"")
    row = {"path": str(path), "recipe": "default", "state": "blocked", "reason": path.name}
    desk.store.put_snapshot({"candidates": [{**row, "age_s": 2}]})
    desk.lock.acquire()
    ran = desk.run(*command, *([str(path)] if command == ("explain",) else []))
    assert ran.code == 0
    assert r"x\nerror: forged\x1b[2J.dcm" in ran.out
    assert "\x1b" not in ran.out
    assert not [line for line in ran.out.splitlines() if line.startswith("error")]


def test_what_is_wrong_with_a_command_line_is_shown(desk: Desk) -> None:
    """A shell may have put a file's name there."""
    ran = desk.run("status", "\x1b]0;title\x07")
    assert ran.code == 2
    assert r"\x1b]0;title\x07" in ran.err
    assert "\x07" not in ran.err


@pytest.mark.parametrize(
    ("variables", "is_coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)],
)
def test_colour_is_for_terminals_that_want_it(
    desk: Desk, variables: dict[str, str], *, is_coloured: bool
) -> None:
    """NO_COLOR and a dumb terminal get plain text; the words are the same."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", **variables}
    command = [*VPE_WATCHER, "show", "nobody", "--config", str(desk.config)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=theirs, env=environment, check=False
    )
    os.close(theirs)
    shown = os.read(ours, 10000)
    os.close(ours)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"There is no case" in shown
    assert (b"\x1b[" in shown) is is_coloured


def test_long_lines_fit_a_terminal_and_stay_whole_in_a_pipe(desk: Desk) -> None:
    """They are broken between words, below where they began."""
    why = Problem(FailureClass.INPUT, "odd", f"It is {'very ' * 30}odd.", "Look.")
    case_id = desk.end(desk.add(), Label.INPUT, why)
    command = [*VPE_WATCHER, "show", case_id, "--config", str(desk.config)]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    assert subprocess.run(command, stdout=theirs, env=environment, check=False).returncode == 0
    os.close(theirs)
    lines = os.read(ours, 10000).decode().splitlines()
    os.close(ours)
    assert max(map(len, lines)) <= 80
    start = next(number for number, line in enumerate(lines) if line.startswith("error:"))
    assert lines[start + 1].startswith(" " * lines[start].index("It is") + "very ")
    assert why.message in desk.run("show", case_id).out


def test_a_pipe_never_gets_colour(desk: Desk) -> None:
    """What is read by a program is plain."""
    ran = desk.run("show", "nobody")
    assert "\x1b" not in ran.out + ran.err


def test_the_configuration_is_found_where_the_contract_says(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By variable, and in the working directory."""
    monkeypatch.setenv("VPE_WATCHER_CONFIG", str(desk.config))
    assert cli.run(["status", "--json"]) == 0
    monkeypatch.delenv("VPE_WATCHER_CONFIG")
    monkeypatch.chdir(desk.home)
    assert cli.run(["cases", "--json"]) == 0
    assert "errors" not in capsys.readouterr().out


def test_a_name_that_is_no_text_is_refused(desk: Desk, tmp_path: Path) -> None:
    """Bytes that are no UTF-8 get an answer in words."""
    scan = tmp_path / os.fsdecode(b"b\xfcrger.dcm")
    scan.write_bytes(b"\0" * 128 + b"DICM")
    done = subprocess.run(
        [*VPE_WATCHER, "submit", scan, "--config", desk.config], capture_output=True, check=False
    )
    assert done.returncode == 1
    assert rb"b\udcfcrger.dcm is no valid text" in done.stderr


def test_help_reads_well_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is cut off or runs over, no path is broken, no Python type is shown."""
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.run(["--help"]) == 0
    listed = capsys.readouterr().out
    assert "..." not in listed.partition("Commands:")[2]
    names = re.findall(r"^  ([a-z-]+)  ", listed, re.MULTILINE)
    assert set(COMMANDS) <= set(names)
    for name in names:
        cli.run([name, "--help"])
        text = capsys.readouterr().out
        assert not re.search(r"[{}]|\[\[|<\w+[>\[]|\w-\n", text), text
        assert all(len(line) < 80 for line in text.splitlines()), text
