"""The example configuration that is shipped in the package."""

from __future__ import annotations

from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "config.example.toml"


def example_config_text() -> str:
    """Return the commented example with every key and its default."""
    return EXAMPLE.read_text(encoding="utf-8")
