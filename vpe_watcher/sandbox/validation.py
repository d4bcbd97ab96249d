"""Whether a submit body is one that the Engine could take. Never changes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

VOLUMES = (".dcm", ".zip", ".nii", ".nrrd", ".vti")
MESHES = (".stl", ".ply", ".obj", ".zip")
INPUT_EXTENSIONS = {
    "cbct": (*VOLUMES, *(f"{extension}.gz" for extension in VOLUMES)),
    "ios_upper": MESHES,
    "ios_lower": MESHES,
    "facial": MESHES,
}
OUTPUT_EXTENSIONS = (".stl", ".ply", ".obj", ".drc")


def complaint_about(body: Mapping[str, Any]) -> str:
    """Return in one sentence what is wrong with a submit body, nothing if it is fine."""
    return next(_complaints(body), "")


def items_of(wanted: object) -> list[dict[str, Any]]:
    """Return the items of one kind of output, which may be a list or a single item."""
    entries = wanted if isinstance(wanted, list) else [wanted]
    return [entry for entry in entries if isinstance(entry, dict)]


def structures_of(item: Mapping[str, Any]) -> list[str]:
    """Return the names of the structures that an item asks for, nothing if it names none."""
    structures = item.get("structures")
    return [str(name) for name in structures] if isinstance(structures, list) else []


def _complaints(body: Mapping[str, Any]) -> Iterator[str]:
    for name in ("inputFiles", "outputFiles"):
        if not isinstance(body.get(name), dict) or not body[name]:
            yield f"{name} is required and must be a non-empty object"
            return
    for modality, wanted in body["inputFiles"].items():
        yield from _input_complaints(modality, wanted)
    for kind, wanted in body["outputFiles"].items():
        yield from _output_complaints(kind, wanted)
    if not isinstance(body.get("options", {}), dict):
        yield "options must be an object"


def _input_complaints(modality: str, wanted: object) -> Iterator[str]:
    known = INPUT_EXTENSIONS.get(modality)
    if known is None:
        yield f"inputFiles: unknown modality {modality!r}"
    elif not isinstance(wanted, dict) or wanted.get("extension") not in known:
        yield f"inputFiles.{modality}: extension must be one of {', '.join(known)}"
    elif not isinstance(wanted.get("downloadUrl", ""), str):
        yield f"inputFiles.{modality}: downloadUrl must be a string"


def _output_complaints(kind: str, wanted: Any) -> Iterator[str]:
    entries = wanted if isinstance(wanted, list) else [wanted]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        yield f"outputFiles.{kind} must be an item or a list of items"
        return
    for entry in entries if kind == "meshes" else []:
        if entry.get("extension") not in OUTPUT_EXTENSIONS:
            yield f"outputFiles.meshes: extension must be one of {', '.join(OUTPUT_EXTENSIONS)}"
        if not structures_of(entry):
            yield "outputFiles.meshes: structures must be a non-empty list of names"
