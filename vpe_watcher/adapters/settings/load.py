"""Load the configuration: read the sources, check the shape, fill the gaps, check the rules."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import PydanticBaseSettingsSource

from vpe_watcher.adapters.settings.mistakes import (
    Finding,
    SettingsError,
    findings_of,
    mistake_of,
)
from vpe_watcher.adapters.settings.model import Document
from vpe_watcher.adapters.settings.recipes import Settings, resolved
from vpe_watcher.adapters.settings.rules import broken_rules
from vpe_watcher.adapters.settings.sources import Sources, read_sources


def load_settings(
    config: Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    asks_engine: bool = True,
) -> Settings:
    """Return the checked settings from all sources; safe to call again after a change.

    `overrides` are the command line's: nested tables or dotted keys, None = not given.
    Without `asks_engine` it does not matter whether there is a secret: systemd may have handed it
    to the service alone. Raises `ConfigError`; for mistakes in keys it is a `SettingsError`, whose
    `problems` are all of them.
    """
    sources = read_sources(
        config,
        overrides or {},
        os.environ if environ is None else environ,
        Path.cwd() if cwd is None else cwd.absolute(),
    )
    found = _checked(sources, asks_engine=asks_engine)
    if isinstance(found, Settings):
        return found
    # Raised outside the handler: pydantic's error holds values, also secrets, and must stay behind.
    raise SettingsError(tuple(mistake_of(finding, sources) for finding in found))


def _checked(sources: Sources, *, asks_engine: bool) -> Settings | tuple[Finding, ...]:
    try:
        document = _layered(sources)
    except ValidationError as error:
        return findings_of(error)
    settings = resolved(document, sources.file, sources.secrets_in_file)
    return tuple(broken_rules(settings, asks_engine=asks_engine)) or settings


def _layered(sources: Sources) -> Document:
    """Merge the sources key by key. A class for each load: sources are a class's own affair."""

    class Layered(Document):
        @classmethod
        def settings_customise_sources(
            cls, *_: Any, **__: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return sources.layers

    return Layered()
