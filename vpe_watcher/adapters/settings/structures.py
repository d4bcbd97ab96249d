"""Warn about structure names that look like a typing error of a known one.

Owns the list of names that the Engine's documentation mentions. Never rejects a name: the list is
the Engine's and grows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vpe_watcher.adapters.settings.mistakes import Mistake, nearest
from vpe_watcher.adapters.settings.recipes import Settings

PLAIN_NAMES = (
    "mandible skull maxillary maxillary-complex maxillary-sinus airway soft-tissue left_nerve"
    " right_nerve all_teeth all_permanent_teeth all_nerves"
)
LOOKS_LIKE = 0.8


def known_structures() -> tuple[str, ...]:
    """List the names of the documentation; teeth by FDI number, deciduous ones too."""
    permanent = (f"tooth{quadrant}{place}" for quadrant in "1234" for place in "12345678")
    deciduous = (f"tooth{quadrant}{place}" for quadrant in "5678" for place in "12345")
    return (*PLAIN_NAMES.split(), *permanent, *deciduous)


def structure_warnings(settings: Settings) -> list[Mistake]:
    """Return a warning for each likely typing error in the recipes' `outputFiles`."""
    known = known_structures()
    found: dict[str, list[str]] = {}
    for recipe in settings.recipes.values():
        for name in _structures_in(recipe.job.get("outputFiles")):
            if name not in known and recipe.name not in found.setdefault(name, []):
                found[name].append(recipe.name)
    return [
        Mistake(
            "structure_name",
            f'outputFiles of recipe {", ".join(recipes)}: the structure "{name}" is not known here',
            f'did you mean "{near}"? It is passed to the Engine as it is',
        )
        for name, recipes in found.items()
        if (near := nearest(name, known, cutoff=LOOKS_LIKE)) is not None
    ]


def _structures_in(value: Any) -> Iterator[str]:
    """Walk any kind of output, one item or a list of them, for its `structures`."""
    if isinstance(value, list):
        for item in value:
            yield from _structures_in(item)
    elif isinstance(value, dict):
        for key, below in value.items():
            if key == "structures":
                yield from (name for name in _listed(below) if isinstance(name, str))
            else:
                yield from _structures_in(below)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
