"""Completion in real shells, and the manual page as the programs read it that show it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.desk import Desk, open_desk, problem
from tests.typist import Typist, typist
from vpe_watcher.core.model import FailureClass, Label, State

pytestmark = pytest.mark.real

MANUAL = Path(__file__).parents[2] / "docs" / "reference" / "vpe-watcher.1"
NASTY = "f$(touch pwned)`x`;&'\"q"
NAMES = ("Meyer, Anna", "a:b=c", "Größe*", NASTY)
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(vpe-watcher completion bash)"'),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload -U compinit; compinit -u -D; eval "$(vpe-watcher completion zsh)"',
    ),
    # fish loads the file by itself when the command is typed
    "fish": (
        ["fish", "-i"],
        (
            "mkdir -p .config/fish/completions; vpe-watcher completion fish "
            "> .config/fish/completions/vpe-watcher.fish"
        ),
    ),
}
TYPED = (
    ("sho\tMey\t", ["show", "Meyer, Anna"]),
    ("show Meyer,\\ A\t", ["show", "Meyer, Anna"]),
    ("show 'Mey\t", ["show", "Meyer, Anna"]),
    ('show "Mey\t', ["show", "Meyer, Anna"]),
    ("show a:\t --json", ["show", "a:b=c", "--json"]),
    ("show a:b=\t", ["show", "a:b=c"]),
    ("cancel Gr\t", ["cancel", "Größe*"]),
    ("retry f\t", ["retry", NASTY]),
    ("retry 'f\t", ["retry", NASTY]),
    ("cases --stat\tfai\t", ["cases", "--state", "failed"]),
    ("cases --state=hel\t", ["cases", "--state=held"]),
    ("cases --recipe te\t", ["cases", "--recipe", "teeth"]),
    ("explain inb\tmy\t", ["explain", "inbox/my scan.dcm"]),
    ("explain ~/inb\tmy\t", ["explain", "{home}/inbox/my scan.dcm"]),
    ("run --config=vpe-wat\t", ["run", "--config=vpe-watcher.toml"]),
)


@pytest.fixture(name="desk")
def make_desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    """Return a house with cases and a scan, their names as awkward as people make them."""
    desk = open_desk(tmp_path, capsys)
    for name in NAMES:
        case_id = desk.walk(desk.add(name), State.SUBMITTING)
        if name == NASTY:
            desk.end(case_id, Label.INPUT, problem("x", FailureClass.INPUT))
    (tmp_path / "inbox" / "my scan.dcm").touch()
    yield desk
    desk.store.database.close()


@pytest.fixture(name="person", params=SHELLS)
def sit_down(parts: str, desk: Desk, request: pytest.FixtureRequest) -> Iterator[Typist]:
    """Return somebody at each shell who has put the completion in place."""
    shell, first = SHELLS[request.param]
    with typist(desk.home, shell, first=first) as person:
        yield person


@pytest.mark.timeout(180)  # the command starts anew at each Tab
def test_what_is_completed_is_what_was_meant(person: Typist, desk: Desk) -> None:
    """The command is given names and files whole, and nothing in a name was obeyed."""
    for keys, meant in TYPED:
        given = person.type(f"vpe-watcher {keys}")
        assert given == [word.format(home=desk.home) for word in meant], keys
    assert not (desk.home / "pwned").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_takes_its_script(parts: str, shell: str) -> None:
    """Its grammar is right."""
    script = Path(__file__).parents[2] / "vpe_watcher" / "app" / "shells" / f"completion.{shell}"
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "reader",
    [("mandoc", "-T", "lint", "-W", "style"), ("groff", "-man", "-ww", "-z", "-Tutf8")],
    ids=lambda reader: reader[0],
)
def test_the_manual_page_is_well_formed(parts: str, reader: tuple[str, ...]) -> None:
    """Neither of the two programs that show manual pages has anything to say of it."""
    done = subprocess.run([*reader, str(MANUAL)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
