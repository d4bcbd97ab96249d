"""The documents say what the code says: printed parts, log events, links and commands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer

from vpe_watcher.adapters.settings.model import Document
from vpe_watcher.adapters.telemetry import level_of
from vpe_watcher.app.catalogue import commands
from vpe_watcher.app.cli import INTERRUPTED, app
from vpe_watcher.app.diagram import main
from vpe_watcher.app.manual import roff
from vpe_watcher.core.model import AT_REST
from vpe_watcher.core.wire import parse_job_json

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "vpe_watcher"
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
MANUAL = ROOT / "docs" / "reference" / "vpe-watcher.1"
WITH_PARTS = [path for path in [*DOCUMENTS, MANUAL] if "<!-- printed: " in path.read_text()]
SUBJECTS = (
    "association|breaker|candidate|case|config|daemon|instance|prune|receive|scan|state|step"
    "|thread|watch|word|notice"
)
EVENT = re.compile(rf'"((?:{SUBJECTS})\.\w+)"')
ROW = re.compile(r"^\| `([a-z]+\.[a-z]+)` \| (\w+) \|", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]*)#?([^)]*)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
BLOCK = re.compile(r"```([a-z]*)\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"vpe-watcher ([a-z]+)(?![\w-])")


def _named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_make_target_prints_every_document_with_parts() -> None:
    """No document with a printed part is forgotten by `make docs`."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    printed = re.search(r"^PRINTED := (.*)$", text, re.MULTILINE)
    assert printed
    assert {ROOT / name for name in printed[1].split()} == set(WITH_PARTS)


@pytest.mark.parametrize("document", WITH_PARTS, ids=_named)
def test_printed_parts_are_those_of_the_code(document: Path) -> None:
    """Table, configuration and commands in the documents are current (else: make docs)."""
    assert main(["--check", str(document)]) == 0


def test_an_old_part_is_found_and_printed_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check exits 1 and changes nothing; without it the part alone is written."""
    document = tmp_path / "design.md"
    old = "before\n<!-- printed: machine -->\nold\n<!-- end: machine -->\nafter\n"
    document.write_text(old)
    assert main(["--check", str(document)]) == 1
    assert "differs from the code" in capsys.readouterr().err
    assert document.read_text() == old
    assert main([str(document)]) == 0
    text = document.read_text()
    assert "claiming --> submitting: ok" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert main(["--check", str(document)]) == 0


def test_a_document_without_parts_is_a_mistake(tmp_path: Path) -> None:
    """A marker that was mistyped is not taken for a document that is current."""
    document = tmp_path / "design.md"
    document.write_text("<!-- printed: machine -->\n<!-- end: machin -->\n")
    with pytest.raises(SystemExit):
        main(["--check", str(document)])


def test_the_manual_page_tells_the_same_exit_codes() -> None:
    """Page and reference agree; the page adds what every program answers to Ctrl-C."""
    documented = (ROOT / "docs" / "reference" / "commands.md").read_text()
    table = re.findall(r"^\| (\d+) \|", documented, re.MULTILINE)
    _, _, below = MANUAL.read_text().partition(".SH EXIT STATUS\n")
    told = re.findall(r"^\.B (\d+)$", below.partition(".SH")[0], re.MULTILINE)
    assert told == [*table, str(INTERRUPTED)]


def test_every_word_of_the_commands_is_roff_that_obeys_nothing() -> None:
    """A word of an option that begins with a point, or a backslash, is shown as it is."""
    assert roff(".config \\n of 'a-b'") == r"\&.config \en of \(aqa\-b\(aq"
    page = MANUAL.read_text()
    for command in (entry for entry in commands().values() if entry.name):
        assert f".SS {command.name}\n" in page
        assert all(roff(option.names[-1]) in page for option in command.options)


def test_every_log_event_is_documented_with_its_level() -> None:
    """The reference lists the events that the daemon logs, and no others."""
    names = ("daemon", "watching", "housekeeper", "integrity", "receiving", "listening", "pulse")
    daemon = [
        PACKAGE / "app" / f"{name}.py"
        for name in (*names, "crew", "process", "pruning", "reloading", "workers")
    ]
    receiver = (PACKAGE / "adapters" / "dicom_receiver").glob("*.py")
    sources = [*(PACKAGE / "flow").glob("*.py"), *daemon, *receiver]
    logged = {name for path in sources for name in EVENT.findall(path.read_text())}
    logged |= {f"case.{state}" for state in AT_REST}
    documented = ROW.findall((ROOT / "docs" / "reference" / "log-events.md").read_text())
    assert dict(documented) == {event: level_of(event) for event in logged}


@pytest.mark.parametrize("document", DOCUMENTS, ids=_named)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """A link into the project names a file that is there, and a heading in it."""
    links = [link for link in LINK.findall(document.read_text()) if "://" not in link[0]]
    assert [link for link in links if not _is_there(document, *link)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_named)
def test_commands_in_the_documents_exist(document: Path) -> None:
    """Each `vpe-watcher X` in code is a command of this version."""
    text = document.read_text()
    code = [*(block for _, block in BLOCK.findall(text)), *re.findall(r"`([^`\n]+)`", text)]
    named = {name for part in code for name in COMMAND.findall(part)}
    assert named <= set(typer.main.get_group(app).commands)


def test_examples_of_configuration_and_job_json_are_good_ones() -> None:
    """What people copy out of the documents has known keys and values of the right kind."""
    blocks = [found for path in DOCUMENTS for found in BLOCK.findall(path.read_text())]
    tables = [tomllib.loads(text) for kind, text in blocks if kind == "toml"]
    wishes = [
        parse_job_json(text.encode(), allowed_keys=()) for kind, text in blocks if kind == "json"
    ]
    assert len(tables) > 2
    assert wishes
    for table in tables:
        Document.model_validate(table)


def test_the_guarantees_name_tests_that_exist() -> None:
    """Each promise leads to what would notice if it were broken."""
    text = (ROOT / "docs" / "guarantees.md").read_text()
    named = re.findall(r"`(tests/[\w/.]+)`", text)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


def _is_there(document: Path, name: str, anchor: str) -> bool:
    target = document.parent / name if name else document
    if not anchor or not target.is_file():
        return target.exists()
    headings = HEADING.findall(target.read_text())
    return anchor in {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}
