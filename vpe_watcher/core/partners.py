"""Which loose files wait for one another: what their names say they show, and of whom.

Two patients must never be mixed: where names are in doubt, files wait for a partner that does not
come. Source of the rules: the contract's "What becomes a case".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

from vpe_watcher.core.content import VOLUME, ZIP, Facts
from vpe_watcher.core.grouping import Group, Rules
from vpe_watcher.core.modalities import modalities_by_name
from vpe_watcher.core.model import Modality

_MESHES = (".stl", ".ply", ".obj")
_SEPARATORS = " \t._+-()[]"
_BETWEEN = re.compile(r"[\s._+()\[\]-]+")
_HOLE = "\0"  # in no file name
_PIECE = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)
# A pattern that is the beginning of a word stands for the word, where the word ends there.
_ENDINGS: Mapping[str, str] = MappingProxyType(
    {
        "mandib": "(?:(?:ular|ula|le)(?![a-z])|(?:ULAR|ULA|LE)(?![A-Z]))?",
        "maxilla": "(?:ry?(?![a-z])|RY?(?![A-Z]))?",
    }
)


def required_modality(group: Group, fact: Facts | None, rules: Rules) -> Modality | None:
    """Return what a loose file is of that which its inbox requires; None when nothing.

    A mesh whose name fits two patterns is nobody's partner: it fails by itself.
    """
    modality: Modality | None = None
    if group.path.lower().endswith(_MESHES) or (fact is not None and fact.lists_mesh):
        fitting = modalities_by_name(group.path, rules)
        modality = fitting[0] if len(fitting) == 1 else None
    elif fact is not None and fact.family in {VOLUME, ZIP} and not fact.unreadable:
        modality = Modality.CBCT
    return modality if modality in rules.require else None


def bare_stem(name: str, modality: Modality, rules: Rules) -> str:
    """Return a file name without its extension and the words of its modality's patterns.

    Each word takes the separators around it along; "" when nothing is left.
    """
    bare = name
    for pattern in rules.patterns.get(modality, ()):
        if fnmatchcase(name.lower(), pattern.lower()):
            for word in _words(pattern):
                bare = re.sub(word, _HOLE, bare)
    parts = rules.split_name(bare)[0].split(_HOLE)
    return " ".join(filter(None, (part.strip(_SEPARATORS) for part in parts)))


def partner_key(stem: str) -> str:
    """Return what bare stems of partners have in common: case and separators do not count."""
    return _BETWEEN.sub(" ", stem.lower())


def _words(pattern: str) -> Iterator[str]:
    """Yield the words of a file name pattern as regular expressions without case.

    A word at an end of the pattern without a `*` stands only at that end of the name.
    """
    parts = pattern.split("*")
    for place, part in enumerate(parts):
        if part:
            start = "" if place else "^"
            end = "" if place < len(parts) - 1 else "$"
            letters = "".join(map(_expression, _PIECE.findall(part)))
            yield f"{start}(?i:{letters}){_ENDINGS.get(part.lower(), '')}{end}"


def _expression(piece: str) -> str:
    if piece == "?":
        return "."
    if len(piece) > 1:
        inside = piece[1:-1].replace("\\", "\\\\")
        return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
    return re.escape(piece)
