"""Keys of order and fairness: rates, hours, priorities, and what does not go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapters.test_settings_recipes import settings_of
from vpe_watcher.adapters.settings.mistakes import SettingsError
from vpe_watcher.core.priorities import DayHours, Priority

NIGHT = '[recipes.night]\npriority = "off-peak"\n'


def _mistake(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        settings_of(folder, text)
    (mistake,) = caught.value.problems
    return mistake.message


def test_without_a_word_a_recipe_has_no_limits_of_its_own(tmp_path: Path) -> None:
    """And nothing is braked; but one upload place is kept from scans of more than 1 GiB."""
    settings = settings_of(tmp_path, "")
    recipe = settings.recipes["default"]
    assert (recipe.uploads, recipe.downloads, recipe.jobs_in_flight) == (0, 0, 0)
    assert (recipe.upload_rate, settings.limits.upload_rate) == (0, 0)
    assert (recipe.priority, recipe.off_peak) == (Priority.NORMAL, None)
    assert settings.limits.big_upload == 1024**3


@pytest.mark.parametrize(
    ("text", "rate"), [('"10 MiB"', 10 * 1024**2), ("2048", 2048), ('""', 0), ("0", 0)]
)
def test_a_rate_is_a_size_a_second(tmp_path: Path, text: str, rate: int) -> None:
    """Nothing, or 0, is no limit."""
    settings = settings_of(
        tmp_path, f"[limits]\nupload_rate = {text}\n[recipes.teeth]\nupload_rate = {text}\n"
    )
    assert settings.limits.upload_rate == settings.recipes["teeth"].upload_rate == rate


def test_a_rate_without_its_unit_is_refused(tmp_path: Path) -> None:
    """Ten bytes a second are meant by nobody."""
    message = _mistake(tmp_path, "[limits]\nupload_rate = 10")
    assert "limits.upload_rate" in message
    assert "1 KiB a second" in message


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("20:00-06:00", DayHours(1200, 360)),
        ("8:30 - 12:00", DayHours(510, 720)),
        ("18:00-24:00", DayHours(1080, 1440)),
        ("00:00-24:00", DayHours(0, 1440)),
    ],
)
def test_hours_of_a_recipe(tmp_path: Path, text: str, hours: DayHours) -> None:
    """A span of the day, over midnight if it ends before it begins."""
    recipe = settings_of(tmp_path, f'{NIGHT}off_peak = "{text}"').recipes["night"]
    assert (recipe.priority, recipe.off_peak) == (Priority.OFF_PEAK, hours)


@pytest.mark.parametrize(
    "text", ["20-6", "25:00-06:00", "20:61-06:00", "20:00-20:00", "24:00-00:00", "night"]
)
def test_hours_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    """Before they hold a case back for ever, or not at all."""
    assert "recipes.night.off_peak" in _mistake(tmp_path, f'{NIGHT}off_peak = "{text}"')


@pytest.mark.parametrize("text", [NIGHT, '[recipes.night]\noff_peak = "20:00-06:00"'])
def test_off_peak_and_its_hours_go_together(tmp_path: Path, text: str) -> None:
    """One without the other would not do what was meant, and jobs cost money."""
    assert "recipes.night.off_peak" in _mistake(tmp_path, text)


def test_a_priority_that_is_none_is_refused(tmp_path: Path) -> None:
    """With the names of those that are."""
    message = _mistake(tmp_path, '[recipes.teeth]\npriority = "high"')
    assert "recipes.teeth.priority" in message
    assert '"urgent", "normal", "off-peak"' in message
