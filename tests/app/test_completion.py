"""Completion: what is offered where, what of the state file is read, and a real bash."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.desk import Desk, problem
from vpe_watcher.app import cli, completion
from vpe_watcher.app.catalogue import commands
from vpe_watcher.app.completion import answer, offer, split
from vpe_watcher.core.model import FailureClass, Label, State

FREE = {"HOST:PORT", "NAME", "PORT", "SECONDS", "WHEN"}
"""What only the person at the keyboard knows."""
HELP = ("--help",)
NASTY = "f$(touch pwned)`x`;&'\"q"


def _words(line: str) -> tuple[str, ...]:
    return tuple(word for word, _ in offer(line).words)


def _fail(desk: Desk, name: str) -> str:
    way = Label.INPUT, problem("x", FailureClass.INPUT)
    return desk.end(desk.walk(desk.add(name), State.SUBMITTING), *way)


@pytest.fixture(name="desk")
def make_found(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Return a desk whose configuration is found without being named."""
    monkeypatch.setenv("VPE_WATCHER_CONFIG", str(desk.config))
    return desk


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("vpe-watcher ca", ("cases", "cancel")),
        ("/opt/bin/vpe-watcher exp", ("explain",)),
        ("A=1 B=' ' vpe-watcher exp", ("explain",)),
        ("vpe-watcher --", ("--version", *HELP)),
        ("vpe-watcher check -", ("--config", "--json", *HELP)),
        ("vpe-watcher check --json -", ("--config", *HELP)),
        ("vpe-watcher check ", ("--config", "--json", *HELP)),
        ("vpe-watcher check x", ()),
        ("vpe-watcher fly ", ()),
        ("vpe-watcher cases --state f", ("fetching", "failed")),
        ("vpe-watcher cases --state=h", ("--state=held",)),
        ("vpe-watcher cases --json=", ()),
        ("vpe-watcher cases --since ", ()),
        ("vpe-watcher completion ", ("bash", "zsh", "fish")),
    ],
)
def test_words_that_may_come_next(line: str, words: tuple[str, ...]) -> None:
    """Commands, options that were not given and states, each in its place."""
    assert _words(line) == words


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("vpe-watcher explain ", "files"),
        ("vpe-watcher submit a.dcm b", "files"),
        ("vpe-watcher run --config ", "files"),
        ("vpe-watcher run --config=", "files"),
        ("vpe-watcher init ", "folders"),
        ("vpe-watcher init a ", "words"),
        ("vpe-watcher run ", "words"),
    ],
)
def test_files_are_left_to_the_shell(line: str, kind: str) -> None:
    """It knows how to complete and quote them."""
    assert offer(line).kind == kind


def test_every_value_has_a_source_or_none_on_purpose() -> None:
    """A new option's word in the help says what completes it; a word nobody knows is a slip."""
    known = commands().values()
    parameters = [entry for command in known for entry in (*command.options, *command.arguments)]
    values = {entry.value for entry in parameters if entry.value or not entry.names}
    assert values == FREE | set(completion.SOURCES) | set(completion.KINDS)


def test_a_line_is_read_as_a_shell_reads_it() -> None:
    """Quotes, open ones too, and backslashes are gone; nothing is expanded."""
    assert split(r"""x a\ b "c 'd" '$e' f""").words == [r"a b", "c 'd", "$e"]
    assert [split(line).begun for line in ("x a ", "x a\\", 'x "a b', "x 'a\"b")] == [
        *("", "a", "a b", 'a"b')
    ]
    assert [split(line).quote for line in ("x a", "x 'a\"", "x \"a'")] == ["", "'", '"']


def test_recipes_are_those_of_the_configuration(desk: Desk) -> None:
    """Of the one that the line names, or of the one that is found."""
    assert _words("vpe-watcher cases --recipe ") == ("default", "teeth")
    assert _words("vpe-watcher submit a b --recipe 't") == ("teeth",)
    other = desk.home / "other.toml"
    other.write_text(desk.config.read_text().replace("[recipes.teeth]", "[recipes.jaw]"))
    other.chmod(0o600)
    assert _words(f"vpe-watcher cases --config {other} --recipe ") == ("default", "jaw")


