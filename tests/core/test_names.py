"""Names that people typed, made safe, short and unique."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpe_watcher.core.names import (
    MAX_NAME_BYTES,
    folder_name,
    name_key,
    numbered,
    output_name,
    shortened,
)

# Every character there is, half surrogate pairs too: a file name may hold undecodable bytes.
NAMES = (
    st.text(st.characters(), max_size=400)
    | st.text(st.sampled_from(". \t/\\aé\u2028\udcff日\x00"), max_size=300)
    | st.builds(lambda part, count: part * count, st.text(max_size=4), st.integers(0, 300))
)


def size_bytes(name: str) -> int:
    """Return how long a name is for a file system."""
    return len(name.encode("utf-8", "surrogateescape"))


@given(name=NAMES)
def test_a_folder_name_is_one_safe_component(name: str) -> None:
    """No separator, nothing hidden, no control character, never empty, always encodable."""
    folder = folder_name(name)
    assert folder
    assert folder == folder.strip()
    assert not folder.startswith(".")
    assert not set(folder) & set("/\\\0")
    assert {unicodedata.category(char) for char in folder}.isdisjoint({"Cc", "Cs"})
    assert folder.encode("utf-8")


@given(name=NAMES)
def test_a_folder_name_leaves_room(name: str) -> None:
    """With a number, a note or a temporary suffix it is still a name that fits."""
    folder = folder_name(name)
    assert size_bytes(folder) <= MAX_NAME_BYTES
    assert size_bytes(folder + ".99999.held.txt") <= 255


@given(name=NAMES)
def test_cleaning_twice_changes_nothing(name: str) -> None:
    """The name of a folder that we made is that folder's name."""
    assert folder_name(folder_name(name)) == folder_name(name)


@given(name=st.text("abcXYZ019-_+ äß日", min_size=1, max_size=50).map(str.strip).filter(bool))
def test_good_names_stay(name: str) -> None:
    """What people commonly type is left as it is."""
    assert folder_name(name) == name


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("", "case"),
        ("..", "case"),
        (". .x", "x"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a\nb", "a_b"),
        (" Müller, Hans ", "Müller, Hans"),
        ("m\udcfcller", "m_ller"),
    ],
)
def test_names_by_example(name: str, folder: str) -> None:
    """What becomes of names that somebody may try."""
    assert folder_name(name) == folder


@given(text=st.text(max_size=60), limit=st.integers(0, 60))
def test_shortening_never_splits_a_character(text: str, limit: int) -> None:
    """What is left is a beginning of the text, within the limit, and no shorter than needed."""
    short = shortened(text, limit)
    assert text.startswith(short)
    assert size_bytes(short) <= limit
    assert short == text or size_bytes(text[: len(short) + 1]) > limit


@given(
    count=st.integers(1, 4),
    names=st.lists(st.sampled_from(["\u00c4", "\u00e4", "A\u0308"]), max_size=5),
)
def test_numbered_names_are_unique_without_case(count: int, names: list[str]) -> None:
    """However the same name is spelt, each case gets its own."""
    taken: list[str] = []
    for name in names * count:
        taken.append(numbered(name, lambda wanted: name_key(wanted) in map(name_key, taken)))
    assert len({name_key(name) for name in taken}) == len(taken)


def test_numbers_start_at_two_and_fill_gaps() -> None:
    """The contract's `<name>`, `<name>.2`, `<name>.3`."""
    assert numbered("scan", {"x"}.__contains__) == "scan"
    assert numbered("scan", {"scan"}.__contains__) == "scan.2"
    assert numbered("scan", {"scan", "scan.2", "scan.3"}.__contains__) == "scan.4"


@given(name=st.text(max_size=20))
def test_composed_and_decomposed_names_are_one(name: str) -> None:
    """A Mac writes `é` as two characters; it is the same name."""
    assert name_key(unicodedata.normalize("NFD", name)) == name_key(name)


@given(name=st.text(max_size=20))
def test_a_key_is_its_own_key(name: str) -> None:
    """Comparing keys of keys changes nothing."""
    assert name_key(name_key(name)) == name_key(name)


# --- outputs -------------------------------------------------------------------------------------

ANY = st.text(st.characters(), max_size=150)


@given(kind=ANY, structures=st.lists(ANY, max_size=60), extension=ANY, count=st.integers(1, 12))
def test_output_names_are_safe_short_and_apart(
    kind: str, structures: list[str], extension: str, count: int
) -> None:
    """Whatever the Engine answers, names are plain ASCII, fit, and never clash."""
    taken: list[str] = []
    for _ in range(count):
        name = output_name(kind=kind, structures=structures, extension=extension, taken=taken)
        assert name.isascii()
        assert all(char.isalnum() or char in "._-+" for char in name)
        assert not name.startswith(".")
        assert len(name) <= 200
        taken.append(name)
    assert len({name.lower() for name in taken}) == count


@pytest.mark.parametrize(
    ("structures", "extension", "taken", "expected"),
    [
        (["mandible"], ".stl", [], "mandible.stl"),
        (["left_nerve", "right_nerve"], ".stl", [], "left_nerve+right_nerve.stl"),
        (["mandible"], "stl", [], "mandible.stl"),
        (["mandible"], "", [], "mandible"),
        ([], ".png", [], "meshes.png"),
        (["../../x"], ".stl", [], "_.._x.stl"),
        (["Mandible"], ".stl", ["mandible.STL"], "Mandible.2.stl"),
        (["mandible"], ".stl", ["mandible.stl", "mandible.2.stl"], "mandible.3.stl"),
        (["result"], ".json", [], "result.2.json"),
        (["Result"], ".JSON", [], "Result.2.JSON"),
    ],
)
def test_output_names_by_example(
    structures: list[str], extension: str, taken: list[str], expected: str
) -> None:
    """Structures joined by `+`, clashes numbered, the manifest's own name kept free."""
    name = output_name(kind="meshes", structures=structures, extension=extension, taken=taken)
    assert name == expected
