"""The table [dicom]: addresses, AE titles, and whose inbox it may be."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpe_watcher.adapters.settings import Settings, SettingsError, load_settings
from vpe_watcher.adapters.settings.network import (
    allowed_networks,
    listen_address,
    network_of,
    split_listen,
    title,
)
from vpe_watcher.adapters.settings.values import WrongValueError

BASE = """
inbox = "inbox"
outbox = "outbox"
archive = "archive"
failed = "failed"
state_file = "state/state.sqlite3"
[engine.auth]
access_token = "t"
[job.outputFiles]
meshes = [{ extension = ".stl", structures = ["mandible"] }]
"""


def settings_of(folder: Path, text: str) -> Settings:
    """Load a configuration with some lines added."""
    (folder / "state").mkdir(exist_ok=True)
    file = folder / "vpe-watcher.toml"
    file.touch(mode=0o600)
    file.write_text(BASE + text)
    return load_settings(file, environ={})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:11112", ("127.0.0.1", 11112)),
        ("localhost:104", ("127.0.0.1", 104)),
        (":11112", ("0.0.0.0", 11112)),  # noqa: S104 - that is what it says
        ("[::1]:11112", ("::1", 11112)),
        ("[::]:0", ("::", 0)),
    ],
)
def test_where_to_listen(text: str, address: tuple[str, int]) -> None:
    """An address and a port; without an address all of IPv4."""
    assert listen_address(text) == text
    assert split_listen(text) == address


def test_nothing_said_is_nowhere(tmp_path: Path) -> None:
    """Unless somebody asks for it, no port is opened."""
    dicom = settings_of(tmp_path, "").dicom
    assert dicom.address is None
    assert dicom.networks == (
        ipaddress.ip_network("127.0.0.1/32"),
        ipaddress.ip_network("::1/128"),
    )


@pytest.mark.parametrize(
    "text",
    [
        *("11112", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "pacs.clinic:11112", "::1:11112"),
        *("[127.0.0.1:1", "[::g]:1", "127.0.0.1:1\n", "1.2.3:4", " :11112", ":١١١١٢"),
    ],
)
def test_what_is_no_place_to_listen(text: str) -> None:
    """The hint shows how it is written."""
    with pytest.raises(WrongValueError) as caught:
        listen_address(text)
    assert "127.0.0.1:11112" in caught.value.hint


@pytest.mark.parametrize("text", ["A", "VPE-WATCHER", "A B", "x" * 16, "{~}"])
def test_an_ae_title(text: str) -> None:
    """One to sixteen printable characters, spaces inside."""
    assert title(text) == text


@pytest.mark.parametrize("text", ["", " ", " A", "A ", "x" * 17, "A\\B", "A\tB", "Ä", "A\n"])
def test_what_is_no_ae_title(text: str) -> None:
    """DICOM's rules for the value representation AE."""
    with pytest.raises(WrongValueError):
        title(text)


@given(st.text())
def test_any_text_is_a_title_or_a_clear_error(text: str) -> None:
    """And what is one fits into the sixteen bytes of a request."""
    try:
        assert 0 < len(title(text).encode("ascii")) <= 16
    except WrongValueError:
        assert True


def test_an_address_is_a_network_of_one() -> None:
    """Both kinds, both versions."""
    assert network_of("10.1.2.3").num_addresses == 1
    assert ipaddress.ip_address("10.1.2.77") in network_of("10.1.2.0/24")
    assert ipaddress.ip_address("fd00::5") in network_of("fd00::/8")


@pytest.mark.parametrize("words", [(), ("pacs",), ("10.1.2.3/24",), ("10.1.2.0/33",), ("",)])
def test_what_lets_nobody_in_is_a_mistake(words: tuple[str, ...]) -> None:
    """An empty list, names, and networks with bits behind the prefix."""
    with pytest.raises(WrongValueError):
        allowed_networks(words)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[dicom]\nlisten = "11112"', "dicom.listen"),
        ('[dicom]\nae_title = ""', "dicom.ae_title"),
        ('[dicom]\ncalling_ae_titles = ["A\\\\B"]', "dicom.calling_ae_titles"),
        ("[dicom]\naddresses = []", "dicom.addresses"),
        ("[dicom]\nassociations = 0", "dicom.associations"),
        ('[dicom]\nrecipe = "tooth"\n[recipes.teeth]', "dicom.recipe"),
    ],
)
def test_a_mistake_names_its_key(tmp_path: Path, text: str, key: str) -> None:
    """In one sentence, with a hint."""
    with pytest.raises(SettingsError) as caught:
        settings_of(tmp_path, text)
    (problem,) = caught.value.problems
    assert problem.message.startswith(f"{key} ")


def test_a_recipe_that_leaves_its_files_in_place_receives_nothing(tmp_path: Path) -> None:
    """Nothing may be written there, whoever sends it."""
    text = '[dicom]\nrecipe = "pacs"\n[recipes.pacs]\ninbox = "export"\nleave_in_place = true'
    with pytest.raises(SettingsError) as caught:
        settings_of(tmp_path, text)
    told = [problem.message for problem in caught.value.problems]
    assert any("dicom.recipe" in message and "in place" in message for message in told)
