"""The handbook answers every error code that the program can give, and no others."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from vpe_watcher.adapters.telemetry import cleaned
from vpe_watcher.app.error_codes import BESIDE, COMPUTED, PACKAGE, hints_by_code

HANDBOOK = Path(__file__).parent.parent / "docs" / "how-to" / "error-codes.md"
ENTRY = re.compile(r"^\| `(\w+…?)` \| (.*) \| (.*) \|$", re.MULTILINE)
SOURCES = {
    "core.py": """
        SAME = "of_a_constant"

        @dataclass
        class Problem:
            kind: str
            code: str = "taken_for_granted"
            hint: str = ""
    """,
    "edge.py": """
        from house.core import SAME, Problem

        TABLE = {402: ("of_a_row", "of the row"), 403: ("of_another", "of the other")}

        def problems(is_one, number, fault):
            yield Problem("input")
            yield Problem("input", "by_position", "do this")
            yield Fault("words", code=SAME, hint=f"look at {number}")
            yield Fault("words", code="of_one" if is_one else "of_two")
            code, hint = TABLE.get(number, ("of_none", "of none"))
            yield Fault("words", code=code, hint=hint)
            yield Fault("words", code=fault.code, hint=fault.hint)
            log("event", code="never_said")

        def caller():
            refused("of_a_caller")
            why = diagnosis()
            raise Fault("words", code=why.code, hint="for all diagnoses")

        def diagnosis():
            return Problem("x", "of_a_diagnosis")

        def refused(code):
            raise Fault("words", code=code, hint="given beside a parameter")
    """,
}
CODES = {
    "taken_for_granted": (),
    "by_position": ("do this",),
    "of_a_constant": ("look at …",),
    "of_one": (),
    "of_two": (),
    "of_a_row": ("of the row",),
    "of_another": ("of the other",),
    "of_none": ("of none",),
    "of_a_caller": ("given beside a parameter",),
    "of_a_diagnosis": ("for all diagnoses",),
}


@pytest.fixture(scope="module")
def program() -> dict[str, tuple[str, ...]]:
    """Return the hints of each code of the program; reading it all takes two seconds."""
    return hints_by_code()


def test_every_code_has_one_entry_and_every_entry_a_code(
    program: dict[str, tuple[str, ...]],
) -> None:
    """A code that is added, renamed or removed makes somebody open the handbook."""
    documented = [code for code, _, _ in ENTRY.findall(_written())]
    assert sorted(documented) == [code for code in program if not code.startswith("(")]


def test_every_entry_says_what_it_means_and_what_to_do() -> None:
    """No cell is left for later."""
    entries = ENTRY.findall(_written())
    assert len(entries) > 150
    for code, meaning, deed in entries:
        assert re.fullmatch(r"[A-Z`].{15,}[.)]", meaning), code
        assert re.fullmatch(r"[A-Z`].{7,}[.)]", deed), code


def test_a_code_is_found_in_whatever_way_it_is_given(tmp_path: Path) -> None:
    """Keyword, position, default, constant, branch, row of a table, a caller's, a value's."""
    assert hints_by_code(_package(tmp_path, SOURCES)) == dict(sorted(CODES.items()))


@pytest.mark.parametrize(
    "call",
    [
        'Fault("words", code=f"{verb}_expired")',
        'Fault("words", code=made_up())',
        'Fault("words", code="known", hint=words)',
        'Fault("words", hint="for which code?")',
        "Problem(*words)",
    ],
)
def test_what_cannot_be_read_is_a_mistake(tmp_path: Path, call: str) -> None:
    """A code that is put together at run time is told of by hand, or not given at all."""
    source = {**SOURCES, "odd.py": f"from house.core import Problem\ndef odd(verb):\n    {call}\n"}
    with pytest.raises(LookupError, match=r"house\.odd:3"):
        hints_by_code(_package(tmp_path, source))


def test_what_is_told_by_hand_is_there_to_be_told_of() -> None:
    """The tables of what cannot be read name expressions and callees of the source, as it is."""
    nodes = [
        node
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.JoinedStr | ast.Attribute | ast.Name)
    ]
    written = {ast.unparse(node) for node in nodes}
    called = {node.attr for node in nodes if isinstance(node, ast.Attribute)} | written
    assert set(COMPUTED) <= written
    assert set(BESIDE) <= called


def test_the_verbs_and_troubles_of_links_are_those_told_by_hand() -> None:
    """Who gives `check_link` another verb, or a status another name, extends the table."""
    tree = ast.parse((PACKAGE / "adapters" / "engine" / "answers.py").read_text())
    trouble = next(n for n in tree.body if getattr(n, "name", "") == "_link_trouble")
    troubles = {
        node.value
        for node in ast.walk(trouble)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    transfer = (PACKAGE / "adapters" / "engine" / "transfer.py").read_text()
    verbs = set(re.findall(r'check_link\([^)]*verb="(\w+)"', transfer))
    told = {code for codes in COMPUTED.values() for code in codes if code.startswith("upload")}
    assert {f"upload_{trouble}" for trouble in troubles} == told - {"upload_link_expired"}
    assert verbs == {"upload", "download"}


def _written() -> str:
    """Return the part of the page that people wrote."""
    return HANDBOOK.read_text().partition("<!-- printed: hints -->")[0]


def _package(folder: Path, sources: dict[str, str]) -> Path:
    package = folder / "house"
    package.mkdir()
    for name, text in sources.items():
        lines = text.splitlines()
        (package / name).write_text("\n".join(line.removeprefix(" " * 8) for line in lines))
    return package


def test_every_hint_stands_in_the_log_as_it_is() -> None:
    """What cuts addresses and tokens out of the log takes no word of ours for one."""
    hints = {hint for told in hints_by_code().values() for hint in told}
    assert "use https; plain http is for 127.0.0.1, ::1 and localhost only" in hints
    assert [hint for hint in hints if cleaned(hint) != hint] == []


def test_init_is_advised_only_where_it_can_be_followed() -> None:
    """It refuses where there is a configuration: for a folder that is missing it is no help."""
    advised = {code for code, hints in hints_by_code().items() if "watcher init" in "".join(hints)}
    assert advised <= {"config_empty", "config_exists", "config_missing"}