def test_cases_are_named_as_people_know_them(desk: Desk) -> None:
    """Names first, ids where they were begun, or where a name would not tell one case."""
    one, two, three, four = (desk.add(name) for name in ("Meyer", "twin", "twin", "bad\nline"))
    assert offer("vpe-watcher show ").words == (
        (four, r"bad\nline, claiming"),
        (three, "twin, claiming"),
        (two, "twin, claiming"),
        ("Meyer", f"{one}, claiming"),
    )
    assert _words("vpe-watcher show Me") == ("Meyer",)
    assert _words("vpe-watcher show case") == (four, three, two, one)
    assert _words("vpe-watcher cancel Meyer ") == (four, three, two)
    assert _words("vpe-watcher show Meyer -- ") == ()


def test_cases_are_those_that_the_command_can_be_said_of(desk: Desk) -> None:
    """`retry` offers what rests, `cancel` what does not, `show` both."""
    desk.add("open")
    _fail(desk, "broken")
    desk.finish(desk.add("good"))
    assert _words("vpe-watcher retry ") == ("broken",)
    assert _words("vpe-watcher cancel ") == ("open",)
    assert _words("vpe-watcher show ") == ("good", "broken", "open")


def test_nothing_is_said_where_nothing_can_be_read(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """No configuration, a broken one, no state file, one that is none: no word and no error."""
    elsewhere = desk.home / "elsewhere.toml"
    assert _words(f"vpe-watcher show --config {elsewhere} ") == ()
    elsewhere.write_text("inbox = ")
    assert _words(f"vpe-watcher cases --config={elsewhere} --recipe ") == ()
    desk.add("one")
    desk.store.database.close()
    desk.settings.state_file.write_bytes(b"no state file")
    assert _words("vpe-watcher show ") == ()
    desk.settings.state_file.unlink()
    assert _words("vpe-watcher show ") == ()
    assert not desk.settings.state_file.exists()
    assert capsys.readouterr() == ("", "")


def test_the_state_file_is_only_read(desk: Desk) -> None:
    """No file appears beside it or changes, with a daemon that has it open and without."""
    desk.add("one")
    state = desk.settings.state_file
    for _ in range(2):
        before = {path: path.read_bytes() for path in state.parent.iterdir() if path != state}
        assert _words("vpe-watcher show ") == ("one",)
        after = {path: path.read_bytes() for path in state.parent.iterdir() if path != state}
        assert {path.name for path in after} == {path.name for path in before}
        desk.store.database.close()


def test_bash_is_given_what_it_does_not_obey(desk: Desk) -> None:
    """Each name is quoted for the quote that is open; what bash keeps is not said again."""
    _fail(desk, NASTY)
    _fail(desk, "a:b=c d")
    for line, begun in (("vpe-watcher retry f", "f"), ("vpe-watcher retry 'f$", "f$")):
        word = answer(line, begun).splitlines()[1].split("\t")[0]
        whole = f"{line[: len(line) - len(begun)]}{word}{split(line).quote} "
        assert split(whole).words == ["retry", NASTY]
    assert r"f\$(touch pwned)\`x\`;&'\"q" in answer('vpe-watcher retry "f', "f")
    assert answer("vpe-watcher retry a:b", "b").splitlines()[1].startswith("b=c\\ d\t")
    assert answer("vpe-watcher cases --state=", "").splitlines()[-1].startswith("cancelled\t")


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_gets_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is data, and says in its first lines how it is put in place."""
    assert cli.run(["completion", shell]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == (completion.script(shell), "")
    assert f"# Completion of vpe-watcher for {shell}:" in shown.out


def test_a_script_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    """A kind, then a word with its meaning a line; no help tells how it asks."""
    assert cli.run(["__complete", "vpe-watcher run --on"]) == 0
    assert capsys.readouterr().out == "words\n--once\tStop when there is no work left.\n"
    cli.run(["--help"])
    assert "__complete" not in capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_takes_the_script(tmp_path: Path) -> None:
    """Its grammar is right."""
    script = tmp_path / "completion.bash"
    script.write_text(completion.script("bash"))
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_tab_loads_no_library_that_it_does_not_need() -> None:
    """A person waits: where no case and no recipe is asked for, it is as quick as the help."""
    code = (
        "import sys\nfrom vpe_watcher.app import cli\n"
        "assert cli.run(['__complete', 'vpe-watcher show --']) == 0\n"
        "print([name for name in ('pydantic', 'sqlite3') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert "--json\tPrint" in done.stdout
