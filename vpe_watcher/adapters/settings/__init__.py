"""The only reader of the environment and of the configuration file.

Owns every key, its type, default and sentence of error. Never makes folders, never talks to the
network, and never keeps what is in a secret file. Importing it imports pydantic: import it late.
"""

from __future__ import annotations

from vpe_watcher.adapters.settings.cautions import warnings
from vpe_watcher.adapters.settings.example import example_config_text
from vpe_watcher.adapters.settings.load import load_settings
from vpe_watcher.adapters.settings.mistakes import Mistake, SettingsError
from vpe_watcher.adapters.settings.model import (
    AuthSettings,
    DeliverySettings,
    DicomSettings,
    EngineSettings,
    IntakeSettings,
    LimitSettings,
    LogSettings,
    PatternSettings,
    RetentionSettings,
)
from vpe_watcher.adapters.settings.recipes import Recipe, Settings
from vpe_watcher.adapters.settings.remains import state_files_despite

__all__ = [
    "AuthSettings",
    "DeliverySettings",
    "DicomSettings",
    "EngineSettings",
    "IntakeSettings",
    "LimitSettings",
    "LogSettings",
    "Mistake",
    "PatternSettings",
    "Recipe",
    "RetentionSettings",
    "Settings",
    "SettingsError",
    "example_config_text",
    "load_settings",
    "state_files_despite",
    "warnings",
]
