"""Single values: sizes, durations, counts, markers, addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpe_watcher.adapters.settings.values import (
    Text,
    WrongValueError,
    count,
    duration,
    is_loopback,
    marker_suffix,
    size_bytes,
    size_or_none,
)

UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


@given(st.integers(0, 10**18 - 1), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " ", "  "]))
def test_a_size_is_exact_whatever_its_unit(number: int, unit: str, space: str) -> None:
    """A whole number of a unit is that many bytes, however large, in any capitals."""
    assert size_bytes(f"{number}{space}{unit}") == number * UNITS[unit]
    assert size_bytes(f"{number}{space}{unit.upper()}") == number * UNITS[unit]


@given(st.integers(0, 10**18 - 1))
def test_bytes_are_bytes_as_number_and_as_text(number: int) -> None:
    """A number without a unit is taken as bytes."""
    assert size_bytes(number) == size_bytes(str(number)) == number


@given(st.integers(0, 2**20), st.integers(0, 99))
def test_a_fraction_of_a_unit_is_rounded_down(whole: int, hundredths: int) -> None:
    """A fraction comes to less than one byte below its exact value."""
    exact = (whole * 100 + hundredths) * 1024 / 100
    assert exact - 1 < size_bytes(f"{whole}.{hundredths:02} KiB") <= exact


@given(st.text())
def test_any_text_is_a_size_or_a_clear_error(words: str) -> None:
    """No text at all leads to another error than ours, or to less than nothing."""
    try:
        size = size_bytes(words)
    except WrongValueError:
        return
    assert size >= 0


@pytest.mark.parametrize(
    "value",
    ["", "2 GB", "-1 KiB", "1e3 KiB", "KiB", "1 KiB x", ".5 KiB", "9" * 400 + ".5 GiB", "9" * 5000],
)
def test_what_is_no_size(value: str) -> None:
    """Signs, exponents and foreign units are refused."""
    with pytest.raises(WrongValueError):
        size_bytes(value)


@pytest.mark.parametrize("value", [True, 1.5, [], None])
def test_what_has_the_wrong_type_is_no_size(value: object) -> None:
    """A boolean or a fraction of a byte is refused."""
    with pytest.raises(WrongValueError, match="must be a size"):
        size_bytes(value)


def test_an_empty_size_means_never() -> None:
    """Where the contract allows it, the empty text is no size."""
    assert size_or_none("") is None
    assert size_or_none("1 KiB") == 1024


@given(st.floats(0, 1e6), st.sampled_from([float, repr]))
def test_a_duration_is_any_number_from_0(number: float, form: type) -> None:
    """Fractions are kept, from a file as from a variable."""
    value = form(number)
    assert duration(Text(value) if isinstance(value, str) else value, at_most=1e6) == number


@given(st.integers(-5, 10**9))
def test_a_count_is_read_alike_from_file_and_variable(number: int) -> None:
    """Both forms are accepted, or both refused."""
    if number >= 1:
        assert count(number, at_least=1) == count(Text(number), at_least=1) == number
        return
    for form in (number, Text(number)):
        with pytest.raises(WrongValueError, match="1 or more"):
            count(form, at_least=1)


@pytest.mark.parametrize(
    ("value", "suffix"),
    [(True, ".done"), (False, ""), ("", ""), (".ok", ".ok"), (Text("true"), ".done")],
)
def test_a_ready_marker_is_a_suffix_or_a_switch(value: object, suffix: str) -> None:
    """The word true stands for the usual suffix, false for none."""
    assert marker_suffix(value) == suffix


@pytest.mark.parametrize("value", ["done", ".", "./x", 3])
def test_what_is_no_ready_marker(value: object) -> None:
    """A suffix starts with a dot and holds no slash."""
    with pytest.raises(WrongValueError):
        marker_suffix(value)


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1", True),
        ("127.255.1.2", True),
        ("::1", True),
        ("LocalHost", True),
        ("localhost.example", False),
        ("128.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - a name to judge, nothing is bound
        ("127.0.0.1.example", False),
        ("", False),
    ],
)
def test_which_hosts_are_this_machine(host: str, *, answer: bool) -> None:
    """Only loopback addresses and the one name count, without asking anybody."""
    assert is_loopback(host) is answer
